import { isList, isObject, type JsonObject } from '../json';
import type {
  FormulaCheck,
  FormulaFailure,
  FormulaFanOut,
  FormulaLoop,
  FormulaRetry,
  FormulaStep,
  WaitsFor,
  WrittenCondition,
} from './formula';
import { readDuration, readGate, whyUnreadable } from './gate';
import { within } from './problems';
import type { TableReader } from './reader';

const ITEMS_MAX = 1_000;
const ITEMS_DEFAULT = 100;
const ROUNDS_MAX = 1_000;
const ATTEMPTS_MAX = 100;
/** Of its JSON, in characters. Every step that a loop makes carries it. */
const METADATA_MAX = 32_000;

const STEP_KEYS = (
  'id title description instructions notes design needs depends_on parallel acceptance gate check checks ralph ' +
  'priority type labels tags assignee metadata condition waits_for expand expand_vars children loop ' +
  'on_complete drain retry on_failure timeout interactive agent review_only description_file'
).split(' ');
/** Hints for other tools, kept for the agent in the step's metadata. */
const STEP_KEYS_CARRIED = ['type', 'interactive', 'agent', 'review_only'];

/** Reads one step and all within it. `carried` are further keys that go to its metadata. */
export function readStep(table: TableReader, carried: readonly string[] = []): FormulaStep {
  table.expectKeys([...STEP_KEYS, ...carried]);
  const expand = table.text('expand');
  const { checks, attempts } = readChecks(table);
  return {
    id: readId(table),
    title: table.text('title'),
    description: table.prose('description'),
    descriptionFile: table.text('description_file'),
    instructions: table.prose('instructions'),
    design: table.prose('design'),
    notes: table.prose('notes'),
    acceptance: table.prose('acceptance'),
    needs: [...new Set([...table.texts('needs'), ...table.texts('depends_on')])],
    parallel: table.flag('parallel') ?? true,
    checks,
    gate: readGate(table),
    conditions: readConditions(table),
    waitsFor: readWaitsFor(table),
    fanOut: readFanOut(table),
    retry: readRetry(table) ?? attempts,
    onFailure: readFailure(table),
    priority: table.integer('priority', { min: 0, max: 4 }),
    labels: [...new Set([...table.texts('labels'), ...table.texts('tags')])],
    assignee: table.text('assignee'),
    metadata: readMetadata(table, carried),
    children: table.tables('children').map((child) => readStep(child)),
    contains: null,
    expand: expand === null ? null : { with: expand, vars: table.textTable('expand_vars') },
    loop: readLoop(table.table('loop')),
    at: table.place,
  };
}

function readMetadata(table: TableReader, carried: readonly string[]): JsonObject {
  const metadata = { ...carriedKeys(table, [...STEP_KEYS_CARRIED, ...carried]), ...table.object('metadata') };
  if (JSON.stringify(metadata).length <= METADATA_MAX) return metadata;
  const message = `the metadata of a step has at most ${METADATA_MAX} characters`;
  table.problems.add({ code: 'FORMULA_TOO_BIG', at: table.at('metadata'), message, fix: 'Put it into a file.' });
  return {};
}

/** An empty id was reported; such a step takes no part in what follows. */
export function readId(table: TableReader): string {
  const id = table.mode === 'strict' ? table.text('id') : table.scalar('id');
  if (id === null || id === '') {
    if (table.has('id') && id === null) return '';
    table.problems.add({
      code: 'FORMULA_MISSING_ID',
      at: table.has('id') ? table.at('id') : table.place,
      message: 'the step has no id',
      fix: 'Add id = "name", unique within the formula.',
    });
    return '';
  }
  // Compile-time macros such as {target} are filled in later, and the result is checked again.
  if (isId(id.replaceAll(/\{[A-Za-z_][\w.]*\}/g, 'x'))) return id;
  table.badValue('id', notAnId(id));
  return '';
}

export function notAnId(id: string): { readonly message: string; readonly fix: string } {
  return { message: `"${id.slice(0, 80)}" is not an id`, fix: 'Use letters, digits, ".", "_" and "-", at most 200.' };
}

export function isId(text: string): boolean {
  return /^[A-Za-z0-9._-]{1,200}$/.test(text);
}

