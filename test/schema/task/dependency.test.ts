import {
  BLOCKING_TYPES,
  DEPENDENCY_TYPES,
  holdings,
  holds,
  holdsForEver,
  isBlocking,
  isDependencyType,
  isWaitGate,
  takesPart,
  type DependencyTarget,
} from '../../../schema/task/dependency';

const open: DependencyTarget = { closed: false, outcome: null, openChildren: 0, closedChildren: 0 };
const ended = (outcome: string | null): DependencyTarget => ({ ...open, closed: true, outcome });
const parent = (openChildren: number, closedChildren: number, closed = false): DependencyTarget => ({
  closed,
  outcome: closed ? 'done' : null,
  openChildren,
  closedChildren,
});

describe('types of dependencies', () => {
  test('three of them hold work back', () => {
    expect(BLOCKING_TYPES).toEqual(['blocks', 'conditional-blocks', 'waits-for']);
    expect(DEPENDENCY_TYPES).toHaveLength(19);
    expect(DEPENDENCY_TYPES.filter((type) => !isBlocking(type)).some((type) => holds(type, 'all-children', open))).toBe(
      false,
    );
  });

  test('are known by their words alone', () => {
    expect(DEPENDENCY_TYPES.every(isDependencyType)).toBe(true);
    expect(['', 'constructor', 'needs'].some(isDependencyType)).toBe(false);
    expect([isWaitGate('any-children'), isWaitGate('some'), isWaitGate(null)]).toEqual([true, false, false]);
  });

  test.each([
    ['blocks', open, true],
    ['blocks', ended('done'), false],
    ['blocks', ended('failed'), false],
    ['conditional-blocks', open, true],
    ['conditional-blocks', ended('failed'), false],
    ['conditional-blocks', ended('cancelled'), false],
    ['conditional-blocks', ended('escalated'), false],
    ['conditional-blocks', ended('done'), true],
    ['conditional-blocks', ended('skipped'), true],
    ['conditional-blocks', ended(null), true],
  ] as const)('%s on %j holds: %s', (type, target, expected) => {
    expect(holds(type, 'all-children', target)).toBe(expected);
  });

  // children open, children closed, itself closed; holds until all; holds until any
  test.each([
    [0, 0, false, true, true],
    [0, 0, true, false, false],
    [2, 0, false, true, true],
    [1, 1, false, true, false],
    [0, 2, false, false, false],
    [2, 0, true, true, true],
    [1, 1, true, true, false],
    [0, 2, true, false, false],
  ])('waits-for with %d open and %d closed children, closed %s', (opens, closes, closed, all, any) => {
    expect(holds('waits-for', 'all-children', parent(opens, closes, closed))).toBe(all);
    expect(holds('waits-for', 'any-children', parent(opens, closes, closed))).toBe(any);
  });

  test('a conditional edge to what ended well holds for ever, no other does', () => {
    expect(holdsForEver('conditional-blocks', ended('done'))).toBe(true);
    expect(holdsForEver('conditional-blocks', ended('failed'))).toBe(false);
    expect(holdsForEver('conditional-blocks', open)).toBe(false);
    expect(holdsForEver('blocks', ended('done'))).toBe(false);
  });

  test('lists each kind of blocking edge once', () => {
    expect(holdings(parent(1, 1))).toEqual([
      { type: 'blocks', gate: null, holds: true },
      { type: 'conditional-blocks', gate: null, holds: true },
      { type: 'waits-for', gate: 'all-children', holds: true },
      { type: 'waits-for', gate: 'any-children', holds: false },
    ]);
  });
});

test.each([
  ['open', 'open', true],
  ['open', 'closed', true],
  ['closed', 'closed', true],
  ['closed', 'open', false],
  ['closed', 'deferred', false],
] as const)('a task that is %s takes a part that is %s: %s', (whole, part, takes) => {
  expect(takesPart({ status: whole }, { status: part })).toBe(takes);
});
