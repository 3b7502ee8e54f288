/* `npm run demo`: a convoy of a real formula on a real repository, with a worker and later the whole town killed in the middle of a
 * step. Tells what happens with times, then checks its own claims; ends with 1 when one of them does not hold.
 *
 * `npm run demo -- <program> [words]` lets that program be the sessions instead of the deterministic one. */
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { ConvoyView, EventView, MoleculeView } from '../../schema/views';
import { STEP_TRAILER, type Effect } from '../support/worker-program';
import { DrivenTown, killProcess, NODE, PACKAGE, stepOf, WORKER_PROGRAM } from './driven-town';
import { until } from '../support/until';

const FORMULA = 'three-changes';
const RIG = 'words';
const CONVOY_MINUTES = 5;
/** With somebody else's program. */
const OWN_PROGRAM_MINUTES = 60;

const LIBRARY: Readonly<Record<string, string>> = {
  'package.json': '{ "name": "words", "version": "1.0.0", "private": true, "scripts": { "test": "node --test" } }\n',
  'lib/slugify.js': "exports.slugify = (text) => text.toLowerCase().replaceAll(' ', '-');\n",
  'lib/median.js':
    'exports.median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];\n',
  'lib/initials.js':
    "exports.initials = (name) =>\n  name\n    .split(' ')\n    .map((word) => word[0].toUpperCase())\n    .join('');\n",
  'test/words.test.js': `const assert = require('node:assert');
const { test } = require('node:test');
const { slugify } = require('../lib/slugify.js');
const { median } = require('../lib/median.js');
const { initials } = require('../lib/initials.js');

test('slugify joins words', () => assert.equal(slugify('Hello World'), 'hello-world'));
test('median takes the middle', () => assert.equal(median([3, 1, 2]), 2));
test('initials takes first letters', () => assert.equal(initials('Ada Lovelace'), 'AL'));
`,
};

const started = Date.now();

async function main(program: readonly string[]): Promise<boolean> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'town-demo-')));
  const town = new DrivenTown(join(folder, 'town'));
  const repository = join(folder, 'words');
  try {
    tell(`a library with three small faults, as a git repository: ${repository}`);
    makeRepository(repository);
    mkdirSync(town.root);
    await demand(town, 'install', town.root, '--demo', '--name', 'demo');
    const formula = `${FORMULA}.formula.toml`;
    copyFileSync(join(PACKAGE, 'docs', 'examples', formula), join(town.root, 'formulas', formula));
    tell(`a town: ${town.root}; town up`);
    await town.up((line) => say(`         ${line}`));
    const own = program.length > 0;
    const worker = own ? program : [NODE, WORKER_PROGRAM];
    const env = [`WORKER_EFFECTS=${town.effectsFile}`, 'WORKER_THINK_MS=400'].flatMap((pair) => ['--env', pair]);
    await demand(town, 'rig', 'add', RIG, repository, '--workers', '2', ...env, '--', ...worker);
    const convoy = await town.json<ConvoyView>(
      'convoy',
      'create',
      'Three changes',
      '--formula',
      FORMULA,
      '--rig',
      RIG,
      '--human',
    );
    tell(`convoy ${convoy.id} created from formula ${FORMULA}: twelve steps, two workers at a time`);
    const kills = own ? [] : await killTwice(town);
    const done = await completed(town, convoy.id, (own ? OWN_PROGRAM_MINUTES : CONVOY_MINUTES) * 60_000);
    tell(`convoy ${convoy.id} is ${done.status}: ${done.closed} of ${done.total} tasks, ${done.percent}%`);
    const claims = await verify(town, repository, done, kills);
    return showClaims([...claims, await downClaim(town)]);
  } finally {
    await town.killEverything();
    rmSync(folder, { recursive: true, force: true });
  }
}

interface Kill {
  readonly agent: string;
  readonly step: string;
  readonly incarnation: number;
  readonly resumed: Effect;
}

