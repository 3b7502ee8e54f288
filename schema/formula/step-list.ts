import type { Work } from './budget';
import { renameAsked } from './condition';
import type { FormulaGate, FormulaLoop, FormulaStep } from './formula';
import { within, type ProblemList } from './problems';

/** What is done to lists of steps: a list is one scope of needs, that of a formula or of the body of an until-loop. */

/** Of one need of one step, in units of `Work`: it is looked at many times. */
const NEED_COST = 20;

/** Steps without an id were reported when they were read; they take no part. */
export function named(steps: readonly FormulaStep[]): FormulaStep[] {
  return steps.filter((step) => step.id !== '');
}

/** Changes a list and, after that, the list in each until-loop within it. */
export function everywhere(
  steps: readonly FormulaStep[],
  change: (list: readonly FormulaStep[]) => readonly FormulaStep[],
): FormulaStep[] {
  return change(steps).map((step) =>
    step.loop?.kind === 'until' ? { ...step, loop: { ...step.loop, body: everywhere(step.loop.body, change) } } : step,
  );
}

/** Changes each step of a list and all within them; null takes a step out. */
export function mapSteps(
  steps: readonly FormulaStep[],
  change: (step: FormulaStep) => FormulaStep | null,
): FormulaStep[] {
  return steps.flatMap((step) => {
    const changed = change(step);
    if (changed === null) return [];
    const { children, loop } = changed;
    return [
      {
        ...changed,
        children: mapSteps(children, change),
        loop: loop === null ? null : { ...loop, body: mapSteps(loop.body, change) },
      },
    ];
  });
}

/** All steps of a list and of the until-loops within it. */
export function allWithin(steps: readonly FormulaStep[]): FormulaStep[] {
  return steps.flatMap((step) => [step, ...(step.loop?.kind === 'until' ? allWithin(step.loop.body) : [])]);
}

/** Makes the steps that need none of the others wait for `needs` too. */
export function behind(steps: readonly FormulaStep[], needs: readonly string[], work: Work): FormulaStep[] {
  const first = new Set(firstOf(steps));
  if (!work.takes(NEED_COST * first.size * needs.length)) return [...steps];
  return steps.map((step) => (first.has(step.id) ? { ...step, needs: [...new Set([...needs, ...step.needs])] } : step));
}

/** Ids that need none of the others. */
function firstOf(steps: readonly FormulaStep[]): string[] {
  const own = new Set(steps.map((step) => step.id));
  return steps.filter((step) => !step.needs.some((need) => own.has(need))).map((step) => step.id);
}

/** Ids that none of the others needs. */
export function lastOf(steps: readonly FormulaStep[]): string[] {
  const needed = new Set(steps.flatMap((step) => step.needs));
  return steps.map((step) => step.id).filter((id) => !needed.has(id));
}

/** Makes those that need one of the replaced steps need, instead of it, those that `ends` names. */
export function rewire(
  steps: readonly FormulaStep[],
  ends: ReadonlyMap<string, readonly string[]>,
  work: Work,
  own: ReadonlySet<string> = new Set(),
): FormulaStep[] {
  const replaced = (id: string): readonly string[] | undefined => (own.has(id) ? undefined : ends.get(id));
  return steps.map((step) => {
    if (!step.needs.some((need) => replaced(need) !== undefined)) return step;
    const needs = step.needs.flatMap((need) => replaced(need) ?? [need]);
    return work.takes(NEED_COST * needs.length) ? { ...step, needs: [...new Set(needs)] } : step;
  });
}

/** Makes those that wait for what a replaced step brings wait for those that took its place. */
function rewireWaits(steps: readonly FormulaStep[], ends: ReadonlyMap<string, readonly string[]>): FormulaStep[] {
  return steps.map((step) => {
    const { waitsFor } = step;
    if (waitsFor === null || waitsFor.of === null) return step;
    const instead = ends.get(waitsFor.of);
    const [of] = instead ?? [];
    if (instead === undefined || of === undefined) return step;
    return { ...step, needs: [...new Set([...step.needs, ...instead])], waitsFor: { ...waitsFor, of } };
  });
}

