import { canonicalJson } from '../canonical';
import type { JsonObject } from '../json';
import { assembleSteps, EXPANSION_DEPTH_MAX, joinParents, noteMissing, STEPS_MAX, type ReadText } from './assemble';
import { stepsOf } from './condition';
import { parseDurationMs } from './duration';
import type { FanOut, GateSpec, RunCondition, StepFlow } from './flow';
import {
  mapTexts,
  mapWhole,
  type Formula,
  type FormulaFanOut,
  type FormulaGate,
  type FormulaRetry,
  type FormulaStep,
  type WrittenCondition,
} from './formula';
import { checkList } from './graph';
import type { Overlay } from './overlay';
import { ProblemList, within, type Place } from './problems';
import type { FormulaMode } from './reader';
import type { FormulaProblem, Recipe, RecipeStep, StepCheck } from './recipe';
import { lastStepOf, readWritten, settleSteps, type Settled } from './settle';
import { fillMacros } from './step-list';
import { bindVariables, namesIn, refuseMissing, substitute } from './variables';
import type { Traits } from './weave';

export interface CompileOptions {
  readonly vars: Readonly<Record<string, string>>;
  /** sha256 in hex; handed in, since this folder knows no platform. */
  readonly digestOf: (text: string) => string;
  /** A formula by name, already parsed; null when there is none or it is not valid. */
  readonly resolve: (name: string) => Formula | null;
  readonly limits?: Partial<CompileLimits>;
  /** Absent: as the formula was read. Compatible: a given variable that is not declared is a warning. */
  readonly mode?: FormulaMode;
  /** What the rig or town changes about a formula; null: nothing. */
  readonly overlay?: (name: string) => Overlay | null;
  /** For `description_file`; absent: no file can be had. */
  readonly readText?: ReadText;
  /** Of the task it is poured for, for hooks. */
  readonly traits?: Traits;
  /** Leaves variables that are not given open: none is missing, their names stay in the texts, and conditions about them are not
   *  decided. Such a recipe shows what a formula makes; it is not to be poured. */
  readonly open?: boolean;
}

export interface CompileLimits {
  /** Of the recipe, its groups included. */
  readonly steps: number;
  /** Characters of the recipe's JSON. It lies in the ledger, never in a history, so it may be larger than a payload. */
  readonly recipeSize: number;
}

export interface CompiledFormula {
  /** Null when any problem is an error. */
  readonly recipe: Recipe | null;
  readonly problems: readonly FormulaProblem[];
}

/** Characters. */
export const RECIPE_SIZE_MAX = 4_000_000;
const LIMITS: CompileLimits = { steps: STEPS_MAX, recipeSize: RECIPE_SIZE_MAX };
const CHECK_TIMEOUT = '10m';
/** Names by which the item formulas of other tools know the member of a convoy that they are done for. */
const MEMBER_NAMES = ['convoy_id', 'bead_id', 'issue', 'task'];

/** Joins a formula with its parents, fills in variables and checks the result. Reports all problems at once; the same input gives the same digest. */
export function compileFormula(formula: Formula, options: CompileOptions): CompiledFormula {
  const problems = new ProblemList();
  const compilation = new Compilation({ ...options, limits: { ...LIMITS, ...options.limits } }, problems);
  const recipe = compilation.recipeOf(formula);
  return { recipe: problems.hasErrors() ? null : recipe, problems: withoutEchoes(problems.all) };
}

const ECHOES = ['FORMULA_UNKNOWN_NEED', 'FORMULA_UNKNOWN_STEP', 'FORMULA_UNKNOWN_VARIABLE', 'FORMULA_NO_STEPS'];

/** Where a parent is missing, so are its steps and variables: that they are named says nothing new. */
function withoutEchoes(problems: readonly FormulaProblem[]): readonly FormulaProblem[] {
  const missing = new Set(
    problems.flatMap(({ code, path, file }) =>
      code === 'FORMULA_UNKNOWN_FORMULA' && path === 'extends' ? [file] : [],
    ),
  );
  return problems.filter(({ code, file }) => !ECHOES.includes(code) || !missing.has(file));
}

