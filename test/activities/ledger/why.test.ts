import { sql } from 'kysely';
import { project } from '../../../activities/projection/project';
import { hookRow } from '../../../schema/agent/agent';
import { dispatchRow } from '../../../schema/dispatch/dispatch';
import { runId } from '../../../schema/ids';
import type { DependencyType, LeanStep, Outcome, SlingTarget, TaskInput } from '../../../schema/ledger';
import { applyEvent } from '../../../schema/molecule/apply';
import type { Molecule, MoleculeEvent } from '../../../schema/molecule/molecule';
import { moleculeRow, runEventOf, stepRow } from '../../../schema/molecule/rows';
import type { RunRows } from '../../../schema/runs';
import type { WaitGate } from '../../../schema/task/dependency';
import type { WhyView } from '../../../schema/task/why';
import type { TaskView } from '../../../schema/views';
import { AMBER, granted, hooked, inputOf, playHook, playQueue, queued, step } from '../../support/play';
import { openSession, person, recipe, rigTown } from './scene';

const town = rigTown();

/** Ids of this scenario by the names they have in the texts. */
let names: Map<string, string>;
let sessions = 0;
beforeEach(() => {
  names = new Map();
});

const make = async (title: string, more: Partial<TaskInput> = {}): Promise<TaskView> => {
  const task = await town.make(title, more);
  names.set(task.id, `#${title}`);
  return task;
};
const edge = (task: TaskView, on: TaskView, type: DependencyType, gate?: WaitGate) =>
  town.ledger.addDependency(person, {
    task_id: task.id,
    depends_on_id: on.id,
    type,
    ...(gate === undefined ? {} : { metadata: { gate } }),
  });
const close = (task: TaskView, outcome: Outcome = 'done', reason?: string) =>
  town.ledger.closeTask(person, task.id, { outcome, force: true, ...(reason === undefined ? {} : { reason }) });

const RIG: SlingTarget = { kind: 'rig', id: 'acme' };
const AGENT: SlingTarget = { kind: 'agent', id: AMBER };
const sling = async (task: TaskView, target: SlingTarget = AGENT): Promise<string> => {
  const { molecule_id } = await town.ledger.sling(person, {
    task_id: task.id,
    target,
    recipe,
    decision_id: 'd',
  });
  names.set(molecule_id, '#mol');
  return molecule_id;
};

/** Publishes what the run of a molecule with these events would. */
async function run(task: TaskView, id: string, steps: readonly LeanStep[], ...events: MoleculeEvent[]): Promise<void> {
  const input = inputOf(steps, { id, root_task_id: task.id });
  let molecule: Molecule | null = null;
  const recorded = [{ type: 'molecule_poured', input } as const, ...events].map((event, at) => {
    const one = { seq: at + 1, at: Date.now(), event };
    molecule = applyEvent(molecule, one);
    return runEventOf(one, molecule);
  });
  const after = molecule as unknown as Molecule; // assigned above
  const rows: RunRows = {
    kind: 'molecule',
    seq: after.seq,
    molecule: moleculeRow(after),
    steps: after.steps.map((_, position) => stepRow(after, position)),
  };
  await project(town.db, { run: runId.molecule(id), epoch: 1, events: recorded, rows });
}

async function session(molecule_id: string, end?: { reason: string; exit_code: number }): Promise<void> {
  sessions += 1;
  const { session_id } = await town.ledger.openSession(person, {
    agent: AMBER,
    preset: 'command',
    token_hash: `hash-${sessions}`,
    host_id: 'h',
    worktree: null,
    molecule_id,
  });
  if (end !== undefined) await town.ledger.endSession(person, session_id, end);
}

