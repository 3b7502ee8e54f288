'use strict';
/* `npm run check`: format, lint, types, architecture and unit tests. Stops at the first that fails. */
const { spawnSync } = require('node:child_process');
const { join } = require('node:path');
const { pinnedNode } = require('./node.js');

const root = join(__dirname, '..');
const module_ = (...parts) => join(root, 'node_modules', ...parts);
const steps = [
  ['format', [module_('prettier', 'bin', 'prettier.cjs'), '--check', '--log-level', 'warn', '.']],
  ['lint', [module_('oxlint', 'bin', 'oxlint'), '--type-aware', '--deny-warnings', '-f', 'stylish']],
  ['types', [module_('typescript', 'bin', 'tsc'), '-p', join(root, 'tsconfig.json'), '--noEmit']],
  ['tests', [join(root, 'tools', 'jest.js'), '--selectProjects', 'unit', '--silent=false', '--maxWorkers=100%']],
];

for (const [name, args] of steps) {
  const started = Date.now();
  const result = spawnSync(pinnedNode(), args, { stdio: 'inherit', cwd: root });
  console.error(
    `check ${name}: ${result.status === 0 ? 'ok' : 'FAILED'} (${((Date.now() - started) / 1000).toFixed(1)} s)`,
  );
  if (result.status !== 0) process.exit(result.status ?? 1);
}
