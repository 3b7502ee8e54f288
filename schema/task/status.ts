/** How far a task is. "Blocked" is derived from `open_blockers`, never stored. */
export type TaskStatus =
  'open' | 'in_progress' | 'impl_complete' | 'merge_ready' | 'merged' | 'merge_conflict' | 'closed' | 'deferred';

/** Why a task ended. */
export const OUTCOMES = ['done', 'failed', 'skipped', 'cancelled', 'merged', 'deferred', 'escalated'] as const;
export type TaskOutcome = (typeof OUTCOMES)[number];

/** Every allowed move. A status may always stay what it is; what is not listed is refused. */
const MOVES = {
  open: ['in_progress', 'deferred', 'closed'],
  in_progress: ['open', 'impl_complete', 'merge_ready', 'deferred', 'closed'],
  impl_complete: ['open', 'in_progress', 'merge_ready', 'closed'],
  merge_ready: ['open', 'in_progress', 'merged', 'merge_conflict', 'closed'],
  merge_conflict: ['open', 'in_progress', 'merge_ready', 'closed'],
  merged: ['closed'],
  closed: ['open'],
  deferred: ['open', 'closed'],
} as const satisfies Record<TaskStatus, readonly TaskStatus[]>;

export const TASK_STATUSES = Object.keys(MOVES) as readonly TaskStatus[];

/** Words of other trackers, in lower case with `_` between words. */
const ALIASES: Readonly<Record<string, TaskStatus>> = {
  todo: 'open',
  to_do: 'open',
  new: 'open',
  ready: 'open',
  backlog: 'open',
  reopened: 'open',
  wip: 'in_progress',
  doing: 'in_progress',
  started: 'in_progress',
  active: 'in_progress',
  hooked: 'in_progress',
  inprogress: 'in_progress',
  implemented: 'impl_complete',
  in_review: 'impl_complete',
  review: 'impl_complete',
  queued_for_merge: 'merge_ready',
  ready_to_merge: 'merge_ready',
  landed: 'merged',
  conflict: 'merge_conflict',
  done: 'closed',
  complete: 'closed',
  completed: 'closed',
  resolved: 'closed',
  finished: 'closed',
  postponed: 'deferred',
  snoozed: 'deferred',
  later: 'deferred',
};

export function canMove(from: TaskStatus, to: TaskStatus): boolean {
  return from === to || movesFrom(from).includes(to);
}

/** Where a task may go next, for error texts. */
export function movesFrom(from: TaskStatus): readonly TaskStatus[] {
  return MOVES[from];
}

/** Our word for a status in anybody's words; null when it is none. */
export function statusOf(word: string): TaskStatus | null {
  const plain = word
    .trim()
    .toLowerCase()
    .replaceAll(/[\s-]+/g, '_');
  if (isTaskStatus(plain)) return plain;
  return Object.hasOwn(ALIASES, plain) ? (ALIASES[plain] ?? null) : null;
}

export function isTaskStatus(word: string): word is TaskStatus {
  return Object.hasOwn(MOVES, word);
}

export function isOutcome(word: string): word is TaskOutcome {
  return (OUTCOMES as readonly string[]).includes(word);
}

/** Somebody holds the work: it has left the open list and has not ended. */
export function isHeld(status: TaskStatus): boolean {
  return status !== 'open' && status !== 'deferred' && status !== 'closed';
}
