import { sql, type RawBuilder } from 'kysely';
import type { LedgerTables } from '../../schema/db/tables';
import type { Ledger } from '../../schema/ledger';
import type { Store } from './command';
import { purgeWisps } from './wisps';

interface Retention {
  /** null: kept for ever. */
  readonly days: number | null;
  /** What is over, and since when; rows for which it is null are kept. */
  readonly since: RawBuilder<Date> | null;
  /** Where the fact can still be read afterwards, or why the table does not need a limit. */
  readonly replacedBy: string;
}

const forever = (replacedBy: string): Retention => ({ days: null, since: null, replacedBy });

/** Every table of the ledger: what is kept, and how long. */
export const RETENTION: Record<keyof LedgerTables, Retention> = {
  outbox: { days: 7, since: sql`delivered_at`, replacedBy: 'the state of the run' },
  idempotency_keys: { days: 7, since: sql`at`, replacedBy: 'nothing: a repeated command after a week is a new one' },
  sessions: { days: 90, since: sql`ended_at`, replacedBy: 'events session_opened and session_ended' },
  policy_decisions: { days: 365, since: sql`at`, replacedBy: 'the decision id in the events' },
  mail: { days: 90, since: sql`read_at`, replacedBy: 'the event that the mail told of' },
  events: forever('nothing: they are the trail'),
  audit: forever('nothing: the chain must stay whole'),
  outbox_targets: forever('nothing: numbers of a run must never start again'),
  liveness: forever('one row an agent'),
  host_leases: forever('one row an agent'),
  rigs: forever('one row a rig'),
  agents: forever('identities are retired, never deleted'),
  tasks: forever('nothing: they are the work'),
  task_dependencies: forever('nothing: part of the task'),
  dependencies_aside: forever('nothing: part of the task'),
  task_texts: forever('nothing: it repeats the task'),
  task_notes: forever('nothing: part of the task'),
  labels: forever('nothing: part of the task'),
  task_comments: forever('nothing: part of the task'),
  wisps: forever('the sweep purges them when their own time is over; a run digest, where one was asked for'),
  run_digests: forever('nothing: they are what is left of a run'),
  saved_filters: forever('one row a name'),
  exports: forever('nothing: sync compares with them; one row an export'),
  imports: forever('nothing: the next import goes on from them; one row an import'),
  convoys: forever('nothing: part of the work'),
  convoy_members: forever('nothing: part of the convoy'),
  convoy_subscriptions: forever('nothing: part of the convoy'),
  step_receipts: forever('nothing: a close must be answered again at any time'),
  given_outputs: forever('nothing: later steps are told of them'),
  recipes: forever('nothing: molecules name them by digest'),
};

export function retentionCommands(store: Store): Pick<Ledger, 'sweep'> {
  return {
    async sweep() {
      const deleted: Record<string, number> = {};
      for (const [table, { days, since }] of Object.entries(RETENTION)) {
        if (days === null || since === null) continue;
        deleted[table] = await deleteOlder(store, table, since, days);
      }
      deleted['wisps'] = await purgeWisps(store);
      return deleted;
    },
  };
}

async function deleteOlder(store: Store, table: string, since: RawBuilder<Date>, days: number): Promise<number> {
  return store.db.transaction().execute(async (trx) => {
    const { numAffectedRows } = await sql`
      delete from ${sql.table(table)} where ${since} < clock_timestamp() - ${days} * interval '1 day'`.execute(trx);
    return Number(numAffectedRows ?? 0n);
  });
}
