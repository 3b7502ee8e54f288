import fc from 'fast-check';
import { sql } from 'kysely';
import type { Ask, Ledger } from '../../../schema/ledger';
import { person } from './scene';
import { testDatabase, type TestDatabase } from '../../support/database';
import {
  AGENTS,
  beginning,
  command,
  expectSame,
  perform,
  type Asked,
  type Command,
} from '../../support/ledger-commands';
import { LedgerModel, Refusal } from '../../support/ledger-model';
import { isDormant, WorkGraph, type PlainEdge, type PlainTask } from '../../support/work-graph';

/** A soak asks for more. */
const COMMANDS = Number(process.env['TOWN_LEDGER_COMMANDS'] ?? 20_000);
/** fast-check says with which seed it failed; given here, the first round begins with it. */
const SEED = Number(process.env['TOWN_SEED'] ?? Date.now() % 2 ** 31);
/** Graphs that are worked on at once: one would leave the machine idle while Postgres writes. */
const LANES = 4;
const COMPARED_EVERY = 10;

let town: TestDatabase;
beforeAll(async () => {
  town = await testDatabase({ max: 24 });
  for (const id of AGENTS.slice(0, 3)) {
    await town.ledger.addAgent(person, { id, role: 'polecat', rig_id: null, runtime: { preset: 'external' } });
  }
  await town.ledger.retireAgent(person, AGENTS[2]);
});
afterAll(() => town.drop());

let rigs = 0;
async function freshRig(): Promise<string> {
  const id = `r${(rigs += 1)}`;
  const rig = {
    id,
    prefix: id,
    path: '/repo',
    default_branch: 'main',
    workers_max: 1,
    runtime: { preset: 'external' },
  } as const;
  await town.ledger.addRig(person, rig);
  return id;
}

test(`does what a naive model does, over ${COMMANDS} commands from seed ${SEED}`, async () => {
  const tally = new Map<string, number>();
  let performed = 0;
  let scripts = 0;
  const script = fc
    .tuple(beginning, fc.array(command, { minLength: 1, maxLength: 80, size: 'max' }))
    .map((parts) => parts.flat());
  const property = fc.asyncProperty(script, async (commands) => {
    await play(commands, tally);
    performed += commands.length;
    scripts += 1;
  });
  await Promise.all(
    Array.from({ length: LANES }, async (_, lane) => {
      for (let seed = SEED + lane; performed < COMMANDS; seed += LANES) {
        await fc.assert(property, { seed, numRuns: 10, interruptAfterTimeLimit: 300_000 });
      }
    }),
  );
  // What is never refused, or never done, is not tested.
  const lacking = ['create', 'update', 'close', 'claim', 'link', 'sling', 'defer'].flatMap((name) =>
    [`${name} done`, `${name} refused`].filter((what) => (tally.get(what) ?? 0) < performed / 1_000),
  );
  expect(lacking).toEqual([]);
  // Nor does a graph of a task or two say much.
  expect((tally.get('create done') ?? 0) / scripts).toBeGreaterThan(5);
}, 7_200_000);

async function play(commands: readonly Command[], tally: Map<string, number>): Promise<void> {
  const rig_id = await freshRig();
  const model = new LedgerModel();
  const ids: string[] = [];
  const idOf = (nth: number): string =>
    nth < 0 || ids.length === 0 ? `${rig_id}-zzzzz` : (ids[nth % ids.length] ?? '');
  for (const [at, given] of commands.entries()) {
    const about = `command ${at}: ${JSON.stringify(given)}`;
    const asked: Asked = { ask: askOf(model, given, idOf), rig_id, idOf };
    const answer = await perform(town.ledger, asked, given);
    const made = 'tasks' in answer ? (answer.tasks[0] ?? null) : null;
    const codes = refusalOf(() => model.perform(asked, given, made));
    if (codes === null || !('code' in answer) || !codes.includes(answer.code)) {
      expectSame('code' in answer ? answer.code : null, codes?.join(' or ') ?? null, about);
    }
    if (given.do === 'create' && made !== null) ids.push(made.id);
    const what = `${given.do} ${codes === null ? 'done' : 'refused'}`;
    tally.set(what, (tally.get(what) ?? 0) + 1);
    if (at % COMPARED_EVERY === COMPARED_EVERY - 1 || at === commands.length - 1) await compare(rig_id, model, about);
  }
}

function askOf(model: LedgerModel, given: Command, idOf: (nth: number) => string): Ask {
  if (given.do !== 'close' || given.by === 'person') return person;
  if (given.by === 'another molecule') return { actor: 'molecule.mol-other' };
  return { actor: `molecule.${model.tasks.get(idOf(given.task))?.molecule_id ?? 'mol-none'}` };
}

