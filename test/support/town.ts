import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { ApplicationFailure } from '@temporalio/common';
import { Context } from '@temporalio/activity';
import { Worker } from '@temporalio/worker';
import type { Forge } from '../../activities/gate/forge';
import { listen } from '../../activities/ledger/connect';
import { createLedger } from '../../activities/ledger/ledger';
import { startSealer } from '../../activities/ledger/sealer';
import type { TownClient } from '../../cli/client/client';
import type { Recipe } from '../../schema/formula/recipe';
import { hookQueue, type AgentAddress, type MoleculeId, type RigId } from '../../schema/ids';
import type { Ask, Ledger, PourRequest } from '../../schema/ledger';
import type { PerformStep, StepResult } from '../../schema/runs';
import { DEFAULT_TIMINGS, type Timings } from '../../schema/timings';
import type { MoleculeView, RigView, TaskView } from '../../schema/views';
import { connectTemporal, quietRuntime, type TemporalConnections } from '../../workers/connect';
import { createConvoyFeeder } from '../../workers/feeder';
import { type Orchestrator, startOrchestrator } from '../../workers/orchestrator';
import { clientOf } from './client';
import { type TestDatabase, testDatabase } from './database';

/** What a scripted agent does with a step: a result, or a throw of `lost(reason)`. */
export type Script = (request: PerformStep, signal: AbortSignal) => Promise<Partial<StepResult>>;

/** A whole town in this process on the suite's Postgres and Temporal, with agents that follow a script instead of running programs. */
export interface TestTown {
  readonly db: TestDatabase['db'];
  readonly ledger: Ledger;
  readonly town: TownClient;
  readonly temporal: TemporalConnections;
  readonly orchestrator: Orchestrator;
  readonly rig: RigView;
  readonly performed: PerformStep[];
  /** Serves an agent's hook with the script until the town stops. */
  serve(agent: string, script: Script): Promise<void>;
  /** Resolves once `read` answers something other than null, undefined or false; it is asked again at every event of the town. */
  until<T>(what: string, read: () => Promise<T | null | undefined | false>, patienceMs?: number): Promise<T>;
  /** A crew agent of the rig, or of another, that is served by a script or by nobody. Answers its address. */
  agent(name: string, rig_id?: RigId): Promise<AgentAddress>;
  /** Pours the recipe onto the hook of an agent, by its address, or for the workers of a rig, by its id. */
  sling(
    target: string,
    recipe: Recipe,
    more?: Partial<Pick<PourRequest, 'rig_id' | 'title' | 'priority' | 'wisp'>>,
  ): Promise<{ readonly task: TaskView; readonly molecule_id: MoleculeId }>;
  /** The molecule once it has ended. */
  finished(molecule_id: MoleculeId): Promise<MoleculeView>;
  /** The molecule once it asks for a person. */
  attention(molecule_id: MoleculeId): Promise<MoleculeView>;
  restartOrchestrator(): Promise<void>;
  stop(): Promise<void>;
}

export const FAST: Timings = {
  ...DEFAULT_TIMINGS,
  graceMs: 100,
  backoffMs: 5,
  backoffMaxMs: 50,
  askAgainMs: 1_000,
  heartbeatTimeoutMs: 3_000,
};

/** How long a condition may take before the test fails with what it waited for. Far above what it should take. */
const PATIENCE_MS = 60_000;

const PERSON: Ask = { actor: 'person:test' };

let runtimeInstalled = false;

