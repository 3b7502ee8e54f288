/* A Temporal server of the town's own: `temporal server start-dev` on loopback ports, with its store in one SQLite file.
 *
 * The server outlives the process that started it; whoever comes next finds it by the name of that file on its command
 * line, which also tells its ports, and takes it over. Two servers on one file would damage it, so one that does not
 * answer is ended before another starts. */
import { spawn, spawnSync } from 'node:child_process';
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Connection } from '@temporalio/client';
import { TownError } from '../../schema/errors';
import { withLock } from './lock';
import { prepareFolders, type TownPaths } from './paths';
import {
  exitOf,
  findProcesses,
  freePorts,
  isPortFree,
  processStartTime,
  stopProcess,
  type ProcessRef,
  type SeenProcess,
} from './process';
import { lastLines, openLog, type Progress } from './progress';
import { isRecord, messageOf, readJson, writeJson } from './state';

export interface TemporalHandle {
  /** host:port */
  readonly address: string;
  readonly uiUrl: string | null;
  /** Null for a server that somebody else runs. */
  readonly process: ProcessRef | null;
  /** Settles when the server ends; never for somebody else's. */
  readonly exited: Promise<void>;
  /** Does nothing to somebody else's server. */
  stop(): Promise<void>;
}

export interface TemporalSearch {
  readonly progress: Progress;
  /** Path of an executable from the configuration; TOWN_TEMPORAL_CLI wins over it. */
  readonly configured?: string | undefined;
  /** Ends a build that is under way. */
  readonly signal?: AbortSignal | undefined;
}

export interface TemporalRequest {
  readonly paths: TownPaths;
  readonly progress: Progress;
  /** Asked for only when a server has to be started. */
  readonly executable: () => Promise<string>;
  /** A server that somebody else runs. */
  readonly address?: string | undefined;
  /** Switches the Web UI on. */
  readonly ui: boolean;
  readonly signal?: AbortSignal | undefined;
}

const CLI_VERSION = '1.8.2';
const HEALTHY_MS = 30_000;
const SUPPLY =
  'install the Temporal CLI (1.7 or newer) on PATH or name it: TOWN_TEMPORAL_CLI=<path>; ' +
  'or install Go 1.24 or newer; or name a server: TOWN_TEMPORAL_ADDRESS=host:port';

/** Measured on the two-core reference machine: 100 ms a step without these, 12.5 with them and synchronous writes. */
const SETTINGS = [
  'history.transferProcessorMaxPollRPS=2000',
  'history.timerProcessorMaxPollRPS=2000',
  'matching.numTaskqueueReadPartitions=1',
  'matching.numTaskqueueWritePartitions=1',
  'history.workflowIdReuseMinimalInterval="0s"',
  'history.timerProcessorMaxTimeShift="10ms"',
  'system.enableActivityEagerExecution=true',
  // A run goes over to a new history here: replaying costs 0.7 ms an event, and must end within the 3 s of a workflow task.
  'limit.historyCount.suggestContinueAsNew=1000',
];

/** The Temporal CLI: configured, on PATH, in the cache folder, or built from tools/temporal (minutes, once per machine).
 *  @throws TEMPORAL_UNAVAILABLE naming what was tried. */
export async function findTemporal(search: TemporalSearch): Promise<string> {
  const { found, problems } = findTemporalProgram(search.configured);
  if (found !== null) return found;
  problems.push('no download: the Temporal SDK brings no server of its own');
  return await buildTemporal(search, problems);
}

/** As `findTemporal`, but never builds. A configured executable that does not work is an error, not a reason to look on.
 *  @throws TEMPORAL_UNAVAILABLE for such a one. */
export function findTemporalProgram(configured?: string): {
  readonly found: string | null;
  readonly problems: string[];
} {
  const named = process.env['TOWN_TEMPORAL_CLI'] ?? configured;
  if (named !== undefined && named !== '') {
    const path = resolve(named);
    if (serverVersion(path) !== null) return { found: path, problems: [] };
    throw new TownError(
      'TEMPORAL_UNAVAILABLE',
      `${path} is not a usable Temporal CLI (server 1.31 or newer is needed)`,
      {
        hint: 'correct TOWN_TEMPORAL_CLI or the path in town.toml',
      },
    );
  }
  const problems: string[] = [];
  const onPath = (process.env['PATH'] ?? '')
    .split(':')
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, 'temporal'))
    .filter(isExecutable);
  for (const path of [...onPath, cachedProgram()]) {
    if (!isExecutable(path)) problems.push(`no ${path}`);
    else if (serverVersion(path) === null) problems.push(`${path} is older than server 1.31 or does not run`);
    else return { found: path, problems };
  }
  if (onPath.length === 0) problems.unshift('no temporal on PATH');
  return { found: null, problems };
}

