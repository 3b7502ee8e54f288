import { sql, type Kysely, type Transaction } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { runId, type ConvoyId, type RigId } from '../../schema/ids';
import type { JsonObject } from '../../schema/json';
import type { Ask, OutboxMessage } from '../../schema/ledger';
import type { Timings } from '../../schema/timings';
import { insertEvents, type LedgerEvent } from './event-rows';
import { isRetryable } from './failures';
import { fenceSession } from './fence';
import { keepResponse, reserveKey } from './idempotency';
import { checkAsk } from './input';
import { insertOutbox } from './outbox-rows';

/** What every command of one ledger shares. */
export interface Store {
  readonly db: Kysely<Database>;
  readonly timings: Timings;
  /** Prefix of hook queues in tests that share a server; empty in a town. */
  readonly namespace: string;
  /** sha256 as hex. When given, a recipe whose digest differs is refused. */
  readonly digestOf: ((text: string) => string) | null;
  /** Prefixes of rigs read so far; they never change. */
  readonly prefixes: Map<RigId, string>;
}

/** One transaction under way, and what is written at its end. */
export interface Unit {
  readonly store: Store;
  readonly trx: Transaction<Database>;
  readonly ask: Ask;
  readonly events: LedgerEvent[];
  readonly outbox: { readonly target: string; readonly message: OutboxMessage }[];
  /** Convoys, not completed, that are woken since the status or readiness of a member changed. */
  readonly wakeConvoys: Set<ConvoyId>;
}

const ATTEMPTS = 6;

/**
 * Runs one command: fences the session, answers a repeated key, runs `body`, then writes events and outbox rows, all in one transaction.
 * A transaction that lost against another (deadlock, serialisation) is run again.
 */
export async function command<T>(
  store: Store,
  ask: Ask,
  name: string,
  request: unknown,
  body: (unit: Unit) => Promise<T>,
): Promise<T> {
  checkAsk(ask);
  return await withAttempts(() =>
    store.db.transaction().execute(async (trx) => {
      if (ask.session !== undefined) await fenceSession(trx, ask.session);
      if (ask.key !== undefined) {
        const earlier = await reserveKey(trx, ask.key, name, { actor: ask.actor, request });
        // The answer went through JSON when it was kept; every command answers plain JSON.
        if (earlier !== null) return earlier.response as T;
      }
      const unit: Unit = { store, trx, ask, events: [], outbox: [], wakeConvoys: new Set() };
      const response = await body(unit);
      await finish(unit);
      if (ask.key !== undefined) await keepResponse(trx, ask.key, response);
      return response;
    }),
  );
}

/** Runs a transaction, again when it lost against another one. */
export async function withAttempts<T>(transaction: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await transaction();
    } catch (error) {
      if (attempt === ATTEMPTS || !isRetryable(error)) throw error;
    }
  }
}

export function record(
  unit: Unit,
  type: string,
  about: Partial<Omit<LedgerEvent, 'type' | 'payload'>>,
  payload: JsonObject,
): void {
  unit.events.push({ type, ...about, payload });
}

export function tell(unit: Unit, target: string, message: OutboxMessage): void {
  unit.outbox.push({ target, message });
}

/** Town-wide locks of transactions; the numbers only have to differ. */
export const LOCK = { edges: 7_301, seal: 7_302, leases: 7_303, rigs: 7_310 } as const;

export async function takeLock(trx: Transaction<Database>, lock: keyof typeof LOCK): Promise<void> {
  await sql`select pg_advisory_xact_lock(${LOCK[lock]}::bigint)`.execute(trx);
}

async function finish(unit: Unit): Promise<void> {
  for (const id of unit.wakeConvoys) {
    tell(unit, runId.convoy(id), { kind: 'update', name: 'tasksChanged', args: {} });
  }
  if (unit.outbox.length > 0) await insertOutbox(unit.trx, unit.outbox);
  if (unit.events.length > 0) await insertEvents(unit.trx, unit.ask.actor, unit.events);
}
