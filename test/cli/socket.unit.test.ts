import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SocketAnswer } from '../../schema/desk';
import { ask, askOnce, SocketLost } from '../../cli/ask';
import { answerRequest } from '../../cli/server/answer';
import { LINE_BYTES_MAX, startSocketServer, type SocketServer } from '../../cli/server/socket';
import { requestOf } from '../support/client';
import { fakeTown } from '../support/fakes/town';

const folder = mkdtempSync(join(tmpdir(), 'town-'));
const path = join(folder, 'town.sock');
const town = fakeTown();
let server: SocketServer | null = null;

async function start(): Promise<SocketServer> {
  server = await startSocketServer({ path, handle: async (asked) => await answerRequest(town.client, asked) });
  return server;
}

/** Reads until `count` lines have come. */
async function lines(socket: Socket, count: number): Promise<SocketAnswer[]> {
  let received = '';
  for await (const chunk of socket) {
    received += String(chunk);
    if (received.split('\n').length > count) break;
  }
  return received
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as SocketAnswer);
}

afterEach(async () => {
  await server?.close(0);
  server = null;
});
afterAll(() => rmSync(folder, { recursive: true }));

it('is a socket of its owner alone', async () => {
  await start();
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

it('answers several requests on one connection, each by its id', async () => {
  await start();
  const socket = connect(path);
  socket.write(
    `${JSON.stringify(requestOf(['ready'], { id: 5 }))}\n${JSON.stringify(requestOf(['nonsense'], { id: 6 }))}\n`,
  );
  const answers = await lines(socket, 2);
  expect(answers.map(({ id }) => id).toSorted((left, right) => left - right)).toEqual([5, 6]);
  expect(answers.find(({ id }) => id === 6)).toMatchObject({ unknown: true });
});

it('answers hostile lines as USAGE and goes on with the next', async () => {
  await start();
  const socket = connect(path);
  const bad = ['{', '[]', 'null', '"x"', '{"v":2}', JSON.stringify({ ...requestOf(['ready']), extra: 1 })];
  for (const line of bad) socket.write(`${line}\n`);
  socket.write(`${JSON.stringify(requestOf(['ready'], { id: 9 }))}\n`);
  const answers = await lines(socket, bad.length + 1);
  expect(answers.filter(({ code }) => code === 2)).toHaveLength(bad.length);
  expect(answers.find(({ id }) => id === 9)).toMatchObject({ code: 0 });
});

it('refuses a line that is too long and ends the connection', async () => {
  await start();
  const socket = connect(path);
  socket.on('error', () => undefined);
  socket.write('x'.repeat(LINE_BYTES_MAX + 10));
  const [answer] = await lines(socket, 1);
  expect(answer).toMatchObject({ code: 2 });
  expect(answer?.stderr).toContain('INPUT_TOO_LARGE');
});

it('survives clients that leave in the middle', async () => {
  await start();
  for (let i = 0; i < 20; i += 1) {
    const socket = connect(path);
    socket.on('error', () => undefined);
    await once(socket, 'connect');
    socket.write(`${JSON.stringify(requestOf(['ready']))}\n{"half`);
    socket.destroy();
  }
  expect(await askOnce(path, requestOf(['ready']))).toMatchObject({ code: 0 });
});

it('keeps the socket of a successor when the old server closes', async () => {
  const old = await start();
  const successor = await start();
  await old.close(0);
  expect(await askOnce(successor.path, requestOf(['ready']))).toMatchObject({ code: 0 });
});

it('is asked again while it restarts, and only once without patience', async () => {
  await expect(ask(path, requestOf(['ready']), 0)).rejects.toBeInstanceOf(SocketLost);
  const answered = ask(path, requestOf(['ready'], { key: 'k' }), 20_000);
  await start();
  expect(await answered).toMatchObject({ code: 0 });
});

it('is not asked twice for a write without a key', async () => {
  let asked = 0;
  server = await startSocketServer({
    path,
    handle: async () => {
      asked += 1;
      await server?.close(0);
      return await new Promise<never>(() => undefined);
    },
  });
  await expect(ask(path, requestOf(['task', 'create', 'x']), 5_000)).rejects.toMatchObject({ sent: true });
  expect(asked).toBe(1);
});

it('serves the thin client from bin/town through a pipe', async () => {
  await start();
  const script = join(__dirname, '..', '..', 'bin', 'town');
  const child = spawn(script, ['ready', '--json'], {
    env: { ...process.env, TOWN_SOCKET: path },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let printed = '';
  child.stdout.on('data', (chunk: Buffer) => (printed += chunk.toString()));
  const [code] = (await once(child, 'close')) as [number];
  expect([code, printed]).toEqual([0, '[]\n']);
});

it('prints a long answer whole to a reader that comes late, and ends with its code', async () => {
  const stdout = `${'x'.repeat(3_000_000)}\n`;
  server = await startSocketServer({
    path,
    handle: () => Promise.resolve({ id: 1, code: 4, stdout, stderr: 'told\n' }),
  });
  const child = spawn(join(__dirname, '..', '..', 'bin', 'town'), ['ready'], {
    env: { ...process.env, TOWN_SOCKET: path },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  await once(child.stderr, 'data'); // it has begun to print, and the pipe holds 64 kB
  let printed = 0;
  child.stdout.on('data', (chunk: Buffer) => (printed += chunk.length));
  const [code] = (await once(child, 'close')) as [number];
  expect([code, printed]).toEqual([4, stdout.length]);
});
