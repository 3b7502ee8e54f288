import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isAlive } from '../../../activities/provision/process';
import { createDesk, type Desk } from '../../../activities/session/desk';
import { createSessions, type Sessions } from '../../../activities/session/sessions';
import type { StepState } from '../../../activities/session/step-states';
import { createAttemptTokens } from '../../../activities/session/tokens';
import { createWorktrees } from '../../../activities/worktree/git-worktree';
import type { DeskCaller } from '../../../schema/desk';
import type { Runtime } from '../../../schema/ledger';
import type { PerformStep } from '../../../schema/runs';
import { DEFAULT_TIMINGS } from '../../../schema/timings';
import { close } from '../../support/close-step';
import type { StepBrief } from '../../../schema/views';
import { createFakeLedger, type FakeLedger } from '../../support/fakes/ledger';
import { createFakeStepStates } from '../../support/fakes/step-states';
import { makeGitRig } from '../../support/git-rig';
import { until } from '../../support/until';

const AGENT = 'acme/polecats/amber';
/** Far above what anything here takes. */
const PATIENCE_MS = 20_000;
const SLEEPER: Runtime = { preset: 'command', command: ['sh', '-c', 'echo "$TOWN_TOKEN" > token; exec sleep 600'] };
const MOLECULES = { 'mol-1': ['one', 'two'], 'mol-2': ['one'] };
const { root, rig, git } = makeGitRig();
const hosts: Host[] = [];
let towns = 0;

interface Host {
  desk: Desk;
  sessions: Sessions;
  project(step: string, state: Partial<StepState>, molecule_id?: string): void;
  /** Whether the agent may stop. */
  release(released: boolean): void;
  /** What the projection will say of the step once its receipt is written. */
  followClose(step: string, state: Partial<StepState>): void;
  lines: string[];
}

/** A host over the ledger; a second one over the same ledger and folder is its successor. */
function host(ledger: FakeLedger, folder: string, releaseGraceMs = 30): Host {
  const worktrees = createWorktrees({ root: join(folder, 'trees') });
  const lines: string[] = [];
  const states = createFakeStepStates();
  const log = (line: string) => void lines.push(line);
  const sessions = createSessions({
    ledger,
    worktrees,
    states,
    hostId: 'host-1',
    root: folder,
    logs: join(folder, 'logs'),
    socket: join(folder, 'sock'),
    bin: join(folder, 'bin'),
    log,
    killGraceMs: 500,
    releaseGraceMs,
    externalLeaseMs: 60_000,
  });
  const desk = createDesk({
    ledger,
    sessions,
    worktrees,
    states,
    tokens: createAttemptTokens(join(folder, 'tokens'), log),
    held: () => [AGENT],
    refreshHeld: async () => undefined,
    timings: { ...DEFAULT_TIMINGS, heartbeatTimeoutMs: 100 },
    checkLogs: join(folder, 'checks'),
    log,
    attemptWaitMs: 50,
    projectionWaitMs: 2_000,
  });
  const following = new Map<string, Partial<StepState>>();
  const { writeReceipt } = ledger;
  ledger.writeReceipt = async (ask, input) => {
    const written = await writeReceipt(ask, input);
    // The projection follows the receipt.
    const state = following.get(input.step);
    setTimeout(() => {
      if (state !== undefined) project(input.step, state, input.molecule_id);
      else states.touch(input.molecule_id);
    }, 5);
    return written;
  };
  const project: Host['project'] = (step, state, molecule_id = 'mol-1') =>
    states.show(molecule_id, step, {
      molecule_status: 'running',
      step_status: 'hooked',
      agent_id: AGENT,
      outcome: null,
      ...state,
    });
  const followClose = (step: string, state: Partial<StepState>) => void following.set(step, state);
  const release = (released: boolean) => states.release(AGENT, released);
  const made = { desk, sessions, project, release, followClose, lines };
  hosts.push(made);
  return made;
}

function town(runtime: Runtime = SLEEPER, checks: StepBrief['checks'] = [], releaseGraceMs?: number) {
  const folder = join(root, `town-${(towns += 1)}`);
  mkdirSync(folder);
  const ledger = createFakeLedger({ rigPath: rig, runtime, checks, molecules: MOLECULES });
  return { folder, ledger, ...host(ledger, folder, releaseGraceMs) };
}

const request = (step: string, over: Partial<PerformStep> = {}): PerformStep => ({
  molecule_id: 'mol-1',
  root_task_id: `acme-t000${towns}`,
  rig_id: 'acme',
  agent: AGENT,
  step,
  attempt: 1,
  dispatch: 1,
  base_commit: null,
  decision_id: 'd',
  ...over,
});

