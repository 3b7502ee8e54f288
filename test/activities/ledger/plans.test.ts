import { readJsonPlan } from '../../../schema/task/plan-json';
import { readMarkdownPlan } from '../../../schema/task/plan-markdown';
import { AGENT, keyed, person, rigTown } from './scene';

const town = rigTown();

const count = async () => (await town.ledger.listTasks({ limit: 1_000 })).items.length;

test('makes all tasks of a page, with parts, needs, fields and who has them', async () => {
  const known = await town.ledger.createTask(person, { title: 'known', rig_id: 'acme' });
  const plan = readMarkdownPlan(`## Ship it
priority: 1
labels: release

### Write
assignee: ${AGENT}

### Check
needs: Write, ${known.id}
`);
  const { ids, tasks } = await town.ledger.createPlan(keyed('plan'), plan, { rig_id: 'acme' });
  expect(Object.keys(ids)).toEqual(['ship-it', 'write', 'check']);
  expect(tasks.map((task) => task.id)).toEqual([ids['ship-it'], `${ids['ship-it']}.1`, `${ids['ship-it']}.2`]);
  expect(tasks[0]).toMatchObject({ priority: 1, labels: ['release'], rig_id: 'acme' });
  expect(tasks[1]).toMatchObject({ assigned_agent_id: AGENT, parent_id: ids['ship-it'] });
  expect(tasks[2]).toMatchObject({ open_blockers: 2, rig_id: 'acme' });
  expect(await town.ledger.createPlan(keyed('plan'), plan, { rig_id: 'acme' })).toEqual({ ids, tasks });
});

test('a graph names the tasks of itself and those that exist, also in metadata', async () => {
  const parent = await town.ledger.createTask(person, { title: 'parent', rig_id: 'acme' });
  const plan = readJsonPlan(
    JSON.stringify({
      nodes: [
        { key: 'two', title: 'Two', parent: 'one', metadata: { k: 'v' }, metadata_refs: { before: 'one' } },
        { key: 'one', title: 'One' },
      ],
      edges: [{ from_id: parent.id, to_key: 'two', type: 'related' }],
    }),
  );
  const { ids, tasks } = await town.ledger.createPlan(person, plan, { parent_id: parent.id });
  expect(ids).toEqual({ two: `${parent.id}.1.1`, one: `${parent.id}.1` });
  expect(tasks[0]?.metadata).toEqual({ k: 'v', before: ids['one'] });
  const detail = await town.ledger.getTask(parent.id);
  expect(detail.dependencies).toMatchObject([{ id: ids['two'], type: 'related' }]);
});

test('writes nothing when anything is refused, and says where', async () => {
  const before = await count();
  const refused = async (plan: object) =>
    town.ledger.createPlan(person, readJsonPlan(JSON.stringify(plan)), { rig_id: 'acme' });
  const two = [{ title: 'a' }, { title: 'b' }];
  await expect(refused({ nodes: [...two, { title: 'c', assignee: 'acme/polecats/nobody' }] })).rejects.toMatchObject({
    code: 'NOT_FOUND',
    message: expect.stringMatching(/^nodes\[2\]: /),
  });
  await expect(refused({ nodes: [...two, { title: 'c', due_at: 'soon' }] })).rejects.toMatchObject({
    code: 'INVALID_INPUT',
    details: { at: 'nodes[2]' },
  });
  await expect(refused({ nodes: two, edges: [{ from_key: 'a', to_id: 'ac-zzzzz' }] })).rejects.toMatchObject({
    code: 'NOT_FOUND',
    details: { at: 'edges[0]' },
  });
  const top = await town.ledger.createTask(person, { title: 'top', rig_id: 'acme' });
  // The whole waits for its part: only the ledger knows that the part would wait for the whole.
  await expect(
    refused({ nodes: [{ title: 'part', parent_id: top.id }], edges: [{ from_key: 'part', to_id: top.id }] }),
  ).rejects.toMatchObject({ code: expect.stringMatching(/DEPENDENCY_CYCLE|CONFLICT/), details: { at: 'edges[0]' } });
  expect(await count()).toBe(before + 1);
});

test('makes five hundred tasks with a thousand edges in one go', async () => {
  const plan = readJsonPlan(
    JSON.stringify({
      nodes: Array.from({ length: 500 }, (_, n) => ({ key: `n${n}`, title: `node ${n}` })),
      edges: Array.from({ length: 1_000 }, (_, n) => ({
        from_key: `n${1 + (n % 499)}`,
        to_key: `n${n < 499 ? n % 499 : Math.max(0, (n % 499) - 1)}`,
      })).filter(
        (edge, index, all) =>
          all.findIndex((other) => other.from_key === edge.from_key && other.to_key === edge.to_key) === index,
      ),
    }),
  );
  const { tasks } = await town.ledger.createPlan(person, plan, { rig_id: 'acme' });
  expect(tasks).toHaveLength(500);
});