export function isVariableName(text: string): boolean {
  return /^[A-Za-z_]\w{0,99}$/.test(text);
}

export function carriedKeys(table: TableReader, keys: readonly string[]): JsonObject {
  return Object.fromEntries(
    keys.flatMap((key) => {
      const value = table.value(key);
      return value === undefined ? [] : [[key, value] as const];
    }),
  );
}

interface Checks {
  readonly checks: readonly FormulaCheck[];
  /** How often the work is done at most until they pass; null: the author did not say. */
  readonly attempts: FormulaRetry | null;
}

function readChecks(step: TableReader): Checks {
  let attempts: FormulaRetry | null = null;
  const stepTimeout = readDuration(step, 'timeout');
  const checks = ['check', 'checks', 'ralph'].flatMap((key): FormulaCheck[] => {
    const value = step.value(key);
    if (value === undefined) return [];
    const entries = isList(value) ? value : [value];
    return entries.flatMap((entry, index) => {
      if (typeof entry === 'string' && entry.trim() !== '') return [{ run: entry, timeout: stepTimeout }];
      const at = isList(value) ? within(step.place, key, index) : step.at(key);
      const table = isObject(entry) ? step.inner(entry, at) : null;
      const check = table === null ? null : readCheck(table, stepTimeout);
      if (table !== null && table.has('max_attempts')) attempts = readAttempts(table, null);
      if (check !== null) return [check];
      const fix = 'Write a command line, or a table with run and timeout.';
      step.problems.add({
        code: 'FORMULA_VALUE',
        at,
        severity: step.severity(),
        message: 'the check has no command to run',
        fix,
      });
      return [];
    });
  });
  if (stepTimeout !== null && checks.length === 0) {
    step.oddValue('timeout', {
      message: 'the timeout is that of the checks of a step, and this one has none',
      fix: 'Add a check, or remove timeout.',
    });
  }
  return { checks, attempts };
}

/** `{ run, timeout }`, or as Gas City writes it `{ max_attempts, check = { mode, path, timeout } }`. */
function readCheck(table: TableReader, stepTimeout: string | null): FormulaCheck | null {
  const inner = table.table('check');
  table.expectKeys(['run', 'path', 'mode', 'timeout', 'max_attempts', 'check']);
  inner?.expectKeys(['run', 'path', 'mode', 'timeout']);
  for (const part of [table, inner]) {
    const mode = part?.text('mode') ?? 'exec';
    if (mode === 'exec') continue;
    part?.badValue('mode', { message: `a check of mode "${mode}" is not known`, fix: 'Write mode = "exec".' });
  }
  const path = inner?.text('path') ?? table.text('path');
  const run = inner?.text('run') ?? table.text('run') ?? (path === null ? null : commandOf(path));
  const timeout = (inner === null ? null : readDuration(inner, 'timeout')) ?? readDuration(table, 'timeout');
  return run === null || run.trim() === '' ? null : { run, timeout: timeout ?? stepTimeout };
}

