/* `npm run bench [-- <section>…]`: the figures of the design, measured on real towns. Sections: see SECTIONS; all without a name.
 * Ends with 1 when something was done twice, or not at all; slow figures are only printed. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection } from '@temporalio/client';
import type { SocketAnswer, SocketRequest } from '../../schema/desk';
import type { MoleculeView } from '../../schema/views';
import { NODE, TOWN, type DrivenTown } from '../demo/driven-town';
import { until } from '../support/until';
import { chainEnd, chainFaults, pourChain, withTown } from './chain';
import { gapsOf, percentile, printTable, say, shareOut, spread, timed } from './figures';
import { AGENTS, runFleet, THINK_MS } from './fleet';
import { bareStep } from './floor';
import { KILL_KINDS, killOnce, LIMIT_MS } from './kills';
import { ledgerFigures } from './ledger';

/** Each answers what is wrong; nothing when all is well. */
const SECTIONS: Readonly<Record<string, () => Promise<readonly string[]>>> = {
  hanoi: () => hanoi(),
  kills: () => kills(),
  fleet: () => fleet(),
  ready: () => readyAmong(10_000),
  'ready-100k': () => readyAmong(100_000),
  create: () => createClose(),
  ledger: () => ledgerFigures(),
  start: () => commandStart(),
  idle: () => idle(),
};

const DISCS = 10;
const KILL_DISCS = 8;
const KILLS_EACH = 20;
const CHAIN_HEAD = [
  'calls by',
  'host kills',
  'first step ms',
  'chain s',
  'step p50',
  'step p95',
  'step max',
  'bare step',
  'ratio',
  'MB',
];

async function hanoi(): Promise<readonly string[]> {
  const rows: string[][] = [];
  const faults: string[] = [];
  for (const [how, socket, hostKills] of [
    ['socket', '1', 0],
    ['processes', '0', 0],
    ['socket', '1', 3],
  ] as const) {
    await withTown({ WORKER_SOCKET: socket }, async (town) => {
      const bare = await bareStep(await temporalOf(town));
      const pouredAt = Date.now();
      const id = await pourChain(town, DISCS);
      for (let kill = 1; kill <= hostKills; kill += 1) {
        const reached = (kill / (hostKills + 1)) * (2 ** DISCS - 1);
        await until(() => recordsOf(town).length >= reached, `step ${reached}`, 120_000, 200);
        await town.killService();
      }
      const molecule = await chainEnd(town, id, 300_000);
      const begins = town.effects().filter(({ kind }) => kind === 'begin');
      const last = town.effects().at(-1);
      const gaps = gapsOf(begins.map(({ at }) => at));
      const total = ((last?.at ?? 0) - (begins[0]?.at ?? 0)) / 1000;
      const start = String((begins[0]?.at ?? 0) - pouredAt);
      const size = (await historyBytes(town, id)) / 1e6;
      const ratio = percentile(gaps, 0.5) / bare;
      const times = [start, total.toFixed(1), ...spread(gaps), bare.toFixed(1), ratio.toFixed(2)];
      rows.push([how, String(hostKills), ...times, size.toFixed(2)]);
      faults.push(...(await chainFaults(town, molecule)));
    });
  }
  printTable(`A chain of ${2 ** DISCS - 1} steps through one agent`, CHAIN_HEAD, rows);
  return faults;
}

function recordsOf(town: DrivenTown): unknown[] {
  return town.effects().filter(({ kind }) => kind === 'record');
}

async function temporalOf(town: DrivenTown): Promise<string> {
  return (await town.json<{ temporal: { address: string } }>('status')).temporal.address;
}

/** Of the last run of a molecule. */
async function historyBytes(town: DrivenTown, id: string): Promise<number> {
  const connection = await Connection.connect({ address: await temporalOf(town) });
  try {
    const { historySize } = await new Client({ connection }).workflow.getHandle(`molecule.${id}`).describe();
    return historySize ?? 0;
  } finally {
    await connection.close();
  }
}

async function kills(): Promise<readonly string[]> {
  return await withTown({ WORKER_THINK_MS: '150', WORKER_IDLE_MS: '600000' }, async (town) => {
    const id = await pourChain(town, KILL_DISCS);
    const rows: string[][] = [];
    const faults: string[] = [];
    let begunAgain = 0;
    for (const kind of KILL_KINDS) {
      const times: number[] = [];
      while (times.length < KILLS_EACH) {
        const { ms, sameStep } = await killOnce(town, kind);
        times.push(ms);
        if (kind === 'session' && sameStep) begunAgain += 1;
      }
      const late = times.filter((time) => time > LIMIT_MS[kind]).length;
      rows.push([kind, String(times.length), ...spread(times), String(LIMIT_MS[kind]), String(late)]);
      if (late > 0) faults.push(`${late} times later than ${LIMIT_MS[kind]} ms after the death of the ${kind}`);
    }
    const molecule = await chainEnd(town, id, 600_000);
    faults.push(...(await chainFaults(town, molecule)), ...(await countFaults(town, molecule, begunAgain)));
    const head = ['killed', 'times', 'p50 ms', 'p95 ms', 'max ms', 'limit', 'late'];
    printTable('Work advances again after a SIGKILL at a random point', head, rows);
    return faults;
  });
}

