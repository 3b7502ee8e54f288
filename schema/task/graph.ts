import type { AgentAddress, TaskId } from '../ids';
import { isBlocking, type DependencyType } from './dependency';

/** A part of the work graph, bounded by who read it. */
export interface GraphView {
  /** In no order that means anything. */
  readonly nodes: readonly GraphNode[];
  /** Between these nodes only. */
  readonly edges: readonly GraphEdge[];
  /** There is more than was read. */
  readonly truncated: boolean;
}
export interface GraphNode {
  readonly id: TaskId;
  readonly title: string;
  readonly status: string;
  readonly type: string;
  readonly priority: number;
  readonly assigned_agent_id: AgentAddress | null;
  /** Held back, itself or from above. */
  readonly blocked: boolean;
}
export interface GraphEdge {
  readonly task_id: TaskId;
  readonly depends_on_id: TaskId;
  readonly type: DependencyType;
  readonly holds: boolean;
}

/** `down`: what a task needs to be closed, its parts among it. `up`: what needs it, its whole among it. */
export const DIRECTIONS = ['down', 'up'] as const;
export type Direction = (typeof DIRECTIONS)[number];

export interface TreeView {
  readonly task: GraphNode;
  /** Each with its whole branch before its next sibling; null when it was not asked for. */
  readonly down: readonly TreeNode[] | null;
  readonly up: readonly TreeNode[] | null;
  readonly truncated: boolean;
}
export interface TreeNode extends GraphNode {
  /** 1 for what is next to the task. */
  readonly depth: number;
  /** The node it hangs from. */
  readonly parent_id: TaskId;
  readonly edge: DependencyType;
  readonly holds: boolean;
  /** Stands in the tree once more, nearer to the task; what hangs from it is shown there. */
  readonly repeated: boolean;
  /** The last of its siblings. */
  readonly last: boolean;
}

/** Who is next to `id` in a direction, over which edge. */
interface Neighbour {
  readonly id: TaskId;
  readonly edge: GraphEdge;
}

/**
 * The graph as a tree from `root` on. A node that is reached twice shows what hangs from it where it is nearest to the root; there are no
 * cycles of edges that hold work, and others (`related` both ways) end in the same way.
 */
export function treeOf(graph: GraphView, root: TaskId, direction: Direction): TreeNode[] {
  const nodes = new Map(graph.nodes.map((node) => [node.id, node]));
  const neighbours = neighboursOf(graph, direction);
  const homes = homesOf(root, neighbours);
  const rows: TreeNode[] = [];
  const shown = new Set<TaskId>([root]);
  const visit = (parent_id: TaskId, depth: number): void => {
    const next = (neighbours.get(parent_id) ?? []).filter(({ id }) => nodes.has(id));
    for (const [at, { id, edge }] of next.entries()) {
      const node = nodes.get(id)!;
      const repeated = homes.get(id) !== parent_id || shown.has(id);
      const last = at === next.length - 1;
      rows.push({ ...node, depth, parent_id, edge: edge.type, holds: edge.holds, repeated, last });
      if (repeated) continue;
      shown.add(id);
      visit(id, depth + 1);
    }
  };
  visit(root, 1);
  return rows;
}

/** The tasks at most `depth` edges away from one of the roots, these among them. */
export function within(
  edges: readonly GraphEdge[],
  roots: readonly TaskId[],
  direction: Direction,
  depth: number,
): Set<TaskId> {
  const neighbours = neighboursOf({ edges }, direction);
  const near = new Set<TaskId>(roots);
  let level: readonly TaskId[] = roots;
  for (let away = 1; away <= depth && level.length > 0; away++) {
    level = level.flatMap((id) => (neighbours.get(id) ?? []).map((next) => next.id)).filter((id) => !near.has(id));
    for (const id of level) near.add(id);
  }
  return near;
}

/** The tree as lines, without the root. */
export function treeText(rows: readonly TreeNode[]): string {
  const ended: boolean[] = [];
  return rows
    .map((row) => {
      ended[row.depth] = row.last;
      const bars = Array.from({ length: row.depth - 1 }, (_, above) => (ended[above + 1] === true ? '   ' : '│  '));
      const how = `${row.edge}${row.holds ? ', holds' : ''}`;
      const again = row.repeated ? ' (shown elsewhere)' : '';
      return `${bars.join('')}${row.last ? '└─ ' : '├─ '}${row.id} ${row.status} P${row.priority} ${oneLine(row.title)} [${how}]${again}\n`;
    })
    .join('');
}

/**
 * Layers of work: what stands in one can go on side by side once the layers before it are done. A whole comes after its parts, and a part
 * after what its whole waits for.
 */
export function layersOf(graph: GraphView): GraphNode[][] {
  const waits = waitsOf(graph);
  const layers: GraphNode[][] = [];
  const done = new Set<TaskId>();
  let rest = graph.nodes.toSorted(byUrgency);
  while (rest.length > 0) {
    const free = rest.filter(({ id }) => [...waits.get(id)!].every((other) => done.has(other)));
    // A circle cannot be: one that was there all the same is shown rather than hidden.
    const layer = free.length === 0 ? rest : free;
    for (const { id } of layer) done.add(id);
    layers.push(layer);
    rest = rest.filter(({ id }) => !done.has(id));
  }
  return layers;
}

