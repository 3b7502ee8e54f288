import { project } from '../../../activities/projection/project';
import { rebuildProjection } from '../../../activities/projection/rebuild';
import { applyEvent } from '../../../schema/molecule/apply';
import type { Molecule, MoleculeEvent } from '../../../schema/molecule/molecule';
import { changedSteps, moleculeRow, runEventOf, stepRow } from '../../../schema/molecule/rows';
import type { RunEvent } from '../../../schema/runs';
import { testDatabase, type TestDatabase } from '../../support/database';
import { chain, closed, granted, hooked, inputOf, lost, START } from '../../support/play';

let town: TestDatabase;
beforeAll(async () => {
  town = await testDatabase({ max: 4 });
});
afterAll(() => town.drop());

const WORKED: readonly MoleculeEvent[] = [
  granted(),
  hooked(0),
  lost(0, { reason: 'HOST_LOST', counted: false }),
  hooked(0, { dispatch: 2 }),
  closed(0, { commit: 'c1' }),
  hooked(1),
];

/** Publishes each event in a batch of its own, as a run does. */
async function publish(id: string, write: (event: RunEvent) => RunEvent): Promise<void> {
  let molecule: Molecule | null = null;
  const poured = { type: 'molecule_poured', input: inputOf(chain('a', 'b'), { id }) } as const;
  for (const [index, event] of [poured, ...WORKED].entries()) {
    const recorded = { seq: index + 1, at: START + index, event };
    const before: Molecule | null = molecule;
    const after = applyEvent(before, recorded);
    molecule = after;
    const steps = changedSteps(before, after).map((position) => stepRow(after, position));
    const rows = { kind: 'molecule', seq: after.seq, molecule: moleculeRow(after), steps } as const;
    await project(town.db, { run: `molecule.${id}`, epoch: 1, events: [write(runEventOf(recorded, after))], rows });
  }
}

/** As the first towns wrote it. */
function formerly(event: RunEvent): RunEvent {
  const { position, step = null, ...rest } = event.payload;
  return position === undefined ? event : { ...event, payload: { ...rest, step: position, step_id: step } };
}

test('the projection is made again from its events, whichever version wrote them', async () => {
  await publish('mol-new', (event) => event);
  await publish('mol-old', formerly);
  const stored = await town.db.selectFrom('events').select('payload').where('type', '=', 'step_closed').execute();
  expect(stored.map(({ payload }) => payload['step'])).toEqual(['a', 0]);
  const steps = () =>
    town.db
      .selectFrom('steps')
      .select(['molecule_id', 'step', 'status'])
      .orderBy('molecule_id')
      .orderBy('position')
      .execute();
  const published = await steps();
  expect(published.map((row) => row.status)).toEqual(['closed', 'hooked', 'closed', 'hooked']);
  expect(await rebuildProjection(town.db)).toEqual({ runs: 2, events: 2 * (WORKED.length + 1), differences: [] });
  expect(await steps()).toEqual(published);
});

test('a row that is not what its events say is named and corrected', async () => {
  const change = town.db.updateTable('steps').set({ status: 'ready' });
  await change.where('molecule_id', '=', 'mol-new').where('step', '=', 'b').execute();
  expect(await rebuildProjection(town.db)).toMatchObject({ differences: ['steps mol-new b'] });
  expect(await rebuildProjection(town.db)).toMatchObject({ differences: [] });
});
