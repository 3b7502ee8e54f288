import { Work } from './budget';
import { canonicalJson } from '../canonical';
import type { JsonObject } from '../json';
import {
  assembleSteps,
  EXPANSION_DEPTH_MAX,
  joinParents,
  noteMissing,
  type Assembling,
  type Joined,
  type ReadText,
} from './assemble';
import { stepsOf } from './condition';
import { notADuration, parseDurationMs } from './duration';
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
import { RECIPE_BYTES_MAX, whyTooBig } from './lean';
import type { Overlay } from './overlay';
import { ProblemList, within, type Place } from './problems';
import { isId, notAnId } from './read-step';
import type { FormulaMode } from './reader';
import { STEPS_MAX, type FormulaProblem, type Recipe, type RecipeStep, type StepCheck } from './recipe';
import { lastStepOf, readWritten, settleSteps, type Settled } from './settle';
import { fillMacros } from './step-list';
import {
  bindVariables,
  namesIn,
  noteMissingVariable,
  noteUnknownVariable,
  refuseMissing,
  substitute,
} from './variables';
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
  /** Of the recipe's JSON. */
  readonly recipeBytes: number;
}

export interface CompiledFormula {
  /** Null when any problem is an error. */
  readonly recipe: Recipe | null;
  readonly problems: readonly FormulaProblem[];
}

