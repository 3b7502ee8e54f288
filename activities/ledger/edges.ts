import { sql, type RawBuilder, type Transaction } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import type { TaskId } from '../../schema/ids';
import type { JsonObject } from '../../schema/json';
import type { EdgeInput } from '../../schema/ledger';
import {
  BLOCKING_TYPES,
  DEPENDENCY_TYPES,
  holds,
  isBlocking,
  isDependencyType,
  isWaitGate,
  takesPart,
  WAIT_GATES,
  type DependencyType,
  type WaitGate,
} from '../../schema/task/dependency';
import { countChild, targetOf, transmit, transmits } from './blockage';
import { record, takeLock, type Unit } from './command';
import { wakeConvoysOf } from './convoy-members';
import * as input from './input';
import { lockReach, noTask, type TaskRow } from './task-rows';

/** An edge that was checked. */
export interface Edge {
  readonly task_id: TaskId;
  readonly depends_on_id: TaskId;
  readonly type: DependencyType;
  /** JSON text. */
  readonly metadata: string;
  readonly gate: WaitGate;
  readonly thread_id: string | null;
}

/** @throws INVALID_INPUT */
export function checkEdge(edge: EdgeInput): Edge {
  const { task_id, depends_on_id, type, metadata = {}, thread_id = null } = edge;
  if (!isDependencyType(type)) {
    throw new TownError('INVALID_INPUT', `${JSON.stringify(String(type).slice(0, 50))} is not a type of dependency`, {
      hint: `one of ${DEPENDENCY_TYPES.join(', ')}`,
    });
  }
  const gate = metadata['gate'] ?? 'all-children';
  if (type === 'waits-for' && !isWaitGate(gate)) {
    throw new TownError('INVALID_INPUT', `the gate of waits-for is one of ${WAIT_GATES.join(', ')}`);
  }
  return {
    task_id,
    depends_on_id,
    type,
    metadata: input.json(metadata, 'metadata of the dependency'),
    gate: isWaitGate(gate) ? gate : 'all-children',
    thread_id: thread_id === null ? null : input.line(thread_id, 'thread id', input.LIMITS.name),
  };
}

/**
 * Writes one edge; the same edge again takes over its metadata. Edge writes come one after the other in the whole town, so that two of
 * them cannot close a cycle together.
 */
export async function addEdge(unit: Unit, edge: Edge): Promise<void> {
  if (edge.task_id === edge.depends_on_id) cycleRefused([edge.task_id, edge.task_id]);
  await takeLock(unit.trx, 'edges');
  const [task, target] = await lockBoth(unit, edge, edge.type);
  const known = await sql<{ type: string; same: boolean; holds: boolean }>`
    select type, holds, metadata = ${edge.metadata}::jsonb and thread_id is not distinct from ${edge.thread_id} as same
    from task_dependencies where task_id = ${edge.task_id} and depends_on_id = ${edge.depends_on_id}`.execute(unit.trx);
  const existing = known.rows[0];
  if (existing !== undefined && existing.type !== edge.type) {
    throw new TownError('CONFLICT', `${edge.task_id} has an edge of type ${existing.type} to ${edge.depends_on_id}`, {
      hint: `one edge a pair: keep it, or leave it out before another one: town dep remove ${edge.task_id} ${edge.depends_on_id}`,
      details: { type: existing.type },
    });
  }
  if (existing?.same === true) return;
  const isHolding = isBlocking(edge.type) && holds(edge.type, edge.gate, targetOf(target));
  if (existing === undefined) {
    if (edge.type === 'parent-child') refuseClosedWhole(target, task);
    if (isBlocking(edge.type)) await refuseCycle(unit.trx, edge.depends_on_id, 'closing', edge.task_id, false);
    if (edge.type === 'parent-child') await refuseParentCycle(unit.trx, edge.task_id, edge.depends_on_id);
    await insertEdge(unit, edge, isHolding);
    if (edge.type === 'parent-child') await enterParent(unit, task, target);
  } else {
    await sql`update task_dependencies set metadata = ${edge.metadata}::jsonb, thread_id = ${edge.thread_id}, holds = ${isHolding}
      where task_id = ${edge.task_id} and depends_on_id = ${edge.depends_on_id}`.execute(unit.trx);
  }
  await countBlockers(unit, task, Number(isHolding) - Number(existing?.holds ?? false));
  record(
    unit,
    existing === undefined ? 'dependency_added' : 'dependency_updated',
    { task_id: edge.task_id, rig_id: task.rig_id },
    {
      depends_on_id: edge.depends_on_id,
      type: edge.type,
      ...(edge.metadata === '{}' ? {} : { metadata: JSON.parse(edge.metadata) as JsonObject }),
    },
  );
}

