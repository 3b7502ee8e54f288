import { join } from 'node:path';
import { Worker } from '@temporalio/worker';
import type { Kysely } from 'kysely';
import type { Forge } from '../activities/gate/forge';
import type { HeldAnswers } from '../activities/projection/held-answers';
import { reconcile } from '../activities/projection/reconcile';
import { type Courier, startCourier } from '../activities/courier/courier';
import { type ConvoyFeeder, createTownActivities } from '../activities/town';
import type { Database } from '../schema/db/tables';
import type { Ledger } from '../schema/ledger';
import type { Timings } from '../schema/timings';
import { packageRoot, type TemporalConnections } from './connect';

export interface OrchestratorDeps {
  readonly db: Kysely<Database>;
  readonly ledger: Ledger;
  readonly temporal: TemporalConnections;
  readonly feeder: ConvoyFeeder;
  readonly taskQueue: string;
  readonly timings: Timings;
  readonly log: (message: string, facts: object) => void;
  /** Workflows kept in memory; 0 replays every run at every step (tests). */
  readonly maxCachedWorkflows?: number;
  readonly workflowBundle?: string;
  /** Where gates look at CI runs and pull requests; absent: GitHub, with the token of the environment. */
  readonly forge?: Forge;
  /** Only where the agent host is in the same process. */
  readonly heldAnswers?: HeldAnswers;
}

export interface Orchestrator {
  readonly courier: Courier;
  /** Ends in order: no new messages, then the worker; runs stay where they are. */
  stop(): Promise<void>;
  /** Rejects when the worker fails for good. */
  readonly failed: Promise<never>;
}

/** Between two looks for grants and slots that ended molecules still have. */
const RECONCILE_MS = 15_000;

/** Workflows, their activities and the courier: everything that moves runs. */
export async function startOrchestrator(deps: OrchestratorDeps): Promise<Orchestrator> {
  const { ledger, temporal, taskQueue, timings } = deps;
  const worker = await Worker.create({
    connection: temporal.native,
    taskQueue,
    workflowBundle: { codePath: deps.workflowBundle ?? join(packageRoot(), 'dist', 'workflow-bundle.js') },
    activities: createTownActivities({
      db: deps.db,
      ledger,
      client: temporal.client,
      feeder: deps.feeder,
      taskQueue,
      timings,
      ...(deps.forge === undefined ? {} : { forge: deps.forge }),
      ...(deps.heldAnswers === undefined ? {} : { heldAnswers: deps.heldAnswers }),
    }),
    // After a kill the server waits this long for the dead worker before it gives a run to another.
    stickyQueueScheduleToStartTimeout: '1s',
    shutdownGraceTime: 0,
    maxConcurrentWorkflowTaskPolls: 4,
    maxConcurrentActivityTaskPolls: 4,
    ...(deps.maxCachedWorkflows === undefined ? {} : { maxCachedWorkflows: deps.maxCachedWorkflows }),
  });
  const running = worker.run();
  const courier = startCourier({ ledger, client: temporal.client, taskQueue, timings, log: deps.log, pollMs: 5_000 });
  const reconciler = setInterval(() => {
    reconcile(deps.db, temporal.client).catch((error: unknown) => deps.log('reconciler', { error: String(error) }));
  }, RECONCILE_MS);
  return {
    courier,
    async stop() {
      clearInterval(reconciler);
      await courier.stop();
      if (worker.getState() === 'RUNNING') worker.shutdown();
      await running.catch(() => undefined);
    },
    failed: running.then(() => new Promise<never>(() => undefined)),
  };
}
