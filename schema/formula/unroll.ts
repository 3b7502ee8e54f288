import type { Budget } from './budget';
import { plainStep, mapWhole, type FormulaLoop, type FormulaStep } from './formula';
import { within, type ProblemList } from './problems';
import { rangeNames, readRange } from './range';
import { behind, fillMacros, handOn, lastOf, named, renameStep, replaceSteps } from './step-list';

interface Unrolling {
  readonly limits: Budget;
  readonly problems: ProblemList;
  /** Null: not known yet, so that a loop over a variable counts as one round. */
  readonly values: ReadonlyMap<string, string> | null;
}

/** What counted loops became, by id. */
type Rounds = Map<string, readonly FormulaStep[]>;

/**
 * Counted loops become `<loop>.iter<n>.<step>`, each round after the one before. Children come before their parent, which
 * contains them. A parent that is checked and tried again becomes a loop of its children until the check passes. Loops among children
 * are noted in `within`, since steps around may need them.
 */
export function unroll(steps: readonly FormulaStep[], unrolling: Unrolling, within: Rounds = new Map()): FormulaStep[] {
  const { limits, problems } = unrolling;
  const flat: FormulaStep[] = [];
  /** How many steps the rounds of loops have made. */
  let made = 0;
  const rounds: Rounds = new Map();
  const inner: Rounds = new Map();
  for (const step of named(steps)) {
    const kinds = [step.loop && 'loop', step.children.length > 0 && 'children', step.expand && 'expand'].filter(
      Boolean,
    );
    if (kinds.length > 1) {
      problems.add({
        code: 'FORMULA_CONFLICT',
        at: step.at,
        message: `the step ${step.id} has both ${kinds.join(' and ')}`,
        fix: 'Give each to a step of its own.',
      });
    }
    if (step.loop?.kind === 'range') {
      const unrolled = unrollRange(step, step.loop, made, unrolling);
      made += unrolled.length;
      rounds.set(step.id, unrolled);
      flat.push(step);
    } else if (step.loop !== null || step.children.length > 0) {
      flat.push(
        ...(step.loop === null ? unrollChildren(step, unrolling, inner) : [unrollUntil(step, step.loop, unrolling)]),
      );
    } else {
      flat.push(step);
    }
    if (!limits.allows(flat.length - rounds.size + made)) return [];
  }
  for (const [id, parts] of [...rounds, ...inner]) within.set(id, parts);
  return replaceSteps(flat, new Map([...inner, ...rounds]), limits.work);
}

const ONE_ROUND = { first: 1, last: 1 };

function unrollRange(
  step: FormulaStep,
  loop: FormulaLoop & { kind: 'range' },
  before: number,
  unrolling: Unrolling,
): FormulaStep[] {
  const { limits, problems, values } = unrolling;
  const unknown = values === null && rangeNames(loop.range).length > 0;
  const range = unknown ? { ok: true as const, is: ONE_ROUND } : readRange(loop.range, values ?? new Map());
  if (!range.ok) {
    const message = `the range ${loop.range.slice(0, 60)} cannot be counted: ${range.why}`;
    problems.add({
      code: 'FORMULA_VALUE',
      at: within(loop.at, 'range'),
      message,
      fix: 'Write one such as 1..7 or 1..2^{disks}.',
    });
    return [];
  }
  const { first, last } = range.is;
  const count = last - first + 1;
  if (!limits.allows(count)) return [];
  const bodyWith = bodyOf(loop, unrolling);
  const steps: FormulaStep[] = [];
  let ends: readonly string[] = step.needs;
  for (let round = 1; round <= count && limits.allows(before + steps.length); round += 1) {
    const body = bodyWith(String(first + round - 1));
    const own = new Set(body.map((part) => part.id));
    const rename = (id: string): string => (own.has(id) ? `${step.id}.iter${round}.${id}` : id);
    const renamed = body.map((part) => renameStep(part, rename, limits.work));
    steps.push(...behind(renamed, ends, limits.work));
    if (renamed.length > 0) ends = lastOf(renamed);
  }
  return handOn(step, steps, problems);
}

