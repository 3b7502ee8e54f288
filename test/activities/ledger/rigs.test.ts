import type { RigInput } from '../../../schema/ledger';
import { AGENT, openSession, person, recipe, rigTown } from './scene';
import { sealAll } from '../../support/database';

const town = rigTown();

const add = (id: string, more: Partial<RigInput> = {}) =>
  town.ledger.addRig(person, {
    id,
    path: `/src/${id}`,
    default_branch: 'main',
    workers_max: 1,
    runtime: { preset: 'external' },
    ...more,
  });

describe('a rig', () => {
  test('has the prefix that is named, or one made from its name', async () => {
    expect(await add('app', { prefix: 'app' })).toMatchObject({ id: 'app', prefix: 'app' });
    expect(await add('app-docs')).toMatchObject({ prefix: 'ad' });
    const task = await town.ledger.createTask(person, { title: 'x', rig_id: 'app-docs' });
    expect(task.id).toMatch(/^ad-/);
  });

  test('is refused with a suggestion when its prefix is taken, reserved or easily confused', async () => {
    for (const [id, prefix, code] of [
      ['other', 'app', 'ALREADY_EXISTS'],
      ['other', 'app-ui', 'ALREADY_EXISTS'],
      ['other', 'hq', 'INVALID_INPUT'],
      ['other', 'Other', 'INVALID_INPUT'],
      ['app', 'zz', 'ALREADY_EXISTS'],
    ] as const) {
      const suggestion = id === 'other' ? { details: expect.objectContaining({ suggestion: 'other' }) } : {};
      await expect(add(id, { prefix })).rejects.toMatchObject({ code, ...suggestion });
    }
  });

  test('of several that are added at once none gets the prefix of another', async () => {
    const rigs = await Promise.all(Array.from({ length: 8 }, (_, n) => add(`same-${'abcdefgh'[n] ?? ''}`)));
    expect(new Set(rigs.map((rig) => rig.prefix)).size).toBe(8);
    const twins = await Promise.allSettled([add('one', { prefix: 'tw' }), add('two', { prefix: 'tw' })]);
    expect(twins.map((each) => each.status).toSorted()).toEqual(['fulfilled', 'rejected']);
  });
});

describe('a task that is moved to another rig', () => {
  test('keeps its id, its parts, and all that names it', async () => {
    const whole = await town.ledger.createTask(person, { title: 'whole', rig_id: 'acme' });
    const part = await town.ledger.createTask(person, { title: 'part', parent_id: whole.id });
    const other = await town.ledger.createTask(person, { title: 'other', rig_id: 'acme', depends_on: [whole.id] });
    const convoy = await town.ledger.createConvoy(person, { name: 'c', tasks: [part.id] });
    const moved = await town.ledger.moveTasks(person, [whole.id], 'app');
    expect(moved.map((task) => [task.id, task.rig_id])).toEqual([
      [whole.id, 'app'],
      [part.id, 'app'],
    ]);
    expect(await town.ledger.getTask(part.id)).toMatchObject({ parent_id: whole.id, convoy_id: convoy.id });
    expect((await town.ledger.getTask(other.id)).dependencies).toMatchObject([{ id: whole.id, holds: true }]);
    await town.ledger.closeTask(person, part.id, { outcome: 'done' });
    await town.ledger.closeTask(person, whole.id, { outcome: 'done' });
    expect(await town.ledger.getTask(other.id)).toMatchObject({ open_blockers: 0 });
    await town.ledger.reopenTask(person, whole.id);
    const born = await town.ledger.createTask(person, { title: 'later', parent_id: whole.id });
    expect(born).toMatchObject({ id: `${whole.id}.2`, rig_id: 'app' });
    await sealAll(town.ledger);
    const events = (await town.ledger.listEvents({ task_id: part.id })).items;
    expect(events.find((event) => event.type === 'task_moved')?.payload).toEqual({
      before: { rig_id: 'acme' },
      after: { rig_id: 'app' },
    });
    const back = await town.ledger.moveTasks(person, [whole.id], null);
    expect(new Set(back.map((task) => task.rig_id))).toEqual(new Set([null]));
    const sent = await town.db
      .selectFrom('outbox')
      .select('message')
      .where('target', '=', `convoy.${convoy.id}`)
      .execute();
    expect(sent.length).toBeGreaterThan(2);
  });

  test('is refused while work on it goes on, and when it is not there', async () => {
    const task = await town.ledger.createTask(person, { title: 'busy', rig_id: 'acme' });
    const free = await town.ledger.createTask(person, { title: 'free', rig_id: 'acme' });
    await town.ledger.sling(person, {
      task_id: task.id,
      target: { kind: 'agent', id: AGENT },
      recipe,
      decision_id: 'd',
    });
    await expect(town.ledger.moveTasks(person, [free.id, task.id], 'app')).rejects.toMatchObject({
      code: 'WRONG_STATE',
      details: { held: [task.id] },
    });
    expect(await town.ledger.getTask(free.id)).toMatchObject({ rig_id: 'acme' });
    await expect(town.ledger.moveTasks(person, ['ac-zzzzz'], 'app')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(town.ledger.moveTasks(person, [free.id], 'nowhere')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    // Where it is already: nothing happens, also while it is worked on.
    expect(await town.ledger.moveTasks(person, [task.id], 'acme')).toMatchObject([{ id: task.id, rig_id: 'acme' }]);
  });
});

test('rigs, agents and sessions are listed by pages', async () => {
  for (const name of ['a', 'b']) {
    await town.ledger.addAgent(person, {
      id: `acme/x/${name}`,
      role: 'r',
      rig_id: 'acme',
      runtime: { preset: 'external' },
    });
  }
  for (let n = 0; n < 3; n += 1) await openSession(town.ledger);
  const { ledger } = town;
  const idsOf = async (
    list: (page: {
      limit: number;
      cursor?: string;
    }) => Promise<{ items: { id: string }[]; next_cursor: string | null }>,
  ) => {
    const ids: string[] = [];
    for (let cursor: string | null = null; ;) {
      const page = await list({ limit: 2, ...(cursor === null ? {} : { cursor }) });
      expect(page.items.length).toBeLessThanOrEqual(2);
      ids.push(...page.items.map((item) => item.id));
      cursor = page.next_cursor;
      if (cursor === null) return ids;
    }
  };
  expect(await idsOf((page) => ledger.rigPage(page))).toEqual(
    (await ledger.listRigs()).map((rig) => rig.id).toSorted(),
  );
  expect((await idsOf((page) => ledger.agentPage({ ...page, rig_id: 'acme', status: 'active' }))).toSorted()).toEqual([
    AGENT,
    'acme/x/a',
    'acme/x/b',
  ]);
  expect(await idsOf((page) => ledger.sessionPage({ ...page, agent_id: AGENT }))).toEqual(
    (await ledger.sessionPage({ agent_id: AGENT })).items.map((session) => session.id),
  );
  expect(await idsOf((page) => ledger.sessionPage({ ...page, status: 'opening' }))).toHaveLength(1);
});
