import { sql } from 'kysely';
import type { TaskId } from '../../schema/ids';
import { BLOCKING_TYPES, holds, isDependencyType, isWaitGate } from '../../schema/task/dependency';
import { holdingsOf, targetOf, transmit } from './blockage';
import type { Unit } from './command';
import type { ImportPlan } from './import-plan';
import type { TaskEdge } from './import-world';
import type { TaskRow } from './task-rows';

/*
 * What holds work back, after thousands of tasks and edges were written at once. The same columns as for a single change, by the same
 * rules (see `blockage.ts`), but each computed anew for all that may have changed instead of counted up and down.
 */

const BLOCKING = [...BLOCKING_TYPES];
const KINDS_AT_A_TIME = 20_000;

/** Wholes and their parts, for the rows of tasks that are written. Answers the wholes; to be called before edges are written. */
export async function settleParts(unit: Unit, plan: ImportPlan): Promise<TaskId[]> {
  await attachParts(unit, plan);
  const whole = [...plan.created, ...plan.replaced];
  const before = whole.flatMap((task) => task.parent_before ?? []);
  const parents = await parentsOf(unit, changedBy(plan), before);
  await countParts(unit, parents);
  const ids = whole.map((task) => task.id);
  if (ids.length > 0) await numberParts(unit, ids);
  return parents;
}

/** Which of the edges, given in the order of `edges`, hold their tasks back as things are now. */
export async function holdingEdges(unit: Unit, edges: readonly TaskEdge[]): Promise<boolean[]> {
  const ids = [...new Set(edges.map((edge) => edge.depends_on_id))];
  const { rows } = await sql<TaskRow>`
    select id, status, outcome, open_children, closed_children from tasks where id = any(${ids}::text[])`.execute(
    unit.trx,
  );
  const targets = new Map(rows.map((row) => [row.id, targetOf(row)]));
  return edges.map(({ depends_on_id, type, metadata }) => {
    const target = targets.get(depends_on_id);
    const { gate } = metadata;
    if (target === undefined || !isDependencyType(type)) return false;
    return holds(type, isWaitGate(gate) ? gate : 'all-children', target);
  });
}

/**
 * Edges that were here before, counters, and what goes down the tree. The changed tasks, their wholes before and after, and what waits
 * for any of these must be locked.
 */
export async function settleWaiting(unit: Unit, plan: ImportPlan, parents: readonly TaskId[]): Promise<void> {
  const changed = changedBy(plan);
  if (changed.length === 0) return;
  const replaced = plan.replaced.map((task) => task.id);
  const waiting = await turnEdges(unit, [...new Set([...replaced, ...parents])]);
  const counted = [...new Set([...changed, ...waiting])];
  await sql`update tasks t set open_blockers = c.count
    from (select i.id, count(d.task_id)::int as count from unnest(${counted}::text[]) i (id)
      left join task_dependencies d on d.task_id = i.id and d.holds group by i.id) c
    where t.id = c.id and t.open_blockers <> c.count`.execute(unit.trx);
  const loose = await sql<{ id: string }>`update tasks set parent_blocked = false
    where id = any(${changed}::text[]) and parent_id is null and parent_blocked returning id`.execute(unit.trx);
  await transmit(unit, [...new Set([...counted, ...parents, ...loose.rows.map((row) => row.id)])]);
  await wakeConvoys(unit, counted);
}

function changedBy(plan: ImportPlan): TaskId[] {
  const added = plan.merged.filter((task) => task.edges.length > 0);
  const tasks = [...plan.created, ...plan.replaced, ...added].map((task) => task.id);
  return [...new Set([...tasks, ...plan.resolved.map((edge) => edge.task_id)])];
}

/** Tasks that are not written whole, but became parts of another by an edge of this import. */
async function attachParts(unit: Unit, plan: ImportPlan): Promise<void> {
  const added = [...plan.merged, ...plan.replaced.filter((task) => !task.isWhole)].flatMap((task) => task.edges);
  const edges = [...added, ...plan.resolved].filter((edge) => edge.type === 'parent-child');
  await sql`update tasks t set parent_id = p.parent_id
    from unnest(${edges.map((edge) => edge.task_id)}::text[], ${edges.map((edge) => edge.depends_on_id)}::text[]) p (id, parent_id)
    where t.id = p.id`.execute(unit.trx);
}

