import { TownError } from './errors';
import { quote } from './text';

/*
 * Prefixes of task ids: one a rig, for ever. Ids of other things begin with words of their own, which no prefix may hold, and no prefix
 * may be the beginning of another up to a dash: `app-docs-k3f9a` must not be taken for a task of `app`.
 */

/** Beginnings, or parts, of ids that are made for something else: the town's own tasks, molecules, wisps, convoys, digests, sessions. */
const RESERVED = ['hq', 'mol', 'wisp', 'cv', 'dig', 'ses'] as const;

export const PREFIX_MAX = 20;
const GRAMMAR = /^[a-z0-9]+(?:-[a-z0-9]+)*$/;

/** Why a text is no prefix beside those that are taken; null when it is one. */
export function problemOfPrefix(text: string, taken: readonly string[]): string | null {
  if (!GRAMMAR.test(text) || text.length > PREFIX_MAX) {
    return `it has 1 to ${PREFIX_MAX} lower-case letters and digits, with single dashes between them`;
  }
  const reserved = text.split('-').find((part) => (RESERVED as readonly string[]).includes(part));
  if (reserved !== undefined) return `ids with ${reserved} are made for something else`;
  const other = taken.find((each) => isConfusable(text, each));
  if (other === undefined) return null;
  return other === text ? 'another rig has it' : `its ids could be taken for those of the prefix ${other}`;
}

/** The prefix of a rig that names none: its name, its initials, or its name with a number; null when none of them is free. */
export function prefixOfName(name: string, taken: readonly string[]): string | null {
  const parts = name.split('-').filter((part) => part !== '');
  const joined = parts.join('');
  const short = [name, parts.map((part) => part[0]).join(''), joined, joined.slice(0, 4)];
  const numbered = Array.from({ length: 98 }, (_, n) => `${joined.slice(0, PREFIX_MAX - 2)}${n + 2}`);
  return [...short, ...numbered].find((each) => problemOfPrefix(each, taken) === null) ?? null;
}

/** @throws INVALID_INPUT for what can never be one, ALREADY_EXISTS for what is taken; both with a prefix that could be used */
export function checkPrefix(text: string, name: string, taken: readonly string[]): string {
  const problem = problemOfPrefix(text, taken);
  if (problem === null) return text;
  const free = prefixOfName(name, taken);
  const code = problemOfPrefix(text, []) === null ? 'ALREADY_EXISTS' : 'INVALID_INPUT';
  throw new TownError(code, `${quote(text)} cannot be the prefix of a rig: ${problem}`, {
    hint: free === null ? 'see the prefixes in use: town rig list' : `this one is free: --prefix ${free}`,
    details: { problem, ...(free === null ? {} : { suggestion: free }) },
  });
}

function isConfusable(one: string, other: string): boolean {
  return one === other || one.startsWith(`${other}-`) || other.startsWith(`${one}-`);
}
