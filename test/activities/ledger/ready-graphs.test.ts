import { sql } from 'kysely';
import { READY_SORTS, type ReadyFilter } from '../../../schema/ledger';
import { AGENT, withRig } from './scene';
import { testDatabase, type TestDatabase } from '../../support/database';
import { LABELS, randomGraph, randomOf, writeGraph, type RandomGraph } from '../../support/random-graph';
import { WorkGraph } from '../../support/work-graph';

/** A soak asks for more. */
const GRAPHS = Number(process.env['TOWN_READY_GRAPHS'] ?? 200);
const SEED = Number(process.env['TOWN_SEED'] ?? Date.now() % 2 ** 31);
const SIZE = 2_000;
/** Filters of one condition a graph. */
const SINGLE = 10;
const DAY_MS = 86_400_000;

/** Each with a database of its own, so that both cores have work. */
const LANES = 2;

let towns: TestDatabase[];
beforeAll(async () => {
  towns = await Promise.all(Array.from({ length: LANES }, () => testDatabase({ max: 2 })));
  for (const town of towns) await withRig(town.ledger);
});
afterAll(() => Promise.all(towns.map((town) => town.drop())));

/** Without a condition in each order; then some single conditions, and two of them together. */
function filtersFor(random: () => number, { tasks }: RandomGraph, now: number): ReadyFilter[] {
  const pick = <T>(items: readonly T[]): T => items[Math.floor(random() * items.length)] as T; // never empty here
  const day = (): string => new Date(now + Math.round(random() * 8 - 4) * DAY_MS).toISOString();
  const whole = pick(tasks.filter((task) => task.parent_id !== null)).parent_id;
  const single: ReadyFilter[] = [
    { label: pick(LABELS) },
    { labels: [pick(LABELS), pick(LABELS)] },
    { label_any: [pick(LABELS), pick(LABELS)] },
    { label_pattern: pick(['tech:*', '*:?i', 'urgent', '?a*']) },
    { exclude_labels: [pick(LABELS)] },
    { type: pick(['task', 'bug', 'gate']) },
    { exclude_types: ['bug', 'epic'] },
    { owner: pick(['ada', null]) },
    { priority_min: pick([0, 1, 2]), priority_max: pick([2, 3, 4]) },
    { parent_id: pick([whole, null]) },
    { parent_id: tasks[Math.floor(random() * 50)]?.id ?? null, deep: true },
    { assigned_agent_id: AGENT },
    { include_deferred: true },
    { ids: tasks.filter(() => random() < 0.2).map((task) => task.id) },
    { created_after: day(), due_before: day() },
    { created_before: day() },
    { updated_after: day() },
    { due_after: day() },
    { has_external_ref: pick([true, false]) },
    { source_system: 'github' },
    { metadata: { team: 'core' } },
    { has_metadata_key: 'team' },
    { text: pick(['alpha', 'gamma', 'delta', '7']) },
    { limit: 7 },
  ];
  return [
    ...READY_SORTS.map((sort) => ({ sort })),
    ...Array.from({ length: SINGLE }, () => ({ sort: pick(READY_SORTS), ...pick(single) })),
    { sort: pick(READY_SORTS), ...pick(single), ...pick(single) },
  ].map((filter) => ({ limit: 1_000, ...filter }));
}

test(`ready is what a naive evaluation says, over ${GRAPHS} graphs of ${SIZE} tasks from seed ${SEED}`, async () => {
  const seeds = Array.from({ length: GRAPHS }, (_, nth) => SEED + nth).values();
  await Promise.all(
    towns.map(async (town) => {
      for (const seed of seeds) await compare(town, seed);
    }),
  );
}, 1_800_000);

async function compare({ db, ledger }: TestDatabase, seed: number): Promise<void> {
  const random = randomOf(seed);
  const now = Date.now();
  const graph = randomGraph(random, SIZE, { rig_id: 'acme', agent: AGENT, now });
  await sql`truncate tasks cascade`.execute(db);
  await writeGraph(db, graph);
  const naive = new WorkGraph(graph.tasks, graph.edges);
  const at = new Date(now).toISOString();
  const free = naive.ready({}, at).length;
  if (free < SIZE / 20) throw new Error(`only ${free} tasks are ready: the graph of seed ${seed} says little`);
  for (const filter of filtersFor(random, graph, now)) {
    const ready = (await ledger.readyPage(filter)).items.map((task) => task.id);
    const ids = naive
      .ready(filter, at)
      .slice(0, filter.limit)
      .map((task) => task.id);
    expect({ seed, filter, ready }).toEqual({ seed, filter, ready: ids });
  }
}
