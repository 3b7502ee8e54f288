import type { TaskStatus } from './status';

/*
 * What one task may be to another, and which of it holds work back. Nothing else decides this: the ledger keeps `holds` of every
 * edge, and the counter `open_blockers` of every task, by the functions below.
 *
 * A task waits while an edge of its own holds it. What waits also holds back all that is below it (`parent_blocked`): a child does
 * not start before its parent could. A parent that is merely open holds nobody back; one that is closed passes on what is above it.
 */

/** Who is held back by an edge `(task, depends_on)`, and until when. `no`: nobody, it is there to be read. */
type Waiting =
  | 'no'
  /** Until the other is closed, however it ended. */
  | 'closed'
  /** Until the other has failed. When it ends well the task can never run: it stays blocked, and is closed by whoever decides so. */
  | 'failed'
  /** Until the children of the other are closed, all or one (`metadata.gate`). Without children: until it is closed itself. */
  | 'children'
  /** The task is a part of the other. The edge itself holds nothing; what holds the whole holds its parts. */
  | 'parent';

const TYPES = {
  blocks: 'closed',
  'conditional-blocks': 'failed',
  'waits-for': 'children',
  'parent-child': 'parent',
  related: 'no',
  'relates-to': 'no',
  'discovered-from': 'no',
  tracks: 'no',
  'replies-to': 'no',
  duplicates: 'no',
  supersedes: 'no',
  until: 'no',
  'caused-by': 'no',
  validates: 'no',
  'delegated-from': 'no',
  'authored-by': 'no',
  'assigned-to': 'no',
  'approved-by': 'no',
  attests: 'no',
} as const satisfies Record<string, Waiting>;

export type DependencyType = keyof typeof TYPES;
export const DEPENDENCY_TYPES = Object.keys(TYPES) as readonly DependencyType[];

/** Types of edges that can hold a task back: they count for `open_blockers` and for cycles. */
export const BLOCKING_TYPES: readonly DependencyType[] = DEPENDENCY_TYPES.filter(isBlocking);

export const WAIT_GATES = ['all-children', 'any-children'] as const;
/** What an edge `waits-for` waits for; `all-children` when nothing is said. */
export type WaitGate = (typeof WAIT_GATES)[number];

/** What the other end of an edge is at the moment. */
export interface DependencyTarget {
  readonly closed: boolean;
  /** How it ended; null while it is open. */
  readonly outcome: string | null;
  readonly openChildren: number;
  readonly closedChildren: number;
}

/** Outcomes after which a `conditional-blocks` edge lets go. */
const FAILURES: ReadonlySet<string> = new Set(['failed', 'cancelled', 'escalated']);

export function isDependencyType(word: string): word is DependencyType {
  return Object.hasOwn(TYPES, word);
}

export function isWaitGate(word: unknown): word is WaitGate {
  return (WAIT_GATES as readonly unknown[]).includes(word);
}

export function isBlocking(type: DependencyType): boolean {
  const waiting: Waiting = TYPES[type];
  return waiting !== 'no' && waiting !== 'parent';
}

/** Whether the edge holds its task back now. */
export function holds(type: DependencyType, gate: WaitGate, target: DependencyTarget): boolean {
  switch (TYPES[type]) {
    case 'closed':
      return !target.closed;
    case 'failed':
      return !target.closed || !isFailure(target.outcome);
    case 'children':
      return !areChildrenDone(gate, target);
    case 'parent':
    case 'no':
      return false;
  }
}

/** The edge holds, and only opening the other again could change that. */
export function holdsForEver(type: DependencyType, target: Pick<DependencyTarget, 'closed' | 'outcome'>): boolean {
  return TYPES[type] === 'failed' && target.closed && !isFailure(target.outcome);
}

/** What each kind of blocking edge to this target does now; a `gate` of null stands for any. */
export function holdings(target: DependencyTarget): readonly KindOfEdge[] {
  return BLOCKING_TYPES.flatMap((type): readonly KindOfEdge[] =>
    TYPES[type] === 'children'
      ? WAIT_GATES.map((gate) => ({ type, gate, holds: holds(type, gate, target) }))
      : [{ type, gate: null, holds: holds(type, 'all-children', target) }],
  );
}

interface KindOfEdge {
  readonly type: DependencyType;
  readonly gate: WaitGate | null;
  readonly holds: boolean;
}

/** A task that is closed takes no further parts, unless those are closed too: or it would be done with a part that is not. */
export function takesPart(whole: { readonly status: TaskStatus }, part: { readonly status: TaskStatus }): boolean {
  return whole.status !== 'closed' || part.status === 'closed';
}

function isFailure(outcome: string | null): boolean {
  return outcome !== null && FAILURES.has(outcome);
}

function areChildrenDone(gate: WaitGate, { closed, openChildren, closedChildren }: DependencyTarget): boolean {
  if (openChildren + closedChildren === 0) return closed;
  return gate === 'any-children' ? closedChildren > 0 : openChildren === 0;
}