export function hasGo(): boolean {
  return spawnSync('go', ['version'], { stdio: 'ignore', timeout: 5_000 }).status === 0;
}

/** Starts or takes over the town's server, or uses the one at `address`; settles when it answers. Idempotent.
 *  @throws TEMPORAL_UNAVAILABLE */
export async function startTemporal(request: TemporalRequest): Promise<TemporalHandle> {
  const { address, paths, progress } = request;
  if (address !== undefined) return await useServer(address, progress);
  prepareFolders(paths);
  return await withLock(
    paths.state,
    'temporal',
    {
      waitMs: 900_000, // as long as a build may take
      onWait: (holder) => progress('temporal', `waiting for pid ${holder?.pid ?? '?'}, which is starting it`),
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    },
    async () => (await adopt(request)) ?? (await startOwn(request)),
  );
}

/** The town's own servers, whoever started them. More than one is a fault. */
export function findTemporalServers(paths: TownPaths): SeenProcess[] {
  const prefix = databasePrefix(paths);
  return findProcesses(
    ({ args }) => args.includes('start-dev') && (argument(args, '--db-filename') ?? '').startsWith(prefix),
  );
}

export async function stopTemporal(server: ProcessRef): Promise<void> {
  if (!(await stopProcess(server)))
    throw new TownError('TEMPORAL_UNAVAILABLE', `Temporal (pid ${server.pid}) does not end`);
}

/** Settles when the server answers and has its namespace; rejects with the reason after `timeoutMs`. */
export async function askTemporal(address: string, timeoutMs: number): Promise<void> {
  const connection = await Connection.connect({ address, connectTimeout: timeoutMs });
  try {
    await connection.withDeadline(Date.now() + timeoutMs, async () =>
      connection.workflowService.describeNamespace({ namespace: 'default' }),
    );
  } finally {
    await connection.close();
  }
}

async function useServer(address: string, progress: Progress): Promise<TemporalHandle> {
  progress('temporal', `using the server at ${address}`);
  const failure = await becomesHealthy(address, () => true);
  if (failure === null) {
    return { address, uiUrl: null, process: null, exited: new Promise(() => undefined), stop: async () => undefined };
  }
  throw new TownError('TEMPORAL_UNAVAILABLE', `Temporal at ${address} does not answer: ${failure}`, {
    hint: 'check TOWN_TEMPORAL_ADDRESS or the address in town.toml, and that the server is up with the namespace "default"',
  });
}

async function adopt({ paths, progress }: TemporalRequest): Promise<TemporalHandle | null> {
  const [running, ...more] = findTemporalServers(paths);
  for (const other of more) await stopTemporal(other);
  if (running === undefined) return null;
  const address = `127.0.0.1:${argument(running.args, '--port')}`;
  const uiPort = argument(running.args, '--ui-port');
  const failure = await askTemporal(address, 3_000).then(() => null, messageOf);
  if (failure === null) {
    progress('temporal', `taking over the running server, pid ${running.pid}`);
    return handleOf(running, address, uiPort === null ? null : `http://127.0.0.1:${uiPort}`);
  }
  progress('temporal', `pid ${running.pid} does not answer; ending it`, 'warn');
  await stopTemporal(running);
  return null;
}

