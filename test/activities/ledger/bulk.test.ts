import type { TaskOperation } from '../../../schema/ledger';
import { parseBatch } from '../../../schema/task/batch';
import { AGENT, keyed, person, rigTown } from './scene';
import { sealAll } from '../../support/database';

const town = rigTown();
const { make } = town;
const eventsOf = async (task_id: string) => {
  await sealAll(town.ledger);
  return (await town.ledger.listEvents({ task_id, limit: 100 })).items.map((event) => event.type);
};

test('does every kind of change, each with its own events, in one transaction', async () => {
  const [a, b, c] = [await make('a'), await make('b'), await make('c')];
  const lines = [
    `dep add ${a.id} ${b.id}`,
    `update ${a.id} priority=0 title="A new title" due=2999-01-01`,
    `label add ${a.id} x y`,
    `note ${a.id} remember`,
    `comment ${a.id} why?`,
    `assign ${c.id} ${AGENT}`,
    `pin ${c.id}`,
    `unpin ${c.id}`,
    `defer ${c.id} 3d`,
    `undefer ${c.id}`,
    `close ${b.id} by hand`,
    `create bug 1 Found meanwhile`,
    `close ${a.id}`,
    `reopen ${a.id} too early`,
    `dep remove ${a.id} ${b.id}`,
  ];
  const { results, tasks } = await town.ledger.changeTasks(person, parseBatch(lines.join('\n'), { rig_id: 'acme' }));
  expect(results.map(({ op, line }) => [op, line]).slice(0, 2)).toEqual([
    ['dep-add', 1],
    ['update', 2],
  ]);
  expect(results).toHaveLength(lines.length);
  const made = tasks.find((task) => task.title === 'Found meanwhile');
  expect(made).toMatchObject({ type: 'bug', priority: 1, rig_id: 'acme' });
  expect(results[11]?.target).toBe(made?.id);
  expect(await town.ledger.getTask(a.id)).toMatchObject({
    status: 'open',
    title: 'A new title',
    labels: ['x', 'y'],
    dependencies: [],
    comments: [{ body: 'why?' }],
    notes: [{ body: 'remember' }],
  });
  expect(await town.ledger.getTask(b.id)).toMatchObject({ status: 'closed', outcome: 'done', close_reason: 'by hand' });
  expect(await eventsOf(a.id)).toEqual([
    'task_created',
    'dependency_added',
    'task_updated',
    'task_updated',
    'task_noted',
    'task_commented',
    'task_closed',
    'task_reopened',
    'dependency_removed',
  ]);
});

test('does nothing at all when one is refused, and says which', async () => {
  const [a, b] = [await make('a'), await make('b')];
  const blocked = await make('blocked', { depends_on: [a.id] });
  const before = await eventsOf(b.id);
  const batch = parseBatch(`close ${b.id}\n# then\ncreate task 2 x\nclose ${blocked.id}\nclose ${a.id}`);
  await expect(town.ledger.changeTasks(person, batch)).rejects.toMatchObject({
    code: 'OPEN_BLOCKERS',
    message: expect.stringMatching(/^line 4: /),
    details: { line: 4, operation: 3, blockers: [a.id] },
  });
  expect(await town.ledger.getTask(b.id)).toMatchObject({ status: 'open' });
  expect(await eventsOf(b.id)).toEqual(before);
  const wrong: TaskOperation[] = [{ op: 'update', id: b.id, patch: { priority: 9 }, line: 7 }];
  await expect(town.ledger.changeTasks(person, wrong)).rejects.toMatchObject({
    code: 'INVALID_INPUT',
    details: { line: 7, operation: 1 },
  });
  await expect(
    town.ledger.changeTasks(person, [
      { op: 'note', id: b.id, body: 'x' },
      { op: 'close', id: 'ac-zzzzz', outcome: 'done' },
    ]),
  ).rejects.toMatchObject({ code: 'NOT_FOUND', details: { operation: 2 } });
  expect((await town.ledger.getTask(b.id)).notes).toEqual([]);
});

test('the same key again gives the first answer', async () => {
  const batch = parseBatch('create task 2 once\ncreate task 2 twice');
  const first = await town.ledger.changeTasks(keyed('batch-1'), batch);
  const again = await town.ledger.changeTasks(keyed('batch-1'), batch);
  expect(again).toEqual(first);
  expect((await town.ledger.listTasks({ query: 'title=once' })).items).toHaveLength(1);
  await expect(town.ledger.changeTasks(keyed('batch-1'), batch.slice(1))).rejects.toMatchObject({
    code: 'IDEMPOTENCY_MISMATCH',
  });
});

test('batches over the same tasks in other orders all go through', async () => {
  const tasks = await town.ledger.createTasks(
    person,
    Array.from({ length: 12 }, (_, n) => ({ title: `t${n}`, rig_id: 'acme' })),
  );
  const batches = Array.from({ length: 8 }, (_, nth) => {
    const order = nth % 2 === 0 ? tasks : tasks.toReversed();
    return order.map((task): TaskOperation => ({ op: 'update', id: task.id, patch: { add_labels: [`l${nth}`] } }));
  });
  await Promise.all(batches.map((batch) => town.ledger.changeTasks(person, batch)));
  const { items } = await town.ledger.listTasks({ ids: tasks.map((task) => task.id) });
  for (const task of items) expect(task.labels).toHaveLength(8);
});

test('has at most a thousand changes', async () => {
  const many = Array.from({ length: 1_001 }, (): TaskOperation => ({ op: 'undefer', id: 'ac-zzzzz' }));
  await expect(town.ledger.changeTasks(person, many)).rejects.toMatchObject({ code: 'INPUT_TOO_LARGE' });
});
