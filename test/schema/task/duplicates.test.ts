import { likenesses, COMPARISONS_MAX, type Comparable } from '../../../schema/task/duplicates';
import { cpuMs } from '../../support/cpu';

const LONG = 'the form takes a name that holds nothing but blanks and stores it';
let made = 0;
const task = (title: string, description = ''): Comparable => {
  made += 1;
  const id = `t-${String(made).padStart(6, '0')}`;
  return { id, title, description, created_at: new Date(Date.UTC(2026, 0, 1) + made * 1_000).toISOString() };
};
const pairs = (tasks: Comparable[], options = {}) =>
  likenesses(tasks, options).pairs.map(({ of, id, score, why }) => [
    tasks.findIndex((each) => each.id === of),
    tasks.findIndex((each) => each.id === id),
    score,
    why,
  ]);
beforeEach(() => {
  made = 0;
});

it('ignores case, marks, order and plural', () => {
  expect(pairs([task('Reject empty names!'), task('names: Reject EMPTY')])).toEqual([[0, 1, 1, 'same title']]);
  expect(pairs([task('Pass'), task('pas')])).toEqual([]);
  expect(pairs([task('???'), task('!!!')])).toEqual([]);
});

it('weighs descriptions: the same title with another text is a little less alike', () => {
  const other = 'quite another matter which nobody has ever thought of before today';
  expect(pairs([task('Fix it', LONG), task('Fix it', LONG)])).toEqual([[0, 1, 1, 'same title']]);
  expect(pairs([task('Fix it', LONG), task('Fix it', other)])).toEqual([[0, 1, 0.7, 'same title']]);
  expect(pairs([task('Fix the login form', LONG), task('Repair signup page', LONG)])).toEqual([
    [0, 1, 0.8, 'same description'],
  ]);
  expect(pairs([task('One thing', 'short text'), task('Another matter', 'short text')])).toEqual([]);
  expect(pairs([task('Fix the login form', 'a b'), task('Fix the login page', 'c d')])).toEqual([]);
});

it('tells tasks apart that differ by a number', () => {
  expect(pairs([task('Write the report for customer 17'), task('Write the report for customer 18')])).toEqual([]);
  expect(pairs([task('Write the report for customer 17'), task('Write a report for customer 17')])).toHaveLength(1);
});

it('takes a lower bound', () => {
  const tasks = [task('Fix the login form'), task('Fix the login page')];
  expect(pairs(tasks)).toEqual([[0, 1, 0.6, 'similar words']]);
  expect(pairs(tasks, { scoreMin: 0.61 })).toEqual([]);
  expect(pairs(tasks, { scoreMin: 0.9 })).toEqual([]);
});

it('compares what has no words in its title by its description', () => {
  expect(pairs([task('???', LONG), task('!', LONG)])).toEqual([[0, 1, 0.8, 'same description']]);
});

it('passes over words that are in every title', () => {
  const tasks = Array.from({ length: 120 }, (_, nth) => task(`Fix thing a${nth} b${nth}`));
  expect(pairs([...tasks, task('Fix thing a7 b7 now')])).toEqual([[7, 120, 0.8, 'similar words']]);
});

it('compares equals with the oldest alone, and with the one in question', () => {
  const tasks = Array.from({ length: 5 }, () => task('Same'));
  expect(pairs(tasks)).toEqual([1, 2, 3, 4].map((nth) => [0, nth, 1, 'same title']));
  expect(pairs(tasks, { about: tasks[2]!.id })).toEqual([
    [0, 2, 1, 'same title'],
    [1, 2, 1, 'same title'],
    [2, 3, 1, 'same title'],
    [2, 4, 1, 'same title'],
  ]);
  expect(pairs(tasks, { about: 'none' })).toEqual([]);
});

it('answers the same whatever the order, also of tasks made in one moment', () => {
  const moment = '2026-01-01T00:00:00.000Z';
  const tasks = ['Fix the login form', 'fix the login forms', 'Fix the form of login', 'Fix login'].map((title) => ({
    ...task(title),
    created_at: moment,
  }));
  expect(likenesses(tasks.toReversed())).toEqual(likenesses(tasks));
});

it('stays within its bounds, and says so', () => {
  // Each title shares half of its words with 99 others: far more pairs than are compared.
  const tasks = Array.from({ length: 6_000 }, (_, nth) =>
    task(`w${Math.floor(nth / 100)} x${nth % 60} y${nth} z${nth % 61}`),
  );
  let found = likenesses([]);
  const ms = cpuMs(() => (found = likenesses(tasks, { scoreMin: 0.3 })));
  expect(found.truncated).toBe(true);
  expect(found.pairs.length).toBeGreaterThan(0);
  expect(found.pairs.length).toBeLessThanOrEqual(COMPARISONS_MAX);
  expect(ms).toBeLessThan(5_000);
});
