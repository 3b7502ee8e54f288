import { canonicalJson } from '../canonical';
import type { JsonObject } from '../json';
import { assembleSteps, joinParents, STEPS_MAX } from './assemble';
import { parseDurationMs } from './duration';
import { mapTexts, type Formula, type FormulaGate, type FormulaStep } from './formula';
import { checkGraph } from './graph';
import { ProblemList, within, type Place } from './problems';
import type { FormulaMode } from './reader';
import type { GateSpec } from './flow';
import type { FormulaProblem, Recipe, RecipeStep, StepCheck } from './recipe';
import { bindVariables, namesIn, substitute } from './variables';

export interface CompileOptions {
  readonly vars: Readonly<Record<string, string>>;
  /** sha256 in hex; handed in, since this folder knows no platform. */
  readonly digestOf: (text: string) => string;
  /** A formula by name, already parsed; null when there is none or it is not valid. */
  readonly resolve: (name: string) => Formula | null;
  readonly limits?: Partial<CompileLimits>;
  /** Default: strict. Compatible: a given variable that is not declared is a warning. */
  readonly mode?: FormulaMode;
}

export interface CompileLimits {
  readonly steps: number;
  /** Characters of the recipe's JSON. It lies in the ledger, never in a history, so it may be larger than a payload. */
  readonly recipeSize: number;
}

export interface CompiledFormula {
  /** Null when any problem is an error. */
  readonly recipe: Recipe | null;
  readonly problems: readonly FormulaProblem[];
}

const LIMITS: CompileLimits = { steps: STEPS_MAX, recipeSize: 4_000_000 };
const CHECK_TIMEOUT = '10m';

/** Joins a formula with its parents, fills in variables and checks the result. Reports all problems at once; the same input gives the same digest. */
export function compileFormula(formula: Formula, options: CompileOptions): CompiledFormula {
  const problems = new ProblemList();
  const limits = { ...LIMITS, ...options.limits };
  const assembling = { resolve: options.resolve, problems, stepsMax: limits.steps };
  const whole = joinParents(formula, assembling);
  refuseUnrunnable(whole, problems);
  const steps = assembleSteps(whole, assembling) ?? [];
  refuseUnsupported([...whole.unsupported, ...steps.flatMap((step) => step.unsupported)], problems);
  refuseBadIds(steps, problems);
  const ordered = checkGraph(steps, problems);

  const used = usedNames(whole, steps);
  const values = bindVariables(whole, { given: options.vars, used, mode: options.mode ?? 'strict' }, problems);
  const fill = boundedFill(values, limits.recipeSize);
  const recipeSteps = ordered.map((step) => toRecipeStep(mapTexts(step, fill.text), problems));
  const body: Omit<Recipe, 'digest'> = {
    schema: 1,
    formula: whole.name,
    version: whole.version,
    type: whole.type,
    title: fill.text(whole.title ?? values.get('title') ?? whole.name),
    description: fill.text(whole.description ?? ''),
    vars: Object.fromEntries(values),
    steps: recipeSteps,
  };
  const canonical = fill.overflowed() ? null : canonicalJson(body as unknown as JsonObject); // a Recipe is plain JSON; interfaces have no index
  if (canonical === null || canonical.length > limits.recipeSize) {
    const message = `the compiled formula is larger than ${limits.recipeSize} characters`;
    problems.add({
      code: 'FORMULA_TOO_BIG',
      at: { source: whole.source, path: 'steps' },
      message,
      fix: 'Shorten its texts or split it.',
    });
  }
  const recipe = problems.hasErrors() || canonical === null ? null : { ...body, digest: options.digestOf(canonical) };
  return { recipe, problems: problems.all };
}

function refuseUnrunnable(formula: Formula, problems: ProblemList): void {
  const at = { source: formula.source, path: 'type' };
  if (formula.type === 'expansion' || formula.type === 'aspect') {
    const message = `${formula.name} is of type ${formula.type}: it is a part for other formulas and cannot run alone`;
    problems.add({
      code: 'FORMULA_NOT_SUPPORTED',
      at,
      message,
      fix: 'Name it in the compose table of a formula of type workflow.',
    });
  } else if (formula.steps.length === 0 && formula.convoy === null) {
    const message = 'neither the formula nor its parents have a step';
    problems.add({ code: 'FORMULA_NO_STEPS', at, message, fix: 'Add a [[steps]] table.' });
  }
}