function attempt(desk: Desk, asked: PerformStep) {
  const abort = new AbortController();
  let cancel = false;
  let beats = 0;
  const result = desk.performStep(asked, {
    taskToken: Buffer.from('token'),
    signal: abort.signal,
    heartbeat: () => void (beats += 1),
    cancelRequested: () => cancel,
  });
  result.catch(() => undefined);
  return {
    result,
    beats: () => beats,
    abort: (requested: boolean) => {
      cancel = requested;
      abort.abort();
    },
  };
}

/** The caller behind the token that the session's program got. */
async function callerOf(at: { desk: Desk; sessions: Sessions }): Promise<DeskCaller> {
  const session = await until(() => at.sessions.live(AGENT), 'a session', PATIENCE_MS);
  const file = join(session.worktree!, 'token');
  const token = await until(() => existsSync(file) && readFileSync(file, 'utf8').trim(), 'its token', PATIENCE_MS);
  const caller = await at.desk.authenticate(token);
  expect(caller.incarnation).toBe(session.incarnation);
  rmSync(file);
  return caller;
}

afterAll(async () => {
  await Promise.all(hosts.map(({ sessions }) => sessions.stopAll([], 'test over')));
  rmSync(root, { recursive: true, force: true });
});

test('carries a session through two steps: one session, one receipt each, the next step in the answer', async () => {
  const at = town();
  const first = attempt(at.desk, request('one'));
  const caller = await callerOf(at);
  expect(await at.desk.current(caller, 5_000)).toMatchObject({ step: 'one', worktree: caller.worktree });
  const tokenFile = join(at.folder, 'tokens', 'acme.polecats.amber.json');
  expect(statSync(tokenFile).mode & 0o777).toBe(0o600);

  const closing = at.desk.closeStep(caller, close({ step: 'one', next_wait_ms: 5_000 }));
  expect(await first.result).toMatchObject({
    outcome: 'done',
    incarnation: 1,
    commit_id: git(rig, 'rev-parse', 'HEAD'),
  });
  at.project('one', { step_status: 'closed' });
  const second = attempt(at.desk, request('two'));
  expect(await closing).toMatchObject({ step: 'one', projected: true, already: false, next: { step: 'two' } });

  at.followClose('two', { step_status: 'closed', molecule_status: 'completed' });
  expect(await at.desk.closeStep(caller, close({ step: 'acme-k3f9a.one', next_wait_ms: 5_000 }))).toMatchObject({
    already: true,
  });
  await at.desk.closeStep(caller, close({ step: 'two', next_wait_ms: 5_000 }));
  await second.result;
  expect(at.ledger.receipts.map(({ step }) => step)).toEqual(['one', 'two']);
  expect(at.ledger.sessions).toHaveLength(1);
  await expect(at.desk.closeStep(caller, close({ step: 'three' }))).rejects.toMatchObject({ code: 'WRONG_STATE' });
});

test('answers a receipt that is there already without starting a session', async () => {
  const at = town();
  const first = attempt(at.desk, request('one'));
  const caller = await callerOf(at);
  at.followClose('one', { step_status: 'closed' });
  await at.desk.closeStep(caller, close());
  await first.result;
  await at.sessions.stopAll([], 'done');
  expect(await attempt(at.desk, request('one', { dispatch: 2 })).result).toMatchObject({ incarnation: 1 });
  expect(at.ledger.sessions).toHaveLength(1);
});

test('fails with SESSION_LOST when the session is killed; the next attempt has the next incarnation and the old token is stale', async () => {
  const at = town();
  const first = attempt(at.desk, request('one'));
  const caller = await callerOf(at);
  process.kill(-at.sessions.live(AGENT)!.process!.pid, 'SIGKILL');
  await expect(first.result).rejects.toMatchObject({ type: 'SESSION_LOST', nonRetryable: true });
  const second = attempt(at.desk, request('one', { attempt: 2, dispatch: 2 }));
  const next = await callerOf(at);
  expect(next).toMatchObject({ incarnation: 2, worktree: caller.worktree });
  expect(await at.desk.current(next, 5_000)).toMatchObject({ resumed: true, attempt: 2 });
  expect(at.lines).toContain(`Resuming identity: ${AGENT}, incarnation 2`);
  await expect(at.desk.closeStep(caller, close({ step: 'one' }))).rejects.toMatchObject({ code: 'STALE_SESSION' });
  expect(at.ledger.receipts).toEqual([]);
  at.followClose('one', { step_status: 'closed' });
  await at.desk.closeStep(next, close());
  expect(await second.result).toMatchObject({ incarnation: 2 });
});

