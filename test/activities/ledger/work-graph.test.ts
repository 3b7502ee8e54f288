import fc from 'fast-check';
import { sql } from 'kysely';
import type { DependencyType, ReadyFilter } from '../../../schema/ledger';
import { BLOCKING_TYPES, holds, type WaitGate } from '../../../schema/task/dependency';
import type { TaskView } from '../../../schema/views';
import { AGENT, person, rigTown } from './scene';
import { sealAll } from '../../support/database';

const town = rigTown();
const { make } = town;
const edge = (task: TaskView, on: TaskView, type: DependencyType, gate?: WaitGate) =>
  town.ledger.addDependency(person, {
    task_id: task.id,
    depends_on_id: on.id,
    type,
    ...(gate === undefined ? {} : { metadata: { gate } }),
  });
const done = (task: TaskView) => town.ledger.closeTask(person, task.id, { outcome: 'done', force: true });
const isReady = async (task: TaskView) => (await town.ledger.readyPage({ ids: [task.id] })).items.length === 1;
const FUTURE = '2999-01-01T00:00:00.000Z';

describe('dependencies', () => {
  test('a conditional one lets go when the other has failed, and never when it ended well', async () => {
    const [a, b] = [await make('a'), await make('b')];
    const cleanup = await make('cleanup');
    await edge(cleanup, a, 'conditional-blocks');
    expect(await isReady(cleanup)).toBe(false);
    await town.ledger.closeTask(person, a.id, { outcome: 'failed' });
    expect(await isReady(cleanup)).toBe(true);
    await edge(cleanup, b, 'conditional-blocks');
    await done(b);
    expect(await isReady(cleanup)).toBe(false);
    const { items } = await town.ledger.blockedTasks({ ids: [cleanup.id] });
    expect(items).toMatchObject([
      { id: cleanup.id, blocked_by: [{ id: b.id, never: true }], blocked_ancestor: null, open_blockers: 1 },
    ]);
    await expect(town.ledger.closeTask(person, cleanup.id, { outcome: 'done' })).rejects.toMatchObject({
      code: 'OPEN_BLOCKERS',
    });
    expect(await town.ledger.closeTask(person, cleanup.id, { outcome: 'skipped' })).toMatchObject({
      outcome: 'skipped',
    });
  });

  test('waits for all children, for any, and without children for the task itself', async () => {
    const spawner = await make('spawner');
    const [all, any] = [await make('all'), await make('any')];
    await edge(all, spawner, 'waits-for');
    await edge(any, spawner, 'waits-for', 'any-children');
    const both = async () => [await isReady(all), await isReady(any)];
    expect(await both()).toEqual([false, false]);
    const [one, two] = [await make('1', { parent_id: spawner.id }), await make('2', { parent_id: spawner.id })];
    await done(one);
    expect(await both()).toEqual([false, true]);
    await done(two);
    expect(await both()).toEqual([true, true]);
    await town.ledger.reopenTask(person, two.id);
    expect(await both()).toEqual([false, true]);
    await edge(all, spawner, 'waits-for', 'any-children');
    expect(await both()).toEqual([true, true]);
    const empty = await make('empty');
    const waiter = await make('waiter', { dependencies: [{ depends_on_id: empty.id, type: 'waits-for' }] });
    expect(waiter.open_blockers).toBe(1);
    await done(empty);
    expect(await isReady(waiter)).toBe(true);
  });

  test('what holds back a whole holds back its parts, however deep, and lets them go with it', async () => {
    const [blocker, top] = [await make('blocker'), await make('top')];
    const middle = await make('middle', { parent_id: top.id });
    const leaf = await make('leaf', { parent_id: middle.id });
    expect(await isReady(leaf)).toBe(true);
    await edge(top, blocker, 'blocks');
    expect(await isReady(leaf)).toBe(false);
    const born = await make('born held back', { parent_id: middle.id });
    expect(born.parent_blocked).toBe(true);
    expect((await town.ledger.blockedTasks({ ids: [leaf.id] })).items).toMatchObject([
      { blocked_by: [], blocked_ancestor: top.id },
    ]);
    await expect(town.ledger.claimTask(person, leaf.id, { agent: AGENT })).rejects.toMatchObject({
      code: 'OPEN_BLOCKERS',
      details: { blocked_ancestor: top.id },
    });
    await done(blocker);
    expect([await isReady(leaf), await isReady(born)]).toEqual([true, true]);
    await town.ledger.reopenTask(person, blocker.id);
    await done(top);
    expect(await isReady(leaf)).toBe(true);
  });

  test('a task moved under a parent that is held back is held back, until it is taken out', async () => {
    const [blocker, parent, task] = [await make('b'), await make('p'), await make('t')];
    const part = await make('part', { parent_id: task.id });
    await edge(parent, blocker, 'blocks');
    await edge(task, parent, 'parent-child');
    expect([await isReady(task), await isReady(part)]).toEqual([false, false]);
    await town.ledger.removeDependency(person, { task_id: task.id, depends_on_id: parent.id });
    expect([await isReady(task), await isReady(part)]).toEqual([true, true]);
  });

  test.each(BLOCKING_TYPES)('%s: refuses itself, an ancestor, a part, and a circle through a whole', async (type) => {
    const top = await make('top');
    const part = await make('part', { parent_id: top.id });
    const leaf = await make('leaf', { parent_id: part.id });
    const [outer, other] = [await make('outer'), await make('other')];
    for (const [task, on] of [
      [top, top],
      [leaf, top],
      [top, leaf],
    ] as const) {
      await expect(edge(task, on, type)).rejects.toMatchObject({ code: 'DEPENDENCY_CYCLE' });
    }
    await edge(top, outer, type);
    await expect(edge(outer, leaf, type)).rejects.toMatchObject({ code: 'DEPENDENCY_CYCLE' });
    await edge(outer, other, type);
    await expect(edge(other, leaf, 'parent-child')).rejects.toMatchObject({ code: 'DEPENDENCY_CYCLE' });
    await expect(edge(top, leaf, 'parent-child')).rejects.toMatchObject({ code: 'DEPENDENCY_CYCLE' });
  });

  test('one edge a pair: the same type takes over metadata, another one is refused', async () => {
    const [a, b] = [await make('a'), await make('b')];
    const write = (metadata: { level: number }) =>
      town.ledger.addDependency(person, { task_id: a.id, depends_on_id: b.id, type: 'attests', metadata });
    await write({ level: 1 });
    await write({ level: 2 });
    expect((await town.ledger.getTask(a.id)).dependencies).toMatchObject([{ metadata: { level: 2 }, holds: false }]);
    await expect(edge(a, b, 'blocks')).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(edge(a, b, 'nonsense' as DependencyType)).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await expect(edge(b, a, 'waits-for', 'some' as WaitGate)).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  });

  test('two who close the last two children, or blockers, at once leave nothing behind', async () => {
    for (let round = 0; round < 25; round++) {
      const parent = await make('p');
      const children = await town.ledger.createTasks(person, [
        { title: '1', parent_id: parent.id },
        { title: '2', parent_id: parent.id },
      ]);
      const whole = await make('whole', { depends_on: children.map((child) => child.id) });
      const part = await make('part', { parent_id: whole.id });
      const waiter = await make('w', { dependencies: [{ depends_on_id: parent.id, type: 'waits-for' }] });
      const [late] = await Promise.all([make('late', { parent_id: part.id }), ...children.map(done)]);
      expect(await Promise.all([whole, part, waiter, late].map(isReady))).toEqual([true, true, true, true]);
    }
  });
});

