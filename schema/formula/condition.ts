import type { Json } from '../json';
import { attempt, Refusal, type Read } from './refusal';
import { PLACEHOLDER } from './variables';
import type { Comparison, Operand, RunCondition } from './flow';

/**
 * Two languages in one. About variables, decided when the formula is cooked: `{{name}}`, `!{{name}}`, `{{name}} == text`,
 * `{{name}} != text`. About the run, decided while it goes: `review.status == 'complete'`, `review.output.approved == true`,
 * `children(review).all(status == 'complete')`, `.any(…)`, `.count(…) >= 2`, `descendants(…)`, `steps.complete >= 3`,
 * `file.exists('go.mod')`, `env.NAME == 'x'`. Both may be joined with `and`, `or`, `not`, `&&`, `||`, `!` and parentheses.
 */
export type ReadCondition = Read<boolean | RunCondition>;

export interface ConditionScope {
  readonly values: ReadonlyMap<string, string>;
  /** Which step `step.…`, `status` and `output.…` mean; null: none, so they are refused. */
  readonly self: string | null;
}

const CONDITION_LENGTH_MAX = 1_000;
const DEPTH_MAX = 20;

/** Reads a condition and decides what variables alone can decide; what is left is about the run. */
export function readCondition(text: string, scope: ConditionScope): ReadCondition {
  if (text.length > CONDITION_LENGTH_MAX) {
    return { ok: false, why: `it is longer than ${CONDITION_LENGTH_MAX} characters` };
  }
  return attempt(() => {
    const simple = /^\s*\{\{\s*([A-Za-z_]\w*)\s*\}\}\s*(==|!=)\s*([^()|&]+)$/.exec(text);
    if (simple !== null && !/\s(?:and|or)\s/.test(text)) {
      const [, name, is, right] = simple as unknown as [string, string, string, string]; // each group takes part
      return ((scope.values.get(name) ?? '') === unquote(right.trim())) === (is === '==');
    }
    return new ConditionReader(tokensOf(text), scope).whole();
  });
}

