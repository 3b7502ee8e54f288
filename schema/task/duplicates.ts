import type { TaskId } from '../ids';

/*
 * Which tasks look like one another. Cheap and always the same: words of titles and descriptions as sets, how much of them two tasks
 * share (Jaccard), nothing learned. Only tasks that share a rare word of their titles, or all of a text, are compared at all.
 */

export interface Comparable {
  readonly id: TaskId;
  readonly title: string;
  /** The first part of it is enough. */
  readonly description: string;
  /** ISO 8601; of two that are alike the later one is the duplicate. */
  readonly created_at: string;
}
export interface Likeness {
  readonly id: TaskId;
  /** The older one. */
  readonly of: TaskId;
  /** 0 to 1, two digits. */
  readonly score: number;
  readonly why: 'same title' | 'same description' | 'similar words';
}

/** Below this, two tasks are not said to be alike. */
export const SCORE_MIN = 0.6;
/** Comparisons in one question. What is beyond it is left out, and said. */
export const COMPARISONS_MAX = 100_000;

/** A word in more titles than this says nothing about any of them. */
const COMMON = 100;
/** Half of the words of two titles must be the same, else no description makes up for it. */
const TITLE_MIN = 0.5;
/** Shorter descriptions are alike by chance. */
const TEXT_MIN = 40;

interface Words {
  readonly task: Comparable;
  readonly title: ReadonlySet<string>;
  /** Of titles that are equal. Null for a title without words. */
  readonly titleKey: string | null;
  readonly numbers: string;
  /** Of descriptions that are equal. Null for a short one. */
  readonly textKey: string | null;
  /** Made when it is first asked for: taking a long text apart is most of the work. */
  description(): ReadonlySet<string>;
}

/** Pairs with at least `scoreMin`, most alike first. `about`: only pairs with this task. */
export function likenesses(
  tasks: readonly Comparable[],
  { scoreMin = SCORE_MIN, about = null }: { readonly scoreMin?: number; readonly about?: TaskId | null } = {},
): { readonly pairs: Likeness[]; readonly truncated: boolean } {
  const words = tasks.toSorted(byAge).map(wordsOf);
  const { pairs: candidates, truncated } = candidatesOf(words, about);
  const pairs = candidates
    .flatMap(([older, later]) => likenessOf(older, later, scoreMin) ?? [])
    .toSorted((a, b) => b.score - a.score || compare(a.of, b.of) || compare(a.id, b.id));
  return { pairs, truncated };
}

type Pair = readonly [older: Words, later: Words];

/** Every pair worth a comparison, once. */
function candidatesOf(words: readonly Words[], about: TaskId | null): { pairs: Pair[]; truncated: boolean } {
  const pairs: Pair[] = [];
  const seen = new Set<number>();
  let truncated = false;
  const add = (a: number, b: number): void => {
    const [low, high] = a < b ? [a, b] : [b, a];
    const key = low * words.length + high;
    if (seen.has(key)) return;
    if (pairs.length === COMPARISONS_MAX) {
      truncated = true;
      return;
    }
    seen.add(key);
    pairs.push([words[low]!, words[high]!]);
  };
  for (const group of groupsOf(words, ({ titleKey }) => titleKey)) star(group, words, about, add);
  for (const group of groupsOf(words, ({ textKey }) => textKey)) star(group, words, about, add);
  const asked = about === null ? -1 : words.findIndex(({ task }) => task.id === about);
  for (const group of postingsOf(words)) {
    if (truncated) break;
    if (about !== null) {
      // Also an equal that is not the oldest.
      if (group.includes(asked)) for (const other of group) if (other !== asked) add(asked, other);
      continue;
    }
    for (const [nth, a] of group.entries()) {
      // Equal titles are compared above.
      for (const b of group.slice(nth + 1)) if (words[a]!.titleKey !== words[b]!.titleKey) add(a, b);
    }
  }
  return { pairs, truncated };
}

