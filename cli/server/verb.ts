import { parseArgs } from 'node:util';
import { TownError } from '../../schema/errors';
import type { DeskCaller } from '../../schema/desk';
import type { JsonObject } from '../../schema/json';
import type { Ask } from '../../schema/ledger';
import { quote } from '../../schema/text';
import type { TownClient } from '../client/client';

/**
 * A verb of the command line: its words, what it takes, what it does. The socket server, the command set and the help are all
 * made from the one table in verbs.ts.
 */
export interface Verb {
  /** `['task', 'create']` for `town task create`. */
  readonly words: readonly string[];
  readonly summary: string;
  /** In the order of the command line. */
  readonly args: Readonly<Record<string, ArgSpec>>;
  readonly flags: Readonly<Record<string, FlagSpec>>;
  readonly examples: readonly string[];
  /** Without the argument `agent` it is about the caller's own hook: where an agent is at home, its first call there attaches. */
  readonly attaches?: true;
  /** Absent: the verb can be asked over the socket. Otherwise it can not with these flags, and the command set does it. */
  readonly localWith?: readonly string[];
  /**
   * How it needs what is piped into the command: as `text` it goes with the request, 512 kB at most; for a larger `file` the command set
   * puts it into one, and names that in the place of `-`. Null: not at all.
   */
  readsStdin?(input: Pick<VerbInput, 'args' | 'flags'>): 'text' | 'file' | null;
  /** Whether it asks the code host in the name of the caller, whose token then goes with the request. */
  readsForgeToken?(input: Pick<VerbInput, 'args' | 'flags'>): boolean;
  run(town: TownClient, input: VerbInput): Promise<VerbAnswer>;
}

export interface ArgSpec {
  readonly summary: string;
  readonly required?: true;
  /** All that is left; only for the last one. */
  readonly many?: true;
}
export interface FlagSpec {
  readonly kind: 'text' | 'number' | 'switch' | 'list' | 'json';
  readonly summary: string;
  readonly choices?: readonly string[];
  /** Bounds of a number, both included. */
  readonly min?: number;
  readonly max?: number;
  /** Value of a number that is given without one: `--wait`. */
  readonly bare?: number;
}

/** Who asks, where, and how the answer is shown. */
export interface Caller {
  readonly ask: Ask;
  /** The agent's session; null for a person. */
  readonly session: DeskCaller | null;
  readonly cwd: string;
  /** What was piped into the command; null unless the verb reads it. */
  readonly stdin: string | null;
  /** His own, for the code host; null when he has none, or the verb does not ask it. */
  readonly forgeToken: string | null;
}
export interface VerbInput {
  readonly args: Readonly<Record<string, unknown>>;
  readonly flags: Readonly<Record<string, unknown>>;
  readonly caller: Caller;
}
export interface VerbAnswer {
  /** What `--json` prints: the bare object or array. */
  readonly data: unknown;
  text(tty: boolean): string;
  /** Goes to stderr, with and without `--json`. */
  readonly talk?: string;
  /** Exit code; 0 when absent. */
  readonly code?: number;
}

type ArgValue<A> = A extends { many: true } ? string[] : A extends { required: true } ? string : string | undefined;
type FlagValue<F> = F extends { kind: 'switch' }
  ? boolean
  : F extends { kind: 'list' }
    ? string[]
    : F extends { kind: 'number' }
      ? number | undefined
      : F extends { kind: 'json' }
        ? JsonObject | undefined
        : string | undefined;

interface VerbSpec<A, F> extends Omit<Verb, 'run' | 'args' | 'flags'> {
  readonly args: A;
  readonly flags: F;
  run(
    town: TownClient,
    input: {
      readonly args: { [K in keyof A]: ArgValue<A[K]> };
      readonly flags: { [K in keyof F]: FlagValue<F[K]> };
      readonly caller: Caller;
    },
  ): Promise<VerbAnswer>;
}

/** Types what `run` gets after what the verb takes. `parseVerb` makes exactly these values. */
export function defineVerb<
  const A extends Readonly<Record<string, ArgSpec>>,
  const F extends Readonly<Record<string, FlagSpec>>,
>(spec: VerbSpec<A, F>): Verb {
  return spec as unknown as Verb;
}

export const GLOBAL_FLAGS = {
  json: { kind: 'switch', summary: 'print JSON' },
  key: { kind: 'text', summary: 'idempotency key: the same key again changes nothing and gives the first answer' },
} as const satisfies Readonly<Record<string, FlagSpec>>;

export interface ParsedVerb {
  readonly args: Readonly<Record<string, unknown>>;
  readonly flags: Readonly<Record<string, unknown>>;
  readonly json: boolean;
  readonly key: string | undefined;
}

/** Reads what follows a verb's words.
 *  @throws USAGE with every problem, the nearest flag for an unknown one, and how the verb is used */
