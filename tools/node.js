'use strict';
/* Finds the Node executable that package.json pins; the running one where that package is missing (other platforms). */
const { existsSync } = require('node:fs');
const { join } = require('node:path');

function pinnedNode() {
  const path = join(__dirname, '..', 'node_modules', `node-linux-${process.arch}`, 'bin', 'node');
  return existsSync(path) ? path : process.execPath;
}

module.exports = { pinnedNode };
