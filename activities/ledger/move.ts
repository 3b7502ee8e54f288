import { sql } from 'kysely';
import { TownError } from '../../schema/errors';
import { runId } from '../../schema/ids';
import type { JsonObject } from '../../schema/json';
import { canMove, isHeld, movesFrom, type TaskStatus } from '../../schema/task/status';
import { record, tell, type Unit } from './command';
import type { TaskRow } from './task-rows';

export interface Move {
  readonly to: TaskStatus;
  /** Type of the event. */
  readonly event: string;
  readonly outcome?: string | null;
  readonly reason?: string | null;
  /** Left out: as it is. */
  readonly assigned_agent_id?: string | null;
  readonly molecule_id?: string;
  readonly payload?: JsonObject;
}

/**
 * The one place where a task's status changes. The task must be locked, with its dependants when it is or becomes closed.
 * Counts the blockers of dependants, tells a molecule that lost its task to cancel, wakes convoys, records the event.
 */
export async function moveTask(unit: Unit, task: TaskRow, move: Move): Promise<void> {
  if (!canMove(task.status, move.to)) {
    const next = movesFrom(task.status);
    throw new TownError('WRONG_STATE', `${task.id} is ${task.status} and cannot become ${move.to}`, {
      hint: `from ${task.status} it may become ${next.join(', ')}`,
      details: { status: task.status, allowed: next },
    });
  }
  const after = {
    status: move.to,
    assigned_agent_id: move.assigned_agent_id === undefined ? task.assigned_agent_id : move.assigned_agent_id,
    molecule_id: move.molecule_id ?? task.molecule_id,
    outcome: move.outcome ?? null,
    close_reason: move.reason ?? null,
  };
  await sql`
    update tasks set status = ${after.status}, assigned_agent_id = ${after.assigned_agent_id}, molecule_id = ${after.molecule_id},
      outcome = ${after.outcome}, close_reason = ${after.close_reason}, updated_at = clock_timestamp(),
      completed_at = case when ${after.status} = 'closed' then clock_timestamp() end
    where id = ${task.id}`.execute(unit.trx);
  if (move.to === 'closed' && task.status !== 'closed') await countDown(unit, task);
  if (move.to !== 'closed' && task.status === 'closed') await countUp(unit, task);

  const lostIt = isHeld(task.status) && (!isHeld(move.to) || after.molecule_id !== task.molecule_id);
  if (lostIt) await cancelMolecule(unit, task, move.reason ?? `${task.id} became ${move.to}`);
  unit.touchedTasks.add(task.id);
  record(
    unit,
    move.event,
    { task_id: task.id, rig_id: task.rig_id, agent_id: after.assigned_agent_id, molecule_id: after.molecule_id },
    { ...changes(task, after), ...move.payload },
  );
}

/** `before` and `after` of the fields that differ. */
export function changes(before: object, after: JsonObject): { before: JsonObject; after: JsonObject } {
  const old = before as JsonObject;
  const keys = Object.keys(after).filter((key) => old[key] !== after[key]);
  return {
    before: Object.fromEntries(keys.map((key) => [key, old[key] ?? null])),
    after: Object.fromEntries(keys.map((key) => [key, after[key] ?? null])),
  };
}

async function countDown(unit: Unit, blocker: TaskRow): Promise<void> {
  const { rows } = await sql<{ id: string; open_blockers: number }>`
    update tasks set open_blockers = open_blockers - 1 where id in (
      select task_id from task_dependencies where depends_on_id = ${blocker.id} and type = 'blocks')
    returning id, open_blockers`.execute(unit.trx);
  // A convoy feeds what became ready, also when the blocker is not one of its members.
  for (const row of rows) if (row.open_blockers === 0) unit.touchedTasks.add(row.id);
}

async function countUp(unit: Unit, blocker: TaskRow): Promise<void> {
  await sql`
    update tasks set open_blockers = open_blockers + 1 where id in (
      select task_id from task_dependencies where depends_on_id = ${blocker.id} and type = 'blocks')`.execute(unit.trx);
}

/** Not when the molecule itself asks, or is known to be over. */
async function cancelMolecule(unit: Unit, task: TaskRow, reason: string): Promise<void> {
  if (task.molecule_id === null || unit.ask.actor === runId.molecule(task.molecule_id)) return;
  const over = await sql`
    select 1 from molecules where id = ${task.molecule_id} and status in ('completed', 'failed', 'cancelled')`.execute(
    unit.trx,
  );
  if (over.rows.length > 0) return;
  tell(unit, runId.molecule(task.molecule_id), {
    kind: 'update',
    name: 'cancel',
    args: { reason, actor: unit.ask.actor },
  });
}
