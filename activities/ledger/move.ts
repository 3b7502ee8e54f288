import { sql } from 'kysely';
import { TownError } from '../../schema/errors';
import { runId, type TaskId } from '../../schema/ids';
import type { JsonObject } from '../../schema/json';
import { canMove, isHeld, movesFrom, type TaskStatus } from '../../schema/task/status';
import type { TaskView } from '../../schema/views';
import { record, tell, type Unit } from './command';
import { MORE, taskView, type TaskRow, type TaskWithMore } from './task-rows';

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
 * Answers the task as it is now.
 */
export async function moveTask(unit: Unit, task: TaskRow, move: Move): Promise<TaskView> {
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
  const moved = await updateTask(unit, task.id, after, blockersChange(task.status, move.to));
  const lostIt = isHeld(task.status) && (!isHeld(move.to) || after.molecule_id !== task.molecule_id);
  if (lostIt) await cancelMolecule(unit, task, move.reason ?? `${task.id} became ${move.to}`);
  record(
    unit,
    move.event,
    { task_id: task.id, rig_id: task.rig_id, agent_id: after.assigned_agent_id, molecule_id: after.molecule_id },
    { ...changes(task, after), ...move.payload },
  );
  return moved;
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

/** What the move does to `open_blockers` of the tasks that wait for this one. */
function blockersChange(from: TaskStatus, to: TaskStatus): -1 | 0 | 1 {
  if (from !== 'closed' && to === 'closed') return -1;
  return from === 'closed' && to !== 'closed' ? 1 : 0;
}

interface MovedColumns {
  readonly status: TaskStatus;
  readonly assigned_agent_id: string | null;
  readonly molecule_id: string | null;
  readonly outcome: string | null;
  readonly close_reason: string | null;
}

/**
 * One statement, since every round trip counts at hundreds of closes a second. A convoy is also woken when a blocker that is not
 * one of its members makes a member ready.
 */
async function updateTask(unit: Unit, id: TaskId, after: MovedColumns, change: -1 | 0 | 1): Promise<TaskView> {
  const { rows } = await sql<TaskWithMore & { wake: string[] }>`
    with moved as (
      update tasks set status = ${after.status}, assigned_agent_id = ${after.assigned_agent_id},
        molecule_id = ${after.molecule_id}, outcome = ${after.outcome}, close_reason = ${after.close_reason},
        updated_at = clock_timestamp(), completed_at = case when ${after.status} = 'closed' then clock_timestamp() end
      where id = ${id} returning *
    ), counted as (
      update tasks set open_blockers = open_blockers + ${change}::int
      where ${change}::int <> 0
        and id in (select task_id from task_dependencies where depends_on_id = ${id} and type = 'blocks')
      returning id, open_blockers
    )
    select t.*, ${MORE}, array(
      select distinct c.id from convoy_members m join convoys c on c.id = m.convoy_id
      where c.status <> 'completed' and m.task_id in (select ${id}::text union all select id from counted where open_blockers = 0)
    ) as wake
    from moved t`.execute(unit.trx);
  const row = rows[0];
  if (row === undefined) throw new Error(`${id} vanished under its lock`);
  for (const convoy of row.wake) unit.wakeConvoys.add(convoy);
  return taskView(row);
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
