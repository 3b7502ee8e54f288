/* What the ledger takes by library call, in this process, on a Postgres that was started for it as a town starts its own. */
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { prepareFolders, townPaths } from '../../activities/provision/paths';
import { startPostgres } from '../../activities/provision/postgres';
import type { Ledger, ReadyFilter } from '../../schema/ledger';
import { AGENT, person, withRig } from '../activities/ledger/scene';
import { testDatabase, type TestDatabase } from '../support/database';
import { randomGraph, randomOf, writeGraph, type RandomGraph } from '../support/random-graph';
import { percentile, printTable, say, shareOut, spread, timed } from './figures';

/** A Postgres of its own while `work` runs; `testDatabase` finds it. */
export async function withPostgres<T>(work: () => Promise<T>): Promise<T> {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'town-bench-')));
  mkdirSync(root, { recursive: true });
  const paths = townPaths(root);
  prepareFolders(paths);
  try {
    const postgres = await startPostgres({ paths, progress: (_, message) => say(message) });
    process.env['TOWN_TEST_POSTGRES_URL'] = postgres.url;
    try {
      return await work();
    } finally {
      await postgres.stop();
    }
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

/** Answers what is wrong: nothing, since slow figures are only printed. */
export async function ledgerFigures(): Promise<readonly string[]> {
  await withPostgres(async () => {
    await tasksASecond();
    for (const size of [10_000, 100_000]) await readyAmong(size);
  });
  return [];
}

const ROUNDS = 5;
const TASKS = 1_000;

/** The best of some rounds, since others use the machine too. */
async function tasksASecond(): Promise<void> {
  const rows: string[][] = [];
  for (const clients of [1, 16]) {
    const town = await testDatabase({ max: clients });
    await withRig(town.ledger);
    const best = { created: 0, closed: 0 };
    for (let round = 0; round < ROUNDS; round += 1) {
      const ids: string[] = [];
      const titles = Array.from({ length: TASKS }, (_, at) => `Task ${at}`);
      const created = await aSecond(clients, titles, async (title) => {
        ids.push((await town.ledger.createTask(person, { title, rig_id: 'acme' })).id);
      });
      const closed = await aSecond(clients, ids, (id) => town.ledger.closeTask(person, id, { outcome: 'done' }));
      best.created = Math.max(best.created, created);
      best.closed = Math.max(best.closed, closed);
    }
    rows.push([String(clients), best.created.toFixed(0), best.closed.toFixed(0)]);
    await town.drop();
  }
  printTable(`Tasks a second, the best of ${ROUNDS} times ${TASKS}`, ['clients', 'created', 'closed'], rows);
}

async function aSecond<T>(clients: number, items: readonly T[], work: (item: T) => Promise<unknown>): Promise<number> {
  const ms = await timed(() => shareOut(Array.from({ length: clients }), items, (_, item) => work(item)));
  return items.length / (ms / 1_000);
}

const CALLS = 200;

async function readyAmong(size: number): Promise<void> {
  const town = await testDatabase({ max: 1 });
  await withRig(town.ledger);
  const graph = randomGraph(randomOf(size), size, { rig_id: 'acme', agent: AGENT, now: Date.now() });
  say(`${size} tasks written in ${((await timed(() => write(town, graph))) / 1_000).toFixed(1)} s`);
  const rows: string[][] = [];
  for (const [name, filter] of Object.entries(FILTERS)) rows.push([name, ...(await callsOf(town.ledger, filter))]);
  const head = ['ready', 'found', 'p50 ms', 'p95 ms', 'max ms', 'worst 20 left out'];
  printTable(`ready, limit 50, among ${size} tasks and ${graph.edges.length} edges`, head, rows);
  await town.drop();
}

const FILTERS: Readonly<Record<string, ReadyFilter>> = {
  'by priority': {},
  'by age': { sort: 'oldest' },
  'new ones first': { sort: 'hybrid' },
  'of the rig': { rig_id: 'acme' },
  'also put off': { include_deferred: true },
  'a common label': { label: 'urgent' },
  'two labels': { labels: ['urgent', 'tech:ts'] },
  'any of two labels': { label_any: ['urgent', 'later'] },
  'a rare label': { label: 'rare' },
  'a rare label among urgent ones': { label: 'rare-urgent' },
  'a rare label, by age': { label: 'rare', sort: 'oldest' },
  'one rare label of two': { label_any: ['rare', 'nobody-has-this'] },
  'a rare and a common label': { labels: ['urgent', 'rare'] },
  'a label nobody has': { label: 'nobody-has-this' },
  'a pattern': { label_pattern: 'tech:*' },
  'a pattern of rare labels': { label_pattern: 'rare*' },
  'without a label': { exclude_labels: ['later'] },
  'of an agent': { assigned_agent_id: AGENT },
  'a type': { type: 'bug' },
  'most urgent': { priority_max: 0 },
};

/** With labels that ten tasks have: of any priority, and of the most urgent ones of which none is ready. */
async function write(town: TestDatabase, graph: RandomGraph): Promise<void> {
  await writeGraph(town.db, graph);
  await sql`insert into labels (task_id, label)
    (select id, 'rare' from tasks order by md5(id) limit 10) union all
    (select id, 'rare-urgent' from tasks where status = 'open' and priority = 0 and open_blockers > 0 order by md5(id) limit 5)
    union all (select id, 'rare-urgent' from tasks where status = 'open' and priority = 4 and open_blockers = 0 order by md5(id)
      limit 5)`.execute(town.db);
  await sql`analyze`.execute(town.db);
}

/** The machine is seldom ours alone: without the worst tenth, p95 is that of a quiet one. */
async function callsOf(ledger: Ledger, filter: ReadyFilter): Promise<string[]> {
  const times: number[] = [];
  let found = 0;
  for (let call = 0; call < CALLS + 10; call += 1) {
    const start = performance.now();
    found = (await ledger.readyPage({ limit: 50, ...filter })).items.length;
    // The first ones plan the statement.
    if (call >= 10) times.push(performance.now() - start);
  }
  const kept = times.toSorted((a, b) => a - b).slice(0, CALLS - 20);
  return [String(found), ...spread(times), percentile(kept, 0.95).toFixed(1)];
}
