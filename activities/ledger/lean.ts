import type { Recipe, RecipeStep } from '../../schema/formula/recipe';
import type { LeanStep } from '../../schema/ledger';

/** What a molecule's run gets of a recipe: no texts for agents. */

export function leanStep(step: RecipeStep): LeanStep {
  const { id, title, needs, parallel, priority, gate, flow } = step;
  return { id, title, needs, parallel, priority, gate, ...(flow === undefined ? {} : { flow }) };
}

/** Absent where the recipe has none. */
export function leanGroups({ groups }: Recipe): { readonly groups?: Readonly<Record<string, readonly LeanStep[]>> } {
  if (groups === undefined) return {};
  return { groups: Object.fromEntries(Object.entries(groups).map(([name, steps]) => [name, steps.map(leanStep)])) };
}
