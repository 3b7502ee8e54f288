/* Graphs of any size with every kind of task and edge, and a way to write them to the ledger's tables that is not the ledger's. */
import { sql, type Kysely } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { DEPENDENCY_TYPES } from '../../schema/task/dependency';
import { TASK_STATUSES } from '../../schema/task/status';
import { WorkGraph, type PlainEdge, type PlainTask } from './work-graph';

export interface RandomGraph {
  readonly tasks: readonly PlainTask[];
  readonly edges: readonly PlainEdge[];
}

/** Numbers from 0 to 1 that are the same for the same seed (mulberry32). */
export function randomOf(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d_2b_79_f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const LABELS = ['tech:ts', 'tech:go', 'area:api', 'area:ui', 'urgent', 'later'] as const;
const TYPES = ['task', 'task', 'task', 'bug', 'feature', 'epic', 'gate', 'message'] as const;
const OUTCOMES = ['done', 'failed', 'skipped', 'cancelled'] as const;
const DAY_MS = 86_400_000;

/**
 * `size` tasks of one rig around the moment `now` (ms). Edges and parents point to earlier tasks only, so that there are no cycles.
 * About a quarter is closed, a third is a part of another task, and edges are about as many as tasks.
 */
export function randomGraph(
  random: () => number,
  size: number,
  place: { readonly rig_id: string; readonly agent: string; readonly now: number },
): RandomGraph {
  const below = (count: number): number => Math.floor(random() * count);
  const pick = <T>(items: readonly T[]): T => items[below(items.length)] as T; // never empty here
  const maybe = <T>(chance: number, value: () => T): T | null => (random() < chance ? value() : null);
  /** Up to four days around now, in ms; never so near that it passes during a test. */
  const around = (): string => {
    const offset = Math.round((random() - 0.5) * 8 * DAY_MS);
    return new Date(place.now + offset + Math.sign(offset) * 3_600_000).toISOString();
  };
  const prefix = below(36 ** 6).toString(36);
  const tasks: PlainTask[] = [];
  const edges = new Map<string, PlainEdge>();
  for (let at = 0; at < size; at += 1) {
    const id = `${prefix}-${at.toString(36).padStart(5, '0')}`;
    const status = random() < 0.6 ? 'open' : pick(TASK_STATUSES);
    const parent_id = at === 0 ? null : maybe(0.35, () => tasks[Math.max(0, at - 1 - below(40))]?.id ?? null);
    const created_at = new Date(place.now - ageOf(below(6 * DAY_MS))).toISOString();
    const task: PlainTask = {
      id,
      title: `Task ${at} ${pick(['alpha', 'Beta', 'GAMMA'])}`,
      description: maybe(0.2, () => 'About delta') ?? '',
      rig_id: place.rig_id,
      type: pick(TYPES),
      priority: below(5),
      status,
      outcome: status === 'closed' ? pick(OUTCOMES) : null,
      parent_id,
      assigned_agent_id: maybe(status === 'in_progress' ? 1 : 0.1, () => place.agent),
      pinned: random() < 0.05,
      // One that more tasks have than `ready` reads one by one.
      labels: LABELS.filter((label) => random() < (label === 'tech:ts' ? 0.6 : 0.2)),
      owner: maybe(0.3, () => pick(['ada', 'bo'])),
      external_ref: maybe(0.1, () => id),
      source_system: maybe(0.1, () => 'github'),
      metadata: random() < 0.2 ? { team: pick(['core', 'edge']) } : {},
      defer_until: maybe(status === 'deferred' ? 0.6 : status === 'open' ? 0.1 : 0, around),
      due_at: maybe(0.2, around),
      created_at,
      updated_at: created_at,
    };
    tasks.push(task);
    if (parent_id !== null) add(edges, { task_id: id, depends_on_id: parent_id, type: 'parent-child' });
    for (let count = at === 0 ? 0 : below(3); count > 0; count -= 1) {
      const other = tasks[random() < 0.5 ? below(at) : Math.max(0, at - 1 - below(20))];
      const type =
        random() < 0.7 ? pick(['blocks', 'conditional-blocks', 'waits-for'] as const) : pick(DEPENDENCY_TYPES);
      // Being a part is said by the parent alone.
      if (other !== undefined && other.id !== id && type !== 'parent-child')
        add(edges, {
          task_id: id,
          depends_on_id: other.id,
          type,
          gate: pick(['all-children', 'any-children'] as const),
        });
    }
  }
  return { tasks, edges: [...edges.values()] };
}

/** Not near the two days after which a task is no longer new. */
function ageOf(ms: number): number {
  return Math.abs(ms - 2 * DAY_MS) < 3_600_000 ? ms + 2 * 3_600_000 : ms;
}

function add(edges: Map<string, PlainEdge>, edge: Omit<PlainEdge, 'gate'> & Partial<Pick<PlainEdge, 'gate'>>): void {
  const pair = `${edge.task_id} ${edge.depends_on_id}`;
  if (!edges.has(pair)) edges.set(pair, { gate: 'all-children', ...edge });
}

const CHUNK = 5_000;

/**
 * Set by set, with the counters that the naive evaluation gives. The rig and the agent must exist: references are not checked, which
 * would take as long as all the rest.
 */
export async function writeGraph(db: Kysely<Database>, { tasks, edges }: RandomGraph): Promise<void> {
  const graph = new WorkGraph(tasks, edges);
  const counted = tasks.map((task) => {
    const { open, closed } = graph.children(task.id);
    return {
      ...task,
      open_blockers: graph.blockers(task.id).length,
      parent_blocked: graph.blockedAncestor(task.id) !== null,
      open_children: open,
      closed_children: closed,
      completed_at: task.status === 'closed' ? task.created_at : null,
    };
  });
  const labels = tasks.flatMap((task) => task.labels.map((label) => ({ task_id: task.id, label })));
  const links = edges.map((edge) => ({ ...edge, metadata: { gate: edge.gate }, holds: graph.isHolding(edge) }));
  await db.transaction().execute(async (trx) => {
    await sql`set local session_replication_role = replica`.execute(trx);
    for (const json of chunks(counted)) {
      await sql`insert into tasks (id, digest, title, description, rig_id, type, priority, status, outcome, parent_id,
          assigned_agent_id, pinned, owner, external_ref, source_system, metadata, defer_until, due_at, created_at, updated_at,
          completed_at, created_by, open_blockers, parent_blocked, open_children, closed_children, child_count)
        select id, id, title, description, rig_id, type, priority, status, outcome, parent_id, assigned_agent_id, pinned, owner,
          external_ref, source_system, metadata, defer_until, due_at, created_at, updated_at, completed_at, 'person:graph',
          open_blockers, parent_blocked, open_children, closed_children, open_children + closed_children
        from jsonb_populate_recordset(null::tasks, ${json}::jsonb)`.execute(trx);
    }
    for (const json of chunks(labels)) {
      await sql`insert into labels (task_id, label)
        select task_id, label from jsonb_populate_recordset(null::labels, ${json}::jsonb)`.execute(trx);
    }
    for (const json of chunks(links)) {
      await sql`insert into task_dependencies (task_id, depends_on_id, type, metadata, holds, created_by)
        select task_id, depends_on_id, type, metadata, holds, 'person:graph'
        from jsonb_populate_recordset(null::task_dependencies, ${json}::jsonb)`.execute(trx);
    }
  });
}

function* chunks(rows: readonly object[]): Generator<string> {
  for (let at = 0; at < rows.length; at += CHUNK) yield JSON.stringify(rows.slice(at, at + CHUNK));
}
