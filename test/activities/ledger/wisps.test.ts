import { sql } from 'kysely';
import { rebuildProjection } from '../../../activities/projection/rebuild';
import { project } from '../../../activities/projection/project';
import { runId } from '../../../schema/ids';
import type { WispInput } from '../../../schema/ledger';
import { AGENT, as, keyed, openSession, person, recipe, rigTown } from './scene';
import { sealAll } from '../../support/database';

const town = rigTown();

const make = (title: string, more: Partial<WispInput> = {}) =>
  town.ledger.createWisp(person, { title, rig_id: 'acme', ...more });
const expire = (id: string) =>
  sql`update wisps set expires_at = now() - interval '1 second' where id = ${id}`.execute(town.db);
const exists = (id: string) =>
  town.ledger.getWisp(id).then(
    () => true,
    () => false,
  );
/** Every text of the trail, of tasks and of what belongs to them. */
async function durableText(): Promise<string> {
  await sealAll(town.ledger);
  const tables = [
    'tasks', 'task_dependencies', 'task_notes', 'task_comments', 'labels', 'events', 'audit', 'convoy_members', 'mail', 'step_receipts', 'exports',
  ]; // prettier-ignore
  const texts = await Promise.all(
    tables.map(async (table) => JSON.stringify((await sql`select * from ${sql.table(table)}`.execute(town.db)).rows)),
  );
  return texts.join('\n');
}

test('is made with what was said of it, and lives as long as its type says', async () => {
  const task = await town.ledger.createTask(person, { title: 'needed', rig_id: 'acme' });
  const wisp = await make('Ping amber', {
    wisp_type: 'ping',
    description: 'd',
    priority: 0,
    labels: ['b', 'a'],
    metadata: { x: 1 },
    owner: 'bea',
    acceptance: 'an answer',
    depends_on: [task.id],
  });
  expect(wisp).toMatchObject({
    id: expect.stringMatching(/^ac-wisp-[0-9a-z]{5}$/),
    status: 'open',
    priority: 0,
    labels: ['a', 'b'],
    metadata: { x: 1 },
    owner: 'bea',
    open_blockers: 1,
    wisp_type: 'ping',
    created_by: 'person:ada',
  });
  const livesMs = Date.parse(wisp.expires_at) - Date.parse(wisp.created_at);
  expect(Math.abs(livesMs - 6 * 3_600_000)).toBeLessThan(5_000);
  expect(await town.ledger.getWisp(wisp.id)).toEqual(wisp);
  const part = await make('part', { parent_id: wisp.id, ttl_ms: 60_000 });
  expect(part).toMatchObject({ id: `${wisp.id}.1`, parent_id: wisp.id });
  expect(await make('later', { defer_until: '2999-01-01' })).toMatchObject({ status: 'deferred' });
  expect(await town.ledger.createWisp(keyed('w1'), { title: 'once' })).toEqual(
    await town.ledger.createWisp(keyed('w1'), { title: 'once' }),
  );
  for (const [more, code] of [
    [{ wisp_type: 'ghost' }, 'INVALID_INPUT'],
    [{ ttl_ms: 1 }, 'INVALID_INPUT'],
    [{ depends_on: ['ac-zzzzz'] }, 'NOT_FOUND'],
    [{ parent_id: 'ac-wisp-zzzzz' }, 'NOT_FOUND'],
    [{ rig_id: 'nowhere' }, 'NOT_FOUND'],
  ] as const) {
    await expect(make('bad', more)).rejects.toMatchObject({ code });
  }
});

