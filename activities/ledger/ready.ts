import { sql, type RawBuilder } from 'kysely';
import type { Ledger, ReadyFilter } from '../../schema/ledger';
import { RECORD_TYPES } from '../../schema/task/status';
import { blockersOf } from './blockage';
import type { Store } from './command';
import * as input from './input';
import { DORMANT, sharedConditions } from './task-filter';
import { selectTasks, taskView } from './task-rows';
import { pagingOf } from './task-sort';

/** How long `hybrid` counts a task as new. */
const NEW_HOURS = 48;

export function readyReads(store: Store): Pick<Ledger, 'readyTasks' | 'blockedTasks'> {
  return {
    async readyTasks(filter) {
      const size = input.limit(filter.limit, 50);
      return (await selectTasks(store.db, readyOf(filter, size))).map(taskView);
    },
    async blockedTasks(filter) {
      const size = input.limit(filter.limit, 50);
      const { order, after, cursorOf } = pagingOf('priority', false, filter.cursor);
      const conditions = sharedConditions(filter);
      if (after !== null) conditions.push(after);
      const rows = await selectTasks(
        store.db,
        sql`where status <> 'closed' and (open_blockers > 0 or parent_blocked) and ${sql.join(conditions, sql` and `)}
          order by ${order} limit ${size + 1}`,
      );
      const held = await blockersOf(
        store.db,
        rows.map((row) => row.id),
      );
      return input.pageOf(rows, size, cursorOf, (row) => ({
        ...taskView(row),
        ...(held.get(row.id) ?? { blocked_by: [], blocked_ancestor: null }),
      }));
    },
  };
}

/**
 * The part after `from tasks` of a query for ready work. It is put together from branches which each are one scan of one partial index
 * (`tasks_ready`, `tasks_ready_rig`, `tasks_ready_age`, `tasks_deferred`) whose conditions are repeated here, because an `or` over all of
 * them would use none: what never was deferred; what was, until a time that has come; each, for `hybrid`, by new and old.
 */
export function readyOf(filter: ReadyFilter, size: number): RawBuilder<unknown> {
  const agent = filter.assigned_agent_id ?? null;
  const conditions = [
    sql`open_blockers = 0 and not parent_blocked and not pinned`,
    agent === null ? sql`assigned_agent_id is null` : sql`assigned_agent_id = ${agent}`,
    ...sharedConditions(filter),
  ];
  if (!isRecordType(filter.type))
    conditions.push(sql`type not in (${sql.join(RECORD_TYPES.map((type) => sql.lit(type)))})`);
  if (filter.include_deferred !== true) conditions.push(NOT_BELOW_DORMANT);
  const dated = sql`defer_until is not null and status in ('open', 'deferred')`;
  const deferrals = [
    sql`status = 'open' and defer_until is null`,
    ...(filter.include_deferred === true
      ? [dated, sql`defer_until is null and status = 'deferred'`]
      : [sql`${dated} and defer_until <= statement_timestamp()`]),
  ];
  const branches = slicesOf(filter.sort ?? 'priority').flatMap(({ rank, where, order }) =>
    deferrals.map(
      (deferral) => sql`(select id, ${sql.lit(rank)} as rank, ${order.rankKey} as key, created_at as made from tasks
        where ${sql.join([deferral, where, ...conditions], sql` and `)} order by ${order.by} limit ${size})`,
    ),
  );
  return sql`join (select id as ready_id, rank, key, made from (${sql.join(branches, sql` union all `)}) slices
      order by rank, key, made, id limit ${size}) ready on ready.ready_id = tasks.id
    order by rank, key, made, id`;
}

interface Slice {
  readonly rank: number;
  readonly where: RawBuilder<unknown>;
  readonly order: { readonly rankKey: RawBuilder<unknown>; readonly by: RawBuilder<unknown> };
}

const BY_PRIORITY = { rankKey: sql`priority`, by: sql`priority, created_at, id` };
const BY_AGE = { rankKey: sql`0`, by: sql`created_at, id` };

function slicesOf(sort: NonNullable<ReadyFilter['sort']>): readonly Slice[] {
  const isNew = sql`created_at > now() - ${sql.lit(NEW_HOURS)} * interval '1 hour'`;
  switch (sort) {
    case 'priority':
      return [{ rank: 0, where: sql`true`, order: BY_PRIORITY }];
    case 'oldest':
      return [{ rank: 0, where: sql`true`, order: BY_AGE }];
    case 'hybrid':
      return [
        { rank: 0, where: isNew, order: BY_PRIORITY },
        { rank: 1, where: sql`not ${isNew}`, order: BY_AGE },
      ];
  }
}

/** A part of what is put off is put off with it, one level deep. A value rather than `exists`, which the planner turns into a read of all. */
const NOT_BELOW_DORMANT = sql`(parent_id is null or not coalesce((
  select above.status in ('open', 'deferred') and coalesce(above.defer_until > statement_timestamp(), above.status = 'deferred')
  from tasks above where above.id = tasks.parent_id), false))`;

function isRecordType(type: string | undefined): boolean {
  return (RECORD_TYPES as readonly (string | undefined)[]).includes(type);
}

/** Whether the locked rows are still ready: what `readyOf` found may have changed before it was locked. */
export const STILL_READY = sql`open_blockers = 0 and not parent_blocked and not pinned and assigned_agent_id is null
  and status in ('open', 'deferred') and not ${DORMANT}`;