export async function startTestTown(
  options: {
    readonly timings?: Partial<Timings>;
    /** Of molecules alone, beside the others. */
    readonly moleculeTimings?: Partial<Timings>;
    readonly maxCachedWorkflows?: number;
    readonly automaticDispatch?: boolean;
    readonly workersMax?: number;
    readonly forge?: Forge;
  } = {},
): Promise<TestTown> {
  if (!runtimeInstalled) {
    runtimeInstalled = true;
    quietRuntime(() => undefined);
  }
  const name = `t${randomBytes(4).toString('hex')}`;
  const timings = { ...FAST, ...options.timings };
  const database = await testDatabase();
  const { db } = database;
  const ledger = createLedger({ db, timings: { ...timings, ...options.moleculeTimings }, namespace: `${name}.` });
  const temporal = await connectTemporal(environment('TOWN_TEST_TEMPORAL_ADDRESS'), 10_000);
  const town = await clientOf(ledger, { automatic_dispatch: options.automaticDispatch ?? true });
  const root = join(__dirname, '..', '..');
  const rig = await ledger.addRig(PERSON, {
    id: name,
    prefix: name,
    path: root,
    default_branch: 'main',
    workers_max: options.workersMax ?? 2,
    runtime: { preset: 'external' },
  });

  const start = () =>
    startOrchestrator({
      db,
      ledger,
      temporal,
      feeder: createConvoyFeeder(town),
      taskQueue: `${name}.town`,
      timings,
      log: () => undefined,
      workflowBundle: join(root, 'dist', 'workflow-bundle.js'),
      ...(options.forge === undefined ? {} : { forge: options.forge }),
      ...(options.maxCachedWorkflows === undefined ? {} : { maxCachedWorkflows: options.maxCachedWorkflows }),
    });
  let orchestrator = await start();
  const sealer = startSealer(ledger, () => undefined);
  const bells = new Set<() => void>();
  const listening = await listen(database.url, ['town_outbox', 'town_events', 'town_projection'], (channel) => {
    if (channel === 'town_outbox') orchestrator.courier.wake();
    if (channel === 'town_events') sealer.wake();
    for (const ring of bells) ring();
  });
  const performed: PerformStep[] = [];
  const hosts = new Map<string, { worker: Worker; running: Promise<void> }>();

  /** Ends what scripts and waits still do after a test has failed: otherwise the end of the town waits for their patience. */
  const stopping = Promise.withResolvers<never>();
  stopping.promise.catch(() => undefined);

  const until: TestTown['until'] = async (what, read, patienceMs = PATIENCE_MS) => {
    const deadline = Date.now() + patienceMs;
    for (;;) {
      const rung = new Promise<void>((resolve) => {
        const ring = () => {
          bells.delete(ring);
          clearTimeout(timer);
          resolve();
        };
        const timer = setTimeout(ring, 200);
        bells.add(ring);
      });
      const found = await Promise.race([read(), stopping.promise]);
      if (found !== null && found !== undefined && found !== false) return found;
      if (Date.now() > deadline) throw new Error(`waited in vain for: ${what}`);
      await Promise.race([rung, stopping.promise]);
    }
  };

  /** Null also before its run has published it. */
  async function moleculeWhere(molecule_id: MoleculeId, holds: (molecule: MoleculeView) => boolean) {
    const molecule = await ledger.getMolecule(molecule_id).catch(() => null);
    return molecule !== null && holds(molecule) ? molecule : null;
  }

  return {
    db,
    ledger,
    town,
    temporal,
    get orchestrator() {
      return orchestrator;
    },
    rig,
    performed,
    async serve(agent, script) {
      if (hosts.has(agent)) return;
      const worker = await Worker.create({
        connection: temporal.native,
        taskQueue: hookQueue(agent, `${name}.`),
        maxConcurrentActivityTaskExecutions: 1,
        maxHeartbeatThrottleInterval: '100ms',
        shutdownGraceTime: 0,
        activities: {
          async performStep(request: PerformStep): Promise<StepResult> {
            performed.push(request);
            const context = Context.current();
            const beat = setInterval(() => context.heartbeat(), 100);
            try {
              const result = await Promise.race([script(request, context.cancellationSignal), stopping.promise]);
              return { outcome: 'done', note: '', commit_id: null, incarnation: 1, agent, ...result };
            } finally {
              clearInterval(beat);
            }
          },
        },
      });
      hosts.set(agent, { worker, running: worker.run() });
    },
    until,
    async agent(own, rig_id = rig.id) {
      const id = `${rig_id}/crew/${own}`;
      await ledger.addAgent(PERSON, { id, role: 'crew', rig_id, runtime: { preset: 'external' } });
      return id;
    },
    async sling(target, recipe, more = {}) {
      const decision_id = await ledger.recordDecision({
        action: 'dispatch',
        actor: PERSON.actor,
        allow: true,
        reasons: [],
        question: {},
        input_digest: 'x',
        policy_hash: 'x',
      });
      const kind = target.includes('/') ? ('agent' as const) : ('rig' as const);
      const poured = { recipe, rig_id: rig.id, target: { kind, id: target }, decision_id, ...more };
      const { task, molecule_id } = await ledger.pour(PERSON, poured);
      if (molecule_id === null) throw new Error('it was slung');
      return { task, molecule_id };
    },
    finished: (molecule_id) =>
      until(`the end of ${molecule_id}`, () =>
        moleculeWhere(molecule_id, ({ status }) => status !== 'running' && status !== 'paused'),
      ),
    attention: (molecule_id) =>
      until(`attention for ${molecule_id}`, () => moleculeWhere(molecule_id, ({ attention }) => attention !== null)),
    async restartOrchestrator() {
      await orchestrator.stop();
      orchestrator = await start();
    },
    async stop() {
      stopping.reject(new Error('the town was stopped'));
      for (const { worker, running } of hosts.values()) {
        worker.shutdown();
        await running;
      }
      await orchestrator.stop();
      await sealer.stop();
      await listening.close();
      await temporal.close();
      await database.drop();
    },
  };
}

/** The failure of an attempt that lost its session. */
export function lost(reason: string): ApplicationFailure {
  return ApplicationFailure.create({ type: reason, message: reason, nonRetryable: true });
}

function environment(variable: string): string {
  const value = process.env[variable];
  if (value === undefined) throw new Error(`${variable} is not set: run the tests with npm test`);
  return value;
}
