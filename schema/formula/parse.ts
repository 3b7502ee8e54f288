import { isList, isObject, type JsonObject } from '../json';
import { assembleSteps } from './assemble';
import { Work } from './budget';
import { decodeDocument, openDocument, type FormulaDocument } from './document';
import { PRESET } from './convoy';
import type { ConvoyParts, Formula, FormulaStep, VariableSpec } from './formula';
import { checkGraph } from './graph';
import { compilePattern } from './pattern';
import type { Source } from './problems';
import { readAdvice, readCompose, readConvoy, readPointcuts } from './read-parts';
import { carriedKeys, isId, isVariableName, readStep } from './read-step';
import { TableReader, type FormulaMode } from './reader';
import type { FormulaPhase, FormulaProblem, FormulaType, SquashHint } from './recipe';
import { settleWaits } from './settle';
import { refuseValue } from './variables';

export { FORMULA_SIZE_MAX } from './document';

const TYPES = ['workflow', 'expansion', 'aspect', 'convoy'] as const;
const DIALECTS = ['steeltown', 'beads', 'gastown', 'gascity'] as const;
const VARIABLE_TYPES = ['string', 'integer', 'number', 'boolean'] as const;
const VARIABLE_TYPE_ALIASES: Readonly<Record<string, (typeof VARIABLE_TYPES)[number]>> = {
  text: 'string',
  int: 'integer',
  float: 'number',
  bool: 'boolean',
};

const FORMULA_KEYS = (
  'formula name title description version type dialect extends vars steps template compose advice pointcuts phase ' +
  'pour intent metadata author category tags labels squash legs synthesis inputs prompts output presets aspects'
).split(' ');
/** Keys that only files of other tools have: they are kept for lists, and show that the file is to be read as theirs. */
const FOREIGN_KEYS = ['contract', 'requires', 'catalog', 'target_required', 'internal', 'agent', 'review_only'];
const FOREIGN_SIGNS = [...FOREIGN_KEYS, 'squash', 'pour', 'phase'];
const VARIABLE_KEYS = ['description', 'default', 'required', 'required_unless', 'enum', 'pattern', 'type'];

export interface ParsedFormula {
  /** Null when any problem is an error. */
  readonly formula: Formula | null;
  readonly problems: readonly FormulaProblem[];
}

export interface ParseOptions {
  /** Absent: what the file says with `dialect`, or shows by keys that only other tools have; else strict. */
  readonly mode?: FormulaMode;
}

/** Reads a formula as it lies in a file: refuses what is too big or not UTF-8 text, then reads it as `parseFormula` does. */
export function decodeFormula(bytes: Uint8Array, file: string, options: ParseOptions = {}): ParsedFormula {
  return parseDocument(decodeDocument(bytes, file), options);
}

/**
 * Reads a formula; a file name that ends in `.json` means JSON, any other TOML. Reports all that is wrong with it at once,
 * except what only its parents or the values of its variables can show: that is for `compileFormula`.
 */
export function parseFormula(text: string, file: string, options: ParseOptions = {}): ParsedFormula {
  return parseDocument(openDocument(text, file), options);
}

function parseDocument({ table: document, source, problems }: FormulaDocument, options: ParseOptions): ParsedFormula {
  if (document === null) return { formula: null, problems: problems.all };
  const mode = modeOf(document, options.mode);
  const table = new TableReader(document, { source, path: '' }, { problems, mode });
  const formula = readFormula(table, source);
  if (standsAlone(formula)) {
    const steps = assembleSteps(formula, { resolve: () => null, problems, values: null, work: new Work() });
    if (steps !== null) checkGraph(settleWaits(steps, problems), problems);
  }
  return { formula: problems.hasErrors() ? null : formula, problems: inOrder(problems.all) };
}

/** What the file says of itself comes before where it lies. */
function modeOf(document: JsonObject, wanted: FormulaMode | undefined): FormulaMode {
  const { dialect } = document;
  if (dialect !== undefined) return dialect === 'steeltown' ? 'strict' : 'compatible';
  return wanted ?? (FOREIGN_SIGNS.some((key) => Object.hasOwn(document, key)) ? 'compatible' : 'strict');
}

function inOrder(problems: readonly FormulaProblem[]): FormulaProblem[] {
  return problems.toSorted((a, b) => a.line - b.line);
}