async function startOwn(request: TemporalRequest): Promise<TemporalHandle> {
  const { paths, progress, ui } = request;
  const executable = await request.executable();
  const version = serverVersion(executable);
  if (version === null)
    throw new TownError('TEMPORAL_UNAVAILABLE', `${executable} is not a usable Temporal CLI`, { hint: SUPPLY });
  const database = `${databasePrefix(paths)}${version}.db`;
  let failure = '';
  // Between choosing a port and using it somebody else may take it.
  for (let attempt = 0; attempt < 3; attempt += 1) {
    request.signal?.throwIfAborted();
    const ports = await choosePorts(paths);
    progress('temporal', `starting server ${version} on 127.0.0.1:${ports.grpc}`);
    const started = await launch(executable, database, ports, ui, paths);
    const address = `127.0.0.1:${ports.grpc}`;
    const reason = await becomesHealthy(address, () => processStartTime(started.pid) === started.startTime);
    if (reason === null) {
      writeJson(portsFile(paths), { grpc: ports.grpc, ui: ports.ui });
      progress('temporal', `ready on ${address}, pid ${started.pid}`);
      return handleOf(started, address, ui ? `http://127.0.0.1:${ports.ui}` : null);
    }
    failure = reason;
    await stopTemporal(started);
  }
  throw new TownError(
    'TEMPORAL_UNAVAILABLE',
    `the Temporal server does not start: ${lastLines(paths.logs, 'temporal.log', 1) ?? failure}`,
    {
      hint: `its own messages are in ${join(paths.logs, 'temporal.log')}; TOWN_TEMPORAL_ADDRESS names another server`,
    },
  );
}

interface Ports {
  readonly grpc: number;
  readonly ui: number;
  readonly http: number;
  readonly metrics: number;
}

/** The ports of last time when they are free, so that bookmarks and clients stay valid. */
async function choosePorts(paths: TownPaths): Promise<Ports> {
  const last = readJson(portsFile(paths));
  const [grpc, ui, http, metrics] = (await freePorts(4)) as [number, number, number, number];
  const again = async (port: unknown, otherwise: number) =>
    typeof port === 'number' && (await isPortFree(port)) ? port : otherwise;
  return isRecord(last)
    ? { grpc: await again(last['grpc'], grpc), ui: await again(last['ui'], ui), http, metrics }
    : { grpc, ui, http, metrics };
}

async function launch(
  executable: string,
  database: string,
  ports: Ports,
  ui: boolean,
  paths: TownPaths,
): Promise<ProcessRef> {
  const log = openLog(paths.logs, 'temporal.log');
  const child = spawn(
    executable,
    [
      'server',
      'start-dev',
      '--ip',
      '127.0.0.1',
      '--port',
      String(ports.grpc),
      '--http-port',
      String(ports.http),
      '--metrics-port',
      String(ports.metrics),
      ...(ui ? ['--ui-ip', '127.0.0.1', '--ui-port', String(ports.ui), '--ui-disable-news-fetch'] : ['--headless']),
      '--db-filename',
      database,
      '--sqlite-pragma',
      'journal_mode=WAL',
      '--sqlite-pragma',
      'synchronous=FULL',
      '--log-level',
      'error',
      '--log-format',
      'json',
      ...SETTINGS.flatMap((setting) => ['--dynamic-config-value', setting]),
    ],
    { detached: true, stdio: ['ignore', log, log], cwd: paths.state },
  );
  closeSync(log);
  child.unref();
  const failed = new Promise<never>((_, reject) => child.once('error', reject));
  failed.catch(() => undefined); // when it fails later than the line below
  if (child.pid === undefined) return await failed;
  return { pid: child.pid, startTime: processStartTime(child.pid) ?? 0 };
}

/** Null once it answers, else why not: after 30 s, or as soon as `isRunning` says no. */
async function becomesHealthy(address: string, isRunning: () => boolean): Promise<string | null> {
  const until = Date.now() + HEALTHY_MS;
  for (;;) {
    const failure = await askTemporal(address, 3_000).then(() => null, messageOf);
    if (failure === null || !isRunning() || Date.now() >= until) return failure;
    await sleep(50);
  }
}

/** Builds the CLI as a module. Its result is renamed into the cache, so an interrupted build leaves nothing half made. */
async function buildTemporal({ progress, signal }: TemporalSearch, problems: string[]): Promise<string> {
  const module = findModule();
  if (module === null) problems.push('no folder tools/temporal to build it from');
  if (!hasGo()) problems.push('no go on PATH to build it with');
  if (module === null || !hasGo()) {
    throw new TownError('TEMPORAL_UNAVAILABLE', `no Temporal server: ${problems.join('; ')}`, { hint: SUPPLY });
  }
  const target = cachedProgram();
  const folder = dirname(target);
  mkdirSync(folder, { recursive: true });
  return await withLock(
    folder,
    'temporal-build',
    {
      waitMs: 1_800_000,
      onWait: (holder) => progress('temporal', `waiting for pid ${holder?.pid ?? '?'}, which is building it`),
      ...(signal === undefined ? {} : { signal }),
    },
    async () => {
      if (serverVersion(target) === null) await goBuild(module, target, progress, problems, signal);
      return target;
    },
  );
}

