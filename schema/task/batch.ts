import { TownError } from '../errors';
import { parseAgentAddress, parseTaskId } from '../ids';
import type { TaskInput, TaskOperation, TaskPatch } from '../ledger';
import { linesOf, listed, quote } from '../text';
import { DEPENDENCY_TYPES, isDependencyType } from './dependency';

/*
 * Lines of `town batch`, one change a line:
 *
 *   close <id> [reason]                   label add|remove <id> <label…>
 *   update <id> <key>=<value>…            dep add <id> <needs> [type]
 *   create <type> <priority> <title>      dep remove <id> <needs>
 *   reopen <id> [reason]                  note <id> <text>
 *   defer <id> [time] | undefer <id>      comment <id> <text>
 *   assign <id> <agent|none>              pin <id> | unpin <id>
 *
 * A value with blanks is put in double quotes, in which \" and \\ stand for those two characters. A reason, title or text at the end of
 * a line is taken as it is, with or without quotes around it. Empty lines and those that begin with # say nothing.
 */

export const BATCH_LIMITS = { lines: 1_000, characters: 512 * 1024 } as const;

/** A change, and the line (from 1) that asks for it. */
export type BatchOperation = TaskOperation & { readonly line: number };

/** @throws INVALID_INPUT with every line that is not understood, INPUT_TOO_LARGE */
export function parseBatch(text: string, defaults: Pick<TaskInput, 'rig_id'> = {}): BatchOperation[] {
  if (text.length > BATCH_LIMITS.characters) {
    throw new TownError('INPUT_TOO_LARGE', `a batch has at most ${BATCH_LIMITS.characters} characters`);
  }
  const operations: BatchOperation[] = [];
  const problems: { line: number; message: string }[] = [];
  for (const [index, raw] of linesOf(text).entries()) {
    const content = raw.trim();
    if (content === '' || content.startsWith('#')) continue;
    const line = index + 1;
    try {
      operations.push({ ...readLine(content, defaults), line });
    } catch (error) {
      if (!(error instanceof TownError)) throw error;
      problems.push({ line, message: error.message });
    }
  }
  if (problems.length > 0) throw refusal(problems);
  if (operations.length > BATCH_LIMITS.lines) {
    throw new TownError('INPUT_TOO_LARGE', `${operations.length} changes at once; at most ${BATCH_LIMITS.lines}`, {
      hint: 'send them in several batches',
    });
  }
  if (operations.length === 0) throw new TownError('INVALID_INPUT', 'the batch has no line that asks for a change');
  return operations;
}

type LineReader = (words: Words, defaults: Pick<TaskInput, 'rig_id'>) => TaskOperation;

const LINES: Readonly<Record<string, LineReader>> = {
  close(words) {
    const id = words.id();
    const reason = words.rest();
    return { op: 'close', id, outcome: 'done', ...(reason === '' ? {} : { reason }) };
  },
  update(words) {
    return { op: 'update', id: words.id(), patch: readPatch(words.all()) };
  },
  create(words, defaults) {
    const type = words.next('a type');
    const priority = readPriority(words.next('a priority'));
    return { op: 'create', task: { ...defaults, type, priority, title: words.text('a title') } };
  },
  reopen(words) {
    const id = words.id();
    const reason = words.rest();
    return { op: 'reopen', id, ...(reason === '' ? {} : { reason }) };
  },
  defer(words) {
    const id = words.id();
    const until = words.optional();
    words.end();
    return { op: 'defer', id, until };
  },
  undefer: (words) => ({ op: 'undefer', ...words.onlyId() }),
  assign(words) {
    const id = words.id();
    const agent = words.next('an agent, or none');
    words.end();
    return { op: 'update', id, patch: { assigned_agent_id: readAgent(agent) } };
  },
  pin: (words) => ({ op: 'update', ...words.onlyId(), patch: { pinned: true } }),
  unpin: (words) => ({ op: 'update', ...words.onlyId(), patch: { pinned: false } }),
  note(words) {
    return { op: 'note', id: words.id(), body: words.text('a text') };
  },
  comment(words) {
    return { op: 'comment', id: words.id(), body: words.text('a text') };
  },
  label(words) {
    const what = words.oneOf(['add', 'remove']);
    const id = words.id();
    const labels = [words.next('a label'), ...words.all()];
    return { op: 'update', id, patch: what === 'add' ? { add_labels: labels } : { remove_labels: labels } };
  },
  dep(words) {
    const what = words.oneOf(['add', 'remove']);
    const [task_id, depends_on_id] = [words.id(), words.id()];
    const type = what === 'add' ? (words.optional() ?? 'blocks') : 'blocks';
    words.end();
    if (what === 'remove') return { op: 'dep-remove', task_id, depends_on_id };
    if (!isDependencyType(type)) throw invalid(`${quote(type)} is none of ${DEPENDENCY_TYPES.join(', ')}`);
    return { op: 'dep-add', edge: { task_id, depends_on_id, type } };
  },
};

function readLine(content: string, defaults: Pick<TaskInput, 'rig_id'>): TaskOperation {
  const words = new Words(content);
  const verb = words.next('a verb');
  const read = Object.hasOwn(LINES, verb) ? LINES[verb] : undefined;
  if (read === undefined) throw invalid(`${quote(verb)} is none of ${Object.keys(LINES).join(', ')}`);
  return read(words, defaults);
}