test('is among what is stale, alike, blocked or counted when wisps are asked for', async () => {
  const label = 'overview';
  const first = await make('Twice said', { labels: [label] });
  const again = await make('Twice said', { labels: [label], depends_on: [first.id] });
  await sql`update wisps set updated_at = now() - interval '1 minute' where id = ${first.id}`.execute(town.db);
  await sql`update wisps set status = 'in_progress', updated_at = now() - interval '1 hour' where id = ${again.id}`.execute(
    town.db,
  );
  const both = { label, wisps: true };
  const { ledger } = town;
  expect((await ledger.staleTasks({ ...both, days: 0 })).items.map((task) => [task.id, task.reason])).toEqual([
    [again.id, 'nobody'],
    [first.id, 'untouched'],
  ]);
  const [pair] = (await ledger.duplicateTasks(both)).items;
  expect(new Set([pair?.id, pair?.of])).toEqual(new Set([first.id, again.id]));
  expect((await ledger.duplicateTasks({ ...both, task_id: first.id })).items).toHaveLength(1);
  expect((await ledger.blockedTasks(both)).items).toMatchObject([
    { id: again.id, blocked_by: [{ id: first.id, type: 'blocks' }] },
  ]);
  expect(await ledger.taskStats(both)).toMatchObject({
    total: 2,
    blocked: 1,
    ready: 1,
    oldest: { id: first.id, title: 'Twice said' },
  });
  for (const items of [
    (await ledger.staleTasks({ label, days: 0 })).items,
    (await ledger.duplicateTasks({ label })).items,
  ]) {
    expect(items).toEqual([]);
  }
  expect(await ledger.taskStats({ label })).toMatchObject({ total: 0 });
});

test('is in no list and never ready, unless wisps are asked for', async () => {
  const wisp = await make('Hidden', { labels: ['only-here'] });
  const ids = async (filter: object) => (await town.ledger.listTasks(filter)).items.map((task) => task.id);
  expect(await ids({ label: 'only-here' })).toEqual([]);
  expect(await ids({ query: `id=${wisp.id}` })).toEqual([]);
  expect((await town.ledger.readyPage({ limit: 1_000 })).items.some((task) => task.id === wisp.id)).toBe(false);
  expect(await ids({ label: 'only-here', wisps: true })).toEqual([wisp.id]);
  const listed = await town.ledger.listTasks({ query: 'title=hidden AND label=only-here', wisps: true });
  expect(listed.items).toMatchObject([{ id: wisp.id, expires_at: wisp.expires_at, wisp_type: null }]);
  const { items: ready } = await town.ledger.readyPage({ label: 'only-here', wisps: true });
  expect(ready.map((task) => task.id)).toEqual([wisp.id]);
  const durable = await town.ledger.createTask(person, { title: 'Durable', rig_id: 'acme', labels: ['only-here'] });
  const both: string[] = [];
  for (let cursor: string | null = null; ;) {
    const page = await town.ledger.listTasks({
      label: 'only-here',
      wisps: true,
      sort: 'id',
      limit: 1,
      ...(cursor === null ? {} : { cursor }),
    });
    both.push(...page.items.map((task) => task.id));
    cursor = page.next_cursor;
    if (cursor === null) break;
  }
  expect(both).toEqual([durable.id, wisp.id].toSorted());
  await expect(town.ledger.getTask(wisp.id)).rejects.toMatchObject({
    code: 'NOT_FOUND',
    hint: expect.stringContaining('wisp show'),
  });
  const byType = await town.ledger.listWisps({ labels: ['only-here'] });
  expect(byType.items.map((each) => each.id)).toEqual([wisp.id]);
  await make('patrolled', { wisp_type: 'patrol' });
  expect((await town.ledger.listWisps({ wisp_type: 'patrol' })).items.map((each) => each.title)).toEqual(['patrolled']);
});

test('leaves nothing in tasks, trail, audit, mail, copies or exports, whatever becomes of it', async () => {
  const secret = 'xylophone-wisp';
  const wisps = [];
  for (let n = 0; n < 4; n += 1) wisps.push(await make(`${secret} ${n}`, { description: secret, labels: [secret] }));
  const [closed, burned, squashed, expired] = wisps.map((wisp) => wisp.id) as [string, string, string, string];
  await town.ledger.closeWisp(person, closed, { outcome: 'done', reason: secret });
  await town.ledger.burnWisps(person, [burned]);
  await town.ledger.squashWisps(person, [squashed], {});
  await expire(expired);
  await town.ledger.sweep();
  let text = await durableText();
  await town.ledger.exportTasks({}, (lines) => void (text += lines));
  expect(text).not.toContain(secret);
  for (const wisp of wisps) expect(text).not.toContain(wisp.id);
});