/** The steps of a round, by the value of the loop's variable; without one all rounds have the same. */
function bodyOf(
  { var: name, body }: FormulaLoop & { kind: 'range' },
  unrolling: Unrolling,
): (value: string) => readonly FormulaStep[] {
  if (name === null) {
    const same = unroll(body, unrolling);
    return () => same;
  }
  return (value) => {
    const macros = new Map([[name, value]]);
    const fill = (text: string): string => fillMacros(text, macros, unrolling.limits.work);
    return unroll(
      body.map((part) => mapWhole(part, fill)),
      unrolling,
    );
  };
}

/** Nobody works on a loop: what is said of the work holds for its body. What the body needs from outside, the loop waits for. */
function unrollUntil(step: FormulaStep, loop: FormulaLoop & { kind: 'until' }, unrolling: Unrolling): FormulaStep {
  const { checks, retry, fanOut } = step;
  const body = unroll(loop.body, unrolling);
  const own = new Set(body.map((part) => part.id));
  const outside = body.flatMap((part) => part.needs.filter((need) => !own.has(need)));
  for (const [key, odd] of Object.entries({
    check: checks.length > 0,
    retry: retry !== null,
    on_complete: fanOut !== null,
  })) {
    if (!odd) continue;
    unrolling.problems.add({
      code: 'FORMULA_CONFLICT',
      at: within(step.at, key),
      message: `nobody works on the loop ${step.id} itself, so ${key} has no meaning for it`,
      fix: `Give ${key} to a step of its body.`,
    });
  }
  const rounds = body.map((part) => ({
    ...part,
    needs: part.needs.filter((need) => own.has(need)),
    labels: [...new Set([...part.labels, ...step.labels])],
    priority: part.priority ?? step.priority,
    assignee: part.assignee ?? step.assignee,
  }));
  return { ...step, needs: [...new Set([...step.needs, ...outside])], loop: { ...loop, body: rounds } };
}

function unrollChildren(step: FormulaStep, unrolling: Unrolling, inner: Rounds): FormulaStep[] {
  const { problems } = unrolling;
  if (step.checks.length > 0 && step.retry !== null) {
    return [unrollUntil(...checkedLoop(step, step.retry.attemptsMax), unrolling)];
  }
  const children = unroll(step.children, unrolling, inner);
  const parts = handOn(step, behind(children, step.needs, unrolling.limits.work), problems);
  const ids = children.map((child) => child.id);
  const parent: FormulaStep = {
    ...step,
    children: [],
    contains: ids,
    needs: [...new Set([...step.needs, ...ids])],
    gate: null,
    waitsFor: null,
    checks: [],
    fanOut: null,
    retry: null,
  };
  return [...parts, parent];
}

/** The children are done again until the check passes: it is that of a last step, which an agent closes as done or as failed. */
function checkedLoop(step: FormulaStep, max: number): [FormulaStep, FormulaLoop & { kind: 'until' }] {
  const id = `${step.id}.check`;
  const last: FormulaStep = {
    ...plainStep(id, step.at),
    title: `Check: ${step.title ?? step.id}`,
    description: step.description,
    descriptionFile: step.descriptionFile,
    instructions:
      `${step.instructions === null ? '' : `${step.instructions}\n\n`}Close this step as done: its check decides. ` +
      'When the check refuses, close it as failed, and the steps before it are done again.',
    acceptance: step.acceptance,
    checks: step.checks,
    needs: lastOf(named(step.children)),
    onFailure: { kind: 'skip' },
  };
  const loop = {
    kind: 'until' as const,
    until: `${id}.status == 'complete'`,
    max,
    body: [...step.children, last],
    at: step.at,
  };
  return [{ ...step, children: [], checks: [], retry: null, loop }, loop];
}
