import { sql, type Kysely, type RawBuilder } from 'kysely';
import type { Database } from '../../schema/db/tables';
import type { Ledger, ReadyFilter, ReadySort } from '../../schema/ledger';
import { RECORD_TYPES } from '../../schema/task/status';
import { blockersOf } from './blockage';
import type { Store } from './command';
import * as input from './input';
import { allOf, mapPage } from './pages';
import { BLOCKED, DORMANT } from './task-expressions';
import { labelLike, sharedConditions } from './task-filter';
import { taskView, viewableTasks, type TaskRow } from './task-rows';
import { taskPage } from './task-sort';

/** A label that more tasks have is found sooner in the order of ready. */
const FEW = 1_000;
/** How long `hybrid` counts a task as new. */
const NEW_MS = 48 * 3_600_000;

export function readyReads(store: Store): Pick<Ledger, 'readyPage' | 'blockedTasks'> {
  return {
    async readyPage(filter) {
      const size = input.limit(filter.limit, 50);
      const from = startOf(filter);
      const few = await rareLabels(store.db, filter);
      const rows = await viewableTasks(store.db, readyOf(filter, size + 1, from, few), filter.wisps === true);
      return input.pageOf(rows, size, (row) => cursorOf(filter.sort ?? 'priority', from.newSince, row), taskView);
    },
    async blockedTasks(filter) {
      const conditions = [BLOCKED, ...sharedConditions(filter)];
      const page = await taskPage(store.db, { ...filter, sort: 'priority' }, conditions);
      const held = await blockersOf(
        store.db,
        page.items.map((row) => row.id),
        filter.wisps,
      );
      return mapPage(page, (row) => ({
        ...taskView(row),
        ...(held.get(row.id) ?? { blocked_by: [], blocked_ancestor: null }),
      }));
    },
  };
}

/**
 * A query for the rows of ready work, in its order. It is put together from branches which each are one scan of one partial index
 * (`tasks_ready` and `tasks_put_off`, and those of the rig, of the agent or by age) whose conditions are repeated here, because an `or`
 * over all of them would use none: what never was deferred; what was, until a time that has come; each, for `hybrid`, by new and old.
 * `few`: labels that few tasks have, one of which the filter asks for; then those tasks are read and no index.
 */
export function readyOf(
  filter: ReadyFilter,
  size: number,
  start = startOf(filter),
  few: readonly string[] | null = null,
): RawBuilder<unknown> {
  const agent = filter.assigned_agent_id ?? null;
  const conditions = [
    IS_FREE,
    agent === null ? IS_NOBODYS : sql`assigned_agent_id = ${agent}`,
    ...sharedConditions(filter),
  ];
  if (!isRecordType(filter.type)) conditions.push(IS_WORK);
  if (filter.include_deferred !== true) conditions.push(NOT_BELOW_DORMANT);
  const putOff = sql`(defer_until is not null or status = 'deferred') and status in ('open', 'deferred')`;
  const deferrals = [
    sql`status = 'open' and defer_until is null`,
    filter.include_deferred === true ? putOff : sql`${putOff} and defer_until <= statement_timestamp()`,
  ];
  const { newSince, after } = start;
  const { order, slices } = orderingOf(filter.sort ?? 'priority', newSince);
  const branch = (where: readonly RawBuilder<unknown>[], by: RawBuilder<unknown>) => sql`
    (select * from tasks where ${allOf([...where, ...conditions])} order by ${by} limit ${size})`;
  const parts = slices.map((slice) => ({
    ...slice,
    where: allOf([slice.where, ...further(slice, after)]),
  }));
  const branches =
    few !== null
      ? [branch([withOneOf(few), anyOf(deferrals), anyOf(parts.map((part) => part.where))], order)]
      : parts.flatMap((part) => deferrals.map((deferral) => branch([deferral, part.where], part.by)));
  return sql`select * from (${sql.join(branches, sql` union all `)}) found order by ${order} limit ${size}`;
}

