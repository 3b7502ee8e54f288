/* What goes wrong around a town that runs, on real processes: bad input, closed sockets, Postgres and Temporal killed or stopped in the
 * middle of a command, a full disk. Always: a code, nothing lost, nothing done twice, and all is well when the cause is gone. */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync, writeFileSync, writeSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { Client } from 'pg';
import { requestOf } from '../../cli/ask';
import { findProcesses } from '../../activities/provision/process';
import type { SocketAnswer } from '../../schema/desk';
import type { TaskView } from '../../schema/views';
import { chainEnd, chainFaults, hanoiFormula, pourChain, withTown } from '../bench/chain';
import { killProcess, type CommandEnd, type DrivenTown } from '../demo/driven-town';
import { until } from '../support/until';

const WORKER = { WORKER_THINK_MS: '20', WORKER_IDLE_MS: '600000' };
const PATIENCE_MS = 30_000;

it('refuses bad input with a code, on the command line and on the socket, and changes nothing', async () => {
  await withTown(WORKER, async (town) => {
    const formula = (name: string, text: string | Buffer) =>
      writeFileSync(join(town.root, 'formulas', `${name}.formula.toml`), text);
    formula('big', Buffer.alloc(10_000_000, '# ten megabytes of talk\n'));
    formula('latin', Buffer.from('formula = "latin"\ntitle = "caf\xe9"\n[[steps]]\nid = "a"\ntitle = "A"\n', 'latin1'));
    formula('keys', 'formula = "keys"\ncolour = "red"\n[[steps]]\nid = "a"\ntitle = "A"\n');
    formula(
      'ring',
      'formula = "ring"\n[[steps]]\nid = "a"\ntitle = "A"\nneeds = ["b"]\n[[steps]]\nid = "b"\ntitle = "B"\nneeds = ["a"]\n',
    );
    formula(
      'open',
      'formula = "open"\n[vars.issue]\nrequired = true\n[[steps]]\nid = "a"\ntitle = "Look at {{issue}}"\n',
    );
    const refused = async (code: number, text: string, ...words: string[]) =>
      expectRefusal(await town.run(...words), code, text);
    const cook = async (name: string) => await town.run('formula', 'cook', name);
    expectRefusal(await cook('big'), 2, 'INPUT_TOO_LARGE');
    expectRefusal(await cook('latin'), 2, 'FORMULA_INVALID', 'latin.formula.toml:', 'UTF-8');
    expectRefusal(await cook('keys'), 2, 'FORMULA_INVALID', 'keys.formula.toml:2', 'colour');
    expectRefusal(await cook('ring'), 2, 'FORMULA_INVALID', 'ring.formula.toml:');
    expectRefusal(await cook('open'), 2, 'FORMULA_VARIABLES', 'issue');
    await refused(2, 'INPUT_TOO_LARGE', 'molecule', 'pour', 'big', '--on', 'hanoi');

    await refused(3, 'NOT_FOUND', 'task', 'show', 'hanoi-zzzzz');
    await refused(2, 'USAGE', 'task', 'create', 'x', '--no-such-flag');
    await refused(2, 'INVALID_INPUT', 'task', 'create', '');
    await refused(3, 'FORMULA_NOT_FOUND', 'formula', 'show', 'absent');
    await refused(2, 'PATH_OUTSIDE_RIG', 'formula', 'show', '../../etc/passwd');
    const first = await town.json<{ id: string }>('task', 'create', 'first', '--rig', 'hanoi');
    const second = await town.json<{ id: string }>('task', 'create', 'second', '--rig', 'hanoi');
    await town.json('dep', 'add', second.id, first.id);
    await refused(4, 'DEPENDENCY_CYCLE', 'dep', 'add', first.id, second.id);
    await refused(4, 'OPEN_BLOCKERS', 'sling', second.id, 'hanoi');
    expect((await town.json<{ id: string }[]>('ready')).map(({ id }) => id)).toEqual([first.id]);
    await town.json('task', 'close', first.id, '--reason', 'not needed');
    await refused(4, 'WRONG_STATE', 'sling', first.id, 'hanoi');
    await refused(3, 'NOT_FOUND', 'sling', second.id, 'nowhere');
    await refused(3, 'NOT_FOUND', 'molecule', 'show', 'mol-zzzzz');
    await town.json('agent', 'add', 'hanoi/crew/bea', '--external');
    await refused(2, 'PATH_OUTSIDE_RIG', 'attach', 'hanoi/crew/bea', '--worktree', '/');
    expect((await town.json<{ id: string }[]>('ready')).map(({ id }) => id)).toEqual([second.id]);

    const answers = await rawTalk(town, [
      Buffer.from([0, 255, 254, 10]),
      Buffer.from('{"v":1}\n'),
      Buffer.from(`${JSON.stringify(request(['task', 'list', '--json']))}\n`),
      Buffer.alloc(3_000_000, 'x'),
    ]);
    expect(answers.map(({ code }) => code)).toEqual([2, 2, 0, 2]);
    expect(answers[0]?.stderr).toContain('USAGE');
    expect(answers[1]?.stderr).toContain('USAGE');
    expect(answers[3]?.stderr).toContain('INPUT_TOO_LARGE');
    expect(await town.json('audit', 'verify')).toMatchObject({ ok: true });
  });
}, 120_000);

