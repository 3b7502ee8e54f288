import { sql } from 'kysely';
import type { Ledger } from '../../schema/ledger';
import { takeLock, type Store } from './command';

/** Which host serves which agent's hook. Leases are not facts of the trail: they come and go every few seconds and write no event. */
export function leaseCommands(store: Store): Pick<Ledger, 'acquireLeases' | 'renewLeases' | 'releaseLeases'> {
  return {
    acquireLeases(host_id, { max, ttl_ms }) {
      return store.db.transaction().execute(async (trx) => {
        await takeLock(trx, 'leases');
        const { rows } = await sql<{ agent_id: string }>`
          insert into host_leases (agent_id, host_id, expires_at)
          select a.id, ${host_id}, clock_timestamp() + ${ttl_ms} * interval '1 millisecond'
          from agents a left join host_leases l on l.agent_id = a.id
          where a.status = 'active' and (l.agent_id is null or l.expires_at <= clock_timestamp())
          order by a.id
          limit greatest(0, ${max} - (
            select count(*) from host_leases where host_id = ${host_id} and expires_at > clock_timestamp()))
          on conflict (agent_id) do update set host_id = excluded.host_id, expires_at = excluded.expires_at
            where host_leases.expires_at <= clock_timestamp()
          returning agent_id`.execute(trx);
        return rows.map((row) => row.agent_id);
      });
    },
    /** An expired lease that nobody took is renewed too: then the host never lost it. */
    async renewLeases(host_id, ttl_ms) {
      const { rows } = await sql<{ agent_id: string }>`
        update host_leases l set expires_at = clock_timestamp() + ${ttl_ms} * interval '1 millisecond'
        from agents a where a.id = l.agent_id and l.host_id = ${host_id} and a.status = 'active'
        returning l.agent_id`.execute(store.db);
      return rows.map((row) => row.agent_id).toSorted();
    },
    async releaseLeases(host_id) {
      await sql`with released as (delete from host_leases where host_id = ${host_id} returning agent_id)
        select pg_notify('town_agents', agent_id) from released`.execute(store.db);
    },
  };
}