/** An edge that is not there: nothing happens. */
export async function removeEdge(unit: Unit, edge: Pick<Edge, 'task_id' | 'depends_on_id'>): Promise<void> {
  await takeLock(unit.trx, 'edges');
  const known = await sql<{ type: DependencyType }>`
    select type from task_dependencies where task_id = ${edge.task_id} and depends_on_id = ${edge.depends_on_id}`.execute(
    unit.trx,
  );
  const [task, target] = await lockBoth(unit, edge, known.rows[0]?.type ?? null);
  const removed = await sql<{ type: string; holds: boolean }>`
    delete from task_dependencies where task_id = ${edge.task_id} and depends_on_id = ${edge.depends_on_id}
    returning type, holds`.execute(unit.trx);
  const gone = removed.rows[0];
  if (gone === undefined) return;
  await countBlockers(unit, task, -Number(gone.holds));
  if (gone.type === 'parent-child') await leaveParent(unit, task, target);
  record(
    unit,
    'dependency_removed',
    { task_id: edge.task_id, rig_id: task.rig_id },
    { depends_on_id: edge.depends_on_id, type: gone.type },
  );
}

/** The row alone. For a task that nothing waits for yet, and that waits for nothing: no check is needed. */
export async function insertEdge(unit: Unit, edge: Edge, isHolding: boolean): Promise<void> {
  await sql`insert into task_dependencies (task_id, depends_on_id, type, metadata, thread_id, holds, created_by)
    values (${edge.task_id}, ${edge.depends_on_id}, ${edge.type}, ${edge.metadata}::jsonb, ${edge.thread_id}, ${isHolding},
      ${unit.ask.actor})`.execute(unit.trx);
}

/** The task must be locked. */
async function countBlockers(unit: Unit, task: TaskRow, change: number): Promise<void> {
  if (change === 0) return;
  const open_blockers = task.open_blockers + change;
  await sql`update tasks set open_blockers = ${open_blockers} where id = ${task.id}`.execute(unit.trx);
  if (task.open_blockers > 0 !== open_blockers > 0) await transmit(unit, [task.id]);
  if (open_blockers === 0) await wakeConvoysOf(unit, [task.id]);
}

async function enterParent(unit: Unit, task: TaskRow, parent: TaskRow): Promise<void> {
  if (task.parent_id !== null && task.parent_id !== parent.id) {
    throw new TownError('CONFLICT', `${task.id} is a child of ${task.parent_id} already`, {
      hint: `see: town task show ${task.id}`,
    });
  }
  await sql`update tasks set parent_id = ${parent.id}, parent_blocked = ${transmits(parent)} where id = ${task.id}`.execute(
    unit.trx,
  );
  if (transmits(parent)) await transmit(unit, [task.id]);
  await countChild(unit, parent, task.status === 'closed' ? { open: 0, closed: 1 } : { open: 1, closed: 0 });
}

async function leaveParent(unit: Unit, task: TaskRow, parent: TaskRow): Promise<void> {
  await sql`update tasks set parent_id = null, parent_blocked = false where id = ${task.id}`.execute(unit.trx);
  if (task.parent_blocked) await transmit(unit, [task.id]);
  await countChild(unit, parent, task.status === 'closed' ? { open: 0, closed: -1 } : { open: -1, closed: 0 });
  await wakeConvoysOf(unit, [task.id]);
}

