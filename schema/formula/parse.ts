import { parse as parseToml, TomlError } from 'smol-toml';
import type { Json, JsonObject } from '../json';
import { assembleSteps } from './assemble';
import { checkGraph } from './graph';
import type {
  Advice,
  ConvoyParts,
  Expansion,
  Formula,
  FormulaCheck,
  FormulaGate,
  FormulaStep,
  VariableSpec,
} from './formula';
import { parseDurationMs } from './duration';
import { sourceOf } from './locate';
import { compilePattern } from './pattern';
import { ProblemList, within, type Place, type ProblemCode, type Source } from './problems';
import { isList, isObject, TableReader, type FormulaMode } from './reader';
import type { FormulaProblem, FormulaType } from './recipe';
import { refuseValue } from './variables';

/** Of the text of one formula, in bytes or characters. */
export const FORMULA_SIZE_MAX = 1_000_000;
const DEPTH_MAX = 64;
const FORBIDDEN_KEYS = ['__proto__', 'constructor', 'prototype'];
const TYPES = ['workflow', 'expansion', 'aspect', 'convoy'] as const;
const VARIABLE_TYPES = ['string', 'integer', 'number', 'boolean'] as const;
const VARIABLE_TYPE_ALIASES: Readonly<Record<string, (typeof VARIABLE_TYPES)[number]>> = {
  text: 'string',
  int: 'integer',
  float: 'number',
  bool: 'boolean',
};

const FORMULA_KEYS = (
  'formula name title description version type extends vars steps template compose advice pointcuts phase ' +
  'pour intent metadata author category tags labels squash legs synthesis inputs prompts output presets ' +
  'aspects'
).split(' ');
const STEP_KEYS = (
  'id title description instructions notes design needs depends_on parallel acceptance gate check checks ' +
  'priority type labels tags assignee metadata condition waits_for expand expand_vars children loop ' +
  'on_complete retry timeout interactive agent review_only description_file'
).split(' ');
/** Keys of a step that would change when or how it runs, and that this version cannot honour. */
const STEP_KEYS_UNSUPPORTED = ['condition', 'waits_for', 'on_complete', 'retry', 'timeout', 'description_file'];
/** Hints for other tools, kept for the agent in the step's metadata. */
const STEP_KEYS_CARRIED = ['type', 'interactive', 'agent', 'review_only'];
const COMPOSE_KEYS = ['expand', 'map', 'aspects', 'branch', 'gate', 'bond_points', 'hooks'];
const COMPOSE_KEYS_UNSUPPORTED = ['branch', 'gate', 'bond_points', 'hooks'];
const VARIABLE_KEYS = ['description', 'default', 'required', 'required_unless', 'enum', 'pattern', 'type'];

export interface ParsedFormula {
  /** Null when any problem is an error. */
  readonly formula: Formula | null;
  readonly problems: readonly FormulaProblem[];
}

export interface ParseOptions {
  /** Default: strict. */
  readonly mode?: FormulaMode;
}

/** Reads a formula as it lies in a file: refuses what is too big or not UTF-8 text, then reads it as `parseFormula` does. */
export function decodeFormula(bytes: Uint8Array, file: string, options: ParseOptions = {}): ParsedFormula {
  if (bytes.byteLength > FORMULA_SIZE_MAX) return tooBig(file, bytes.byteLength);
  const text = decodeUtf8(bytes);
  if (text !== null) return parseFormula(text, file, options);
  return refused(sourceOf(file, ''), 'FORMULA_NOT_TEXT', 'the file is not valid UTF-8', 'Save the file as UTF-8 text.');
}

/**
 * Reads a formula; a file name that ends in `.json` means JSON, any other TOML. Reports all that is wrong with it at once,
 * except what only its parents or the values of its variables can show: that is for `compileFormula`.
 */
export function parseFormula(text: string, file: string, options: ParseOptions = {}): ParsedFormula {
  if (text.length > FORMULA_SIZE_MAX) return tooBig(file, text.length);
  const clean = text.replace(/^\uFEFF/, '');
  const source = sourceOf(file, clean);
  const nul = clean.indexOf('\0');
  if (nul !== -1) {
    const at = { ...source, lineOf: () => lineAt(clean, nul) };
    return refused(
      at,
      'FORMULA_NOT_TEXT',
      'the file holds a NUL byte, so it is not text',
      'Save the file as UTF-8 text.',
    );
  }
  const problems = new ProblemList();
  const document = readDocument(clean, source, problems);
  if (document === null) return { formula: null, problems: problems.all };
  const table = new TableReader(document, { source, path: '' }, { problems, mode: options.mode ?? 'strict' });
  const formula = readFormula(table, source);
  if (standsAlone(formula)) {
    const steps = assembleSteps(formula, { resolve: () => null, problems });
    if (steps !== null) checkGraph(steps, problems);
  }
  return { formula: problems.hasErrors() ? null : formula, problems: inOrder(problems.all) };
}

