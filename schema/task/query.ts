import { TownError } from '../errors';
import { quote } from '../text';
import { statusOf, TASK_STATUSES, type TaskStatus } from './status';

/*
 * The query language of `town query` and `--query`. Pure: a text becomes a tree, and only the ledger knows how a tree is asked of
 * Postgres. Every comparison is either true or false of a task, never unknown: what is missing is `none`, and NOT turns it around.
 *
 *   query      = and { OR and }
 *   and        = not { AND not }
 *   not        = NOT not | "(" query ")" | field operator value
 *   operator   = "=" | "!=" | ">" | "<" | ">=" | "<="
 *   value      = word | "text" | 'text'
 */

export type Operator = '=' | '!=' | '>' | '<' | '>=' | '<=';

export type Query =
  | { readonly kind: 'and' | 'or'; readonly parts: readonly Query[] }
  | { readonly kind: 'not'; readonly part: Query }
  | { readonly kind: 'compare'; readonly field: QueryField; readonly operator: Operator; readonly value: QueryValue }
  | { readonly kind: 'metadata'; readonly key: string; readonly operator: Operator; readonly value: QueryValue };

export type QueryValue =
  | { readonly kind: 'none' }
  | { readonly kind: 'text'; readonly text: string }
  /** `*` is any text, `?` one character. */
  | { readonly kind: 'glob'; readonly pattern: string }
  | { readonly kind: 'number'; readonly number: number }
  | { readonly kind: 'status'; readonly status: TaskStatus }
  | { readonly kind: 'is'; readonly is: boolean }
  /** From now, in milliseconds; below 0: before now. */
  | { readonly kind: 'offset'; readonly ms: number }
  /** ISO 8601. */
  | { readonly kind: 'moment'; readonly at: string }
  /** A whole day in UTC, as 2026-05-01, or so many days from today. */
  | { readonly kind: 'day'; readonly day: string | number };

/** What a field holds decides which operators and values it takes. */
type FieldKind =
  | 'status'
  | 'priority'
  /** One word or one line, compared as a whole. */
  | 'word'
  /** Free text: `=` asks whether it contains the value, upper and lower case alike. */
  | 'prose'
  /** Several words; `=` asks for one of them. */
  | 'words'
  | 'number'
  | 'yes-or-no'
  /** In the past: `7d` is seven days ago. */
  | 'past'
  /** To come: `7d` is in seven days. */
  | 'future';

export const QUERY_FIELDS = {
  id: 'word',
  title: 'prose',
  description: 'prose',
  design: 'prose',
  acceptance: 'prose',
  notes: 'prose',
  comments: 'prose',
  status: 'status',
  priority: 'priority',
  type: 'word',
  assignee: 'word',
  owner: 'word',
  creator: 'word',
  label: 'words',
  rig: 'word',
  parent: 'word',
  convoy: 'words',
  molecule: 'word',
  spec: 'word',
  ref: 'word',
  source: 'word',
  outcome: 'word',
  reason: 'prose',
  estimate: 'number',
  created: 'past',
  updated: 'past',
  started: 'past',
  closed: 'past',
  due: 'future',
  wake: 'future',
  pinned: 'yes-or-no',
  blocked: 'yes-or-no',
  deferred: 'yes-or-no',
  overdue: 'yes-or-no',
} as const satisfies Record<string, FieldKind>;
export type QueryField = keyof typeof QUERY_FIELDS;

/** Words of other trackers. */
const FIELD_ALIASES = {
  issue_type: 'type',
  assigned_agent_id: 'assignee',
  rig_id: 'rig',
  parent_id: 'parent',
  labels: 'label',
  desc: 'description',
  note: 'notes',
  comment: 'comments',
  created_by: 'creator',
  created_at: 'created',
  updated_at: 'updated',
  started_at: 'started',
  closed_at: 'closed',
  completed: 'closed',
  due_at: 'due',
  defer: 'wake',
  defer_until: 'wake',
  spec_id: 'spec',
  external_ref: 'ref',
  source_system: 'source',
} as const satisfies Record<string, QueryField>;

export const QUERY_LIMITS = { characters: 2_000, comparisons: 100, depth: 30, value: 500 } as const;