/** The answer with names for ids, and without the times that the clock decides. */
async function why(task: TaskView): Promise<Pick<WhyView, 'text' | 'next'> & { kinds: string[] }> {
  const { text, next, causes } = await town.ledger.whyTask(task.id);
  const ids = [...names].toSorted(([a], [b]) => b.length - a.length);
  const plain = (line: string) =>
    ids
      .reduce((all, [id, name]) => all.replaceAll(id, name), line)
      .replaceAll(/20[2-3]\d-\d\d-\d\d \d\d:\d\d UTC/g, '<time>');
  return { text: plain(text), next: next === null ? null : plain(next), kinds: causes.map(({ kind }) => kind) };
}

const lost = (reason: string, dispatch = 1): MoleculeEvent => ({
  type: 'step_lost',
  step: 0,
  dispatch,
  reason,
  counted: true,
  detail: 'exit code 1',
});
const work = [step(recipe.steps[0]!.id), step('review', { needs: [recipe.steps[0]!.id] })];
const WORK = recipe.steps[0]!.id;

describe('why a task is not done: what forbids it', () => {
  test('1 it is done', async () => {
    const task = await make('a');
    await close(task, 'done', 'fixed by hand');
    expect(await why(task)).toEqual({
      text: '#a "a" is closed. It ended as done by person:ada on <time>: fixed by hand.',
      next: null,
      kinds: ['closed'],
    });
  });

  test('2 it waits for others', async () => {
    const [task, open, taken] = [await make('a'), await make('b'), await make('c')];
    await edge(task, open, 'blocks');
    await edge(task, taken, 'blocks');
    await town.ledger.claimTask(person, taken.id, { agent: AMBER });
    const { text, next, kinds } = await why(task);
    expect(text).toMatch(/^#a "a" is not done\. It waits for .* and .*\.$/);
    expect(text).toContain('#b "b" (open)');
    expect(text).toContain('#c "c" (in_progress, acme/polecats/amber)');
    expect(next).toMatch(/^town why #[bc]$/);
    expect(kinds).toEqual(['blocked']);
  });

  test('3 it waits for more than can be named', async () => {
    const task = await make('a');
    for (let nth = 0; nth < 13; nth += 1) await edge(task, await make(`b${nth}`), 'blocks');
    expect((await why(task)).text).toMatch(/ and 3 more\.$/);
  });

  test('4 it waits for all parts of another, for one of them, and for one without parts', async () => {
    const spawner = await make('s');
    const [one] = [await make('s1', { parent_id: spawner.id }), await make('s2', { parent_id: spawner.id })];
    const [all, any, none] = [await make('all'), await make('any'), await make('none')];
    await edge(any, spawner, 'waits-for', 'any-children');
    expect((await why(any)).text).toBe(
      '#any "any" is not done. It waits for one of the 2 parts of #s "s" to be closed.',
    );
    await close(one);
    await edge(all, spawner, 'waits-for');
    expect(await why(all)).toEqual({
      text: '#all "all" is not done. It waits for all parts of #s "s" (1 of 2 open).',
      next: 'town why #s',
      kinds: ['waits_for_parts'],
    });
    await edge(none, await make('e'), 'waits-for');
    expect((await why(none)).text).toBe(
      '#none "none" is not done. It waits for #e "e" (open), which has no parts, to be closed.',
    );
  });

  test('5 it is only needed if another fails, which is open', async () => {
    const [task, other] = [await make('a'), await make('b')];
    await edge(task, other, 'conditional-blocks');
    expect(await why(task)).toEqual({
      text: '#a "a" is not done. It is only needed if #b "b" (open) fails, and waits for that.',
      next: 'town why #b',
      kinds: ['only_if_failed'],
    });
  });

  test('6 it can never start', async () => {
    const [task, other] = [await make('a'), await make('b')];
    await edge(task, other, 'conditional-blocks');
    await close(other);
    expect(await why(task)).toEqual({
      text: '#a "a" is not done. It can never start: it is only needed if #b "b" fails, and that ended as done.',
      next: 'town dep tree #a',
      kinds: ['impossible'],
    });
  });

  test('7 what holds back its whole holds it back', async () => {
    const [top, blocker] = [await make('top'), await make('b')];
    const middle = await make('m', { parent_id: top.id });
    const leaf = await make('l', { parent_id: middle.id });
    await edge(top, blocker, 'blocks');
    expect(await why(leaf)).toEqual({
      text: '#l "l" is not done. It is a part of #top "top", which waits for #b "b" (open).',
      next: 'town why #top',
      kinds: ['inherited'],
    });
  });

  test('8 it is put off until a time, or until somebody ends that', async () => {
    const [dated, open] = [await make('a'), await make('b')];
    await town.ledger.deferTask(person, dated.id, { until: '2999-05-01T15:00:00Z' });
    await town.ledger.deferTask(person, open.id, { until: null });
    expect((await why(dated)).text).toBe('#a "a" is not done. It is put off until 2999-05-01 15:00 UTC.');
    expect(await why(open)).toEqual({
      text: '#b "b" is not done. It is put off until somebody ends that.',
      next: null,
      kinds: ['deferred'],
    });
  });

  test('9 its whole is put off', async () => {
    const parent = await make('p');
    const part = await make('a', { parent_id: parent.id });
    await town.ledger.deferTask(person, parent.id, { until: '2999-05-01T15:00:00Z' });
    expect(await why(part)).toEqual({
      text: '#a "a" is not done. It is a part of #p, which is put off until 2999-05-01 15:00 UTC.',
      next: null,
      kinds: ['parent_deferred'],
    });
  });

  test('10 it is pinned, or a record', async () => {
    expect((await why(await make('a', { pinned: true }))).text).toBe(
      '#a "a" is not done. It is pinned: a mark to be read, never ready.',
    );
    expect((await why(await make('b', { type: 'message' }))).text).toBe(
      '#b "b" is not done. It is a record of type message and no work, so it is not handed out by itself.',
    );
  });
});

describe('why a task is not done: nobody does it', () => {
  test('11 nobody has taken it, and it is due', async () => {
    const task = await make('a', { due_at: '2026-01-01' });
    expect(await why(task)).toEqual({
      text: '#a "a" is not done. Nothing holds it back, and nobody has taken it since <time>. It was due <time>.',
      next: 'town sling #a acme',
      kinds: ['untaken', 'overdue'],
    });
  });

  test('12 a deferral that is over is no reason', async () => {
    const task = await make('a');
    await town.ledger.deferTask(person, task.id, { until: '2026-01-01T00:00:00Z' });
    expect((await why(task)).kinds).toEqual(['untaken']);
    expect(await town.ledger.whyTask(task.id)).toMatchObject({ status: 'open', done: false });
  });

  test('13 it is given to an agent who has not begun', async () => {
    const task = await make('a');
    await town.ledger.updateTask(person, task.id, { assigned_agent_id: AMBER });
    expect(await why(task)).toEqual({
      text: '#a "a" is not done. It is given to acme/polecats/amber, who has not begun it.',
      next: 'town hook acme/polecats/amber',
      kinds: ['assigned'],
    });
  });

  test('14 its convoy is stopped', async () => {
    const task = await make('a');
    const convoy = await town.ledger.createConvoy(person, { name: 'c', tasks: [task.id] });
    names.set(convoy.id, '#cv');
    await town.ledger.setConvoyStatus(person, convoy.id, 'stopped');
    expect(await why(task)).toEqual({
      text:
        '#a "a" is not done. Its convoy #cv is stopped, so nothing hands it out. ' +
        'Nothing holds it back, and nobody has taken it since <time>.',
      next: 'town convoy status #cv',
      kinds: ['convoy_stopped', 'untaken'],
    });
  });

  test('15 policy denied it, since it carries the label hold', async () => {
    const task = await make('a', { labels: ['hold'] });
    await town.ledger.recordDecision({
      action: 'dispatch',
      actor: 'convoy.cv-1',
      allow: false,
      reasons: ['automatic dispatch is off', 'the task carries the label hold: only a person may dispatch it'],
      question: { task: { id: task.id }, target: 'acme' },
      input_digest: 'i',
      policy_hash: 'p',
    });
    expect(await why(task)).toEqual({
      text:
        '#a "a" is not done. It carries the label hold: only a person may hand it out. Policy denied convoy.cv-1 to give it to acme ' +
        'on <time>: automatic dispatch is off; the task carries the label hold: only a person may dispatch it. ' +
        'Nothing holds it back, and nobody has taken it since <time>.',
      next: 'town sling #a acme',
      kinds: ['on_hold', 'denied', 'untaken'],
    });
  });

  test('16 parts of it are open', async () => {
    const task = await make('a');
    const part = await make('a1', { parent_id: task.id });
    await close(await make('a2', { parent_id: task.id }));
    await town.ledger.claimTask(person, task.id, { agent: AMBER });
    expect(part.id).toBe(`${task.id}.1`);
    expect((await why(task)).text).toMatch(/ 1 part of it is open: #a1\.$/);
  });
});

describe('why a task is not done: where it stands', () => {
  test('17 an agent claimed it without a molecule', async () => {
    const task = await make('a');
    await town.ledger.claimTask(person, task.id, { agent: AMBER });
    expect(await why(task)).toEqual({
      text: '#a "a" is not done. acme/polecats/amber has it since <time>, without a molecule; no session was opened yet.',
      next: null,
      kinds: ['claimed'],
    });
    await openSession(town.ledger);
    expect((await why(task)).text).toMatch(/without a molecule; its session lives since <time>\.$/);
    await session('none', { reason: 'exited', exit_code: 1 });
    expect((await why(task)).text).toMatch(/no live session: the last one ended on <time> \(exited, exit code 1\)\.$/);
  });

  test('18 the message that starts its molecule is not delivered, or failed for good', async () => {
    const task = await make('a');
    const id = await sling(task);
    expect((await why(task)).text).toBe(
      '#a "a" is not done. Molecule #mol was asked for on <time> and has not begun yet.',
    );
    const { rows } = await sql<{ id: number }>`select id from outbox where target = ${runId.molecule(id)}`.execute(
      town.db,
    );
    await town.ledger.deliveryFailed(rows[0]!.id, 'no connection', 60_000);
    expect((await why(task)).text).toMatch(/has not begun yet \(1 try, last: no connection\)\.$/);
    await town.ledger.deliveryFailed(rows[0]!.id, 'refused', null);
    expect(await why(task)).toEqual({
      text: '#a "a" is not done. The message that starts molecule #mol failed for good on <time>: refused. Nobody works on it.',
      next: 'town event list --type delivery_failed',
      kinds: ['start_failed'],
    });
  });

  test('19 an agent works on a step', async () => {
    const task = await make('a');
    const id = await sling(task);
    await run(task, id, work, granted(), hooked(0));
    await session(id);
    expect(await why(task)).toEqual({
      text:
        `#a "a" is not done. acme/polecats/amber works on step ${WORK} of molecule #mol (0 of 2 steps closed), attempt 1, ` +
        'since <time>; its session lives since <time>.',
      next: 'town molecule show #mol',
      kinds: ['working'],
    });
  });

  test('20 a step was lost before, and the session of this attempt has ended', async () => {
    const task = await make('a');
    const id = await sling(task);
    await run(task, id, work, granted(), hooked(0), lost('SESSION_LOST'), hooked(0, { attempt: 2, dispatch: 2 }));
    await session(id, { reason: 'exited', exit_code: 137 });
    expect(await why(task)).toEqual({
      text:
        `#a "a" is not done. acme/polecats/amber works on step ${WORK} of molecule #mol (0 of 2 steps closed), attempt 2, since <time>; ` +
        'it has no live session: the last one ended on <time> (exited, exit code 137). ' +
        `Last failure: step ${WORK} of molecule #mol was lost on <time> by SESSION_LOST: exit code 1.`,
      next: 'town molecule show #mol',
      kinds: ['working', 'failure'],
    });
    const closed: MoleculeEvent = {
      type: 'step_closed',
      step: 0,
      outcome: 'done',
      agent: AMBER,
      note: '',
      commit_id: null,
      by: AMBER,
    };
    const again = hooked(0, { attempt: 2, dispatch: 2 });
    await run(task, id, work, granted(), hooked(0), lost('SESSION_LOST'), again, closed, hooked(1));
    expect((await why(task)).kinds).toEqual(['working']);
  });

  test('21 it waits at a gate for a person', async () => {
    const task = await make('a');
    const gate = { kind: 'human', prompt: 'Ship it?', timeoutMs: null, approvers: ['ada', 'lead'] } as const;
    const id = await sling(task);
    await run(task, id, [step(WORK, { gate })], granted());
    expect(await why(task)).toEqual({
      text: `#a "a" is not done. Step ${WORK} of molecule #mol waits at a gate since <time>: one of ada, lead must open it ("Ship it?").`,
      next: 'town molecule show #mol',
      kinds: ['gate'],
    });
  });

  test('22 it waits for the hook of its agent', async () => {
    const task = await make('a', { priority: 1 });
    const id = await sling(task);
    await run(task, id, work, queued());
    const hook = playHook(
      { type: 'hook_assigned', molecule_id: 'mol-first', lane: 0, priority: 2 },
      { type: 'hook_granted', molecule_id: 'mol-first', lane: 0 },
      { type: 'hook_assigned', molecule_id: 'mol-later', lane: 0, priority: 3 },
      { type: 'hook_assigned', molecule_id: 'mol-urgent', lane: 0, priority: 0 },
      { type: 'hook_assigned', molecule_id: id, lane: 0, priority: 1 },
    );
    const publish = (seq: number, status: string) =>
      project(town.db, {
        run: runId.agent(AMBER),
        epoch: 1,
        events: [],
        rows: { kind: 'agent', seq, hook: { ...hookRow(hook), status } },
      });
    await publish(1, 'active');
    expect(await why(task)).toEqual({
      text:
        '#a "a" is not done. Molecule #mol is number 2 in the queue of acme/polecats/amber since 1970-01-01 00:16 UTC; ' +
        'mol-first has the hook.',
      next: 'town hook acme/polecats/amber',
      kinds: ['hook_queue'],
    });
    await publish(2, 'paused');
    expect((await why(task)).text).toContain('in the queue of acme/polecats/amber, which is paused, since');
  });

  test('23 it waits for a worker of its rig', async () => {
    const task = await make('a');
    const id = await sling(task, RIG);
    await run(task, id, work, queued());
    const queue = playQueue(
      1,
      { type: 'lane_enqueued', molecule_id: 'mol-first', lane: 0, priority: 2, decision_id: 'd' },
      { type: 'worker_assigned', molecule_id: 'mol-first', lane: 0, agent: AMBER },
      { type: 'lane_enqueued', molecule_id: 'mol-next', lane: 0, priority: 2, decision_id: 'd' },
      { type: 'lane_enqueued', molecule_id: id, lane: 0, priority: 2, decision_id: 'd' },
    );
    await project(town.db, {
      run: runId.dispatcher('acme'),
      epoch: 1,
      events: [],
      rows: { kind: 'dispatcher', seq: 1, queue: dispatchRow(queue) },
    });
    expect(await why(task)).toEqual({
      text:
        '#a "a" is not done. Molecule #mol is number 2 in the queue of rig acme since 1970-01-01 00:16 UTC; ' +
        '1 of 1 workers are busy.',
      next: 'town molecule show #mol',
      kinds: ['dispatch_queue'],
    });
  });

  test('24 a step is stuck, and a person must look', async () => {
    const task = await make('a');
    const id = await sling(task);
    const tries = [1, 2, 3, 4, 5].flatMap((nth) => [
      hooked(0, { attempt: nth, dispatch: nth }),
      lost('ENDED_EARLY', nth),
    ]);
    await run(task, id, work, granted(), ...tries);
    expect(await why(task)).toEqual({
      text:
        `#a "a" is not done. A person must look at molecule #mol: step ${WORK} was lost 5 times, last by ENDED_EARLY. ` +
        `Last failure: step ${WORK} of molecule #mol was lost on <time> by ENDED_EARLY: exit code 1.`,
      next: 'town molecule show #mol',
      kinds: ['attention', 'failure'],
    });
  });

  test('25 a step is ready and about to be given out', async () => {
    const task = await make('a');
    const id = await sling(task);
    await run(task, id, work, granted());
    expect((await why(task)).text).toBe(
      `#a "a" is not done. Step ${WORK} of molecule #mol is ready since <time> and waits for its agent.`,
    );
  });

  test('26 its molecule was refused, so it is open again', async () => {
    const task = await make('a');
    const id = await sling(task, RIG);
    await run(task, id, work, { type: 'molecule_refused', reason: 'agent acme/polecats/x is retired' });
    await town.ledger.unassignTask({ actor: runId.molecule(id) }, task.id, 'agent acme/polecats/x is retired');
    expect(await why(task)).toEqual({
      text:
        '#a "a" is not done. Nothing holds it back, and nobody has taken it since <time>. ' +
        'Last failure: molecule #mol was refused on <time>: agent acme/polecats/x is retired.',
      next: 'town sling #a acme',
      kinds: ['untaken', 'failure'],
    });
  });

  test('27 a step failed, and the task was opened again', async () => {
    const task = await make('a');
    const id = await sling(task);
    await run(
      task,
      id,
      work,
      granted(),
      hooked(0),
      {
        type: 'step_closed',
        step: 0,
        outcome: 'failed',
        agent: AMBER,
        note: 'The tests do not pass.',
        commit_id: null,
        by: AMBER,
      },
      { type: 'molecule_finished', outcome: 'failed' },
    );
    expect((await why(task)).text).toMatch(/Its molecule #mol is failed with 1 of 2 steps closed, and nothing of it/);
    await town.ledger.closeTask({ actor: runId.molecule(id) }, task.id, { outcome: 'failed', reason: 'it failed' });
    expect((await why(task)).text).toBe('#a "a" is closed. It ended as failed by molecule.#mol on <time>: it failed.');
    await town.ledger.reopenTask(person, task.id);
    expect((await why(task)).text).toBe(
      '#a "a" is not done. Nothing holds it back, and nobody has taken it since <time>. ' +
        `Last failure: step ${WORK} of molecule #mol was ended as failed by acme/polecats/amber on <time>: The tests do not pass.`,
    );
  });

  test.each([
    ['impl_complete', 'Its work is complete and is yet to be handed in for merging.'],
    ['merge_ready', 'Its work waits to be merged.'],
    ['merge_conflict', 'Its work could not be merged: there is a conflict.'],
    ['merged', 'Its work is merged; only closing it is left.'],
  ])('28 it is %s', async (status, sentence) => {
    const task = await make('a');
    for (const next of ['in_progress', 'merge_ready', status]) {
      await town.ledger.updateTask(person, task.id, { status: next });
      if (next === 'in_progress' && status === 'impl_complete') {
        await town.ledger.updateTask(person, task.id, { status });
        break;
      }
    }
    expect((await why(task)).text).toBe(`#a "a" is not done. ${sentence}`);
  });
});

test('refuses a task that is not there', async () => {
  await expect(town.ledger.whyTask('ac-zzzzz')).rejects.toMatchObject({ code: 'NOT_FOUND' });
});