export function parseVerb(verb: Verb, argv: readonly string[]): ParsedVerb {
  const specs: Readonly<Record<string, FlagSpec>> = { ...verb.flags, ...GLOBAL_FLAGS };
  const { tokens } = parseArgs({
    args: fillBareNumbers(specs, argv),
    options: Object.fromEntries(
      Object.entries(specs).map(([name, { kind }]) => [
        name,
        { type: kind === 'switch' ? ('boolean' as const) : ('string' as const) },
      ]),
    ),
    // Unknown flags are found below, with a better message than the parser's.
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const problems: string[] = [];
  const words: string[] = [];
  const given = new Map<string, string[]>();
  for (const token of tokens) {
    if (token.kind === 'positional') words.push(token.value);
    if (token.kind !== 'option') continue;
    const spec = Object.hasOwn(specs, token.name) ? specs[token.name] : undefined;
    if (spec === undefined) {
      problems.push(unknownFlag(token.rawName, Object.keys(specs)));
    } else if (spec.kind === 'switch') {
      if (token.value !== undefined) problems.push(`--${token.name} takes no value`);
      given.set(token.name, ['']);
    } else if (token.value === undefined) {
      problems.push(`--${token.name} needs a value`);
    } else if (token.inlineValue === false && token.value.length > 1 && token.value.startsWith('-')) {
      problems.push(
        `--${token.name} needs a value; one that starts with a dash is written --${token.name}=${quote(token.value)}`,
      );
    } else {
      given.set(token.name, [...(given.get(token.name) ?? []), token.value]);
    }
  }
  const flags = Object.fromEntries(
    Object.entries(specs).map(([name, spec]) => [name, readFlag(name, spec, given.get(name) ?? [], problems)]),
  );
  const args = readArgs(verb, words, problems);
  const key = flags['key'] as string | undefined;
  if (key !== undefined && (key === '' || key.length > 150)) problems.push('--key must have 1 to 150 characters');
  if (problems.length > 0) {
    throw new TownError('USAGE', problems.join('; '), { hint: `usage: ${usageOf(verb)}`, details: { problems } });
  }
  return { args, flags, json: flags['json'] === true, key };
}

/** `town task create <title> [flags]` */
export function usageOf(verb: Verb): string {
  const args = Object.entries(verb.args).map(([name, { required, many }]) => {
    const word = many === true ? `${name}…` : name;
    return required === true ? `<${word}>` : `[${word}]`;
  });
  return ['town', ...verb.words, ...args, ...(Object.keys(verb.flags).length === 0 ? [] : ['[flags]'])].join(' ');
}

/** The candidate that is most like the word, if any is like it at all. */
export function nearest(word: string, candidates: readonly string[]): string | null {
  let best: string | null = null;
  let least = Math.min(4, Math.max(3, Math.ceil(word.length / 2)));
  for (const candidate of candidates) {
    const distance = candidate.startsWith(word) && word.length > 1 ? 1 : editDistance(word.slice(0, 40), candidate);
    if (distance < least) [best, least] = [candidate, distance];
  }
  return best;
}

function unknownFlag(raw: string, names: readonly string[]): string {
  const near = nearest(raw.replace(/^-+/, ''), names);
  return `there is no flag ${quote(raw)}${near === null ? '' : `; did you mean --${near}?`}`;
}

/** `--wait` alone, and `--wait` before a word that is no number, get their value. */
function fillBareNumbers(specs: Readonly<Record<string, FlagSpec>>, argv: readonly string[]): string[] {
  const end = argv.indexOf('--');
  return argv.map((word, index) => {
    if (end >= 0 && index > end) return word;
    const bare = word.startsWith('--') && Object.hasOwn(specs, word.slice(2)) ? specs[word.slice(2)]?.bare : undefined;
    return bare === undefined || /^\d/.test(argv[index + 1] ?? '') ? word : `${word}=${bare}`;
  });
}

function readFlag(name: string, spec: FlagSpec, values: readonly string[], problems: string[]): unknown {
  const [value] = values;
  if (spec.kind === 'switch') return value !== undefined;
  for (const each of values) {
    if (spec.choices !== undefined && !spec.choices.includes(each)) {
      problems.push(`--${name} must be one of ${spec.choices.join(', ')}, not ${quote(each)}`);
    }
    // Postgres keeps no zero bytes, and no terminal wants them.
    if (each.includes('\0')) problems.push(`--${name} holds a zero byte`);
  }
  if (spec.kind === 'list') return [...values];
  if (values.length > 1) problems.push(`--${name} is given ${values.length} times`);
  if (value === undefined) return undefined;
  if (spec.kind === 'number') return readNumber(name, spec, value, problems);
  if (spec.kind === 'json') return readObject(name, value, problems);
  return value;
}

function readNumber(
  name: string,
  { min = 0, max = Number.MAX_SAFE_INTEGER }: FlagSpec,
  text: string,
  problems: string[],
): number {
  const value = /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= min && value <= max))
    problems.push(`--${name} must be a number from ${min} to ${max}, not ${quote(text)}`);
  return value;
}

function readObject(name: string, text: string, problems: string[]): JsonObject {
  try {
    const value = JSON.parse(text) as unknown;
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as JsonObject;
  } catch {
    // said below
  }
  problems.push(`--${name} must be a JSON object`);
  return {};
}

function readArgs(verb: Verb, words: readonly string[], problems: string[]): Record<string, unknown> {
  const rest = [...words];
  const args: Record<string, unknown> = {};
  for (const [name, { required, many }] of Object.entries(verb.args)) {
    const taken = many === true ? rest.splice(0) : rest.splice(0, 1);
    if (required === true && taken.length === 0) problems.push(`<${name}> is missing`);
    if (taken.some((word) => word.includes('\0'))) problems.push(`<${name}> holds a zero byte`);
    args[name] = many === true ? taken : taken[0];
  }
  if (rest.length > 0)
    problems.push(
      `too many words: ${rest
        .slice(0, 5)
        .map((word) => quote(word))
        .join(' ')}`,
    );
  return args;
}

function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let i = 1; i <= left.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= right.length; j += 1) {
      const swap = row[j - 1]! + (left[i - 1] === right[j - 1] ? 0 : 1);
      next.push(Math.min(swap, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[right.length]!;
}