/** Nothing of another formula takes part, so that its needs can be checked before it is compiled. */
function standsAlone(formula: Formula): boolean {
  if (formula.type === 'expansion' || formula.type === 'aspect') return false;
  const expands = (step: FormulaStep): boolean =>
    step.expand !== null || step.children.some(expands) || (step.loop?.body.some(expands) ?? false);
  const others = [formula.extends, formula.expansions, formula.aspects, formula.hooks];
  return others.every((list) => list.length === 0) && !formula.steps.some(expands);
}

function readFormula(table: TableReader, source: Source): Formula {
  table.expectKeys([...FORMULA_KEYS, ...(table.mode === 'strict' ? [] : FOREIGN_KEYS)]);
  const convoy = readConvoy(table);
  const type = table.choice('type', TYPES) ?? inferType(table);
  const formula: Formula = {
    name: readName(table),
    version: table.integer('version', { min: 0, max: 1_000_000 }) || 1,
    type,
    title: table.text('title'),
    description: table.prose('description'),
    extends: [...new Set(table.texts('extends'))],
    vars: { ...presetVariable(convoy), ...readVariables(table.table('inputs')), ...readVariables(table.table('vars')) },
    steps: table.tables('steps').map((step) => readStep(step)),
    template: table.tables('template').map((step) => readStep(step)),
    advice: readAdvice(table, readPointcuts(table)),
    ...readCompose(table.table('compose')),
    convoy,
    metadata: readMetadata(table),
    labels: [...table.texts('labels'), ...table.texts('tags')],
    phase: readPhase(table),
    pour: table.flag('pour'),
    squash: readSquash(table.table('squash')),
    dialect: table.choice('dialect', DIALECTS) ?? table.text('dialect'),
    mode: table.mode,
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

function readPhase(table: TableReader): FormulaPhase | null {
  return table.choice('phase', ['liquid', 'vapor']);
}

function readSquash(table: TableReader | null): SquashHint | null {
  if (table === null) return null;
  table.expectKeys(['trigger', 'template_type', 'include_metrics']);
  return {
    trigger: table.text('trigger'),
    template: table.text('template_type'),
    metrics: table.flag('include_metrics') ?? false,
  };
}

function inferType(table: TableReader): FormulaType {
  if (table.has('steps')) return 'workflow';
  if (['legs', 'synthesis', 'presets'].some((key) => table.has(key))) return 'convoy';
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
  return {
    ...Object.fromEntries(named),
    ...(tags.length === 0 ? {} : { tags }),
    ...carriedKeys(table, FOREIGN_KEYS),
    ...table.object('metadata'),
  };
}

function readVariables(table: TableReader | null): Record<string, VariableSpec> {
  if (table === null) return {};
  return Object.fromEntries(table.keys().map((name) => [name, readVariable(table, name)]));
}

function readVariable(table: TableReader, name: string): VariableSpec {
  if (!isVariableName(name)) {
    table.oddValue(name, { message: `"${name}" is not a name for a variable`, fix: 'Use letters, digits and "_".' });
  }
  const at = table.at(name);
  const plain = {
    description: null,
    required: false,
    requiredUnless: [],
    enum: null,
    pattern: null,
    type: 'string',
    at,
  } as const;
  const value = table.value(name);
  if (value === undefined || !isObject(value)) return { ...plain, default: table.scalar(name) };
  const entry = table.inner(value, at);
  entry.expectKeys(VARIABLE_KEYS);
  const spec: VariableSpec = {
    description: entry.text('description'),
    default: entry.scalar('default'),
    required: entry.flag('required') ?? false,
    requiredUnless: entry.texts('required_unless'),
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
    refuseValue(
      { name, value: spec.default, spec, at: entry.at('default'), severity: table.severity() },
      table.problems,
    );
  }
  return spec;
}

/** A convoy with presets is poured whole unless this variable chooses one. */
function presetVariable(convoy: ConvoyParts | null): Record<string, VariableSpec> {
  const names = Object.keys(convoy?.presets ?? {});
  const at = convoy?.presets[names[0] ?? '']?.at;
  if (at === undefined) return {};
  const description = 'Which of the presets: some of the legs';
  const open = { default: null, required: false, requiredUnless: [], pattern: null, type: 'string' } as const;
  return { [PRESET]: { ...open, description, enum: names, at } };
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
  entry.oddValue('pattern', {
    code: 'FORMULA_PATTERN',
    message: `the pattern is refused: ${refusal}`,
    fix: 'Write a shorter, plain pattern, such as "^[0-9]+$".',
  });
  return null;
}

function readVariableType(entry: TableReader): VariableSpec['type'] {
  const alias = VARIABLE_TYPE_ALIASES[entry.text('type') ?? ''];
  return alias ?? entry.choice('type', VARIABLE_TYPES) ?? 'string';
}
