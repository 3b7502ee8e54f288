/* The town service: orchestrator, agent host, courier, sealer, sockets and HTTP API in one process (`node service.js <root>`).
 *
 * It is started and restarted by the supervisor. SIGTERM while the town's phase is `stopping` ends the sessions; any other end leaves
 * them to the next service, which finds and re-attaches them. */
import './compile-cache';
import { existsSync, readFileSync } from 'node:fs';
import { flushCompileCache } from 'node:module';
import { userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Kysely } from 'kysely';
import pino from 'pino';
import { githubEnvironment } from '../activities/forge/github';
import { createGithubIssues } from '../activities/forge/github-issues';
import { createDatabase, listen } from '../activities/ledger/connect';
import { toTownError } from '../activities/ledger/failures';
import { createLedger } from '../activities/ledger/ledger';
import { migrateToLatest } from '../activities/ledger/migrate';
import { startSealer } from '../activities/ledger/sealer';
import { createPolicy } from '../activities/policy/policy';
import { createHeldAnswers } from '../activities/projection/held-answers';
import { rebuildProjection } from '../activities/projection/rebuild';
import { prepareFolders, townPaths } from '../activities/provision/paths';
import { readState, writeJson } from '../activities/provision/state';
import { createStepStates } from '../activities/session/step-states';
import { createTownClient } from '../cli/client/client';
import { answerRequest } from '../cli/server/answer';
import { createHttpApp, readApiToken, startHttpServer } from '../cli/server/http';
import { startSocketServer } from '../cli/server/socket';
import { parseConfig } from '../schema/config';
import type { Database } from '../schema/db/tables';
import { TownError } from '../schema/errors';
import { TOWN_QUEUE } from '../schema/ids';
import { createAgentHost, hostIdOf } from './agent-host';
import { connectTemporal, packageRoot, quietRuntime } from './connect';
import { createConvoyFeeder } from './feeder';
import { startOrchestrator } from './orchestrator';

const POOL_MAX = 24;
/** How long the service waits at its start for Postgres and Temporal, which may be coming back themselves. */
const PARTS_WAIT_MS = 30_000;
/** Bytes of the log that wait to be written; what comes beyond that is lost. */
const LOG_PENDING_MAX = 1_000_000;

