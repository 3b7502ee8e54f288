import type { TaskId } from '../ids';

/** Who waits for whom, of all tasks together. */
export interface WaitingGraph {
  /** Blocking edges: the first waits for the second. */
  readonly blocking: Iterable<readonly [TaskId, TaskId]>;
  /** The first is a part of the second. A task is a part of one other at most. */
  readonly parents: Iterable<readonly [TaskId, TaskId]>;
}

/**
 * Circles of tasks that wait for each other, directly or through their wholes and parts: none of each could ever be closed. The rule is
 * the ledger's for a single edge: that a task be closed needs the far ends of its blocking edges and its children closed, and, before
 * it can start, the far ends of its ancestors' blocking edges. So a task is two nodes: `closing` needs all three; `inherited`, reached
 * from a part, needs its blocking edges and its own whole, not its parts.
 *
 * Each group of circles that share a task is given once, as one circle through it: the first waits for the second, the last for the
 * first. Time is linear in the number of edges.
 */
export function waitingCycles(graph: WaitingGraph): TaskId[][] {
  const ids: TaskId[] = [];
  const places = new Map<TaskId, number>();
  const from: number[] = [];
  const to: number[] = [];
  const placeOf = (id: TaskId): number => {
    const known = places.get(id);
    if (known !== undefined) return known;
    places.set(id, ids.length);
    return ids.push(id) - 1;
  };
  const add = (source: number, target: number): void => {
    from.push(source);
    to.push(target);
  };
  for (const [task, target] of graph.blocking) {
    const [waiting, other] = [placeOf(task), placeOf(target)];
    add(closing(waiting), closing(other));
    add(inherited(waiting), closing(other));
  }
  for (const [child, parent] of graph.parents) {
    const [part, whole] = [placeOf(child), placeOf(parent)];
    add(closing(whole), closing(part));
    add(closing(part), inherited(whole));
    add(inherited(part), inherited(whole));
  }
  const next = successorsOf(ids.length * 2, from, to);
  const circles = components(next).map((group) => circleIn(next, group));
  const found = circles.map((circle) => withoutRepeats(circle.map((node) => ids[node >> 1]!)));
  // Wholes in a circle are one in both of their nodes.
  return [...new Map(found.map((circle) => [circle.toSorted().join(' '), circle])).values()];
}

const closing = (place: number): number => place * 2;
const inherited = (place: number): number => place * 2 + 1;

interface Successors {
  readonly starts: Int32Array;
  readonly ends: Int32Array;
}

function successorsOf(nodes: number, from: readonly number[], to: readonly number[]): Successors {
  const starts = new Int32Array(nodes + 1);
  for (const node of from) starts[node + 1]! += 1;
  for (let node = 0; node < nodes; node += 1) starts[node + 1]! += starts[node]!;
  const ends = new Int32Array(to.length);
  const filled = starts.slice();
  from.forEach((node, edge) => {
    ends[filled[node]!++] = to[edge]!;
  });
  return { starts, ends };
}

/** Tarjan's strongly connected components of more than one node, or with an edge to itself; without recursion, chains are long. */
function components({ starts, ends }: Successors): number[][] {
  const nodes = starts.length - 1;
  const order = new Int32Array(nodes).fill(-1);
  const low = new Int32Array(nodes);
  const place = starts.slice();
  const isOpen = new Uint8Array(nodes);
  const stack: number[] = [];
  const found: number[][] = [];
  let visited = 0;
  for (let root = 0; root < nodes; root += 1) {
    if (order[root] !== -1) continue;
    const path = [root];
    while (path.length > 0) {
      const node = path.at(-1)!;
      if (order[node] === -1) {
        order[node] = low[node] = visited;
        visited += 1;
        stack.push(node);
        isOpen[node] = 1;
      }
      if (place[node]! < starts[node + 1]!) {
        const other = ends[place[node]!++]!;
        if (order[other] === -1) path.push(other);
        else if (isOpen[other] === 1) low[node] = Math.min(low[node]!, order[other]!);
        continue;
      }
      path.pop();
      const above = path.at(-1);
      if (above !== undefined) low[above] = Math.min(low[above]!, low[node]!);
      if (low[node] !== order[node]) continue;
      const group = stack.splice(stack.lastIndexOf(node));
      for (const member of group) isOpen[member] = 0;
      const isLoop = ends.subarray(starts[node], starts[node + 1]).includes(node);
      if (group.length > 1 || isLoop) found.push(group);
    }
  }
  return found;
}

/** A shortest circle through the first node of the group, by breadth-first search within it. */
function circleIn({ starts, ends }: Successors, group: readonly number[]): number[] {
  const inside = new Set(group);
  const start = group[0]!;
  const cameFrom = new Map<number, number>();
  const queue = [start];
  for (const node of queue) {
    for (const other of ends.subarray(starts[node], starts[node + 1])) {
      if (other === start) {
        const circle = [node];
        for (let at = node; at !== start;) circle.unshift((at = cameFrom.get(at)!));
        return circle;
      }
      if (!inside.has(other) || cameFrom.has(other)) continue;
      cameFrom.set(other, node);
      queue.push(other);
    }
  }
  return [start];
}

/** The two nodes of one task may follow each other. */
function withoutRepeats(circle: readonly TaskId[]): TaskId[] {
  return circle.filter((id, place) => id !== circle[place - 1]);
}