/** Makes those that contain one of the steps contain, and need, those that `inside` names for it. */
export function recontain(
  steps: readonly FormulaStep[],
  inside: ReadonlyMap<string, readonly string[]>,
): FormulaStep[] {
  const put = (list: readonly string[]): string[] => [...new Set(list.flatMap((id) => inside.get(id) ?? [id]))];
  return steps.map((step) =>
    step.contains?.some((id) => inside.has(id)) === true
      ? { ...step, contains: put(step.contains), needs: [...new Set([...step.needs, ...put(step.contains)])] }
      : step,
  );
}

/** Those of a child take the place of those of its parent with their ids; the others follow. */
export function replacedById<P extends { readonly id: string }>(parents: readonly P[], own: readonly P[]): P[] {
  const known = new Set(parents.map(({ id }) => id));
  const replacing = new Map(own.map((each) => [each.id, each]));
  return [...parents.map((each) => replacing.get(each.id) ?? each), ...own.filter(({ id }) => !known.has(id))];
}

/** Puts other steps in the place of some: those that needed or contained one need its last parts, or contain all. */
export function replaceSteps(
  steps: readonly FormulaStep[],
  parts: ReadonlyMap<string, readonly FormulaStep[]>,
  work: Work,
): FormulaStep[] {
  if (parts.size === 0) return [...steps];
  const ends = new Map([...parts].map(([id, list]) => [id, lastOf(list)] as const));
  const inside = new Map([...parts].map(([id, list]) => [id, list.map((part) => part.id)] as const));
  // A condition about a replaced step asks about the one that ends it, unless a part has its id.
  const asked = (id: string): string => {
    const [end, ...more] = ends.get(id) ?? [];
    return end === undefined || more.length > 0 || inside.get(id)?.includes(id) === true ? id : end;
  };
  return steps.flatMap((step) => {
    const list = parts.get(step.id);
    const own = new Set(inside.get(step.id));
    // A part may have the id of the step it replaces; the parts then mean that one.
    if (list !== undefined) {
      const outside = (id: string): string => (own.has(id) ? id : asked(id));
      return rewire(list, ends, work, own).map((part) => renameInConditions(part, outside, work));
    }
    const kept = rewireWaits(rewire(recontain([step], inside), ends, work), ends);
    return kept.map((each) => renameInConditions(each, asked, work));
  });
}

/**
 * Hands what was said of a step to those that stand in its place. The first ones get its gate and what it waits for, the last
 * ones its checks and what follows it; conditions, retries, labels and the rest hold for each. What no one can take is refused.
 */
export function handOn(replaced: FormulaStep, parts: readonly FormulaStep[], problems: ProblemList): FormulaStep[] {
  const { gate, fanOut, onFailure } = replaced;
  const first = new Set(firstOf(parts));
  const last = new Set(lastOf(parts));
  if (fanOut !== null && last.size > 1) {
    refuse(replaced, 'on_complete', 'the step becomes several that end side by side, so none has its output', problems);
  }
  if (onFailure?.kind === 'compensate') {
    refuse(replaced, 'on_failure', 'the step becomes several, and each would be undone by itself', problems);
  }
  return parts.map((part) => {
    const begins = first.has(part.id);
    const ends = last.has(part.id);
    return {
      ...part,
      gate: begins ? bothGates(part, gate, problems) : part.gate,
      waitsFor: begins ? (part.waitsFor ?? replaced.waitsFor) : part.waitsFor,
      checks: ends ? [...part.checks, ...replaced.checks] : part.checks,
      fanOut: ends ? (part.fanOut ?? fanOut) : part.fanOut,
      conditions: [...replaced.conditions, ...part.conditions],
      retry: part.retry ?? replaced.retry,
      onFailure: part.onFailure ?? (onFailure?.kind === 'skip' ? onFailure : null),
      labels: [...new Set([...part.labels, ...replaced.labels])],
      priority: part.priority ?? replaced.priority,
      assignee: part.assignee ?? replaced.assignee,
    };
  });
}