export function graphText(graph: GraphView): string {
  return layersOf(graph)
    .map((layer, nth) =>
      layer
        .map((node, at) => {
          const needs = graph.edges
            .filter(({ task_id }) => task_id === node.id)
            .toSorted((a, b) => byId(a.depends_on_id, b.depends_on_id))
            .map(({ depends_on_id, type }) => (type === 'blocks' ? depends_on_id : `${depends_on_id} (${type})`));
          const place = at === 0 ? String(nth + 1) : '';
          return `${place.padEnd(4)}${node.id} ${node.status} P${node.priority} ${oneLine(node.title)}${
            needs.length === 0 ? '' : ` <- ${needs.join(', ')}`
          }\n`;
        })
        .join(''),
    )
    .join('');
}

/** Graphviz: arrows go the way of the work, from what is needed to what needs it; from a part to its whole. */
export function dotOf(graph: GraphView): string {
  const nodes = graph.nodes
    .toSorted((a, b) => byId(a.id, b.id))
    .map((node) => `  ${quoted(node.id)} [label=${labelOf(node)}, fillcolor=${quoted(colourOf(node))}];\n`);
  const edges = graph.edges
    .toSorted((a, b) => byId(a.depends_on_id, b.depends_on_id) || byId(a.task_id, b.task_id))
    .map(arrowOf);
  return [
    'digraph tasks {\n  rankdir=LR;\n  node [shape=box, style="rounded,filled", fontname="sans-serif"];\n',
    ...nodes,
    ...edges,
    '}\n',
  ].join('');
}

function arrowOf({ task_id, depends_on_id, type, holds }: GraphEdge): string {
  const [from, to] = [
    quoted(type === 'parent-child' ? task_id : depends_on_id),
    quoted(type === 'parent-child' ? depends_on_id : task_id),
  ];
  const label = type === 'blocks' || type === 'parent-child' ? '' : `label=${quoted(type)}, `;
  const style =
    type === 'parent-child' ? 'style=dashed, arrowhead=odiamond' : isBlocking(type) ? 'style=solid' : 'style=dotted';
  return `  ${from} -> ${to} [${label}${style}, color=${quoted(holds ? 'red' : 'gray40')}];\n`;
}

function neighboursOf({ edges }: Pick<GraphView, 'edges'>, direction: Direction): Map<TaskId, Neighbour[]> {
  const neighbours = new Map<TaskId, Neighbour[]>();
  for (const edge of edges) {
    // A whole needs its parts, although the edge goes from the part to the whole.
    const down = edge.type === 'parent-child' ? [edge.depends_on_id, edge.task_id] : [edge.task_id, edge.depends_on_id];
    const [from, to] = (direction === 'down' ? down : down.toReversed()) as [TaskId, TaskId];
    const list = neighbours.get(from);
    if (list === undefined) neighbours.set(from, [{ id: to, edge }]);
    else list.push({ id: to, edge });
  }
  for (const list of neighbours.values()) {
    list.sort((a, b) => Number(b.edge.holds) - Number(a.edge.holds) || byId(a.id, b.id));
  }
  return neighbours;
}

/** Where each node shows what hangs from it: below the first that reaches it, nearest to the root. */
function homesOf(root: TaskId, neighbours: ReadonlyMap<TaskId, readonly Neighbour[]>): Map<TaskId, TaskId> {
  const homes = new Map<TaskId, TaskId>([[root, root]]);
  for (const from of homes.keys()) {
    for (const { id } of neighbours.get(from) ?? []) if (!homes.has(id)) homes.set(id, from);
  }
  return homes;
}

/** For each node the nodes that come before it. */
function waitsOf({ nodes, edges }: GraphView): Map<TaskId, Set<TaskId>> {
  const waits = new Map<TaskId, Set<TaskId>>(nodes.map(({ id }) => [id, new Set()]));
  const wholeOf = new Map<TaskId, TaskId>();
  for (const { task_id, depends_on_id, type } of edges) {
    if (isBlocking(type)) waits.get(task_id)?.add(depends_on_id);
    if (type === 'parent-child') wholeOf.set(task_id, depends_on_id);
  }
  const own = new Map([...waits].map(([id, set]) => [id, [...set]]));
  for (const [part, whole] of wholeOf) {
    waits.get(whole)?.add(part);
    const above = new Set<TaskId>();
    for (let at: TaskId | undefined = whole; at !== undefined && !above.has(at); at = wholeOf.get(at)) {
      above.add(at);
      for (const other of own.get(at) ?? []) waits.get(part)?.add(other);
    }
  }
  return waits;
}

function labelOf({ id, title, status, priority }: GraphNode): string {
  return `"${escaped(id)}\\n${escaped(clip(title))}\\n${escaped(status)} P${priority}"`;
}

function colourOf({ status, blocked }: GraphNode): string {
  if (status === 'closed') return 'palegreen';
  if (blocked) return 'mistyrose';
  return status === 'open' ? 'white' : 'lightyellow';
}

function quoted(text: string): string {
  return `"${escaped(text)}"`;
}

/** In quotes a backslash and a quote mean something; what commands a terminal, or turns letters around, is left out. */
function escaped(text: string): string {
  return text
    .replaceAll(/[\p{Cc}\p{Cf}]+/gu, ' ')
    .replaceAll('\\', '\\\\')
    .replaceAll('"', '\\"');
}

function oneLine(title: string): string {
  return title.replaceAll(/\s+/g, ' ');
}

function clip(title: string): string {
  const letters = Array.from(title);
  return letters.length <= 60 ? title : `${letters.slice(0, 59).join('')}…`;
}

function byUrgency(a: GraphNode, b: GraphNode): number {
  return a.priority - b.priority || byId(a.id, b.id);
}

const ORDER = new Intl.Collator('en', { numeric: true });

/** `x.2` before `x.10`. */
function byId(a: TaskId, b: TaskId): number {
  return ORDER.compare(a, b);
}
