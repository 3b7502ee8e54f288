import { sql } from 'kysely';
import { singleStepRecipe } from '../../schema/formula/single-step';
import { sha256 } from '../support/database';
import { startTestTown, type TestTown } from '../support/town';

const asked = { actor: 'person:test' };

describe('a short-lived molecule', () => {
  let it_: TestTown;
  beforeAll(async () => {
    it_ = await startTestTown();
  });
  afterAll(async () => {
    await it_.stop();
  });

  test('runs to its end on an agent and leaves nothing in the trail but its digest', async () => {
    const { ledger } = it_;
    const agent = await it_.agent('amber');
    const titles: string[] = [];
    await it_.serve(agent, async ({ molecule_id, step, root_task_id }) => {
      expect(root_task_id).toBeNull();
      const brief = await ledger.brief(molecule_id, step);
      titles.push(brief.title);
      return { note: 'looked around' };
    });
    const recipe = singleStepRecipe('Look around', 'Look at everything', null, sha256);
    const { task, molecule_id } = await it_.sling(agent, recipe, { wisp: true });
    expect(await it_.finished(molecule_id)).toMatchObject({ status: 'completed', root_task_id: null, steps_closed: 1 });
    expect(titles).toEqual(['Look around']);
    const wisp = await it_.until('the wisp to be closed', async () => {
      const now = await ledger.getWisp(task.id);
      return now.status === 'closed' && now;
    });
    expect(wisp.outcome).toBe('done');
    const trail = await sql<{ type: string; run: string | null }>`
      select type, run from events where task_id = ${task.id} or run = ${`molecule.${molecule_id}`}`.execute(it_.db);
    expect(trail.rows).toEqual([]);
    const digest = await ledger.squashMolecule(asked, molecule_id, {});
    expect(digest).toMatchObject({
      root_id: task.id,
      outcome: 'done',
      content: { steps: [{ note: 'looked around' }] },
    });
    await expect(ledger.getMolecule(molecule_id)).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});