/** A command line that runs the file. */
function commandOf(path: string): string {
  if (path.trim() === '') return '';
  const named = path.includes('/') ? path : `./${path}`;
  return /^[\w./{}-]+$/.test(named) ? named : `'${named.replaceAll("'", `'\\''`)}'`;
}

function readAttempts(table: TableReader, backoff: string | null): FormulaRetry | null {
  const attemptsMax = table.integer('max_attempts', { min: 1, max: ATTEMPTS_MAX });
  return attemptsMax === null ? null : { attemptsMax, backoff, exhausted: 'fail' };
}

const EXHAUSTED = { hard_fail: 'fail', fail: 'fail', soft_fail: 'skip', skip: 'skip' } as const;

function readRetry(step: TableReader): FormulaRetry | null {
  const value = step.value('retry');
  if (value === undefined) return null;
  if (typeof value === 'number') {
    const attemptsMax = step.integer('retry', { min: 1, max: ATTEMPTS_MAX });
    return attemptsMax === null ? null : { attemptsMax, backoff: RETRY_BACKOFF, exhausted: 'fail' };
  }
  const table = step.table('retry');
  if (table === null || !isObject(value)) return null;
  table.expectKeys(['max_attempts', 'on_exhausted', 'backoff']);
  const exhausted = table.choice('on_exhausted', ['hard_fail', 'fail', 'soft_fail', 'skip']);
  const retry = readAttempts(table, readDuration(table, 'backoff') ?? RETRY_BACKOFF);
  if (!table.has('max_attempts')) {
    table.badValue('max_attempts', { message: 'the retry has no limit', fix: 'Add max_attempts = 3.' });
  }
  return retry === null ? null : { ...retry, exhausted: exhausted === null ? 'fail' : EXHAUSTED[exhausted] };
}
const RETRY_BACKOFF = '10s';

function readFailure(step: TableReader): FormulaFailure | null {
  const value = step.value('on_failure');
  if (value === undefined) return null;
  if (isObject(value)) {
    const table = step.inner(value, step.at('on_failure'));
    table.expectKeys(['compensate', 'vars']);
    const name = table.text('compensate');
    if (name !== null)
      return { kind: 'compensate', with: name, vars: table.textTable('vars'), at: table.at('compensate') };
    if (!table.has('compensate')) {
      table.badValue('compensate', {
        message: 'it does not say what undoes the step',
        fix: 'Add compensate = "formula".',
      });
    }
    return null;
  }
  return step.choice('on_failure', ['fail', 'skip']) === 'skip' ? { kind: 'skip' } : null;
}

function readConditions(step: TableReader): WrittenCondition[] {
  const text = step.text('condition');
  if (text === null) return [];
  const why = whyUnreadable(text);
  if (why === null) return [{ text, at: step.at('condition') }];
  step.problems.add({
    code: 'FORMULA_CONDITION',
    at: step.at('condition'),
    message: `the condition cannot be read: ${why}`,
    fix: 'Write, for example, {{mode}} == full or review.output.approved == true.',
  });
  return [];
}

/** `all-children`, `any-children`, `children-of(id)` and, for both modes, `any-children-of(id)`. */
function readWaitsFor(step: TableReader): WaitsFor | null {
  const text = step.text('waits_for');
  if (text === null) return null;
  const at = step.at('waits_for');
  const [found, mode, of] = /^(?:(all|any)-)?children(?:-of\(\s*([\w.{}-]+)\s*\))?$/.exec(text.trim()) ?? [];
  if (found !== undefined && (mode ?? of) !== undefined)
    return { of: of ?? null, mode: mode === 'any' ? 'any' : 'all', at };
  step.problems.add({
    code: 'FORMULA_WAITS_FOR',
    at,
    message: `"${text.slice(0, 60)}" is not something to wait for`,
    fix: 'Write all-children, any-children or children-of(step).',
  });
  return null;
}

function readFanOut(step: TableReader): FormulaFanOut | null {
  const drain = readDrain(step.table('drain'));
  const table = step.table('on_complete');
  if (table === null) return drain;
  if (drain !== null) {
    step.problems.add({
      code: 'FORMULA_CONFLICT',
      at: table.place,
      message: 'a step has either on_complete or drain',
      fix: 'Give one of them to a step of its own.',
    });
  }
  table.expectKeys(['for_each', 'bond', 'vars', 'parallel', 'sequential', 'max_items', 'on_item_failure']);
  const forEach = table.text('for_each');
  const bond = table.text('bond');
  if (forEach === null || bond === null) {
    const key = forEach === null ? 'for_each' : 'bond';
    const finding = {
      message: `on_complete has no ${key}, so nothing follows`,
      fix: 'Add for_each = "output.items" and bond = "formula".',
    };
    if (forEach === null && bond === null) table.oddValue(key, finding);
    else if (!table.has(key)) table.badValue(key, finding);
    return null;
  }
  const path = /^output((?:\.[\w-]+)+)$/.exec(forEach)?.[1]?.split('.').slice(1) ?? [];
  if (path.length === 0) {
    table.badValue('for_each', {
      message: `"${forEach.slice(0, 60)}" is not a list in the output of the step`,
      fix: 'Write for_each = "output.<key>".',
    });
  }
  const sequential = table.flag('sequential') ?? table.flag('parallel') === false;
  if (sequential && table.flag('parallel') === true) {
    table.badValue('sequential', { message: 'both parallel and sequential are set', fix: 'Keep one of them.' });
  }
  return {
    path,
    bond,
    vars: table.textTable('vars'),
    mode: sequential ? 'sequential' : 'parallel',
    itemsMax: table.integer('max_items', { min: 1, max: ITEMS_MAX }) ?? ITEMS_DEFAULT,
    onItemFailure: itemFailure(table),
    drain: false,
    at: table.place,
  };
}

/** Gas City's fan-out over the members of a convoy: the agent names them, and each is done by the formula. */
function readDrain(table: TableReader | null): FormulaFanOut | null {
  if (table === null) return null;
  table.expectKeys('context formula member_access max_units on_item_failure continuation_group item'.split(' '));
  const bond = table.text('formula');
  const shared = table.choice('context', ['separate', 'shared']) === 'shared';
  table.choice('member_access', ['read', 'exclusive']);
  table.table('item')?.expectKeys(['single_lane']);
  const itemsMax = table.integer('max_units', { min: 1, max: ITEMS_DEFAULT }) ?? ITEMS_DEFAULT;
  const onItemFailure = itemFailure(table) ?? (shared ? 'stop' : 'continue');
  if (bond === null && !table.has('formula')) {
    table.badValue('formula', { message: 'the drain names no formula', fix: 'Add formula = "name".' });
  }
  if (bond === null) return null;
  const mode = shared ? 'sequential' : 'parallel';
  return { path: ['members'], bond, vars: {}, mode, itemsMax, onItemFailure, drain: true, at: table.place };
}

function itemFailure(table: TableReader): FormulaFanOut['onItemFailure'] {
  const word = table.choice('on_item_failure', ['continue', 'stop', 'skip_remaining']);
  return word === 'skip_remaining' ? 'stop' : word;
}

function readLoop(table: TableReader | null): FormulaLoop | null {
  if (table === null) return null;
  table.expectKeys(['count', 'until', 'range', 'var', 'max', 'body']);
  const body = table.tables('body').map((step) => readStep(step));
  if (body.length === 0)
    table.badValue('body', { message: 'the loop has no body', fix: 'Add at least one step to body.' });
  const kinds = ['count', 'range', 'until'].filter((key) => table.has(key));
  if (kinds.length !== 1) {
    const message = kinds.length === 0 ? 'the loop has no count' : `the loop has ${kinds.join(' and ')}`;
    table.badValue(kinds[1] ?? 'count', {
      message,
      fix: 'Write one of count = 3, range = "1..3" or until = "…" with max = 3.',
    });
    return null;
  }
  const at = table.place;
  if (kinds[0] === 'until') return readUntil(table, body);
  const range = kinds[0] === 'count' ? readCount(table) : table.text('range');
  return range === null ? null : { kind: 'range', range, var: readLoopVariable(table), body, at };
}

function readCount(table: TableReader): string | null {
  if (typeof table.value('count') === 'string') return `1..${table.text('count')}`;
  const count = table.integer('count', { min: 1, max: 5_000 });
  return count === null ? null : `1..${count}`;
}

function readLoopVariable(table: TableReader): string | null {
  const name = table.text('var');
  if (name === null || isVariableName(name)) return name;
  table.badValue('var', {
    message: `"${name.slice(0, 40)}" is not a name for a variable`,
    fix: 'Use letters, digits and "_".',
  });
  return null;
}

function readUntil(table: TableReader, body: readonly FormulaStep[]): FormulaLoop | null {
  const until = table.text('until');
  const max = table.integer('max', { min: 1, max: ROUNDS_MAX });
  if (!table.has('max')) table.badValue('max', { message: 'the loop has no limit', fix: 'Add max = 5.' });
  const why = until === null ? null : whyUnreadable(until);
  if (why !== null) {
    table.problems.add({
      code: 'FORMULA_CONDITION',
      at: table.at('until'),
      message: `the condition cannot be read: ${why}`,
      fix: "Write, for example, review.output.approved == true or test.status == 'complete'.",
    });
    return null;
  }
  return until === null || max === null ? null : { kind: 'until', until, max, body, at: table.place };
}