async function goBuild(
  module: string,
  target: string,
  progress: Progress,
  problems: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const started = Date.now();
  const seconds = () => Math.round((Date.now() - started) / 1000);
  progress('temporal', `building the Temporal CLI ${CLI_VERSION} with go (about 3 minutes, once per machine)`);
  const work = mkdtempSync(join(tmpdir(), 'steeltown-go-'));
  const draft = `${target}.${process.pid}.new`;
  const ticker = setInterval(() => progress('temporal', `still building, ${seconds()} s`), 10_000);
  try {
    for (const file of ['go.mod', 'go.sum']) copyFileSync(join(module, file), join(work, file));
    const flags = `-s -w -X github.com/temporalio/cli/internal/temporalcli.Version=${CLI_VERSION}`;
    const args = ['build', '-trimpath', '-ldflags', flags, '-o', draft, 'github.com/temporalio/cli/cmd/temporal'];
    const failure = await run('go', args, work, signal);
    signal?.throwIfAborted();
    if (failure !== null) {
      throw new TownError(
        'TEMPORAL_UNAVAILABLE',
        `no Temporal server: ${[...problems, `go build failed: ${failure}`].join('; ')}`,
        {
          hint: SUPPLY,
        },
      );
    }
    chmodSync(draft, 0o755);
    renameSync(draft, target);
    progress('temporal', `built in ${seconds()} s: ${target}`);
  } finally {
    clearInterval(ticker);
    rmSync(draft, { force: true });
    rmSync(work, { recursive: true, force: true });
  }
}

/** Null on success, else the last lines it wrote. The whole process group ends on `signal`. */
function run(file: string, args: string[], cwd: string, signal: AbortSignal | undefined): Promise<string | null> {
  return new Promise((settle) => {
    const env = { ...process.env, CGO_ENABLED: '0', GOWORK: 'off', GOFLAGS: '' };
    const child = spawn(file, args, { cwd, env, detached: true, stdio: ['ignore', 'ignore', 'pipe'] });
    let tail = '';
    child.stderr.on('data', (chunk: Buffer) => (tail = (tail + chunk.toString()).slice(-2_000)));
    const stop = () => child.pid !== undefined && process.kill(-child.pid, 'SIGTERM');
    signal?.addEventListener('abort', stop, { once: true });
    const done = (failure: string | null) => {
      signal?.removeEventListener('abort', stop);
      settle(failure);
    };
    child.once('error', (error) => done(error.message));
    child.once('close', (code) => done(code === 0 ? null : tail.trim().split('\n').slice(-5).join(' / ')));
  });
}

function findModule(): string | null {
  for (let folder = __dirname; ; folder = dirname(folder)) {
    const module = join(folder, 'tools', 'temporal');
    if (existsSync(join(module, 'go.mod'))) return module;
    if (folder === dirname(folder)) return null;
  }
}

/** Major and minor version of the server inside, or null when it does not run or is too old. */
function serverVersion(executable: string): string | null {
  const asked = spawnSync(executable, ['--version'], { encoding: 'utf8', timeout: 10_000 });
  const version = /\(Server (\d+)\.(\d+)\./.exec(asked.stdout ?? '');
  if (version === null) return null;
  const [major, minor] = [Number(version[1]), Number(version[2])];
  return major > 1 || minor >= 31 ? `${major}.${minor}` : null;
}

function cachedProgram(): string {
  const cache = process.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache');
  return join(cache, 'steeltown', 'bin', `temporal-${CLI_VERSION}`);
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function handleOf(server: ProcessRef, address: string, uiUrl: string | null): TemporalHandle {
  const { pid, startTime } = server;
  const ref = { pid, startTime };
  return { address, uiUrl, process: ref, exited: exitOf(ref), stop: async () => await stopTemporal(ref) };
}

function databasePrefix(paths: TownPaths): string {
  return paths.temporalDb.slice(0, -'1.31.db'.length);
}

function portsFile(paths: TownPaths): string {
  return join(paths.state, 'temporal-ports.json');
}

function argument(args: readonly string[], name: string): string | null {
  const index = args.indexOf(name);
  return index < 0 ? null : (args[index + 1] ?? null);
}