/** One session in the middle of a change; later every process of the town. */
async function killTwice(town: DrivenTown): Promise<Kill[]> {
  const half = await town.effect(({ kind, step }) => kind === 'write' && step.endsWith('-change'), 'the first change');
  // At once: it is in the middle only until its next action.
  killProcess(half.pid);
  const killedFirst = Date.now();
  const session = (await town.sessions()).find(
    ({ pid, incarnation }) => pid === half.pid && incarnation === half.incarnation,
  );
  const first = await resumption(
    town,
    half,
    killedFirst,
    `SIGKILL of session ${session?.id ?? '(not in the list)'} of ${half.agent} (pid ${half.pid})`,
  );

  const later = (effect: Effect) =>
    effect.kind === 'begin' && effect.at > first.resumed.at && effect.step.endsWith('-green');
  const middle = await town.effect(later, 'a later step');
  const count = await town.killEverything();
  const killedAt = Date.now();
  tell(`SIGKILL of all ${count} processes of the town: supervisor, service, Postgres, Temporal, sessions; town up`);
  await town.up();
  const second = await resumption(town, middle, killedAt, null);
  return [first, second];
}

async function resumption(town: DrivenTown, cut: Effect, killedAt: number, what: string | null): Promise<Kill> {
  if (what !== null) tell(what);
  say(
    `         killed at ${clock(killedAt)} in step ${cut.step}, attempt ${cut.attempt}, incarnation ${cut.incarnation}`,
  );
  const resumed = await town.effect(
    ({ kind, step, incarnation, molecule }) =>
      kind === 'begin' && step === cut.step && molecule === cut.molecule && incarnation > cut.incarnation,
    `the resumption of ${cut.step}`,
  );
  const after = ((resumed.at - killedAt) / 1000).toFixed(2);
  say(
    `         resumed at ${clock(resumed.at)}, ${after} s later, in step ${resumed.step} as ${resumed.agent}, incarnation ${resumed.incarnation}, attempt ${resumed.attempt}`,
  );
  return { agent: cut.agent, step: cut.step, incarnation: cut.incarnation, resumed };
}

async function completed(town: DrivenTown, id: string, timeoutMs: number): Promise<ConvoyView> {
  let shown = -1;
  const look = async () => {
    const convoy = await town.json<ConvoyView>('convoy', 'status', id);
    const closed = convoy.tasks.reduce((sum, task) => sum + (task.steps_closed ?? 0), 0);
    if (closed !== shown) tell(`${closed} of ${convoy.tasks[0]?.steps_total ?? 12} steps closed`);
    shown = closed;
    return convoy.status === 'completed' ? convoy : null;
  };
  return await until(look, 'the completion of the convoy', timeoutMs, 200);
}

interface Claim {
  readonly claim: string;
  readonly ok: boolean;
  readonly facts: string;
}