/** Sessions died with two of the three kinds, and a step that was begun when its session alone died has one more attempt. */
async function countFaults(town: DrivenTown, molecule: MoleculeView, begunAgain: number): Promise<string[]> {
  const incarnation = (await town.agents())[0]?.incarnation ?? 0;
  const attempts = molecule.steps.reduce((sum, step) => sum + step.attempt - 1, 0);
  say(
    `incarnation ${incarnation}, ${attempts} further attempts, ${begunAgain} steps begun again by a new session alone`,
  );
  const dead = 2 * KILLS_EACH;
  return [
    ...(incarnation === 1 + dead ? [] : [`incarnation ${incarnation} after ${dead} dead sessions`]),
    ...(attempts >= begunAgain && attempts <= dead
      ? []
      : [`${attempts} further attempts for ${begunAgain} begun again`]),
  ];
}

async function fleet(): Promise<readonly string[]> {
  const worker = { WORKER_SOCKET: '1', WORKER_THINK_MS: String(THINK_MS), WORKER_IDLE_MS: '600000' };
  const { seconds, idealSeconds, stepMs, faults } = await withTown(worker, runFleet, undefined, AGENTS);
  const head = ['seconds', 'ideal', 'ratio', 'step alone ms'];
  const row = [seconds.toFixed(1), idealSeconds.toFixed(1), (seconds / idealSeconds).toFixed(2), stepMs.toFixed(0)];
  printTable(`50 molecules of 20 steps over ${AGENTS} agents`, head, [row]);
  return faults;
}

async function readyAmong(count: number): Promise<readonly string[]> {
  return await withTown({}, async (town) => {
    const client = await openClient(town);
    const seconds = (await timed(() => createTasks([client], count))) / 1000;
    say(`${count} tasks made in ${seconds.toFixed(1)} s`);
    const asked: number[] = [];
    for (let time = 0; time < 200; time += 1) {
      asked.push(await timed(() => client.ask('ready', '--limit', '50', '--json')));
    }
    client.close();
    const processes = besideNode(() => spawnSync(TOWN, ['ready', '--limit', '50', '--json'], { cwd: town.root }));
    const head = ['how', 'p50 ms', 'p95 ms', 'max ms'];
    printTable(`ready --limit 50 among ${count} tasks`, head, [
      ['socket', ...spread(asked)],
      ['command', ...spread(processes.command)],
      ['bare node', ...spread(processes.node)],
      ['command / node', processes.ratio],
    ]);
    return [];
  });
}

async function createClose(): Promise<readonly string[]> {
  return await withTown({}, async (town) => {
    const rows: string[][] = [];
    for (const count of [1, 16]) {
      const clients = await Promise.all(Array.from({ length: count }, () => openClient(town)));
      const total = 2_000;
      let ids: string[] = [];
      const createMs = await timed(async () => {
        ids = await createTasks(clients, total);
      });
      const closeMs = await timed(() =>
        shareOut(clients, ids, (client, id) => client.ask('task', 'close', id, '--json')),
      );
      rows.push([String(count), (total / (createMs / 1000)).toFixed(0), (total / (closeMs / 1000)).toFixed(0)]);
      for (const client of clients) client.close();
    }
    printTable('Tasks a second by socket', ['clients', 'created', 'closed'], rows);
    return [];
  });
}

async function createTasks(clients: readonly SocketClient[], count: number): Promise<string[]> {
  const ids: string[] = [];
  await shareOut(
    clients,
    Array.from({ length: count }, (_, index) => index),
    async (client, index) => {
      const answer = await client.ask('task', 'create', `Task ${index}`, '--rig', 'hanoi', '--json');
      ids.push((JSON.parse(answer) as { id: string }).id);
    },
  );
  return ids;
}

async function commandStart(): Promise<readonly string[]> {
  return await withTown({}, async (town) => {
    await createTasks([await openClient(town)], 100);
    const rows = [['rig', 'list'], ['task', 'list', '--limit', '20'], ['ready'], ['agent', 'list']].map((words) => {
      const { command, node, ratio } = besideNode(() => spawnSync(TOWN, words, { cwd: town.root }));
      return [`town ${words.join(' ')}`, ...spread(command), percentile(node, 0.5).toFixed(1), ratio];
    });
    printTable('Commands', ['command', 'p50 ms', 'p95 ms', 'max ms', 'node p50', 'ratio'], rows);
    const doctor = await timed(() => town.run('doctor'));
    printTable('Others', ['command', 'ms'], [['town doctor', doctor.toFixed(0)]]);
    return [];
  });
}

