import { sql, type Transaction } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import type { TaskId } from '../../schema/ids';
import type { DependencyType } from '../../schema/ledger';
import { record, takeLock, type Unit } from './command';
import { convoysOf } from './convoy-members';
import { noTask, type TaskRow } from './task-rows';

export interface Edge {
  readonly task_id: TaskId;
  readonly depends_on_id: TaskId;
  readonly type: DependencyType;
}

/**
 * Writes one edge; the same edge again changes nothing. Edge writes come one after the other in the whole town, so that two of them
 * cannot close a cycle together.
 */
export async function addEdge(unit: Unit, edge: Edge): Promise<void> {
  if (edge.task_id === edge.depends_on_id) cycleRefused([edge.task_id, edge.task_id]);
  const [task, blocker] = await lockBoth(unit, edge);
  const known = await sql<{ type: string }>`
    select type from task_dependencies where task_id = ${edge.task_id} and depends_on_id = ${edge.depends_on_id}`.execute(
    unit.trx,
  );
  const existing = known.rows[0];
  if (existing?.type === edge.type) return;
  if (existing !== undefined) {
    throw new TownError('CONFLICT', `${edge.task_id} has an edge of type ${existing.type} to ${edge.depends_on_id}`, {
      hint: `keep it, or first: town dep remove ${edge.task_id} ${edge.depends_on_id}`,
    });
  }
  // Who waits for whom: a blocked task for its blocker, a parent for its children.
  if (edge.type === 'blocks') await refuseCycle(unit.trx, edge.depends_on_id, edge.task_id);
  if (edge.type === 'parent-child') await refuseCycle(unit.trx, edge.task_id, edge.depends_on_id);

  await insertEdge(unit, edge);
  if (edge.type === 'blocks' && blocker.status !== 'closed') {
    await sql`update tasks set open_blockers = open_blockers + 1 where id = ${edge.task_id}`.execute(unit.trx);
  }
  if (edge.type === 'parent-child') await setParent(unit.trx, task, edge.depends_on_id);
  record(
    unit,
    'dependency_added',
    { task_id: edge.task_id, rig_id: task.rig_id },
    { depends_on_id: edge.depends_on_id, type: edge.type },
  );
}

/** An edge that is not there: nothing happens. */
export async function removeEdge(unit: Unit, edge: Omit<Edge, 'type'>): Promise<void> {
  const [task, blocker] = await lockBoth(unit, edge);
  const removed = await sql<{ type: DependencyType }>`
    delete from task_dependencies where task_id = ${edge.task_id} and depends_on_id = ${edge.depends_on_id}
    returning type`.execute(unit.trx);
  const type = removed.rows[0]?.type;
  if (type === undefined) return;
  if (type === 'blocks' && blocker.status !== 'closed') {
    await sql`update tasks set open_blockers = open_blockers - 1 where id = ${edge.task_id}`.execute(unit.trx);
    for (const convoy of await convoysOf(unit.trx, edge.task_id)) unit.wakeConvoys.add(convoy);
  }
  if (type === 'parent-child') {
    await sql`update tasks set parent_id = null where id = ${edge.task_id}`.execute(unit.trx);
  }
  record(
    unit,
    'dependency_removed',
    { task_id: edge.task_id, rig_id: task.rig_id },
    { depends_on_id: edge.depends_on_id, type },
  );
}

/** For a task that nothing waits for yet, and that waits for nothing: no check is needed. */
export async function insertEdge(unit: Unit, edge: Edge): Promise<void> {
  await sql`insert into task_dependencies (task_id, depends_on_id, type, created_by)
    values (${edge.task_id}, ${edge.depends_on_id}, ${edge.type}, ${unit.ask.actor})`.execute(unit.trx);
}

async function lockBoth(unit: Unit, edge: Omit<Edge, 'type'>): Promise<[TaskRow, TaskRow]> {
  await takeLock(unit.trx, 'edges');
  const { rows } = await sql<TaskRow>`
    select * from tasks where id in (${edge.task_id}, ${edge.depends_on_id}) order by id for no key update`.execute(
    unit.trx,
  );
  const find = (id: TaskId) => rows.find((row) => row.id === id) ?? noTask(id);
  return [find(edge.task_id), find(edge.depends_on_id)];
}

async function setParent(trx: Transaction<Database>, task: TaskRow, parent: TaskId): Promise<void> {
  if (task.parent_id !== null && task.parent_id !== parent) {
    throw new TownError('CONFLICT', `${task.id} is a child of ${task.parent_id} already`, {
      hint: `see: town task show ${task.id}`,
    });
  }
  await sql`update tasks set parent_id = ${parent} where id = ${task.id}`.execute(trx);
}

/** Refused when `from` waits, through any number of others, for `to`: the new edge makes `to` wait for `from`. */
async function refuseCycle(trx: Transaction<Database>, from: TaskId, to: TaskId): Promise<void> {
  const { rows } = await sql<{ id: string; via: string | null }>`
    with recursive waits (id, via) as (
      select ${from}::text, null::text
      union
      select case when d.type = 'blocks' then d.depends_on_id else d.task_id end, w.id
      from waits w join task_dependencies d
        on (d.type = 'blocks' and d.task_id = w.id) or (d.type = 'parent-child' and d.depends_on_id = w.id)
    )
    select id, via from waits`.execute(trx);
  if (!rows.some((row) => row.id === to)) return;
  const via = new Map<string, string | null>();
  for (const row of rows) if (!via.has(row.id)) via.set(row.id, row.via);
  const path: string[] = [];
  for (let at: string | null = to; at !== null && !path.includes(at); at = via.get(at) ?? null) path.unshift(at);
  cycleRefused([to, ...path]);
}

function cycleRefused(path: readonly TaskId[]): never {
  throw new TownError('DEPENDENCY_CYCLE', `that would be a cycle: ${path.join(' waits for ')}`, {
    hint: 'leave out this edge, or turn another one of the path around',
    details: { path },
  });
}
