import { sql } from 'kysely';
import type { Json } from '../../schema/json';
import type { Ledger } from '../../schema/ledger';
import type { EventView } from '../../schema/views';
import type { Store } from './command';
import { limit, pageOf } from './input';
import { allOf, having } from './pages';

interface EventRow extends Omit<EventView, 'at' | 'payload'> {
  seq: number;
  payload: Json;
  at: Date;
}

export function eventReads(store: Store): Pick<Ledger, 'listEvents'> {
  return {
    /** Sealed events only, in sealed order: a cursor never misses one. */
    async listEvents(filter) {
      const size = limit(filter.limit, 100);
      const { type, task_id, molecule_id, convoy_id } = filter;
      const conditions = [sql`a.seq > ${filter.after ?? 0}`, ...having({ type, task_id, molecule_id, convoy_id })];
      const { rows } = await sql<EventRow>`
        select e.id, a.seq, e.type, e.actor, e.task_id, e.molecule_id, e.convoy_id, e.agent_id, e.payload, e.at
        from audit a join events e on e.id = a.event_id
        where ${allOf(conditions)}
        order by a.seq limit ${size + 1}`.execute(store.db);
      return pageOf(
        rows,
        size,
        (row) => String(row.seq),
        (row) => ({ ...row, at: row.at.toISOString() }),
      );
    },
  };
}
