import { sql, type Kysely, type RawBuilder, type Selectable } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import type { MoleculeId } from '../../schema/ids';
import type { Ledger } from '../../schema/ledger';
import { describeGate } from '../../schema/formula/flow-text';
import type { GateRow } from '../../schema/runs';
import type { MoleculeView, StepView } from '../../schema/views';
import type { Store } from './command';
import { having, mapPage, newestFirst } from './pages';

type MoleculeRow = Selectable<Database['molecules']>;

/** Reads of the projection: a molecule shows here as far as its run has published. */
export function moleculeReads(store: Store): Pick<Ledger, 'getMolecule' | 'listMolecules'> {
  return {
    async getMolecule(id) {
      const row = (await selectMolecules(store.db, sql`where id = ${id}`))[0];
      if (row === undefined) {
        throw new TownError('NOT_FOUND', `there is no molecule ${id}`, { hint: 'see: town molecule list' });
      }
      return moleculeView(row, (await stepsOf(store.db, [id])).get(id) ?? []);
    },
    async listMolecules({ rig_id, status, root_task_id, wisps, ...asked }) {
      const conditions = having({ rig_id, status, root_task_id });
      // A molecule without a root task is a short-lived one.
      if (wisps !== true) conditions.push(sql`root_task_id is not null`);
      const page = await newestFirst(asked, 'updated_at', conditions, (tail) => selectMolecules(store.db, tail));
      const steps = await stepsOf(
        store.db,
        page.items.map((row) => row.id),
      );
      return mapPage(page, (row) => moleculeView(row, steps.get(row.id) ?? []));
    },
  };
}

async function selectMolecules(db: Kysely<Database>, tail: RawBuilder<unknown>): Promise<MoleculeRow[]> {
  return (await sql<MoleculeRow>`select * from molecules ${tail}`.execute(db)).rows;
}

async function stepsOf(db: Kysely<Database>, ids: readonly MoleculeId[]): Promise<Map<MoleculeId, StepView[]>> {
  const { rows } = await sql<Omit<StepView, 'waits_for'> & { molecule_id: MoleculeId; gate: GateRow | null }>`
    select s.molecule_id, s.id, s.step, s.title, s.status, s.attempt, s.agent_id, s.needs, s.outcome, s.note, s.commit_id,
      s.round, s.gate, case when r.step is null then g.output else r.output end as output
    from steps s left join step_receipts r on s.status = 'closed' and r.molecule_id = s.molecule_id and r.step = s.step and r.round = s.round
    left join given_outputs g on s.status = 'closed' and g.molecule_id = s.molecule_id and g.step = s.step and g.round = s.round
    where s.molecule_id = any(${[...ids]}::text[]) order by s.molecule_id, s.position`.execute(db);
  const byMolecule = new Map<MoleculeId, StepView[]>(ids.map((id) => [id, []]));
  for (const { molecule_id, gate, ...step } of rows)
    byMolecule.get(molecule_id)?.push({ ...step, waits_for: gate === null ? null : describeGate(gate.spec) });
  return byMolecule;
}

function moleculeView(row: MoleculeRow, steps: StepView[]): MoleculeView {
  return {
    id: row.id,
    formula: row.formula,
    status: row.status,
    root_task_id: row.root_task_id,
    rig_id: row.rig_id,
    agent_id: row.agent_id,
    resume_step_id: row.resume_step_id,
    steps_total: row.steps_total,
    steps_closed: row.steps_closed,
    outcome: row.outcome,
    attention: row.attention,
    updated_at: row.updated_at.toISOString(),
    steps,
  };
}
