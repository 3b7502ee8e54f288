import { isWispType, TTL_MAX_MS, ttlOf, WISP_TYPES } from '../../../schema/task/wisp';

const HOUR_MS = 3_600_000;

it.each([
  [null, 24],
  ['heartbeat', 6],
  ['ping', 6],
  ['patrol', 24],
  ['gc_report', 24],
  ['recovery', 168],
  ['error', 168],
  ['escalation', 168],
])('a wisp of type %s lives %i hours', (type, hours) => {
  expect(ttlOf(type, null)).toBe(hours * HOUR_MS);
});

it('lives as long as is said, within bounds', () => {
  expect(ttlOf('ping', 90_000)).toBe(90_000);
  expect(ttlOf(null, TTL_MAX_MS)).toBe(TTL_MAX_MS);
  for (const ttl of [0, 999, 1_000.5, -1, Number.NaN, TTL_MAX_MS + 1])
    expect(() => ttlOf(null, ttl)).toThrow('a wisp lives');
});

it('has one of the types', () => {
  expect(WISP_TYPES.every(isWispType)).toBe(true);
  for (const word of ['', 'constructor', 'Ping']) expect(() => ttlOf(word, null)).toThrow('is not a type of wisp');
});
