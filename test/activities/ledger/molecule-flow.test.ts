import { project } from '../../../activities/projection/project';
import { rebuildProjection } from '../../../activities/projection/rebuild';
import type { Recipe } from '../../../schema/formula/recipe';
import type { JsonObject } from '../../../schema/json';
import { moleculeRow, runEventOf, stepRow } from '../../../schema/molecule/rows';
import type { MoleculeInput } from '../../../schema/runs';
import { Play } from '../../support/play';
import { recipeOf } from '../../support/recipes';
import { as, openSession, person, rigTown } from './scene';

const town = rigTown();
let incarnation = 0;
beforeAll(async () => {
  ({ incarnation } = await openSession(town.ledger));
});

const SURVEY = recipeOf(
  [
    {
      id: 'survey',
      flow: {
        fanOut: { group: 'each', path: ['found'], vars: { name: '{item.name}' }, mode: 'parallel', itemsMax: 9 },
        retry: { attemptsMax: 2, backoffMs: 0, exhausted: 'fail' },
      },
    },
    {
      id: 'report',
      needs: ['survey'],
      instructions: 'all of {{steps.survey.output.total}}, not {{steps.nobody.output.total}} nor {{who}}',
      flow: { waitsFor: { of: 'survey', mode: 'all' } },
    },
  ],
  {
    each: [
      {
        id: 'fix',
        title: 'Fix {{name}} ({index})',
        instructions: 'of {{steps.survey.output.total}}: {item.text}',
        acceptance: '{{name}} is whole',
        checks: [{ run: 'test -f {{name}}', timeoutMs: 1_000 }],
      },
      {
        id: 'prove',
        needs: ['fix'],
        instructions: 'as in {{steps.fix.output.commit}}',
        gate: { kind: 'human', prompt: 'is {{name}} good?', timeoutMs: null, approvers: ['lead'] },
      },
    ],
  },
);

/** Poured, and driven by hand in place of its run. */
async function played(recipe: Recipe) {
  const { task, molecule_id } = await town.ledger.pour(person, {
    recipe,
    rig_id: 'acme',
    target: { kind: 'agent', id: 'acme/polecats/amber' },
    decision_id: 'd-1',
  });
  if (molecule_id === null) throw new Error('it was slung');
  const rows = await town.db
    .selectFrom('outbox')
    .select('message')
    .where('target', '=', `molecule.${molecule_id}`)
    .execute();
  const { input } = rows[0]!.message as unknown as { input: MoleculeInput };
  const play = new Play(input);
  let published = 0;
  const publish = async () => {
    const { molecule } = play;
    const events = play.events.slice(published).map((recorded) => runEventOf(recorded, molecule));
    published = play.events.length;
    const steps = molecule.steps.map((_, position) => stepRow(molecule, position));
    const rowsNow = { kind: 'molecule', seq: molecule.seq, molecule: moleculeRow(molecule), steps } as const;
    await project(town.db, { run: `molecule.${molecule_id}`, epoch: 1, events, rows: rowsNow });
  };
  const closes = async (name: string, outcome: 'done' | 'failed', output: JsonObject | null = null) => {
    const { round = 1 } = play.step(name);
    await town.ledger.writeReceipt(as(incarnation), {
      molecule_id,
      step: name,
      attempt: 1,
      round,
      session_id: null,
      outcome,
      note: `${name} ${outcome}`,
      commit_id: null,
      output,
    });
    play.ends(name, { outcome, note: `${name} ${outcome}`, ...(output === null ? {} : { output }) });
    await publish();
  };
  await publish();
  return { task, molecule_id, play, publish, closes };
}

test('the run gets the flow and the groups of its recipe, without texts for agents', async () => {
  const { play } = await played(SURVEY);
  expect(play.molecule.groups!['each']).toEqual([
    { id: 'fix', title: 'Fix {{name}} ({index})', needs: [], parallel: true, priority: null, gate: null },
    expect.objectContaining({ id: 'prove', gate: expect.objectContaining({ kind: 'human' }) }),
  ]);
  expect(play.step('survey').flow).toEqual(SURVEY.steps[0]!.flow);
});

