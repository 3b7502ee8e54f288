import fc from 'fast-check';
import type { JsonObject } from '../../../schema/json';
import { keyed, person, rigTown } from './scene';
import { sealAll } from '../../support/database';

const town = rigTown();
const { make } = town;

describe('creating', () => {
  test('gives a short id with the prefix of the rig, and the children numbers', async () => {
    const task = await make('One', { labels: ['b', 'a', 'b'], priority: 1 });
    expect(task).toMatchObject({ status: 'open', priority: 1, labels: ['a', 'b'], open_blockers: 0, rig_id: 'acme' });
    expect(task.id).toMatch(/^ac-[0-9a-z]{5}$/);
    expect(await town.ledger.createTask(person, { title: 'c', parent_id: task.id })).toMatchObject({
      id: `${task.id}.1`,
      rig_id: 'acme',
    });
    expect((await town.ledger.createTask(person, { title: 'c', parent_id: task.id })).id).toBe(`${task.id}.2`);
    expect((await town.ledger.createTask(person, { title: 'town' })).id).toMatch(/^hq-/);
    const { labels, ...detail } = await town.ledger.getTask(task.id);
    expect({ ...task, labels, updated_at: detail.updated_at }).toMatchObject({
      ...task,
      labels: ['a', 'b'],
      updated_at: detail.updated_at,
    });
  });

  test('answers a repeated key with the first task, also at the same time', async () => {
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => town.ledger.createTask(keyed('k1'), { title: 'Same' })),
    );
    expect(new Set(answers.map((task) => task.id)).size).toBe(1);
    await expect(town.ledger.createTask(keyed('k1'), { title: 'Other' })).rejects.toMatchObject({
      code: 'IDEMPOTENCY_MISMATCH',
    });
    await expect(town.ledger.closeTask(keyed('k1'), answers[0]!.id, { outcome: 'done' })).rejects.toMatchObject({
      code: 'IDEMPOTENCY_MISMATCH',
    });
  });

  test('makes all tasks or none', async () => {
    await expect(
      town.ledger.createTasks(person, [{ title: 'alone-marker' }, { title: 'x', depends_on: ['ac-zzzzz'] }]),
    ).rejects.toMatchObject({ code: 'NOT_FOUND' });
    const all = await town.ledger.listTasks({ limit: 1000 });
    expect(all.items.some((task) => task.title === 'alone-marker')).toBe(false);
    expect(await town.ledger.createTasks(person, [{ title: 'x' }, { title: 'y' }])).toHaveLength(2);
  });

  test.each([
    [{ title: '' }, 'INVALID_INPUT'],
    [{ title: 'x'.repeat(501) }, 'INVALID_INPUT'],
    [{ title: 'a\0b' }, 'INVALID_INPUT'],
    [{ title: 'a\ud800b' }, 'INVALID_INPUT'],
    [{ title: 'a', description: 'x'.repeat(65_537) }, 'INPUT_TOO_LARGE'],
    [{ title: 'a', labels: ['two words'] }, 'INVALID_INPUT'],
    [{ title: 'a', labels: ['a,b'] }, 'INVALID_INPUT'],
    [{ title: 'a', priority: 5 }, 'INVALID_INPUT'],
    [{ title: 'a', priority: 1.5 }, 'INVALID_INPUT'],
    [{ title: 'a', metadata: { a: 'x'.repeat(40_000) } }, 'INPUT_TOO_LARGE'],
    [{ title: 'a', metadata: { a: ['b\0'] } }, 'INVALID_INPUT'],
    [{ title: 'a', metadata: JSON.parse(`{"a":${'['.repeat(32)}${']'.repeat(32)}}`) as JsonObject }, 'INVALID_INPUT'],
    [{ title: 'a', rig_id: 'nowhere' }, 'NOT_FOUND'],
    [{ title: 'a', parent_id: 'ac-zzzzz' }, 'NOT_FOUND'],
    [{ title: 'a', convoy_id: 'cv-zzzzz' }, 'NOT_FOUND'],
  ])('refuses %j', async (task, code) => {
    await expect(town.ledger.createTask(person, task)).rejects.toMatchObject({ code });
  });
});

