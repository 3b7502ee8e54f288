import { sql, type Kysely, type RawBuilder } from 'kysely';
import type { Database } from '../../schema/db/tables';
import type { TaskFilter, TaskSort } from '../../schema/ledger';
import type { Page } from '../../schema/views';
import { decodeKeys, encodeKeys, foreignCursor, limit, pageOf } from './input';
import { allOf } from './pages';
import { selectTasks, type TaskRow, type TaskWithMore } from './task-rows';

/** Stands for a time that is missing: after all others. */
const NEVER = '9999-12-31T00:00:00.000Z';

interface Order {
  readonly descending: boolean;
  readonly keys: readonly Key[];
}
interface Key {
  readonly column: RawBuilder<unknown>;
  readonly type: 'timestamptz' | 'text' | 'integer';
  of(row: TaskRow): string;
}

const time = (column: RawBuilder<unknown>, of: (row: TaskRow) => Date | null, missing: string): Key => ({
  column: sql`coalesce(${column}, ${sql.lit(missing)}::timestamptz)`,
  type: 'timestamptz',
  of: (row) => of(row)?.toISOString() ?? missing,
});
const text = (column: RawBuilder<unknown>, of: (row: TaskRow) => string | null): Key => ({
  column: sql`coalesce(${column}, '') collate "C"`,
  type: 'text',
  of: (row) => of(row) ?? '',
});
const created: Key = { column: sql`created_at`, type: 'timestamptz', of: (row) => row.created_at.toISOString() };
const updated: Key = { column: sql`updated_at`, type: 'timestamptz', of: (row) => row.updated_at.toISOString() };
const id: Key = { column: sql`id`, type: 'text', of: (row) => row.id };

const ORDERS: Record<TaskSort, Order> = {
  created: { descending: true, keys: [created, id] },
  updated: { descending: true, keys: [updated, id] },
  closed: {
    descending: true,
    keys: [time(sql`completed_at`, (row) => row.completed_at, '0001-01-01T00:00:00.000Z'), id],
  },
  due: { descending: false, keys: [time(sql`due_at`, (row) => row.due_at, NEVER), id] },
  priority: {
    descending: false,
    keys: [{ column: sql`priority`, type: 'integer', of: (row) => String(row.priority) }, created, id],
  },
  status: { descending: false, keys: [text(sql`status`, (row) => row.status), id] },
  type: { descending: false, keys: [text(sql`type`, (row) => row.type), id] },
  title: { descending: false, keys: [text(sql`title`, (row) => row.title), id] },
  assignee: { descending: false, keys: [text(sql`assigned_agent_id`, (row) => row.assigned_agent_id), id] },
  id: { descending: false, keys: [id] },
};

/** How a list is ordered, where its next page begins, and how the cursor after a row is written. */
export interface Paging {
  readonly order: RawBuilder<unknown>;
  /** Null on the first page. */
  readonly after: RawBuilder<unknown> | null;
  readonly cursorOf: (row: TaskRow) => string;
}

/** A page of the tasks for which the conditions hold, newest first when no order is named. @throws INVALID_INPUT */
export async function taskPage(
  db: Kysely<Database>,
  { sort = 'created', reverse = false, ...asked }: Pick<TaskFilter, 'sort' | 'reverse' | 'limit' | 'cursor' | 'wisps'>,
  conditions: readonly RawBuilder<unknown>[],
): Promise<Page<TaskWithMore>> {
  const size = limit(asked.limit, 50);
  const { order, after, cursorOf } = pagingOf(sort, reverse, asked.cursor);
  const where = allOf(after === null ? conditions : [...conditions, after]);
  const rows = await selectTasks(db, sql`where ${where} order by ${order} limit ${size + 1}`, asked.wisps === true);
  return pageOf(rows, size, cursorOf, (row) => row);
}

/** @throws INVALID_INPUT for a cursor of another order. */
export function pagingOf(sort: TaskSort, reverse: boolean, cursor: string | undefined): Paging {
  const { descending, keys } = ORDERS[sort];
  const isDown = descending !== reverse;
  const columns = keys.map((key) => key.column);
  return {
    order: sql.join(columns.map((column) => (isDown ? sql`${column} desc` : sql`${column}`))),
    after:
      cursor === undefined
        ? null
        : sql`(${sql.join(columns)}) ${sql.raw(isDown ? '<' : '>')} (${sql.join(keysOf(cursor, keys))})`,
    cursorOf: (row) => encodeKeys(keys.map((key) => key.of(row))),
  };
}

function keysOf(cursor: string, keys: readonly Key[]): RawBuilder<unknown>[] {
  const given = decodeKeys(cursor, keys.length);
  return keys.map(({ type }, at) => {
    const value = given[at] ?? '';
    if (type === 'timestamptz' && Number.isNaN(Date.parse(value))) throw foreignCursor();
    if (type === 'integer' && !/^\d{1,9}$/.test(value)) throw foreignCursor();
    return sql`${value}::${sql.raw(type)}`;
  });
}