/** One list of steps on its way into the recipe. */
interface Scope {
  readonly values: ReadonlyMap<string, string>;
  /** Variables that are filled in while the molecule runs. */
  readonly later: ReadonlySet<string>;
  /** Steps of the lists around this one, which conditions may ask about. */
  readonly around: ReadonlySet<string>;
  /** Names of variables that stand in what is left of the formula. */
  readonly used: Set<string>;
  readonly group: string;
  /** How many formulas lie around this one. */
  readonly depth: number;
}

type Settings = CompileOptions & { readonly limits: CompileLimits };

type UntilLoop = Exclude<StepFlow['loop'], undefined>;

class Compilation {
  readonly #options: Settings;
  readonly #problems: ProblemList;
  readonly #groups = new Map<string, readonly RecipeStep[]>();
  /** Characters that filling in has made so far, in all texts. */
  #size = 0;
  #steps = 0;

  constructor(options: Settings, problems: ProblemList) {
    this.#options = options;
    this.#problems = problems;
  }

  recipeOf(formula: Formula): Recipe | null {
    const { limits, vars, mode = formula.mode, open = false } = this.#options;
    const whole = joinParents(formula, this.#assembling());
    const bound = bindVariables(whole, { given: vars, mode }, this.#problems);
    const values = open ? new Map(Object.entries(vars)) : bound;
    this.#refuseEmpty(whole);
    const assembled = assembleSteps(whole, { ...this.#assembling(), values: open ? null : values }) ?? [];
    const used = new Set(namesIn(`${whole.title ?? ''} ${whole.description ?? ''}`));
    const later = new Set(open ? Object.keys(whole.vars).filter((name) => !values.has(name)) : []);
    const scope: Scope = { values, later, around: new Set(), used, group: '', depth: 0 };
    const steps = this.#list(assembled, scope);
    if (!open) refuseMissing(whole, { values, used }, this.#problems);
    if (steps.length === 0 && !this.#problems.hasErrors()) this.#refuseNone(whole);
    const body: Omit<Recipe, 'digest'> = {
      schema: 1,
      formula: whole.name,
      version: whole.version,
      type: whole.type,
      title: this.#fill(whole.title ?? values.get('title') ?? whole.name, values),
      description: this.#fill(whole.description ?? '', values),
      vars: Object.fromEntries(values),
      steps,
      ...(this.#groups.size === 0 ? {} : { groups: Object.fromEntries(this.#groups) }),
      ...(whole.phase === null ? {} : { phase: whole.phase }),
      ...(whole.pour === null ? {} : { pour: whole.pour }),
      ...(whole.squash === null ? {} : { squash: whole.squash }),
    };
    // A Recipe is plain JSON; interfaces have no index.
    const canonical = this.#size > limits.recipeSize ? null : canonicalJson(body as unknown as JsonObject);
    if (canonical !== null && canonical.length <= limits.recipeSize) {
      return this.#problems.hasErrors() ? null : { ...body, digest: this.#options.digestOf(canonical) };
    }
    this.#problems.add({
      code: 'FORMULA_TOO_BIG',
      at: { source: whole.source, path: 'steps' },
      message: `the compiled formula is larger than ${limits.recipeSize} characters`,
      fix: 'Shorten its texts or split it.',
    });
    return null;
  }

  #assembling(): Parameters<typeof joinParents>[1] & { readonly stepsMax: number } {
    const { resolve, overlay, readText, traits, limits } = this.#options;
    return {
      resolve,
      problems: this.#problems,
      stepsMax: limits.steps,
      ...(overlay === undefined ? {} : { overlay }),
      ...(readText === undefined ? {} : { readText }),
      ...(traits === undefined ? {} : { traits }),
    };
  }

  #settling(scope: Scope): Parameters<typeof settleSteps>[1] {
    return { ...scope, problems: this.#problems, undecided: this.#options.open === true };
  }

  #refuseEmpty(formula: Formula): void {
    const at = { source: formula.source, path: 'type' };
    const { steps, template, advice, convoy, type } = formula;
    if (steps.length > 0 || convoy !== null) return;
    if ((type === 'expansion' && template.length > 0) || (type === 'aspect' && advice.length > 0)) {
      const message = `${formula.name} is a part for other formulas; by itself it stands around or in place of a step without work`;
      const fix = 'Name it in the compose table of a formula of type workflow.';
      this.#problems.add({ code: 'FORMULA_PART', severity: 'warning', at, message, fix });
    } else {
      const message = 'neither the formula nor its parents have a step';
      this.#problems.add({ code: 'FORMULA_NO_STEPS', at, message, fix: 'Add a [[steps]] table.' });
    }
  }

  #refuseNone(formula: Formula): void {
    this.#problems.add({
      code: 'FORMULA_NO_STEPS',
      at: { source: formula.source, path: 'steps' },
      message: 'with these values no step is left',
      fix: 'Give other values, or a step without condition.',
    });
  }