function refusalOf(work: () => void): readonly string[] | null {
  try {
    work();
    return null;
  } catch (error) {
    if (error instanceof Refusal) return error.codes;
    throw error;
  }
}

/** Everything that a reader could see, and the counters behind it. */
async function compare(rig_id: string, model: LedgerModel, about: string): Promise<void> {
  const graph = model.graph();
  const now = new Date().toISOString();
  const tasks = [...model.tasks.values()].toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const stored = await read(town.db, rig_id);
  const { ledger } = town;
  expectSame(
    stored.tasks.map((row) => row.task),
    tasks.map((task) => expectedRow(task, graph)),
    about,
  );
  expectSame(
    stored.edges,
    [...model.edges.values()]
      .map(({ task_id, depends_on_id, type, words, ...edge }) => {
        const holds = graph.isHolding({ task_id, depends_on_id, type, ...edge });
        return { task_id, depends_on_id, type, metadata: JSON.parse(words) as object, holds };
      })
      .toSorted((a, b) => (`${a.task_id} ${a.depends_on_id}` < `${b.task_id} ${b.depends_on_id}` ? -1 : 1)),
    about,
  );

  for (const filter of [
    {},
    { sort: 'oldest' },
    { include_deferred: true },
    { assigned_agent_id: AGENTS[0] },
    { type: 'gate' },
    { label: 'a' },
  ] as const) {
    const { items: ready } = await ledger.readyPage({ rig_id, limit: 1_000, ...filter });
    expectSame(
      ready.map((task) => task.id),
      graph.ready({ rig_id, ...filter }, now).map((task) => task.id),
      `${about}: ready ${JSON.stringify(filter)}`,
    );
  }

  const blocked = tasks.filter((task) => task.status !== 'closed' && graph.isBlocked(task.id));
  const { items } = await ledger.blockedTasks({ rig_id, limit: 1_000 });
  const byId = items.toSorted((a, b) => (a.id < b.id ? -1 : 1));
  expectSame(
    byId.map((task) => ({
      id: task.id,
      above: task.blocked_ancestor,
      by: task.blocked_by.map(({ id, type, never, status }) => ({ id, type, never, status })),
    })),
    blocked.map((task) => ({
      id: task.id,
      above: graph.blockedAncestor(task.id),
      by: reasons(model, graph, task.id, now),
    })),
    `${about}: blocked`,
  );
  const { items: listed } = await ledger.listTasks({ rig_id, sort: 'id', limit: 1_000 });
  expectSame(
    listed.map((task) => task.status),
    tasks.map((task) => seen(task, now)),
    `${about}: list`,
  );
  const { items: open } = await ledger.listTasks({ rig_id, sort: 'id', limit: 1_000, status: ['open'] });
  expectSame(
    open.map((task) => task.id),
    tasks.filter((task) => seen(task, now) === 'open').map((task) => task.id),
    `${about}: open`,
  );
}

function expectedRow(task: PlainTask & { molecule_id: string | null; child_count: number }, graph: WorkGraph) {
  const { open, closed } = graph.children(task.id);
  const { id, status, outcome, assigned_agent_id, parent_id, pinned, priority, type, owner, molecule_id, defer_until } =
    task;
  return {
    id,
    status,
    outcome,
    assigned_agent_id,
    parent_id,
    pinned,
    priority,
    type,
    owner,
    molecule_id,
    defer_until,
    metadata: task.metadata,
    labels: task.labels,
    child_count: task.child_count,
    ...countersOf(graph, id, open, closed),
  };
}

function countersOf(graph: WorkGraph, id: string, open_children: number, closed_children: number) {
  const open_blockers = graph.blockers(id).length;
  return { open_blockers, parent_blocked: graph.blockedAncestor(id) !== null, open_children, closed_children };
}

function reasons(model: LedgerModel, graph: WorkGraph, id: string, now: string) {
  return graph.blockers(id).map((by) => {
    const edge = model.edges.get(`${id} ${by}`);
    const other = graph.task(by);
    const never = edge?.type === 'conditional-blocks' && other.status === 'closed';
    return { id: by, type: edge?.type, never, status: seen(other, now) };
  });
}

function seen(task: PlainTask, now: string): string {
  return task.status === 'deferred' && !isDormant(task, now) ? 'open' : task.status;
}

interface StoredEdge {
  task_id: string;
  depends_on_id: string;
  type: PlainEdge['type'];
  metadata: { gate?: string };
  holds: boolean;
}