const EQUAL: readonly Operator[] = ['=', '!='];
const ORDERED: readonly Operator[] = ['=', '!=', '>', '<', '>=', '<='];
const OPERATORS: Record<FieldKind, readonly Operator[]> = {
  status: EQUAL,
  priority: ORDERED,
  word: EQUAL,
  words: EQUAL,
  prose: EQUAL,
  number: ORDERED,
  'yes-or-no': EQUAL,
  past: ORDERED,
  future: ORDERED,
};

const METADATA = 'metadata.';
const METADATA_KEY = /^[A-Za-z0-9_][A-Za-z0-9_./:-]{0,99}$/;

/** @throws INVALID_INPUT with the column (from 1) and what was expected there; INPUT_TOO_LARGE */
export function parseQuery(text: string): Query {
  if (text.length > QUERY_LIMITS.characters) {
    throw new TownError('INPUT_TOO_LARGE', `a query has at most ${QUERY_LIMITS.characters} characters`);
  }
  const parser = new Parser(text, tokensOf(text));
  return parser.query();
}

type Token =
  | { readonly kind: 'word' | 'text'; readonly text: string; readonly at: number }
  | { readonly kind: 'operator' | 'bracket'; readonly text: string; readonly at: number }
  | { readonly kind: 'end'; readonly text: ''; readonly at: number };

const BRACKETS = ['(', ')'];
const WORD = /[^\s()"'=!<>]/;

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (at < text.length) {
    const character = text.charAt(at);
    const from = at;
    if (/\s/.test(character)) {
      at += 1;
    } else if (BRACKETS.includes(character)) {
      tokens.push({ kind: 'bracket', text: character, at });
      at += 1;
    } else if (character === '"' || character === "'") {
      const quoted = readQuoted(text, at);
      tokens.push({ kind: 'text', text: quoted.text, at });
      at = quoted.end;
    } else if (/[=!<>]/.test(character)) {
      const two = text.slice(at, at + 2);
      const operator = ['!=', '>=', '<=', '=='].includes(two) ? two : character;
      if (operator === '!') throw refusal(text, at, '!= or NOT', '"!"');
      tokens.push({ kind: 'operator', text: operator === '==' ? '=' : operator, at });
      at += operator.length;
    } else {
      while (at < text.length && WORD.test(text.charAt(at))) at += 1;
      tokens.push({ kind: 'word', text: text.slice(from, at), at: from });
    }
  }
  return [...tokens, { kind: 'end', text: '', at: text.length }];
}

/** A backslash takes the next character as it is. */
function readQuoted(text: string, from: number): { readonly text: string; readonly end: number } {
  const quote = text[from];
  let read = '';
  for (let at = from + 1; at < text.length; at += 1) {
    const character = text.charAt(at);
    if (character === quote) return { text: read, end: at + 1 };
    if (character === '\\' && at + 1 < text.length) {
      at += 1;
      read += text.charAt(at);
    } else {
      read += character;
    }
  }
  throw refusal(text, text.length, `the closing ${quote} of the text that begins at column ${from + 1}`, 'the end');
}

class Parser {
  readonly #text: string;
  readonly #tokens: readonly Token[];
  #next = 0;
  #comparisons = 0;

  constructor(text: string, tokens: readonly Token[]) {
    this.#text = text;
    this.#tokens = tokens;
  }

  query(): Query {
    const query = this.#or(0);
    const rest = this.#peek();
    if (rest.kind !== 'end') throw this.#refuse(rest, 'AND, OR or the end');
    return query;
  }

