import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { userInfo } from 'node:os';
import { dirname, join } from 'node:path';
import type { SocketAnswer, SocketRequest } from '../schema/desk';

/** The thin side of the town's socket. Loads nothing but Node's own modules: it runs with every command. */

/** A request with the key under which the server recognises a repetition of it. */
export type KeyedRequest = SocketRequest & { readonly key?: string };

/** The socket of the town around `cwd`, or null. `TOWN_SOCKET` goes first (sessions), then `TOWN_ROOT`. */
export function findSocket(cwd: string, env: NodeJS.ProcessEnv): string | null {
  const given = env['TOWN_SOCKET'];
  if (given !== undefined && given !== '') return given;
  const root = env['TOWN_ROOT'];
  if (root !== undefined && root !== '') return readSocketFile(root);
  for (let folder = cwd; ; folder = dirname(folder)) {
    const path = readSocketFile(folder);
    if (path !== null || folder === dirname(folder)) return path;
  }
}

/** What the caller's surroundings say of it. With a token, the request has a key: a session's command is repeated when its answer is lost. */
export function requestOf(
  path: string,
  argv: readonly string[],
  tty: boolean,
  cwd = process.cwd(),
  env = process.env,
): KeyedRequest {
  const given = readToken(env);
  const agent = env['TOWN_AGENT'];
  const kept = given === null ? keptToken(path, agent, cwd) : null;
  const token = given ?? kept;
  return {
    v: 1,
    id: 1,
    argv,
    cwd,
    tty,
    user: env['USER'] ?? env['LOGNAME'] ?? accountName(),
    ...(token === null ? {} : { token, key: requestKey() }),
    ...(kept === null ? {} : { kept: true }),
    ...(agent === undefined ? {} : { agent }),
  };
}

export const WENT_AWAY = 'the town went away before it answered; the command may have been carried out';
export const WENT_AWAY_HINT = 'with the same --key as before it can be asked again safely; see: town status';

/** Nobody listens, or the listener went away before it answered. */
export class SocketLost extends Error {
  /** Whether the request may have been carried out. */
  readonly sent: boolean;

  constructor(message: string, sent: boolean) {
    super(message);
    this.sent = sent;
  }
}

/** A mistake in the surroundings of the command: the message is for its caller. */
export class Refused extends Error {}

/** One request, one answer. @throws SocketLost */
export function askOnce(path: string, request: KeyedRequest): Promise<SocketAnswer> {
  return new Promise((resolve, reject) => {
    let sent = false;
    let received = '';
    const socket: Socket = connect(path);
    const fail = (message: string) => {
      socket.destroy();
      reject(new SocketLost(message, sent));
    };
    socket.setEncoding('utf8');
    socket.once('connect', () => {
      sent = true;
      socket.write(`${JSON.stringify(request)}\n`);
    });
    socket.on('data', (chunk: string) => {
      received += chunk;
      const end = received.indexOf('\n');
      if (end < 0) return;
      try {
        resolve(JSON.parse(received.slice(0, end)) as SocketAnswer); // our own server
        socket.destroy();
      } catch {
        fail('the answer is not readable');
      }
    });
    socket.once('error', (error) => fail(error.message));
    socket.once('close', () => fail('the connection closed before the answer'));
  });
}

/** A session outlives a restart of its host: it waits this long for the socket. */
const SESSION_PATIENCE_MS = 30_000;

/** Asks again while nobody listens, for `patienceMs` after each loss. A request without a key is not repeated once it was sent. */
export async function ask(
  path: string,
  request: KeyedRequest,
  patienceMs = request.token === undefined ? 0 : SESSION_PATIENCE_MS,
): Promise<SocketAnswer> {
  for (let until = 0; ;) {
    try {
      const answer = await askOnce(path, request);
      if (answer.attached !== undefined) keepToken(path, answer.attached);
      return answer;
    } catch (error) {
      if (!(error instanceof SocketLost)) throw error;
      if (until === 0 || error.sent) until = Date.now() + patienceMs;
      if (Date.now() >= until || (error.sent && request.key === undefined)) throw error;
      await new Promise((wake) => setTimeout(wake, 50));
    }
  }
}

/** Beside the socket, for this user alone: a file for each agent that somebody attached by `town hook`. */
function keptFolder(socket: string): string {
  return join(dirname(socket), 'attached');
}

function keepToken(socket: string, attached: NonNullable<SocketAnswer['attached']>): void {
  const folder = keptFolder(socket);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = join(folder, `${attached.agent.replaceAll('/', '.')}.json`);
  const draft = `${file}.${process.pid}`;
  writeFileSync(draft, JSON.stringify(attached), { mode: 0o600 });
  renameSync(draft, file);
}

/** Of the agent that is named, else of the one in whose folder we are: the nearest, when there are several. */
function keptToken(socket: string, agent: string | undefined, cwd: string): string | null {
  if (agent === '') return null;
  let names: string[];
  try {
    names = readdirSync(keptFolder(socket)).filter((name) => name.endsWith('.json'));
  } catch {
    return null; // nobody has attached here yet
  }
  const found = names.flatMap((name) => readKept(join(keptFolder(socket), name)) ?? []);
  if (agent !== undefined) return found.find((each) => each.agent === agent)?.token ?? null;
  return (
    found
      .filter(({ folder }) => folder !== null && (cwd === folder || cwd.startsWith(`${folder}/`)))
      .sort((a, b) => (b.folder?.length ?? 0) - (a.folder?.length ?? 0))[0]?.token ?? null
  );
}

function readKept(file: string): NonNullable<SocketAnswer['attached']> | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as NonNullable<SocketAnswer['attached']>; // our own file, replaced as a whole
  } catch {
    return null; // gone, or not ours to read
  }
}

function readToken(env: NodeJS.ProcessEnv): string | null {
  const token = env['TOWN_TOKEN'];
  if (token !== undefined && token !== '') return token;
  const file = env['TOWN_TOKEN_FILE'];
  if (file === undefined || file === '') return null;
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    throw new Refused(`the token of this session cannot be read from TOWN_TOKEN_FILE: ${(error as Error).message}`);
  }
}

/** Differs between any two commands; equal for the repetitions of one. */
function requestKey(): string {
  return `${process.pid.toString(36)}-${process.hrtime.bigint().toString(36)}-${Math.random().toString(36).slice(2)}`;
}

/** Of a process that was started without a login, as in a container. */
function accountName(): string {
  try {
    return userInfo().username;
  } catch {
    return ''; // an account without an entry
  }
}

function readSocketFile(root: string): string | null {
  try {
    return readFileSync(join(root, '.town', 'socket'), 'utf8').trim() || null;
  } catch {
    return null; // no town here, or not ours to read
  }
}