/** In a group of equals each is compared with the oldest, or with the one in question: all pairs would be too many. */
function star(
  group: readonly number[],
  words: readonly Words[],
  about: TaskId | null,
  add: (a: number, b: number) => void,
): void {
  const centre = about === null ? group[0] : group.find((at) => words[at]!.task.id === about);
  if (centre === undefined) return;
  for (const other of group) if (other !== centre) add(centre, other);
}

function groupsOf(words: readonly Words[], keyOf: (words: Words) => string | null): number[][] {
  const groups = new Map<string, number[]>();
  for (const [at, each] of words.entries()) {
    const key = keyOf(each);
    if (key === null) continue;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [at]);
    else group.push(at);
  }
  return [...groups.values()].filter((group) => group.length > 1);
}

/**
 * Tasks by the rarest words of their titles. Two titles that share half of their words share one of the rarest half of each, so nothing
 * is missed but what shares common words alone.
 */
function postingsOf(words: readonly Words[]): number[][] {
  const frequency = new Map<string, number>();
  for (const { title } of words) for (const word of title) frequency.set(word, (frequency.get(word) ?? 0) + 1);
  const frequencyOf = (word: string) => frequency.get(word)!;
  const postings = new Map<string, number[]>();
  for (const [at, { title }] of words.entries()) {
    const rarest = [...title].toSorted((a, b) => frequencyOf(a) - frequencyOf(b) || compare(a, b));
    for (const word of rarest.slice(0, rarest.length - Math.ceil(rarest.length * TITLE_MIN) + 1)) {
      if (frequencyOf(word) > COMMON) continue;
      const list = postings.get(word);
      if (list === undefined) postings.set(word, [at]);
      else list.push(at);
    }
  }
  return [...postings.values()].filter((group) => group.length > 1);
}

/** Null below `scoreMin`. Descriptions are looked at only where they can still matter. */
function likenessOf(older: Words, later: Words, scoreMin: number): Likeness | null {
  const title = jaccard(older.title, later.title);
  const isSameText = older.textKey !== null && older.textKey === later.textKey;
  // Number 17 is not number 18, however alike the words around them are.
  const factor = older.numbers === later.numbers ? 1 : 0.5;
  if (!isSameText && (0.7 * title + 0.3) * factor < scoreMin) return null;
  const measured = Math.max(0.7 * title + 0.3 * descriptionLikeness(older, later, title), isSameText ? 0.8 : 0);
  const score = Math.round(measured * factor * 100) / 100;
  if (score < scoreMin) return null;
  return {
    id: later.task.id,
    of: older.task.id,
    score,
    why: title === 1 ? 'same title' : isSameText ? 'same description' : 'similar words',
  };
}

/** Where one has none, the titles speak for it. */
function descriptionLikeness(older: Words, later: Words, title: number): number {
  const [a, b] = [older.description(), later.description()];
  return a.size > 0 && b.size > 0 ? jaccard(a, b) : title;
}

function wordsOf(task: Comparable): Words {
  const title = wordSet(task.title);
  const text = task.description.trim().toLowerCase();
  let description: ReadonlySet<string> | null = null;
  return {
    task,
    title,
    titleKey: title.size === 0 ? null : [...title].toSorted().join(' '),
    numbers: [...title]
      .filter((word) => /^\p{N}+$/u.test(word))
      .toSorted()
      .join(' '),
    textKey: text.length < TEXT_MIN ? null : text,
    description: () => (description ??= wordSet(text)),
  };
}

/** Without case, marks and endings of the plural. */
function wordSet(text: string): Set<string> {
  const words =
    text
      .normalize('NFKC')
      .toLowerCase()
      .match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
  return new Set(
    words.map((word) => (word.length > 3 && word.endsWith('s') && !word.endsWith('ss') ? word.slice(0, -1) : word)),
  );
}

function jaccard(a: ReadonlySet<string>, b: ReadonlySet<string>): number {
  const [few, many] = a.size < b.size ? [a, b] : [b, a];
  let shared = 0;
  for (const word of few) if (many.has(word)) shared += 1;
  const all = a.size + b.size - shared;
  return all === 0 ? 0 : shared / all;
}

function byAge(a: Comparable, b: Comparable): number {
  return compare(a.created_at, b.created_at) || compare(a.id, b.id);
}

function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