describe('progress', () => {
  test('a deferral with a date ends by itself; one without lasts', async () => {
    const task = await make('later', { type: 'later' });
    await town.ledger.deferTask(person, task.id, { until: FUTURE, reason: 'release' });
    expect(await town.ledger.getTask(task.id)).toMatchObject({ status: 'deferred', defer_until: FUTURE });
    await expect(town.ledger.claimTask(person, task.id, { agent: AGENT })).rejects.toMatchObject({
      code: 'WRONG_STATE',
    });
    const part = await make('part', { parent_id: task.id });
    expect(await isReady(part)).toBe(false);
    expect((await town.ledger.readyPage({ type: 'later', include_deferred: true })).items).toHaveLength(1);
    await town.ledger.deferTask(person, task.id, { until: '2020-01-01T00:00:00Z' });
    expect([await isReady(task), await isReady(part)]).toEqual([true, true]);
    expect((await town.ledger.listTasks({ type: 'later', status: ['open'] })).items).toMatchObject([
      { status: 'open' },
    ]);
    expect((await town.ledger.listTasks({ type: 'later', status: ['deferred'] })).items).toEqual([]);
    expect(await town.ledger.claimTask(person, task.id, { agent: AGENT })).toMatchObject({
      status: 'in_progress',
      defer_until: null,
    });
    await town.ledger.deferTask(person, task.id, { until: null });
    expect(await town.ledger.undeferTask(person, task.id)).toMatchObject({ status: 'open', assigned_agent_id: null });
    expect(await make('born later', { defer_until: FUTURE })).toMatchObject({ status: 'deferred' });
  });

  test('a claim is atomic, may be repeated by its holder, and names the holder to others', async () => {
    const other = 'acme/polecats/basil';
    await town.ledger.addAgent(person, { id: other, role: 'polecat', rig_id: 'acme', runtime: { preset: 'external' } });
    const task = await make('one');
    const claims = await Promise.allSettled(
      Array.from({ length: 16 }, (_, at) =>
        town.ledger.claimTask(person, task.id, { agent: at % 2 === 0 ? AGENT : other }),
      ),
    );
    expect(claims.filter((claim) => claim.status === 'fulfilled')).toHaveLength(8);
    const { assigned_agent_id: holder, started_at } = await town.ledger.getTask(task.id);
    expect(started_at).not.toBeNull();
    await expect(
      town.ledger.claimTask(person, task.id, { agent: holder === other ? AGENT : other }),
    ).rejects.toMatchObject({ code: 'ALREADY_CLAIMED', details: { holder } });
    const blocked = await make('blocked', { depends_on: [task.id] });
    expect(await town.ledger.claimTask(person, blocked.id, { agent: AGENT, force: true })).toMatchObject({
      status: 'in_progress',
    });
  });

  test('by whatever command work begins, what is held back or put off is left alone unless forced', async () => {
    const blocker = await make('Blocker');
    const held = await make('Held', { depends_on: [blocker.id] });
    const asleep = await make('Asleep', { defer_until: '2999-01-01T00:00:00Z' });
    const status = 'in_progress' as const;
    for (const [task, code] of [
      [held, 'OPEN_BLOCKERS'],
      [asleep, 'WRONG_STATE'],
    ] as const) {
      await expect(town.ledger.updateTask(person, task.id, { status })).rejects.toMatchObject({ code });
      await expect(town.ledger.claimTask(person, task.id, { agent: AGENT })).rejects.toMatchObject({ code });
      const batch = town.ledger.changeTasks(person, [{ op: 'update', id: task.id, patch: { status } }]);
      await expect(batch).rejects.toMatchObject({ code });
      const forced = await town.ledger.updateTask(person, task.id, { status, force: true });
      expect(forced).toMatchObject({ status, defer_until: null });
    }
    // Back to work that has begun: no beginning.
    await town.ledger.updateTask(person, held.id, { status: 'impl_complete' });
    expect(await town.ledger.updateTask(person, held.id, { status })).toMatchObject({ status, open_blockers: 1 });
  });

  test('guards hold for a change of status as for the command, and reopening has its event', async () => {
    const parent = await make('p');
    const child = await make('c', { parent_id: parent.id });
    const blocked = await make('b', { depends_on: [parent.id] });
    for (const [id, code] of [
      [parent.id, 'WRONG_STATE'],
      [blocked.id, 'OPEN_BLOCKERS'],
    ] as const) {
      await expect(town.ledger.closeTask(person, id, { outcome: 'done' })).rejects.toMatchObject({ code });
      await expect(town.ledger.updateTask(person, id, { status: 'closed' })).rejects.toMatchObject({ code });
    }
    await town.ledger.updateTask(person, blocked.id, { status: 'closed', force: true });
    await done(child);
    await town.ledger.closeTask(person, parent.id, { outcome: 'done' });
    await town.ledger.reopenTask(person, parent.id, 'not yet');
    expect(await town.ledger.reopenTask(person, parent.id)).toMatchObject({ status: 'open' });
    await sealAll(town.ledger);
    const { items } = await town.ledger.listEvents({ task_id: parent.id, type: 'task_reopened' });
    expect(items).toMatchObject([
      { payload: { before: { status: 'closed', outcome: 'done' }, after: { status: 'open' }, reason: 'not yet' } },
    ]);
  });

  test('a task whose molecule waits at a gate is closed only by force', async () => {
    const task = await make('gated');
    await sql`update tasks set molecule_id = 'mol-gate' where id = ${task.id}`.execute(town.db);
    await sql`insert into molecules (id, formula, recipe_digest, status, steps_total, steps_closed, priority, epoch, seq, updated_at)
      values ('mol-gate', 'f', 'd', 'running', 1, 0, 2, 1, 1, now())`.execute(town.db);
    await sql`insert into steps (molecule_id, step, position, id, title, status, attempt, needs, epoch, seq, updated_at)
      values ('mol-gate', 'sign', 0, 'x', 'Sign', 'gated', 1, '[]', 1, 1, now())`.execute(town.db);
    await expect(town.ledger.closeTask(person, task.id, { outcome: 'done' })).rejects.toMatchObject({
      code: 'WRONG_STATE',
      details: { gates: ['sign'] },
    });
    await done(task);
  });
});