async function parentsOf(unit: Unit, changed: readonly TaskId[], before: readonly TaskId[]): Promise<TaskId[]> {
  const { rows } = await sql<{ id: string }>`
    select distinct parent_id as id from tasks where id = any(${[...changed]}::text[]) and parent_id is not null
    union select unnest(${[...before]}::text[])`.execute(unit.trx);
  return rows.map((row) => row.id);
}

async function countParts(unit: Unit, parents: readonly TaskId[]): Promise<void> {
  await sql`update tasks p set open_children = c.open, closed_children = c.closed
    from (select i.id, count(t.id) filter (where t.status <> 'closed')::int as open,
        count(t.id) filter (where t.status = 'closed')::int as closed
      from unnest(${[...parents]}::text[]) i (id) left join tasks t on t.parent_id = i.id group by i.id) c
    where p.id = c.id and (p.open_children, p.closed_children) is distinct from (c.open, c.closed)`.execute(unit.trx);
}

/** The next part that is made under a task gets a number that is free, whoever gave out those that are there. */
async function numberParts(unit: Unit, ids: readonly TaskId[]): Promise<void> {
  await sql`with numbered as (
      select regexp_replace(id, '\\.[0-9]+$', '') as parent, max(substring(id from '[0-9]+$')::int) as nth
      from tasks where id ~ '\\.[0-9]{1,6}$' group by 1
    ), mine as (
      select i.id, regexp_replace(i.id, '\\.[0-9]+$', '') as parent from unnest(${[...ids]}::text[]) i (id)
    )
    update tasks t set child_count = n.nth from numbered n
    where t.id = n.parent and t.child_count < n.nth
      and t.id in (select id from mine union select parent from mine)`.execute(unit.trx);
}

/** Brings `holds` of the edges to these tasks up to date. Answers the tasks whose edges turned. */
async function turnEdges(unit: Unit, targeted: readonly TaskId[]): Promise<TaskId[]> {
  // Two steps whatever the planner thinks: its statistics know nothing of thousands of new rows.
  const targets = await sql<TaskRow>`
    with pointed as materialized (
      select distinct depends_on_id as id from task_dependencies
      where depends_on_id = any(${[...targeted]}::text[]) and type = any(${BLOCKING}::text[])
    )
    select t.id, t.status, t.outcome, t.open_children, t.closed_children from pointed join tasks t on t.id = pointed.id`.execute(
    unit.trx,
  );
  const kinds = targets.rows.flatMap((row) => holdingsOf(row.id, targetOf(row)));
  const turned = new Set<TaskId>();
  for (let from = 0; from < kinds.length; from += KINDS_AT_A_TIME) {
    const { rows } = await sql<{ task_id: string }>`
      update task_dependencies d set holds = k.holds
      from jsonb_to_recordset(${JSON.stringify(kinds.slice(from, from + KINDS_AT_A_TIME))}::jsonb)
        as k (depends_on_id text, type text, gate text, holds boolean)
      where d.depends_on_id = k.depends_on_id and d.type = k.type and d.holds <> k.holds
        and (k.gate is null or k.gate = coalesce(d.metadata->>'gate', 'all-children'))
      returning d.task_id`.execute(unit.trx);
    for (const { task_id } of rows) turned.add(task_id);
  }
  return [...turned];
}

async function wakeConvoys(unit: Unit, tasks: readonly TaskId[]): Promise<void> {
  const { rows } = await sql<{ id: string }>`
    select distinct c.id from convoy_members m join convoys c on c.id = m.convoy_id
    where c.status <> 'completed' and m.task_id = any(${[...tasks]}::text[])`.execute(unit.trx);
  for (const { id } of rows) unit.wakeConvoys.add(id);
}