async function verify(
  town: DrivenTown,
  repository: string,
  convoy: ConvoyView,
  kills: readonly Kill[],
): Promise<Claim[]> {
  const [task] = convoy.tasks;
  if (task?.molecule_id == null) throw new Error('the convoy has no molecule');
  const events = await town.trail(task.molecule_id);
  const molecule = await town.molecule(task.molecule_id);
  const convoyEvents = await until(
    async () => {
      const sealed = await town.events('--convoy', convoy.id);
      return sealed.some(({ type }) => type === 'convoy_completed') && sealed;
    },
    'the event of the completion',
    60_000,
    200,
  );
  const notices = convoyEvents.filter(({ type }) => type === 'convoy_completed');
  const [notice] = notices;
  const branches = branchesOf(repository);
  show((await town.run('convoy', 'status', convoy.id)).stdout, 'The convoy');
  show(trail(events), 'The event trail (steps)');
  show(
    branches
      .map((branch) => git(repository, 'log', '-1', '--format=%h %s', branch).replace(/^/, `${branch}  `))
      .join(''),
    'Branch heads',
  );
  const status = await town.json<{ temporal: { ui_url: string | null } }>('status');
  show(status.temporal.ui_url ?? 'none', 'Temporal Web UI (until the town goes down)');

  const agents = await town.agents();
  const rebuilt = await town.json<{ differences: string[]; events: number }>('projection', 'rebuild');
  const audit = await town.json<{ ok: boolean; sealed: number; problem: string | null }>('audit', 'verify');
  const claims = [
    stepsClaim(molecule, events),
    testsClaim(repository, branches),
    {
      claim: 'the convoy is complete and the person was told',
      ok: convoy.percent === 100 && notices.length === 1 && notifiedOf(notice).length === 1,
      facts: `${convoy.closed} of ${convoy.total} tasks; ${JSON.stringify(notice?.payload)}`,
    },
    {
      claim: 'the audit chain is intact',
      ok: audit.ok,
      facts: audit.problem ?? `${audit.sealed} events sealed`,
    },
    {
      claim: 'the projection rebuilt from events is what was there',
      ok: rebuilt.differences.length === 0,
      facts: `${rebuilt.events} events, ${rebuilt.differences.length} differences ${rebuilt.differences.join(', ')}`,
    },
  ];
  if (kills.length === 0) return claims;
  const killed = new Set(kills.map(({ agent }) => agent));
  return [
    ...claims,
    commitsClaim(repository, branches, molecule),
    effectsClaim(town.effects()),
    {
      claim: 'each killed session was followed by the next incarnation, at the same step',
      ok:
        kills.every(({ incarnation, resumed }) => resumed.incarnation === incarnation + 1) &&
        kills[0]?.resumed.attempt === 2,
      facts: agents
        .filter(({ id }) => killed.has(id))
        .map(({ id, incarnation }) => `${id} is incarnation ${incarnation} now`)
        .join(', '),
    },
  ];
}

function stepsClaim(molecule: MoleculeView, events: readonly EventView[]): Claim {
  const receipts = countBy(
    events.filter(({ type }) => type === 'step_receipt_written'),
    stepOf,
  );
  const closes = countBy(
    events.filter(({ type }) => type === 'step_closed'),
    stepOf,
  );
  const wrong = molecule.steps.filter(
    ({ status, outcome, step }) => status !== 'closed' || outcome !== 'done' || receipts.get(step) !== 1,
  );
  const closedOnce = [...closes.values()].every((count) => count === 1) && closes.size === molecule.steps.length;
  return {
    claim: 'each step was closed exactly once',
    ok: wrong.length === 0 && closedOnce && receipts.size === molecule.steps.length,
    facts: `${molecule.steps_closed} of ${molecule.steps_total} steps, ${receipts.size} receipts, ${closes.size} closings ${wrong.map(({ step }) => step).join(' ')}`,
  };
}

function commitsClaim(repository: string, branches: readonly string[], molecule: MoleculeView): Claim {
  const trailers = git(repository, 'log', '--format=%(trailers:key=' + STEP_TRAILER + ',valueonly)', ...branches)
    .split('\n')
    .filter(Boolean);
  const counts = countBy(trailers, (trailer) => trailer);
  const wanted = molecule.steps.filter(({ step }) => step.endsWith('-commit'));
  const held = wanted.filter(
    ({ commit_id }) => commit_id !== null && branches.some((branch) => isAncestor(repository, commit_id, branch)),
  );
  return {
    claim: 'every commit is there exactly once',
    ok:
      wanted.every(({ id }) => counts.get(id) === 1) &&
      trailers.length === wanted.length &&
      held.length === wanted.length,
    facts: `${trailers.length} commits on ${branches.length} branches for ${wanted.length} commit steps`,
  };
}

function effectsClaim(effects: readonly Effect[]): Claim {
  const once = effects.filter(({ kind }) => kind === 'commit' || kind === 'close');
  const doubled = [...countBy(once, ({ kind, step }) => `${kind} ${step}`)].filter(([, count]) => count > 1);
  return {
    claim: 'no side effect of the sessions was doubled',
    ok: once.length > 0 && doubled.length === 0,
    facts: `${effects.length} effects noted, doubled: ${doubled.map(([name]) => name).join(', ') || 'none'}`,
  };
}