const LIMITS: CompileLimits = { steps: STEPS_MAX, recipeBytes: RECIPE_BYTES_MAX };
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
  readonly #work = new Work();
  readonly #joined: Joined = new Map();
  readonly #read = new Map<string, Formula | null>();
  /** Characters that the recipe may still get: what is written is measured at the end, but must not fill the memory before. */
  readonly #room: Work;
  /** Where the steps of the recipe were written. */
  readonly #places = new Map<RecipeStep, Place>();
  #steps = 0;

  constructor(options: Settings, problems: ProblemList) {
    this.#options = options;
    this.#problems = problems;
    this.#room = new Work(4 * options.limits.recipeBytes);
  }

  recipeOf(formula: Formula): Recipe | null {
    const { vars, mode = formula.mode, open = false } = this.#options;
    const whole = joinParents(formula, this.#assembling());
    const bound = bindVariables(whole, { given: vars, mode }, this.#problems);
    const values = open ? new Map(Object.entries(vars)) : bound;
    this.#refuseEmpty(whole);
    const assembled = assembleSteps(whole, { ...this.#assembling(), values: open ? null : values }) ?? [];
    const used = new Set<string>();
    const later = new Set(open ? Object.keys(whole.vars).filter((name) => !values.has(name)) : []);
    const scope: Scope = { values, later, around: new Set(), used, group: '', depth: 0 };
    const title = this.#fill(whole.title ?? values.get('title') ?? whole.name, scope);
    const description = this.#fill(whole.description ?? '', scope);
    const steps = this.#list(assembled, scope);
    if (!open) refuseMissing(whole, { values, used }, this.#problems);
    if (steps.length === 0 && !this.#problems.hasErrors()) this.#refuseNone(whole);
    const body: Omit<Recipe, 'digest'> = {
      schema: 1,
      formula: whole.name,
      version: whole.version,
      type: whole.type,
      title,
      description,
      vars: Object.fromEntries(values),
      steps,
      ...(this.#groups.size === 0 ? {} : { groups: Object.fromEntries(this.#groups) }),
      ...(whole.phase === null ? {} : { phase: whole.phase }),
      ...(whole.pour === null ? {} : { pour: whole.pour }),
      ...(whole.squash === null ? {} : { squash: whole.squash }),
    };
    this.#refuseBig(body, whole);
    if (this.#problems.hasErrors()) return null;
    // A recipe is plain JSON; interfaces have no index.
    return { ...body, digest: this.#options.digestOf(canonicalJson(body as unknown as JsonObject)) };
  }

  /** Tells what could not be poured, at the step that takes up the most. */
  #refuseBig(body: Omit<Recipe, 'digest'>, formula: Formula): void {
    const { recipeBytes } = this.#options.limits;
    const why = this.#room.spent ? `its recipe has more than ${recipeBytes} bytes` : whyTooBig(body, recipeBytes);
    if (why === null) return;
    let at: Place = { source: formula.source, path: 'steps' };
    let most = 0;
    for (const [step, place] of this.#places) {
      const size = JSON.stringify(step).length;
      if (size > most) [at, most] = [place, size];
    }
    const fix = 'Split the formula, or shorten its texts; the largest step begins here.';
    this.#problems.add({ code: 'FORMULA_TOO_BIG', at, message: `the formula cannot be poured: ${why}`, fix });
  }

  #assembling(): Omit<Assembling, 'values'> {
    const { overlay, readText, traits, limits } = this.#options;
    return {
      resolve: (name) => this.#resolve(name),
      problems: this.#problems,
      work: this.#work,
      joined: this.#joined,
      stepsMax: limits.steps,
      ...(overlay === undefined ? {} : { overlay }),
      ...(readText === undefined ? {} : { readText }),
      ...(traits === undefined ? {} : { traits }),
    };
  }

  /** Many steps may use one formula, and each look for it may read a file. */
  #resolve(name: string): Formula | null {
    const known = this.#read.get(name);
    if (known !== undefined) return known;
    const found = this.#options.resolve(name);
    this.#read.set(name, found);
    return found;
  }

  #settling(scope: Scope): Parameters<typeof settleSteps>[1] {
    return { ...scope, problems: this.#problems, undecided: this.#options.open === true };
  }

  #refuseEmpty(formula: Formula): void {
    const at = { source: formula.source, path: 'type' };
    const { steps, template, advice, convoy, type } = formula;
    if (steps.length > 0 || (convoy !== null && convoy.legs.length > 0)) return;
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
      const message = `the formula has more than ${this.#options.limits.steps} steps, with those that its loops and fan-outs make`;
      for (const { at } of ordered.slice(0, 1)) {
        this.#problems.add({ code: 'FORMULA_TOO_BIG', at, message, fix: 'Split it into several formulas.' });
      }
      return [];
    }
    const around = new Set([...scope.around, ...known]);
    const within = { ...scope, around };
    return ordered.flatMap((step) => {
      const needs = step.needs.reduce((sum, need) => sum + need.length, 0);
      if (!this.#room.takes(needs)) return [];
      const made = this.#step(step, settled.when.get(step.id), within);
      this.#places.set(made, step.at);
      return [made];
    });
  }

  /** A step whose condition asks about other steps waits for them: it is asked once, when they have ended. */
  #needAsked({ steps, when }: Settled, known: ReadonlySet<string>, scope: Scope): FormulaStep[] {
    const left = new Set(steps.map((step) => step.id));
    const around = new Set([...scope.around, ...known]);
    return steps.map((step) => {
      const condition = when.get(step.id);
      if (condition === undefined) return step;
      const asked = stepsOf(condition);
      for (const { at } of step.conditions.slice(0, 1)) this.#refuseUnknown(asked, { around, at });
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
    this.#refuseBadId(written);
    const step = mapTexts(written, (text) => this.#fill(text, scope));
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
    const found = this.#resolve(use.with);
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
    const later = new Set(Object.keys(vars).filter((each) => atOnce[each]?.includes('{') ?? true));
    // An item formula that declares no variables knows them by single braces.
    const undeclared = new Map<string, string>();
    for (const each of Object.keys(vars)) {
      if (Object.hasOwn(whole.vars, each)) continue;
      undeclared.set(each, `{{${each}}}`);
      if (use.drain !== true) noteUnknownVariable(whole, { name: each, at: use.at, mode: whole.mode }, this.#problems);
    }
    const steps = assembled.map((part) => mapWhole(part, (text) => fillMacros(text, undeclared, this.#work)));
    const group = this.#groupName(name, scope);
    this.#groups.set(group, []);
    const used = new Set<string>();
    this.#groups.set(group, this.#list(steps, { values, later, around: new Set(), used, group, depth }));
    for (const [variable, spec] of Object.entries(whole.vars)) {
      if (values.has(variable) || later.has(variable) || (!spec.required && !used.has(variable))) continue;
      if (scope.later.has(variable)) continue;
      noteMissingVariable(whole, { name: variable, at: use.at }, this.#problems);
    }
    return { group, vars };
  }

  #groupName(name: string, scope: Scope): string {
    const wanted = scope.group === '' ? name : `${scope.group}.${name}`;
    let free = wanted;
    for (let number = 2; this.#groups.has(free); number += 1) free = `${wanted}-${number}`;
    return free;
  }

  #gate(gate: FormulaGate, step: FormulaStep, scope: Scope): GateSpec {
    const { at, kind, target, approvers } = gate;
    if (kind === 'timer') return { kind, durationMs: this.#durationMs(target, at) };
    const timeoutMs = gate.timeout === null ? null : this.#durationMs(gate.timeout, at);
    if (kind === 'human') {
      const by = approvers.length === 0 ? {} : { approvers };
      return { kind, prompt: gate.prompt ?? step.title ?? step.id, timeoutMs, ...by };
    }
    if (kind === 'condition') {
      const written = { text: gate.condition, at: within(at, 'condition') };
      return { kind, when: this.#condition(written, null, scope) ?? { op: 'or', of: [] }, timeoutMs };
    }
    if (kind === 'task') return { kind, task_id: target, timeoutMs };
    if (kind === 'molecule') return { kind, molecule_id: target, timeoutMs };
    if (kind === 'ci_run') return { kind, run: target, timeoutMs };
    return kind === 'mail' ? { kind, address: target, timeoutMs } : { kind, number: target, timeoutMs };
  }

  /** Ids made from macros may have become too long or odd. */
  #refuseBadId(step: FormulaStep): void {
    if (isId(step.id)) return;
    this.#problems.add({ code: 'FORMULA_VALUE', at: within(step.at, 'id'), ...notAnId(step.id) });
  }

  #fill(text: string, { values, used }: Pick<Scope, 'values' | 'used'>): string {
    if (text.includes('{{')) for (const name of namesIn(text)) used.add(name);
    else this.#room.takes(text.length);
    return substitute(text, values, this.#room);
  }

  #durationMs(text: string, at: Place): number {
    const found = parseDurationMs(text);
    if (found !== null) return found;
    if (this.#options.open === true && text.includes('{{')) return 0;
    this.#problems.add({ code: 'FORMULA_VALUE', at, ...notADuration(text) });
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