/** A step has one gate; two conditions can be one. */
export function bothGates(step: FormulaStep, added: FormulaGate | null, problems: ProblemList): FormulaGate | null {
  const { gate } = step;
  if (gate === null || added === null) return gate ?? added;
  if (gate.kind === 'condition' && added.kind === 'condition') {
    return { ...gate, condition: `(${gate.condition}) and (${added.condition})` };
  }
  problems.add({
    code: 'FORMULA_CONFLICT',
    at: added.at,
    message: `the step ${step.id} would have two gates`,
    fix: 'Put one of them on a step of its own before it.',
  });
  return gate;
}

function refuse(step: FormulaStep, key: string, message: string, problems: ProblemList): void {
  problems.add({
    code: 'FORMULA_CONFLICT',
    at: within(step.at, key),
    message,
    fix: `Give ${key} to one of the steps that take its place.`,
  });
}

/** Gives a step another id, and those it names theirs. */
export function renameStep(written: FormulaStep, rename: (id: string) => string, work: Work): FormulaStep {
  const part = renameInConditions(written, rename, work);
  const { waitsFor } = part;
  return {
    ...part,
    id: rename(part.id),
    needs: part.needs.map(rename),
    contains: part.contains?.map(rename) ?? null,
    waitsFor: waitsFor === null || waitsFor.of === null ? waitsFor : { ...waitsFor, of: rename(waitsFor.of) },
  };
}

/** Gives the steps that the conditions of a step name their ids, also those of a loop. A name within a loop means its own step first. */
function renameInConditions(step: FormulaStep, rename: (id: string) => string, work: Work): FormulaStep {
  const { conditions, gate, loop } = step;
  if (conditions.length === 0 && gate === null && loop === null) return step;
  const change = (text: string): string => (work.takes(text.length) ? renameAsked(text, rename) : text);
  return {
    ...step,
    conditions: conditions.map((each) => ({ ...each, text: change(each.text) })),
    gate: gate === null ? null : { ...gate, condition: change(gate.condition) },
    loop: loop?.kind === 'until' ? renameInLoop(loop, rename, work) : loop,
  };
}

function renameInLoop(loop: FormulaLoop & { kind: 'until' }, rename: (id: string) => string, work: Work): FormulaLoop {
  const own = new Set(loop.body.map(({ id }) => id));
  const outside = (id: string): string => (own.has(id) ? id : rename(id));
  const body = loop.body.map((part) => renameInConditions(part, outside, work));
  return { ...loop, until: renameAsked(loop.until, outside), body };
}

/** `*` stands for any characters. Written out by hand, since a glob from a file must not make an engine backtrack. */
export function matchesGlob(glob: string, id: string): boolean {
  const [open, close] = [glob.indexOf('*'), glob.lastIndexOf('*')];
  if (open === -1) return glob === id;
  const [first, last] = [glob.slice(0, open), glob.slice(close + 1)] as const;
  if (!id.startsWith(first) || !id.endsWith(last) || id.length < first.length + last.length) return false;
  let at = first.length;
  for (const part of glob.slice(open + 1, close).split('*')) {
    const found = id.indexOf(part, at);
    if (found === -1 || found + part.length > id.length - last.length) return false;
    at = found + part.length;
  }
  return true;
}

/** Puts values in place of `{name}`. `{{name}}` is not touched. */
export function fillMacros(text: string, macros: ReadonlyMap<string, string>, work: Work): string {
  return work.fill(text, /(?<!\{)\{([A-Za-z_][\w.]*)\}(?!\})/g, macros);
}