test('a brief of a step that came later is filled with its item and with outputs, in checks as words of the shell', async () => {
  const { molecule_id, closes } = await played(SURVEY);
  const large = 'x'.repeat(900);
  const found = [
    { name: "it's; rm -rf /", text: 'short' },
    { name: 'big', text: large },
  ];
  await closes('survey', 'done', { total: 2, found });
  expect(await town.ledger.brief(molecule_id, 'survey.0.fix')).toMatchObject({
    title: "Fix it's; rm -rf / (0)",
    instructions: 'of 2: short',
    acceptance: "it's; rm -rf / is whole",
    checks: [{ run: `test -f 'it'\\''s; rm -rf /'`, timeout_ms: 1_000 }],
    needs: [],
    steps_total: 6,
    steps_closed: 1,
  });
  // This item is not carried by the run: it is read from the receipt.
  expect((await town.ledger.brief(molecule_id, 'survey.1.fix')).instructions).toBe(`of 2: ${large}`);
  await closes('survey.1.fix', 'done', { commit: 'c0ffee' });
  expect(await town.ledger.brief(molecule_id, 'survey.1.prove')).toMatchObject({
    instructions: 'as in c0ffee',
    needs: [{ step: 'survey.1.fix', outcome: 'done', note: 'survey.1.fix done' }],
  });
  expect((await town.ledger.brief(molecule_id, 'report')).instructions).toBe(
    'all of 2, not {{steps.nobody.output.total}} nor {{who}}',
  );
  await expect(town.ledger.brief(molecule_id, 'survey.7.fix')).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('each round of a step has its receipt; without a round that of the present one is meant', async () => {
  const { molecule_id, closes } = await played(SURVEY);
  await closes('survey', 'failed');
  expect(await town.ledger.getReceipt(molecule_id, 'survey')).toBeNull();
  expect(await town.ledger.getReceipt(molecule_id, 'survey', 1)).toMatchObject({ round: 1, outcome: 'failed' });
  await closes('survey', 'done', { found: [] });
  expect(await town.ledger.getReceipt(molecule_id, 'survey')).toMatchObject({ round: 2, outcome: 'done' });
  const { steps } = await town.ledger.getMolecule(molecule_id);
  expect(steps[0]).toMatchObject({ step: 'survey', round: 2, outcome: 'done', output: { found: [] } });
});

test('gates are listed with what they wait for', async () => {
  const { task, molecule_id, closes } = await played(SURVEY);
  await closes('survey', 'done', { total: 1, found: [{ name: 'a', text: '' }] });
  await closes('survey.0.fix', 'done');
  expect(await town.ledger.listGates({ molecule_id })).toEqual([
    {
      molecule_id,
      step: 'survey.0.prove',
      title: 'prove',
      rig_id: 'acme',
      root_task_id: task.id,
      kind: 'human',
      waits_for: 'lead',
      prompt: 'is a good?',
      approvers: ['lead'],
      since: expect.any(String),
      escalated: null,
      trouble: null,
    },
  ]);
  expect(await town.ledger.listGates({ rig_id: 'nowhere' })).toEqual([]);
  const shown = await town.ledger.getMolecule(molecule_id);
  expect(shown.steps.find((each) => each.step === 'survey.0.prove')).toMatchObject({
    status: 'gated',
    waits_for: 'lead',
  });
});

test('whoever waits for a task or a molecule is told once, and an escalation is one mail', async () => {
  const elsewhere = await town.ledger.createTask(person, { title: 'elsewhere' });
  const gate = { kind: 'task', task_id: elsewhere.id, timeoutMs: null } as const;
  const waiting = await played(recipeOf([{ id: 'a', gate }]));
  const other = await played(
    recipeOf([{ id: 'a', gate: { kind: 'molecule', molecule_id: waiting.molecule_id, timeoutMs: null } }]),
  );
  const told = async (molecule_id: string) => {
    const rows = await town.db
      .selectFrom('outbox')
      .select('message')
      .where('target', '=', `molecule.${molecule_id}`)
      .execute();
    return rows.map(({ message }) => (message as { name?: string }).name ?? 'start');
  };
  await town.ledger.closeTask(person, elsewhere.id, { outcome: 'done' });
  expect(await told(waiting.molecule_id)).toEqual(['start', 'openGate']);
  const run = { actor: `molecule.${waiting.molecule_id}`, key: 'gates' };
  for (let times = 0; times < 2; times += 1)
    await town.ledger.openGatesOf(run, 'molecule', waiting.molecule_id, 'ended');
  expect(await told(other.molecule_id)).toEqual(['start', 'openGate']);
  const late = {
    molecule_id: other.molecule_id,
    root_task_id: null,
    step: 'a',
    title: 'a',
    waits_for: 'it',
    reason: 'late',
  };
  for (let times = 0; times < 2; times += 1) await town.ledger.escalateGate(person, late);
  const mail = await town.db.selectFrom('mail').selectAll().where('kind', '=', 'gate_escalated').execute();
  expect(mail).toMatchObject([
    { recipient: 'human', body: expect.stringContaining(`town gate open ${other.molecule_id} a`) },
  ]);
});

test('a bond keeps its recipe and tells the run, but not one that is over', async () => {
  const { molecule_id, play, publish } = await played(SURVEY);
  const recipe = recipeOf([{ id: 'x' }], { g: [{ id: 'y' }] });
  await town.ledger.bondRecipe(person, { molecule_id, recipe, ref: 'more', mode: 'parallel' });
  expect(await town.ledger.getRecipe(recipe.digest)).toMatchObject({ formula: 'flow' });
  const rows = await town.db
    .selectFrom('outbox')
    .select('message')
    .where('target', '=', `molecule.${molecule_id}`)
    .orderBy('n')
    .execute();
  expect(rows.at(-1)!.message).toMatchObject({
    name: 'bond',
    args: {
      ref: 'more',
      mode: 'parallel',
      recipe_digest: recipe.digest,
      steps: [{ id: 'x' }],
      groups: { g: [{ id: 'y' }] },
    },
  });
  play.record({ type: 'molecule_cancelled', reason: '', by: 'ada' });
  await publish();
  const again = town.ledger.bondRecipe(person, { molecule_id, recipe, ref: 'late', mode: 'parallel' });
  await expect(again).rejects.toMatchObject({ code: 'WRONG_STATE' });
  const nowhere = town.ledger.bondRecipe(person, { molecule_id: 'mol-none', recipe, ref: 'late', mode: 'parallel' });
  await expect(nowhere).rejects.toMatchObject({ code: 'NOT_FOUND' });
});

test('rows of steps that came later are made again from the events', async () => {
  const { play, publish, closes } = await played(SURVEY);
  await closes('survey', 'failed');
  await closes('survey', 'done', { total: 1, found: [{ name: 'a', text: 'x'.repeat(900) }] });
  play.record({ type: 'molecule_paused', reason: '', by: 'ada' });
  await closes('survey.0.fix', 'done');
  play.record({ type: 'gate_doubted', step: play.at('survey.0.prove'), trouble: 'why' });
  await publish();
  expect(await rebuildProjection(town.db)).toMatchObject({ differences: [] });
});