/** Each place once, however many steps were made from it. */
function refuseUnsupported(places: readonly Place[], problems: ProblemList): void {
  const seen = new Map(places.map((at) => [`${at.source.file} ${at.path}`, at]));
  for (const at of seen.values()) {
    problems.add({
      code: 'FORMULA_NOT_SUPPORTED',
      at,
      message: `${at.path} cannot be run by this version`,
      fix: 'Remove it, or write the order out with steps and needs.',
    });
  }
}

/** Ids made from macros may have become too long or odd. */
function refuseBadIds(steps: readonly FormulaStep[], problems: ProblemList): void {
  for (const step of steps) {
    if (/^[A-Za-z0-9._-]{1,200}$/.test(step.id)) continue;
    problems.add({
      code: 'FORMULA_VALUE',
      at: within(step.at, 'id'),
      message: `"${step.id.slice(0, 80)}" is not an id`,
      fix: 'Use letters, digits, ".", "_" and "-", at most 200.',
    });
  }
}

function usedNames(formula: Formula, steps: readonly FormulaStep[]): ReadonlySet<string> {
  const used = new Set(namesIn(`${formula.title ?? ''} ${formula.description ?? ''}`));
  for (const step of steps) {
    mapTexts(step, (text) => {
      if (text.includes('{{')) for (const name of namesIn(text)) used.add(name);
      return text;
    });
  }
  return used;
}

/** A long value in a thousand places would fill the memory before its size could be measured. */
function boundedFill(
  values: ReadonlyMap<string, string>,
  sizeMax: number,
): { readonly text: (text: string) => string; readonly overflowed: () => boolean } {
  const longest = Math.max(0, ...[...values.values()].map((value) => value.length));
  let size = 0;
  return {
    text(text) {
      if (!text.includes('{{')) return text;
      const placeholders = text.split('{{').length - 1;
      if (size > sizeMax || placeholders * longest > 100 * sizeMax) {
        size = sizeMax + 1;
        return text;
      }
      const filled = substitute(text, values);
      size += filled.length;
      return filled;
    },
    overflowed: () => size > sizeMax,
  };
}

function toRecipeStep(step: FormulaStep, problems: ProblemList): RecipeStep {
  return {
    id: step.id,
    title: step.title ?? step.id,
    instructions: instructionsOf(step),
    acceptance: step.acceptance,
    checks: step.checks.map((check): StepCheck => {
      const timeoutMs = durationMs(check.timeout ?? CHECK_TIMEOUT, within(step.at, 'checks'), problems);
      return { run: check.run, timeoutMs };
    }),
    needs: step.needs,
    parallel: step.parallel,
    gate: step.gate === null ? null : toGate(step.gate, step, problems),
    priority: step.priority,
    labels: step.labels,
    metadata: step.metadata,
    assignee: step.assignee === '' ? null : step.assignee,
  };
}

function instructionsOf({ description, instructions, design, notes }: FormulaStep): string {
  const parts = [description, instructions, design && `Design:\n${design}`, notes && `Notes:\n${notes}`];
  return parts.filter((part) => part !== null && part !== '').join('\n\n');
}

function toGate(gate: FormulaGate, step: FormulaStep, problems: ProblemList): GateSpec {
  const at = within(step.at, 'gate');
  if (gate.kind === 'timer') return { kind: 'timer', durationMs: durationMs(gate.duration, at, problems) };
  const timeoutMs = gate.timeout === null ? null : durationMs(gate.timeout, at, problems);
  return { kind: 'human', prompt: gate.prompt ?? step.title ?? step.id, timeoutMs };
}

function durationMs(text: string, at: Place, problems: ProblemList): number {
  const found = parseDurationMs(text);
  if (found !== null) return found;
  const fix = 'Write one such as 90s, 15m or 1h30m, at most 30 days.';
  problems.add({ code: 'FORMULA_VALUE', at, message: `"${text}" is not a duration`, fix });
  return 0;
}
