import { sql } from 'kysely';
import type { JsonObject } from '../../schema/json';
import type { Ledger } from '../../schema/ledger';
import { changeOf, describeEvent, type HistoryView } from '../../schema/task/history';
import type { Store } from './command';
import * as input from './input';
import { findTask } from './task-rows';

type Row = Omit<HistoryView, 'at' | 'what' | 'before' | 'after'> & {
  readonly at: Date;
  readonly payload: JsonObject;
};

/** Beside `listEvents`, which answers what is sealed and misses nothing: this also shows what was written a moment ago. */
export function historyReads(store: Store): Pick<Ledger, 'taskHistory'> {
  return {
    async taskHistory(id, page) {
      const size = input.limit(page.limit, 50);
      const isForward = page.oldest_first === true;
      const from = page.cursor === undefined ? null : idOf(page.cursor);
      const further = isForward ? sql`e.id > ${from}` : sql`e.id < ${from}`;
      const { rows } = await sql<Row>`
        select e.id, a.seq, e.at, e.actor, e.type, e.molecule_id, e.agent_id, e.payload
        from events e left join audit a on a.event_id = e.id
        where e.task_id = ${id} and ${from === null ? sql`true` : further}
          and ${page.steps === true ? sql`true` : sql`e.run is null`}
        order by ${isForward ? sql`e.id` : sql`e.id desc`} limit ${size + 1}`.execute(store.db);
      if (rows.length === 0) await findTask(store.db, id);
      return input.pageOf(rows, size, (row) => input.encodeKeys([String(row.id)]), historyView);
    },
  };
}

function idOf(cursor: string): number {
  const [id = ''] = input.decodeKeys(cursor, 1);
  if (/^\d{1,15}$/.test(id)) return Number(id);
  throw input.foreignCursor();
}

function historyView({ at, ...row }: Row): HistoryView {
  return { ...row, at: at.toISOString(), what: describeEvent(row.type, row.payload), ...changeOf(row.payload) };
}