/** Where a page begins: `newSince` stays the same over all pages, or tasks would go from one slice to the other meanwhile. */
interface Start {
  readonly newSince: Date;
  readonly after: {
    readonly rank: number;
    readonly priority: string;
    readonly made: string;
    readonly id: string;
  } | null;
}

/** @throws INVALID_INPUT for a cursor of another order. */
function startOf({ cursor, sort = 'priority' }: ReadyFilter): Start {
  if (cursor === undefined) return { newSince: new Date(Date.now() - NEW_MS), after: null };
  const [of, since = '', rank = '', priority = '', made = '', id = ''] = input.decodeKeys(cursor, 6);
  const isTime = [since, made].every((time) => !Number.isNaN(Date.parse(time)));
  if (of !== sort || !isTime || !/^[01]$/.test(rank) || !/^[0-4]$/.test(priority)) throw input.foreignCursor();
  return { newSince: new Date(since), after: { rank: Number(rank), priority, made, id } };
}

function cursorOf(sort: ReadySort, newSince: Date, row: TaskRow): string {
  const rank = sort === 'hybrid' && row.created_at <= newSince ? '1' : '0';
  const made = row.created_at.toISOString();
  return input.encodeKeys([sort, newSince.toISOString(), rank, String(row.priority), made, row.id]);
}

/** What of a slice comes after the row at which the page before ended. */
function further({ rank, by }: Slice, after: Start['after']): RawBuilder<unknown>[] {
  if (after === null || rank > after.rank) return [];
  if (rank < after.rank) return [sql`false`];
  const { priority, made, id } = after;
  return by === BY_AGE
    ? [sql`(created_at, id) > (${made}::timestamptz, ${id}::text)`]
    : [sql`(priority, created_at, id) > (${priority}::int, ${made}::timestamptz, ${id}::text)`];
}

interface Slice {
  /** Its place among the slices. */
  readonly rank: number;
  readonly where: RawBuilder<unknown>;
  /** The order within the slice: that of an index. */
  readonly by: RawBuilder<unknown>;
}

const BY_PRIORITY = sql`priority, created_at, id`;
const BY_AGE = sql`created_at, id`;

/** The order of all, and the slices it is put together from. */
function orderingOf(
  sort: ReadySort,
  newSince: Date,
): { readonly order: RawBuilder<unknown>; readonly slices: readonly Slice[] } {
  const isNew = sql`created_at > ${newSince}::timestamptz`;
  switch (sort) {
    case 'priority':
      return { order: BY_PRIORITY, slices: [{ rank: 0, where: sql`true`, by: BY_PRIORITY }] };
    case 'oldest':
      return { order: BY_AGE, slices: [{ rank: 0, where: sql`true`, by: BY_AGE }] };
    case 'hybrid':
      return {
        order: sql`${isNew} desc, case when ${isNew} then priority end, created_at, id`,
        slices: [
          // By name, so that the old ones of each priority are passed over: all priorities there are.
          { rank: 0, where: sql`${isNew} and priority = any('{0,1,2,3,4}')`, by: BY_PRIORITY },
          { rank: 1, where: sql`not ${isNew}`, by: BY_AGE },
        ],
      };
  }
}

/** The conditions of ready. Those on columns alone are also those of its indexes, see `schema/db/migrations`: change both or neither. */
const IS_FREE = sql`open_blockers = 0 and not parent_blocked and not pinned`;
const IS_NOBODYS = sql`assigned_agent_id is null`;
const IS_WORK = sql`type not in (${sql.join(RECORD_TYPES.map((type) => sql.lit(type)))})`;
/** A part of what is put off is put off with it, one level deep. A value rather than `exists`, which the planner turns into a read of all. */
const NOT_BELOW_DORMANT = sql`(parent_id is null or not coalesce((
  select above.status in ('open', 'deferred') and coalesce(above.defer_until > statement_timestamp(), above.status = 'deferred')
  from tasks above where above.id = tasks.parent_id), false))`;