/** Null: not valid UTF-8. */
function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

function tooBig(file: string, size: number): ParsedFormula {
  const message = `the formula has ${size} bytes; at most ${FORMULA_SIZE_MAX} are read`;
  return refused(
    sourceOf(file, ''),
    'FORMULA_TOO_BIG',
    message,
    'Split the formula, or make its steps with loop.count.',
  );
}

function refused(source: Source, code: ProblemCode, message: string, fix: string): ParsedFormula {
  const problems = new ProblemList();
  problems.add({ code, at: { source, path: '' }, message, fix });
  return { formula: null, problems: problems.all };
}

function inOrder(problems: readonly FormulaProblem[]): FormulaProblem[] {
  return problems.toSorted((a, b) => a.line - b.line);
}

/** Nothing of another formula takes part, so that its needs can be checked before it is compiled. */
function standsAlone(formula: Formula): boolean {
  if (formula.type === 'expansion' || formula.type === 'aspect') return false;
  const expands = (step: FormulaStep): boolean =>
    step.expand !== null || step.children.some(expands) || (step.loop?.body.some(expands) ?? false);
  return (
    formula.extends.length + formula.expansions.length + formula.aspects.length === 0 && !formula.steps.some(expands)
  );
}

function readDocument(text: string, source: Source, problems: ProblemList): JsonObject | null {
  let document: unknown;
  try {
    document = source.file.endsWith('.json') ? JSON.parse(text) : parseToml(text);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const line = error instanceof TomlError ? error.line : lineOfJsonError(error, text);
    problems.add({
      code: 'FORMULA_SYNTAX',
      at: { source: { ...source, lineOf: () => line }, path: '' },
      message: (error.message.split('\n')[0] ?? '').replace(/^Invalid TOML document: /, ''),
      fix: `Correct the ${source.file.endsWith('.json') ? 'JSON' : 'TOML'} at this line.`,
    });
    return null;
  }
  const json = toJson(document, { at: { source, path: '' }, depth: 0, problems });
  if (isObject(json)) return json;
  problems.add({
    code: 'FORMULA_SYNTAX',
    at: { source, path: '' },
    message: 'the document is not a table',
    fix: 'Begin with formula = "name".',
  });
  return null;
}

function lineOfJsonError(error: Error, text: string): number {
  const position = /position (\d+)/.exec(error.message)?.[1];
  return lineAt(text, position === undefined ? text.length : Number(position));
}

function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length;
}

/** Plain JSON from what a reader made: dates become text; keys that could reach a prototype are noted and left out. */
function toJson(
  value: unknown,
  where: { readonly at: Place; readonly depth: number; readonly problems: ProblemList },
): Json {
  const { at, depth, problems } = where;
  if (depth > DEPTH_MAX) {
    problems.add({ code: 'FORMULA_TOO_BIG', at, message: `nested deeper than ${DEPTH_MAX}`, fix: 'Make it flatter.' });
    return null;
  }
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) {
    const entryAt = (index: number): Place => ({ source: at.source, path: `${at.path}[${index}]` });
    return value.map((entry: unknown, index) => toJson(entry, { at: entryAt(index), depth: depth + 1, problems }));
  }
  if (typeof value === 'number' && !Number.isFinite(value)) {
    problems.add({ code: 'FORMULA_VALUE', at, message: 'not a finite number', fix: 'Write a finite number.' });
    return null;
  }
  if (typeof value !== 'object' || value === null) return value as Json;
  const fields: [string, Json][] = [];
  for (const [key, part] of Object.entries(value)) {
    const partAt = within(at, key);
    if (FORBIDDEN_KEYS.includes(key)) {
      problems.add({
        code: 'FORMULA_FORBIDDEN_KEY',
        at: partAt,
        message: `the key ${key} is refused`,
        fix: 'Use another name.',
      });
    } else {
      fields.push([key, toJson(part, { at: partAt, depth: depth + 1, problems })]);
    }
  }
  return Object.fromEntries(fields);
}

