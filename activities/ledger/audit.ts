import { sql, type Kysely, type Selectable } from 'kysely';
import { canonicalJson } from '../../schema/canonical';
import type { Database } from '../../schema/db/tables';
import type { Ledger } from '../../schema/ledger';
import { takeLock, type Store } from './command';
import { sha256Hex } from './digest';

/*
 * The sealer gives events the order in which later readers may rely on: by the id of the writing transaction, and only those that no
 * running transaction can still precede. So (txid, id) of the last sealed event is a water-mark, and a cursor over `seq` misses nothing.
 * Each row's hash covers the hash before it.
 */
const BATCH = 1_000;
const GENESIS = '0'.repeat(64);

/** What a hash covers. Never changed: the chain of every town would break. */
const COVERED = [
  'id', 'type', 'actor', 'task_id', 'molecule_id', 'convoy_id', 'agent_id', 'rig_id', 'run', 'epoch', 'run_seq', 'payload', 'at',
] as const; // prettier-ignore
type SealedEvent = Pick<Selectable<Database['events']>, (typeof COVERED)[number]>;
const COLUMNS = sql.raw(COVERED.map((name) => `e.${name}`).join(', '));

export function auditCommands(store: Store): Pick<Ledger, 'seal' | 'verifyAudit'> {
  return {
    async seal() {
      for (let total = 0; ;) {
        const sealed = await sealBatch(store.db);
        total += sealed;
        if (sealed < BATCH) return total;
      }
    },
    async verifyAudit() {
      const unsealed = await countUnsealed(store.db);
      let last = { seq: 0, hash: GENESIS };
      for (;;) {
        const page = await auditPage(store.db, last.seq);
        for (const row of page) {
          const problem = problemOf(row, last);
          if (problem !== null) return { ok: false, sealed: last.seq, unsealed, broken_at: row.seq, problem };
          last = row;
        }
        if (page.length < BATCH) return { ok: true, sealed: last.seq, unsealed, broken_at: null, problem: null };
      }
    },
  };
}

function sealBatch(db: Kysely<Database>): Promise<number> {
  return db.transaction().execute(async (trx) => {
    await takeLock(trx, 'seal');
    const tail = await sql<{ seq: number; hash: string; txid: string; event_id: number }>`
      select a.seq, a.hash, a.event_id, e.txid::text as txid from audit a join events e on e.id = a.event_id
      order by a.seq desc limit 1`.execute(trx);
    const last = tail.rows[0] ?? { seq: 0, hash: GENESIS, txid: '0', event_id: 0 };
    const { rows } = await sql<SealedEvent>`
      select ${COLUMNS} from events e
      where (e.txid, e.id) > (${last.txid}::xid8, ${last.event_id}::bigint) and e.txid < pg_snapshot_xmin(pg_current_snapshot())
      order by e.txid, e.id limit ${BATCH}`.execute(trx);
    if (rows.length === 0) return 0;
    const links: { seq: number; event_id: number; prev_hash: string; hash: string }[] = [];
    let { seq, hash } = last;
    for (const event of rows) {
      const prev_hash = hash;
      seq += 1;
      hash = hashOf(prev_hash, event);
      links.push({ seq, event_id: event.id, prev_hash, hash });
    }
    await sql`
      with sealed as (
        insert into audit (seq, event_id, prev_hash, hash)
        select seq, event_id, prev_hash, hash from jsonb_to_recordset(${JSON.stringify(links)}::jsonb)
          as link (seq bigint, event_id bigint, prev_hash text, hash text)
      )
      select pg_notify('town_sealed', ${String(seq)})`.execute(trx);
    return rows.length;
  });
}

interface AuditRow {
  seq: number;
  event_id: number;
  prev_hash: string;
  hash: string;
  event: SealedEvent | null;
}

async function auditPage(db: Kysely<Database>, after: number): Promise<AuditRow[]> {
  const { rows } = await sql<Omit<AuditRow, 'event'> & SealedEvent & { id: number | null }>`
    select a.seq, a.event_id, a.prev_hash, a.hash, ${COLUMNS}
    from audit a left join events e on e.id = a.event_id
    where a.seq > ${after} order by a.seq limit ${BATCH}`.execute(db);
  return rows.map(({ seq, event_id, prev_hash, hash, ...event }) => ({
    seq,
    event_id,
    prev_hash,
    hash,
    event: event.id === null ? null : event,
  }));
}

function problemOf(row: AuditRow, last: { seq: number; hash: string }): string | null {
  if (row.seq !== last.seq + 1) return `number ${last.seq + 1} is missing`;
  if (row.prev_hash !== last.hash) return `number ${row.seq} does not follow number ${last.seq}`;
  if (row.event === null) return `event ${row.event_id} is missing`;
  if (row.hash !== hashOf(row.prev_hash, row.event)) return `event ${row.event_id} was changed after it was sealed`;
  return null;
}

function hashOf(prev_hash: string, event: SealedEvent): string {
  return sha256Hex(prev_hash + canonicalJson({ ...event, at: event.at.toISOString() }));
}

async function countUnsealed(db: Kysely<Database>): Promise<number> {
  const { rows } = await sql<{ count: number }>`
    select count(*) as count from events e where not exists (select 1 from audit a where a.event_id = e.id)`.execute(
    db,
  );
  return rows[0]?.count ?? 0;
}