/** All of them, on a row of `tasks` that was found in another way than by `readyOf`. */
export const IS_READY = sql`(${IS_FREE} and ${IS_NOBODYS} and ${IS_WORK} and status in ('open', 'deferred') and not ${DORMANT}
  and ${NOT_BELOW_DORMANT})`;

function anyOf(conditions: readonly RawBuilder<unknown>[]): RawBuilder<unknown> {
  return sql`(${sql.join(
    conditions.map((condition) => sql`(${condition})`),
    sql` or `,
  )})`;
}

/**
 * By an array of ids: the planner knows labels on the whole, not this one, and would rather look for it in the order of ready. In the
 * order of `labels_label`, or it would read all labels, for the same reason.
 */
function withOneOf(labels: readonly string[]): RawBuilder<unknown> {
  return sql`id = any(array(
    select l.task_id from unnest(${[...labels]}::text[]) wanted (label) cross join lateral
      (select task_id from labels where label = wanted.label order by label, task_id limit ${sql.lit(FEW)}) l))`;
}

/**
 * Of the labels that the filter asks for, the one that the fewest tasks have, or all of `label_any` or of the pattern; null when those are
 * not few. Without it the order of ready would be read to the end in search of a label that hardly any task has: 84 ms among 100,000
 * tasks, now 2.
 */
async function rareLabels(db: Kysely<Database>, filter: ReadyFilter): Promise<readonly string[] | null> {
  // Of wisps there are few, and their labels are elsewhere.
  if (filter.wisps === true) return null;
  const { label, labels = [], label_any, label_pattern } = filter;
  const alike = label_pattern === undefined ? null : await labelsLike(db, labelLike(label_pattern));
  const sets = [...labels.map((each) => [each]), ...(label === undefined ? [] : [[label]])];
  if (label_any !== undefined) sets.push([...label_any]);
  if (alike !== null) sets.push(alike);
  if (sets.length === 0) return null;
  const { rows } = await sql<{ label: string; count: number }>`
    select label, (select count(*) from (select from labels l where l.label = wanted.label order by l.label, l.task_id limit ${sql.lit(FEW + 1)}) few) as count
    from (select distinct unnest(${sets.flat()}::text[]) as label) wanted`.execute(db);
  const counts = new Map(rows.map((row) => [row.label, row.count]));
  const sizes = sets.map((set) => set.reduce((sum, each) => sum + (counts.get(each) ?? 0), 0));
  const least = Math.min(...sizes);
  return least <= FEW ? (sets[sizes.indexOf(least)] ?? null) : null;
}

/** So many labels in use are compared with a pattern, and so many that are like it are looked up. */
const COMPARED_MAX = 2_000;
const ALIKE_MAX = 50;

/** Labels in use like the pattern, read from one to the next in their index: 3 ms for a thousand of them. Null when there are too many. */
async function labelsLike(db: Kysely<Database>, like: string): Promise<string[] | null> {
  const { rows } = await sql<{ count: number; alike: string[] }>`
    with recursive used (label) as (
      (select label from labels order by label limit 1)
      union all
      select (select l.label from labels l where l.label > used.label order by l.label limit 1) from used where used.label is not null
    ), compared as (select label from used where label is not null limit ${sql.lit(COMPARED_MAX + 1)})
    select count(*), coalesce(array_agg(label) filter (where label like ${like}), '{}') as alike from compared`.execute(
    db,
  );
  const { count, alike } = rows[0] ?? { count: 0, alike: [] };
  return count > COMPARED_MAX || alike.length > ALIKE_MAX ? null : alike;
}

function isRecordType(type: string | undefined): boolean {
  return (RECORD_TYPES as readonly (string | undefined)[]).includes(type);
}