test('fails with ENDED_EARLY and SESSION_UNSTARTABLE', async () => {
  const early = town({ preset: 'command', command: ['true'] });
  await expect(attempt(early.desk, request('one')).result).rejects.toMatchObject({ type: 'ENDED_EARLY' });
  const absent = town({ preset: 'command', command: ['no-such-program-here'] });
  await expect(attempt(absent.desk, request('one')).result).rejects.toMatchObject({ type: 'SESSION_UNSTARTABLE' });
  writeFileSync(join(absent.folder, 'script'), '#!/no/such/interpreter\n', { mode: 0o755 });
  const broken = town({ preset: 'command', command: [join(absent.folder, 'script')] });
  await expect(attempt(broken.desk, request('one')).result).rejects.toMatchObject({ type: 'SESSION_UNSTARTABLE' });
});

test('a successor that was asked for nothing ends what the dead host left running when the town stops', async () => {
  const at = town();
  attempt(at.desk, request('one'));
  const { incarnation } = await callerOf(at);
  at.desk.detach(null, 'dies');
  at.sessions.detach();
  const heir = host(at.ledger, at.folder);
  const row = await at.ledger.currentSession(AGENT);
  expect(row).toMatchObject({ incarnation, status: 'running' });
  const leader = { pid: row!.pid!, startTime: Number(row!.pid_start) };
  expect(isAlive(leader.pid, leader.startTime)).toBe(true);

  await heir.sessions.stopAll([AGENT], 'the town was stopped');

  expect(isAlive(leader.pid, leader.startTime)).toBe(false);
  expect(await at.ledger.currentSession(AGENT)).toBeNull();
});

test('a successor of a dead host re-attaches to the session, whose call then closes the step', async () => {
  const at = town();
  const first = attempt(at.desk, request('one'));
  const caller = await callerOf(at);
  const { process: leader } = at.sessions.live(AGENT)!;
  at.desk.detach(null, 'dies');
  at.sessions.detach();
  await expect(first.result).rejects.toMatchObject({ type: 'HOST_DETACHED' });

  const heir = host(at.ledger, at.folder);
  const second = attempt(heir.desk, request('one', { dispatch: 2 }));
  const brief = await heir.desk.current(caller, 5_000);
  expect(brief).toMatchObject({ step: 'one' });
  expect(heir.lines.join()).toMatch(/Re-attached/);
  heir.followClose('one', { step_status: 'closed' });
  await heir.desk.closeStep(caller, close());
  expect(await second.result).toMatchObject({ incarnation: 1 });

  const third = attempt(heir.desk, request('two'));
  await heir.desk.current(caller, 5_000);
  process.kill(leader!.pid, 'SIGKILL');
  await expect(third.result).rejects.toMatchObject({ type: 'SESSION_LOST' });
});

test('runs the checks on the commit, refuses with their output, and takes the corrected work', async () => {
  const at = town(SLEEPER, [{ run: 'cat a.txt; grep -q two a.txt', timeout_ms: 60_000 }]);
  const first = attempt(at.desk, request('one'));
  const caller = await callerOf(at);
  await at.desk.current(caller, 5_000);
  writeFileSync(join(caller.worktree!, 'a.txt'), 'two\n');
  await expect(at.desk.closeStep(caller, close())).rejects.toMatchObject({
    code: 'CHECKS_FAILED',
    details: { exit_code: 1, output: 'one\n' },
  });
  git(caller.worktree!, 'commit', '-qam', 'second');
  at.followClose('one', { step_status: 'closed' });
  await Promise.all([at.desk.closeStep(caller, close()), at.desk.closeStep(caller, close())]);
  expect(await first.result).toMatchObject({ commit_id: git(caller.worktree!, 'rev-parse', 'HEAD') });
  expect(at.ledger.receipts).toHaveLength(1);
});

test('a check that takes longer than its own limit is ended, and named with that limit', async () => {
  const slow = 'echo begun; exec sleep 600';
  const at = town(SLEEPER, [
    { run: 'true', timeout_ms: 60_000 },
    { run: slow, timeout_ms: 250 },
  ]);
  const first = attempt(at.desk, request('one'));
  const caller = await callerOf(at);
  await at.desk.current(caller, 5_000);
  await expect(at.desk.closeStep(caller, close())).rejects.toMatchObject({
    code: 'CHECKS_FAILED',
    message: expect.stringContaining(`check \`${slow}\` took longer than its limit of 0.25 s`),
    details: { check: slow, timeout_ms: 250, output: 'begun\n' },
  });
  expect(at.ledger.receipts).toEqual([]);
  first.abort(false);
  await expect(first.result).rejects.toMatchObject({ type: 'HOST_DETACHED' });
});

