import type { GateSpec, Operand, RunCondition, StepFlow } from '../../schema/formula/flow';
import type { Recipe } from '../../schema/formula/recipe';
import { runId } from '../../schema/ids';
import type { Json } from '../../schema/json';
import type { MoleculeView } from '../../schema/views';
import { createFakeForge } from '../support/fakes/forge';
import { makeGitRig } from '../support/git-rig';
import { recipeOf } from '../support/recipes';
import { lost, startTestTown, type TestTown } from '../support/town';

const asked = { actor: 'person:ada' };

const says = (step: string, key: string, right: Json): RunCondition => ({
  op: 'compare',
  left: { of: 'output', step, path: [key] },
  is: '==',
  right,
});
const looping = (max: number): StepFlow => ({ loop: { group: 'body', until: says('check', 'ok', true), max } });
const fanning: StepFlow = {
  fanOut: { group: 'body', path: ['list'], vars: { what: '{item}' }, mode: 'parallel', itemsMax: 20 },
};
const gated = (gate: GateSpec): Recipe => recipeOf([{ id: 'a' }, { id: 'b', needs: ['a'], gate }]);

describe.each([{ maxCachedWorkflows: undefined }, { maxCachedWorkflows: 0 }])(
  'what a molecule does by its flow, workflows cached: $maxCachedWorkflows',
  ({ maxCachedWorkflows }) => {
    const forge = createFakeForge();
    let town: TestTown;
    let agents = 0;

    beforeAll(async () => {
      town = await startTestTown({
        timings: { gatePollMs: 100, gatePollMaxMs: 200 },
        forge,
        ...(maxCachedWorkflows === undefined ? {} : { maxCachedWorkflows }),
      });
    });
    afterAll(async () => {
      await town.stop();
    });

    /** A fresh agent that answers with what `output` says of the step, or throws. */
    async function agentWith(answer: (step: string, attempt: number) => object = () => ({})): Promise<string> {
      agents += 1;
      const id = await town.agent(`a${agents}`);
      await town.serve(id, async ({ step, attempt }) => answer(step, attempt));
      return id;
    }
    const outcomes = ({ steps }: MoleculeView) => Object.fromEntries(steps.map((step) => [step.step, step.outcome]));
    const stepOf = async (molecule_id: string, name: string) => {
      const molecule = await town.ledger.getMolecule(molecule_id).catch(() => null);
      return molecule?.steps.find((step) => step.step === name) ?? null;
    };
    const reaches = (molecule_id: string, name: string, status: string) =>
      town.until(`${name} to be ${status}`, async () => {
        const step = await stepOf(molecule_id, name);
        return step?.status === status ? step : null;
      });
    const dispatches = (molecule_id: string) =>
      town.performed
        .filter((request) => request.molecule_id === molecule_id)
        .map(({ step, dispatch }) => `${step}:${dispatch}`);

    it('goes round a loop until its condition holds, and then on', async () => {
      let round = 0;
      const amber = await agentWith((step) => {
        if (step.endsWith('.check')) round += 1;
        return step.endsWith('.check')
          ? { output: { ok: round === 3, more: 'x'.repeat(10_000) } }
          : { commit_id: step };
      });
      const body = [{ id: 'fix' }, { id: 'check', needs: ['fix'] }];
      const recipe = recipeOf(
        [
          { id: 'loop', flow: looping(5) },
          { id: 'end', needs: ['loop'] },
        ],
        { body },
      );
      const { task, molecule_id } = await town.sling(amber, recipe);
      const molecule = await town.finished(molecule_id);
      expect(molecule.status).toBe('completed');
      expect(molecule.steps.map(({ step }) => step)).toEqual([
        'loop',
        'end',
        ...[1, 2, 3].flatMap((n) => [`loop.iter${n}.fix`, `loop.iter${n}.check`]),
      ]);
      const last = town.performed.findLast((request) => request.molecule_id === molecule_id);
      expect(last).toMatchObject({ step: 'end', base_commit: 'loop.iter3.fix' });
      expect(new Set(dispatches(molecule_id)).size).toBe(7);
      await town.until('the task to close', async () => (await town.ledger.getTask(task.id)).status === 'closed');
    });

    let items = 0;
    it.each([0, 1, 7])('fans out over %d items on the workers of the rig, and gathers', async (count) => {
      items = count;
      for (const name of ['amber', 'basalt'])
        await town.serve(`${town.rig.id}/polecats/${name}`, async ({ step }) =>
          step === 'scan' ? { output: { list: Array.from({ length: items }, (_, index) => `f${index}`) } } : {},
        );
      const recipe = recipeOf(
        [
          { id: 'scan', flow: fanning },
          { id: 'gather', flow: { waitsFor: { of: 'scan', mode: 'all' } } },
        ],
        {
          body: [
            { id: 'look', title: 'look at {item}' },
            { id: 'tell', needs: ['look'] },
          ],
        },
      );
      const { molecule_id } = await town.sling(town.rig.id, recipe);
      const molecule = await town.finished(molecule_id);
      expect(molecule.status).toBe('completed');
      expect(molecule.steps).toHaveLength(2 + 2 * count);
      expect(molecule.steps.every(({ outcome }) => outcome === 'done')).toBe(true);
      const done = dispatches(molecule_id);
      expect(done).toHaveLength(2 + 2 * count);
      expect(new Set(done).size).toBe(done.length);
      expect(done.at(-1)).toBe('gather:1');
      if (count > 0) expect(await stepOf(molecule_id, 'scan.0.look')).toMatchObject({ title: 'look at f0' });
    });

    it('skips what its condition speaks against, by an output and by a file', async () => {
      const when = (condition: RunCondition): StepFlow => ({ when: condition });
      const file: RunCondition = { op: 'compare', left: { of: 'file', path: 'go' }, is: '==', right: true };
      const basalt = await agentWith((step) =>
        step === 'a' ? { output: { n: 2 }, facts: { files: { go: true }, env: {} } } : {},
      );
      const recipe = recipeOf([
        { id: 'a' },
        { id: 'no', needs: ['a'], flow: when(says('a', 'n', 1)) },
        { id: 'yes', needs: ['a'], flow: when(says('a', 'n', 2)) },
        { id: 'file', needs: ['a'], flow: when(file) },
        { id: 'end', needs: ['no', 'yes', 'file'] },
      ]);
      const { molecule_id } = await town.sling(basalt, recipe);
      const molecule = await town.finished(molecule_id);
      expect(outcomes(molecule)).toEqual({ a: 'done', no: 'skipped', yes: 'done', file: 'done', end: 'done' });
      expect(town.performed.find((request) => request.molecule_id === molecule_id)).toMatchObject({
        wants: { outputs: [['n']], files: ['go'], env: [] },
      });
    });

    it('looks up files and variables for a step that nobody has worked before', async () => {
      const bound = await agentWith();
      const is = (left: Operand, right: Json): StepFlow => ({ when: { op: 'compare', left, is: '==', right } });
      const recipe = recipeOf([
        { id: 'here', flow: is({ of: 'file', path: 'package.json' }, true) },
        { id: 'not-here', flow: is({ of: 'file', path: 'no-such-file' }, true) },
        { id: 'set', flow: is({ of: 'env', name: 'TOWN_VAR_FLOW_TEST' }, 'on') },
      ]);
      process.env['TOWN_VAR_FLOW_TEST'] = 'on';
      const { molecule_id } = await town.sling(bound, recipe);
      const molecule = await town.finished(molecule_id);
      expect(outcomes(molecule)).toEqual({ here: 'done', 'not-here': 'skipped', set: 'done' });
    });

    it('takes an output from a person as it does from an agent', async () => {
      const bound = await agentWith();
      const gate: GateSpec = { kind: 'human', prompt: '', timeoutMs: null };
      const recipe = recipeOf(
        [
          { id: 'a', gate, flow: fanning },
          { id: 'b', needs: ['a'], flow: { when: says('a', 'n', 2) }, instructions: 'It is {{steps.a.output.word}}.' },
        ],
        { body: [{ id: 'x', title: 'Do {{what}}' }] },
      );
      const { molecule_id } = await town.sling(bound, recipe);
      await reaches(molecule_id, 'a', 'gated');
      const output = { list: ['p', 'q'], n: 2, word: 'w'.repeat(1_000) };
      await town.town.resolveStep(asked, molecule_id, { step: 'a', outcome: 'done', reason: 'by hand', output });
      const molecule = await town.finished(molecule_id);
      expect(outcomes(molecule)).toEqual({ a: 'done', b: 'done', 'a.0.x': 'done', 'a.1.x': 'done' });
      expect(molecule.steps[0]).toMatchObject({ agent_id: null, note: 'by hand', output });
      expect((await stepOf(molecule_id, 'a.1.x'))?.title).toBe('Do q');
      expect((await town.ledger.brief(molecule_id, 'b')).instructions).toBe(`It is ${output.word}.`);
    });

    it('ends well with items that failed, where the formula says so', async () => {
      const bound = await agentWith((step) =>
        step === 'a' ? { output: { list: [0, 1] } } : { outcome: step === 'a.0.x' ? 'failed' : 'done' },
      );
      const flow: StepFlow = {
        fanOut: { group: 'body', path: ['list'], vars: {}, mode: 'sequential', itemsMax: 9, onItemFailure: 'continue' },
      };
      const recipe = recipeOf(
        [
          { id: 'a', flow },
          { id: 'b', flow: { waitsFor: { of: 'a', mode: 'all' } } },
        ],
        {
          body: [{ id: 'x' }],
        },
      );
      const { task, molecule_id } = await town.sling(bound, recipe);
      const molecule = await town.finished(molecule_id);
      expect(molecule.status).toBe('completed');
      expect(outcomes(molecule)).toEqual({ a: 'done', b: 'done', 'a.0.x': 'failed', 'a.1.x': 'done' });
      await town.until('its task', async () => (await town.ledger.getTask(task.id)).outcome === 'done');
    });

    it('tries a failed step again, and compensates what fails for good', async () => {
      const cobalt = await agentWith((step, attempt) => {
        if (step === 'flaky') return { outcome: attempt < 3 ? 'failed' : 'done' };
        return { outcome: step === 'bad' ? 'failed' : 'done' };
      });
      const retry = { attemptsMax: 3, backoffMs: 5, exhausted: 'fail' as const };
      const recipe = recipeOf(
        [
          { id: 'flaky', flow: { retry } },
          { id: 'bad', needs: ['flaky'], flow: { onFailure: { kind: 'compensate', group: 'undo' } } },
          { id: 'never', needs: ['bad'] },
        ],
        { undo: [{ id: 'back' }] },
      );
      const { molecule_id } = await town.sling(cobalt, recipe);
      const molecule = await town.finished(molecule_id);
      expect(molecule.status).toBe('failed');
      expect(outcomes(molecule)).toEqual({ flaky: 'done', bad: 'failed', never: null, 'bad.undo.back': 'done' });
      const rounds = town.performed.filter(
        (request) => request.molecule_id === molecule_id && request.step === 'flaky',
      );
      expect(rounds.map(({ attempt, round }) => [attempt, round ?? 1])).toEqual([
        [1, 1],
        [2, 2],
        [3, 3],
      ]);
      expect(await stepOf(molecule_id, 'flaky')).toMatchObject({ round: 3, attempt: 3 });
    });

    it('gives a stuck step new attempts when a person says so', async () => {
      let broken = true;
      const dolomite = await agentWith((step) => {
        if (step === 'b' && broken) throw lost('SESSION_LOST');
        return {};
      });
      const { molecule_id } = await town.sling(dolomite, recipeOf([{ id: 'a' }, { id: 'b', needs: ['a'] }]));
      await town.attention(molecule_id);
      broken = false;
      await town.town.retryStep(asked, molecule_id, { step: 'b', reason: 'mended' });
      expect(outcomes(await town.finished(molecule_id))).toEqual({ a: 'done', b: 'done' });
      expect(await stepOf(molecule_id, 'b')).toMatchObject({ attempt: 6 });
    });

    it('dispatches nothing while it is paused, and goes on when it is resumed', async () => {
      const arrived = Promise.withResolvers<void>();
      const goOn = Promise.withResolvers<void>();
      const slow = await town.agent('slow');
      await town.serve(slow, async ({ step }) => {
        if (step === 'a') {
          arrived.resolve();
          await goOn.promise;
        }
        return {};
      });
      const { molecule_id } = await town.sling(slow, recipeOf([{ id: 'a' }, { id: 'b', needs: ['a'] }]));
      await arrived.promise;
      await town.until('its row', async () => await stepOf(molecule_id, 'a'));
      await town.town.pauseMolecule(asked, molecule_id, 'the plan changes');
      await town.until('it to be paused', async () => (await town.ledger.getMolecule(molecule_id)).status === 'paused');
      goOn.resolve();
      await reaches(molecule_id, 'a', 'closed');
      await town.until('an empty hook', async () => (await town.ledger.hook(slow)).items.length === 0);
      expect(dispatches(molecule_id)).toEqual(['a:1']);
      await town.town.resumeMolecule(asked, molecule_id, '');
      expect(outcomes(await town.finished(molecule_id))).toEqual({ a: 'done', b: 'done' });
    });

    it('takes the steps of another recipe along, after its own and beside them', async () => {
      const flint = await agentWith();
      const human: GateSpec = { kind: 'human', prompt: '', timeoutMs: null };
      const { molecule_id } = await town.sling(flint, gated(human));
      await reaches(molecule_id, 'b', 'gated');
      const more = recipeOf([{ id: 'p' }, { id: 'q', needs: ['p'] }]);
      await town.ledger.bondRecipe(asked, { molecule_id, recipe: more, ref: 'later', mode: 'sequential' });
      await town.ledger.bondRecipe(asked, { molecule_id, recipe: more, ref: 'now', mode: 'parallel' });
      await reaches(molecule_id, 'now.q', 'closed');
      expect(await stepOf(molecule_id, 'later.p')).toMatchObject({ status: 'waiting' });
      await town.town.openGate(asked, molecule_id, { step: 'b', reason: 'seen' });
      const molecule = await town.finished(molecule_id);
      expect(molecule.status).toBe('completed');
      expect(dispatches(molecule_id)).toEqual(['a:1', 'now.p:1', 'now.q:1', 'b:1', 'later.p:1', 'later.q:1']);
    });

    it('opens a human gate only to whom the formula names, and calls a person when it is late', async () => {
      const garnet = await agentWith();
      const gate: GateSpec = { kind: 'human', prompt: 'ship it?', timeoutMs: 50, approvers: ['lead'] };
      const { molecule_id } = await town.sling(garnet, gated(gate));
      await town.until('the mail', async () => {
        const mail = await town.db.selectFrom('mail').selectAll().where('kind', '=', 'gate_escalated').execute();
        return mail.some(({ body }) => body.includes(molecule_id));
      });
      const found = await town.attention(molecule_id);
      expect(found.attention).toBe('the gate of step b stays closed: waited 50 ms for lead');
      expect(await town.town.listGates({ molecule_id })).toMatchObject([
        { step: 'b', kind: 'human', prompt: 'ship it?', approvers: ['lead'], waits_for: 'lead' },
      ]);
      const wish = { step: 'b', reason: 'yes' };
      await expect(town.town.openGate(asked, molecule_id, wish)).rejects.toMatchObject({ code: 'FORBIDDEN' });
      await town.town.openGate({ actor: 'person:lead' }, molecule_id, wish);
      expect((await town.finished(molecule_id)).attention).toBeNull();
    });

    it('opens gates by time and by condition', async () => {
      const heliodor = await agentWith((step) => (step === 'x' ? { output: { ok: true } } : {}));
      const recipe = recipeOf([
        { id: 'x', gate: { kind: 'timer', durationMs: 60 } },
        { id: 'y', gate: { kind: 'condition', when: says('x', 'ok', true), timeoutMs: null } },
      ]);
      const { molecule_id } = await town.sling(heliodor, recipe);
      expect(outcomes(await town.finished(molecule_id))).toEqual({ x: 'done', y: 'done' });
    });

    it('opens the gate of whoever waits for a task in the transaction that closes it, and of a molecule when it ends', async () => {
      const indigo = await agentWith();
      const task = await town.ledger.createTask(asked, { title: 'elsewhere' });
      const first = await town.sling(indigo, gated({ kind: 'task', task_id: task.id, timeoutMs: null }));
      const second = await town.sling(
        indigo,
        gated({ kind: 'molecule', molecule_id: first.molecule_id, timeoutMs: null }),
      );
      await reaches(first.molecule_id, 'b', 'gated');
      await reaches(second.molecule_id, 'b', 'gated');
      await town.ledger.closeTask(asked, task.id, { outcome: 'done' });
      const told = await town.db
        .selectFrom('outbox')
        .selectAll()
        .where('target', '=', runId.molecule(first.molecule_id))
        .execute();
      expect(told.map(({ message }) => message)).toContainEqual(expect.objectContaining({ name: 'openGate' }));
      expect((await town.finished(first.molecule_id)).status).toBe('completed');
      expect((await town.finished(second.molecule_id)).status).toBe('completed');
    });

    it('finds by its own look what nobody told it of', async () => {
      const jasper = await agentWith();
      const closed = await town.ledger.createTask(asked, { title: 'before' });
      await town.ledger.closeTask(asked, closed.id, { outcome: 'done' });
      const known = await town.sling(jasper, gated({ kind: 'task', task_id: closed.id, timeoutMs: null }));
      expect((await town.finished(known.molecule_id)).status).toBe('completed');
      const address = `desk-${agents}`;
      const waiting = await town.sling(jasper, gated({ kind: 'mail', address, timeoutMs: null }));
      await reaches(waiting.molecule_id, 'b', 'gated');
      await town.db
        .insertInto('mail')
        .values({ sender: 'ada', recipient: address, kind: 'note', subject: 'go', body: '', dedupe_key: null })
        .execute();
      expect((await town.finished(waiting.molecule_id)).status).toBe('completed');
      const nothing = await town.sling(jasper, gated({ kind: 'task', task_id: 'hq-nothing', timeoutMs: null }));
      const doubted = await town.attention(nothing.molecule_id);
      expect(doubted.attention).toContain('there is no task hq-nothing');
      await town.town.openGate(asked, nothing.molecule_id, { step: 'b', reason: '' });
      expect((await town.finished(nothing.molecule_id)).status).toBe('completed');
    });

    it('looks at CI runs and pull requests at the forge of the rig, and calls a person when they fail', async () => {
      const { rig: path, git } = makeGitRig();
      git(path, 'remote', 'add', 'origin', 'https://github.com/acme/web.git');
      const id = `f${town.rig.id}`;
      await town.ledger.addRig(asked, {
        id,
        prefix: id,
        path,
        default_branch: 'main',
        workers_max: 1,
        runtime: { preset: 'external' },
      });
      const kyanite = await town.agent('k', id);
      await town.serve(kyanite, async () => ({}));
      forge.runs.set('build', 'running');
      const ci = await town.sling(kyanite, gated({ kind: 'ci_run', run: 'build', timeoutMs: null }), { rig_id: id });
      await reaches(ci.molecule_id, 'b', 'gated');
      forge.runs.set('build', 'succeeded');
      expect((await town.finished(ci.molecule_id)).status).toBe('completed');
      forge.pulls.set('7', 'closed');
      const pull = await town.sling(kyanite, gated({ kind: 'pull_request', number: '7', timeoutMs: null }), {
        rig_id: id,
      });
      await town.until('the mail', async () => {
        const mail = await town.db.selectFrom('mail').selectAll().where('kind', '=', 'gate_escalated').execute();
        return mail.some(({ body }) => body.includes(pull.molecule_id));
      });
      forge.pulls.set('7', 'merged');
      expect((await town.finished(pull.molecule_id)).status).toBe('completed');
    });

    it('is cancelled with the task that was made for it', async () => {
      const larimar = await agentWith();
      const { task, molecule_id } = await town.sling(larimar, gated({ kind: 'human', prompt: '', timeoutMs: null }));
      await reaches(molecule_id, 'b', 'gated');
      await town.town.cancelMolecule(asked, molecule_id, 'not wanted');
      expect((await town.finished(molecule_id)).status).toBe('cancelled');
      expect(await town.ledger.getTask(task.id)).toMatchObject({ status: 'closed', outcome: 'cancelled' });
    });
  },
);

