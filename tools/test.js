'use strict';
/* `npm test`: builds, then runs every test. The last line of the output is `N passed, N failed`; a run without tests is a failure. */
const { spawnSync } = require('node:child_process');
const { mkdtempSync, readFileSync, rmSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { pinnedNode } = require('./node.js');

const root = join(__dirname, '..');
/** On two cores, one of which jest would leave idle; they all share one Temporal and one Postgres, so more of them gain little. */
const WORKERS = ['--maxWorkers=2'];

function main(extra) {
  const folder = mkdtempSync(join(tmpdir(), 'steeltown-report-'));
  const file = join(folder, 'report.json');
  try {
    if (run('build.js', []) !== 0) return { passed: 0, failed: 1, why: 'the build failed' };
    const status = run('jest.js', [...WORKERS, '--json', '--outputFile', file, ...extra], 'ignore');
    return { ...readReport(file), status };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Exit status of one of our tools; output of jest goes to stderr, its JSON to stdout, which is dropped since the file has it. */
function run(tool, args, stdout = 'inherit') {
  const child = spawnSync(pinnedNode(), [join(__dirname, tool), ...args], {
    cwd: root,
    stdio: ['ignore', stdout, 'inherit'],
  });
  return child.status ?? 1;
}

/** A file that cannot be run at all counts as one failed test. */
function readReport(file) {
  try {
    const { numPassedTests, numFailedTests, numRuntimeErrorTestSuites } = JSON.parse(readFileSync(file, 'utf8'));
    return { passed: numPassedTests, failed: numFailedTests + numRuntimeErrorTestSuites };
  } catch (error) {
    return { passed: 0, failed: 1, why: `no report of the tests: ${error.message}` };
  }
}

const { passed, failed, status = 1, why } = main(process.argv.slice(2));
const executed = passed + failed;
if (why !== undefined) console.error(why);
else if (executed === 0) console.error('no test was executed');
// A run that failed without a failed test (a server that did not start or end) must not read as a success.
const failures = failed === 0 && (status !== 0 || executed === 0) ? 1 : failed;
process.exitCode = failures === 0 ? 0 : 1;
console.log(`${passed} passed, ${failures} failed`);