describe('changing and closing', () => {
  test('changes fields, labels and status, and keeps before and after', async () => {
    const task = await make('Old', { labels: ['x'] });
    const changed = await town.ledger.updateTask(person, task.id, {
      title: 'New', priority: 0, add_labels: ['y'], remove_labels: ['x'], note: 'why', status: 'doing',
    }); // prettier-ignore
    expect(changed).toMatchObject({ title: 'New', priority: 0, labels: ['y'], status: 'in_progress' });
    expect((await town.ledger.getTask(task.id)).notes).toMatchObject([{ author: 'person:ada', body: 'why' }]);
    await sealAll(town.ledger);
    const { items } = await town.ledger.listEvents({ task_id: task.id });
    expect(items.map((event) => event.type)).toEqual([
      'task_created',
      'task_updated',
      'task_noted',
      'task_status_changed',
    ]);
    expect(items[1]?.payload).toMatchObject({
      before: { title: 'Old', priority: 2 },
      after: { title: 'New', priority: 0 },
      labels_added: ['y'],
    });
    await expect(town.ledger.updateTask(person, task.id, { status: 'merged' })).rejects.toMatchObject({
      code: 'WRONG_STATE',
    });
    await expect(town.ledger.updateTask(person, task.id, { status: 'nonsense' })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
    });
  });

  test('closes once, answers the same outcome again, and refuses another one', async () => {
    const task = await make('Close me');
    const closed = await town.ledger.closeTask(person, task.id, { outcome: 'done', reason: 'ready' });
    expect(closed).toMatchObject({ status: 'closed', outcome: 'done', close_reason: 'ready' });
    expect(closed.completed_at).not.toBeNull();
    expect(await town.ledger.closeTask(person, task.id, { outcome: 'done' })).toEqual(closed);
    await expect(town.ledger.closeTask(person, task.id, { outcome: 'failed' })).rejects.toMatchObject({
      code: 'WRONG_STATE',
    });
    expect(await town.ledger.updateTask(person, task.id, { status: 'open' })).toMatchObject({
      status: 'open',
      outcome: null,
      completed_at: null,
    });
    await expect(town.ledger.closeTask(person, 'ac-zzzzz', { outcome: 'done' })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
  });

  test('parts of parts go six levels down; below that they are joined by an edge', async () => {
    let parent = await make('Level 0');
    for (let level = 1; level <= 6; level += 1) parent = await make(`Level ${level}`, { parent_id: parent.id });
    expect((await town.ledger.getTask(parent.id)).id).toMatch(/^ac-[a-z0-9]+(?:\.1){6}$/);
    await expect(make('Level 7', { parent_id: parent.id })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      message: expect.stringContaining(`${parent.id} takes no further parts`),
    });
    expect((await town.ledger.getTask(parent.id)).dependents).toEqual([]);
    const part = await make('Level 7');
    await town.ledger.addDependency(person, { task_id: part.id, depends_on_id: parent.id, type: 'parent-child' });
    expect(await town.ledger.getTask(part.id)).toMatchObject({ parent_id: parent.id });
  });

  test('a parent with open children is closed only by force', async () => {
    const parent = await make('Parent');
    await make('Child', { parent_id: parent.id });
    await expect(town.ledger.closeTask(person, parent.id, { outcome: 'done' })).rejects.toMatchObject({
      code: 'WRONG_STATE',
    });
    expect(await town.ledger.closeTask(person, parent.id, { outcome: 'done', force: true })).toMatchObject({
      status: 'closed',
    });
    await expect(make('Late', { parent_id: parent.id })).rejects.toMatchObject({ code: 'WRONG_STATE' });
    const late = await make('Also late');
    const edge = { task_id: late.id, depends_on_id: parent.id, type: 'parent-child' } as const;
    await expect(town.ledger.addDependency(person, edge)).rejects.toMatchObject({ code: 'WRONG_STATE' });
    await town.ledger.closeTask(person, late.id, { outcome: 'done' });
    await town.ledger.addDependency(person, edge);
    expect(await town.ledger.getTask(late.id)).toMatchObject({ parent_id: parent.id });
  });
});