function readFormula(table: TableReader, source: Source): Formula {
  table.expectKeys(FORMULA_KEYS);
  const convoy = readConvoy(table);
  const type = table.choice('type', TYPES) ?? inferType(table);
  const compose = table.table('compose');
  compose?.expectKeys(COMPOSE_KEYS);
  const formula: Formula = {
    name: readName(table),
    version: table.integer('version', { min: 0, max: 1_000_000 }) || 1,
    type,
    title: table.text('title'),
    description: table.text('description'),
    extends: table.texts('extends'),
    vars: { ...readVariables(table.table('inputs')), ...readVariables(table.table('vars')) },
    steps: table.tables('steps').map((step) => readStep(step)),
    template: table.tables('template').map((step) => readStep(step)),
    advice: table.tables('advice').map(readAdvice),
    expansions: [
      ...(compose?.tables('expand') ?? []).map((entry) => readExpansion(entry, 'target')),
      ...(compose?.tables('map') ?? []).map((entry) => readExpansion(entry, 'select')),
    ],
    aspects: compose?.texts('aspects') ?? [],
    convoy,
    metadata: readMetadata(table),
    unsupported: [
      ...COMPOSE_KEYS_UNSUPPORTED.filter((key) => compose?.has(key)).map((key) => within(table.at('compose'), key)),
      ...['aspects'].filter((key) => table.has(key)).map((key) => table.at(key)),
    ],
    source,
  };
  const own = {
    workflow: formula.steps.length,
    convoy: convoy?.legs.length ?? 0,
    expansion: formula.template.length,
    aspect: 1,
  };
  if (own[type] === 0 && formula.extends.length === 0) {
    const key = { workflow: 'steps', convoy: 'legs', expansion: 'template', aspect: 'advice' }[type];
    table.problems.add({
      code: 'FORMULA_NO_STEPS',
      at: table.at(table.has(key) ? key : 'type'),
      message: `a formula of type ${type} needs at least one entry in ${key}`,
      fix: `Add a [[${key}]] table with an id.`,
    });
  }
  return formula;
}

function inferType(table: TableReader): FormulaType {
  if (table.has('steps')) return 'workflow';
  if (table.has('legs')) return 'convoy';
  if (table.has('template')) return 'expansion';
  return table.has('advice') || table.has('aspects') ? 'aspect' : 'workflow';
}

function readName(table: TableReader): string {
  const key = table.has('formula') ? 'formula' : 'name';
  const name = table.text(key);
  if (name === null && !table.has(key)) {
    table.problems.add({
      code: 'FORMULA_MISSING_NAME',
      at: table.at('formula'),
      message: 'the formula has no name',
      fix: 'Add formula = "name".',
    });
  } else if (name !== null && !isId(name)) {
    table.badValue(key, {
      message: `"${name}" is not a name`,
      fix: 'Use letters, digits, ".", "_" and "-", at most 200.',
    });
  }
  return name ?? '';
}

function readMetadata(table: TableReader): JsonObject {
  const named = ['author', 'category', 'phase', 'intent'].flatMap((key) => {
    const text = table.text(key);
    return text === null ? [] : [[key, text] as const];
  });
  const tags = [...table.texts('labels'), ...table.texts('tags')];
  return { ...Object.fromEntries(named), ...(tags.length === 0 ? {} : { tags }), ...table.object('metadata') };
}

function readVariables(table: TableReader | null): Record<string, VariableSpec> {
  if (table === null) return {};
  return Object.fromEntries(table.keys().map((name) => [name, readVariable(table, name)]));
}

function readVariable(table: TableReader, name: string): VariableSpec {
  if (!/^[A-Za-z_]\w{0,99}$/.test(name)) {
    table.badValue(name, { message: `"${name}" is not a name for a variable`, fix: 'Use letters, digits and "_".' });
  }
  const at = table.at(name);
  const plain = { description: null, required: false, enum: null, pattern: null, type: 'string', at } as const;
  const value = table.value(name);
  if (value === undefined || !isObject(value)) return { ...plain, default: table.scalar(name) };
  const entry = table.table(name);
  if (entry === null) return { ...plain, default: null };
  entry.expectKeys(VARIABLE_KEYS);
  const spec: VariableSpec = {
    description: entry.text('description'),
    default: entry.scalar('default'),
    required: entry.flag('required') ?? false,
    enum: readEnum(entry),
    pattern: readPattern(entry),
    type: readVariableType(entry),
    at,
  };
  if (spec.required && spec.default !== null) {
    table.problems.add({
      code: 'FORMULA_REQUIRED_DEFAULT',
      at: entry.at('required'),
      severity: 'warning',
      message: `${name} is required and has a default, so it is never missing`,
      fix: 'Remove required or default.',
    });
  }
  if (spec.default !== null && spec.default !== '') {
    refuseValue({ name, value: spec.default, spec, at: entry.at('default') }, table.problems);
  }
  return spec;
}

