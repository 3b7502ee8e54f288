'use strict';
/* Runs jest under the pinned Node with the flag that lets it load packages that are ES modules only. */
const { spawnSync } = require('node:child_process');
const { join } = require('node:path');
const { pinnedNode } = require('./node.js');

const jest = join(__dirname, '..', 'node_modules', 'jest', 'bin', 'jest.js');
const config = join(__dirname, 'jest.config.js');
const result = spawnSync(
  pinnedNode(),
  ['--experimental-vm-modules', '--no-warnings', jest, '--config', config, ...process.argv.slice(2)],
  { stdio: 'inherit' },
);
process.exit(result.status ?? 1);
