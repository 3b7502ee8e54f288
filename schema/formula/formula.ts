import { isList, type Json, type JsonObject } from '../json';
import type { Place, Source } from './problems';
import type { FormulaMode } from './reader';
import type { FormulaPhase, FormulaType, SquashHint } from './recipe';

/** A formula as its author wrote it: read and checked, variables not filled in, parents not yet joined. Lives in memory only. */
export interface Formula {
  readonly name: string;
  readonly version: number;
  readonly type: FormulaType;
  readonly title: string | null;
  readonly description: string | null;
  /** Names of the formulas it builds on, in order. */
  readonly extends: readonly string[];
  readonly vars: Readonly<Record<string, VariableSpec>>;
  readonly steps: readonly FormulaStep[];
  /** The steps an expansion puts in place of one step. */
  readonly template: readonly FormulaStep[];
  readonly advice: readonly Advice[];
  readonly expansions: readonly Expansion[];
  /** Formulas whose advice is applied to this one. */
  readonly aspects: readonly string[];
  readonly branches: readonly Branch[];
  readonly gates: readonly ComposedGate[];
  readonly bondPoints: readonly BondPoint[];
  readonly hooks: readonly Hook[];
  readonly convoy: ConvoyParts | null;
  readonly metadata: JsonObject;
  /** Labels of the formula itself, which hooks look at too. */
  readonly labels: readonly string[];
  readonly phase: FormulaPhase | null;
  readonly pour: boolean | null;
  readonly squash: SquashHint | null;
  /** The tool it says it was written for; null: it does not say. */
  readonly dialect: string | null;
  /** How it was read; a compile is as strict. */
  readonly mode: FormulaMode;
  readonly source: Source;
}

export interface VariableSpec {
  readonly description: string | null;
  /** Null: none, so the variable must be given when it is required or used. */
  readonly default: string | null;
  readonly required: boolean;
  /** Required, unless one of these has a value. */
  readonly requiredUnless: readonly string[];
  /** Null: any value. */
  readonly enum: readonly string[] | null;
  readonly pattern: string | null;
  readonly type: VariableType;
  readonly at: Place;
}

export type VariableType = 'string' | 'integer' | 'number' | 'boolean';

export interface FormulaStep {
  readonly id: string;
  readonly title: string | null;
  readonly description: string | null;
  /** A file whose text stands for the description, relative to the formula's own file. */
  readonly descriptionFile: string | null;
  readonly instructions: string | null;
  readonly design: string | null;
  readonly notes: string | null;
  readonly acceptance: string | null;
  readonly needs: readonly string[];
  readonly parallel: boolean;
  readonly checks: readonly FormulaCheck[];
  readonly gate: FormulaGate | null;
  /** All must hold; in either condition language, see condition.ts. */
  readonly conditions: readonly WrittenCondition[];
  readonly waitsFor: WaitsFor | null;
  readonly fanOut: FormulaFanOut | null;
  readonly retry: FormulaRetry | null;
  readonly onFailure: FormulaFailure | null;
  readonly priority: number | null;
  readonly labels: readonly string[];
  readonly assignee: string | null;
  readonly metadata: JsonObject;
  /** Steps that this one contains; empty once they were lifted out, which `contains` then names. */
  readonly children: readonly FormulaStep[];
  readonly contains: readonly string[] | null;
  readonly expand: { readonly with: string; readonly vars: Readonly<Record<string, string>> } | null;
  readonly loop: FormulaLoop | null;
  readonly at: Place;
}

/** A duration is kept as text until variables are filled in. */
export interface FormulaCheck {
  readonly run: string;
  readonly timeout: string | null;
}

export type GateKind = 'human' | 'timer' | 'task' | 'molecule' | 'ci_run' | 'pull_request' | 'mail' | 'condition';

export interface FormulaGate {
  readonly kind: GateKind;
  /** A task, a molecule, a run, a pull request, an address or how long a timer runs, by kind; empty: the kind has none. */
  readonly target: string;
  readonly prompt: string | null;
  readonly approvers: readonly string[];
  /** When a person is asked. */
  readonly timeout: string | null;
  /** Empty: the kind has none. Variables are not filled in. */
  readonly condition: string;
  readonly at: Place;
}