  /** A list of steps, ordered and complete; groups of steps within it are noted on the way. */
  #list(assembled: readonly FormulaStep[], scope: Scope): RecipeStep[] {
    const settled = settleSteps(assembled, this.#settling(scope));
    const known = new Set(assembled.map((step) => step.id));
    const ordered = checkList(this.#needAsked(settled, known, scope), this.#problems);
    this.#steps += ordered.length;
    if (this.#steps > this.#options.limits.steps) {
      const [first] = ordered;
      if (first === undefined) return [];
      const message = `the formula has more than ${this.#options.limits.steps} steps, with those that its loops and fan-outs make`;
      this.#problems.add({ code: 'FORMULA_TOO_BIG', at: first.at, message, fix: 'Split it into several formulas.' });
      return [];
    }
    const around = new Set([...scope.around, ...known]);
    return ordered.map((step) => this.#step(step, settled.when.get(step.id), { ...scope, around }));
  }

  /** A step whose condition asks about other steps waits for them: it is asked once, when they have ended. */
  #needAsked({ steps, when }: Settled, known: ReadonlySet<string>, scope: Scope): FormulaStep[] {
    const left = new Set(steps.map((step) => step.id));
    const around = new Set([...scope.around, ...known]);
    return steps.map((step) => {
      const condition = when.get(step.id);
      if (condition === undefined) return step;
      const asked = stepsOf(condition);
      const at = step.conditions[0]?.at ?? step.at;
      this.#refuseUnknown(asked, { around, at });
      const more = asked.filter((id) => left.has(id) && step.waitsFor?.of !== id);
      return { ...step, needs: [...new Set([...step.needs, ...more])] };
    });
  }

  #refuseUnknown(
    ids: readonly string[],
    { around, at }: { readonly around: ReadonlySet<string>; readonly at: Place },
  ): void {
    for (const id of ids) {
      if (around.has(id)) continue;
      const message = `the condition asks about ${id}, which is no step of this formula`;
      this.#problems.add({ code: 'FORMULA_UNKNOWN_STEP', at, message, fix: 'Name a step by its id.' });
    }
  }

  #step(written: FormulaStep, when: RunCondition | undefined, scope: Scope): RecipeStep {
    this.#noteNames(written, scope.used);
    this.#refuseBadId(written);
    const step = mapTexts(written, (text) => this.#fill(text, scope.values));
    const flow = this.#flow(step, when, scope);
    return {
      id: step.id,
      title: step.title ?? step.id,
      instructions: instructionsOf(step),
      acceptance: step.acceptance,
      checks: step.checks.map((check): StepCheck => {
        const timeoutMs = this.#durationMs(check.timeout ?? CHECK_TIMEOUT, within(step.at, 'checks'));
        return { run: check.run, timeoutMs };
      }),
      needs: step.needs,
      parallel: step.parallel,
      gate: step.gate === null ? null : this.#gate(step.gate, step, scope),
      priority: step.priority,
      labels: step.labels,
      metadata: step.metadata,
      assignee: step.assignee === '' ? null : step.assignee,
      ...(Object.keys(flow).length === 0 ? {} : { flow }),
    };
  }

