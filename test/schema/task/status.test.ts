import {
  canMove,
  isBeginning,
  isDormant,
  isHeld,
  isOutcome,
  isSuccess,
  isTaskStatus,
  movesFrom,
  OUTCOMES,
  statusAt,
  statusOf,
  TASK_STATUSES,
} from '../../../schema/task/status';

/** Rows: from; columns in the order of TASK_STATUSES. */
const EXPECTED = {
  open: { open: 1, in_progress: 1, impl_complete: 0, merge_ready: 0, merged: 0, merge_conflict: 0, closed: 1, deferred: 1 },
  in_progress: { open: 1, in_progress: 1, impl_complete: 1, merge_ready: 1, merged: 0, merge_conflict: 0, closed: 1, deferred: 1 },
  impl_complete: { open: 1, in_progress: 1, impl_complete: 1, merge_ready: 1, merged: 0, merge_conflict: 0, closed: 1, deferred: 0 },
  merge_ready: { open: 1, in_progress: 1, impl_complete: 0, merge_ready: 1, merged: 1, merge_conflict: 1, closed: 1, deferred: 0 },
  merged: { open: 0, in_progress: 0, impl_complete: 0, merge_ready: 0, merged: 1, merge_conflict: 0, closed: 1, deferred: 0 },
  merge_conflict: { open: 1, in_progress: 1, impl_complete: 0, merge_ready: 1, merged: 0, merge_conflict: 1, closed: 1, deferred: 0 },
  closed: { open: 1, in_progress: 0, impl_complete: 0, merge_ready: 0, merged: 0, merge_conflict: 0, closed: 1, deferred: 0 },
  deferred: { open: 1, in_progress: 1, impl_complete: 0, merge_ready: 0, merged: 0, merge_conflict: 0, closed: 1, deferred: 1 },
} as const; // prettier-ignore

describe('task status', () => {
  const pairs = TASK_STATUSES.flatMap((from) => TASK_STATUSES.map((to) => [from, to] as const));

  test.each(pairs)('a move from %s to %s is as the table says', (from, to) => {
    expect(canMove(from, to)).toBe(EXPECTED[from][to] === 1);
    expect(movesFrom(from).includes(to)).toBe(from !== to && EXPECTED[from][to] === 1);
  });

  test('every status but closed leads to closed in one move', () => {
    for (const from of TASK_STATUSES) expect(canMove(from, 'closed')).toBe(true);
  });

  test.each([
    ['todo', 'open'],
    ['To Do', 'open'],
    ['in-progress', 'in_progress'],
    ['WIP', 'in_progress'],
    ['hooked', 'in_progress'],
    ['done', 'closed'],
    [' Completed ', 'closed'],
    ['merge_ready', 'merge_ready'],
    ['snoozed', 'deferred'],
  ])('understands %j as %s', (word, status) => expect(statusOf(word)).toBe(status));

  test.each(['', 'constructor', 'toString', 'blocked', 'open!'])('takes %j for no status', (word) => {
    expect(statusOf(word)).toBeNull();
    expect(isTaskStatus(word)).toBe(false);
  });

  test('somebody holds what is neither open, deferred nor closed', () => {
    expect(TASK_STATUSES.filter(isHeld)).toEqual([
      'in_progress',
      'impl_complete',
      'merge_ready',
      'merge_conflict',
      'merged',
    ]);
  });

  const [past, now, later] = [new Date(1_000), new Date(2_000), new Date(3_000)];
  test.each([
    ['open', null, false, 'open'],
    ['open', past, false, 'open'],
    ['open', later, true, 'open'],
    ['deferred', null, true, 'deferred'],
    ['deferred', past, false, 'open'],
    ['deferred', now, false, 'open'],
    ['deferred', later, true, 'deferred'],
    ['in_progress', later, false, 'in_progress'],
    ['closed', null, false, 'closed'],
  ] as const)('%s until %s: dormant %s, seen as %s', (status, defer_until, dormant, seen) => {
    expect(isDormant({ status, defer_until }, now)).toBe(dormant);
    expect(statusAt({ status, defer_until }, now)).toBe(seen);
  });

  test('work begins when what is open or put off becomes work in progress', () => {
    expect(TASK_STATUSES.filter((from) => isBeginning(from, 'in_progress'))).toEqual(['open', 'deferred']);
    expect(TASK_STATUSES.filter((to) => isBeginning('open', to))).toEqual(['in_progress']);
  });

  test('done and merged say that the work was done', () => {
    expect(OUTCOMES.filter(isSuccess)).toEqual(['done', 'merged']);
  });

  test('knows the outcomes', () => {
    expect(OUTCOMES.every(isOutcome)).toBe(true);
    expect(isOutcome('won')).toBe(false);
  });
});
