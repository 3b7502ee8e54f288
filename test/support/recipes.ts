import { canonicalJson } from '../../schema/canonical';
import type { Recipe, RecipeStep } from '../../schema/formula/recipe';
import { sha256 } from './database';

/** A step of which only what matters is said. */
export type Draft = Pick<RecipeStep, 'id'> & Partial<RecipeStep>;

/** A recipe that nobody compiled; its digest is that of what is in it. */
export function recipeOf(steps: readonly Draft[], groups?: Readonly<Record<string, readonly Draft[]>>): Recipe {
  const recipe: Omit<Recipe, 'digest'> = {
    schema: 1,
    formula: 'flow',
    version: 1,
    type: 'workflow',
    title: 'Flow',
    description: '',
    vars: {},
    steps: steps.map(whole),
    ...(groups === undefined
      ? {}
      : { groups: Object.fromEntries(Object.entries(groups).map(([name, body]) => [name, body.map(whole)])) }),
  };
  return { ...recipe, digest: sha256(canonicalJson(JSON.parse(JSON.stringify(recipe)))) };
}

/** Steps that each need the one before, with nothing beside them. */
export function chainOf(names: readonly string[], more: Partial<RecipeStep> = {}): Recipe {
  return recipeOf(
    names.map((id, index) => ({ id, needs: names.slice(Math.max(0, index - 1), index), parallel: false, ...more })),
  );
}

function whole(step: Draft): RecipeStep {
  return {
    title: step.id,
    instructions: `do ${step.id}`,
    acceptance: null,
    checks: [],
    needs: [],
    parallel: true,
    gate: null,
    priority: null,
    labels: [],
    metadata: {},
    assignee: null,
    ...step,
  };
}
