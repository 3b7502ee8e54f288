import { sql } from 'kysely';
import { TownError } from '../../schema/errors';
import { runId } from '../../schema/ids';
import type { JsonObject } from '../../schema/json';
import type { Outcome } from '../../schema/ledger';
import {
  canMove,
  isBeginning,
  isDormant,
  isHeld,
  isSuccess,
  movesFrom,
  type TaskStatus,
} from '../../schema/task/status';
import type { TaskView } from '../../schema/views';
import {
  countingOf,
  holdingsOf,
  refuseBlocked,
  targetOf,
  transmit,
  TURNED_PARENTS,
  WOKEN,
  type Holding,
} from './blockage';
import { record, tell, type Unit } from './command';
import { openConvoysOf } from './convoy-members';
import { openGatesOf } from './gates';
import { MORE, taskView, type TaskRow, type TaskWithMore } from './task-rows';

export interface Move {
  readonly to: TaskStatus;
  /** Type of the event. */
  readonly event: string;
  readonly outcome?: Outcome | null;
  readonly reason?: string | null;
  /** Left out: as it is. */
  readonly assigned_agent_id?: string | null;
  readonly molecule_id?: string;
  /** Although the task is held back or put off. */
  readonly force?: boolean;
  /** Of a deferral; every other move ends one. */
  readonly defer_until?: Date | null;
  readonly payload?: JsonObject;
}

/**
 * The one place where a task's status changes. The task must be locked; by `lockForClosing` when it is or becomes closed, for which
 * `parent` is needed. Counts what waits for it and its parent's children, tells a molecule that lost its task to cancel, wakes convoys, records the event.
 * Answers the task as it is now.
 * @throws WRONG_STATE for a move that is none; unless forced also when the work would begin while it is put off, and OPEN_BLOCKERS when
 * it would begin, or would have been done, while it is held back.
 */
export async function moveTask(
  unit: Unit,
  task: TaskRow,
  move: Move,
  parent: TaskRow | null = null,
): Promise<TaskView> {
  if (!canMove(task.status, move.to)) {
    const next = movesFrom(task.status);
    throw new TownError('WRONG_STATE', `${task.id} is ${task.status} and cannot become ${move.to}`, {
      hint: `from ${task.status} it may become ${next.join(', ')}`,
      details: { status: task.status, allowed: next },
    });
  }
  if (move.force !== true) await refuseTooEarly(unit, task, move);
  const after = {
    status: move.to,
    assigned_agent_id: move.assigned_agent_id === undefined ? task.assigned_agent_id : move.assigned_agent_id,
    molecule_id: move.molecule_id ?? task.molecule_id,
    outcome: move.outcome ?? null,
    close_reason: move.reason ?? null,
    defer_until: move.defer_until?.toISOString() ?? null,
  };
  const moved = await updateTask(unit, task, after, parent);
  const lostIt = isHeld(task.status) && (!isHeld(move.to) || after.molecule_id !== task.molecule_id);
  if (lostIt) await cancelMolecule(unit, task, move.reason ?? `${task.id} became ${move.to}`);
  if (move.to === 'closed') await openGatesOf(unit, 'task', task.id, `task ${task.id} is closed`);
  record(
    unit,
    move.event,
    { task_id: task.id, rig_id: task.rig_id, agent_id: after.assigned_agent_id, molecule_id: after.molecule_id },
    {
      ...changes({ ...task, defer_until: task.defer_until?.toISOString() ?? null }, after),
      ...move.payload,
    },
  );
  return moved;
}

async function refuseTooEarly(unit: Unit, task: TaskRow, { to, outcome = null }: Move): Promise<void> {
  if (isBeginning(task.status, to)) {
    if (isDormant(task, new Date())) {
      const until = task.defer_until?.toISOString() ?? null;
      throw new TownError('WRONG_STATE', `${task.id} is put off${until === null ? '' : ` until ${until}`}`, {
        hint: `see: town task show ${task.id}`,
        details: { status: task.status, defer_until: until },
      });
    }
    await refuseBlocked(unit.trx, task, 'take other work: town ready');
  }
  if (outcome !== null && isSuccess(outcome)) {
    await refuseBlocked(unit.trx, task, 'what will not be done is closed with another outcome: skipped, cancelled');
  }
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

interface MovedColumns {
  readonly status: TaskStatus;
  readonly assigned_agent_id: string | null;
  readonly molecule_id: string | null;
  readonly outcome: string | null;
  readonly close_reason: string | null;
  readonly defer_until: string | null;
}

/**
 * One statement, since every round trip counts at hundreds of closes a second. A convoy is also woken when a blocker that is not
 * one of its members makes a member ready.
 */
async function updateTask(unit: Unit, task: TaskRow, after: MovedColumns, parent: TaskRow | null): Promise<TaskView> {
  const { id } = task;
  const turn = Number(after.status === 'closed') - Number(task.status === 'closed');
  const { rows } = await sql<TaskWithMore & { wake: string[]; parents: string[] }>`
    with moved as (
      update tasks set status = ${after.status}, assigned_agent_id = ${after.assigned_agent_id},
        molecule_id = ${after.molecule_id}, outcome = ${after.outcome}, close_reason = ${after.close_reason},
        defer_until = ${after.defer_until}::timestamptz, updated_at = clock_timestamp(),
        completed_at = case when ${after.status} = 'closed' then clock_timestamp() end,
        started_at = case when ${after.status} = 'in_progress' then coalesce(started_at, clock_timestamp()) else started_at end
      where id = ${id} returning *
    ), family as (
      update tasks set open_children = open_children - ${turn}::int, closed_children = closed_children + ${turn}::int
      where id = ${turn === 0 ? null : task.parent_id}
    ), ${countingOf(turnedEdges(task, after, turn, parent))}
    select t.*, ${MORE}, ${TURNED_PARENTS} as parents, array(${openConvoysOf(sql`select ${id}::text union all ${WOKEN}`)}) as wake
    from moved t`.execute(unit.trx);
  const row = rows[0];
  if (row === undefined) throw new Error(`${id} vanished under its lock`);
  for (const convoy of row.wake) unit.wakeConvoys.add(convoy);
  // A task that is closed although it is blocked holds back its parts no longer.
  const letsGo = turn !== 0 && task.open_blockers > 0 && task.open_children + task.closed_children > 0;
  await transmit(unit, letsGo ? [...row.parents, id] : row.parents);
  return taskView(row);
}

/** What the move may have changed for those who wait: for the task, and for the children of its parent. */
function turnedEdges(task: TaskRow, after: MovedColumns, turn: number, parent: TaskRow | null): Holding[] {
  if (turn === 0) return [];
  const own = { ...targetOf(task), closed: after.status === 'closed', outcome: after.outcome };
  if (task.parent_id === null) return holdingsOf(task.id, own);
  if (parent?.id !== task.parent_id) throw new Error(`${task.id} is closed or opened without a lock on its parent`);
  const above = targetOf(parent);
  return [
    ...holdingsOf(task.id, own),
    ...holdingsOf(parent.id, {
      ...above,
      openChildren: above.openChildren - turn,
      closedChildren: above.closedChildren + turn,
    }),
  ];
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
