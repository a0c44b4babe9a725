// The official client in a page of a real browser, which sends no headers with WebSockets and asks for CORS.
'use strict';

const readline = require('node:readline');
const { installed, launch } = require('./installed');

const scripts = [
  installed.resolve('@microsoft/signalr/dist/browser/signalr.js'),
  installed.resolve('@microsoft/signalr-protocol-msgpack/dist/browser/signalr-protocol-msgpack.js'),
  require.resolve('./client.js'),
];

async function main() {
  const [origin] = process.argv.slice(2);
  const browser = await launch();
  const page = await browser.newPage();
  // A real page of that origin: to one that is made up here, the browser refuses WebSockets to a local address.
  await page.goto(`${origin}/healthz`);
  await page.exposeFunction('emit', (line) => process.stdout.write(`${line}\n`));
  for (const path of scripts) await page.addScriptTag({ path });
  await page.evaluate('globalThis.command = client(signalR, signalR.protocols.msgpack, emit)');

  const commands = readline.createInterface({ input: process.stdin });
  commands.on('close', () => void browser.close().finally(() => process.exit()));
  for await (const line of commands) void page.evaluate((text) => void globalThis.command(text), line);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