it('loses nothing and does nothing twice when a client, the service, Postgres or Temporal goes away in the middle', async () => {
  await withTown(WORKER, async (town) => {
    const id = await pourChain(town, 5);
    const create = (key: string) => ['task', 'create', key, '--rig', 'hanoi', '--key', key];

    writeFileSync(join(town.root, 'formulas', 'hanoi-3.formula.toml'), hanoiFormula(3));

    // A client that hangs up: its command is done all the same.
    await inTheMiddle(town, async (blocked) => {
      const socket = await open(town);
      socket.write(`${JSON.stringify(request(create('hung-up')))}\n`);
      await blocked();
      socket.destroy();
    });
    await askedUntilDone(town, create('hung-up'), []);

    // The service dies under a client.
    const served = await inTheMiddle(town, async (blocked) => {
      const asked = town.run(...create('served'));
      await blocked();
      await town.killService();
      return await asked;
    });
    expectRefusal(served, 7, 'UNAVAILABLE', 'may have been carried out');
    await askedUntilDone(town, create('served'), ['TOWN_DOWN', 'UNAVAILABLE']);

    // Postgres is killed.
    const killed = await inTheMiddle(town, async (blocked) => {
      const asked = town.run(...create('killed'));
      await blocked();
      killProcess(partOf(town, 'postgres').pid);
      return await asked;
    });
    expectRefusal(killed, 7, 'POSTGRES_UNAVAILABLE');
    await askedUntilDone(town, create('killed'), ['POSTGRES_UNAVAILABLE']);

    // Postgres stands still: the command does not wait for ever.
    const frozen = await inTheMiddle(town, async (blocked) => {
      const asked = town.run(...create('frozen'));
      await blocked();
      const servers = findProcesses(({ cwd }) => cwd === join(town.root, '.town', 'postgres'));
      for (const { pid } of servers) process.kill(pid, 'SIGSTOP');
      try {
        return await asked;
      } finally {
        for (const { pid } of servers) process.kill(pid, 'SIGCONT');
      }
    });
    expectRefusal(frozen, 7, 'POSTGRES_UNAVAILABLE');
    await askedUntilDone(town, create('frozen'), ['POSTGRES_UNAVAILABLE']);

    // Temporal stands still, then dies. Commands are taken, and carried out when it is back.
    const server = partOf(town, 'temporal');
    process.kill(server.pid, 'SIGSTOP');
    let waiting: { molecule_id: string };
    try {
      waiting = await town.json('molecule', 'pour', 'hanoi-3', '--on', 'hanoi', '--key', 'waiting');
      const checks = await town.run('doctor');
      expect([checks.code, checks.stdout]).toEqual([1, expect.stringMatching(/^temporal\s+FAILED/m)]);
    } finally {
      killProcess(server.pid);
    }
    expect(await town.json('molecule', 'pour', 'hanoi-3', '--on', 'hanoi', '--key', 'waiting')).toEqual(waiting);
    for (const molecule of [id, waiting.molecule_id]) {
      expect(await chainFaults(town, await chainEnd(town, molecule, 2 * PATIENCE_MS))).toEqual([]);
    }
    expect(await town.json('audit', 'verify')).toMatchObject({ ok: true });
  });
}, 240_000);

it('says that the disk is full, and goes on once there is room', async () => {
  const disk = mountable();
  if (disk === null) {
    process.stderr.write('no file system can be mounted here: the town with a full disk is left out\n');
    return;
  }
  await withTown(
    WORKER,
    async (town) => {
      const id = await pourChain(town, 4);
      await town.effect(({ kind }) => kind === 'close', 'the first step');
      const filler = join(town.root, '.town', 'filler');
      fill(filler);
      const create = (n: number) => [
        'task', 'create', `large-${n}`, '--rig', 'hanoi', '--key', `large-${n}`, '--description', 'x'.repeat(60_000),
      ]; // prettier-ignore
      let refused: CommandEnd | null = null;
      let n = 0;
      while (refused === null && n < 300) {
        n += 1;
        const end = await town.run(...create(n));
        if (end.code !== 0) refused = end;
      }
      if (refused === null) throw new Error('a full disk was never noticed');
      expectRefusal(refused, 7, 'DISK_FULL');
      expect((await town.run('ready')).code).toBe(0); // what is there can be read
      expect((await town.run('doctor')).stdout).toMatch(/^disk space\s+FAILED/m);
      await town.killService();
      killProcess(partOf(town, 'postgres').pid);
      expect((await town.run(...create(n))).code).toBe(7);
      rmSync(filler);
      await askedUntilDone(town, create(n), ['DISK_FULL', 'POSTGRES_UNAVAILABLE', 'TOWN_DOWN', 'UNAVAILABLE']);
      expect(await chainFaults(town, await chainEnd(town, id, 2 * PATIENCE_MS))).toEqual([]);
      const large = (await town.json<TaskView[]>('task', 'list', '--limit', '1000')).map(({ title }) => title);
      expect(large.filter((title) => title.startsWith('large-')).toSorted()).toEqual(
        Array.from({ length: n }, (_, index) => `large-${index + 1}`).toSorted(),
      );
      expect(await town.json('audit', 'verify')).toMatchObject({ ok: true });
    },
    disk,
  );
}, 240_000);