describe('dependencies', () => {
  test('a task is ready when its last blocker is closed, and blocked again when one is reopened', async () => {
    const blocker = await make('Blocker', { type: 'dep-test' });
    const task = await make('Blocked', { type: 'dep-test', depends_on: [blocker.id] });
    expect(task.open_blockers).toBe(1);
    const ready = async () =>
      (await town.ledger.readyPage({ type: 'dep-test', rig_id: 'acme' })).items.map((item) => item.id);
    expect(await ready()).toEqual([blocker.id]);
    await town.ledger.closeTask(person, blocker.id, { outcome: 'done' });
    expect(await ready()).toEqual([task.id]);
    await town.ledger.updateTask(person, blocker.id, { status: 'open' });
    expect(await ready()).toEqual([blocker.id]);
    await town.ledger.removeDependency(person, { task_id: task.id, depends_on_id: blocker.id });
    expect(await ready()).toEqual([blocker.id, task.id]);
    await town.ledger.removeDependency(person, { task_id: task.id, depends_on_id: blocker.id });
    expect((await town.ledger.getTask(task.id)).open_blockers).toBe(0);
  });

  test('refuses a cycle and names its path', async () => {
    const [a, b, c] = [await make('a'), await make('b'), await make('c')];
    const blocks = (task: { id: string }, on: { id: string }) =>
      town.ledger.addDependency(person, { task_id: task.id, depends_on_id: on.id, type: 'blocks' });
    await blocks(a, b);
    await blocks(b, c);
    await blocks(a, b);
    await expect(blocks(c, a)).rejects.toMatchObject({
      code: 'DEPENDENCY_CYCLE',
      details: { path: [c.id, a.id, b.id, c.id] },
    });
    await expect(blocks(a, a)).rejects.toMatchObject({ code: 'DEPENDENCY_CYCLE' });
    await expect(blocks(a, { id: 'ac-zzzzz' })).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('neither may a child wait for its parent, nor a parent for what is a part of it', async () => {
    const parent = await make('p');
    const child = await make('c', { parent_id: parent.id });
    const other = await make('c2', { parent_id: parent.id });
    await expect(
      town.ledger.addDependency(person, { task_id: child.id, depends_on_id: parent.id, type: 'blocks' }),
    ).rejects.toMatchObject({ code: 'CONFLICT' });
    const outside = await make('o', { depends_on: [parent.id] });
    await expect(
      town.ledger.addDependency(person, { task_id: other.id, depends_on_id: outside.id, type: 'blocks' }),
    ).rejects.toMatchObject({ code: 'DEPENDENCY_CYCLE' });
    // The child would be held back with its parent, by itself.
    await expect(
      town.ledger.addDependency(person, { task_id: parent.id, depends_on_id: child.id, type: 'blocks' }),
    ).rejects.toMatchObject({ code: 'DEPENDENCY_CYCLE' });
  });

  test('two edges that would close a cycle together: one is refused', async () => {
    for (let round = 0; round < 10; round++) {
      const [a, b] = [await make('a'), await make('b')];
      const edge = (x: string, y: string) =>
        town.ledger.addDependency(person, { task_id: x, depends_on_id: y, type: 'blocks' });
      const both = await Promise.allSettled([edge(a.id, b.id), edge(b.id, a.id)]);
      expect(both.filter((one) => one.status === 'fulfilled')).toHaveLength(1);
    }
  });
});

describe('open_blockers', () => {
  type Step = { kind: 'add' | 'remove' | 'close' | 'reopen'; a: number; b: number };
  const step: fc.Arbitrary<Step> = fc.record({
    kind: fc.constantFrom('add', 'add', 'remove', 'close', 'reopen') as fc.Arbitrary<Step['kind']>,
    a: fc.nat(7),
    b: fc.nat(7),
  });

  test('is what a naive model counts, and no cycle ever gets in', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 60 }), async (steps) => {
        const ids = (
          await town.ledger.createTasks(
            person,
            Array.from({ length: 8 }, () => ({ title: 'm' })),
          )
        ).map((task) => task.id);
        const edges = new Set<string>();
        const closed = new Set<number>();
        const reaches = (from: number, to: number): boolean =>
          from === to || ids.some((_, next) => edges.has(`${from} ${next}`) && reaches(next, to));
        for (const { kind, a, b } of steps) {
          const edge = { task_id: ids[a]!, depends_on_id: ids[b]! };
          if (kind === 'add') {
            const refused = !edges.has(`${a} ${b}`) && reaches(b, a);
            const added = await town.ledger.addDependency(person, { ...edge, type: 'blocks' }).then(
              () => true,
              (error: { code: string }) => error.code,
            );
            expect(added).toBe(refused ? 'DEPENDENCY_CYCLE' : true);
            if (!refused) edges.add(`${a} ${b}`);
          } else if (kind === 'remove') {
            await town.ledger.removeDependency(person, edge).catch(() => undefined);
            edges.delete(`${a} ${b}`);
          } else if (kind === 'close') {
            await town.ledger.closeTask(person, ids[a]!, { outcome: 'done', force: true });
            closed.add(a);
          } else {
            await town.ledger.updateTask(person, ids[a]!, { status: 'open' });
            closed.delete(a);
          }
        }
        for (const [a, id] of ids.entries()) {
          const expected = ids.filter((_, b) => edges.has(`${a} ${b}`) && !closed.has(b)).length;
          expect((await town.ledger.getTask(id)).open_blockers).toBe(expected);
        }
      }),
      { numRuns: 30 },
    );
  }, 120_000);

  test('stays right when tasks are closed and edges written at the same time', async () => {
    const ids = (
      await town.ledger.createTasks(
        person,
        Array.from({ length: 30 }, () => ({ title: 'p' })),
      )
    )
      .map((task) => task.id)
      .toSorted();
    await Promise.allSettled(
      ids.flatMap((id, at) => [
        ...[1, 2, 5].map((step) =>
          town.ledger.addDependency(person, { task_id: id, depends_on_id: ids[(at + step) % 30]!, type: 'blocks' }),
        ),
        at % 3 === 0
          ? town.ledger.closeTask(person, id, { outcome: 'done', force: true })
          : town.ledger.addNote(person, id, 'n'),
      ]),
    );
    for (const id of ids) {
      const task = await town.ledger.getTask(id);
      const open = task.dependencies.filter((edge) => edge.type === 'blocks' && edge.status !== 'closed').length;
      expect(task.open_blockers).toBe(open);
    }
  });
});

describe('lists', () => {
  test('page through all without gap or repetition, and refuse a foreign cursor', async () => {
    await town.ledger.createTasks(
      person,
      Array.from({ length: 25 }, (_, n) => ({ title: `p${n}`, type: 'paged' })),
    );
    const seen: string[] = [];
    for (let cursor: string | null = ''; cursor !== null;) {
      const page = await town.ledger.listTasks({ type: 'paged', limit: 10, ...(cursor === '' ? {} : { cursor }) });
      seen.push(...page.items.map((task) => task.id));
      cursor = page.next_cursor;
    }
    expect(new Set(seen).size).toBe(25);
    expect(seen).toHaveLength(25);
    await expect(town.ledger.listTasks({ cursor: 'x' })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await expect(town.ledger.listTasks({ limit: 0 })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    await expect(town.ledger.listTasks({ limit: 1001 })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    expect((await town.ledger.listTasks({ status: ['done'], type: 'paged' })).items).toEqual([]);
  });
});