  #or(depth: number): Query {
    return this.#chain('or', () => this.#chain('and', () => this.#not(depth)));
  }

  #chain(kind: 'and' | 'or', part: () => Query): Query {
    const first = part();
    const parts = [first];
    while (isKeyword(this.#peek(), kind)) {
      this.#next += 1;
      parts.push(part());
    }
    return parts.length === 1 ? first : { kind, parts };
  }

  #not(depth: number): Query {
    const token = this.#peek();
    if (depth > QUERY_LIMITS.depth)
      throw this.#refuse(token, `at most ${QUERY_LIMITS.depth} levels of NOT and brackets`);
    if (isKeyword(token, 'not')) {
      this.#next += 1;
      return { kind: 'not', part: this.#not(depth + 1) };
    }
    if (token.kind !== 'bracket') return this.#comparison();
    if (token.text === ')') throw this.#refuse(token, 'a field, NOT or (');
    this.#next += 1;
    const inner = this.#or(depth + 1);
    const close = this.#peek();
    if (close.text !== ')' || close.kind !== 'bracket') throw this.#refuse(close, 'AND, OR or )');
    this.#next += 1;
    return inner;
  }

  #comparison(): Query {
    const field = this.#take();
    if (field.kind !== 'word' || isKeyword(field, 'and') || isKeyword(field, 'or')) {
      throw this.#refuse(field, 'a field, NOT or (');
    }
    this.#comparisons += 1;
    if (this.#comparisons > QUERY_LIMITS.comparisons) {
      throw this.#refuse(field, `at most ${QUERY_LIMITS.comparisons} comparisons`);
    }
    if (field.text.toLowerCase().startsWith(METADATA)) return this.#metadata(field);
    const name = fieldOf(field.text);
    if (name === null) {
      throw this.#refuse(field, `a field (${Object.keys(QUERY_FIELDS).join(', ')}, metadata.<key>)`);
    }
    const kind: FieldKind = QUERY_FIELDS[name];
    const operator = this.#operator(name, OPERATORS[kind]);
    const token = this.#value(operator);
    const value = valueOf(kind, token);
    if (value === null) throw this.#refuse(token, EXPECTED[kind]);
    if (value.kind === 'none' && !EQUAL.includes(operator)) throw this.#refuse(token, `= or != before none`);
    if (value.kind === 'offset' && EQUAL.includes(operator)) {
      throw this.#refuse(token, `a day, a time or none; ${token.text} goes with >, <, >= and <=`);
    }
    return { kind: 'compare', field: name, operator, value };
  }

  #metadata(field: Token): Query {
    const key = field.text.slice(METADATA.length);
    if (!METADATA_KEY.test(key)) throw this.#refuse(field, 'metadata.<key>');
    const operator = this.#operator(field.text, EQUAL);
    const token = this.#value(operator);
    return { kind: 'metadata', key, operator, value: wordOf(token) };
  }

  #operator(field: string, allowed: readonly Operator[]): Operator {
    const token = this.#take();
    const operator = allowed.find((each) => each === token.text);
    if (token.kind === 'operator' && operator !== undefined) return operator;
    throw this.#refuse(token, `${allowed.join(' ')} after ${field}`);
  }

  #value(operator: Operator): Token {
    const token = this.#take();
    if (token.kind !== 'word' && token.kind !== 'text') throw this.#refuse(token, `a value after ${operator}`);
    if (token.text.length > QUERY_LIMITS.value || token.text.includes('\0') || !token.text.isWellFormed()) {
      throw this.#refuse(token, `a value of at most ${QUERY_LIMITS.value} characters of text`);
    }
    return token;
  }

  /** After the end nobody goes on. */
  #peek(): Token {
    return this.#tokens[this.#next]!;
  }

  #take(): Token {
    const token = this.#peek();
    this.#next += 1;
    return token;
  }

  #refuse(token: Token, expected: string): TownError {
    return refusal(this.#text, token.at, expected, token.kind === 'end' ? 'the end' : quote(token.text, 40));
  }
}

/** What a value of each kind looks like, for error texts. */
const EXPECTED: Record<FieldKind, string> = {
  status: `a status (${TASK_STATUSES.join(', ')})`,
  priority: 'a priority from 0 to 4, or P0 to P4',
  word: 'a word',
  words: 'a word',
  prose: 'a text',
  number: 'a whole number, or none',
  'yes-or-no': 'true or false',
  past: 'a day (2026-05-01, today), a time (2026-05-01T15:00:00Z), how long ago (7d, 12h, 30m, 2w), now or none',
  future: 'a day (2026-05-01, today), a time (2026-05-01T15:00:00Z), how far away (7d, 12h, 30m, 2w), now or none',
};