test('closes once, with one outcome', async () => {
  const { id } = await make('close me');
  const first = await town.ledger.closeWisp(person, id, { outcome: 'done', reason: 'seen' });
  expect(first).toMatchObject({
    status: 'closed',
    outcome: 'done',
    close_reason: 'seen',
    completed_at: expect.any(String),
  });
  expect(await town.ledger.closeWisp(person, id, { outcome: 'done' })).toEqual(first);
  await expect(town.ledger.closeWisp(person, id, { outcome: 'failed' })).rejects.toMatchObject({ code: 'WRONG_STATE' });
  await expect(town.ledger.closeWisp(person, 'ac-wisp-zzzzz', { outcome: 'done' })).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
});

test('is purged when its time is over, by the sweep as well, and only then', async () => {
  const [old, young] = [await make('old'), await make('young')];
  const many = await Promise.all(Array.from({ length: 30 }, (_, n) => make(`many ${n}`)));
  await expire(old.id);
  for (const wisp of many) await expire(wisp.id);
  const [one, two] = await Promise.all([town.ledger.purgeWisps(), town.ledger.purgeWisps()]);
  expect(one + two).toBe(31);
  expect(await town.ledger.purgeWisps()).toBe(0);
  expect([await exists(old.id), await exists(young.id)]).toEqual([false, true]);
  await expire(young.id);
  expect(await town.ledger.sweep()).toMatchObject({ wisps: 1 });
  expect(await exists(young.id)).toBe(false);
});

