import type { LeanStep } from '../ledger';
import type { Recipe, RecipeStep } from './recipe';

/** Of a recipe's JSON. It lies in the ledger, never in a history, so it may be larger than a payload. */
export const RECIPE_BYTES_MAX = 4_000_000;
/** Of what its run gets. A payload of Temporal has at most twice that, and the state of a run is larger than what it began with. */
const LEAN_BYTES_MAX = 1_000_000;

/** What a molecule's run gets of a recipe: no texts for agents. */

export function leanStep(step: RecipeStep): LeanStep {
  const { id, title, needs, parallel, priority, gate, flow } = step;
  return { id, title, needs, parallel, priority, gate, ...(flow === undefined ? {} : { flow }) };
}

/** Absent where the recipe has none. */
export function leanGroups({ groups }: Pick<Recipe, 'groups'>): {
  readonly groups?: Readonly<Record<string, readonly LeanStep[]>>;
} {
  if (groups === undefined) return {};
  return { groups: Object.fromEntries(Object.entries(groups).map(([name, steps]) => [name, steps.map(leanStep)])) };
}

/** Why a recipe cannot be poured, or null. */
export function whyTooBig(recipe: Omit<Recipe, 'digest'>, bytesMax: number): string | null {
  const whole = bytesOf(JSON.stringify(recipe));
  if (whole > bytesMax) return `its recipe has ${whole} bytes, at most ${bytesMax} are kept`;
  const lean = bytesOf(JSON.stringify({ steps: recipe.steps.map(leanStep), ...leanGroups(recipe) }));
  if (lean <= LEAN_BYTES_MAX) return null;
  return `its titles, needs, gates and conditions have ${lean} bytes, at most ${LEAN_BYTES_MAX} go with a molecule`;
}

function bytesOf(text: string): number {
  return new TextEncoder().encode(text).length;
}
