import { sql, type Kysely } from 'kysely';
import type { Database } from '../../schema/db/tables';
import type { Ledger, OutboxRow } from '../../schema/ledger';
import { command, record, type Store } from './command';
import { json, line } from './input';
import { insertOutbox } from './outbox-rows';

type Commands = Pick<Ledger, 'tellRun' | 'dueOutbox' | 'delivered' | 'deliveryFailed'>;

export function outboxCommands(store: Store): Commands {
  return {
    tellRun(ask, target, message) {
      line(target, 'target', 400);
      return command(store, ask, 'tellRun', { target, message }, async (unit) => {
        if (message.kind === 'update') json(message.args, 'message');
        const [n] = await insertOutbox(unit.trx, [{ target, message }]);
        record(
          unit,
          'run_told',
          {},
          { target, n: n ?? 0, message: message.kind === 'update' ? message.name : 'start' },
        );
        return n ?? 0;
      });
    },
    dueOutbox: (limit) => dueOutbox(store.db, limit),
    async delivered(id) {
      await sql`update outbox set delivered_at = clock_timestamp(), attempts = attempts + 1, error = null
        where id = ${id} and delivered_at is null`.execute(store.db);
    },
    async deliveryFailed(id, error, retry_ms) {
      const note = error.replaceAll('\0', '').toWellFormed().slice(0, 2_000);
      if (retry_ms !== null) {
        await sql`update outbox set attempts = attempts + 1, error = ${note},
          next_attempt_at = clock_timestamp() + ${retry_ms} * interval '1 millisecond'
          where id = ${id} and delivered_at is null`.execute(store.db);
        return;
      }
      await command(store, { actor: 'system:courier' }, 'deliveryFailed', null, async (unit) => {
        const failed = await sql<{ target: string; n: number }>`
          update outbox set attempts = attempts + 1, error = ${note}, failed_at = clock_timestamp()
          where id = ${id} and delivered_at is null and failed_at is null returning target, n`.execute(unit.trx);
        for (const row of failed.rows)
          record(unit, 'delivery_failed', {}, { target: row.target, n: row.n, error: note });
      });
    },
  };
}

/** The first waiting row of each target, when it is due: a row that waits for its next try keeps the later ones back. */
async function dueOutbox(db: Kysely<Database>, limit: number): Promise<OutboxRow[]> {
  const { rows } = await sql<OutboxRow>`
    select id, target, n, message, attempts from (
      select distinct on (target) id, target, n, message, attempts, next_attempt_at from outbox
      where delivered_at is null and failed_at is null
      order by target, n
    ) first
    where next_attempt_at <= clock_timestamp()
    order by id limit ${limit}`.execute(db);
  return rows;
}