describe('fields and remarks', () => {
  test('are kept, changed with before and after, and given back', async () => {
    const fields = {
      design: 'd', owner: 'ada@example.org', spec_id: 'spec-1', external_ref: 'gh-9', source_system: 'github',
      estimated_minutes: 30, due_at: '2026-05-01T00:00:00.000Z', pinned: true,
    }; // prettier-ignore
    const task = await make('full', { ...fields, metadata: { a: 1, b: 2 } });
    expect(task).toMatchObject(fields);
    expect(await isReady(task)).toBe(false);
    await expect(make('twin', { external_ref: 'gh-9', source_system: 'github' })).rejects.toMatchObject({
      code: 'ALREADY_EXISTS',
    });
    await make('not a twin', { external_ref: 'gh-9' });
    const changed = await town.ledger.updateTask(person, task.id, {
      owner: null, pinned: false, due_at: null, set_metadata: { a: null, c: 3 },
    }); // prettier-ignore
    expect(changed).toMatchObject({ owner: null, pinned: false, due_at: null, metadata: { b: 2, c: 3 } });
    await sealAll(town.ledger);
    const { items } = await town.ledger.listEvents({ task_id: task.id, type: 'task_updated' });
    expect(items[0]?.payload).toMatchObject({
      before: { owner: 'ada@example.org', pinned: true, metadata: { a: 1, b: 2 }, due_at: fields.due_at },
      after: { owner: null, pinned: false, metadata: { b: 2, c: 3 }, due_at: null },
    });
    for (const bad of [{ due_at: 'soon' }, { estimated_minutes: -1 }, { owner: '' }, { defer_until: '1' }]) {
      await expect(make('bad', bad)).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    }
  });

  test('two who set different keys of the metadata lose nothing', async () => {
    const task = await make('shared');
    await Promise.all(
      Array.from({ length: 20 }, (_, at) =>
        town.ledger.updateTask(person, task.id, { set_metadata: { [`k${at}`]: at } }),
      ),
    );
    expect(Object.keys((await town.ledger.getTask(task.id)).metadata)).toHaveLength(20);
  });

  test('comments page in order, labels are replaced', async () => {
    const task = await make('talk', { labels: ['a', 'b'] });
    for (const body of ['1', '2', '3']) await town.ledger.addComment(person, task.id, body);
    const first = await town.ledger.listComments(task.id, { limit: 2 });
    const rest = await town.ledger.listComments(task.id, { cursor: first.next_cursor! });
    expect([...first.items, ...rest.items].map((comment) => comment.body)).toEqual(['1', '2', '3']);
    expect((await town.ledger.setLabels(person, task.id, ['c', 'b'])).labels).toEqual(['b', 'c']);
    expect((await town.ledger.getTask(task.id)).comments).toHaveLength(3);
    await expect(town.ledger.listComments('ac-zzzzz')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('filters and orders', () => {
  const type = 'filtered';
  let tasks: TaskView[];
  beforeAll(async () => {
    tasks = await town.ledger.createTasks(person, [
      { title: 'Alpha 100%', type, priority: 3, labels: ['tech:go', 'x'], owner: 'ada', due_at: '2020-01-01' },
      { title: 'beta', type, priority: 1, labels: ['tech:ts', 'x'], description: 'about ALPHA', due_at: '2999-01-01' },
      { title: 'gamma', type, priority: 2, labels: ['y'], metadata: { team: 'core', n: 1 } },
      { title: 'Delta', type, priority: 2, external_ref: 'e-1', rig_id: 'acme', defer_until: FUTURE },
    ]);
  });
  const names = async (filter: object) =>
    (await town.ledger.listTasks({ type, ...filter })).items
      .map((task) => task.title.charAt(0).toLowerCase())
      .toSorted()
      .join('');

  test.each([
    [{ labels: ['x', 'tech:go'] }, 'a'],
    [{ label_any: ['tech:go', 'y'] }, 'ag'],
    [{ label_pattern: 'tech:*' }, 'ab'],
    [{ label_pattern: 'tech:?o' }, 'a'],
    [{ label_pattern: 'tech_*' }, ''],
    [{ exclude_labels: ['x'] }, 'dg'],
    [{ owner: 'ada' }, 'a'],
    [{ owner: null }, 'bdg'],
    [{ assigned_agent_id: null }, 'abdg'],
    [{ priority_min: 2, priority_max: 2 }, 'dg'],
    [{ overdue: true }, 'a'],
    [{ overdue: false }, 'bdg'],
    [{ due_before: '2999-06-01' }, 'ab'],
    [{ due_after: '2021-01-01' }, 'b'],
    [{ deferred: true }, 'd'],
    [{ deferred: false }, 'abg'],
    [{ pinned: false }, 'abdg'],
    [{ blocked: true }, ''],
    [{ text: 'alpha' }, 'ab'],
    [{ text: '100%' }, 'a'],
    [{ text: '%' }, 'a'],
    [{ has_external_ref: true }, 'd'],
    [{ has_external_ref: false }, 'abg'],
    [{ external_ref: 'e-1' }, 'd'],
    [{ source_system: 'github' }, ''],
    [{ rig_id: 'acme' }, 'd'],
    [{ parent_id: null }, 'abdg'],
    [{ metadata: { team: 'core' } }, 'g'],
    [{ has_metadata_key: 'n' }, 'g'],
    [{ created_after: '2020-01-01', created_before: FUTURE }, 'abdg'],
    [{ updated_before: '2020-01-01' }, ''],
    [{ closed_after: '2020-01-01' }, ''],
    [{ exclude_types: [type] }, ''],
  ])('list with %j', async (filter, expected) => {
    expect(await names(filter)).toBe(expected);
  });

  test('ids, and parts of parts', async () => {
    expect(await names({ ids: [tasks[1]!.id] })).toBe('b');
    const child = await make('child', { parent_id: tasks[2]!.id });
    const leaf = await make('leaf', { parent_id: child.id });
    const below = async (deep: boolean) =>
      (await town.ledger.listTasks({ parent_id: tasks[2]!.id, deep })).items.map((task) => task.id).toSorted();
    expect(await below(false)).toEqual([child.id]);
    expect(await below(true)).toEqual([child.id, leaf.id]);
    await expect(names({ due_before: 'soon' })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await expect(names({ priority_min: 9 })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  });

  test.each(['created', 'updated', 'closed', 'due', 'priority', 'status', 'type', 'title', 'assignee', 'id'] as const)(
    'order %s pages without gap or repetition, both ways',
    async (sort) => {
      for (const reverse of [false, true]) {
        const whole = (await town.ledger.listTasks({ type, sort, reverse })).items.map((task) => task.id);
        const paged: string[] = [];
        for (let cursor: string | null = ''; cursor !== null;) {
          const page = await town.ledger.listTasks({
            type,
            sort,
            reverse,
            limit: 1,
            ...(cursor === '' ? {} : { cursor }),
          });
          paged.push(...page.items.map((task) => task.id));
          cursor = page.next_cursor;
        }
        expect(paged).toEqual(whole);
        expect(whole).toHaveLength(4);
      }
      await expect(town.ledger.listTasks({ sort, cursor: 'WyJhIiwiYiIsImMiLCJkIl0' })).rejects.toMatchObject({
        code: 'INVALID_INPUT',
      });
    },
  );

  test('ready by priority, by age, and new ones first', async () => {
    const [old, young] = [
      await make('old', { type: 'order', priority: 0 }),
      await make('young', { type: 'order', priority: 2 }),
      await make('urgent', { type: 'order', priority: 1 }),
    ];
    await sql`update tasks set created_at = now() - interval '3 days' where id = ${old.id}`.execute(town.db);
    await town.ledger.deferTask(person, young.id, { until: '2020-01-01' });
    const ready = async (sort: NonNullable<ReadyFilter['sort']>) =>
      (await town.ledger.readyPage({ type: 'order', sort })).items.map((task) => task.title);
    expect(await ready('priority')).toEqual(['old', 'urgent', 'young']);
    expect(await ready('oldest')).toEqual(['old', 'young', 'urgent']);
    expect(await ready('hybrid')).toEqual(['urgent', 'young', 'old']);
  });

  test('records are no work unless asked for; what is given to an agent is its own', async () => {
    const gate = await make('gate', { type: 'gate' });
    expect(await isReady(gate)).toBe(false);
    expect((await town.ledger.readyPage({ type: 'gate' })).items.map((task) => task.id)).toEqual([gate.id]);
    const mine = await make('mine');
    await town.ledger.updateTask(person, mine.id, { assigned_agent_id: AGENT });
    expect(await isReady(mine)).toBe(false);
    expect((await town.ledger.readyPage({ ids: [mine.id], assigned_agent_id: AGENT })).items).toHaveLength(1);
  });
});

describe('ready', () => {
  const SIZE = 9;
  const at = fc.nat(SIZE - 1);
  const action = fc.oneof(
    { weight: 5, arbitrary: fc.record({ kind: fc.constant('edge' as const), a: at, b: at, type: fc.constantFrom<DependencyType>('blocks', 'conditional-blocks', 'waits-for', 'parent-child', 'related', 'tracks'), any: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('unlink' as const), a: at, b: at }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant('close' as const), a: at, outcome: fc.constantFrom('done' as const, 'failed' as const, 'skipped' as const) }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constantFrom('reopen' as const, 'claim' as const, 'undefer' as const), a: at }) },
    { weight: 2, arbitrary: fc.record({ kind: fc.constant('defer' as const), a: at, until: fc.constantFrom(null, FUTURE, '2020-01-01') }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant('pin' as const), a: at, pinned: fc.boolean() }) },
  ); // prettier-ignore

  interface Model {
    closed: boolean;
    outcome: string | null;
    held: boolean;
    deferred: 'no' | 'yes' | 'over';
    pinned: boolean;
    parent: number | null;
  }

  test('is what a naive evaluation of the whole graph says', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(action, { minLength: 20, maxLength: 50 }), async (actions) => {
        const made = await town.ledger.createTasks(
          person,
          Array.from({ length: SIZE }, (_, n) => ({ title: `${n}`, priority: n % 3 })),
        );
        const ids = made.map((task) => task.id);
        const model: Model[] = ids.map(() => ({
          closed: false, outcome: null, held: false, deferred: 'no', pinned: false, parent: null,
        })); // prettier-ignore
        const edges = new Map<string, { a: number; b: number; type: DependencyType; gate: WaitGate }>();
        const did = (work: Promise<unknown>) => work.then(() => true, () => false); // prettier-ignore
        for (const act of actions) {
          const id = ids[act.a]!;
          const task = model[act.a]!;
          if (act.kind === 'edge') {
            const gate = act.any ? 'any-children' : 'all-children';
            const input = { task_id: id, depends_on_id: ids[act.b]!, type: act.type, metadata: { gate } };
            if (await did(town.ledger.addDependency(person, input))) {
              edges.set(`${act.a} ${act.b}`, { a: act.a, b: act.b, type: act.type, gate });
              if (act.type === 'parent-child') task.parent = act.b;
            }
          } else if (act.kind === 'unlink') {
            await town.ledger
              .removeDependency(person, { task_id: id, depends_on_id: ids[act.b]! })
              .catch(() => undefined);
            if (edges.get(`${act.a} ${act.b}`)?.type === 'parent-child') task.parent = null;
            edges.delete(`${act.a} ${act.b}`);
          } else if (act.kind === 'close') {
            if (await did(town.ledger.closeTask(person, id, { outcome: act.outcome, force: true })))
              Object.assign(task, { closed: true, outcome: act.outcome, held: false, deferred: 'no' });
          } else if (act.kind === 'reopen') {
            await town.ledger.reopenTask(person, id);
            if (task.closed) Object.assign(task, { closed: false, outcome: null, held: false });
          } else if (act.kind === 'claim') {
            if (await did(town.ledger.claimTask(person, id, { agent: AGENT, force: true })))
              Object.assign(task, { held: true, deferred: 'no' });
          } else if (act.kind === 'defer') {
            if (await did(town.ledger.deferTask(person, id, { until: act.until })))
              Object.assign(task, { held: false, deferred: act.until === '2020-01-01' ? 'over' : 'yes' });
          } else if (act.kind === 'pin') {
            await town.ledger.updateTask(person, id, { pinned: act.pinned });
            task.pinned = act.pinned;
          } else {
            await town.ledger.undeferTask(person, id);
            task.deferred = 'no';
          }
        }
        const blockers = (n: number) =>
          [...edges.values()].filter(({ a, b, type, gate }) => {
            const children = model.filter((each) => each.parent === b);
            const closedChildren = children.filter((each) => each.closed).length;
            const { closed, outcome } = model[b]!;
            return (
              a === n &&
              holds(type, gate, { closed, outcome, openChildren: children.length - closedChildren, closedChildren })
            );
          }).length;
        const above = (n: number): boolean => {
          const { parent } = model[n]!;
          return parent !== null && ((!model[parent]!.closed && blockers(parent) > 0) || above(parent));
        };
        const naive = ids.filter((_, n) => {
          const task = model[n]!;
          const isPartOfDeferred = task.parent !== null && model[task.parent]!.deferred === 'yes';
          return (
            !task.closed &&
            !task.held &&
            !task.pinned &&
            task.deferred !== 'yes' &&
            !isPartOfDeferred &&
            blockers(n) === 0 &&
            !above(n)
          );
        });
        const rows = (await town.ledger.listTasks({ ids, limit: SIZE })).items;
        for (const row of rows) {
          const n = ids.indexOf(row.id);
          expect([row.open_blockers, row.parent_blocked]).toEqual([blockers(n), above(n)]);
        }
        const ready = (await town.ledger.readyPage({ ids })).items.map((task) => task.id);
        expect(ready.toSorted()).toEqual(naive.toSorted());
      }),
      { numRuns: 40 },
    );
  }, 240_000);
});
