import { sql, type RawBuilder } from 'kysely';
import type { Page } from '../../schema/views';
import { decodeCursor, decodeKeys, encodeCursor, encodeKeys, limit, pageOf } from './input';

/** What every list that goes on is asked with; 50 rows when nothing is said. */
export interface PageRequest {
  readonly limit?: number;
  readonly cursor?: string;
}

/** Reads the rows for a part of a query from `where` on. */
type Select<Row> = (tail: RawBuilder<unknown>) => Promise<Row[]>;

/** All of the conditions; none: no condition. */
export function allOf(conditions: readonly RawBuilder<unknown>[]): RawBuilder<unknown> {
  return conditions.length === 0 ? sql`true` : sql.join(conditions, sql` and `);
}

/** That each column has the value that was given for it; nothing is asked of one for which none was. */
export function having(columns: Readonly<Record<string, string | undefined>>): RawBuilder<unknown>[] {
  return Object.entries(columns).flatMap(([column, value]) =>
    value === undefined ? [] : [sql`${sql.ref(column)} = ${value}`],
  );
}

/** A page of a list that goes by a time, newest first. @throws INVALID_INPUT */
export async function newestFirst<Time extends string, Row extends { id: string } & Record<Time, Date>>(
  page: PageRequest,
  time: Time,
  conditions: readonly RawBuilder<unknown>[],
  select: Select<Row>,
): Promise<Page<Row>> {
  const size = limit(page.limit, 50);
  const column = sql.ref(time);
  const after = page.cursor === undefined ? null : decodeCursor(page.cursor);
  const further = after === null ? [] : [sql`(${column}, id) < (${after.at}, ${after.id})`];
  const where = allOf([...conditions, ...further]);
  const rows = await select(sql`where ${where} order by ${column} desc, id desc limit ${size + 1}`);
  return pageOf(rows, size, (row) => encodeCursor({ at: row[time], id: row.id }), itself);
}

/** A page of a list that goes by a name, in the order of its bytes. @throws INVALID_INPUT */
export async function byName<Name extends string, Row extends Record<Name, string>>(
  page: PageRequest,
  name: Name,
  conditions: readonly RawBuilder<unknown>[],
  select: Select<Row>,
): Promise<Page<Row>> {
  const size = limit(page.limit, 50);
  const column = sql`${sql.ref(name)} collate "C"`;
  const after = page.cursor === undefined ? null : (decodeKeys(page.cursor, 1)[0] ?? '');
  const where = allOf([...conditions, ...(after === null ? [] : [sql`${column} > ${after}`])]);
  const rows = await select(sql`where ${where} order by ${column} limit ${size + 1}`);
  return pageOf(rows, size, (row) => encodeKeys([row[name]]), itself);
}

/** The same page with something else for each row. */
export function mapPage<Row, View>({ items, next_cursor }: Page<Row>, viewOf: (row: Row) => View): Page<View> {
  return { items: items.map(viewOf), next_cursor };
}

function itself<Row>(row: Row): Row {
  return row;
}