function expectRefusal(end: CommandEnd, code: number, ...words: string[]): void {
  expect([end.code, end.stdout]).toEqual([code, '']);
  for (const word of words) expect(end.stderr).toContain(word);
}

/** Asks the same command until it is done, and once more; meanwhile only these codes. Its task, titled as its key, is there once. */
async function askedUntilDone(town: DrivenTown, words: readonly string[], codes: readonly string[]): Promise<void> {
  const ask = async () => {
    const { code, stdout, stderr } = await town.run(...words, '--json');
    if (code === 0) return (JSON.parse(stdout) as TaskView).id;
    expect(codes).toContain((JSON.parse(stderr) as { error: { code: string } }).error.code);
    return null;
  };
  const id = await until(ask, words.slice(0, 3).join(' '), PATIENCE_MS, 100);
  expect(await ask()).toBe(id);
  const tasks = await town.json<TaskView[]>('task', 'list', '--limit', '1000');
  expect(tasks.filter(({ title }) => title === words[2]).map((task) => task.id)).toEqual([id]);
}

/** Holds the table of tasks while `work` goes on: `blocked` settles once a command waits for it in the middle of its transaction. */
async function inTheMiddle<T>(town: DrivenTown, work: (blocked: () => Promise<unknown>) => Promise<T>): Promise<T> {
  const client = new Client({ connectionString: partOf(town, 'postgres').url });
  client.on('error', () => undefined); // it may be killed on purpose
  await client.connect();
  try {
    await client.query('begin');
    await client.query('lock table tasks in exclusive mode');
    const waiting = `select 1 from pg_locks where not granted and relation = 'tasks'::regclass and mode = 'RowExclusiveLock'`;
    return await work(() =>
      until(async () => (await client.query(waiting)).rows[0] ?? null, 'a command in the middle', PATIENCE_MS),
    );
  } finally {
    await client.end().catch(() => undefined);
  }
}

function partOf(town: DrivenTown, part: 'postgres' | 'temporal'): { readonly pid: number; readonly url: string } {
  const state = JSON.parse(readFileSync(join(town.root, '.town', 'state.json'), 'utf8')) as Record<string, unknown>;
  return state[part] as { pid: number; url: string }; // the supervisor's own file
}

/** As the command line says it: a key belongs to its asker. */
function request(argv: readonly string[]) {
  return { ...requestOf('', argv, false, '/'), id: 7 };
}

function open(town: DrivenTown): Promise<Socket> {
  const path = readFileSync(join(town.root, '.town', 'socket'), 'utf8').trim();
  return new Promise((resolve, reject) => {
    const socket: Socket = connect(path, () => resolve(socket));
    socket.once('error', reject);
  });
}

/** Sends one piece after the other, each after the answer to the one before. */
async function rawTalk(town: DrivenTown, pieces: readonly Buffer[]): Promise<SocketAnswer[]> {
  const socket = await open(town);
  socket.on('error', () => undefined); // it is hung up on after what is too long
  let received = '';
  socket.setEncoding('utf8');
  socket.on('data', (chunk: string) => (received += chunk));
  const answers = () => received.split('\n').slice(0, -1);
  for (const [index, piece] of pieces.entries()) {
    socket.write(piece);
    await until(() => answers()[index] ?? null, `answer ${index}`, PATIENCE_MS);
  }
  socket.destroy();
  return answers().map((line) => JSON.parse(line) as SocketAnswer);
}

/** Gives a town a small disk of its own for its state; null where that cannot be done. */
function mountable(): ((root: string) => () => void) | null {
  if (process.getuid?.() !== 0 || spawnSync('unshare', ['--mount', 'true']).status !== 0) return null;
  return (root) => {
    const folder = join(root, '.town');
    mkdirSync(folder);
    const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256m,mode=0700', 'town', folder]);
    if (mounted.status !== 0) throw new Error(`mount: ${mounted.stderr.toString()}`);
    return () => void spawnSync('umount', ['--lazy', folder]);
  };
}

function fill(path: string): void {
  const file = openSync(path, 'w', 0o600);
  try {
    for (const size of [1 << 20, 1 << 12]) {
      const block = Buffer.alloc(size);
      try {
        for (;;) writeSync(file, block);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
      }
    }
  } finally {
    closeSync(file);
  }
}