describe.each([{ maxCachedWorkflows: undefined }, { maxCachedWorkflows: 0 }])(
  'a molecule that continues as new in the middle, workflows cached: $maxCachedWorkflows',
  ({ maxCachedWorkflows }) => {
    it('goes on with its loop, its gate and its paused work at the right step', async () => {
      const town = await startTestTown({
        moleculeTimings: { rolloverMs: 40 },
        ...(maxCachedWorkflows === undefined ? {} : { maxCachedWorkflows }),
      });
      try {
        const id = await town.agent('amber');
        let checks = 0;
        await town.serve(id, async ({ step }) => {
          if (!step.endsWith('.check')) return {};
          checks += 1;
          return { output: { ok: checks === 5 } };
        });
        const body = [{ id: 'fix' }, { id: 'check', needs: ['fix'] }];
        const gate: GateSpec = { kind: 'human', prompt: '', timeoutMs: null };
        const recipe = recipeOf(
          [
            { id: 'loop', flow: looping(20) },
            { id: 'end', needs: ['loop'], gate },
          ],
          { body },
        );
        const { molecule_id } = await town.sling(id, recipe);
        await town.until('the gate', async () => (await town.ledger.listGates({ molecule_id })).length === 1);
        expect(await runsBefore(town, runId.molecule(molecule_id))).toBeGreaterThan(1);
        await town.town.openGate(asked, molecule_id, { step: 'end', reason: '' });
        const molecule = await town.finished(molecule_id);
        expect(molecule.status).toBe('completed');
        expect(molecule.steps).toHaveLength(2 + 10);
        const done = town.performed.map(({ step, dispatch }) => `${step}:${dispatch}`);
        expect(new Set(done).size).toBe(done.length);
        expect(done).toHaveLength(11);
      } finally {
        await town.stop();
      }
    });
  },
);

/** How many runs the present one goes on from; each history names the one before, at once, which the list of runs does not. */
async function runsBefore({ temporal }: TestTown, id: string): Promise<number> {
  let count = 0;
  for (let run: string | undefined; ; count += 1) {
    const { events } = await temporal.client.workflow.getHandle(id, run).fetchHistory();
    const before = events?.[0]?.workflowExecutionStartedEventAttributes?.continuedExecutionRunId;
    if (before == null || before === '') return count;
    run = before;
  }
}
