import type { JsonObject } from '../json';
import type { Place, Source } from './problems';
import type { FormulaType } from './recipe';

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
  readonly convoy: ConvoyParts | null;
  readonly metadata: JsonObject;
  /** Parts that are read but cannot be run; a compile refuses them. */
  readonly unsupported: readonly Place[];
  readonly source: Source;
}

export interface VariableSpec {
  readonly description: string | null;
  /** Null: none, so the variable must be given when it is required or used. */
  readonly default: string | null;
  readonly required: boolean;
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
  readonly instructions: string | null;
  readonly design: string | null;
  readonly notes: string | null;
  readonly acceptance: string | null;
  readonly needs: readonly string[];
  readonly parallel: boolean;
  readonly checks: readonly FormulaCheck[];
  readonly gate: FormulaGate | null;
  readonly priority: number | null;
  readonly labels: readonly string[];
  readonly assignee: string | null;
  readonly metadata: JsonObject;
  /** Steps that must be closed before this one, which then closes the group. */
  readonly children: readonly FormulaStep[];
  readonly expand: { readonly with: string; readonly vars: Readonly<Record<string, string>> } | null;
  readonly loop: { readonly count: number; readonly body: readonly FormulaStep[] } | null;
  readonly unsupported: readonly Place[];
  readonly at: Place;
}

/** A duration is kept as text until variables are filled in. */
export interface FormulaCheck {
  readonly run: string;
  readonly timeout: string | null;
}

export type FormulaGate =
  | { readonly kind: 'human'; readonly prompt: string | null; readonly timeout: string | null }
  | { readonly kind: 'timer'; readonly duration: string };

/** Steps to put around every step whose id matches. */
export interface Advice {
  /** A step id in which `*` stands for any characters. */
  readonly target: string;
  readonly before: readonly FormulaStep[];
  readonly after: readonly FormulaStep[];
  readonly at: Place;
}

/** Puts the template of the expansion formula `with` in place of one step, or of every step that matches a glob. */
export interface Expansion {
  readonly target: string;
  readonly many: boolean;
  readonly with: string;
  readonly vars: Readonly<Record<string, string>>;
  readonly at: Place;
}

/** Several agents look at one thing, each from its side; the synthesis joins what they found. */
export interface ConvoyParts {
  readonly legs: readonly Leg[];
  readonly synthesis: Synthesis | null;
  /** Wraps the text of every leg; see convoy.ts for its placeholders. Null: the leg's own text alone. */
  readonly prompt: string | null;
  readonly output: Readonly<Record<string, string>>;
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
  readonly needs: readonly string[];
  readonly at: Place;
}

/** Changes every text of a step that an agent or a person will read, also in its metadata; ids and needs stay. */
export function mapTexts(step: FormulaStep, change: (text: string) => string): FormulaStep {
  const optional = (text: string | null): string | null => (text === null ? null : change(text));
  return {
    ...step,
    title: optional(step.title),
    description: optional(step.description),
    instructions: optional(step.instructions),
    design: optional(step.design),
    notes: optional(step.notes),
    acceptance: optional(step.acceptance),
    checks: step.checks.map((check) => ({ run: change(check.run), timeout: optional(check.timeout) })),
    gate: step.gate === null ? null : mapGate(step.gate, change),
    labels: step.labels.map(change),
    assignee: optional(step.assignee),
    metadata: mapObject(step.metadata, change),
  };
}

function mapGate(gate: FormulaGate, change: (text: string) => string): FormulaGate {
  if (gate.kind === 'timer') return { ...gate, duration: change(gate.duration) };
  return {
    ...gate,
    prompt: gate.prompt === null ? null : change(gate.prompt),
    timeout: gate.timeout === null ? null : change(gate.timeout),
  };
}

function mapObject(value: JsonObject, change: (text: string) => string): JsonObject {
  return JSON.parse(JSON.stringify(value), (_key, part: unknown) =>
    typeof part === 'string' ? change(part) : part,
  ) as JsonObject;
}