function valueOf(kind: FieldKind, token: Token): QueryValue | null {
  switch (kind) {
    case 'status': {
      const status = statusOf(token.text);
      return status === null ? null : { kind: 'status', status };
    }
    case 'priority': {
      const digit = /^[Pp]?([0-4])$/.exec(token.text)?.[1];
      return digit === undefined ? null : { kind: 'number', number: Number(digit) };
    }
    case 'number':
      if (isNone(token)) return { kind: 'none' };
      return /^\d{1,9}$/.test(token.text) ? { kind: 'number', number: Number(token.text) } : null;
    case 'yes-or-no': {
      const word = token.text.toLowerCase();
      if (word === 'true' || word === 'yes') return { kind: 'is', is: true };
      return word === 'false' || word === 'no' ? { kind: 'is', is: false } : null;
    }
    case 'word':
    case 'words':
    case 'prose':
      return wordOf(token);
    case 'past':
      return isNone(token) ? { kind: 'none' } : timeOf(token.text, -1);
    case 'future':
      return isNone(token) ? { kind: 'none' } : timeOf(token.text, 1);
  }
}

/** A text in quotes is taken as it is. */
function wordOf(token: Token): QueryValue {
  if (isNone(token)) return { kind: 'none' };
  if (token.kind === 'word' && /[*?]/.test(token.text)) return { kind: 'glob', pattern: token.text };
  return { kind: 'text', text: token.text };
}

function isNone(token: Token): boolean {
  return token.kind === 'word' && token.text.toLowerCase() === 'none';
}

const UNITS_MS = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 } as const;
const DAYS = { yesterday: -1, today: 0, tomorrow: 1 } as const;
/** About 270 years: further than any date that Postgres could not add up. */
const OFFSET_MAX_MS = 100_000 * 86_400_000;

/** `direction` is where an offset without a sign goes. */
function timeOf(text: string, direction: -1 | 1): QueryValue | null {
  const word = text.toLowerCase();
  if (word === 'now') return { kind: 'offset', ms: 0 };
  if (isKeyOf(DAYS, word)) return { kind: 'day', day: DAYS[word] };
  const offset = /^([+-]?)(\d{1,6})([mhdw])$/.exec(word);
  if (offset !== null) {
    const sign = offset[1] === '' ? direction : offset[1] === '-' ? -1 : 1;
    const ms = Number(offset[2]) * UNITS_MS[offset[3] as keyof typeof UNITS_MS]; // by the pattern
    return ms > OFFSET_MAX_MS ? null : { kind: 'offset', ms: ms === 0 ? 0 : sign * ms };
  }
  if (/^\d{4}-\d{2}-\d{2}$/.test(text)) return isDate(text) ? { kind: 'day', day: text } : null;
  const isTime = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2})$/i.test(text);
  const at = isTime ? Date.parse(text) : Number.NaN;
  return Number.isNaN(at) ? null : { kind: 'moment', at: new Date(at).toISOString() };
}

/** `Date` would take the 31st of June for the 1st of July. */
function isDate(day: string): boolean {
  const at = new Date(`${day}T00:00:00Z`);
  return !Number.isNaN(at.getTime()) && at.toISOString().startsWith(day) && !day.startsWith('0000');
}

function fieldOf(word: string): QueryField | null {
  const name = word.toLowerCase();
  if (isKeyOf(QUERY_FIELDS, name)) return name;
  return isKeyOf(FIELD_ALIASES, name) ? FIELD_ALIASES[name] : null;
}

function isKeyOf<T extends object>(table: T, name: PropertyKey): name is keyof T {
  return Object.hasOwn(table, name);
}

function isKeyword(token: Token, keyword: 'and' | 'or' | 'not'): boolean {
  return token.kind === 'word' && token.text.toLowerCase() === keyword;
}

function refusal(text: string, at: number, expected: string, found: string): TownError {
  const column = at + 1;
  const near = text.slice(Math.max(0, at - 20), at + 20);
  return new TownError('INVALID_INPUT', `the query, column ${column}: ${found} where ${expected} is expected`, {
    hint: 'for example: status=open AND priority<=1 AND NOT label=docs AND updated>7d',
    details: { column, expected, found, near },
  });
}
