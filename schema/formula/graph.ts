import type { FormulaStep } from './formula';
import { orderSteps } from './order';
import { within, type ProblemList } from './problems';
import { everywhere } from './step-list';

/** Notes duplicate ids, needs that name no step, and cycles. @returns the steps in an order in which they can run. */
export function checkGraph(steps: readonly FormulaStep[], problems: ProblemList): FormulaStep[] {
  return everywhere(steps, (list) => checkList(list, problems));
}

/** As `checkGraph`, for one list alone. */
export function checkList(steps: readonly FormulaStep[], problems: ProblemList): FormulaStep[] {
  const byId = new Map<string, FormulaStep>();
  for (const step of steps) {
    const first = byId.get(step.id);
    if (first === undefined) {
      byId.set(step.id, step);
      continue;
    }
    const line = first.at.source.lineOf(within(first.at, 'id').path);
    problems.add({
      code: 'FORMULA_DUPLICATE_STEP',
      at: within(step.at, 'id'),
      message: `the id ${step.id} is already used in line ${line} of ${first.at.source.file}`,
      fix: 'Give each step an id of its own.',
    });
  }
  for (const step of steps) {
    for (const need of step.needs) {
      if (byId.has(need)) continue;
      problems.add({
        code: 'FORMULA_UNKNOWN_NEED',
        at: within(step.at, 'needs'),
        message: `${step.id} needs ${need}, which is no step of this formula`,
        fix: 'Name a step by its id, or remove the need.',
      });
    }
  }
  // A step that waits for what another brings comes after that one, also where it does not need it.
  const waiting = [...byId.values()].map((step) => ({
    step,
    id: step.id,
    needs: step.waitsFor?.of == null ? step.needs : [...step.needs, step.waitsFor.of],
  }));
  const { order, cycles } = orderSteps(waiting);
  for (const { first, ids } of cycles) {
    problems.add({
      code: 'FORMULA_CYCLE',
      at: within(first.step.at, 'needs'),
      message: `these steps wait for each other: ${ids.join(' → ')} (each needs the next)`,
      fix: 'Remove one of these needs.',
    });
  }
  return order.map(({ step }) => step);
}
