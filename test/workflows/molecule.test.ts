import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { chainOf, recipeOf } from '../support/recipes';
import { lost, startTestTown, type TestTown } from '../support/town';

const asked = { actor: 'person:test' };

const CHAIN = chainOf(['a', 'b', 'c'], { parallel: true });
const BRANCHES = recipeOf([
  { id: 'a1' },
  { id: 'a2', needs: ['a1'] },
  { id: 'b1' },
  { id: 'b2', needs: ['b1'] },
  { id: 'join', needs: ['a2', 'b2'] },
]);

describe.each([{ maxCachedWorkflows: undefined }, { maxCachedWorkflows: 0 }])(
  'a molecule, workflows cached: $maxCachedWorkflows',
  ({ maxCachedWorkflows }) => {
    let it_: TestTown;

    beforeAll(async () => {
      it_ = await startTestTown(maxCachedWorkflows === undefined ? {} : { maxCachedWorkflows });
    });
    afterAll(async () => {
      await it_.stop();
    });

    it('runs a chain in order on one agent, each step once, and closes its task', async () => {
      const amber = await it_.agent('amber');
      await it_.serve(amber, async (request) => ({ note: `did ${request.step}`, commit_id: `commit-${request.step}` }));
      const { task, molecule_id } = await it_.sling(amber, CHAIN);
      const molecule = await it_.finished(molecule_id);
      expect(
        molecule.steps.map((step) => [step.step, step.status, step.outcome, step.attempt, step.commit_id]),
      ).toEqual([
        ['a', 'closed', 'done', 1, 'commit-a'],
        ['b', 'closed', 'done', 1, 'commit-b'],
        ['c', 'closed', 'done', 1, 'commit-c'],
      ]);
      const mine = it_.performed.filter((request) => request.molecule_id === molecule_id);
      expect(mine.map((request) => [request.step, request.dispatch, request.base_commit])).toEqual([
        ['a', 1, null],
        ['b', 1, 'commit-a'],
        ['c', 1, 'commit-b'],
      ]);
      expect(mine.every((request) => request.decision_id !== '')).toBe(true);
      const closed = await it_.until('the task to close', async () => {
        const found = await it_.ledger.getTask(task.id);
        return found.status === 'closed' ? found : null;
      });
      expect(closed).toMatchObject({ status: 'closed', outcome: 'done', assigned_agent_id: amber });
    });

    it('tries a lost step again under the next attempt, and counts only what the session did', async () => {
      const basalt = await it_.agent('basalt');
      const losses = ['SESSION_LOST', 'HOST_RESTARTED', 'ENDED_EARLY'];
      await it_.serve(basalt, async (request) => {
        const reason = request.step === 'b' ? losses.shift() : undefined;
        if (reason !== undefined) throw lost(reason);
        return {};
      });
      const { molecule_id } = await it_.sling(basalt, CHAIN);
      const molecule = await it_.finished(molecule_id);
      expect(molecule.steps.map((step) => [step.step, step.attempt])).toEqual([
        ['a', 1],
        ['b', 3],
        ['c', 1],
      ]);
      const tries = it_.performed.filter((request) => request.molecule_id === molecule_id && request.step === 'b');
      expect(tries.map((request) => [request.attempt, request.dispatch])).toEqual([
        [1, 1],
        [2, 2],
        [2, 3],
        [3, 4],
      ]);
    });

    it('holds a step that is lost too often for a person, whose word ends it', async () => {
      const cobalt = await it_.agent('cobalt');
      await it_.serve(cobalt, async (request) => {
        if (request.step === 'b') throw lost('SESSION_LOST');
        return {};
      });
      const { molecule_id } = await it_.sling(cobalt, CHAIN);
      const stuck = await it_.attention(molecule_id);
      expect(stuck.attention).toContain('step b was lost 5 times');
      expect(stuck.steps.map((step) => step.status)).toEqual(['closed', 'ready', 'waiting']);
      await it_.town.resolveStep(asked, molecule_id, { step: 'b', outcome: 'skipped', reason: 'done by hand' });
      const molecule = await it_.finished(molecule_id);
      expect(molecule.steps.map((step) => step.outcome)).toEqual(['done', 'skipped', 'done']);
      expect(molecule.steps.map((step) => step.attempt)).toEqual([1, 5, 1]);
    });

    it('spreads branches over the workers of the rig, keeps each branch with one worker, and never exceeds the limit', async () => {
      const both = Promise.withResolvers<void>();
      const begun = new Set<string>();
      let busy = 0;
      let most = 0;
      for (const name of ['amber', 'basalt'])
        await it_.serve(`${it_.rig.id}/polecats/${name}`, async ({ step }) => {
          busy += 1;
          most = Math.max(most, busy);
          if (begun.add(step).size === 2) both.resolve();
          await both.promise;
          busy -= 1;
          return { commit_id: step };
        });
      const { molecule_id } = await it_.sling(it_.rig.id, BRANCHES);
      const molecule = await it_.finished(molecule_id);
      expect(molecule.status).toBe('completed');
      const by = new Map(molecule.steps.map((step) => [step.step, step.agent_id]));
      expect(by.get('b1')).not.toBe(by.get('a1'));
      expect(by.get('a2')).toBe(by.get('a1'));
      expect(by.get('b2')).toBe(by.get('b1'));
      expect(most).toBe(2);
      expect(it_.performed.filter((request) => request.molecule_id === molecule_id)).toHaveLength(5);
      await it_.until('the slots to be free', async () => {
        const queue = await it_.db.selectFrom('dispatch_queue').selectAll().where('rig_id', '=', it_.rig.id).execute();
        return queue.length === 0;
      });
    });

    it('goes on at the right step after the orchestrator was away', async () => {
      const dolomite = await it_.agent('dolomite');
      const arrived = Promise.withResolvers<void>();
      const goOn = Promise.withResolvers<void>();
      await it_.serve(dolomite, async (request) => {
        if (request.step === 'b') {
          arrived.resolve();
          await goOn.promise;
        }
        return {};
      });
      const { molecule_id } = await it_.sling(dolomite, CHAIN);
      await arrived.promise;
      await it_.restartOrchestrator();
      goOn.resolve();
      const molecule = await it_.finished(molecule_id);
      expect(molecule.steps.map((step) => step.attempt)).toEqual([1, 1, 1]);
      expect(it_.performed.filter((request) => request.molecule_id === molecule_id)).toHaveLength(3);
    });

    it('ends when its task is closed by a person, and gives the hook back', async () => {
      const ember = await it_.agent('ember');
      const arrived = Promise.withResolvers<void>();
      await it_.serve(ember, async (_request, signal) => {
        arrived.resolve();
        await new Promise((_, reject) => signal.addEventListener('abort', () => reject(lost('CANCELLED'))));
        return {};
      });
      const { task, molecule_id } = await it_.sling(ember, CHAIN);
      await arrived.promise;
      await it_.ledger.closeTask(asked, task.id, { outcome: 'cancelled', reason: 'not wanted', force: true });
      expect((await it_.finished(molecule_id)).status).toBe('cancelled');
      await it_.until('an empty hook', async () => (await it_.ledger.hook(ember)).items.length === 0);
    });

    it('gives one agent one molecule at a time, the more urgent first', async () => {
      const flint = await it_.agent('flint');
      const release = Promise.withResolvers<void>();
      const order: string[] = [];
      await it_.serve(flint, async (request) => {
        order.push(request.molecule_id);
        await release.promise;
        return {};
      });
      const one = recipeOf([{ id: 'only' }]);
      const pour = async (title: string, priority: number) =>
        (await it_.sling(flint, one, { title, priority })).molecule_id;
      const first = await pour('first', 2);
      await it_.until('the first at work', async () => order.length === 1);
      const later = await pour('later', 3);
      const urgent = await pour('urgent', 0);
      await it_.until('both waiting', async () => (await it_.ledger.hook(flint)).items.length === 3);
      release.resolve();
      await it_.finished(later);
      expect(order).toEqual([first, urgent, later]);
    });
  },
);

it('workflow code is built', () => {
  expect(readFileSync(join(__dirname, '..', '..', 'dist', 'workflow-bundle.js'), 'utf8')).toContain('molecule');
});
