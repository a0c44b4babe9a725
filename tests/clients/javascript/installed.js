// The packages that `tests/clients/install` has installed outside the clone.
'use strict';

const { createRequire } = require('node:module');
const path = require('node:path');

const folder = process.env.TESTS_NODE;
if (!folder) throw new Error('TESTS_NODE must name the folder that tests/clients/install has filled');

/** `require` for what is installed there. */
exports.installed = createRequire(path.join(folder, 'package.json'));

/** Starts the browser. */
exports.launch = () =>
  exports.installed('playwright-core').chromium.launch({
    executablePath: process.env.TESTS_CHROMIUM || '/usr/bin/chromium',
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--disable-dev-shm-usage',
      '--no-first-run',
      '--no-proxy-server',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
