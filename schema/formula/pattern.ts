import { attempt, Refusal } from './refusal';

/**
 * Regular expressions for values of variables, matched in time proportional to pattern × value: formulas come from strangers,
 * and the engine of the language backtracks, so that a short pattern could stop the process. This one follows all
 * alternatives at once. Known: literals, escapes, classes, `.`, groups, `|`, `* + ? {m,n}`, `^`, `$`. As in the files of other
 * tools, a pattern without anchors may match anywhere in the value.
 */
export type Pattern = (value: string) => boolean;

const PATTERN_LENGTH_MAX = 200;
/** In characters, of a value that is held against a pattern. */
export const PATTERN_VALUE_MAX = 1_000;
const STATES_MAX = 2_000;

/** @returns the matcher, or in words why the pattern is refused. */
export function compilePattern(text: string): Pattern | string {
  if (text.length > PATTERN_LENGTH_MAX) return `it is longer than ${PATTERN_LENGTH_MAX} characters`;
  const states: State[] = [{ kind: 'match' }];
  const read = attempt(() => build(new PatternParser(text).parse(), { states, next: 0 }));
  return read.ok ? (value) => matches(states, read.is, value) : read.why;
}

type Node =
  | { readonly kind: 'character'; readonly test: RegExp }
  | { readonly kind: 'edge'; readonly at: 'start' | 'end' }
  | { readonly kind: 'sequence'; readonly parts: readonly Node[] }
  | { readonly kind: 'choice'; readonly options: readonly Node[] }
  | { readonly kind: 'repeat'; readonly part: Node; readonly min: number; readonly max: number | null };

type State =
  | { readonly kind: 'match' }
  | { readonly kind: 'character'; readonly test: RegExp; readonly next: number }
  | { readonly kind: 'edge'; readonly at: 'start' | 'end'; readonly next: number }
  | { readonly kind: 'fork'; readonly to: number[] };

class PatternParser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  parse(): Node {
    const node = this.#choice();
    if (this.#at < this.#text.length) throw new Refusal('a ) has no matching (');
    return node;
  }

  #choice(): Node {
    const options = [this.#sequence()];
    while (this.#text[this.#at] === '|') {
      this.#at += 1;
      options.push(this.#sequence());
    }
    return { kind: 'choice', options };
  }

  #sequence(): Node {
    const parts: Node[] = [];
    while (/[^|)]/s.test(this.#text.charAt(this.#at))) {
      parts.push(this.#repeats(this.#atom()));
    }
    return { kind: 'sequence', parts };
  }

  #atom(): Node {
    const edge = this.#take(/[$^]/y);
    if (edge !== null) return { kind: 'edge', at: edge === '^' ? 'start' : 'end' };
    if (this.#take(/\((?:\?:)?/y) !== null) {
      const group = this.#text[this.#at] === '?' ? null : this.#choice();
      if (group === null) throw new Refusal('look-around, names and flags are not known here');
      if (this.#take(/\)/y) === null) throw new Refusal('a ( has no matching )');
      return group;
    }
    const atom = this.#take(/\[\^?\]?(?:\\.|\[(?!:)|[^\\[\]])*\]|\\[dDwWsSnrtfv]|\\[^A-Za-z0-9]|[^\\*+?{}()[\]|]/suy);
    if (atom === null) throw new Refusal(`"${this.#text.slice(this.#at, this.#at + 5)}" is not known here`);
    return { kind: 'character', test: oneCharacter(atom) };
  }

  #repeats(part: Node): Node {
    const found = this.#take(/[*+?]|\{\d{1,4}(?:,\d{0,4})?\}/y);
    if (found === null) return part;
    this.#take(/\?/y); // a lazy repeat matches the same values
    const [min, max] = bounds(found);
    if (max !== null && max < min) throw new Refusal(`${found} has its bounds the wrong way round`);
    return { kind: 'repeat', part, min, max };
  }

  #take(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? null;
    this.#at += found?.length ?? 0;
    return found;
  }
}

function bounds(repeat: string): [number, number | null] {
  if (repeat === '*') return [0, null];
  if (repeat === '+') return [1, null];
  if (repeat === '?') return [0, 1];
  const [min, max = min] = repeat.slice(1, -1).split(',');
  return [Number(min), max === '' ? null : Number(max)];
}

/** A pattern for exactly one character cannot backtrack, so the language's own engine may do it. */
function oneCharacter(atom: string): RegExp {
  // Without `u` the engine also takes needless escapes such as \# or \-, as other tools do.
  for (const flags of ['su', 's']) {
    try {
      return new RegExp(`^(?:${atom})$`, flags);
    } catch {
      continue;
    }
  }
  throw new Refusal(`"${atom}" is not a valid character or class`);
}

interface Target {
  readonly states: State[];
  /** The state to go on with after the node. */
  readonly next: number;
}

/** Builds from the end to the start. @returns the state at which the node begins. */
function build(node: Node, { states, next }: Target): number {
  switch (node.kind) {
    case 'character':
    case 'edge':
      return push(states, { ...node, next });
    case 'sequence':
      return node.parts.reduceRight((after, part) => build(part, { states, next: after }), next);
    case 'choice':
      return push(states, { kind: 'fork', to: node.options.map((option) => build(option, { states, next })) });
    default:
      return buildRepeat(node, { states, next });
  }
}

function buildRepeat(node: Node & { kind: 'repeat' }, { states, next }: Target): number {
  let start = next;
  if (node.max === null) {
    const to: number[] = [next];
    start = push(states, { kind: 'fork', to });
    to.push(build(node.part, { states, next: start }));
  }
  for (let count = node.min; count < (node.max ?? 0); count += 1) {
    start = push(states, { kind: 'fork', to: [next, build(node.part, { states, next: start })] });
  }
  for (let count = 0; count < node.min; count += 1) start = build(node.part, { states, next: start });
  return start;
}

function push(states: State[], state: State): number {
  if (states.length >= STATES_MAX) throw new Refusal('its repeats make it too large');
  return states.push(state) - 1;
}

function matches(states: readonly State[], start: number, value: string): boolean {
  const characters = Array.from(value);
  let current = new Set<number>();
  for (let at = 0; at <= characters.length; at += 1) {
    reach(states, { current, edges: { start: at === 0, end: at === characters.length } }, start);
    if (current.has(0)) return true;
    const following = new Set<number>();
    for (const index of current) {
      const state = states[index];
      if (state?.kind === 'character' && state.test.test(characters[at] ?? '')) following.add(state.next);
    }
    current = new Set();
    const edges = { start: false, end: at + 1 === characters.length };
    for (const index of following) reach(states, { current, edges }, index);
  }
  return false;
}

interface Reaching {
  readonly current: Set<number>;
  readonly edges: { readonly start: boolean; readonly end: boolean };
}

/** Adds a state and all that can be had from it without a character. */
function reach(states: readonly State[], { current, edges }: Reaching, first: number): void {
  const open = [first];
  for (let index = open.pop(); index !== undefined; index = open.pop()) {
    const state = states[index];
    if (state === undefined || current.has(index)) continue;
    current.add(index);
    if (state.kind === 'fork') open.push(...state.to);
    else if (state.kind === 'edge' && edges[state.at]) open.push(state.next);
  }
}