test('is promoted with its parts, facts, labels and times', async () => {
  const needed = await town.ledger.createTask(person, { title: 'needed', rig_id: 'acme' });
  const parent = await town.ledger.createTask(person, { title: 'whole', rig_id: 'acme' });
  const wisp = await make('Keep me', {
    wisp_type: 'error',
    labels: ['x'],
    priority: 1,
    metadata: { a: 1 },
    due_at: '2999-01-01T00:00:00.000Z',
    depends_on: [needed.id],
    parent_id: parent.id,
  });
  const part = await make('part', { parent_id: wisp.id, depends_on: [] });
  await town.ledger.closeWisp(person, part.id, { outcome: 'skipped', reason: 'no need' });
  const { task, ids } = await town.ledger.promoteWisp({ actor: 'person:bob' }, wisp.id);
  expect(task).toMatchObject({
    id: `${parent.id}.1`,
    title: 'Keep me',
    labels: ['x'],
    priority: 1,
    metadata: { a: 1 },
    due_at: '2999-01-01T00:00:00.000Z',
    open_blockers: 1,
    parent_id: parent.id,
    created_by: 'person:ada',
    created_at: wisp.created_at,
    status: 'open',
  });
  expect(ids).toEqual({ [wisp.id]: task.id, [part.id]: `${task.id}.1` });
  expect(await town.ledger.getTask(`${task.id}.1`)).toMatchObject({
    status: 'closed',
    outcome: 'skipped',
    close_reason: 'no need',
  });
  expect([await exists(wisp.id), await exists(part.id)]).toEqual([false, false]);
  const alone = await make('Alone');
  expect((await town.ledger.promoteWisp(person, alone.id)).task.id).toBe(alone.id.replace('-wisp', ''));
  await expect(town.ledger.promoteWisp(person, alone.id)).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('several are squashed into one digest, with their parts', async () => {
  const [a, b] = [await make('first'), await make('second')];
  const part = await make('part', { parent_id: a.id });
  await town.ledger.closeWisp(person, b.id, { outcome: 'done' });
  const digest = await town.ledger.squashWisps(person, [a.id, b.id], { title: 'Two nudges' });
  expect(digest).toMatchObject({
    id: expect.stringMatching(/^dig-/),
    title: 'Two nudges',
    summary: '3 wisps: 2 open, 1 done',
    squashed: [a.id, b.id, part.id],
    steps_total: 3,
    steps_closed: 1,
    root_id: a.id,
  });
  expect(await town.ledger.getRunDigest(digest.id)).toEqual(digest);
  expect(await exists(part.id)).toBe(false);
  await expect(town.ledger.squashWisps(person, [a.id], {})).rejects.toMatchObject({ code: 'NOT_FOUND' });
  expect((await town.ledger.listRunDigests({ limit: 1 })).items[0]).toEqual(digest);
  expect(await town.ledger.burnWisps(person, [a.id])).toEqual({ burned: [] });
});

describe('a short-lived molecule', () => {
  const target = { kind: 'agent', id: AGENT } as const;
  const pour = (key?: string) =>
    town.ledger.pour(key === undefined ? person : keyed(key), {
      recipe,
      rig_id: 'acme',
      target,
      decision_id: 'dec-1',
      wisp: true,
      wisp_type: 'patrol',
    });
  async function publish(molecule_id: string, status: string, seq: number): Promise<void> {
    await project(town.db, {
      run: runId.molecule(molecule_id),
      epoch: 1,
      events: [
        {
          seq,
          at: Date.now(),
          type: 'molecule_changed',
          task_id: null,
          molecule_id,
          agent_id: AGENT,
          payload: { status },
        },
      ],
      rows: {
        kind: 'molecule',
        seq,
        molecule: {
          id: molecule_id,
          root_task_id: null,
          rig_id: 'acme',
          formula: recipe.formula,
          recipe_digest: recipe.digest,
          status,
          agent_id: AGENT,
          resume_step_id: null,
          steps_total: 1,
          steps_closed: status === 'running' ? 0 : 1,
          priority: 2,
          outcome: status === 'running' ? null : 'done',
          attention: null,
        },
        steps: [
          {
            step: 'work',
            position: 0,
            id: `${molecule_id}.work`,
            title: 'Work',
            status: status === 'running' ? 'hooked' : 'closed',
            attempt: 1,
            agent_id: AGENT,
            needs: [],
            outcome: status === 'running' ? null : 'done',
            note: status === 'running' ? null : 'went well',
            commit_id: null,
            lost_reason: null,
            round: 1,
            template: null,
            bindings: null,
            gate: null,
          },
        ],
      },
    });
  }

  test('starts without a root task, has its brief at once, and is no task', async () => {
    const { task, molecule_id } = await pour('pour-1');
    if (molecule_id === null) throw new Error('no molecule');
    expect(await pour('pour-1')).toEqual({ task, molecule_id });
    expect(task).toMatchObject({ status: 'in_progress', assigned_agent_id: AGENT, molecule_id, type: 'molecule' });
    const sent = await town.db
      .selectFrom('outbox')
      .select('message')
      .where('target', '=', runId.molecule(molecule_id))
      .execute();
    expect(sent).toMatchObject([
      { message: { kind: 'start', input: { id: molecule_id, root_task_id: null, n: 1, steps: [{ id: 'work' }] } } },
    ]);
    expect(await town.ledger.brief(molecule_id, 'work')).toMatchObject({
      task_id: null,
      rig_id: 'acme',
      instructions: 'Do the work',
      step_id: `${molecule_id}.work`,
    });
    await expect(
      town.ledger.pour(person, { recipe, rig_id: 'acme', target: null, decision_id: null, wisp: true }),
    ).rejects.toMatchObject({
      code: 'INVALID_INPUT',
    });
  });

  test('runs, is squashed when it is over, and leaves its digest alone', async () => {
    const { task, molecule_id } = await pour();
    if (molecule_id === null) throw new Error('no molecule');
    await publish(molecule_id, 'running', 1);
    const { incarnation } = await openSession(town.ledger);
    const receipt = {
      molecule_id, step: 'work', attempt: 1, session_id: null, outcome: 'done' as const, note: 'went well', commit_id: null, output: null,
    }; // prettier-ignore
    expect((await town.ledger.writeReceipt(as(incarnation), receipt)).fresh).toBe(true);
    expect((await town.ledger.writeReceipt(as(incarnation), receipt)).fresh).toBe(false);
    expect((await town.ledger.listMolecules({ rig_id: 'acme' })).items.some((each) => each.id === molecule_id)).toBe(
      false,
    );
    expect((await town.ledger.listMolecules({ wisps: true })).items.some((each) => each.id === molecule_id)).toBe(true);
    for (const refused of [
      town.ledger.squashMolecule(person, molecule_id, {}),
      town.ledger.burnMolecule(person, molecule_id),
      town.ledger.burnWisps(person, [task.id]),
      town.ledger.promoteWisp(person, task.id),
      town.ledger.closeWisp(person, task.id, { outcome: 'done' }),
    ]) {
      await expect(refused).rejects.toMatchObject({ code: 'WRONG_STATE' });
    }
    await expire(task.id);
    expect(await town.ledger.purgeWisps()).toBe(0);
    expect((await rebuildProjection(town.db)).differences).toEqual([]);
    await publish(molecule_id, 'completed', 2);
    await town.ledger.endWispMolecule({ actor: runId.molecule(molecule_id) }, molecule_id, {
      outcome: 'done',
      reason: '',
    });
    expect(await town.ledger.getWisp(task.id)).toMatchObject({ status: 'closed', outcome: 'done' });
    const digest = await town.ledger.squashMolecule(person, molecule_id, {});
    expect(digest).toMatchObject({
      molecule_id,
      root_id: task.id,
      formula: recipe.formula,
      outcome: 'done',
      steps_total: 1,
      steps_closed: 1,
      squashed: [task.id],
      content: { steps: [{ step: 'work', outcome: 'done', note: 'went well' }] },
    });
    expect(await town.ledger.squashMolecule(person, molecule_id, { summary: 'again' })).toEqual(digest);
    expect((await town.ledger.listRunDigests({ molecule_id })).items).toEqual([digest]);
    await expect(town.ledger.getMolecule(molecule_id)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(await town.ledger.getReceipt(molecule_id, 'work')).toBeNull();
    await town.ledger.endWispMolecule({ actor: 'system:test' }, molecule_id, { outcome: 'done', reason: '' });
    const trail = await sql`select 1 from events where molecule_id = ${molecule_id}`.execute(town.db);
    expect(trail.rows).toEqual([]);
  });

  test('is burned with its rows, or purged when its time is over', async () => {
    const ids = [];
    for (const _ of [1, 2]) {
      const { task, molecule_id } = await pour();
      if (molecule_id === null) throw new Error('no molecule');
      await publish(molecule_id, 'completed', 1);
      ids.push({ wisp: task.id, molecule_id });
    }
    const [burned, purged] = ids;
    if (burned === undefined || purged === undefined) throw new Error('two were poured');
    expect(await town.ledger.burnMolecule(person, burned.molecule_id)).toEqual({
      burned: [burned.molecule_id, burned.wisp],
    });
    expect(await town.ledger.burnMolecule(person, burned.molecule_id)).toEqual({ burned: [] });
    await expire(purged.wisp);
    expect(await town.ledger.purgeWisps()).toBe(1);
    const left = await sql`select 1 from molecules where id in (${burned.molecule_id}, ${purged.molecule_id})`.execute(
      town.db,
    );
    expect(left.rows).toEqual([]);
  });

  test('that is durable is squashed to a digest and stays', async () => {
    const task = await town.ledger.createTask(person, { title: 'Durable', rig_id: 'acme' });
    const { molecule_id } = await town.ledger.sling(person, { task_id: task.id, target, recipe, decision_id: 'dec-1' });
    await expect(town.ledger.squashMolecule(person, molecule_id, {})).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(town.ledger.burnMolecule(person, molecule_id)).rejects.toMatchObject({ code: 'WRONG_STATE' });
    await sql`insert into molecules values (${molecule_id}, ${task.id}, 'acme', 'f', ${recipe.digest}, 'completed', ${AGENT}, null, 1, 1, 2, 'done', null, 1, 1, now())`.execute(
      town.db,
    );
    expect(await town.ledger.squashMolecule(person, molecule_id, { summary: 'all well' })).toMatchObject({
      root_id: task.id,
      title: 'Durable',
      summary: 'all well',
    });
    expect(await town.ledger.getMolecule(molecule_id)).toMatchObject({ status: 'completed' });
  });
});