  #flow(step: FormulaStep, when: RunCondition | undefined, scope: Scope): StepFlow {
    const { waitsFor, loop, fanOut, retry, onFailure, contains } = step;
    const until = loop?.kind === 'until' ? this.#until(step, loop, scope) : null;
    const each = fanOut === null ? null : this.#fanOut(step, fanOut, scope);
    const undo =
      onFailure?.kind === 'compensate' ? this.#bond(`${step.id}.undo`, { ...onFailure, atOnce: true }, scope) : null;
    const backoffMs = retry?.backoff == null ? 0 : this.#durationMs(retry.backoff, within(step.at, 'retry'));
    return {
      ...(when === undefined ? {} : { when }),
      ...(waitsFor?.of == null ? {} : { waitsFor: { of: waitsFor.of, mode: waitsFor.mode } }),
      ...(until === null ? {} : { loop: until }),
      ...(each === null ? {} : { fanOut: each }),
      ...(retry === null ? {} : { retry: retryOf(retry, backoffMs) }),
      ...(onFailure?.kind === 'skip' ? { onFailure: { kind: 'skip' as const } } : {}),
      ...(undo === null ? {} : { onFailure: { kind: 'compensate' as const, group: undo.group } }),
      ...(contains === null ? {} : { contains }),
    };
  }

  #until(step: FormulaStep, loop: FormulaStep['loop'] & { kind: 'until' }, scope: Scope): UntilLoop | null {
    const { body, until, max, at } = loop;
    const written = { text: until, at: within(at, 'until') };
    const is = this.#condition(written, lastStepOf(body), {
      ...scope,
      around: new Set([...scope.around, ...body.map((part) => part.id)]),
    });
    const group = this.#groupName(step.id, scope);
    this.#groups.set(group, []);
    const steps = this.#list(body, { ...scope, group });
    this.#groups.set(group, steps);
    if (steps.length === 0) {
      const message = `with these values the loop ${step.id} has no step`;
      this.#problems.add({
        code: 'FORMULA_NO_STEPS',
        at: within(at, 'body'),
        message,
        fix: 'Give it a step without condition.',
      });
    }
    return is === null ? null : { group, until: is, max };
  }

  /** A condition about the run, with every step it names known. Null: noted. */
  #condition(written: WrittenCondition, self: string | null, scope: Scope): RunCondition | null {
    const is = readWritten(written, self, this.#settling(scope));
    if (is === null) return null;
    if (typeof is !== 'boolean') {
      this.#refuseUnknown(stepsOf(is), { around: scope.around, at: written.at });
      return is;
    }
    // What variables alone decide holds from the start, or never.
    return { op: is ? 'and' : 'or', of: [] };
  }

  #fanOut(step: FormulaStep, fanOut: FormulaFanOut, scope: Scope): FanOut | null {
    const { path, mode, itemsMax, onItemFailure, drain, at } = fanOut;
    const bonded = this.#bond(
      `${step.id}.each`,
      { with: fanOut.bond, vars: fanOut.vars, at: within(at, drain ? 'formula' : 'bond'), drain },
      scope,
    );
    if (bonded === null) return null;
    return {
      group: bonded.group,
      path,
      vars: bonded.vars,
      mode,
      itemsMax,
      ...(onItemFailure === null ? {} : { onItemFailure }),
    };
  }

  /** Makes a group of the steps of another formula. Its variables that are given here get their values when an instance is made; with
   *  `atOnce` they are filled in now, and what still stands open in them is that of the steps around. */
  #bond(
    name: string,
    use: {
      readonly with: string;
      readonly vars: Readonly<Record<string, string>>;
      readonly at: Place;
      readonly drain?: boolean;
      readonly atOnce?: boolean;
    },
    scope: Scope,
  ): { readonly group: string; readonly vars: Readonly<Record<string, string>> } | null {
    if (this.#options.open === true && use.with.includes('{{')) return null;
    const found = this.#options.resolve(use.with);
    if (found === null) noteMissing({ name: use.with, at: use.at }, this.#problems);
    if (scope.depth >= EXPANSION_DEPTH_MAX) {
      const message = `formulas follow each other deeper than ${EXPANSION_DEPTH_MAX}`;
      this.#problems.add({
        code: 'FORMULA_VALUE',
        at: use.at,
        message,
        fix: 'Let the last of them do without another.',
      });
    }
    if (found === null || scope.depth >= EXPANSION_DEPTH_MAX) return null;
    const whole = joinParents(found, this.#assembling());
    const values = new Map<string, string>();
    for (const [variable, spec] of Object.entries(whole.vars)) {
      const value = spec.default ?? scope.values.get(variable);
      const given = Object.hasOwn(use.vars, variable) || (use.drain === true && MEMBER_NAMES.includes(variable));
      if (!given && value !== undefined) values.set(variable, value);
    }
    const atOnce = use.atOnce === true ? use.vars : {};
    for (const [variable, value] of Object.entries(atOnce)) values.set(variable, value);
    const depth = scope.depth + 1;
    const assembled = assembleSteps(whole, { ...this.#assembling(), values, depth }) ?? [];
    const vars = use.drain === true ? memberVars(whole, assembled) : use.vars;
    this.#refuseUndeclared(whole, { ...use, vars: use.drain === true ? {} : vars });
    const later = new Set(Object.keys(vars).filter((each) => atOnce[each]?.includes('{') ?? true));
    // An item formula that declares no variables knows them by single braces.
    const undeclared = new Map(
      Object.keys(vars)
        .filter((each) => !Object.hasOwn(whole.vars, each))
        .map((each) => [each, `{{${each}}}`]),
    );
    const steps = assembled.map((part) => mapWhole(part, (text) => fillMacros(text, undeclared)));
    const group = this.#groupName(name, scope);
    this.#groups.set(group, []);
    const used = new Set<string>();
    this.#groups.set(group, this.#list(steps, { values, later, around: new Set(), used, group, depth }));
    for (const [variable, spec] of Object.entries(whole.vars)) {
      if (values.has(variable) || later.has(variable) || (!spec.required && !used.has(variable))) continue;
      if (scope.later.has(variable)) continue;
      const message = `the variable ${variable} of ${whole.name} has no value here`;
      this.#problems.add({
        code: 'FORMULA_MISSING_VARIABLE',
        at: use.at,
        message,
        fix: `Give it in vars: ${variable} = "…".`,
      });
    }
    return { group, vars };
  }

  #refuseUndeclared(
    formula: Formula,
    use: { readonly vars: Readonly<Record<string, string>>; readonly at: Place },
  ): void {
    for (const name of Object.keys(use.vars)) {
      if (Object.hasOwn(formula.vars, name)) continue;
      this.#problems.add({
        code: 'FORMULA_UNKNOWN_VARIABLE',
        at: use.at,
        severity: formula.mode === 'strict' ? 'error' : 'warning',
        message: `${formula.name} has no variable ${name}`,
        fix: `Use one of: ${Object.keys(formula.vars).join(', ') || 'none'}.`,
      });
    }
  }

  #groupName(name: string, scope: Scope): string {
    const wanted = scope.group === '' ? name : `${scope.group}.${name}`;
    let free = wanted;
    for (let number = 2; this.#groups.has(free); number += 1) free = `${wanted}-${number}`;
    return free;
  }

  #gate(gate: FormulaGate, step: FormulaStep, scope: Scope): GateSpec {
    const { at, kind, target, approvers } = gate;
    if (kind === 'timer') return { kind, durationMs: this.#durationMs(gate.timeout ?? '', at) };
    const timeoutMs = gate.timeout === null ? null : this.#durationMs(gate.timeout, at);
    if (kind === 'human') {
      const by = approvers.length === 0 ? {} : { approvers };
      return { kind, prompt: gate.prompt ?? step.title ?? step.id, timeoutMs, ...by };
    }
    if (kind === 'condition') {
      const written = { text: gate.condition ?? '', at: within(at, 'condition') };
      return { kind, when: this.#condition(written, null, scope) ?? { op: 'or', of: [] }, timeoutMs };
    }
    if (kind === 'task') return { kind, task_id: target, timeoutMs };
    if (kind === 'molecule') return { kind, molecule_id: target, timeoutMs };
    if (kind === 'ci_run') return { kind, run: target, timeoutMs };
    return kind === 'mail' ? { kind, address: target, timeoutMs } : { kind, number: target, timeoutMs };
  }

  /** Ids made from macros may have become too long or odd. */
  #refuseBadId(step: FormulaStep): void {
    if (/^[A-Za-z0-9._-]{1,200}$/.test(step.id)) return;
    this.#problems.add({
      code: 'FORMULA_VALUE',
      at: within(step.at, 'id'),
      message: `"${step.id.slice(0, 80)}" is not an id`,
      fix: 'Use letters, digits, ".", "_" and "-", at most 200.',
    });
  }

  #noteNames(step: FormulaStep, used: Set<string>): void {
    mapTexts(step, (text) => {
      if (text.includes('{{')) for (const name of namesIn(text)) used.add(name);
      return text;
    });
  }

  /** A long value in a thousand places would fill the memory before its size could be measured. */
  #fill(text: string, values: ReadonlyMap<string, string>): string {
    if (!text.includes('{{')) return text;
    const { recipeSize } = this.#options.limits;
    let longest = 0;
    for (const name of namesIn(text)) longest = Math.max(longest, values.get(name)?.length ?? 0);
    const placeholders = text.split('{{').length - 1;
    if (this.#size > recipeSize || placeholders * longest > 100 * recipeSize) {
      this.#size = recipeSize + 1;
      return text;
    }
    const filled = substitute(text, values);
    this.#size += filled.length;
    return filled;
  }

  #durationMs(text: string, at: Place): number {
    const found = parseDurationMs(text);
    if (found !== null) return found;
    if (this.#options.open === true && text.includes('{{')) return 0;
    const fix = 'Write one such as 90s, 15m or 1h30m, at most 30 days.';
    this.#problems.add({ code: 'FORMULA_VALUE', at, message: `"${text.slice(0, 60)}" is not a duration`, fix });
    return 0;
  }
}

