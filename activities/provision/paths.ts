import { createHash } from 'node:crypto';
import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { TownError } from '../../schema/errors';

/** Where a town keeps its things. Nothing here has to exist yet; `prepareFolders` makes it. */
export interface TownPaths {
  readonly root: string;
  readonly config: string;
  /** Folder of everything the town itself writes; mode 0700. */
  readonly state: string;
  /** Folder of the unix sockets; short enough for the kernel's limit on socket paths. */
  readonly runDir: string;
  readonly logs: string;
  /** Output of acceptance checks. */
  readonly checkLogs: string;
  /** Unix socket of the town service. */
  readonly socket: string;
  /** Text file that holds the path of `socket`, for clients that know only the root. */
  readonly socketFile: string;
  readonly pgData: string;
  /** Named after the server's version: a newer server does not migrate an older file. */
  readonly temporalDb: string;
  readonly stateFile: string;
  /** Written by the service when it is ready: `{pid, httpUrl, at}`. */
  readonly serviceFile: string;
  /** Progress of the supervisor, one JSON object a line. */
  readonly upLog: string;
  readonly tokens: string;
  readonly worktrees: string;
}

/** Bytes that a folder of sockets may take, so that a name of 40 bytes still fits below the kernel's 107. */
const RUN_DIR_BYTES_MAX = 60;

export function townPaths(root: string): TownPaths {
  const home = resolve(root);
  const state = join(home, '.town');
  const socketFile = join(state, 'socket');
  const runDir = chooseRunDir(home, join(state, 'run'), socketFile);
  const logs = join(state, 'logs');
  return {
    root: home,
    config: join(home, 'town.toml'),
    state,
    runDir,
    logs,
    checkLogs: join(logs, 'checks'),
    socket: join(runDir, 'town.sock'),
    socketFile,
    pgData: join(state, 'postgres'),
    temporalDb: join(state, 'temporal-1.31.db'),
    stateFile: join(state, 'state.json'),
    serviceFile: join(state, 'service.json'),
    upLog: join(logs, 'up.log'),
    tokens: join(state, 'tokens'),
    worktrees: join(state, 'worktrees'),
  };
}

/** The nearest folder at or above `cwd` that holds a `town.toml`.
 *  @throws TOWN_NOT_FOUND */
export function findTownRoot(cwd: string): string {
  for (let folder = resolve(cwd); ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'town.toml'))) return folder;
    if (folder === dirname(folder)) break;
  }
  throw new TownError('TOWN_NOT_FOUND', `no town.toml in ${resolve(cwd)} or above it`, {
    hint: 'go to the folder of a town, or make one with: town install <folder>',
  });
}

/** Makes the state folders (0700) and records the socket's path. Idempotent.
 *  @throws FORBIDDEN when the folder for sockets belongs to somebody else or others can enter it. */
export function prepareFolders(paths: TownPaths): void {
  mkdirSync(paths.state, { recursive: true, mode: 0o700 });
  if ((lstatSync(paths.state).mode & 0o077) !== 0) chmodSync(paths.state, 0o700);
  for (const folder of [paths.logs, paths.tokens, paths.worktrees, paths.runDir]) {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
  }
  checkPrivate(paths.runDir);
  const recorded = existsSync(paths.socketFile) ? readFileSync(paths.socketFile, 'utf8').trim() : null;
  if (recorded !== paths.socket) writeFileSync(paths.socketFile, `${paths.socket}\n`, { mode: 0o600 });
}

/** First eight hex digits of a hash of the root: names what must lie outside the root. */
export function rootHash(root: string): string {
  return createHash('sha256').update(resolve(root)).digest('hex').slice(0, 8);
}

function chooseRunDir(root: string, inside: string, socketFile: string): string {
  if (Buffer.byteLength(inside) <= RUN_DIR_BYTES_MAX) return inside;
  const name = `steeltown-${process.getuid?.() ?? 0}-${rootHash(root)}`;
  // XDG_RUNTIME_DIR differs between a login and a scheduled job: what was recorded first stays valid while its parent
  // exists. The name holds the hash of the root, so the record of a copied town is not taken over.
  if (existsSync(socketFile)) {
    const recorded = dirname(readFileSync(socketFile, 'utf8').trim());
    if (basename(recorded) === name && existsSync(dirname(recorded))) return recorded;
  }
  const bases = [process.env['XDG_RUNTIME_DIR'], tmpdir(), '/tmp'].filter(
    (base) => base !== undefined && existsSync(base),
  );
  const fitting = bases.find((base) => Buffer.byteLength(join(base!, name)) <= RUN_DIR_BYTES_MAX);
  return join(fitting ?? '/tmp', name);
}

function checkPrivate(folder: string): void {
  const entry = lstatSync(folder);
  if (entry.isDirectory() && entry.uid === process.getuid?.() && (entry.mode & 0o077) === 0) return;
  throw new TownError('FORBIDDEN', `${folder} must be a folder of your own that nobody else can enter (mode 0700)`, {
    hint: 'use the account that installed the town, or set XDG_RUNTIME_DIR to a private folder of this account',
    details: { uid: entry.uid, mode: (entry.mode & 0o777).toString(8) },
  });
}
