import { sql, type Kysely } from 'kysely';
import { applyEvent as applyAgent, type AgentEvent, hookRow } from '../../schema/agent/agent';
import { canonicalJson } from '../../schema/canonical';
import type { Database } from '../../schema/db/tables';
import { applyEvent as applyDispatch, type DispatchEvent, dispatchRow } from '../../schema/dispatch/dispatch';
import type { JsonObject } from '../../schema/json';
import { applyEvent as applyMolecule } from '../../schema/molecule/apply';
import type { Molecule } from '../../schema/molecule/molecule';
import { eventOfRow, moleculeRow, stepRow } from '../../schema/molecule/rows';
import type { RunRows } from '../../schema/runs';
import { writeRows } from './project';

export interface RebuildReport {
  readonly runs: number;
  readonly events: number;
  /** Rows that were not what their run's events say: `molecules mol-1`, … They are right now. */
  readonly differences: readonly string[];
}

interface StoredEvent {
  readonly run: string;
  readonly epoch: number;
  readonly seq: number;
  readonly at: number;
  readonly payload: JsonObject;
}

/**
 * Drops the projection and makes it again from the stored events of every run, with the same `applyEvent` the runs use, in one
 * transaction, and says what differed. Runs that go on publishing meanwhile wait for it.
 */
export async function rebuildProjection(db: Kysely<Database>): Promise<RebuildReport> {
  return db.transaction().execute(async (trx) => {
    const before = await snapshot(trx);
    // Short-lived molecules have no events to be made from again: their rows stay.
    await sql`delete from steps s where not exists (
      select 1 from molecules m where m.id = s.molecule_id and m.root_task_id is null)`.execute(trx);
    await sql`delete from molecules where root_task_id is not null`.execute(trx);
    for (const table of ['hook_items', 'hooks', 'dispatch_queue', 'dispatchers'] as const)
      await trx.deleteFrom(table).execute();
    const runs = await trx
      .selectFrom('events')
      .select(['run'])
      .distinct()
      .where('run', 'is not', null)
      .orderBy('run')
      .execute();
    let events = 0;
    for (const { run } of runs) {
      if (run === null) continue;
      const stored = await eventsOf(trx, run);
      events += stored.length;
      const last = stored.at(-1);
      const rows = fold(run, stored);
      if (rows !== null && last !== undefined) await writeRows(trx, last.epoch, rows);
    }
    const after = await snapshot(trx);
    const names = new Set([...before.keys(), ...after.keys()]);
    const differences = [...names].filter((name) => before.get(name) !== after.get(name)).sort();
    return { runs: runs.length, events, differences };
  });
}

/** Events of the newest epoch: a run that was started again from stored events counts from there. */
async function eventsOf(db: Kysely<Database>, run: string): Promise<StoredEvent[]> {
  const rows = await db
    .selectFrom('events')
    .select(['run', 'epoch', 'run_seq', 'at', 'payload'])
    .where('run', '=', run)
    .orderBy('epoch')
    .orderBy('run_seq')
    .execute();
  const newest = rows.at(-1)?.epoch;
  return rows
    .filter((row) => row.epoch === newest)
    .map((row) => ({ run, epoch: row.epoch ?? 1, seq: row.run_seq ?? 0, at: row.at.getTime(), payload: row.payload }));
}

function fold(run: string, stored: readonly StoredEvent[]): RunRows | null {
  const seq = stored.at(-1)?.seq ?? 0;
  if (run.startsWith('molecule.')) {
    const molecule = stored.reduce<Molecule | null>((state, row) => applyMolecule(state, eventOfRow(row)), null);
    if (molecule === null) return null;
    return {
      kind: 'molecule',
      seq,
      molecule: moleculeRow(molecule),
      steps: molecule.steps.map((_, position) => stepRow(molecule, position)),
    };
  }
  if (run.startsWith('agent.')) {
    const agent = stored.reduce<ReturnType<typeof applyAgent> | null>(
      (state, row) => applyAgent(state, { seq: row.seq, at: row.at, event: row.payload as unknown as AgentEvent }),
      null,
    );
    return agent === null ? null : { kind: 'agent', seq, hook: hookRow(agent) };
  }
  if (run.startsWith('dispatcher.')) {
    const dispatcher = stored.reduce<ReturnType<typeof applyDispatch> | null>(
      (state, row) =>
        applyDispatch(state, { seq: row.seq, at: row.at, event: row.payload as unknown as DispatchEvent }),
      null,
    );
    return dispatcher === null ? null : { kind: 'dispatcher', seq, queue: dispatchRow(dispatcher) };
  }
  return null;
}

/** Every row as text by its name, without the columns that say when it was written. */
async function snapshot(db: Kysely<Database>): Promise<Map<string, string>> {
  const rows = new Map<string, string>();
  const add = (name: string, row: object) => {
    const facts = Object.fromEntries(
      Object.entries(row).filter(([column]) => !['updated_at', 'seq', 'since'].includes(column)),
    );
    rows.set(name, canonicalJson(JSON.parse(JSON.stringify(facts))));
  };
  for (const row of await db.selectFrom('molecules').selectAll().execute()) add(`molecules ${row.id}`, row);
  for (const row of await db.selectFrom('steps').selectAll().execute())
    add(`steps ${row.molecule_id} ${row.step}`, row);
  for (const row of await db.selectFrom('hooks').selectAll().execute()) add(`hooks ${row.agent_id}`, row);
  for (const row of await db.selectFrom('hook_items').selectAll().execute())
    add(`hook_items ${row.agent_id} ${row.molecule_id} ${row.lane}`, row);
  for (const row of await db.selectFrom('dispatchers').selectAll().execute()) add(`dispatchers ${row.rig_id}`, row);
  for (const row of await db.selectFrom('dispatch_queue').selectAll().execute())
    add(`dispatch_queue ${row.rig_id} ${row.molecule_id} ${row.lane}`, row);
  return rows;
}