function readEnum(entry: TableReader): readonly string[] | null {
  const value = entry.value('enum');
  if (value === undefined) return null;
  if (isList(value) && value.length > 0 && value.every((option) => option !== null && typeof option !== 'object'))
    return value.map(String);
  entry.badValue('enum', { message: 'enum must be a list of at least one value', fix: 'Write enum = ["one", "two"].' });
  return null;
}

function readPattern(entry: TableReader): string | null {
  const pattern = entry.text('pattern');
  const refusal = pattern === null ? null : compilePattern(pattern);
  if (typeof refusal !== 'string') return pattern;
  entry.problems.add({
    code: 'FORMULA_PATTERN',
    at: entry.at('pattern'),
    message: `the pattern is refused: ${refusal}`,
    fix: 'Write a shorter, plain pattern, such as "^[0-9]+$".',
  });
  return null;
}

function readVariableType(entry: TableReader): VariableSpec['type'] {
  const alias = VARIABLE_TYPE_ALIASES[entry.text('type') ?? ''];
  return alias ?? entry.choice('type', VARIABLE_TYPES) ?? 'string';
}

function readStep(table: TableReader): FormulaStep {
  table.expectKeys(STEP_KEYS);
  const expand = table.text('expand');
  const carried = STEP_KEYS_CARRIED.flatMap((key) => {
    const value = table.value(key);
    return value === undefined ? [] : [[key, value] as const];
  });
  const loop = table.table('loop');
  return {
    id: readId(table),
    title: table.text('title'),
    description: table.text('description'),
    instructions: table.text('instructions'),
    design: table.text('design'),
    notes: table.text('notes'),
    acceptance: table.text('acceptance'),
    needs: [...new Set([...table.texts('needs'), ...table.texts('depends_on')])],
    parallel: table.flag('parallel') ?? true,
    checks: readChecks(table),
    gate: readGate(table.table('gate')),
    priority: table.integer('priority', { min: 0, max: 4 }),
    labels: [...new Set([...table.texts('labels'), ...table.texts('tags')])],
    assignee: table.text('assignee'),
    metadata: { ...Object.fromEntries(carried), ...table.object('metadata') },
    children: table.tables('children').map((child) => readStep(child)),
    expand: expand === null ? null : { with: expand, vars: table.textTable('expand_vars') },
    loop: loop === null ? null : readLoop(loop),
    unsupported: [
      ...STEP_KEYS_UNSUPPORTED.filter((key) => table.has(key)).map((key) => table.at(key)),
      ...['until', 'range'].filter((key) => loop?.has(key)).map((key) => within(table.at('loop'), key)),
      ...unsupportedGate(table),
    ],
    at: table.place,
  };
}

/** An empty id was reported; such a step takes no part in what follows. */
function readId(table: TableReader): string {
  const id = table.text('id');
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
  table.badValue('id', {
    message: `"${id.slice(0, 80)}" is not an id`,
    fix: 'Use letters, digits, ".", "_" and "-", at most 200.',
  });
  return '';
}

function isId(text: string): boolean {
  return /^[A-Za-z0-9._-]{1,200}$/.test(text);
}

function readChecks(table: TableReader): FormulaCheck[] {
  return ['check', 'checks'].flatMap((key) => {
    const value = table.value(key);
    if (value === undefined) return [];
    const entries = isList(value) ? value : [value];
    return entries.flatMap((entry, index) => {
      if (typeof entry === 'string' && entry.trim() !== '') return [{ run: entry, timeout: null }];
      const at = isList(value) ? within(table.place, key, index) : table.at(key);
      const check = isObject(entry) ? readCheck(entry, at, table) : null;
      if (check !== null) return [check];
      const fix = 'Write a command line, or a table with run and timeout.';
      table.problems.add({ code: 'FORMULA_VALUE', at, message: 'the check has no command to run', fix });
      return [];
    });
  });
}

function readCheck(entry: JsonObject, at: Place, parent: TableReader): FormulaCheck | null {
  const table = parent.inner(entry, at);
  table.expectKeys(['run', 'timeout']);
  const run = table.text('run');
  const timeout = readDuration(table, 'timeout');
  if (run !== null && run.trim() !== '') return { run, timeout };
  return null;
}

function readDuration(table: TableReader, key: string): string | null {
  const text = table.text(key);
  if (text !== null && !text.includes('{{') && parseDurationMs(text) === null) {
    table.badValue(key, {
      message: `"${text}" is not a duration`,
      fix: 'Write one such as 90s, 15m or 1h30m, at most 30 days.',
    });
  }
  return text;
}