function testsClaim(repository: string, branches: readonly string[]): Claim {
  const results = branches.map((branch) => {
    const folder = mkdtempSync(join(tmpdir(), 'town-demo-head-'));
    try {
      const archive = spawnSync('sh', ['-c', 'git archive "$1" | tar -x -C "$2"', 'sh', branch, folder], {
        cwd: repository,
      });
      const { status } = spawnSync(NODE, ['--test'], { cwd: folder, env: { PATH: process.env['PATH'] } });
      return archive.status === 0 && status === 0;
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
  return {
    claim: 'the tests pass on each branch head',
    ok: branches.length > 0 && results.every(Boolean),
    facts: branches.map((branch, index) => `${branch}: ${results[index] === true ? 'pass' : 'fail'}`).join(', '),
  };
}

async function downClaim(town: DrivenTown): Promise<Claim> {
  const left = await town.down();
  tell('town down');
  return {
    claim: 'town down left no process',
    ok: left.length === 0,
    facts: left.join('; ') || `${town.seen.size} seen, none left`,
  };
}

function showClaims(claims: readonly Claim[]): boolean {
  say('\nClaims');
  for (const { claim, ok, facts } of claims) say(`  ${ok ? 'ok    ' : 'FAILED'}  ${claim} (${facts.trim()})`);
  const good = claims.every(({ ok }) => ok);
  say(good ? `\nAll of it holds, after ${seconds()} s.` : '\nNot all of it holds.');
  return good;
}

function makeRepository(folder: string): void {
  for (const [file, text] of Object.entries(LIBRARY)) {
    mkdirSync(dirname(join(folder, file)), { recursive: true });
    writeFileSync(join(folder, file), text);
  }
  git(folder, 'init', '--quiet', '--initial-branch=main');
  git(folder, 'add', '--all');
  git(
    folder,
    '-c',
    'user.name=demo',
    '-c',
    'user.email=demo@town.invalid',
    'commit',
    '--quiet',
    '-m',
    'A small library',
  );
}

function branchesOf(repository: string): string[] {
  return git(repository, 'for-each-ref', '--format=%(refname:short)', 'refs/heads')
    .split('\n')
    .filter((branch) => branch !== '' && branch !== 'main');
}

function isAncestor(repository: string, commit: string, branch: string): boolean {
  return spawnSync('git', ['merge-base', '--is-ancestor', commit, branch], { cwd: repository }).status === 0;
}

function git(folder: string, ...words: string[]): string {
  return execFileSync('git', words, { cwd: folder, encoding: 'utf8' });
}

function trail(events: readonly EventView[]): string {
  return events
    .filter(({ type }) => /^(step_|session_|lane_granted|molecule_)/.test(type))
    .map(
      (event) =>
        `${clock(Date.parse(event.at))}  ${event.type.padEnd(20)} ${stepOf(event).padEnd(16)} ${event.agent_id ?? ''}`,
    )
    .join('\n');
}

/** Who got mail. */
function notifiedOf(event: EventView | undefined): unknown[] {
  const payload = event?.payload;
  const notified =
    typeof payload === 'object' && payload !== null && 'notified' in payload ? payload['notified'] : null;
  return Array.isArray(notified) ? notified : [];
}

function countBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const item of items) counts.set(keyOf(item), (counts.get(keyOf(item)) ?? 0) + 1);
  return counts;
}

async function demand(town: DrivenTown, ...words: string[]): Promise<void> {
  const { code, stderr } = await town.run(...words);
  if (code !== 0) throw new Error(`town ${words.join(' ')} ended with ${code}: ${stderr.trim()}`);
}

function show(text: string, heading: string): void {
  say(`\n${heading}\n${text.trimEnd().replaceAll(/^/gm, '  ')}`);
}
function tell(text: string): void {
  say(`${seconds().padStart(6)} s  ${text}`);
}
function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
function seconds(): string {
  return ((Date.now() - started) / 1000).toFixed(1);
}
function clock(at: number): string {
  return new Date(at).toISOString().slice(11, 23);
}

main(process.argv.slice(2)).then(
  (good) => process.exit(good ? 0 : 1),
  (error: unknown) => {
    say(`The demo failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
    process.exit(1);
  },
);