test('leaves the session alone on shutdown, and stops it when somebody else has resolved the step', async () => {
  const at = town();
  const first = attempt(at.desk, request('one'));
  await callerOf(at);
  const leader = at.sessions.live(AGENT)!.process!;
  first.abort(false);
  await expect(first.result).rejects.toMatchObject({ type: 'HOST_DETACHED' });
  expect(isAlive(leader.pid, leader.startTime)).toBe(true);
  const second = attempt(at.desk, request('one', { dispatch: 2 }));
  await until(() => second.beats() > 0, 'a heartbeat', PATIENCE_MS);
  at.project('one', { step_status: 'closed', outcome: 'skipped' });
  await expect(second.result).rejects.toMatchObject({ type: 'STEP_RESOLVED' });
  expect(isAlive(leader.pid, leader.startTime)).toBe(false);
});

test('gives another molecule a session of its own, in its own tree', async () => {
  const at = town();
  const first = attempt(at.desk, request('one'));
  const caller = await callerOf(at);
  at.followClose('one', { step_status: 'closed', molecule_status: 'completed' });
  await at.desk.closeStep(caller, close());
  await first.result;
  const second = attempt(at.desk, request('one', { molecule_id: 'mol-2', root_task_id: 'acme-other' }));
  await until(() => at.sessions.live(AGENT)?.molecule_id === 'mol-2', 'a session for the other', PATIENCE_MS);
  const next = await callerOf(at);
  expect(next.incarnation).toBe(2);
  expect(next.worktree).not.toBe(caller.worktree);
  at.project('theirs', { agent_id: 'acme/polecats/basalt' }, 'mol-9');
  await expect(at.desk.closeStep(next, close({ molecule_id: 'mol-9', step: 'theirs' }))).rejects.toMatchObject({
    code: 'NOT_HOLDER',
  });
  await at.desk.closeStep(next, close({ molecule_id: 'mol-2' }));
  await second.result;
});

test.each([20, 2_000])(
  'gives a session that asks for its next step, %d ms at a time, no time to end by itself',
  async (ms) => {
    const at = town(SLEEPER, [], 60_000);
    const first = attempt(at.desk, request('one'));
    const caller = await callerOf(at);
    at.followClose('one', { step_status: 'closed', molecule_status: 'completed' });
    await at.desk.closeStep(caller, close());
    await first.result;
    const asking = (async () => {
      while (at.sessions.live(AGENT)?.id === caller.session_id) expect(await at.desk.current(caller, ms)).toBeNull();
    })();
    const second = attempt(at.desk, request('one', { molecule_id: 'mol-2', root_task_id: `acme-next${towns}` }));
    await until(() => at.sessions.live(AGENT)?.molecule_id === 'mol-2', 'a session for the other', PATIENCE_MS);
    await at.desk.closeStep(await callerOf(at), close({ molecule_id: 'mol-2' }));
    await Promise.all([second.result, asking]);
  },
);

test('waits for an external session and serves it', async () => {
  const at = town({ preset: 'external' });
  const first = attempt(at.desk, request('one'));
  await expect(at.desk.attach(AGENT, root, 'person:t')).rejects.toMatchObject({ code: 'PATH_OUTSIDE_RIG' });
  const { token, incarnation } = await at.desk.attach(AGENT, rig, 'person:t');
  expect(incarnation).toBe(1);
  const caller = await at.desk.authenticate(token);
  expect(await at.desk.current(caller, 5_000)).toMatchObject({ step: 'one', worktree: rig });
  const later = await at.desk.attach(AGENT, rig, 'person:t');
  await expect(at.desk.authenticate(token)).rejects.toMatchObject({ code: 'STALE_SESSION' });
  await expect(at.desk.authenticate('guess')).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  const second = await at.desk.authenticate(later.token);
  at.followClose('one', { step_status: 'closed' });
  await at.desk.current(second, 5_000);
  await at.desk.closeStep(second, close());
  expect(await first.result).toMatchObject({ incarnation: 2 });
});

