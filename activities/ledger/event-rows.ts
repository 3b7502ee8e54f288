import { sql, type Kysely } from 'kysely';
import type { Database } from '../../schema/db/tables';
import type { JsonObject } from '../../schema/json';

/** One fact, as the trail keeps it. The payload of a change has `before` and `after` of what changed. */
export interface LedgerEvent {
  readonly type: string;
  readonly task_id?: string | null;
  readonly molecule_id?: string | null;
  readonly convoy_id?: string | null;
  readonly agent_id?: string | null;
  readonly rig_id?: string | null;
  readonly payload: JsonObject;
}

/** Inserts the events in order and wakes those who listen on `town_events`. */
export async function insertEvents(
  trx: Kysely<Database>,
  actor: string,
  events: readonly LedgerEvent[],
): Promise<void> {
  await sql`
    with written as (
      insert into events (type, actor, task_id, molecule_id, convoy_id, agent_id, rig_id, payload)
      select e->>'type', ${actor}, e->>'task_id', e->>'molecule_id', e->>'convoy_id', e->>'agent_id', e->>'rig_id', e->'payload'
      from jsonb_array_elements(${JSON.stringify(events)}::jsonb) with ordinality as list (e, place)
      order by place
    )
    select pg_notify('town_events', '')`.execute(trx);
}
