import { spawn } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client } from 'pg';
import { lockHolder, tryLock, withLock } from '../../activities/provision/lock';
import { findTownRoot, prepareFolders, townPaths } from '../../activities/provision/paths';
import { findPostgres, startPostgres, type PostgresHandle } from '../../activities/provision/postgres';
import {
  bootId,
  endProcess,
  findProcesses,
  freePorts,
  isAlive,
  processEnds,
  processStartTime,
  thisProcess,
} from '../../activities/provision/process';
import { readState, writeState, type TownState } from '../../activities/provision/state';
import {
  askTemporal,
  findTemporal,
  findTemporalServers,
  startTemporal,
  type TemporalHandle,
} from '../../activities/provision/temporal';
import { doctor, downTown, inspectTown } from '../../activities/provision/town';

const base = mkdtempSync(join(tmpdir(), 'town provision '));
const roots: string[] = [];
const said: string[] = [];
const progress = (_step: string, message: string) => void said.push(message);

function newRoot(name: string): string {
  const root = join(base, name);
  mkdirSync(root, { recursive: true });
  roots.push(root);
  return root;
}

async function query(url: string, text: string): Promise<unknown[]> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(text)).rows;
  } finally {
    await client.end();
  }
}

async function kill(handle: PostgresHandle | TemporalHandle): Promise<void> {
  process.kill(handle.process!.pid, 'SIGKILL');
  expect(await processEnds(handle.process!, 10_000)).toBe(true);
}

afterAll(async () => {
  for (const root of roots) await downTown(root, () => undefined);
  const left = findProcesses(
    ({ args, cwd }) => args.some((part) => part.includes(base)) || (cwd ?? '').startsWith(base),
  );
  rmSync(base, { recursive: true, force: true });
  expect(left).toEqual([]);
}, 60_000);

describe('paths', () => {
  it('finds the root from a folder below it', () => {
    const root = newRoot('found');
    writeFileSync(join(root, 'town.toml'), '');
    mkdirSync(join(root, 'a', 'b'), { recursive: true });
    expect(findTownRoot(join(root, 'a', 'b'))).toBe(root);
    expect(() => findTownRoot(base)).toThrow(expect.objectContaining({ code: 'TOWN_NOT_FOUND' }));
  });

  it('makes the state folder private and records the socket', () => {
    const paths = townPaths(newRoot('private'));
    prepareFolders(paths);
    expect(statSync(paths.state).mode & 0o777).toBe(0o700);
    expect(readFileSync(paths.socketFile, 'utf8').trim()).toBe(paths.socket);
  });

  it('keeps sockets short below a long root, in a folder of our own', () => {
    const paths = townPaths(newRoot('x'.repeat(120)));
    prepareFolders(paths);
    expect(Buffer.byteLength(paths.socket)).toBeLessThan(100);
    expect(lstatSync(paths.runDir).mode & 0o777).toBe(0o700);
    expect(townPaths(paths.root).socket).toBe(paths.socket);
    rmSync(paths.runDir, { recursive: true });
  });

  it('refuses a folder of sockets that others can enter', () => {
    const paths = townPaths(newRoot('y'.repeat(120)));
    mkdirSync(paths.runDir, { mode: 0o755 });
    try {
      expect(() => prepareFolders(paths)).toThrow(expect.objectContaining({ code: 'FORBIDDEN' }));
    } finally {
      rmSync(paths.runDir, { recursive: true });
    }
  });
});

describe('processes and files', () => {
  it('tells a process from a later one with its pid', () => {
    const { pid, startTime } = thisProcess();
    expect(isAlive(pid, startTime)).toBe(true);
    expect(isAlive(pid, startTime + 1)).toBe(false);
  });

  it('gives different free ports below those of clients', async () => {
    const ports = await freePorts(8);
    expect(new Set(ports).size).toBe(8);
    expect(Math.max(...ports)).toBeLessThan(32_768);
  });

  it('reads back the state it wrote, and nothing from a file that was cut short', () => {
    const paths = townPaths(newRoot('state'));
    prepareFolders(paths);
    const parts = { postgres: null, temporal: null, service: null, error: null };
    const state: TownState = { bootId: 'b', startedAt: 's', supervisor: thisProcess(), phase: 'starting', ...parts };
    writeState(paths.stateFile, state);
    expect(readState(paths.stateFile)).toEqual(state);
    expect(readdirSync(paths.state).filter((name) => name.endsWith('.tmp'))).toEqual([]);
    expect(readState(join(paths.root, 'missing.json'))).toBeNull();
  });

  it('gives a lock to one, and to the next after its release', async () => {
    const folder = newRoot('lock');
    const lock = tryLock(folder, 'one');
    expect(tryLock(folder, 'one')).toBeNull();
    expect(lockHolder(folder, 'one')).toEqual(thisProcess());
    const next = withLock(folder, 'one', { waitMs: 10_000 }, async () => 'next');
    lock!.release();
    expect(await next).toBe('next');
    expect(lockHolder(folder, 'one')).toBeNull();
  });
});

