import { type Kysely, type RawBuilder, sql, type Transaction } from 'kysely';
import type { Database } from '../../schema/db/tables';
import type { ProjectionBatch, RunRows } from '../../schema/runs';

/**
 * Writes a run's events and the rows that changed, in one transaction. Events are unique by (run, epoch, seq) and a row is written only
 * where the incoming (epoch, seq) is higher than its own: repeated, late and concurrent batches change nothing.
 */
export async function project(db: Kysely<Database>, batch: ProjectionBatch): Promise<void> {
  const { epoch, rows } = batch;
  const told = sql`select pg_notify('town_projection', ${subjectOf(rows)}), pg_notify('town_events', '')`;
  // A molecule publishes with every step: one statement is one transaction and one round trip.
  if (rows.kind === 'molecule') {
    // Nothing of a short-lived molecule, which has no root task, goes into the trail.
    if (rows.molecule.root_task_id === null) {
      await sql`with ${moleculeRows(epoch, rows)} ${told}`.execute(db);
      return;
    }
    await sql`with written_events as (${eventsOf(batch)}), ${moleculeRows(epoch, rows)} ${told}`.execute(db);
    return;
  }
  await db.transaction().execute(async (trx) => {
    await eventsOf(batch).execute(trx);
    await writeRows(trx, epoch, rows);
    await told.execute(trx);
  });
}

/** Writes rows alone: `projection rebuild` folds stored events and comes here. */
export async function writeRows(trx: Transaction<Database>, epoch: number, rows: RunRows): Promise<void> {
  if (rows.kind === 'molecule') await sql`with ${moleculeRows(epoch, rows)} select 1`.execute(trx);
  else if (rows.kind === 'agent') await writeHook(trx, epoch, rows);
  else await writeDispatcher(trx, epoch, rows);
}

/** The id whose readers are told by NOTIFY: a molecule, an agent or a rig. */
function subjectOf(rows: RunRows): string {
  if (rows.kind === 'molecule') return rows.molecule.id;
  return rows.kind === 'agent' ? rows.hook.agent_id : rows.queue.rig_id;
}

function eventsOf(batch: ProjectionBatch): RawBuilder<unknown> {
  return sql`
    insert into events (type, actor, task_id, molecule_id, agent_id, run, epoch, run_seq, payload, at)
    select e.type, ${batch.run}::text, e.task_id, e.molecule_id, e.agent_id, ${batch.run}::text, ${batch.epoch}::int, e.seq, e.payload,
      to_timestamp(e.at / 1000.0)
    from jsonb_to_recordset(${JSON.stringify(batch.events)}::jsonb)
      as e(seq int, at double precision, type text, task_id text, molecule_id text, agent_id text, payload jsonb)
    on conflict (run, epoch, run_seq) where run is not null do nothing`;
}

/** The parts of a `with` that write a molecule and those of its steps that changed. */
function moleculeRows(epoch: number, rows: Extract<RunRows, { kind: 'molecule' }>): RawBuilder<unknown> {
  const m = rows.molecule;
  return sql`written_molecule as (
    insert into molecules (id, root_task_id, rig_id, formula, recipe_digest, status, agent_id, resume_step_id, steps_total, steps_closed, priority,
      outcome, attention, epoch, seq, updated_at)
    values (${m.id}, ${m.root_task_id}, ${m.rig_id}, ${m.formula}, ${m.recipe_digest}, ${m.status}, ${m.agent_id}, ${m.resume_step_id}, ${m.steps_total},
      ${m.steps_closed}, ${m.priority}, ${m.outcome}, ${m.attention}, ${epoch}, ${rows.seq}, now())
    on conflict (id) do update set status = excluded.status, agent_id = excluded.agent_id, resume_step_id = excluded.resume_step_id,
      steps_total = excluded.steps_total, steps_closed = excluded.steps_closed, outcome = excluded.outcome, attention = excluded.attention,
      epoch = excluded.epoch, seq = excluded.seq, updated_at = excluded.updated_at
    where (excluded.epoch, excluded.seq) > (molecules.epoch, molecules.seq)
  ), written_steps as (
    insert into steps (molecule_id, step, position, id, title, status, attempt, agent_id, needs, outcome, note, commit_id, lost_reason,
      round, template, bindings, gate, epoch, seq, updated_at)
    select ${m.id}::text, s.step, s.position, s.id, s.title, s.status, s.attempt, s.agent_id, s.needs, s.outcome, s.note, s.commit_id, s.lost_reason,
      s.round, s.template, s.bindings, s.gate, ${epoch}::int, ${rows.seq}::bigint, now()
    from jsonb_to_recordset(${JSON.stringify(rows.steps)}::jsonb)
      as s(step text, position int, id text, title text, status text, attempt int, agent_id text, needs jsonb, outcome text, note text, commit_id text, lost_reason text,
        round int, template jsonb, bindings jsonb, gate jsonb)
    on conflict (molecule_id, step) do update set status = excluded.status, attempt = excluded.attempt, agent_id = excluded.agent_id,
      outcome = excluded.outcome, note = excluded.note, commit_id = excluded.commit_id, lost_reason = excluded.lost_reason,
      round = excluded.round, gate = excluded.gate, epoch = excluded.epoch, seq = excluded.seq, updated_at = excluded.updated_at
    where (excluded.epoch, excluded.seq) > (steps.epoch, steps.seq)
  )`;
}

