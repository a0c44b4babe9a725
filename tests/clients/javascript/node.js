// The official client in Node.
'use strict';

const readline = require('node:readline');
const { client } = require('./client');
const { installed } = require('./installed');

const command = client(
  installed('@microsoft/signalr'),
  installed('@microsoft/signalr-protocol-msgpack'),
  (line) => process.stdout.write(`${line}\n`),
);
const commands = readline.createInterface({ input: process.stdin });
commands.on('line', (line) => void command(line));
commands.on('close', () => process.exit());