describe('postgres', () => {
  it('serves in a path with spaces on a socket only, twice at once, and keeps what was committed when killed', async () => {
    const paths = townPaths(newRoot('a town'));
    const both = await Promise.all([startPostgres({ paths, progress }), startPostgres({ paths, progress })]);
    expect(both[0].process).toEqual(both[1].process);
    const [first] = both;
    await query(first.url, 'create table kept (id int)');
    await query(first.url, 'insert into kept values (7)');
    expect(await query(first.url, 'show listen_addresses')).toEqual([{ listen_addresses: '' }]);

    await kill(first);
    const second = await startPostgres({ paths, progress });
    expect(second.process).not.toEqual(first.process);
    expect(await query(second.url, 'select id from kept')).toEqual([{ id: 7 }]);
    await second.stop();
    expect(findPostgres(paths)).toBeNull();
  }, 60_000);

  it('starts over after an interrupted initdb', async () => {
    const paths = townPaths(newRoot('interrupted'));
    mkdirSync(`${paths.pgData}.new-1`, { recursive: true });
    const server = await startPostgres({ paths, progress });
    expect(existsSync(`${paths.pgData}.new-1`)).toBe(false);
    await server.stop();
  }, 60_000);

  it('says what does not answer, without the password', async () => {
    const url = 'postgresql://town:secret@127.0.0.1:1/town';
    const failure = startPostgres({ paths: townPaths(newRoot('foreign')), progress, url, waitMs: 500 });
    await expect(failure).rejects.toMatchObject({
      code: 'POSTGRES_UNAVAILABLE',
      message: expect.stringContaining('127.0.0.1:1/town'),
    });
    await expect(failure).rejects.not.toMatchObject({ message: expect.stringContaining('secret') });
  }, 60_000);
});

describe('temporal', () => {
  it('starts on loopback, is taken over by the next, and comes back on its port when killed', async () => {
    const paths = townPaths(newRoot('a temporal town'));
    const request = { paths, progress, ui: true, executable: async () => await findTemporal({ progress }) };
    const first = await startTemporal(request);
    await askTemporal(first.address, 5_000);
    expect((await fetch(first.uiUrl!)).status).toBe(200);
    expect((await startTemporal(request)).process).toEqual(first.process);

    await kill(first);
    const second = await startTemporal(request);
    expect(second.address).toBe(first.address);
    await second.stop();
    expect(findTemporalServers(paths)).toEqual([]);
  }, 900_000);
});

describe('the town as a whole', () => {
  it('stops what a dead supervisor left running', async () => {
    const root = newRoot('left behind');
    const paths = townPaths(root);
    const server = await startPostgres({ paths, progress });
    expect(inspectTown(root)).toMatchObject({ supervisor: 'down', postgres: 'up', service: 'down' });
    await downTown(root, () => undefined);
    expect(await endProcess(server.process!, [])).toBe(true);
    expect(inspectTown(root)).toMatchObject({ postgres: 'down' });
  }, 60_000);

  it('ends what is recorded by pid and start time, and the processes of sessions and checks, and nobody else', async () => {
    const root = newRoot('recorded');
    const paths = townPaths(root);
    prepareFolders(paths);
    const sleeper = (env: NodeJS.ProcessEnv = {}) => {
      const child = spawn('sleep', ['600'], { stdio: 'ignore', env: { PATH: process.env['PATH'], ...env } });
      return { child, pid: child.pid!, startTime: processStartTime(child.pid!)! };
    };
    const session = { TOWN_SESSION: 'ses-1' };
    const ending = {
      service: sleeper(),
      temporal: sleeper(),
      session: sleeper({ ...session, TOWN_ROOT: root }),
      check: sleeper({ TOWN_CHECK: join(paths.checkLogs, 'a.log') }),
    };
    // A pid of before that belongs to another program now, a session of another town, and a terminal that names this one.
    const staying = {
      postgres: sleeper(),
      other: sleeper({ ...session, TOWN_ROOT: `${root} 2` }),
      terminal: sleeper({ TOWN_ROOT: root }),
    };
    const refOf = ({ pid, startTime }: { pid: number; startTime: number }) => ({ pid, startTime });
    writeState(paths.stateFile, {
      bootId: bootId(),
      startedAt: new Date().toISOString(),
      supervisor: { pid: 1, startTime: -1 },
      postgres: { pid: staying.postgres.pid, startTime: staying.postgres.startTime - 1, url: 'u', owned: true },
      temporal: { ...refOf(ending.temporal), address: '127.0.0.1:1', uiUrl: null, owned: true },
      service: { ...refOf(ending.service), httpUrl: null },
      phase: 'ready',
      error: null,
    });
    try {
      await downTown(root, () => undefined);
      for (const { pid, startTime } of Object.values(ending)) expect(isAlive(pid, startTime)).toBe(false);
      for (const { pid, startTime } of Object.values(staying)) expect(isAlive(pid, startTime)).toBe(true);
      expect(readState(paths.stateFile)).toBeNull();
    } finally {
      for (const { child } of [...Object.values(ending), ...Object.values(staying)]) child.kill('SIGKILL');
    }
  }, 60_000);

  // How long it takes is the bench's matter.
  it('names what is wrong with its safe remedy', async () => {
    const checks = await doctor(newRoot('ill'));
    expect(checks.find(({ name }) => name === 'supervisor')).toEqual({
      name: 'supervisor',
      ok: false,
      detail: 'not running',
      fix: 'town up',
    });
    expect(checks.filter(({ ok, fix }) => !ok && fix === null)).toEqual([]);
  });
});