const GATE_KINDS = ['human', 'timer'];
const GATE_KEYS = ['type', 'kind', 'id', 'await_id', 'timeout', 'duration', 'prompt', 'repo', 'reason', 'approvers'];

function readGate(table: TableReader | null): FormulaGate | null {
  if (table === null) return null;
  table.expectKeys(GATE_KEYS);
  const kind = table.text('type') ?? table.text('kind');
  const prompt = table.text('prompt') ?? table.text('reason');
  const timeout = readDuration(table, 'timeout');
  const duration = readDuration(table, 'duration') ?? timeout;
  if (kind === 'human') return { kind, prompt, timeout };
  if (kind === 'timer' && duration !== null) return { kind, duration };
  if (kind === 'timer')
    table.badValue('type', { message: 'a timer gate needs a duration', fix: 'Add duration = "30m".' });
  if (kind === null)
    table.badValue('type', { message: 'the gate has no type', fix: 'Add type = "human" or type = "timer".' });
  return null;
}

function unsupportedGate(step: TableReader): Place[] {
  const gate = step.value('gate');
  if (gate === undefined || !isObject(gate)) return [];
  const kind = gate['type'] ?? gate['kind'];
  return typeof kind === 'string' && !GATE_KINDS.includes(kind)
    ? [within(step.at('gate'), gate['type'] === undefined ? 'kind' : 'type')]
    : [];
}

function readLoop(table: TableReader): FormulaStep['loop'] {
  table.expectKeys(['count', 'until', 'range', 'var', 'max', 'body']);
  const body = table.tables('body').map((step) => readStep(step));
  if (body.length === 0)
    table.badValue('body', { message: 'the loop has no body', fix: 'Add at least one step to body.' });
  const count = table.integer('count', { min: 1, max: 5_000 });
  if (count === null && !['count', 'until', 'range'].some((key) => table.has(key))) {
    table.badValue('count', { message: 'the loop has no count', fix: 'Add count = 3.' });
  }
  return { count: count ?? 1, body };
}

function readAdvice(table: TableReader): Advice {
  table.expectKeys(['target', 'before', 'after', 'around']);
  const around = table.table('around');
  around?.expectKeys(['before', 'after']);
  const target = table.text('target');
  if (target === null)
    table.badValue('target', { message: 'the advice has no target', fix: 'Add target = "step-id" or a glob.' });
  return {
    target: target ?? '',
    before: [...readAdviceSteps(table, 'before'), ...(around === null ? [] : readAdviceSteps(around, 'before'))],
    after: [...(around === null ? [] : readAdviceSteps(around, 'after')), ...readAdviceSteps(table, 'after')],
    at: table.place,
  };
}

/** One step or a list of them. */
function readAdviceSteps(table: TableReader, key: string): FormulaStep[] {
  const value = table.value(key);
  if (value === undefined) return [];
  if (!isObject(value)) return table.tables(key).map((step) => readStep(step));
  const step = table.table(key);
  return step === null ? [] : [readStep(step)];
}

function readExpansion(table: TableReader, targetKey: 'target' | 'select'): Expansion {
  table.expectKeys([targetKey, 'with', 'vars']);
  for (const key of [targetKey, 'with']) {
    if (!table.has(key)) table.badValue(key, { message: `${key} is missing`, fix: `Add ${key} = "…".` });
  }
  const target = table.text(targetKey) ?? '';
  return {
    target,
    many: targetKey === 'select',
    with: table.text('with') ?? '',
    vars: table.textTable('vars'),
    at: table.place,
  };
}

function readConvoy(table: TableReader): ConvoyParts | null {
  if (!table.has('legs')) return null;
  const synthesis = table.table('synthesis');
  synthesis?.expectKeys(['title', 'description', 'depends_on', 'needs']);
  const prompts = table.table('prompts');
  return {
    legs: table.tables('legs').map((leg) => {
      leg.expectKeys(['id', 'title', 'focus', 'description', 'agent', 'review_only']);
      const carried = ['focus', 'agent', 'review_only'].flatMap((key) => {
        const value = leg.value(key);
        return value === undefined ? [] : [[key, value] as const];
      });
      return {
        id: readId(leg),
        title: leg.text('title'),
        focus: leg.text('focus'),
        description: leg.text('description'),
        metadata: Object.fromEntries(carried),
        at: leg.place,
      };
    }),
    synthesis:
      synthesis === null
        ? null
        : {
            title: synthesis.text('title'),
            description: synthesis.text('description'),
            needs: [...new Set([...synthesis.texts('needs'), ...synthesis.texts('depends_on')])],
            at: synthesis.place,
          },
    prompt: prompts?.text('base') ?? null,
    output: table.textTable('output'),
  };
}
