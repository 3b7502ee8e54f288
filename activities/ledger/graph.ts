import { sql, type Kysely, type RawBuilder } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import type { TaskId } from '../../schema/ids';
import type { GraphBounds, Ledger } from '../../schema/ledger';
import { DIRECTIONS, treeOf, within, type Direction, type GraphEdge, type GraphNode } from '../../schema/task/graph';
import type { Store } from './command';
import * as input from './input';
import { BLOCKED, STATUS } from './task-expressions';
import { noTask } from './task-rows';

const DEPTH_MAX = 50;
const NODES_MAX = 500;
/** Edges between the tasks of one answer. */
const EDGES_MAX = 5_000;

export function graphReads(store: Store): Pick<Ledger, 'dependencyTree' | 'taskGraph'> {
  const { db } = store;
  return {
    async dependencyTree(id, { directions = DIRECTIONS, ...wanted }) {
      const bounds = checkBounds(wanted);
      const branch = async (direction: Direction) => {
        const { ids, edges, truncated } = await walk(db, [id], direction, bounds);
        return { direction, graph: { nodes: await nodesOf(db, ids), edges, truncated } };
      };
      const branches = await Promise.all(directions.map(branch));
      const [task] = await nodesOf(db, [id]);
      const rowsOf = (direction: Direction) => {
        const found = branches.find((each) => each.direction === direction);
        return found === undefined ? null : treeOf(found.graph, id, direction);
      };
      return {
        task: task ?? noTask(id),
        down: rowsOf('down'),
        up: rowsOf('up'),
        truncated: branches.some(({ graph }) => graph.truncated),
      };
    },
    async taskGraph({ ids = [], rig_id, ...wanted }) {
      const bounds = checkBounds(wanted);
      const roots = [...new Set(ids)];
      if (roots.length > bounds.limit) {
        throw new TownError('INPUT_TOO_LARGE', `${roots.length} tasks at once; at most ${bounds.limit}`);
      }
      const found = roots.length === 0 ? await connected(db, rig_id ?? null, bounds) : await around(db, roots, bounds);
      const [nodes, edges] = await Promise.all([nodesOf(db, found.ids), edgesBetween(db, found.ids, bounds)]);
      const missing = roots.find((id) => !nodes.some((node) => node.id === id));
      if (missing !== undefined) noTask(missing);
      return { nodes, edges: edges.edges, truncated: found.truncated || edges.truncated };
    },
  };
}

interface Bounds {
  readonly types: readonly string[] | null;
  readonly depth: number;
  readonly limit: number;
}
interface Found {
  readonly ids: readonly TaskId[];
  readonly truncated: boolean;
}

function checkBounds({ types, depth = 10, limit }: GraphBounds): Bounds {
  if (!Number.isInteger(depth) || depth < 1 || depth > DEPTH_MAX) {
    throw new TownError('INVALID_INPUT', `depth ${depth} is not a whole number from 1 to ${DEPTH_MAX}`);
  }
  if (input.limit(limit, 200) > NODES_MAX) {
    throw new TownError('INVALID_INPUT', `limit ${limit} is not a whole number from 1 to ${NODES_MAX}`);
  }
  return { types: types === undefined ? null : [...types], depth, limit: input.limit(limit, 200) };
}

/**
 * The tasks nearest to the roots. `union` visits each task once, level by level, and stops at the limit, so that neither shared tasks nor
 * wide graphs multiply the work; how far a task is follows from the edges.
 */
async function walk(
  db: Kysely<Database>,
  roots: readonly TaskId[],
  direction: Direction,
  bounds: Bounds,
): Promise<Found & { readonly edges: readonly GraphEdge[] }> {
  const isDown = direction === 'down';
  // A whole needs its parts: over those edges the directions are turned round.
  const { rows } = await sql<{ id: TaskId }>`
    with recursive near (id) as (
      select unnest(${[...roots]}::text[])
      union
      select next.id from near cross join lateral (
        select d.depends_on_id as id from task_dependencies d
        where d.task_id = near.id and (d.type = 'parent-child') <> ${isDown}::boolean and ${ofTypes(bounds)}
        union all
        select d.task_id from task_dependencies d
        where d.depends_on_id = near.id and (d.type = 'parent-child') = ${isDown}::boolean and ${ofTypes(bounds)}
      ) next
    ) select id from near limit ${bounds.limit + 1}`.execute(db);
  const ids = rows.slice(0, bounds.limit).map((row) => row.id);
  const { edges, truncated } = await edgesBetween(db, ids, bounds);
  const near = within(edges, roots, direction, bounds.depth);
  return {
    ids: ids.filter((id) => near.has(id)),
    edges: edges.filter(({ task_id, depends_on_id }) => near.has(task_id) && near.has(depends_on_id)),
    truncated: truncated || rows.length > bounds.limit || near.size < ids.length,
  };
}

function ofTypes({ types }: Bounds): RawBuilder<unknown> {
  return types === null ? sql`true` : sql`d.type = any(${[...types]}::text[])`;
}

async function around(db: Kysely<Database>, roots: readonly TaskId[], bounds: Bounds): Promise<Found> {
  const [down, up] = await Promise.all([walk(db, roots, 'down', bounds), walk(db, roots, 'up', bounds)]);
  const ids = [...new Set([...roots, ...down.ids, ...up.ids])];
  return { ids: ids.slice(0, bounds.limit), truncated: down.truncated || up.truncated || ids.length > bounds.limit };
}

/** Most urgent first, where not all of them fit. */
async function connected(db: Kysely<Database>, rig_id: string | null, bounds: Bounds): Promise<Found> {
  const { rows } = await sql<{ id: TaskId }>`
    select id from tasks t where status <> 'closed' and (${rig_id}::text is null or rig_id = ${rig_id}) and (
      exists (select 1 from task_dependencies d join tasks o on o.id = d.depends_on_id
        where d.task_id = t.id and o.status <> 'closed' and ${ofTypes(bounds)})
      or exists (select 1 from task_dependencies d join tasks o on o.id = d.task_id
        where d.depends_on_id = t.id and o.status <> 'closed' and ${ofTypes(bounds)}))
    order by priority, created_at, id limit ${bounds.limit + 1}`.execute(db);
  return { ids: rows.slice(0, bounds.limit).map((row) => row.id), truncated: rows.length > bounds.limit };
}

async function nodesOf(db: Kysely<Database>, ids: readonly TaskId[]): Promise<GraphNode[]> {
  const { rows } = await sql<GraphNode>`
    select id, title, ${STATUS} as status, type, priority, assigned_agent_id,
      ${BLOCKED} as blocked
    from tasks where id = any(${[...ids]}::text[]) order by id`.execute(db);
  return rows;
}

async function edgesBetween(
  db: Kysely<Database>,
  ids: readonly TaskId[],
  bounds: Bounds,
): Promise<{ edges: GraphEdge[]; truncated: boolean }> {
  const { rows } = await sql<GraphEdge>`
    select d.task_id, d.depends_on_id, d.type, d.holds from task_dependencies d
    where d.task_id = any(${[...ids]}::text[]) and d.depends_on_id = any(${[...ids]}::text[]) and ${ofTypes(bounds)}
    order by d.task_id, d.depends_on_id limit ${EDGES_MAX + 1}`.execute(db);
  return { edges: rows.slice(0, EDGES_MAX), truncated: rows.length > EDGES_MAX };
}
