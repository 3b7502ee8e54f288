import { sql } from 'kysely';
import { project } from '../../../activities/projection/project';
import { runId } from '../../../schema/ids';
import type { DependencyType, TaskInput } from '../../../schema/ledger';
import { applyEvent } from '../../../schema/molecule/apply';
import type { Molecule, MoleculeEvent } from '../../../schema/molecule/molecule';
import { moleculeRow, stepRow } from '../../../schema/molecule/rows';
import type { TaskView } from '../../../schema/views';
import { testDatabase, type TestDatabase } from '../../support/database';
import { granted, hooked, inputOf, step } from '../../support/play';
import { AGENT, openSession, person, recipe, withRig } from './scene';

let town: TestDatabase;
beforeEach(async () => {
  town = await testDatabase({ max: 4 });
  await withRig(town.ledger);
});
afterEach(() => town.drop());

const make = (title: string, more: Partial<TaskInput> = {}) =>
  town.ledger.createTask(person, { title, rig_id: 'acme', ...more });
const edge = (task: TaskView, on: TaskView, type: DependencyType = 'blocks') =>
  town.ledger.addDependency(person, { task_id: task.id, depends_on_id: on.id, type });
const close = (task: TaskView) => town.ledger.closeTask(person, task.id, { outcome: 'done', force: true });
const age = (task: TaskView, interval: string) =>
  sql`update tasks set updated_at = clock_timestamp() - ${interval}::interval where id = ${task.id}`.execute(town.db);

async function slingAndRun(task: TaskView, ...events: MoleculeEvent[]): Promise<string> {
  const target = { kind: 'agent', id: AGENT } as const;
  const { molecule_id } = await town.ledger.sling(person, { task_id: task.id, target, recipe, decision_id: 'd' });
  if (events.length === 0) return molecule_id;
  const input = inputOf([step('work')], { id: molecule_id, root_task_id: task.id });
  const molecule = [{ type: 'molecule_poured', input } as const, ...events].reduce<Molecule | null>(
    (state, event, at) => applyEvent(state, { seq: at + 1, at: 1_000, event }),
    null,
  )!;
  await project(town.db, {
    run: runId.molecule(molecule_id),
    epoch: 1,
    events: [],
    rows: { kind: 'molecule', seq: 9, molecule: moleculeRow(molecule), steps: [stepRow(molecule, 0)] },
  });
  return molecule_id;
}