async function main(root: string): Promise<void> {
  const output = pino.destination({ fd: 1, maxLength: LOG_PENDING_MAX });
  output.on('error', () => undefined); // a full disk: talk is not worth a town
  const logger = pino({ base: { pid: process.pid } }, output);
  const log = (message: string, facts: object = {}) => logger.info(facts, message);
  quietRuntime((level, message) => logger.warn({ level }, message));

  const paths = townPaths(root);
  prepareFolders(paths);
  const config = parseConfig(readFileSync(paths.config, 'utf8'), paths.config);
  const postgresUrl = required('TOWN_POSTGRES_URL', config.postgres.url);
  const address = required('TOWN_TEMPORAL_ADDRESS', config.temporal.address);
  const { timings } = config;

  const db = createDatabase(postgresUrl, { max: POOL_MAX });
  const ledger = createLedger({ db, timings, namespace: '' });
  const [temporal, policy] = await Promise.all([
    connectTemporal(address, PARTS_WAIT_MS),
    createPolicy({ dir: join(packageRoot(), 'policies') }),
    migrate(db),
  ]);

  const bells = { molecules: new Set<(ids: readonly string[]) => void>(), agents: new Set<() => void>() };
  let wakeCourier = () => undefined as void;
  let wakeSealer = () => undefined as void;
  const listening = await listen(
    postgresUrl,
    ['town_outbox', 'town_events', 'town_projection', 'town_agents'],
    (channel, payload) => {
      if (channel === 'town_outbox') wakeCourier();
      else if (channel === 'town_events') wakeSealer();
      else if (channel === 'town_agents') for (const ring of bells.agents) ring();
      else for (const ring of bells.molecules) ring(payload === '' ? [] : [payload]);
    },
  );
  const sealer = startSealer(ledger, log);
  wakeSealer = () => sealer.wake();

  const heldAnswers = createHeldAnswers();
  const host = createAgentHost({
    connection: temporal.native,
    client: temporal.client,
    ledger,
    states: createStepStates(db, (listener) => subscribe(bells.molecules, listener)),
    onAgentsChanged: (listener) => subscribe(bells.agents, listener),
    paths: {
      root,
      logs: paths.logs,
      checkLogs: paths.checkLogs,
      tokens: paths.tokens,
      worktrees: paths.worktrees,
      socket: paths.socket,
      bin: join(packageRoot(), 'bin'),
    },
    hostId: hostIdOf(paths.state),
    namespace: '',
    timings,
    log,
    agentsMax: config.host.agents_max,
    onStepOver: (molecule) => heldAnswers.release(molecule),
  });
  const github = githubEnvironment();
  const town = createTownClient({
    ledger,
    policy,
    desk: host.desk,
    features: config.features,
    root,
    builtInFormulas: join(packageRoot(), 'formulas'),
    rebuild: async () => ({ ...(await rebuildProjection(db)) }) as never,
    issues: createGithubIssues({
      baseUrl: github.apiUrl ?? 'https://api.github.com',
      token: github.token,
      log,
    }),
  });
  const onBug = (error: unknown) =>
    logger.error({ error: error instanceof Error ? error.stack : String(error) }, 'a request failed');
  // Together: a step that waits since the death of the service before needs both, and loading the runs' code takes 0.3 s.
  const [orchestrator, sockets] = await Promise.all([
    startOrchestrator({
      db,
      ledger,
      temporal,
      feeder: createConvoyFeeder(town),
      heldAnswers,
      taskQueue: TOWN_QUEUE,
      timings,
      log,
    }),
    host
      .start()
      .then(() =>
        startSocketServer({ path: paths.socket, handle: (request) => answerRequest(town, request, { onBug }) }),
      ),
  ]);
  wakeCourier = () => orchestrator.courier.wake();

  const http = await startHttpServer(
    createHttpApp({ town, token: readApiToken(paths.state), user: userInfo().username, onBug }),
    config.http.port,
  );
  writeJson(paths.serviceFile, { pid: process.pid, httpUrl: http.url, at: new Date().toISOString() });
  log('the town service is ready', { http: http.url, ms: Math.round(performance.now()) });
  flushCompileCache(); // otherwise it is written at an end in order, which may never come

  const stop = async (why: string, code: number) => {
    const endSessions = readState(paths.stateFile)?.phase === 'stopping';
    log('the town service ends', { why, endSessions });
    await sockets.close(200);
    await http.close();
    await Promise.all([orchestrator.stop(), host.stop({ endSessions })]);
    await sealer.stop();
    await listening.close();
    await temporal.close();
    await db.destroy();
    process.exit(code);
  };
  let stopping = false;
  const once = (why: string, code: number) => {
    if (stopping) return;
    stopping = true;
    // Parts that do not end by themselves must not keep the process: what they would save is in the ledger already.
    setTimeout(() => process.exit(code), 9_000).unref();
    stop(why, code).catch((error: unknown) => {
      logger.error({ error: String(error) }, 'the service did not end in order');
      process.exit(1);
    });
  };
  process.on('SIGTERM', () => once('SIGTERM', 0));
  process.on('SIGINT', () => once('SIGINT', 0));
  orchestrator.failed.catch((error: unknown) => {
    logger.error({ error: String(error) }, 'the orchestrator failed');
    once('the orchestrator failed', 1);
  });
}

/** @throws POSTGRES_UNAVAILABLE */
async function migrate(db: Kysely<Database>): Promise<void> {
  for (const until = Date.now() + PARTS_WAIT_MS; ;) {
    try {
      await migrateToLatest(db);
      return;
    } catch (cause) {
      const error = toTownError(cause);
      if (!(error instanceof TownError) || error.code !== 'POSTGRES_UNAVAILABLE' || Date.now() > until) throw error;
      await sleep(100);
    }
  }
}

function subscribe<T>(listeners: Set<T>, listener: T): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

function required(variable: string, configured: string | undefined): string {
  const value = process.env[variable] || configured;
  if (value === undefined) throw new Error(`${variable} is not set; the service is started by: town up`);
  return value;
}

const [, , root] = process.argv;
if (root === undefined || !existsSync(join(root, 'town.toml'))) {
  process.stderr.write('usage: service.js <folder of a town>\n');
  process.exit(2);
}
main(root).catch((error: unknown) => {
  const known = error instanceof TownError ? `${error.message} (${error.code})` : null;
  process.stderr.write(`${known ?? (error instanceof Error ? (error.stack ?? error.message) : String(error))}\n`);
  process.exit(1);
});