export interface WrittenCondition {
  readonly text: string;
  readonly at: Place;
}

export interface WaitsFor {
  /** Null: the first step that is needed. */
  readonly of: string | null;
  readonly mode: 'all' | 'any';
  readonly at: Place;
}

export interface FormulaFanOut {
  readonly path: readonly string[];
  /** Name of the formula that is done for each item. */
  readonly bond: string;
  readonly vars: Readonly<Record<string, string>>;
  readonly mode: 'parallel' | 'sequential';
  readonly itemsMax: number;
  readonly onItemFailure: 'continue' | 'stop' | null;
  /** The items are tasks of a convoy: their ids are what the agent gives. */
  readonly drain: boolean;
  readonly at: Place;
}

export interface FormulaRetry {
  readonly attemptsMax: number;
  readonly backoff: string | null;
  readonly exhausted: 'fail' | 'skip';
}

export type FormulaFailure =
  | { readonly kind: 'skip' }
  | {
      readonly kind: 'compensate';
      readonly with: string;
      readonly vars: Readonly<Record<string, string>>;
      readonly at: Place;
    };

export type FormulaLoop =
  | {
      readonly kind: 'range';
      /** Two expressions with `..` between them. */
      readonly range: string;
      readonly var: string | null;
      readonly body: readonly FormulaStep[];
      readonly at: Place;
    }
  | {
      readonly kind: 'until';
      readonly until: string;
      readonly max: number;
      readonly body: readonly FormulaStep[];
      readonly at: Place;
    };

/** Steps to put around every step that matches. */
export interface Advice {
  /** A step id in which `*` stands for any characters; null: the pointcuts decide. */
  readonly target: string | null;
  /** Where there are any, one of them must match as well. */
  readonly pointcuts: readonly Pointcut[];
  readonly before: readonly FormulaStep[];
  readonly after: readonly FormulaStep[];
  readonly at: Place;
}

/** All that are given must match. */
export interface Pointcut {
  readonly glob: string | null;
  readonly type: string | null;
  readonly label: string | null;
}

/** Puts the template of the expansion formula `with` in place of one step, or of every step that matches a glob. */
export interface Expansion {
  readonly target: string;
  readonly many: boolean;
  /** Of a glob that matches nothing. */
  readonly severity: 'error' | 'warning';
  readonly with: string;
  readonly vars: Readonly<Record<string, string>>;
  readonly at: Place;
}

/** The steps run side by side after `from` and before `join`. */
export interface Branch {
  readonly from: string;
  readonly steps: readonly string[];
  readonly join: string;
  readonly at: Place;
}

export interface ComposedGate {
  readonly before: string;
  readonly condition: string;
  readonly at: Place;
}

/** A place where a hook attaches another formula. */
export interface BondPoint {
  readonly id: string;
  readonly step: string;
  readonly side: 'before' | 'after';
  readonly parallel: boolean;
  readonly at: Place;
}

/** Attaches a formula when the formula, one of its steps or the task it is poured for has the trait. */
export interface Hook {
  readonly trigger: Trigger;
  readonly attach: string;
  /** Id of a bond point; null: behind the last steps. */
  readonly bondPoint: string | null;
  readonly vars: Readonly<Record<string, string>>;
  readonly at: Place;
}
export type Trigger =
  | { readonly kind: 'label' | 'type'; readonly value: string }
  | { readonly kind: 'priority'; readonly from: number; readonly to: number };

/** Several agents look at one thing, each from its side; the synthesis joins what they found. */
export interface ConvoyParts {
  readonly legs: readonly Leg[];
  readonly synthesis: Synthesis | null;
  /** Wraps the text of every leg; see convoy.ts for its placeholders. Null: the leg's own text alone. */
  readonly prompt: string | null;
  readonly output: Readonly<Record<string, string>>;
  /** Named choices among the legs. */
  readonly presets: Readonly<Record<string, Preset>>;
}

export interface Preset {
  readonly legs: readonly string[];
  readonly at: Place;
}

export interface Leg {
  readonly id: string;
  readonly title: string | null;
  readonly focus: string | null;
  readonly description: string | null;
  readonly metadata: JsonObject;
  readonly at: Place;
}

export interface Synthesis {
  readonly title: string | null;
  readonly description: string | null;
  /** Empty: all legs. */
  readonly needs: readonly { readonly leg: string; readonly at: Place }[];
  readonly at: Place;
}

