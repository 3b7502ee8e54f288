import { sql, type Transaction } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { canonicalJson } from '../../schema/canonical';
import { TownError } from '../../schema/errors';
import type { Json } from '../../schema/json';
import { sha256Hex } from './digest';

/**
 * Takes the key for this transaction, and answers null; or the response of the transaction that had it. A concurrent holder is
 * waited for: the unique index keeps the second back until the first has ended.
 * @throws IDEMPOTENCY_MISMATCH when the key was used for something else.
 */
export async function reserveKey(
  trx: Transaction<Database>,
  key: string,
  name: string,
  request: unknown,
): Promise<{ readonly response: Json } | null> {
  // Through JSON, so that a missing field and an undefined one are the same request.
  const digest = sha256Hex(canonicalJson(JSON.parse(JSON.stringify(request)) as Json));
  for (;;) {
    const taken = await sql`
      insert into idempotency_keys (key, command, request_digest, response) values (${key}, ${name}, ${digest}, 'null')
      on conflict (key) do nothing returning key`.execute(trx);
    if (taken.rows.length > 0) return null;
    const earlier = await sql<{ command: string; request_digest: string; response: Json }>`
      select command, request_digest, response from idempotency_keys where key = ${key}`.execute(trx);
    const row = earlier.rows[0];
    // Swept away between the two statements: it is ours to take.
    if (row === undefined) continue;
    if (row.command === name && row.request_digest === digest) return { response: row.response };
    throw new TownError(
      'IDEMPOTENCY_MISMATCH',
      `key ${JSON.stringify(key)} was used for another request (${row.command})`,
      {
        hint: 'use a new key for a new request',
      },
    );
  }
}

export async function keepResponse(trx: Transaction<Database>, key: string, response: unknown): Promise<void> {
  await sql`update idempotency_keys set response = ${JSON.stringify(response ?? null)}::jsonb where key = ${key}`.execute(
    trx,
  );
}