describe('stale', () => {
  const reasons = async (filter = {}) => {
    const { items } = await town.ledger.staleTasks(filter);
    return Object.fromEntries(items.map(({ title, reason }) => [title, reason]));
  };

  test('names what nobody touched for long, but not what is pinned, put off or noted on', async () => {
    const [old, pinned, deferred, noted, said] = [
      await make('old'),
      await make('pinned', { pinned: true }),
      await make('deferred'),
      await make('noted'),
      await make('said'),
    ];
    await make('fresh');
    await town.ledger.deferTask(person, deferred.id, { until: null });
    for (const task of [old, pinned, deferred, noted, said]) await age(task, '20 days');
    await town.ledger.addNote(person, noted.id, 'still wanted');
    await town.ledger.addComment(person, said.id, 'still wanted');
    expect(await reasons()).toEqual({ old: 'untouched' });
    expect(await reasons({ days: 30 })).toEqual({});
    await expect(town.ledger.staleTasks({ days: -1 })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  });

  test('names what is in progress with nobody at work', async () => {
    const titles = ['asleep', 'claimed', 'nobody', 'unborn', 'ended', 'stuck', 'queued', 'young'] as const;
    const tasks = Object.fromEntries(
      await Promise.all(titles.map(async (title) => [title, await make(title)] as const)),
    ) as Record<(typeof titles)[number], TaskView>;
    const asleep = await slingAndRun(tasks.asleep, granted(), hooked(0));
    await town.ledger.claimTask(person, tasks.claimed.id, { agent: AGENT });
    await town.ledger.updateTask(person, tasks.nobody.id, { status: 'in_progress' });
    await slingAndRun(tasks.unborn);
    await slingAndRun(tasks.ended, { type: 'molecule_finished', outcome: 'failed' });
    await slingAndRun(tasks.queued, { type: 'lane_queued', lane: 0 });
    await slingAndRun(
      tasks.stuck,
      granted(),
      ...[1, 2, 3, 4, 5].flatMap((nth): MoleculeEvent[] => [
        hooked(0, { attempt: nth, dispatch: nth }),
        { type: 'step_lost', step: 0, dispatch: nth, reason: 'SESSION_LOST', counted: true, detail: '' },
      ]),
    );
    expect(await reasons()).toEqual({ stuck: 'attention' });
    for (const title of titles) if (title !== 'young') await age(tasks[title], '1 hour');
    await town.ledger.claimTask(person, tasks.young.id, { agent: AGENT });
    await sql`update steps set updated_at = clock_timestamp() - interval '1 hour' where molecule_id = ${asleep}`.execute(
      town.db,
    );
    const asleepOnes = { asleep: 'no_session', claimed: 'no_session' };
    const others = { nobody: 'nobody', unborn: 'not_started', ended: 'molecule_ended', stuck: 'attention' };
    expect(await reasons()).toEqual({ ...asleepOnes, ...others });
    await openSession(town.ledger);
    expect(await reasons()).toEqual(others);
  });

  test('pages by when they were touched, longest ago first', async () => {
    for (const days of [20, 40, 30, 50]) await age(await make(`${days}`), `${days} days`);
    const first = await town.ledger.staleTasks({ limit: 3 });
    expect(first.items.map(({ title }) => title)).toEqual(['50', '40', '30']);
    const second = await town.ledger.staleTasks({ limit: 3, cursor: first.next_cursor! });
    expect(second).toMatchObject({ items: [{ title: '20' }], next_cursor: null });
  });
});

describe('duplicates', () => {
  test('pairs tasks that say the same, the older one first', async () => {
    const first = await make('Reject empty names in the form');
    await make('Write the report');
    const second = await make('reject empty name in the form!');
    const done = await make('Reject empty names in the forms');
    await close(done);
    const found = await town.ledger.duplicateTasks({});
    expect(found).toMatchObject({ compared: 3, truncated: false });
    expect(found.items).toEqual([
      {
        id: second.id,
        of: first.id,
        score: 1,
        why: 'same title',
        title: second.title,
        status: 'open',
        of_title: first.title,
        of_status: 'open',
      },
    ]);
    expect((await town.ledger.duplicateTasks({ closed: true })).items).toHaveLength(2);
    const like = (await town.ledger.duplicateTasks({ task_id: done.id })).items;
    expect(like.map(({ id, of, status }) => [id, of, status])).toEqual(
      [first.id, second.id].toSorted().map((of) => [done.id, of, 'closed']),
    );
    expect((await town.ledger.duplicateTasks({ closed: true, limit: 1 })).truncated).toBe(true);
    await expect(town.ledger.duplicateTasks({ score_min: 0.1 })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await expect(town.ledger.duplicateTasks({ task_id: 'ac-zzzzz' })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('stats', () => {
  test('counts, and agrees with ready, blocked and list', async () => {
    const [a, b] = [await make('a', { priority: 0 }), await make('b', { type: 'bug' })];
    await edge(b, a);
    const parent = await make('parent');
    await close(await make('part', { parent_id: parent.id }));
    await make('record', { type: 'gate' });
    await make('late', { due_at: '2026-01-01', pinned: true });
    const put = await make('put off');
    await make('below what is put off', { parent_id: put.id });
    await town.ledger.deferTask(person, put.id, { until: null });
    const done = await make('done');
    await sql`update tasks set created_at = clock_timestamp() - interval '10 hours' where id = ${done.id}`.execute(
      town.db,
    );
    await close(done);
    const stats = await town.ledger.taskStats({});
    expect(stats).toMatchObject({
      total: 9,
      by_status: { open: 6, closed: 2, deferred: 1 },
      by_type: { task: 7, bug: 1, gate: 1 },
      by_priority: { 0: 1, 2: 8 },
      ready: (await town.ledger.readyPage({})).items.length,
      blocked: (await town.ledger.blockedTasks({})).items.length,
      deferred: 1,
      overdue: 1,
      pinned: 1,
      closable: 1,
      closed_last_7_days: 2,
      lead_hours_average: 5,
      oldest: { id: a.id, title: 'a', created_at: a.created_at },
    });
    expect(stats.ready).toBe(2);
    expect(await town.ledger.taskStats({ rig_id: 'none' })).toMatchObject({
      total: 0,
      by_status: {},
      lead_hours_average: null,
      lead_hours_median: null,
      oldest: null,
    });
  });
});

describe('history', () => {
  test('tells each change with before and after, newest first, by pages', async () => {
    const [task, other] = [await make('a', { labels: ['x'] }), await make('b')];
    await town.ledger.updateTask(person, task.id, { priority: 0, add_labels: ['y'] });
    await edge(task, other, 'related');
    await town.ledger.claimTask(person, task.id, { agent: AGENT });
    await town.ledger.closeTask(person, task.id, { outcome: 'done', reason: 'by hand' });
    const first = await town.ledger.taskHistory(task.id, { limit: 3 });
    expect(first.items.map(({ what }) => what)).toEqual([
      'closed: status in_progress → closed, outcome done, close reason by hand',
      `claimed: status open → in_progress, assigned ${AGENT}`,
      `dependency added (related): depends on ${other.id}`,
    ]);
    expect(first.items[0]).toMatchObject({
      actor: 'person:ada',
      type: 'task_closed',
      before: { status: 'in_progress', outcome: null },
      after: { status: 'closed', outcome: 'done' },
    });
    const second = await town.ledger.taskHistory(task.id, { limit: 3, cursor: first.next_cursor! });
    expect(second.items.map(({ what }) => what)).toEqual([
      'changed: priority 2 → 0, labels added y',
      'made: title a, status open, type task, labels x, priority 2',
    ]);
    expect(second.next_cursor).toBeNull();
    const forward = await town.ledger.taskHistory(task.id, { limit: 4, oldest_first: true });
    const last = await town.ledger.taskHistory(task.id, { oldest_first: true, cursor: forward.next_cursor! });
    expect([...forward.items, ...last.items].toReversed()).toEqual([...first.items, ...second.items]);
  });

  test('leaves out what runs tell, unless it is asked for', async () => {
    const task = await make('a');
    const id = await slingAndRun(task);
    const event = {
      seq: 1,
      at: Date.now(),
      type: 'step_hooked',
      task_id: task.id,
      molecule_id: id,
      agent_id: AGENT,
      payload: { type: 'step_hooked', step: 0, step_id: 'work', attempt: 1 },
    };
    const rows = {
      kind: 'agent',
      seq: 1,
      hook: { agent_id: AGENT, status: 'active', granted_molecule_id: null, items: [] },
    } as const;
    await project(town.db, { run: runId.molecule(id), epoch: 1, events: [event], rows });
    const types = async (steps: boolean) =>
      (await town.ledger.taskHistory(task.id, { steps })).items.map(({ type }) => type);
    expect(await types(false)).toEqual(['task_slung', 'task_created']);
    expect(await types(true)).toEqual(['step_hooked', 'task_slung', 'task_created']);
  });

  test('refuses a task that is not there, and a cursor of another list', async () => {
    await expect(town.ledger.taskHistory('ac-zzzzz', {})).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const task = await make('a');
    for (const cursor of ['x', Buffer.from('["a"]').toString('base64url')]) {
      await expect(town.ledger.taskHistory(task.id, { cursor })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    }
  });
});

describe('graph', () => {
  test('the tree of a task goes both ways, and marks what stands in it twice', async () => {
    const [a, b, c, d] = [await make('a'), await make('b'), await make('c'), await make('d')];
    await edge(a, b);
    await edge(a, c);
    await edge(b, d);
    await edge(c, d);
    const part = await make('part', { parent_id: d.id });
    const tree = await town.ledger.dependencyTree(a.id, {});
    expect(tree).toMatchObject({ task: { id: a.id, blocked: true }, up: [], truncated: false });
    // Siblings stand in the order of their ids, which chance decides.
    const [first, second] = tree.down!.filter(({ depth }) => depth === 1).map(({ title }) => title);
    expect(new Set([first, second])).toEqual(new Set(['b', 'c']));
    expect(tree.down!.map(({ title, depth, edge: type, repeated }) => [title, depth, type, repeated])).toEqual([
      [first, 1, 'blocks', false],
      ['d', 2, 'blocks', false],
      ['part', 3, 'parent-child', false],
      [second, 1, 'blocks', false],
      ['d', 2, 'blocks', true],
    ]);
    const up = await town.ledger.dependencyTree(part.id, { directions: ['up'], depth: 1 });
    expect(up.down).toBeNull();
    expect(up.up).toMatchObject([{ id: d.id, edge: 'parent-child' }]);
    expect(up.truncated).toBe(true);
    expect((await town.ledger.dependencyTree(a.id, { limit: 3 })).truncated).toBe(true);
    expect((await town.ledger.dependencyTree(a.id, { types: ['related'] })).down).toEqual([]);
    await expect(town.ledger.dependencyTree(a.id, { depth: 51 })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await expect(town.ledger.dependencyTree(a.id, { limit: 501 })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await expect(town.ledger.dependencyTree('ac-zzzzz', {})).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('a graph holds what is connected, or all that is open and has dependencies', async () => {
    const [a, b, c] = [await make('a'), await make('b'), await make('c')];
    const lone = await make('lone');
    await edge(a, b);
    await edge(c, a);
    const ids = (graph: { nodes: readonly { id: string }[] }) => graph.nodes.map(({ id }) => id).toSorted();
    const all = [a.id, b.id, c.id].toSorted();
    expect(ids(await town.ledger.taskGraph({ ids: [a.id] }))).toEqual(all);
    expect(await town.ledger.taskGraph({ ids: [b.id] })).toMatchObject({ edges: expect.any(Array), truncated: false });
    expect(ids(await town.ledger.taskGraph({}))).toEqual(all);
    expect(ids(await town.ledger.taskGraph({ rig_id: 'acme', types: ['blocks'] }))).toEqual(all);
    expect(ids(await town.ledger.taskGraph({ ids: [lone.id] }))).toEqual([lone.id]);
    expect(await town.ledger.taskGraph({ limit: 2 })).toMatchObject({ truncated: true });
    expect(await town.ledger.taskGraph({ ids: [a.id], limit: 2 })).toMatchObject({ truncated: true });
    await close(b);
    expect(ids(await town.ledger.taskGraph({}))).toEqual([a.id, c.id].toSorted());
    await expect(town.ledger.taskGraph({ ids: ['ac-zzzzz'] })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(town.ledger.taskGraph({ ids: [a.id, b.id], limit: 1 })).rejects.toMatchObject({
      code: 'INPUT_TOO_LARGE',
    });
  });
});