/** The step within `children(…)`, a quoted text, or a step before its status or output. */
const ASKED =
  /((?:children|descendants)\s*\(\s*['"]?)([\w.-]+)(['"]?)|'[^']*'|"[^"]*"|\b(steps\.)?([\w.-]+?)(\.(?:status|outcome|output(?:\.[\w.-]+)?))(?![\w.-])/g;

/** Gives the steps that a condition names other ids. `step` alone is no name. */
export function renameAsked(text: string, rename: (id: string) => string): string {
  return text.replaceAll(
    ASKED,
    (whole, many = '', of = '', quote = '', plural = '', id = 'step', field = ''): string => {
      if (of !== '') return `${many}${rename(of)}${quote}`;
      return id === 'step' ? whole : `${plural}${rename(id)}${field}`;
    },
  );
}

/** The steps whose end a condition asks about, each once. Within `all`, `any` and `count` the one looked at has no name. */
export function stepsOf(condition: RunCondition): string[] {
  const found = new Set<string>();
  const visit = (part: RunCondition): void => {
    switch (part.op) {
      case 'and':
      case 'or':
        part.of.forEach(visit);
        break;
      case 'not':
        visit(part.of);
        break;
      case 'compare':
        if ('step' in part.left && part.left.step !== '') found.add(part.left.step);
        break;
      default:
        found.add(part.step);
        visit(part.where);
    }
  };
  visit(condition);
  return [...found];
}

function isFalsy(value: string): boolean {
  return ['', 'false', '0', 'no', 'off'].includes(value.trim().toLowerCase());
}

type Token = { readonly kind: 'variable' | 'text' | 'sign' | 'word'; readonly text: string };

const TOKEN =
  /(?:\{\{\s*([A-Za-z_]\w*)\s*\}\}|('[^']*'|"[^"]*")|(&&|\|\||==|!=|<=|>=|<|>|!|\(|\))|([A-Za-z0-9_./:@*+-]+))/y;
const COMPARISONS: readonly Comparison[] = ['==', '!=', '<', '<=', '>', '>='];

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  for (;;) {
    while (/\s/.test(text[at] ?? '')) at += 1;
    if (at >= text.length) return tokens;
    TOKEN.lastIndex = at;
    const found = TOKEN.exec(text);
    if (found === null) throw new Refusal(`"${text.slice(at, at + 20).trim()}" is not known here`);
    const [whole, variable, quoted, sign, word = ''] = found;
    at += whole.length;
    if (variable !== undefined) tokens.push({ kind: 'variable', text: variable });
    else if (quoted !== undefined) tokens.push({ kind: 'text', text: quoted.slice(1, -1) });
    else tokens.push(sign === undefined ? { kind: 'word', text: word } : { kind: 'sign', text: sign });
  }
}

type Part = boolean | RunCondition;

class ConditionReader {
  readonly #tokens: readonly Token[];
  readonly #scope: ConditionScope;
  #at = 0;
  #depth = 0;
  /** Inside `all(…)`, `any(…)` or `count(…)`, where names without a step mean the one looked at. */
  #inside = false;

  constructor(tokens: readonly Token[], scope: ConditionScope) {
    this.#tokens = tokens;
    this.#scope = scope;
  }

  whole(): Part {
    if (this.#tokens.length === 0) throw new Refusal('it is empty');
    const part = this.#or();
    const rest = this.#tokens[this.#at];
    if (rest !== undefined) throw new Refusal(`"${rest.text}" does not belong there`);
    return part;
  }

  #or(): Part {
    this.#depth += 1;
    if (this.#depth > DEPTH_MAX) throw new Refusal(`it is nested deeper than ${DEPTH_MAX}`);
    const parts = [this.#and()];
    while (this.#take('||', 'or')) parts.push(this.#and());
    this.#depth -= 1;
    return join('or', parts);
  }

  #and(): Part {
    const parts = [this.#not()];
    while (this.#take('&&', 'and')) parts.push(this.#not());
    return join('and', parts);
  }

  #not(): Part {
    let turned = false;
    while (this.#take('!', 'not')) turned = !turned;
    const part = this.#atom();
    if (!turned) return part;
    return typeof part === 'boolean' ? !part : { op: 'not', of: part };
  }

  #atom(): Part {
    if (this.#take('(')) {
      const part = this.#or();
      this.#expect(')');
      return part;
    }
    const token = this.#tokens[this.#at];
    this.#at += 1;
    if (token?.kind === 'variable') return this.#aboutVariable(this.#scope.values.get(token.text) ?? '');
    if (token?.kind !== 'word') throw new Refusal(`something is missing before "${token?.text ?? 'its end'}"`);
    if (token.text === 'file.exists') return this.#fileExists();
    if (this.#take('(')) return this.#aboutMany(token.text);
    return this.#aboutOne(token.text);
  }

  #aboutVariable(value: string): boolean {
    const is = this.#comparison();
    if (is === null) return !isFalsy(value);
    const right = this.#right().text;
    if (is === '==' || is === '!=') return (value === right) === (is === '==');
    return compareNumbers(Number(value), is, Number(right));
  }

  #fileExists(): RunCondition {
    this.#expect('(');
    const path = this.#right().text;
    this.#expect(')');
    if (path === '' || path.startsWith('/') || path.split('/').includes('..')) {
      throw new Refusal(`"${path}" must be a path within the worktree`);
    }
    return { op: 'compare', left: { of: 'file', path }, is: '==', right: true };
  }

  /** `children(step).all(…)`, after its first `(`. */
  #aboutMany(kind: string): RunCondition {
    const step = this.#right().text;
    this.#expect(')');
    const token = this.#tokens[this.#at];
    this.#at += 1;
    const op = ['all', 'any', 'count'].find((each) => `.${each}` === token?.text);
    if ((kind !== 'children' && kind !== 'descendants') || op === undefined) {
      throw new Refusal(`write children(step) or descendants(step), and then .all(…), .any(…) or .count(…)`);
    }
    if (this.#inside) throw new Refusal(`${kind}(…) does not stand within another`);
    this.#expect('(');
    this.#inside = true;
    const where = this.#or();
    this.#inside = false;
    this.#expect(')');
    if (typeof where === 'boolean') throw new Refusal(`.${op}(…) must ask about status or output`);
    const about = { step: this.#named(step), deep: kind === 'descendants', where };
    if (op !== 'count') return { op: op === 'all' ? 'all' : 'any', ...about };
    const is = this.#comparison();
    const right = is === null ? null : literal(this.#right().text);
    if (is === null || typeof right !== 'number') throw new Refusal('compare .count(…) with a number');
    return { op: 'count', ...about, is, right };
  }

  #aboutOne(word: string): RunCondition {
    const left = this.#operand(word);
    const is = this.#comparison();
    if (is === null) {
      if (left.of === 'output') return { op: 'compare', left, is: '==', right: true };
      throw new Refusal(`compare ${word} with something: ${word} == 'complete'`);
    }
    const token = this.#right();
    if (left.of === 'status') return statusIs(left, is, token.text);
    const right = token.kind === 'text' ? token.text : literal(token.text);
    if (left.of === 'complete' && typeof right !== 'number') {
      throw new Refusal('compare steps.complete with a number');
    }
    return { op: 'compare', left, is, right };
  }

  #operand(word: string): Operand {
    if (word === 'steps.complete') return { of: 'complete' };
    const env = /^env\.([A-Za-z_]\w*)$/.exec(word)?.[1];
    if (env !== undefined) return { of: 'env', name: env.startsWith(ENV_PREFIX) ? env : `${ENV_PREFIX}${env}` };
    const own = /^(?:step\.)?(status|outcome|output(?:\.[\w.-]+)?)$/.exec(word)?.[1];
    const [, step = 'step', field = ''] =
      own === undefined
        ? (/^(?:steps\.)?(.+?)\.(status|outcome|output(?:\.[\w.-]+)?)$/.exec(word) ?? [])
        : [word, 'step', own];
    if (field === 'status' || field === 'outcome') return { of: 'status', step: this.#named(step) };
    if (field !== '') return { of: 'output', step: this.#named(step), path: field.split('.').slice(1) };
    throw new Refusal(
      `"${word}" is not known: write {{variable}}, <step>.status, <step>.output.<key>, steps.complete, file.exists('…') or env.<name>`,
    );
  }

  #named(step: string): string {
    if (step !== 'step') return step;
    if (this.#inside) return '';
    if (this.#scope.self !== null) return this.#scope.self;
    throw new Refusal('it must say which step it means: <step>.status or <step>.output.<key>');
  }

  #comparison(): Comparison | null {
    const token = this.#tokens[this.#at];
    const found = token?.kind === 'sign' ? COMPARISONS.find((each) => each === token.text) : undefined;
    if (found !== undefined) this.#at += 1;
    return found ?? null;
  }

  /** A text, a word or the value of a variable. */
  #right(): Token {
    const token = this.#tokens[this.#at];
    this.#at += 1;
    if (token === undefined || token.kind === 'sign') {
      throw new Refusal(`a value is missing before "${token?.text ?? 'its end'}"`);
    }
    if (token.kind === 'variable') return { kind: 'word', text: this.#scope.values.get(token.text) ?? '' };
    const filled = token.text.replaceAll(PLACEHOLDER, (_whole, name: string) => this.#scope.values.get(name) ?? '');
    return { kind: token.kind, text: filled };
  }

  #take(...texts: readonly string[]): boolean {
    const token = this.#tokens[this.#at];
    if (token === undefined || token.kind === 'text' || token.kind === 'variable' || !texts.includes(token.text)) {
      return false;
    }
    this.#at += 1;
    return true;
  }

  #expect(sign: string): void {
    if (!this.#take(sign)) throw new Refusal(`a "${sign}" is missing`);
  }
}

const ENV_PREFIX = 'TOWN_VAR_';

/** Words of other tools for the ends of a step. */
const STATUS_WORDS: Readonly<Record<string, 'complete' | 'failed' | 'skipped' | 'open'>> = {
  complete: 'complete',
  completed: 'complete',
  done: 'complete',
  success: 'complete',
  passed: 'complete',
  pass: 'complete',
  failed: 'failed',
  failure: 'failed',
  fail: 'failed',
  skipped: 'skipped',
  open: 'open',
  pending: 'open',
  ready: 'open',
  in_progress: 'open',
};

function statusIs(left: Operand, is: Comparison, text: string): RunCondition {
  const word = text.toLowerCase();
  if (is !== '==' && is !== '!=') throw new Refusal('compare a status with == or != only');
  if (word === 'closed') return { op: 'compare', left, is: is === '==' ? '!=' : '==', right: 'open' };
  const right = Object.hasOwn(STATUS_WORDS, word) ? STATUS_WORDS[word] : undefined;
  if (right !== undefined) return { op: 'compare', left, is, right };
  throw new Refusal(`"${text}" is no status: use complete, failed, skipped, open or closed`);
}

function join(op: 'and' | 'or', parts: readonly Part[]): Part {
  const decides = op === 'or';
  if (parts.includes(decides)) return decides;
  const left = parts.filter((part) => typeof part !== 'boolean');
  const [only] = left;
  if (only === undefined) return !decides;
  return left.length === 1 ? only : { op, of: left };
}

function compareNumbers(left: number, is: Comparison, right: number): boolean {
  if (Number.isNaN(left) || Number.isNaN(right)) return false;
  if (is === '<') return left < right;
  if (is === '<=') return left <= right;
  return is === '>' ? left > right : left >= right;
}

function literal(word: string): Json {
  if (/^-?\d{1,15}(?:\.\d{1,15})?$/.test(word)) return Number(word);
  if (word === 'null') return null;
  return word === 'true' || word === 'false' ? word === 'true' : word;
}

function unquote(text: string): string {
  return /^(?:'[^']*'|"[^"]*")$/.test(text) ? text.slice(1, -1) : text;
}
