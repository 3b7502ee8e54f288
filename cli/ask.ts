import { readFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
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
export function requestOf(argv: readonly string[], tty: boolean, env: NodeJS.ProcessEnv): KeyedRequest {
  const token = readToken(env);
  return {
    v: 1,
    id: 1,
    argv,
    cwd: process.cwd(),
    tty,
    user: env['USER'] ?? env['LOGNAME'] ?? '',
    ...(token === null ? {} : { token, key: requestKey() }),
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
      return await askOnce(path, request);
    } catch (error) {
      if (!(error instanceof SocketLost)) throw error;
      if (until === 0 || error.sent) until = Date.now() + patienceMs;
      if (Date.now() >= until || (error.sent && request.key === undefined)) throw error;
      await new Promise((wake) => setTimeout(wake, 50));
    }
  }
}

function readToken(env: NodeJS.ProcessEnv): string | null {
  const token = env['TOWN_TOKEN'];
  if (token !== undefined && token !== '') return token;
  const file = env['TOWN_TOKEN_FILE'];
  return file === undefined || file === '' ? null : readFileSync(file, 'utf8').trim();
}

/** Differs between any two commands; equal for the repetitions of one. */
function requestKey(): string {
  return `${process.pid.toString(36)}-${process.hrtime.bigint().toString(36)}-${Math.random().toString(36).slice(2)}`;
}

function readSocketFile(root: string): string | null {
  try {
    return readFileSync(join(root, '.town', 'socket'), 'utf8').trim() || null;
  } catch {
    return null; // no town here, or not ours to read
  }
}
