import type { Budget, Work } from './budget';
import {
  mapWhole,
  plainStep,
  type Advice,
  type BondPoint,
  type Branch,
  type ComposedGate,
  type Formula,
  type FormulaStep,
  type Pointcut,
  type Trigger,
} from './formula';
import { personGate, whyUnreadable } from './gate';
import { within, type Place, type ProblemList } from './problems';
import { bothGates, behind, fillMacros, lastOf, matchesGlob, named, recontain, rewire } from './step-list';

/** What is put between the steps of a formula: advice, branches, gates, and formulas that hooks attach. */

/** What hooks and pointcuts look at. */
export interface Traits {
  readonly labels: readonly string[];
  readonly type: string | null;
  readonly priority: number | null;
}

export function stepTraits({ labels, metadata, priority }: FormulaStep): Traits {
  const { type } = metadata;
  return { labels, type: typeof type === 'string' ? type : 'task', priority };
}

/** Steps before wait for what the target waited for, one after the other; those behind the target wait for the last step after. */
export function advise(
  steps: readonly FormulaStep[],
  advice: Advice,
  around: { readonly own: ReadonlySet<string>; readonly limits: Budget },
): FormulaStep[] {
  // Advice is not applied to steps that advice of the same formula put there.
  const targets = steps.filter((step) => around.own.has(step.id) && isAdvised(advice, step));
  if (targets.length === 0) return [...steps];
  if (!around.limits.allows(steps.length + targets.length * (advice.before.length + advice.after.length))) return [];
  const inserted = new Map(
    targets.map((target) => [target.id, insertsOf(advice, target, around.limits.work)] as const),
  );
  const ends = new Map(
    [...inserted].flatMap(([id, { after }]) => (after.length === 0 ? [] : [[id, lastOf(after)] as const])),
  );
  const inside = new Map(
    [...inserted].map(([id, { before, after }]) => [id, [...before, { id }, ...after].map((step) => step.id)] as const),
  );
  return rewire(recontain(steps, inside), ends, around.limits.work).flatMap((step) => {
    const { before, after } = inserted.get(step.id) ?? { before: [], after: [] };
    const inner = before.at(-1);
    const needs = inner === undefined ? step.needs : [...new Set([...step.needs, inner.id])];
    return [...chain(before, step.needs), { ...step, needs }, ...chain(after, [step.id])];
  });
}

function insertsOf(
  advice: Advice,
  target: FormulaStep,
  work: Work,
): { readonly before: FormulaStep[]; readonly after: FormulaStep[] } {
  const macros = stepMacros('step', target);
  const fill = (step: FormulaStep): FormulaStep => mapWhole(step, (text) => fillMacros(text, macros, work));
  return { before: named(advice.before).map(fill), after: chain(named(advice.after).map(fill), []) };
}

function isAdvised(advice: Advice, step: FormulaStep): boolean {
  if (advice.target !== null && !matchesGlob(advice.target, step.id)) return false;
  return advice.pointcuts.length === 0 || advice.pointcuts.some((pointcut) => isCut(pointcut, step));
}

function isCut({ glob, type, label }: Pointcut, step: FormulaStep): boolean {
  const traits = stepTraits(step);
  return (
    (glob === null || matchesGlob(glob, step.id)) &&
    (type === null || type === traits.type) &&
    (label === null || traits.labels.includes(label))
  );
}

function chain(steps: readonly FormulaStep[], needs: readonly string[]): FormulaStep[] {
  return steps.map((step, index) => {
    const before = steps[index - 1];
    return { ...step, needs: [...new Set([...(before === undefined ? needs : [before.id]), ...step.needs])] };
  });
}

export function stepMacros(prefix: string, step: FormulaStep): Map<string, string> {
  return new Map([
    [`${prefix}.id`, step.id],
    [`${prefix}.title`, step.title ?? step.id],
    [`${prefix}.description`, step.description ?? step.instructions ?? ''],
  ]);
}

/** The steps of a branch need `from`, and `join` needs them all. */
export function addBranch(steps: readonly FormulaStep[], branch: Branch, problems: ProblemList): FormulaStep[] {
  const ids = new Set(steps.map((step) => step.id));
  for (const [key, id] of [['from', branch.from], ['join', branch.join], ...branch.steps.map((id) => ['steps', id])]) {
    if (id !== undefined && key !== undefined && !ids.has(id))
      noteUnknown({ id, at: within(branch.at, key) }, problems);
  }
  const side = branch.steps.filter((id) => ids.has(id));
  return steps.map((step) => {
    const needs = side.includes(step.id) ? [branch.from] : step.id === branch.join ? side : [];
    const known = needs.filter((id) => ids.has(id));
    return known.length === 0 ? step : { ...step, needs: [...new Set([...step.needs, ...known])] };
  });
}

export function addGate(steps: readonly FormulaStep[], composed: ComposedGate, problems: ProblemList): FormulaStep[] {
  const { before, condition, at } = composed;
  if (!steps.some((step) => step.id === before)) noteUnknown({ id: before, at: within(at, 'before') }, problems);
  const person = personGate(condition, at);
  const gate =
    whyUnreadable(condition) === null ? { ...person, kind: 'condition' as const, prompt: null, condition } : person;
  return steps.map((step) => (step.id === before ? { ...step, gate: bothGates(step, gate, problems) } : step));
}

export function isTriggered(trigger: Trigger, all: readonly Traits[]): boolean {
  return all.some(({ labels, type, priority }) => {
    if (trigger.kind === 'priority') return priority !== null && priority >= trigger.from && priority <= trigger.to;
    return trigger.kind === 'label' ? labels.includes(trigger.value) : type === trigger.value;
  });
}

/** Puts steps at a bond point: between a step and those behind it, between a step and those before it, or behind all. */
export function attach(
  steps: readonly FormulaStep[],
  added: readonly FormulaStep[],
  { point, work }: { readonly point: BondPoint | null; readonly work: Work },
): FormulaStep[] {
  if (added.length === 0) return [...steps];
  const ends = lastOf(added);
  if (point === null) return [...steps, ...behind(added, lastOf(steps), work)];
  const { step: id, side, parallel } = point;
  if (side === 'after') {
    const rest = parallel ? [...steps] : rewire(steps, new Map([[id, ends]]), work);
    return rest.flatMap((step) => (step.id === id ? [step, ...behind(added, [id], work)] : [step]));
  }
  return steps.flatMap((step) => {
    if (step.id !== id) return [step];
    const inFront = behind(added, step.needs, work);
    return [...inFront, parallel ? step : { ...step, needs: [...new Set([...step.needs, ...ends])] }];
  });
}

export function noteUnknown(
  unknown: { readonly id: string; readonly at: Place; readonly severity?: 'error' | 'warning' },
  problems: ProblemList,
): void {
  const { at, severity = 'error' } = unknown;
  problems.add({
    code: 'FORMULA_UNKNOWN_STEP',
    at,
    severity,
    message: `no step is named ${unknown.id}`,
    fix: 'Name a step of this formula or of its parents.',
  });
}

/** An aspect by itself: a stand-in for each step that its advice names, so that it can be tried. */
export function standIns(formula: Formula): FormulaStep[] {
  const names = new Set(
    formula.advice.map(({ target }) => (target ?? '*').replaceAll(/\*+/g, 'main').replaceAll(/[^A-Za-z0-9._-]/g, '')),
  );
  return [...names].map((id) => ({
    ...plainStep(id, { source: formula.source, path: 'advice' }),
    instructions: `Stands for the step ${id} that ${formula.name} is put around; there is nothing to do.`,
  }));
}
