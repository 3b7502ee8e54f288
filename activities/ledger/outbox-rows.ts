import { sql, type Kysely } from 'kysely';
import type { Database } from '../../schema/db/tables';
import type { OutboxMessage } from '../../schema/ledger';

/** Answers the numbers given, in the order of `messages`. Targets are locked in the order of their names. */
export async function insertOutbox(
  trx: Kysely<Database>,
  messages: readonly { readonly target: string; readonly message: OutboxMessage }[],
): Promise<number[]> {
  const numbers: number[] = [];
  const order = messages
    .map((entry, index) => ({ ...entry, index }))
    .toSorted((a, b) => (a.target === b.target ? a.index - b.index : a.target < b.target ? -1 : 1));
  for (const { target, message, index } of order) numbers[index] = await insertMessage(trx, target, message);
  return numbers;
}

/** The number of the message goes into its input or its args as `n`. */
async function insertMessage(trx: Kysely<Database>, target: string, message: OutboxMessage): Promise<number> {
  const path = message.kind === 'start' ? '{input,n}' : '{args,n}';
  const { rows } = await sql<{ n: number }>`
    with numbered as (
      insert into outbox_targets (target, last_n) values (${target}, 1)
      on conflict (target) do update set last_n = outbox_targets.last_n + 1
      returning last_n
    ), sent as (
      insert into outbox (target, n, message)
      select ${target}, last_n, jsonb_set(${JSON.stringify(message)}::jsonb, ${path}::text[], to_jsonb(last_n)) from numbered
      returning n
    )
    select n, pg_notify('town_outbox', ${target}) from sent`.execute(trx);
  return rows[0]?.n ?? 0;
}
