import { chmodSync, renameSync, rmSync } from 'node:fs';
import { createServer, type Socket } from 'node:net';
import { z } from 'zod';
import type { SocketAnswer } from '../../schema/desk';
import type { KeyedRequest } from '../ask';

/**
 * The town's unix socket: a line of JSON in, a line of JSON out, any number of them on one connection; requests of one connection
 * are answered as they are ready, by `id`.
 *
 * The socket is made under a temporary name and renamed into place, so that clients never see it half made, and a server that ends
 * late does not take away the one of its successor.
 */
export interface SocketServer {
  readonly path: string;
  /** Takes no more requests, waits up to `graceMs` for the answers under way, then ends all connections. */
  close(graceMs?: number): Promise<void>;
}

export interface SocketServerOptions {
  readonly path: string;
  /** Must not reject; if it does, the client gets an INTERNAL answer. */
  readonly handle: (request: KeyedRequest) => Promise<SocketAnswer>;
}

export const LINE_BYTES_MAX = 1024 * 1024;
/** Requests of one connection that may be under way; beyond that it is read no further until some are answered. */
const PENDING_MAX = 64;

const text = z.string().max(LINE_BYTES_MAX);
const RequestSchema = z.strictObject({
  v: z.literal(1),
  id: z.int(),
  argv: z.array(text).max(10_000),
  cwd: z.string().max(4096),
  tty: z.boolean(),
  token: z.string().min(1).max(512).optional(),
  kept: z.literal(true).optional(),
  agent: z.string().max(256).optional(),
  user: z.string().max(256),
  key: z.string().min(1).max(150).optional(),
  stdin: text.optional(),
  // Visible characters only: anything else would come back in the words of whoever refuses it as a header.
  forge_token: z
    .string()
    .regex(/^[\x21-\x7e]{1,4096}$/)
    .nullable()
    .optional(),
});

export async function startSocketServer({ path, handle }: SocketServerOptions): Promise<SocketServer> {
  const connections = new Set<Socket>();
  const pending = new Set<Promise<void>>();
  const temporary = `${path}.${process.pid.toString(36)}`;
  const server = createServer((socket) => {
    connections.add(socket);
    socket.on('close', () => connections.delete(socket));
    serve(socket, handle, pending);
  });
  rmSync(temporary, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(temporary, resolve);
  });
  server.on('error', () => undefined); // a failed accept concerns one client only
  chmodSync(temporary, 0o600);
  renameSync(temporary, path);
  return {
    path,
    async close(graceMs = 1_000) {
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      for (const socket of connections) socket.pause();
      await within(graceMs, Promise.all(pending));
      for (const socket of connections) socket.destroy();
      await closed;
    },
  };
}

function serve(socket: Socket, handle: SocketServerOptions['handle'], pending: Set<Promise<void>>): void {
  let chunks: Buffer[] = [];
  let size = 0;
  let open = 0;
  socket.on('error', () => socket.destroy()); // the client went away
  socket.on('data', (chunk: Buffer) => {
    let from = 0;
    for (let end = chunk.indexOf(10, from); end >= 0; end = chunk.indexOf(10, from)) {
      chunks.push(chunk.subarray(from, end));
      from = end + 1;
      const line = Buffer.concat(chunks);
      [chunks, size] = [[], 0];
      if (line.length > LINE_BYTES_MAX) return refuseLong();
      if (line.length > 0) accept(line);
    }
    if (from < chunk.length) chunks.push(chunk.subarray(from));
    size += chunk.length - from;
    if (size > LINE_BYTES_MAX) refuseLong();
  });

  function accept(line: Buffer): void {
    open += 1;
    if (open >= PENDING_MAX) socket.pause();
    const work = answer(line).then((reply) => {
      pending.delete(work);
      open -= 1;
      if (open < PENDING_MAX) socket.resume();
      if (socket.writable) socket.write(`${JSON.stringify(reply)}\n`);
    });
    pending.add(work);
  }

  async function answer(line: Buffer): Promise<SocketAnswer> {
    let raw: unknown;
    try {
      raw = JSON.parse(line.toString('utf8'));
    } catch {
      return refusal(0, 2, 'the request is not a line of JSON (USAGE)');
    }
    const parsed = RequestSchema.safeParse(raw);
    const id = (raw as { id?: unknown } | null)?.id;
    const echoed = typeof id === 'number' ? id : 0;
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      return refusal(echoed, 2, `the request is not understood: ${issue?.path.join('.')}: ${issue?.message} (USAGE)`);
    }
    try {
      return await handle(parsed.data as KeyedRequest); // absent keys are absent, not undefined: they come from JSON
    } catch (error) {
      return refusal(
        echoed,
        1,
        `something went wrong inside the town: ${error instanceof Error ? error.message : String(error)} (INTERNAL)`,
      );
    }
  }

  function refuseLong(): void {
    socket.removeAllListeners('data');
    socket.end(`${JSON.stringify(refusal(0, 2, `a request has at most ${LINE_BYTES_MAX} bytes (INPUT_TOO_LARGE)`))}\n`);
    socket.resume(); // what still comes is thrown away
    socket.setTimeout(5_000, () => socket.destroy());
  }
}

function refusal(id: number, code: number, message: string): SocketAnswer {
  return { id, code, stdout: '', stderr: `town: ${message}\n` };
}

async function within(ms: number, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, late]);
  clearTimeout(timer);
}