function retryOf({ attemptsMax, exhausted }: FormulaRetry, backoffMs: number): Exclude<StepFlow['retry'], undefined> {
  return { attemptsMax, backoffMs, exhausted };
}

/** The names by which an item formula knows its member, and uses it. */
function memberVars(formula: Formula, steps: readonly FormulaStep[]): Record<string, string> {
  const used = new Set(Object.keys(formula.vars));
  for (const step of steps) {
    mapWhole(step, (text) => {
      for (const name of namesIn(text)) used.add(name);
      return text;
    });
  }
  return Object.fromEntries(MEMBER_NAMES.filter((name) => used.has(name)).map((name) => [name, '{item}']));
}

function instructionsOf({ description, instructions, design, notes, fanOut }: FormulaStep): string {
  const parts = [description, instructions, design && `Design:\n${design}`, notes && `Notes:\n${notes}`];
  if (fanOut !== null) parts.push(outputHint(fanOut));
  return parts.filter((part) => part !== null && part !== '').join('\n\n');
}

function outputHint({ path, bond, drain, itemsMax }: FormulaFanOut): string {
  const what = drain ? 'the ids of the tasks of your convoy' : 'the entries to work on';
  return `Close this step with an output whose ${path.join('.')} is a list of ${what}, at most ${itemsMax}: ${bond} is then done for each.`;
}
