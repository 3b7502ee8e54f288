import { sql, type Kysely, type RawBuilder, type Selectable } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import type { MoleculeId } from '../../schema/ids';
import type { Ledger } from '../../schema/ledger';
import { describeGate } from '../../schema/molecule/gates';
import type { GateRow } from '../../schema/runs';
import type { MoleculeView, StepView } from '../../schema/views';
import type { Store } from './command';
import * as input from './input';

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
    async listMolecules(filter) {
      const size = input.limit(filter.limit, 50);
      const conditions: RawBuilder<unknown>[] = [sql`true`];
      if (filter.rig_id !== undefined) conditions.push(sql`rig_id = ${filter.rig_id}`);
      if (filter.status !== undefined) conditions.push(sql`status = ${filter.status}`);
      if (filter.root_task_id !== undefined) conditions.push(sql`root_task_id = ${filter.root_task_id}`);
      // A molecule without a root task is a short-lived one.
      if (filter.wisps !== true) conditions.push(sql`root_task_id is not null`);
      if (filter.cursor !== undefined) {
        const after = input.decodeCursor(filter.cursor);
        conditions.push(sql`(updated_at, id) < (${after.at}, ${after.id})`);
      }
      const rows = await selectMolecules(
        store.db,
        sql`where ${sql.join(conditions, sql` and `)} order by updated_at desc, id desc limit ${size + 1}`,
      );
      const steps = await stepsOf(
        store.db,
        rows.slice(0, size).map((row) => row.id),
      );
      return input.pageOf(
        rows,
        size,
        (row) => input.encodeCursor({ at: row.updated_at, id: row.id }),
        (row) => moleculeView(row, steps.get(row.id) ?? []),
      );
    },
  };
}

async function selectMolecules(db: Kysely<Database>, tail: RawBuilder<unknown>): Promise<MoleculeRow[]> {
  return (await sql<MoleculeRow>`select * from molecules ${tail}`.execute(db)).rows;
}

async function stepsOf(db: Kysely<Database>, ids: readonly MoleculeId[]): Promise<Map<MoleculeId, StepView[]>> {
  const { rows } = await sql<Omit<StepView, 'waits_for'> & { molecule_id: MoleculeId; gate: GateRow | null }>`
    select s.molecule_id, s.id, s.step, s.title, s.status, s.attempt, s.agent_id, s.needs, s.outcome, s.note, s.commit_id,
      s.round, s.gate, r.output
    from steps s left join step_receipts r on s.status = 'closed' and r.molecule_id = s.molecule_id and r.step = s.step and r.round = s.round
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
