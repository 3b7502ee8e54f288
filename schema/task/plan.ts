import { TownError } from '../errors';
import { ID_LEVELS_MAX, type TaskId } from '../ids';
import type { JsonObject } from '../json';
import { listed, quote } from '../text';
import { waitingCycles } from './cycles';
import { isBlocking, type DependencyType } from './dependency';

/*
 * Tasks from a file. A plan is a graph of tasks that do not exist yet: each has a key of its own, by which the others name it, and may
 * also name tasks that exist. It is checked as a whole before anything is written.
 */

export interface PlanNode {
  readonly key: string;
  /** Where it stands, for messages: `line 3`, `nodes[2]`. */
  readonly at: string;
  readonly title: string;
  readonly description: string;
  readonly type: string | null;
  readonly priority: number | null;
  readonly assignee: string | null;
  readonly labels: readonly string[];
  readonly acceptance: string | null;
  readonly design: string | null;
  readonly owner: string | null;
  readonly spec_id: string | null;
  readonly external_ref: string | null;
  readonly estimated_minutes: number | null;
  readonly due_at: string | null;
  readonly defer_until: string | null;
  readonly pinned: boolean;
  readonly metadata: JsonObject;
  /** Metadata that is to hold the id of another task of the plan: metadata key to task key. */
  readonly metadata_refs: Readonly<Record<string, string>>;
  /** The task that it is a part of. */
  readonly parent: PlanRef | null;
}
/** A task of the plan, or one that exists. */
export type PlanRef = { readonly key: string } | { readonly id: TaskId };
export interface PlanEdge {
  readonly at: string;
  /** The one that waits. */
  readonly from: PlanRef;
  readonly to: PlanRef;
  readonly type: DependencyType;
  readonly metadata: JsonObject;
}
export interface TaskPlan {
  readonly nodes: readonly PlanNode[];
  readonly edges: readonly PlanEdge[];
}

export const PLAN_LIMITS = { nodes: 1_000, edges: 5_000, depth: ID_LEVELS_MAX } as const;

export interface PlanProblem {
  readonly at: string;
  readonly message: string;
}

/**
 * Answers the nodes in an order in which every parent comes before its parts.
 * @throws INVALID_INPUT with all problems: keys twice, references that lead nowhere, two edges for one pair; DEPENDENCY_CYCLE when cycles
 * are all that is wrong; INPUT_TOO_LARGE
 */
export function checkPlan(plan: TaskPlan): readonly PlanNode[] {
  const { nodes, edges } = plan;
  if (nodes.length === 0) throw new TownError('INVALID_INPUT', 'the file has no task', { hint: HINT });
  if (nodes.length > PLAN_LIMITS.nodes || edges.length > PLAN_LIMITS.edges) {
    throw new TownError(
      'INPUT_TOO_LARGE',
      `the file has ${nodes.length} tasks and ${edges.length} edges; at most ${PLAN_LIMITS.nodes} and ${PLAN_LIMITS.edges}`,
      { hint: 'split it into several files' },
    );
  }
  const problems: PlanProblem[] = [...doubledKeys(nodes), ...lostReferences(plan), ...doubledEdges(edges)];
  if (problems.length > 0) throw planRefusal(problems);
  refuseCycles(plan);
  return parentsFirst(nodes);
}

const HINT = 'the form is described in docs/tasks.md, Tasks from a file';

export function planRefusal(problems: readonly PlanProblem[]): TownError {
  return new TownError('INVALID_INPUT', listed(problems.map(({ at, message }) => `${at}: ${message}`)), {
    hint: `nothing was made; ${HINT}`,
    details: { problems: problems.slice(0, 100) },
  });
}

/** Keys are what callers read back, so they are short and plain. */
export function isPlanKey(text: string): boolean {
  return /^[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}$/.test(text) && text !== '__proto__';
}

function doubledKeys(nodes: readonly PlanNode[]): PlanProblem[] {
  const first = new Map<string, PlanNode>();
  return nodes.flatMap((node): PlanProblem[] => {
    const other = first.get(node.key);
    if (other === undefined) {
      first.set(node.key, node);
      return [];
    }
    return [
      {
        at: node.at,
        message: `the key ${quote(node.key)} is that of ${other.at} already: give one of the two its own`,
      },
    ];
  });
}

