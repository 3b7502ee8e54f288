import type { Formula, VariableSpec } from './formula';
import type { Work } from './budget';
import { compilePattern, PATTERN_VALUE_MAX } from './pattern';
import { choices, type Place, type ProblemCode, type ProblemList } from './problems';
import type { FormulaMode } from './reader';

/** A variable as lists show it. */
export interface FormulaVariable {
  readonly name: string;
  readonly description: string | null;
  readonly default: string | null;
  readonly required: boolean;
  readonly enum: readonly string[] | null;
  readonly pattern: string | null;
  readonly type: VariableSpec['type'];
}

/** The variables a formula declares itself, in the order of the file; those of its parents are not among them. */
export function formulaVariables(formula: Formula): FormulaVariable[] {
  return Object.entries(formula.vars).map(([name, { at: _at, ...spec }]) => ({ name, ...spec }));
}

/** In characters, of the value of one variable. */
const VALUE_MAX = 32_000;
export const PLACEHOLDER = /\{\{\s*([A-Za-z_]\w*)\s*\}\}/g;

/** Puts values in place of `{{name}}`. A name without a value is left as it stands: it is documentation. */
export function substitute(text: string, values: ReadonlyMap<string, string>, work: Work): string {
  return work.fill(text, PLACEHOLDER, values);
}

/** The names that stand in a text as `{{name}}`. */
export function namesIn(text: string): string[] {
  return [...text.matchAll(/(?<=\{\{\s*)[A-Za-z_]\w*(?=\s*\}\})/g)].map(([name]) => name);
}

interface Binding {
  readonly given: Readonly<Record<string, string>>;
  readonly mode: FormulaMode;
}

/** The value of every variable that has one: given, or by default. Notes each unknown or unfit value. */
export function bindVariables(formula: Formula, { given, mode }: Binding, problems: ProblemList): Map<string, string> {
  const values = new Map<string, string>();
  for (const name of Object.keys(given)) {
    if (Object.hasOwn(formula.vars, name)) continue;
    noteUnknownVariable(formula, { name, at: { source: formula.source, path: 'vars' }, mode }, problems);
  }
  for (const [name, spec] of Object.entries(formula.vars)) {
    const value = Object.hasOwn(given, name) ? given[name] : undefined;
    if (value !== undefined && (value !== '' || !spec.required)) {
      values.set(name, value);
      refuseValue({ name, value, spec, at: spec.at }, problems);
    } else if (spec.default !== null) {
      values.set(name, spec.default);
    }
  }
  return values;
}

/** Notes each variable without a value that is required, or whose name stands in the formula. */
export function refuseMissing(
  formula: Formula,
  { values, used }: { readonly values: ReadonlyMap<string, string>; readonly used: ReadonlySet<string> },
  problems: ProblemList,
): void {
  for (const [name, spec] of Object.entries(formula.vars)) {
    if (values.has(name)) continue;
    const alternatives = spec.requiredUnless.filter((other) => (values.get(other) ?? '') !== '');
    const needed = spec.requiredUnless.length > 0 && alternatives.length === 0;
    if (!spec.required && !needed && (!used.has(name) || spec.requiredUnless.length > 0)) continue;
    const about = spec.description === null ? '' : ` (${spec.description})`;
    const unless = needed ? `, and neither has ${spec.requiredUnless.join(' or ')}` : '';
    problems.add({
      code: 'FORMULA_MISSING_VARIABLE',
      at: spec.at,
      message: `the variable ${name}${about} has no value${unless}`,
      fix: `Give it: --var ${name}=….`,
    });
  }
}

/** Notes a value for a variable that the formula does not declare; a warning in compatible mode. */
export function noteUnknownVariable(
  formula: Formula,
  given: { readonly name: string; readonly at: Place; readonly mode: FormulaMode },
  problems: ProblemList,
): void {
  problems.add({
    code: 'FORMULA_UNKNOWN_VARIABLE',
    at: given.at,
    severity: given.mode === 'strict' ? 'error' : 'warning',
    message: `${formula.name} has no variable ${given.name}`,
    fix: `Use one of: ${choices(Object.keys(formula.vars))}.`,
  });
}

/** Notes that a formula which another one uses lacks a value there. */
export function noteMissingVariable(
  formula: Formula,
  missing: { readonly name: string; readonly at: Place },
  problems: ProblemList,
): void {
  problems.add({
    code: 'FORMULA_MISSING_VARIABLE',
    at: missing.at,
    message: `the variable ${missing.name} of ${formula.name} has no value here`,
    fix: `Give it in vars: ${missing.name} = "…".`,
  });
}

const TYPE_PATTERNS: Readonly<Record<VariableSpec['type'], RegExp>> = {
  string: /^/,
  integer: /^-?\d{1,15}$/,
  number: /^-?\d{1,15}(?:\.\d{1,15})?$/,
  boolean: /^(?:true|false)$/,
};

interface Value {
  readonly name: string;
  readonly value: string;
  readonly spec: Pick<VariableSpec, 'enum' | 'pattern' | 'type'>;
  readonly at: Place;
  /** Default: error. */
  readonly severity?: 'error' | 'warning';
}

/** Notes every rule of its variable that a value breaks. */
export function refuseValue({ name, value, spec, at, severity = 'error' }: Value, problems: ProblemList): void {
  const shown = value.length > 60 ? `${value.slice(0, 60)}…` : value;
  const refuse = (code: ProblemCode, message: string, fix: string): void =>
    problems.add({ code, at, message, fix, severity });
  if (value.length > VALUE_MAX) {
    refuse('FORMULA_TOO_BIG', `the value of ${name} has ${value.length} characters`, `Use at most ${VALUE_MAX}.`);
  }
  if (!TYPE_PATTERNS[spec.type].test(value)) {
    refuse(
      'FORMULA_VARIABLE_TYPE',
      `${name} must be of type ${spec.type}, not "${shown}"`,
      `Give a value of type ${spec.type}.`,
    );
  }
  if (spec.enum !== null && !spec.enum.includes(value)) {
    refuse('FORMULA_ENUM', `${name} cannot be "${shown}"`, `Use one of: ${choices(spec.enum)}.`);
  }
  if (spec.pattern === null) return;
  const pattern = compilePattern(spec.pattern);
  if (value.length > PATTERN_VALUE_MAX) {
    refuse(
      'FORMULA_PATTERN',
      `the value of ${name} is too long for its pattern`,
      `Use at most ${PATTERN_VALUE_MAX} characters.`,
    );
  } else if (typeof pattern !== 'string' && !pattern(value)) {
    refuse(
      'FORMULA_PATTERN',
      `${name} = "${shown}" does not match ${spec.pattern}`,
      'Give a value that matches the pattern.',
    );
  }
}
