import { sql } from 'kysely';
import { runId } from '../../../schema/ids';
import { AGENT, as, keyed, openSession, person, recipe, rigTown } from './scene';
import { sha256 } from '../../support/database';
import { recipeOf } from '../../support/recipes';

const town = rigTown();
const { make } = town;
const toAgent = { kind: 'agent', id: AGENT } as const;
const toRig = { kind: 'rig', id: 'acme' } as const;
const sling = (task_id: string, more: object = {}) =>
  town.ledger.sling(person, { task_id, target: toAgent, recipe, decision_id: 'dec-1', ...more });
const sent = async (target: string) =>
  (await town.db.selectFrom('outbox').selectAll().where('target', '=', target).orderBy('n').execute()).map(
    (row) => row.message,
  );

describe('sling', () => {
  test('keeps a recipe as large as compiling allows, unless its run would carry too much of it', async () => {
    const wordy = recipeOf([{ id: 'a', instructions: 'x'.repeat(3_900_000) }]);
    const pour = { rig_id: 'acme', target: null, decision_id: null };
    await town.ledger.pour(person, { ...pour, recipe: wordy });
    expect((await town.ledger.getRecipe(wordy.digest)).steps).toEqual(wordy.steps);
    for (const refused of [{ instructions: 'x'.repeat(4_000_000) }, { title: 'x'.repeat(1_000_000) }])
      await expect(
        town.ledger.pour(person, { ...pour, recipe: recipeOf([{ id: 'a', ...refused }]) }),
      ).rejects.toMatchObject({ code: 'INPUT_TOO_LARGE' });
  });

  test('takes the task, keeps the recipe and starts the molecule', async () => {
    const task = await make('Sling me', { priority: 1 });
    const slung = await sling(task.id);
    expect(slung.task).toMatchObject({
      status: 'in_progress',
      assigned_agent_id: AGENT,
      molecule_id: slung.molecule_id,
    });
    expect(slung.molecule_id).toMatch(/^mol-[0-9a-z]{8}$/);
    expect(await sent(runId.molecule(slung.molecule_id))).toMatchObject([
      {
        kind: 'start',
        workflow: 'molecule',
        input: {
          id: slung.molecule_id,
          root_task_id: task.id,
          rig_id: 'acme',
          priority: 1,
          epoch: 1,
          n: 1,
          recipe_digest: recipe.digest,
          steps: [{ id: 'work', needs: [] }],
        },
      },
    ]);
    expect(await town.ledger.getRecipe(recipe.digest)).toEqual(recipe);
    await expect(sling(task.id)).rejects.toMatchObject({ code: 'WRONG_STATE' });
    const again = await sling(task.id, { resume: true, target: toRig });
    expect(again.molecule_id).not.toBe(slung.molecule_id);
    expect(again.task.assigned_agent_id).toBeNull();
    expect((await sent(runId.molecule(slung.molecule_id)))[1]).toMatchObject({
      kind: 'update',
      name: 'cancel',
      args: { n: 2, actor: 'person:ada' },
    });
  });

  test('refuses what cannot be worked on', async () => {
    const blocker = await make();
    const blocked = await make('b', { depends_on: [blocker.id] });
    await expect(sling(blocked.id)).rejects.toMatchObject({
      code: 'OPEN_BLOCKERS',
      details: { blockers: [blocker.id] },
    });
    await expect(sling('ac-zzzzz')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(sling(blocker.id, { target: { kind: 'agent', id: 'acme/polecats/nobody' } })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    await expect(sling(blocker.id, { target: { kind: 'rig', id: 'nowhere' } })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    await expect(sling(blocker.id, { recipe: { ...recipe, title: 'forged' } })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
    });
    await town.ledger.addAgent(person, { id: 'mayor', role: 'mayor', rig_id: null, runtime: { preset: 'external' } });
    const rigless = await town.ledger.createTask(person, { title: 'hq' });
    await expect(sling(rigless.id, { target: { kind: 'agent', id: 'mayor' } })).rejects.toMatchObject({
      code: 'NOT_FOUND',
    });
    expect((await sling(rigless.id, { target: toRig })).task.status).toBe('in_progress');
  });

  test('the same key at the same time starts one molecule', async () => {
    const task = await make();
    const answers = await Promise.all(
      Array.from({ length: 6 }, () =>
        town.ledger.sling(keyed('sling-1'), { task_id: task.id, target: toRig, recipe, decision_id: 'dec-1' }),
      ),
    );
    expect(new Set(answers.map((answer) => answer.molecule_id)).size).toBe(1);
    expect(await sent(runId.molecule(answers[0]!.molecule_id))).toHaveLength(1);
  });

  test('pour makes the root and slings it when a target is given', async () => {
    const poured = await town.ledger.pour(person, {
      recipe,
      rig_id: 'acme',
      target: null,
      decision_id: null,
      title: 'Root',
    });
    expect(poured).toMatchObject({ molecule_id: null, task: { title: 'Root', type: 'molecule', status: 'open' } });
    const slung = await town.ledger.pour(keyed('pour-1'), {
      recipe,
      rig_id: 'acme',
      target: toRig,
      decision_id: 'dec-1',
    });
    expect(slung.task).toMatchObject({ title: recipe.title, status: 'in_progress', molecule_id: slung.molecule_id });
    expect(
      await town.ledger.pour(keyed('pour-1'), { recipe, rig_id: 'acme', target: toRig, decision_id: 'dec-1' }),
    ).toEqual(slung);
  });

  test('unassign opens the task and cancels the molecule; the molecule itself is not told', async () => {
    const task = await make();
    const { molecule_id } = await sling(task.id);
    expect(await town.ledger.unassignTask(person, task.id, 'wrong agent')).toMatchObject({
      status: 'open',
      assigned_agent_id: null,
    });
    expect((await sent(runId.molecule(molecule_id))).at(-1)).toMatchObject({ name: 'cancel' });
    await town.ledger.unassignTask(person, task.id, 'again');
    expect(await sent(runId.molecule(molecule_id))).toHaveLength(2);
    const second = await sling(task.id);
    const run = { actor: runId.molecule(second.molecule_id) };
    await town.ledger.unassignTask({ actor: runId.molecule(molecule_id) }, task.id, 'late word of the first');
    expect((await town.ledger.getTask(task.id)).status).toBe('in_progress');
    await expect(
      town.ledger.closeTask({ actor: runId.molecule(molecule_id) }, task.id, { outcome: 'done' }),
    ).rejects.toMatchObject({ code: 'WRONG_STATE' });
    await town.ledger.closeTask(run, task.id, { outcome: 'done' });
    expect(await sent(runId.molecule(second.molecule_id))).toHaveLength(1);
  });

  test('closing a root by hand cancels its molecule', async () => {
    const task = await make();
    const { molecule_id } = await sling(task.id, { target: toRig });
    await town.ledger.recordHolder({ actor: runId.molecule(molecule_id) }, task.id, AGENT);
    expect((await town.ledger.getTask(task.id)).assigned_agent_id).toBe(AGENT);
    await town.ledger.closeTask(person, task.id, { outcome: 'cancelled', reason: 'not wanted' });
    expect((await sent(runId.molecule(molecule_id))).at(-1)).toMatchObject({
      name: 'cancel',
      args: { reason: 'not wanted', n: 2 },
    });
  });

  test('64 claimers of 1,000 tasks get each task exactly once', async () => {
    const rig = {
      id: 'big',
      prefix: 'bg',
      path: '/r',
      default_branch: 'main',
      workers_max: 1,
      runtime: { preset: 'external' as const },
    };
    await town.ledger.addRig(person, rig);
    await town.ledger.createTasks(
      person,
      Array.from({ length: 1_000 }, (_, n) => ({ title: `t${n}`, rig_id: 'big' })),
    );
    const claimed = await Promise.all(
      Array.from({ length: 64 }, async () => {
        const mine: string[] = [];
        for (;;) {
          const got = await town.ledger.claimReady(person, { agent: AGENT, rig_id: 'big', count: 3 });
          if (got.length === 0) return mine;
          mine.push(...got.map((task) => task.id));
        }
      }),
    );
    const all = claimed.flat();
    expect(new Set(all).size).toBe(all.length);
    expect((await town.ledger.readyPage({ rig_id: 'big' })).items.length).toBe(0);
    expect(all).toHaveLength(1_000);
    expect((await sling(all[0]!)).task.status).toBe('in_progress');
  }, 60_000);
});

describe('convoys', () => {
  test('start, follow their tasks, complete once and tell the subscribers', async () => {
    const [a, b] = [await make('a'), await make('b')];
    const convoy = await town.ledger.createConvoy(person, {
      name: 'C',
      tasks: [a.id, b.id],
      notify: [AGENT],
      human: true,
    });
    const run = runId.convoy(convoy.id);
    expect(convoy).toMatchObject({ status: 'running', total: 2, closed: 0, percent: 0 });
    expect((await sent(run))[0]).toMatchObject({
      kind: 'start',
      workflow: 'convoy',
      input: { convoy_id: convoy.id, n: 1 },
    });
    await expect(town.ledger.completeConvoy(person, convoy.id)).rejects.toMatchObject({ code: 'WRONG_STATE' });
    const before = (await sent(run)).length;
    await town.ledger.closeTask(person, a.id, { outcome: 'done' });
    expect((await sent(run)).slice(before)).toMatchObject([{ name: 'tasksChanged', args: { n: before + 1 } }]);
    expect((await town.ledger.getConvoy(convoy.id)).percent).toBe(50);
    expect(await town.ledger.setConvoyStatus(person, convoy.id, 'stopped')).toMatchObject({ status: 'stopped' });
    await town.ledger.setConvoyStatus(person, convoy.id, 'stopped');
    await town.ledger.setConvoyStatus(person, convoy.id, 'running');
    expect((await sent(run)).slice(-2)).toMatchObject([{ name: 'stop' }, { name: 'resume' }]);
    await town.ledger.closeTask(person, b.id, { outcome: 'done' });
    const done = await town.ledger.completeConvoy({ actor: run }, convoy.id);
    expect(done).toMatchObject({ status: 'completed', percent: 100 });
    expect(await town.ledger.completeConvoy({ actor: run }, convoy.id)).toEqual(done);
    const mail = await town.db.selectFrom('mail').select('recipient').orderBy('recipient').execute();
    expect(mail.map((row) => row.recipient)).toEqual([AGENT, 'human']);
    await expect(town.ledger.addToConvoy(person, convoy.id, [a.id])).rejects.toMatchObject({ code: 'WRONG_STATE' });
    await expect(town.ledger.setConvoyStatus(person, convoy.id, 'running')).rejects.toMatchObject({
      code: 'WRONG_STATE',
    });
    expect((await town.ledger.listConvoys({ status: ['completed'] })).items).toMatchObject([{ id: convoy.id }]);
  });

  test('is woken when a blocker outside makes a member ready, and counts molecules in between', async () => {
    const blocker = await make('outside');
    const convoy = await town.ledger.createConvoy(person, { name: 'D', tasks: [] });
    await expect(town.ledger.completeConvoy(person, convoy.id)).rejects.toMatchObject({ code: 'WRONG_STATE' });
    const member = await make('member', { depends_on: [blocker.id], convoy_id: convoy.id });
    expect(member.convoy_id).toBe(convoy.id);
    const before = (await sent(runId.convoy(convoy.id))).length;
    await town.ledger.closeTask(person, blocker.id, { outcome: 'done' });
    expect((await sent(runId.convoy(convoy.id))).slice(before)).toMatchObject([{ name: 'tasksChanged' }]);
    const { molecule_id } = await sling(member.id);
    await sql`insert into molecules values (${molecule_id}, ${member.id}, 'acme', 'f', ${recipe.digest}, 'running', ${AGENT}, 'work', 3, 2, 2, null, null, 1, 1, now())`.execute(
      town.db,
    );
    expect(await town.ledger.getConvoy(convoy.id)).toMatchObject({
      percent: 66,
      tasks: [{ steps_total: 3, steps_closed: 2 }],
    });
  });
});

describe('sessions and receipts', () => {
  test('a newer session revokes the older one, whose writes are refused', async () => {
    const first = await openSession(town.ledger);
    await town.ledger.recordSpawn(first.session_id, { boot_id: 'b', pid: 1, pid_start: '2' });
    const second = await town.ledger.openSession(person, {
      agent: AGENT,
      preset: 'command',
      token_hash: sha256('t2'),
      host_id: 'h',
      worktree: null,
      molecule_id: null,
    });
    expect(second).toMatchObject({
      incarnation: first.incarnation + 1,
      previous: { id: first.session_id, status: 'running', pid: 1, pid_start: '2' },
    });
    expect((await town.ledger.sessionPage({ agent_id: AGENT, limit: 2 })).items).toMatchObject([
      { status: 'opening' },
      { status: 'ended', end_reason: 'revoked' },
    ]);
    const task = await make();
    await expect(town.ledger.updateTask(as(first.incarnation), task.id, { note: 'n' })).rejects.toMatchObject({
      code: 'STALE_SESSION',
    });
    await expect(
      town.ledger.claimReady(as(first.incarnation), { agent: AGENT, rig_id: 'acme', count: 1 }),
    ).rejects.toMatchObject({ code: 'STALE_SESSION' });
    await town.ledger.updateTask(as(second.incarnation), task.id, { note: 'n' });
    await expect(
      town.ledger.recordSpawn(first.session_id, { boot_id: 'b', pid: 1, pid_start: '2' }),
    ).rejects.toMatchObject({ code: 'STALE_SESSION' });
    expect(await town.ledger.sessionByToken(sha256('t2'))).toMatchObject({ id: second.session_id });
    await town.ledger.endSession(person, second.session_id, { reason: 'exited', exit_code: 0 });
    await town.ledger.endSession(person, second.session_id, { reason: 'later', exit_code: 1 });
    expect(await town.ledger.currentSession(AGENT)).toBeNull();
    expect((await town.ledger.sessionPage({ limit: 1 })).items[0]).toMatchObject({
      end_reason: 'exited',
      exit_code: 0,
    });
  });

  test('a step has one receipt, whoever writes how often', async () => {
    const { incarnation, session_id } = await openSession(town.ledger);
    const receipt = {
      molecule_id: 'mol-x',
      step: 'work',
      attempt: 1,
      session_id,
      outcome: 'done' as const,
      note: 'ok',
      commit_id: 'abc',
      output: { a: 1 },
    };
    const answers = await Promise.all(
      Array.from({ length: 8 }, (_, n) => town.ledger.writeReceipt(as(incarnation), { ...receipt, note: `n${n}` })),
    );
    expect(answers.filter((answer) => answer.fresh)).toHaveLength(1);
    expect(new Set(answers.map((answer) => answer.receipt.note)).size).toBe(1);
    await expect(town.ledger.writeReceipt(as(incarnation - 1), receipt)).rejects.toMatchObject({
      code: 'STALE_SESSION',
    });
    await expect(town.ledger.writeReceipt(person, receipt)).rejects.toMatchObject({ code: 'FORBIDDEN' });
    expect(await town.ledger.getReceipt('mol-x', 'work')).toMatchObject({ agent_id: AGENT, output: { a: 1 } });
    expect(await town.ledger.getReceipt('mol-x', 'other')).toBeNull();
  });

  test('leases: each active agent at one host, within its number', async () => {
    for (const name of ['a', 'b', 'c']) {
      await town.ledger.addAgent(person, {
        id: `acme/lease/${name}`,
        role: 'polecat',
        rig_id: 'acme',
        runtime: { preset: 'command' },
      });
    }
    const ttl_ms = 60_000;
    const [one, two] = await Promise.all([
      town.ledger.acquireLeases('h1', { max: 2, ttl_ms }),
      town.ledger.acquireLeases('h2', { max: 100, ttl_ms }),
    ]);
    const active = (await town.ledger.listAgents({ status: 'active' })).map((agent) => agent.id);
    expect([...one, ...two].toSorted()).toEqual(active);
    expect(one.length).toBeLessThanOrEqual(2);
    expect(await town.ledger.acquireLeases('h3', { max: 9, ttl_ms })).toEqual([]);
    await town.ledger.releaseLeases('h2');
    await sql`update host_leases set expires_at = now() - interval '1 second'`.execute(town.db);
    expect((await town.ledger.acquireLeases('h3', { max: 100, ttl_ms })).toSorted()).toEqual(active);
    expect(await town.ledger.renewLeases('h1', ttl_ms)).toEqual([]);
    await town.ledger.retireAgent(person, 'acme/lease/a');
    expect(await town.ledger.renewLeases('h3', ttl_ms)).toEqual(active.filter((id) => id !== 'acme/lease/a'));
    await expect(town.ledger.retireAgent(person, AGENT)).rejects.toMatchObject({ code: 'HOOK_HAS_WORK' });
    await town.ledger.seen(AGENT);
    expect(await town.ledger.getAgent(AGENT)).toMatchObject({
      host_id: 'h3',
      preset: 'command',
      runtime: { command: ['true'] },
      last_seen: expect.any(String),
    });
  });
});

describe('hook and brief', () => {
  test('a brief is whole before and after the molecule is projected', async () => {
    const task = await make('Brief me', { description: 'words' });
    const { molecule_id } = await sling(task.id);
    await town.ledger.addNote(person, task.id, 'remember');
    const early = await town.ledger.brief(molecule_id, 'work');
    expect(early).toMatchObject({
      task_id: task.id,
      task_title: 'Brief me',
      rig_id: 'acme',
      instructions: 'Do the work',
      steps_total: 1,
      attempt: 1,
      step_id: `${task.id}.work`,
      notes: [{ body: 'remember' }],
      resumed: false,
    });
    await expect(town.ledger.brief(molecule_id, 'other')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(town.ledger.brief('mol-none', 'work')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    expect(await town.ledger.hook(AGENT)).toMatchObject({ status: 'active', items: [], current: null });

    await sql`insert into molecules values (${molecule_id}, ${task.id}, 'acme', 'single-step', ${recipe.digest}, 'running', ${AGENT}, 'work', 1, 0, 2, null, null, 1, 1, now())`.execute(
      town.db,
    );
    await sql`insert into steps values (${molecule_id}, 'work', 1, ${`${task.id}.work`}, 'Work', 'hooked', 2, ${AGENT}, '[]', null, null, null, null, 1, 1, now())`.execute(
      town.db,
    );
    await sql`insert into hooks values (${AGENT}, 'active', ${molecule_id}, 1, 1, now())`.execute(town.db);
    await sql`insert into hook_items values (${AGENT}, ${molecule_id}, 0, 2, 'granted', 1, now())`.execute(town.db);
    expect(await town.ledger.hook(AGENT)).toMatchObject({
      items: [{ molecule_id, task_id: task.id, title: 'Brief me', state: 'granted' }],
      current: { step: 'work', attempt: 2, resumed: true },
    });
    expect((await town.ledger.getTask(task.id)).hook_id).toBe(AGENT);
    expect((await town.ledger.getAgent(AGENT)).current).toEqual({ molecule_id, step: 'work', task_id: task.id });
    expect(await town.ledger.getMolecule(molecule_id)).toMatchObject({
      steps: [{ step: 'work', status: 'hooked', needs: [] }],
    });
    expect((await town.ledger.listMolecules({ root_task_id: task.id })).items).toHaveLength(1);
    await expect(town.ledger.getMolecule('mol-none')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});