/** What one `key=value` of `update` says; an empty value or `none` takes away what may be absent. */
const PATCHES: Readonly<Record<string, (value: string) => TaskPatch>> = {
  title: (title) => ({ title }),
  description: (description) => ({ description }),
  type: (type) => ({ type }),
  status: (status) => ({ status }),
  priority: (value) => ({ priority: readPriority(value) }),
  assignee: (value) => ({ assigned_agent_id: readAgent(value) }),
  acceptance: (value) => ({ acceptance: noneOr(value) }),
  design: (value) => ({ design: noneOr(value) }),
  owner: (value) => ({ owner: noneOr(value) }),
  spec: (value) => ({ spec_id: noneOr(value) }),
  external_ref: (value) => ({ external_ref: noneOr(value) }),
  due: (value) => ({ due_at: noneOr(value) }),
  estimate: (value) => ({ estimated_minutes: noneOr(value) === null ? null : readWhole(value) }),
  pinned: (value) => ({ pinned: readYes(value) }),
};

function readPatch(pairs: readonly string[]): TaskPatch {
  if (pairs.length === 0) throw invalid('update needs at least one key=value');
  let patch: TaskPatch = {};
  for (const pair of pairs) {
    const at = pair.indexOf('=');
    const key = at < 0 ? pair : pair.slice(0, at);
    const read = Object.hasOwn(PATCHES, key) ? PATCHES[key] : undefined;
    if (at < 0 || read === undefined) {
      throw invalid(`${quote(pair)} is no key=value with one of the keys ${Object.keys(PATCHES).join(', ')}`);
    }
    patch = { ...patch, ...read(pair.slice(at + 1)) };
  }
  return patch;
}

function noneOr(value: string): string | null {
  return value === '' || value === 'none' ? null : value;
}

function readAgent(value: string): string | null {
  return noneOr(value) === null ? null : parseAgentAddress(value);
}

function readPriority(text: string): number {
  const digit = /^[Pp]?([0-4])$/.exec(text)?.[1];
  if (digit !== undefined) return Number(digit);
  throw invalid(`the priority ${quote(text)} is not one of 0 to 4, or P0 to P4`);
}

function readWhole(text: string): number {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw invalid(`${quote(text)} is not a whole number`);
}

function readYes(text: string): boolean {
  if (text === 'true' || text === 'false') return text === 'true';
  throw invalid(`${quote(text)} is neither true nor false`);
}

/** The words of a line from left to right. */
class Words {
  readonly #line: string;
  #at = 0;

  constructor(line: string) {
    this.#line = line;
  }

  /** @throws INVALID_INPUT when there is none, or a quote is not closed */
  next(what: string): string {
    const word = this.optional();
    if (word === null) throw invalid(`${what} is missing`);
    return word;
  }

  optional(): string | null {
    this.#skip();
    if (this.#at >= this.#line.length) return null;
    let word = '';
    for (let quoted = false; ; this.#at += 1) {
      const character = this.#line[this.#at];
      if (character === undefined) {
        if (quoted) throw invalid('a double quote is not closed');
        return word;
      }
      if (!quoted && /\s/.test(character)) return word;
      const next = this.#line[this.#at + 1];
      if (quoted && character === '\\' && (next === '"' || next === '\\')) {
        word += next;
        this.#at += 1;
      } else if (character === '"') quoted = !quoted;
      else word += character;
    }
  }

  id(): string {
    return parseTaskId(this.next('the id of a task'));
  }

  onlyId(): { readonly id: string } {
    const id = this.id();
    this.end();
    return { id };
  }

  oneOf<const W extends string>(words: readonly W[]): W {
    const word = this.next(words.join(' or '));
    const found = words.find((each) => each === word);
    if (found === undefined) throw invalid(`${quote(word)} is none of ${words.join(', ')}`);
    return found;
  }

  all(): string[] {
    const words: string[] = [];
    for (let word = this.optional(); word !== null; word = this.optional()) words.push(word);
    return words;
  }

  /** What is left, as it is; quotes around all of it are taken off. */
  rest(): string {
    this.#skip();
    const left = this.#line.slice(this.#at).trim();
    const from = this.#at;
    this.#at = this.#line.length;
    const quoted = /^"(?:[^"\\]|\\.)*"$/.test(left);
    if (!quoted) return left;
    this.#at = from;
    return this.next('a text');
  }

  text(what: string): string {
    const text = this.rest();
    if (text.trim() === '') throw invalid(`${what} is missing`);
    return text;
  }

  end(): void {
    const more = this.optional();
    if (more !== null) throw invalid(`${quote(more)} is too much`);
  }

  #skip(): void {
    while (/\s/.test(this.#line[this.#at] ?? '')) this.#at += 1;
  }
}

function refusal(problems: readonly { readonly line: number; readonly message: string }[]): TownError {
  const named = problems.map(({ line, message }) => `line ${line}: ${message}`);
  return new TownError('INVALID_INPUT', listed(named), {
    hint: 'nothing was done; see: town batch --help',
    details: { problems: problems.slice(0, 100) },
  });
}

function invalid(message: string): TownError {
  return new TownError('INVALID_INPUT', message);
}