async function writeHook(
  trx: Transaction<Database>,
  epoch: number,
  rows: Extract<RunRows, { kind: 'agent' }>,
): Promise<void> {
  const { hook } = rows;
  const written = await sql`
    insert into hooks (agent_id, status, granted_molecule_id, epoch, seq, updated_at)
    values (${hook.agent_id}, ${hook.status}, ${hook.granted_molecule_id}, ${epoch}, ${rows.seq}, now())
    on conflict (agent_id) do update set status = excluded.status, granted_molecule_id = excluded.granted_molecule_id,
      epoch = excluded.epoch, seq = excluded.seq, updated_at = excluded.updated_at
    where (excluded.epoch, excluded.seq) > (hooks.epoch, hooks.seq) returning 1`.execute(trx);
  if (written.rows.length === 0) return;
  await trx.deleteFrom('hook_items').where('agent_id', '=', hook.agent_id).execute();
  await sql`
    insert into hook_items (agent_id, molecule_id, lane, priority, state, position, since)
    select ${hook.agent_id}, i.molecule_id, i.lane, i.priority, i.state, i.ordinality, to_timestamp(i.since / 1000.0)
    from rows from (jsonb_to_recordset(${JSON.stringify(hook.items)}::jsonb)
      as (molecule_id text, lane int, priority int, state text, since double precision)) with ordinality as i`.execute(
    trx,
  );
}

async function writeDispatcher(
  trx: Transaction<Database>,
  epoch: number,
  rows: Extract<RunRows, { kind: 'dispatcher' }>,
): Promise<void> {
  const { queue } = rows;
  const busy = queue.items.filter((item) => item.state === 'busy').length;
  const written = await sql`
    insert into dispatchers (rig_id, workers_max, busy, waiting, epoch, seq, updated_at)
    values (${queue.rig_id}, ${queue.workers_max}, ${busy}, ${queue.items.length - busy}, ${epoch}, ${rows.seq}, now())
    on conflict (rig_id) do update set workers_max = excluded.workers_max, busy = excluded.busy, waiting = excluded.waiting,
      epoch = excluded.epoch, seq = excluded.seq, updated_at = excluded.updated_at
    where (excluded.epoch, excluded.seq) > (dispatchers.epoch, dispatchers.seq) returning 1`.execute(trx);
  if (written.rows.length === 0) return;
  await trx.deleteFrom('dispatch_queue').where('rig_id', '=', queue.rig_id).execute();
  await sql`
    insert into dispatch_queue (rig_id, molecule_id, lane, priority, state, agent_id, position, since)
    select ${queue.rig_id}, i.molecule_id, i.lane, i.priority, i.state, i.agent_id, i.ordinality, to_timestamp(i.since / 1000.0)
    from rows from (jsonb_to_recordset(${JSON.stringify(queue.items)}::jsonb)
      as (molecule_id text, lane int, priority int, state text, agent_id text, since double precision)) with ordinality as i`.execute(
    trx,
  );
}