test('an agent that was released may end its session, and its work waits for the hook to be resumed', async () => {
  const at = town();
  const first = attempt(at.desk, request('one'));
  const caller = await callerOf(at);
  await at.desk.current(caller, 5_000);
  at.release(true);
  const { pid } = at.sessions.live(AGENT)!.process!;
  process.kill(pid, 'SIGTERM');
  await until(() => at.ledger.sessions[0]?.status === 'ended', 'the end of the session', PATIENCE_MS);
  const beats = first.beats();
  await until(() => first.beats() > beats + 2, 'heartbeats', PATIENCE_MS);
  // A host that comes now finds nobody, and starts nobody either.
  const heir = host(at.ledger, at.folder);
  heir.release(true);
  first.abort(false);
  await expect(first.result).rejects.toMatchObject({ type: 'HOST_DETACHED' });
  const second = attempt(heir.desk, request('one', { dispatch: 2 }));
  await until(() => second.beats() > 2, 'heartbeats', PATIENCE_MS);
  expect(at.ledger.sessions).toHaveLength(1);

  heir.release(false);
  const next = await callerOf(heir);
  expect(await heir.desk.current(next, 5_000)).toMatchObject({ step: 'one', attempt: 1, resumed: true });
  await heir.desk.closeStep(next, close());
  expect(await second.result).toMatchObject({ outcome: 'done', incarnation: 2 });
});

test('a failed step that is tried again has a receipt for each round, and a repeated close does not fail the next one', async () => {
  const at = town();
  const first = attempt(at.desk, request('one'));
  const caller = await callerOf(at);
  await at.desk.current(caller, 5_000);
  const failing = close({ step: 'one', outcome: 'failed', note: 'no', next_wait_ms: 5_000 });
  const closing = at.desk.closeStep(caller, failing);
  expect(await first.result).toMatchObject({ outcome: 'failed' });
  at.project('one', { step_status: 'ready', round: 2 });
  const second = attempt(at.desk, request('one', { attempt: 2, dispatch: 2, round: 2 }));
  // Its answer has the same step once more, as it is in the next round.
  expect(await closing).toMatchObject({ outcome: 'failed', projected: true, next: { step: 'one', attempt: 2 } });

  // Another answer got lost on the way: the third round has begun, and the session has not been told.
  at.followClose('one', { step_status: 'ready', round: 3 });
  await at.desk.closeStep(caller, close({ step: 'one', outcome: 'failed', note: 'again' }));
  expect(await second.result).toMatchObject({ outcome: 'failed' });
  const third = attempt(at.desk, request('one', { attempt: 3, dispatch: 3, round: 3 }));
  const repeated = await at.desk.closeStep(caller, close({ step: 'one', outcome: 'failed', note: 'again' }));
  expect(repeated).toMatchObject({ already: true, outcome: 'failed' });

  at.followClose('one', { step_status: 'closed', round: 3 });
  await at.desk.current(caller, 5_000);
  await at.desk.closeStep(caller, close({ step: 'one' }));
  expect(await third.result).toMatchObject({ outcome: 'done' });
  expect(at.ledger.receipts.map(({ round, outcome }) => [round, outcome])).toEqual([
    [1, 'failed'],
    [2, 'failed'],
    [3, 'done'],
  ]);
  expect(at.ledger.sessions).toHaveLength(1);
});

test('tells the molecule what it wants to know of the end of a step, and nothing more', async () => {
  const at = town();
  const wants = {
    outputs: [['found', 'list'], ['none']],
    files: ['a.txt', 'b.txt', '../rig', '/etc/passwd'],
    env: ['TOWN_VAR_MODE', 'HOME'],
  };
  const first = attempt(at.desk, request('one', { wants }));
  const caller = await callerOf(at);
  process.env['TOWN_VAR_MODE'] = 'fast';
  at.followClose('one', { step_status: 'closed' });
  await at.desk.closeStep(caller, close({ output: { found: { list: [1, 2], more: 'x' }, text: 'y' } }));
  expect(await first.result).toMatchObject({
    output: { found: { list: [1, 2] } },
    facts: {
      files: { 'a.txt': true, 'b.txt': false, '../rig': false, '/etc/passwd': false },
      env: { TOWN_VAR_MODE: 'fast' },
    },
  });
  const plain = attempt(at.desk, request('two'));
  await at.desk.current(caller, 5_000);
  at.followClose('two', { step_status: 'closed' });
  await at.desk.closeStep(caller, close({ output: { a: 1 } }));
  const result = await plain.result;
  expect(result).not.toHaveProperty('output');
  expect(result).not.toHaveProperty('facts');
});

test('a check that cannot be made is tried again, and refuses the close without blaming the work', async () => {
  const at = town(SLEEPER, [{ run: 'exit 75', timeout_ms: 60_000 }]);
  attempt(at.desk, request('one'));
  const caller = await callerOf(at);
  await expect(at.desk.closeStep(caller, close())).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    hint: expect.stringContaining('close the step again'),
  });
  expect(at.ledger.receipts).toEqual([]);
}, 20_000);
