import { sql, type Transaction } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import type { TaskId } from '../../schema/ids';
import { BLOCKING_TYPES, holdings, holdsForEver, type DependencyTarget } from '../../schema/task/dependency';
import { statusAt, type TaskStatus } from '../../schema/task/status';
import type { BlockedTaskView } from '../../schema/views';
import type { Unit } from './command';
import { openConvoysOf, wakeConvoysOf } from './convoy-members';
import type { TaskRow } from './task-rows';
import { withTables } from './wisps-as-tasks';

/*
 * What holds a task back is kept, not computed when it is asked for, so that `ready` stays one scan of a partial index: 0.6 ms in the
 * database, beside 1.3 ms of planning, among 100,000 tasks of which half are held back from above (two busy cores). A walk up from
 * each candidate would read all those that are held back first.
 *
 *   task_dependencies.holds   of each edge, after `schema/task/dependency.ts`; written under the lock of what it points at
 *   tasks.open_blockers       how many edges of the task hold
 *   tasks.parent_blocked      an ancestor that is not closed has open blockers
 *
 * All change in the transaction of what changes them. Every writer locks the task at the far end of an edge, and the parent of a task
 * that is opened, closed, made or moved, before it reads them in a further statement: two who close the two last blockers of a task, or
 * the two last children of one that is waited for, come one after the other. `parent_blocked` goes down the tree a level at a time,
 * each level in a statement of its own after the level above is locked, so that it meets a child that is made meanwhile: making one
 * locks the parent and reads what the child inherits.
 *
 * Locks are taken in one order: the lock on edges, agents, tasks by id and with all that the change reaches (`lockReach`), convoys, and
 * at the end the targets of messages. What slips through (an edge written between the look and the locks) is run again by `command`.
 */

/** One kind of edge to one task, and whether it holds now; what `settle` compares with the rows. */
export interface Holding {
  readonly depends_on_id: TaskId;
  readonly type: string;
  /** Null: whatever the edge says. */
  readonly gate: string | null;
  readonly holds: boolean;
}

export function targetOf(
  row: Pick<TaskRow, 'status' | 'outcome' | 'open_children' | 'closed_children'>,
): DependencyTarget {
  return {
    closed: row.status === 'closed',
    outcome: row.outcome,
    openChildren: row.open_children,
    closedChildren: row.closed_children,
  };
}

export function holdingsOf(id: TaskId, target: DependencyTarget): Holding[] {
  return holdings(target).map((kind) => ({ depends_on_id: id, ...kind }));
}

/** The task itself waits, and so holds back its parts. */
export function transmits(row: Pick<TaskRow, 'status' | 'open_blockers' | 'parent_blocked'>): boolean {
  return row.parent_blocked || (row.status !== 'closed' && row.open_blockers > 0);
}

/** The two `with` queries that bring edges and counters up to date; `counted` has the tasks whose counter changed. */
export function countingOf(kinds: readonly Holding[]) {
  const column = <K extends keyof Holding>(key: K) => kinds.map((kind) => kind[key]);
  // Arrays, since the planner knows their length: for a set read from JSON it would rather read the whole tables.
  return sql`turned as (
      update task_dependencies d set holds = k.holds
      from unnest(${column('depends_on_id')}::text[], ${column('type')}::text[], ${column('gate')}::text[], ${column('holds')}::boolean[])
        as k (depends_on_id, type, gate, holds)
      where d.depends_on_id = k.depends_on_id and d.type = k.type and d.holds <> k.holds
        and (k.gate is null or k.gate = coalesce(d.metadata->>'gate', 'all-children'))
      returning d.task_id, d.holds
    ), change as (
      select task_id, sum(case when holds then 1 else -1 end)::int as by from turned group by task_id
    ), counted as (
      update tasks w set open_blockers = w.open_blockers + c.by from change c where w.id = c.task_id
      returning w.id, w.open_blockers, w.parent_blocked, w.open_children + w.closed_children > 0 as is_parent, c.by
    )`;
}

/** Of `counted`: parents that began or ceased to be held back, for `transmit`. */
export const TURNED_PARENTS = sql`array(select c.id from counted c
  where c.is_parent and (c.open_blockers = 0 or c.open_blockers = c.by))`;

/** Convoys to be woken for tasks of `counted` that nothing holds back any more. */
export const WOKEN = sql`select id from counted where open_blockers = 0 and not parent_blocked`;

/** Brings the edges to one task up to date after it, or its children, changed. The task must be locked. */
export async function settle(unit: Unit, id: TaskId, target: DependencyTarget): Promise<void> {
  const { rows } = await sql<{ parents: string[]; wake: string[] }>`
    with ${countingOf(holdingsOf(id, target))}
    select ${TURNED_PARENTS} as parents, array(${openConvoysOf(WOKEN)}) as wake`.execute(unit.trx);
  for (const convoy of rows[0]?.wake ?? []) unit.wakeConvoys.add(convoy);
  await transmit(unit, rows[0]?.parents ?? []);
}

