/**
 * How far a task is. "Blocked" is derived from `open_blockers` and `parent_blocked`, never stored. A deferral with a date ends by
 * itself: from then on the task counts as open, see `statusAt`.
 */
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
  deferred: ['open', 'in_progress', 'closed'],
} as const satisfies Record<TaskStatus, readonly TaskStatus[]>;

export const TASK_STATUSES = Object.keys(MOVES) as readonly TaskStatus[];

/** Words of other trackers, in lower case with `_` between words. */
const ALIASES: ReadonlyMap<string, TaskStatus> = new Map(
  Object.entries({
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
  } as const),
);

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
  return ALIASES.get(plain) ?? null;
}

export function isTaskStatus(word: string): word is TaskStatus {
  return Object.hasOwn(MOVES, word);
}

export function isOutcome(word: string): word is TaskOutcome {
  return (OUTCOMES as readonly string[]).includes(word);
}

/** Put off until later. A deferral without a date lasts until somebody ends it. */
export function isDormant(
  task: { readonly status: TaskStatus; readonly defer_until: Date | null },
  now: Date,
): boolean {
  if (task.defer_until === null) return task.status === 'deferred';
  return (task.status === 'deferred' || task.status === 'open') && task.defer_until > now;
}

/** The status that callers see: what was deferred until a time that has come is open, although no row has changed. */
export function statusAt(
  task: { readonly status: TaskStatus; readonly defer_until: Date | null },
  now: Date,
): TaskStatus {
  return task.status === 'deferred' && !isDormant(task, now) ? 'open' : task.status;
}

/** Work on the task begins with this move, for which it must be neither held back nor put off. Going back to work is no beginning. */
export function isBeginning(from: TaskStatus, to: TaskStatus): boolean {
  return to === 'in_progress' && (from === 'open' || from === 'deferred');
}

/** These say that the work was done, which a task that is still held back cannot be. */
export function isSuccess(outcome: TaskOutcome): boolean {
  return outcome === 'done' || outcome === 'merged';
}

/**
 * Types that are records rather than work: left out of ready unless asked for by name. The root of a poured formula (`molecule`) is
 * work: it is what is slung.
 */
export const RECORD_TYPES = ['merge-request', 'gate', 'message', 'agent', 'role', 'rig', 'event'] as const;

/** Somebody holds the work: it has left the open list and has not ended. */
export function isHeld(status: TaskStatus): boolean {
  return status !== 'open' && status !== 'deferred' && status !== 'closed';
}
