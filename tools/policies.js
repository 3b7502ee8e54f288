'use strict';
/* Makes and checks the compiled policies.
 *   node tools/policies.js build                  test the rego, compile it, write policies/*.wasm and policies/manifest.json
 *   node tools/policies.js verify [--if-possible] check that what is committed is what `build` would write, and that rego and
 *                                                 module give the answers of the cases file
 * The compiler is the Go module in tools/opa, built once into the user's cache folder. With --if-possible a machine that
 * cannot build it still gets hashes and module checked, and a line that says so. */
const { spawnSync } = require('node:child_process');
const { createHash } = require('node:crypto');
const { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } = require('node:fs');
const { homedir, tmpdir } = require('node:os');
const { join } = require('node:path');
const { isDeepStrictEqual } = require('node:util');

const policies = join(__dirname, '..', 'policies');
const POLICIES = { dispatch: { entrypoint: 'town/dispatch/decision', sources: ['dispatch.rego'] } };

async function main([verb, flag]) {
  if (verb === 'build' && flag === undefined) return build(compiler());
  if (verb === 'verify' && (flag === undefined || flag === '--if-possible')) return verify(flag === '--if-possible');
  throw new Error('usage: node tools/policies.js build | verify [--if-possible]');
}

function build(opa) {
  run(opa, ['test', policies]);
  const compiled = {};
  for (const [name, { entrypoint, sources }] of Object.entries(POLICIES)) {
    const wasm = compile(opa, name);
    writeFileSync(join(policies, `${name}.wasm`), wasm);
    const hashes = Object.fromEntries(sources.map((file) => [file, sha256(readFileSync(join(policies, file)))]));
    compiled[name] = { entrypoint, sources: hashes, wasm_sha256: sha256(wasm) };
    say(`${name}.wasm: ${(wasm.length / 1024).toFixed(0)} kB`);
  }
  const manifest = { compiler: `opa ${run(opa, ['version']).trim()}`, policies: compiled };
  writeFileSync(join(policies, 'manifest.json'), `${JSON.stringify(manifest, null, 2)}\n`);
}

async function verify(ifPossible) {
  const manifest = JSON.parse(readFileSync(join(policies, 'manifest.json'), 'utf8'));
  expectEqual(Object.keys(manifest.policies), Object.keys(POLICIES), 'the list of policies in the manifest');
  let opa;
  try {
    opa = compiler();
  } catch (error) {
    if (!ifPossible) throw error;
    say(`not recompiled, only hashes and module checked: ${error.message}`);
  }
  if (opa) {
    run(opa, ['test', policies]);
    expectEqual(manifest.compiler, `opa ${run(opa, ['version']).trim()}`, 'the version of the compiler');
  }
  for (const [name, { entrypoint, sources }] of Object.entries(POLICIES)) {
    const listed = manifest.policies[name];
    expectEqual(listed.entrypoint, entrypoint, `${name}: entrypoint`);
    expectEqual(Object.keys(listed.sources), sources, `${name}: list of sources`);
    for (const file of sources)
      expectEqual(listed.sources[file], sha256(readFileSync(join(policies, file))), `hash of ${file}`);
    const wasm = readFileSync(join(policies, `${name}.wasm`));
    expectEqual(listed.wasm_sha256, sha256(wasm), `hash of ${name}.wasm`);
    if (opa) expectEqual(sha256(compile(opa, name)), sha256(wasm), `${name}.wasm compiled anew`);

    const cases = JSON.parse(readFileSync(join(policies, `${name}_cases.json`), 'utf8'))[`${name}_cases`];
    const answers = cases.map((one) => one.answer);
    const module_ = await require('@open-policy-agent/opa-wasm').loadPolicy(wasm);
    expectEqual(
      cases.map((one) => module_.evaluate(one.question, entrypoint)[0]?.result),
      answers,
      `answers of ${name}.wasm`,
    );
    if (opa) {
      const lines = run(
        opa,
        ['eval', entrypoint, ...sources],
        cases.map((one) => JSON.stringify(one.question)).join('\n'),
      );
      const interpreted = lines
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
      expectEqual(interpreted, answers, `answers of ${sources.join(', ')}`);
    }
    say(`${name}: ${cases.length} cases, ${opa ? 'rego and module agree, module is reproducible' : 'module agrees'}`);
  }
}

/** Path of the built compiler; its folder is named after its sources, so a change of them builds anew. */
function compiler() {
  const source = join(__dirname, 'opa');
  const key = sha256(
    ['go.mod', 'go.sum', 'main.go'].map((file) => readFileSync(join(source, file), 'utf8')).join('\0'),
  );
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'steeltown', `opa-${key.slice(0, 12)}`);
  const path = join(cache, 'opa');
  if (existsSync(path)) return path;
  say('building the policy compiler with go (about a minute, once)');
  mkdirSync(cache, { recursive: true });
  const fresh = join(cache, `opa.${process.pid}`);
  run('go', ['build', '-trimpath', '-mod=readonly', '-o', fresh, '.'], undefined, source);
  renameSync(fresh, path);
  return path;
}

/** The compiled module as bytes. File names enter the module, so it is always compiled from inside the policies folder. */
function compile(opa, name) {
  const folder = mkdtempSync(join(tmpdir(), 'steeltown-policy-'));
  try {
    const out = join(folder, 'out.wasm');
    run(opa, ['compile', out, POLICIES[name].entrypoint, ...POLICIES[name].sources]);
    return readFileSync(out);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function run(command, args, input = '', cwd = policies) {
  const result = spawnSync(command, args, { cwd, input, encoding: 'utf8' });
  if (result.error) throw new Error(`${command} cannot be run: ${result.error.message}`);
  if (result.status !== 0) throw new Error(`${command} ${args[0]} failed\n${result.stdout}${result.stderr}`);
  return result.stdout;
}

function expectEqual(actual, expected, what) {
  if (isDeepStrictEqual(actual, expected)) return;
  throw new Error(
    `${what}: expected ${JSON.stringify(expected)}, found ${JSON.stringify(actual)}; run: node tools/policies.js build`,
  );
}

/** Progress and errors go to stderr. */
function say(line) {
  process.stderr.write(`${line}\n`);
}

function sha256(content) {
  return createHash('sha256').update(content).digest('hex');
}

main(process.argv.slice(2)).catch((error) => {
  say(error.message);
  process.exit(1);
});