/** A step of which nothing is written but its id. */
export function plainStep(id: string, at: Place): FormulaStep {
  return {
    id,
    at,
    title: null,
    description: null,
    descriptionFile: null,
    instructions: null,
    design: null,
    notes: null,
    acceptance: null,
    needs: [],
    parallel: true,
    checks: [],
    gate: null,
    conditions: [],
    waitsFor: null,
    fanOut: null,
    retry: null,
    onFailure: null,
    priority: null,
    labels: [],
    assignee: null,
    metadata: {},
    children: [],
    contains: null,
    expand: null,
    loop: null,
  };
}

type Change = (text: string) => string;

/**
 * Changes every text of a step that an agent or a person will read, also in its metadata, and the names it hands on. Ids, needs and
 * conditions stay: a value must not become part of a condition.
 */
export function mapTexts(step: FormulaStep, change: Change): FormulaStep {
  const { fanOut, retry, onFailure, expand } = step;
  return {
    ...step,
    title: optional(step.title, change),
    description: optional(step.description, change),
    descriptionFile: optional(step.descriptionFile, change),
    instructions: optional(step.instructions, change),
    design: optional(step.design, change),
    notes: optional(step.notes, change),
    acceptance: optional(step.acceptance, change),
    checks: step.checks.map((check) => ({ run: change(check.run), timeout: optional(check.timeout, change) })),
    gate: step.gate === null ? null : mapGate(step.gate, change),
    fanOut: fanOut === null ? null : { ...fanOut, bond: change(fanOut.bond), vars: mapRecord(fanOut.vars, change) },
    retry: retry === null ? null : { ...retry, backoff: optional(retry.backoff, change) },
    onFailure:
      onFailure?.kind === 'compensate'
        ? { ...onFailure, with: change(onFailure.with), vars: mapRecord(onFailure.vars, change) }
        : onFailure,
    expand: expand === null ? null : { with: change(expand.with), vars: mapRecord(expand.vars, change) },
    labels: step.labels.map(change),
    assignee: optional(step.assignee, change),
    metadata: mapObject(step.metadata, change),
  };
}

/** As `mapTexts`, and also the ids, needs, conditions and loops, of the step and of all within it: for macros of the compile. */
export function mapWhole(step: FormulaStep, change: Change): FormulaStep {
  const { gate, waitsFor, loop } = step;
  const texts = mapTexts(step, change);
  return {
    ...texts,
    id: change(step.id),
    needs: step.needs.map(change),
    gate: gate === null || texts.gate === null ? null : { ...texts.gate, condition: change(gate.condition) },
    conditions: step.conditions.map((condition) => ({ ...condition, text: change(condition.text) })),
    waitsFor: waitsFor === null ? null : { ...waitsFor, of: optional(waitsFor.of, change) },
    children: step.children.map((child) => mapWhole(child, change)),
    contains: step.contains?.map(change) ?? null,
    loop: loop === null ? null : mapLoop(loop, change),
  };
}

function mapLoop(loop: FormulaLoop, change: Change): FormulaLoop {
  const body = loop.body.map((step) => mapWhole(step, change));
  return loop.kind === 'range'
    ? { ...loop, body, range: change(loop.range) }
    : { ...loop, body, until: change(loop.until) };
}

function mapGate(gate: FormulaGate, change: Change): FormulaGate {
  return {
    ...gate,
    target: change(gate.target),
    prompt: optional(gate.prompt, change),
    approvers: gate.approvers.map(change),
    timeout: optional(gate.timeout, change),
  };
}

function optional(text: string | null, change: Change): string | null {
  return text === null ? null : change(text);
}

function mapRecord(record: Readonly<Record<string, string>>, change: Change): Record<string, string> {
  return Object.fromEntries(Object.entries(record).map(([name, text]) => [name, change(text)]));
}

function mapObject(value: JsonObject, change: Change): JsonObject {
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, mapJson(part, change)]));
}

function mapJson(value: Json, change: Change): Json {
  if (typeof value === 'string') return change(value);
  if (typeof value !== 'object' || value === null) return value;
  return isList(value) ? value.map((part) => mapJson(part, change)) : mapObject(value, change);
}
