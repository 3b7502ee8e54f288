import { readCondition } from './condition';
import type { RunCondition } from './flow';
import type { FormulaStep, WrittenCondition } from './formula';
import { orderSteps } from './order';
import type { ProblemList } from './problems';
import { everywhere, lastOf } from './step-list';
import { namesIn } from './variables';

/** A list of steps after all decisions of the cook: those left, and the run-time condition of each that has one. */
export interface Settled {
  readonly steps: FormulaStep[];
  readonly when: ReadonlyMap<string, RunCondition>;
}

interface Settling {
  readonly values: ReadonlyMap<string, string>;
  /** Variables that get their values while the molecule runs, once for each item of a fan-out. */
  readonly later: ReadonlySet<string>;
  readonly problems: ProblemList;
  /** A condition about a variable without value counts as true, and nothing is noted. */
  readonly undecided: boolean;
}

/**
 * Drops the steps whose conditions variables make false, with all that they contain; those that needed a dropped step need what it
 * needed. Finds out whom each `waits_for` means. Goes through one list; the bodies of until-loops are lists of their own.
 */
export function settleSteps(steps: readonly FormulaStep[], settling: Settling): Settled {
  const when = new Map<string, RunCondition>();
  const kept = steps.filter((step) => {
    const is = decide(step.conditions, settling);
    if (typeof is !== 'boolean') when.set(step.id, is);
    return is !== false;
  });
  const settled = passNeeds(steps, kept).map((step) => settleWait(step, { steps: kept, problems: settling.problems }));
  return { steps: settled, when };
}

/** Reads a condition at its place. Null: it could not be read, which is noted. */
export function readWritten(
  { text, at }: WrittenCondition,
  self: string | null,
  { values, later, problems, undecided }: Settling,
): boolean | RunCondition | null {
  const open = namesIn(text).find((name) => later.has(name));
  if (undecided && open !== undefined) return true;
  const read =
    open === undefined
      ? readCondition(text, { values, self })
      : { ok: false as const, why: `the value of ${open} is known only while the molecule runs` };
  if (read.ok) return read.is;
  const fix = 'Write, for example, {{mode}} == full or review.output.approved == true.';
  problems.add({ code: 'FORMULA_CONDITION', at, message: `the condition cannot be read: ${read.why}`, fix });
  return null;
}

function decide(conditions: readonly WrittenCondition[], settling: Settling): boolean | RunCondition {
  const parts: RunCondition[] = [];
  const seen = new Set<string>();
  for (const condition of conditions) {
    if (seen.has(condition.text)) continue;
    seen.add(condition.text);
    const is = readWritten(condition, null, settling);
    if (is === false) return false;
    if (is !== null && is !== true) parts.push(is);
  }
  const [only] = parts;
  return only === undefined || (parts.length === 1 && only) || { op: 'and', of: parts };
}

/** Leaves no need dangling: a need of a dropped step stands for what that step needed. */
function passNeeds(all: readonly FormulaStep[], kept: readonly FormulaStep[]): FormulaStep[] {
  if (kept.length === all.length) return [...kept];
  const left = new Set(kept.map((step) => step.id));
  const dropped = new Map<string | undefined, FormulaStep>(
    all.filter((step) => !left.has(step.id)).map((step) => [step.id, step]),
  );
  const resolved = new Map<string, readonly string[]>();
  const instead = (id: string): readonly string[] => (dropped.has(id) ? (resolved.get(id) ?? []) : [id]);
  // Those on a cycle are left out, which is reported by itself.
  for (const step of orderSteps([...dropped.values()]).order) {
    resolved.set(step.id, [...new Set(step.needs.flatMap(instead))]);
  }
  return kept.map((step) => {
    const { waitsFor } = step;
    return {
      ...step,
      needs: [...new Set(step.needs.flatMap(instead))],
      waitsFor: waitsFor !== null && dropped.has(waitsFor.of ?? step.needs[0]) ? null : waitsFor,
      contains: step.contains?.filter((id) => left.has(id)) ?? null,
    };
  });
}

/** Finds out whom each `waits_for` means, in a list and in the until-loops within it. */
export function settleWaits(steps: readonly FormulaStep[], problems: ProblemList): FormulaStep[] {
  return everywhere(steps, (list) => list.map((step) => settleWait(step, { steps: list, problems })));
}

function settleWait(
  step: FormulaStep,
  { steps, problems }: { readonly steps: readonly FormulaStep[]; readonly problems: ProblemList },
): FormulaStep {
  const { waitsFor } = step;
  if (waitsFor === null) return step;
  const of = waitsFor.of ?? step.needs[0] ?? null;
  const spawner = steps.find(({ id }) => id === of);
  if (of === null || spawner === undefined) {
    problems.add({
      code: of === null ? 'FORMULA_WAITS_FOR' : 'FORMULA_UNKNOWN_NEED',
      at: waitsFor.at,
      message:
        of === null
          ? `${step.id} does not say whose children it waits for`
          : `${step.id} waits for the children of ${of}, which is no step of this formula`,
      fix: 'Write children-of(step), or name the step first in needs.',
    });
    return { ...step, waitsFor: null };
  }
  // Who waits for the first of several cannot wait for the whole that they make up.
  const makesUp = spawner.contains !== null || spawner.loop !== null;
  const needs =
    waitsFor.mode === 'any' && makesUp ? step.needs.filter((id) => id !== of) : [...new Set([...step.needs, of])];
  return { ...step, needs, waitsFor: { ...waitsFor, of } };
}

/** The step that `step.…` means in the condition of a loop: the only last one of its body. */
export function lastStepOf(body: readonly FormulaStep[]): string | null {
  const last = lastOf(body);
  return last.find(() => last.length === 1) ?? null;
}