function lostReferences({ nodes, edges }: TaskPlan): PlanProblem[] {
  const keys = new Set(nodes.map((node) => node.key));
  const lost = (at: string, ref: PlanRef | null, what: string): PlanProblem[] =>
    ref === null || 'id' in ref || keys.has(ref.key)
      ? []
      : [{ at, message: `${what} ${quote(ref.key)} is neither a task of this file nor the id of one` }];
  return [
    ...nodes.flatMap((node) => lost(node.at, node.parent, 'the parent')),
    ...nodes.flatMap((node) =>
      Object.values(node.metadata_refs).flatMap((key) => lost(node.at, { key }, 'the reference to')),
    ),
    ...edges.flatMap((edge) => [...lost(edge.at, edge.from, 'the end'), ...lost(edge.at, edge.to, 'the end')]),
  ];
}

function doubledEdges(edges: readonly PlanEdge[]): PlanProblem[] {
  const first = new Map<string, PlanEdge>();
  return edges.flatMap((edge): PlanProblem[] => {
    const [from, to] = [nameOf(edge.from), nameOf(edge.to)];
    const pair = JSON.stringify([from, to]);
    const other = first.get(pair);
    if (other === undefined) {
      first.set(pair, edge);
      return from === to ? [{ at: edge.at, message: `${quote(from)} cannot wait for itself` }] : [];
    }
    return [{ at: edge.at, message: `${quote(from)} and ${quote(to)} have an edge already (${other.at})` }];
  });
}

function nameOf(ref: PlanRef): string {
  return 'id' in ref ? ref.id : ref.key;
}

/** Ways through tasks that exist are found by the ledger. */
function refuseCycles({ nodes, edges }: TaskPlan): void {
  const between = (from: PlanRef, to: PlanRef | null): (readonly [string, string])[] =>
    to === null || 'id' in from || 'id' in to ? [] : [[from.key, to.key]];
  const circles = waitingCycles({
    blocking: edges.filter(({ type }) => isBlocking(type)).flatMap(({ from, to }) => between(from, to)),
    parents: [
      ...nodes.flatMap(({ key, parent }) => between({ key }, parent)),
      ...edges.filter(({ type }) => type === 'parent-child').flatMap(({ from, to }) => between(from, to)),
    ],
  });
  if (circles.length === 0) return;
  const paths = circles.map((circle) => [...circle, ...circle.slice(0, 1)]);
  throw new TownError(
    'DEPENDENCY_CYCLE',
    `the file has a cycle: ${listed(paths.map((path) => path.join(' waits for ')))}`,
    {
      hint: 'leave out one of these edges; a part waits for what its whole waits for, and the whole for its parts',
      details: { path: paths[0] },
    },
  );
}

/** There is no cycle, and every parent is there. */
function parentsFirst(nodes: readonly PlanNode[]): PlanNode[] {
  const byKey = new Map(nodes.map((node) => [node.key, node]));
  const placed = new Set<string>();
  const ordered: PlanNode[] = [];
  for (const node of nodes) {
    const line: PlanNode[] = [];
    for (let at: PlanNode | undefined = node; at !== undefined && !placed.has(at.key);) {
      line.unshift(at);
      at = at.parent === null || 'id' in at.parent ? undefined : byKey.get(at.parent.key);
    }
    if (line.length > 0 && depthOf(node, byKey) > PLAN_LIMITS.depth) {
      throw planRefusal([{ at: node.at, message: `tasks have parts at most ${PLAN_LIMITS.depth} levels deep` }]);
    }
    for (const each of line) placed.add(each.key);
    ordered.push(...line);
  }
  return ordered;
}

function depthOf(node: PlanNode, byKey: ReadonlyMap<string, PlanNode>): number {
  let depth = 0;
  for (let at = node.parent; at !== null; depth += 1) at = 'id' in at ? null : (byKey.get(at.key)?.parent ?? null);
  return depth;
}