/** Tells the parts of these tasks, and theirs, whether they are held back from above. The tasks must be locked. */
export async function transmit(unit: Unit, parents: readonly TaskId[]): Promise<void> {
  let level = [...parents];
  while (level.length > 0) {
    const { rows } = await sql<{ id: string; is_parent: boolean; is_free: boolean }>`
      update tasks c set parent_blocked = not c.parent_blocked
      from tasks p
      where p.id = any(${level}::text[]) and c.parent_id = p.id
        and c.parent_blocked <> (p.parent_blocked or (p.status <> 'closed' and p.open_blockers > 0))
      returning c.id, c.open_children + c.closed_children > 0 as is_parent, not c.parent_blocked and c.open_blockers = 0 as is_free`.execute(
      unit.trx,
    );
    const freed = rows.filter((row) => row.is_free).map((row) => row.id);
    if (freed.length > 0) await wakeConvoysOf(unit, freed);
    level = rows.filter((row) => row.is_parent).map((row) => row.id);
  }
}

/** After a child was made, taken away, opened or closed: counts it and settles what waits for children of the parent, which must be locked. */
export async function countChild(
  unit: Unit,
  parent: TaskRow,
  change: { readonly open: number; readonly closed: number },
): Promise<void> {
  await sql`update tasks set open_children = open_children + ${change.open}::int,
    closed_children = closed_children + ${change.closed}::int where id = ${parent.id}`.execute(unit.trx);
  const target = targetOf(parent);
  await settle(unit, parent.id, {
    ...target,
    openChildren: target.openChildren + change.open,
    closedChildren: target.closedChildren + change.closed,
  });
}

/** @throws OPEN_BLOCKERS with what holds the task back, itself or from above. */
export async function refuseBlocked(trx: Transaction<Database>, task: TaskRow, hint: string): Promise<void> {
  if (task.open_blockers === 0 && !task.parent_blocked) return;
  const held = (await blockersOf(trx, [task.id])).get(task.id);
  const blockers = held?.blocked_by.map((blocker) => blocker.id) ?? [];
  const above = held?.blocked_ancestor ?? null;
  const reasons = [
    ...(blockers.length === 0 ? [] : [blockers.slice(0, 20).join(', ')]),
    ...(above === null ? [] : [`what holds back ${above}, of which it is a part`]),
  ];
  throw new TownError('OPEN_BLOCKERS', `${task.id} waits for ${reasons.join(' and ')}`, {
    hint,
    details: { blockers, blocked_ancestor: above },
  });
}

/** Id of the nearest ancestor of the row `t` that is held back itself; null when there is none. */
export const HELD_ANCESTOR = sql`(
  with recursive above (id, parent_id, waits) as (
    select p.id, p.parent_id, p.status <> 'closed' and p.open_blockers > 0 from tasks p where p.id = t.parent_id
    union all
    select p.id, p.parent_id, p.status <> 'closed' and p.open_blockers > 0
    from above a join tasks p on p.id = a.parent_id where not a.waits
  ) select id from above where waits)`;

/** What holds back each of these tasks; with wisps, also each of these wisps. */
export async function blockersOf(
  db: Pick<Transaction<Database>, 'getExecutor'>,
  ids: readonly TaskId[],
  wisps = false,
): Promise<Map<TaskId, Pick<BlockedTaskView, 'blocked_by' | 'blocked_ancestor'>>> {
  const { rows } = await sql<{
    id: string;
    blocked_ancestor: string | null;
    blocked_by: (Omit<BlockedTaskView['blocked_by'][number], 'never'> & {
      status: TaskStatus;
      outcome: string | null;
      defer_until: string | null;
    })[];
  }>`
    ${withTables(wisps)}select t.id, ${HELD_ANCESTOR} as blocked_ancestor, coalesce((
      select jsonb_agg(jsonb_build_object('id', b.id, 'type', d.type, 'status', b.status, 'title', b.title, 'outcome', b.outcome,
          'defer_until', b.defer_until)
        order by b.id)
      from (
        select depends_on_id, type from task_dependencies where task_id = t.id and holds
        union all select needed, 'blocks' from wisps w cross join unnest(w.depends_on) needed where ${wisps}::boolean and w.id = t.id
      ) d join tasks b on b.id = d.depends_on_id and (b.status <> 'closed' or d.type <> 'blocks')
    ), '[]') as blocked_by
    from tasks t where t.id = any(${[...ids]}::text[])`.execute(db);
  return new Map(
    rows.map((row) => [
      row.id,
      {
        blocked_ancestor: row.blocked_ancestor,
        blocked_by: row.blocked_by.map(({ outcome, defer_until, ...blocker }) => ({
          ...blocker,
          status: statusAt(
            { status: blocker.status, defer_until: defer_until === null ? null : new Date(defer_until) },
            new Date(),
          ),
          never: BLOCKING_TYPES.some(
            (type) => type === blocker.type && holdsForEver(type, { closed: blocker.status === 'closed', outcome }),
          ),
        })),
      },
    ]),
  );
}