/** Both ends, and what is held back or let go with the task; for a part also what waits for its whole. */
async function lockBoth(
  unit: Unit,
  { task_id, depends_on_id }: Pick<Edge, 'task_id' | 'depends_on_id'>,
  type: DependencyType | null,
): Promise<[TaskRow, TaskRow]> {
  const whole = type === 'parent-child' ? [depends_on_id] : [];
  const held = type === 'parent-child' || (type !== null && isBlocking(type)) ? [task_id] : [];
  const rows = await lockReach(unit.trx, {
    tasks: sql`${[task_id, depends_on_id]}::text[]`,
    waitedFor: sql`${whole}::text[]`,
    above: sql`${held}::text[]`,
  });
  const find = (id: TaskId) => rows.find((row) => row.id === id) ?? noTask(id);
  return [find(task_id), find(depends_on_id)];
}

/*
 * Who waits for whom. That a task be closed needs: the far ends of its blocking edges closed; its children closed; and, before it can
 * even start, the far ends of its ancestors' blocking edges closed. So there are two kinds of nodes, `closing` of a task (all three)
 * and `inherited` of an ancestor (its blocking edges, and its own ancestors', but not its children).
 */
type Node = 'closing' | 'inherited';

function waitsOf(from: TaskId, node: Node, via: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`with recursive waits (id, inherited, via) as (
      select ${from}::text, ${node === 'inherited'}::boolean, null::text
      union
      select n.id, n.inherited, ${via} from waits w cross join lateral (
        select d.depends_on_id as id, false as inherited from task_dependencies d
        where d.task_id = w.id and d.type = any(${[...BLOCKING_TYPES]}::text[])
        union all
        select c.id, false from tasks c where c.parent_id = w.id and not w.inherited
        union all
        select t.parent_id, true from tasks t where t.id = w.id and t.parent_id is not null
      ) n
    )`;
}

/** A part must not wait for what waits for the whole, nor the whole become a part of its own part. */
async function refuseParentCycle(trx: Transaction<Database>, child: TaskId, parent: TaskId): Promise<void> {
  await refuseCycle(trx, child, 'closing', parent, true);
  await refuseCycle(trx, parent, 'inherited', child, false);
}

/**
 * Refused when `from` waits, through any number of others, for `to`: the new edge makes `to` wait for `from`.
 * `closingOnly`: being a part of `to` is no waiting for it.
 */
async function refuseCycle(
  trx: Transaction<Database>,
  from: TaskId,
  node: Node,
  to: TaskId,
  closingOnly: boolean,
): Promise<void> {
  const isThere = sql`id = ${to} and (not ${closingOnly}::boolean or not inherited)`;
  const found = await sql`${waitsOf(from, node, sql`null::text`)} select 1 from waits where ${isThere} limit 1`.execute(
    trx,
  );
  if (found.rows.length === 0) return;
  // Only now with the way: remembering it makes the walk longer.
  const { rows } = await sql<{ id: string; via: string | null }>`
    ${waitsOf(from, node, sql`w.id`)} select id, via from waits`.execute(trx);
  const via = new Map<string, string | null>();
  for (const row of rows) if (!via.has(row.id)) via.set(row.id, row.via);
  const path: string[] = [];
  for (let at: string | null = to; at !== null && !path.includes(at); at = via.get(at) ?? null) path.unshift(at);
  cycleRefused([to, ...path]);
}

function cycleRefused(path: readonly TaskId[]): never {
  throw new TownError('DEPENDENCY_CYCLE', `that would be a cycle: ${path.join(' waits for ')}`, {
    hint: 'leave out this edge, or turn another one of the path around; a part waits for what its whole waits for',
    details: { path },
  });
}

/** @throws WRONG_STATE when the whole is closed and the part is not. */
export function refuseClosedWhole(whole: TaskRow, part: Pick<TaskRow, 'status'>): void {
  if (takesPart(whole, part)) return;
  throw new TownError('WRONG_STATE', `${whole.id} is closed: it takes no further children`, {
    hint: `open it first: town task reopen ${whole.id}`,
  });
}