/** Turn by turn, so that both see the same machine. */
function besideNode(run: () => unknown): { command: number[]; node: number[]; ratio: string } {
  const command: number[] = [];
  const node: number[] = [];
  for (let turn = 0; turn < 30; turn += 1) {
    let start = performance.now();
    run();
    command.push(performance.now() - start);
    start = performance.now();
    spawnSync(NODE, ['-e', '0']);
    node.push(performance.now() - start);
  }
  return { command, node, ratio: (percentile(command, 0.5) / percentile(node, 0.5)).toFixed(2) };
}

const IDLE_S = 60;
/** Of the kernel's clock, a second. */
const TICKS = 100;

async function idle(): Promise<readonly string[]> {
  return await withTown({}, async (town) => {
    await sleep(5_000); // what follows the start
    const pids = town.processes();
    const before = new Map(pids.map((pid) => [pid, cpuTicks(pid)]));
    await sleep(IDLE_S * 1000);
    const costs = new Map<string, { cpu: number; memory: number }>();
    for (const pid of pids) {
      const name = nameOf(pid);
      const { cpu, memory } = costs.get(name) ?? { cpu: 0, memory: 0 };
      const ticks = Math.max(0, cpuTicks(pid) - (before.get(pid) ?? 0)); // it may have ended
      costs.set(name, { cpu: cpu + ticks, memory: memory + ownMemory(pid) });
    }
    const rows = [...costs].map(([name, { cpu, memory }]) => [
      name,
      ((100 * cpu) / TICKS / IDLE_S).toFixed(2),
      (memory / 1024).toFixed(0),
    ]);
    printTable(`An idle town over ${IDLE_S} s`, ['process', '% of a core', 'MB'], rows);
    return [];
  });
}

function cpuTicks(pid: number): number {
  const stat = readOr(`/proc/${pid}/stat`, ') ');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
}
/** kB that nobody else shares, and its part of what is shared. */
function ownMemory(pid: number): number {
  return Number(/^Pss:\s+(\d+)/m.exec(readOr(`/proc/${pid}/smaps_rollup`, ''))?.[1] ?? 0);
}
function nameOf(pid: number): string {
  const words = readOr(`/proc/${pid}/cmdline`, '');
  return ['service', 'supervisor', 'postgres', 'temporal'].find((name) => words.includes(name)) ?? 'other';
}
function readOr(file: string, otherwise: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return otherwise; // the process has ended
  }
}

interface SocketClient {
  /** What the command prints. @throws Error when it fails */
  ask(...words: string[]): Promise<string>;
  close(): void;
}

async function openClient(town: DrivenTown): Promise<SocketClient> {
  const socket = connect(readFileSync(`${town.root}/.town/socket`, 'utf8').trim());
  await new Promise<void>((opened, failed) => {
    socket.once('connect', opened);
    socket.once('error', failed);
  });
  socket.setEncoding('utf8');
  let received = '';
  let id = 0;
  const waiting = new Map<number, (answer: SocketAnswer) => void>();
  socket.on('data', (chunk: string) => {
    const lines = (received + chunk).split('\n');
    received = lines.pop() ?? '';
    for (const line of lines) {
      const answer = JSON.parse(line) as SocketAnswer; // the town's own JSON
      waiting.get(answer.id)?.(answer);
      waiting.delete(answer.id);
    }
  });
  return {
    async ask(...argv) {
      id += 1;
      const request: SocketRequest = { v: 1, id, argv, cwd: town.root, tty: false, user: 'bench' };
      const { code, stdout, stderr } = await new Promise<SocketAnswer>((settle) => {
        waiting.set(request.id, settle);
        socket.write(`${JSON.stringify(request)}\n`);
      });
      if (code !== 0) throw new Error(`town ${argv.join(' ')} ended with ${code}: ${stderr}`);
      return stdout;
    },
    close: () => socket.destroy(),
  };
}

async function main(named: readonly string[]): Promise<boolean> {
  const names = named.length > 0 ? named : Object.keys(SECTIONS);
  let good = true;
  for (const name of names) {
    const section = SECTIONS[name];
    if (section === undefined)
      throw new Error(`there is no section ${name}; there are ${Object.keys(SECTIONS).join(', ')}`);
    say(name);
    for (const fault of await section()) {
      good = false;
      say(`FAULT ${name}: ${fault}`);
    }
  }
  return good;
}

main(process.argv.slice(2)).then(
  (good) => process.exit(good ? 0 : 1),
  (error: unknown) => {
    say(String(error instanceof Error ? error.stack : error));
    process.exit(1);
  },
);
