import type { Kysely } from 'kysely';
import type { Database } from '../../schema/db/tables';
import type { Ledger } from '../../schema/ledger';
import type { Timings } from '../../schema/timings';
import { agentCommands } from './agents';
import { auditCommands } from './audit';
import { bulkCommands } from './bulk';
import type { Store } from './command';
import { convoyCommands } from './convoys';
import { decisionCommands } from './decisions';
import { dependencyCommands } from './dependencies';
import { eventReads } from './events';
import { exportCommands } from './export';
import { toTownError } from './failures';
import { gateCommands } from './gates';
import { graphReads } from './graph';
import { historyReads } from './history';
import { findingCommands } from './finding';
import { hookReads } from './hooks';
import { importCommands } from './import';
import { leaseCommands } from './leases';
import { moleculeReads } from './molecules';
import { outboxCommands } from './outbox';
import { overviewReads } from './overview';
import { planCommands } from './plans';
import { progressCommands } from './progress';
import { readyReads } from './ready';
import { receiptCommands } from './receipts';
import { recipeCommands } from './recipes';
import { remarkCommands } from './remarks';
import { retentionCommands } from './retention';
import { rigMoveCommands } from './rig-moves';
import { rigCommands } from './rigs';
import { sessionCommands } from './sessions';
import { runDigestCommands } from './run-digests';
import { taskCommands } from './tasks';
import { whyReads } from './why';
import { wispCommands } from './wisps';
import { workCommands } from './work';

export interface LedgerOptions {
  readonly db: Kysely<Database>;
  /** Travel into the input of every run that a command starts. */
  readonly timings: Timings;
  /** Prefix of hook queues in tests that share a server; empty in a town. */
  readonly namespace: string;
  /** sha256 as hex. When given, a recipe whose digest differs is refused. */
  readonly digestOf?: (text: string) => string;
}

/** The ledger on Postgres. Failures of the connection come out as POSTGRES_UNAVAILABLE; a command that failed so may have been done. */
export function createLedger(options: LedgerOptions): Ledger {
  const store: Store = { ...options, digestOf: options.digestOf ?? null, prefixes: new Map() };
  const ledger: Ledger = {
    ...rigCommands(store),
    ...taskCommands(store),
    ...progressCommands(store),
    ...remarkCommands(store),
    ...readyReads(store),
    ...dependencyCommands(store),
    ...recipeCommands(store),
    ...workCommands(store),
    ...convoyCommands(store),
    ...agentCommands(store),
    ...sessionCommands(store),
    ...receiptCommands(store),
    ...leaseCommands(store),
    ...decisionCommands(store),
    ...outboxCommands(store),
    ...eventReads(store),
    ...auditCommands(store),
    ...retentionCommands(store),
    ...moleculeReads(store),
    ...hookReads(store),
    ...gateCommands(store),
    ...whyReads(store),
    ...overviewReads(store),
    ...historyReads(store),
    ...graphReads(store),
    ...findingCommands(store),
    ...bulkCommands(store),
    ...planCommands(store),
    ...rigMoveCommands(store),
    ...wispCommands(store),
    ...runDigestCommands(store),
    ...exportCommands(store),
    ...importCommands(store),
  };
  return withTownErrors(ledger);
}

/** Also makes a refusal of the input, thrown at once, a rejected promise. */
function withTownErrors(ledger: Ledger): Ledger {
  const wrapped = Object.entries(ledger).map(([name, call]: [string, (...args: never[]) => Promise<unknown>]) => [
    name,
    async (...args: never[]) => {
      try {
        return await call(...args);
      } catch (error) {
        throw toTownError(error);
      }
    },
  ]);
  return Object.fromEntries(wrapped) as Ledger; // the same names with the same signatures
}
