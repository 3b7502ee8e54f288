import type { Ask, TaskInput } from '../../schema/ledger';
import type { TownPart } from '../support/fakes/town';

/** A fresh town: rig `acme` with the agents amber and basil, automatic dispatch off, no policy of its own. */
export interface TownClientScene {
  readonly town: TownPart;
  /** Amber's session of this number is the newest. */
  readonly incarnation: number;
  /** From here on, what was written so far is in the list of events. */
  seal(): Promise<void>;
  close(): Promise<void>;
}

const AMBER = 'acme/polecats/amber';
const BASIL = 'acme/polecats/basil';
const PERSON: Ask = { actor: 'person:ada' };
const TO_AMBER = { kind: 'agent', id: AMBER } as const;
const PLAIN = { formula: null, vars: {}, bare: false, resume: false } as const;

/** What the command line and the API rely on when they ask a town. */
export function describeTownClient(name: string, open: () => Promise<TownClientScene>): void {
  describe(`the client of a town: ${name}`, () => {
    let at: TownClientScene;
    let town: TownPart;
    beforeEach(async () => {
      at = await open();
      town = at.town;
    });
    afterEach(() => at.close());

    const make = (title: string, more: Partial<TaskInput> = {}) => town.createTask(PERSON, { title, ...more });

    test('a task is made with what was left out filled in', async () => {
      const task = await make('One', { labels: ['b', 'a', 'a'] });
      expect(task).toMatchObject({
        title: 'One',
        description: '',
        type: 'task',
        status: 'open',
        priority: 2,
        rig_id: null,
        open_blockers: 0,
        labels: ['a', 'b'],
        created_by: 'person:ada',
        outcome: null,
        completed_at: null,
      });
      expect(task.id).toMatch(/^hq-[a-z0-9]{5}$/);
      expect((await make('Two', { rig_id: 'acme' })).id).toMatch(/^acme-[a-z0-9]{5}$/);
      expect(await town.getTask(task.id)).toMatchObject({ ...task, dependencies: [], dependents: [], notes: [] });
      await expect(town.getTask('hq-zzzzz')).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await expect(make('Three', { rig_id: 'nowhere' })).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await expect(async () => make(' ')).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    });

    test('a key makes a thing once', async () => {
      const keyed = { ...PERSON, key: 'k1' };
      const made = await Promise.all([1, 2, 3].map(() => town.createTask(keyed, { title: 'One' })));
      expect(new Set(made.map(({ id }) => id)).size).toBe(1);
      await expect(town.createTask(keyed, { title: 'Other' })).rejects.toMatchObject({ code: 'IDEMPOTENCY_MISMATCH' });
      expect((await town.listTasks({})).items).toHaveLength(1);
    });

    test('only the newest session of an agent writes', async () => {
      const as = (incarnation: number): Ask => ({ actor: AMBER, session: { agent: AMBER, incarnation } });
      await expect(town.createTask(as(at.incarnation - 1), { title: 'Old' })).rejects.toMatchObject({
        code: 'STALE_SESSION',
      });
      expect(await town.createTask(as(at.incarnation), { title: 'New' })).toMatchObject({ created_by: AMBER });
      expect((await town.listTasks({})).items).toHaveLength(1);
    });

    test('tasks are listed newest first, in pages', async () => {
      const [first, second, third] = [await make('1'), await make('2', { rig_id: 'acme' }), await make('3')];
      const page = await town.listTasks({ limit: 2 });
      expect(page.items.map(({ id }) => id)).toEqual([third.id, second.id]);
      expect(page.next_cursor).not.toBeNull();
      const rest = await town.listTasks({ limit: 2, cursor: page.next_cursor ?? '' });
      expect(rest).toMatchObject({ items: [{ id: first.id }], next_cursor: null });
      await town.closeTask(PERSON, third.id, { outcome: 'done' });
      expect((await town.listTasks({ status: ['closed'] })).items).toMatchObject([{ id: third.id }]);
      expect((await town.listTasks({ rig_id: 'acme' })).items).toMatchObject([{ id: second.id }]);
    });

    test('ready is what nobody has and nothing blocks, the most urgent first', async () => {
      const blocker = await make('blocker');
      const waiting = await make('waiting', { priority: 0, depends_on: [blocker.id] });
      const urgent = await make('urgent', { priority: 1 });
      expect(waiting.open_blockers).toBe(1);
      expect((await town.readyPage({})).items.map(({ id }) => id)).toEqual([urgent.id, blocker.id]);
      const first = await town.readyPage({ limit: 1 });
      expect(first.items).toMatchObject([{ id: urgent.id }]);
      expect(await town.readyPage({ limit: 1, cursor: first.next_cursor ?? '' })).toMatchObject({
        items: [{ id: blocker.id }],
        next_cursor: null,
      });
      expect(await town.getTask(waiting.id)).toMatchObject({ dependencies: [{ id: blocker.id, type: 'blocks' }] });
      expect(await town.getTask(blocker.id)).toMatchObject({ dependents: [{ id: waiting.id, title: 'waiting' }] });
      await town.closeTask(PERSON, blocker.id, { outcome: 'done' });
      expect((await town.readyPage({})).items.map(({ id }) => id)).toEqual([waiting.id, urgent.id]);
      await expect(make('odd', { depends_on: ['hq-zzzzz'] })).rejects.toMatchObject({ code: 'NOT_FOUND' });
    });

    test('a task is closed once, with one outcome', async () => {
      const { id } = await make('One');
      const closed = await town.closeTask(PERSON, id, { outcome: 'skipped', reason: 'not needed' });
      expect(closed).toMatchObject({ status: 'closed', outcome: 'skipped', close_reason: 'not needed' });
      expect(closed.completed_at).toEqual(expect.any(String));
      expect(await town.closeTask(PERSON, id, { outcome: 'skipped' })).toEqual(closed);
      await expect(town.closeTask(PERSON, id, { outcome: 'done' })).rejects.toMatchObject({ code: 'WRONG_STATE' });
      await expect(town.closeTask(PERSON, 'hq-zzzzz', { outcome: 'done' })).rejects.toMatchObject({
        code: 'NOT_FOUND',
      });
    });

    test('what is slung is in progress, and is slung no more', async () => {
      const { id } = await make('One', { rig_id: 'acme' });
      const slung = await town.sling(PERSON, { task_id: id, target: TO_AMBER, ...PLAIN });
      expect(slung).toMatchObject({ target: AMBER, formula: 'single-step', task: { id, status: 'in_progress' } });
      expect(slung.molecule_id).toMatch(/^mol-/);
      expect(slung.decision_id).not.toBe('');
      expect(await town.getTask(id)).toMatchObject({ assigned_agent_id: AMBER, molecule_id: slung.molecule_id });
      expect((await town.readyPage({})).items).toEqual([]);
      await expect(town.sling(PERSON, { task_id: id, target: TO_AMBER, ...PLAIN })).rejects.toMatchObject({
        code: 'WRONG_STATE',
      });
      const queued = await make('Two');
      const toRig = { task_id: queued.id, target: town.readTarget('acme'), ...PLAIN };
      expect((await town.sling(PERSON, toRig)).task).toMatchObject({ assigned_agent_id: null });
    });

    test('what cannot be slung stays as it is', async () => {
      const blocker = await make('blocker', { rig_id: 'acme' });
      const waiting = await make('waiting', { rig_id: 'acme', depends_on: [blocker.id] });
      const sling = (ask: Ask, task_id: string, target: string) =>
        town.sling(ask, { task_id, target: town.readTarget(target), ...PLAIN });
      await expect(sling(PERSON, waiting.id, AMBER)).rejects.toMatchObject({ code: 'OPEN_BLOCKERS' });
      await expect(sling(PERSON, blocker.id, 'nowhere')).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await expect(sling(PERSON, blocker.id, 'acme/polecats/nobody')).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await expect(sling(PERSON, 'hq-zzzzz', AMBER)).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await expect(sling({ actor: AMBER }, blocker.id, BASIL)).rejects.toMatchObject({
        code: 'POLICY_DENIED',
        details: { reasons: ['an agent may dispatch to its own hook only while automatic dispatch is off'] },
      });
      expect(await town.getTask(blocker.id)).toMatchObject({ status: 'open', molecule_id: null });
      expect(await sling({ actor: AMBER }, blocker.id, AMBER)).toMatchObject({ target: AMBER });
    });

    test('a target with slashes is an agent, any other a rig', () => {
      expect(town.readTarget(AMBER)).toEqual(TO_AMBER);
      expect(town.readTarget('acme')).toEqual({ kind: 'rig', id: 'acme' });
    });

    test('a convoy follows its tasks', async () => {
      const [a, b] = [await make('a'), await make('b')];
      const open_ = (title: string, tasks: string[]) => town.openConvoy(PERSON, { name: title, tasks, vars: {} });
      const convoy = await open_('first', [a.id, b.id]);
      expect(convoy).toMatchObject({ name: 'first', status: 'running', total: 2, closed: 0, percent: 0 });
      expect(convoy.tasks).toMatchObject([{ id: a.id, title: 'a', status: 'open' }, { id: b.id }]);
      await town.closeTask(PERSON, a.id, { outcome: 'done' });
      expect(await town.getConvoy(convoy.id)).toMatchObject({ closed: 1, percent: 50 });
      const second = await open_('second', [b.id]);
      const page = await town.listConvoys({ limit: 1 });
      expect(page.items).toMatchObject([{ id: second.id }]);
      expect(await town.listConvoys({ limit: 1, cursor: page.next_cursor ?? '' })).toMatchObject({
        items: [{ id: convoy.id }],
        next_cursor: null,
      });
      await expect(town.getConvoy('cv-none')).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await expect(open_('third', ['hq-zzzzz'])).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await expect(open_('empty', [])).rejects.toMatchObject({ code: 'USAGE' });
    });

    test('agents are listed by address, each with its hook', async () => {
      expect((await town.listAgents({})).map(({ id, name: own, rig_id }) => [id, own, rig_id])).toEqual([
        [AMBER, 'amber', 'acme'],
        [BASIL, 'basil', 'acme'],
      ]);
      expect(await town.hook(AMBER)).toEqual({
        agent_id: AMBER,
        status: 'active',
        incarnation: at.incarnation,
        items: [],
        current: null,
      });
      expect(await town.hook(BASIL)).toMatchObject({ incarnation: 0 });
      await expect(town.hook('acme/polecats/nobody')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    });

    test('every write is an event, in an order that never changes, and the trail is whole', async () => {
      await at.seal();
      const before = await town.verifyAudit();
      const task = await make('One');
      await make('Two');
      await town.closeTask(PERSON, task.id, { outcome: 'done' });
      await at.seal();
      const made = await town.listEvents({ type: 'task_created' });
      expect(made.items).toMatchObject([{ actor: 'person:ada', task_id: task.id }, { type: 'task_created' }]);
      expect(made.next_cursor).toBeNull();
      const about = await town.listEvents({ task_id: task.id });
      expect(about.items.map(({ type }) => type)).toEqual(['task_created', 'task_closed']);
      const [first, last] = about.items.map(({ seq }) => seq ?? 0);
      expect(last).toBeGreaterThan(first ?? 0);
      expect((await town.listEvents({ after: first ?? 0, task_id: task.id })).items).toMatchObject([{ seq: last }]);
      expect(await town.listEvents({ limit: 1, task_id: task.id })).toMatchObject({
        items: [{ seq: first }],
        next_cursor: String(first),
      });
      expect(await town.verifyAudit()).toEqual({
        ok: true,
        sealed: before.sealed + 3,
        unsealed: 0,
        broken_at: null,
        problem: null,
      });
    });
  });
}