async function read(db: TestDatabase['db'], rig_id: string) {
  const tasks = await sql<
    Omit<ReturnType<typeof expectedRow>, 'defer_until'> & { defer_until: Date | null; created_at: Date }
  >`
    select id, status, outcome, assigned_agent_id, parent_id, pinned, priority, type, owner, molecule_id, defer_until, metadata,
      coalesce((select array_agg(label order by label) from labels where task_id = tasks.id), '{}') as labels, child_count,
      open_blockers, parent_blocked, open_children, closed_children, created_at
    from tasks where rig_id = ${rig_id} order by id`.execute(db);
  const edges = await sql<StoredEdge>`
    select d.task_id, d.depends_on_id, d.type, d.metadata, d.holds from task_dependencies d join tasks t on t.id = d.task_id
    where t.rig_id = ${rig_id} order by d.task_id || ' ' || d.depends_on_id`.execute(db);
  return {
    tasks: tasks.rows.map(({ created_at, ...row }) => ({
      created_at: created_at.toISOString(),
      task: { ...row, defer_until: row.defer_until?.toISOString() ?? null },
    })),
    edges: edges.rows,
  };
}

const WRITERS = 16;
const EXPECTED_CODES = new Set([
  'INVALID_INPUT', 'NOT_FOUND', 'WRONG_STATE', 'CONFLICT', 'OPEN_BLOCKERS', 'ALREADY_CLAIMED', 'DEPENDENCY_CYCLE',
]); // prettier-ignore

test(`${WRITERS} writers at once leave counters that hold, from seed ${SEED}`, async () => {
  const each = Math.ceil(COMMANDS / 10 / WRITERS);
  const rig_id = await freshRig();
  const first = await Promise.all(
    Array.from({ length: 24 }, () => town.ledger.createTask(person, { title: 'First', rig_id })),
  );
  const ids = first.map((task) => task.id);
  const idOf = (nth: number): string => (nth < 0 ? `${rig_id}-zzzzz` : (ids[nth % ids.length] ?? ''));
  const codes = new Map<string, number>();
  await Promise.all(
    Array.from({ length: WRITERS }, async (_, writer) => {
      const commands = fc.sample(command, { seed: SEED + writer, numRuns: each });
      for (const given of commands) {
        // A crowded graph, rather than a large one.
        if (given.do === 'create' && ids.length >= 60) continue;
        const answer = await perform(town.ledger, { ask: person, rig_id, idOf }, given);
        if (given.do === 'create' && 'tasks' in answer) ids.push(...answer.tasks.map((task) => task.id));
        if ('code' in answer) codes.set(answer.code, (codes.get(answer.code) ?? 0) + 1);
      }
    }),
  );
  expect([...codes.keys()].filter((code) => !EXPECTED_CODES.has(code))).toEqual([]);
  await expectConsistent(town.ledger, rig_id);
}, 7_200_000);

/** Everything kept, worked out again from statuses, parents and edges. */
async function expectConsistent(ledger: Ledger, rig_id: string): Promise<void> {
  const { tasks: rows, edges: stored } = await read(town.db, rig_id);
  const tasks = rows.map(({ task, created_at }): PlainTask => ({
    ...task,
    created_at,
    title: '',
    description: '',
    rig_id,
    external_ref: null,
    source_system: null,
    due_at: null,
    updated_at: '',
  }));
  const edges = stored.map((edge): PlainEdge => ({
    ...edge,
    gate: edge.metadata.gate === 'any-children' ? 'any-children' : 'all-children',
  }));
  const graph = new WorkGraph(tasks, edges);
  expect(graph.canEnd()).toBe(true);
  expectSame(
    stored.map((edge) => edge.holds),
    edges.map((edge) => graph.isHolding(edge)),
    'edges',
  );
  for (const { task: row } of rows) {
    const { open, closed } = graph.children(row.id);
    const { open_blockers, parent_blocked, open_children, closed_children } = row;
    expectSame(
      { open_blockers, parent_blocked, open_children, closed_children },
      countersOf(graph, row.id, open, closed),
      row.id,
    );
    const parents = edges.filter((edge) => edge.task_id === row.id && edge.type === 'parent-child');
    expectSame(
      parents.map((edge) => edge.depends_on_id),
      row.parent_id === null ? [] : [row.parent_id],
      `${row.id}: parent`,
    );
  }
  const { items: ready } = await ledger.readyPage({ rig_id, limit: 1_000 });
  expectSame(
    ready.map((task) => task.id),
    graph.ready({ rig_id }, new Date().toISOString()).map((task) => task.id),
    'ready',
  );
}
