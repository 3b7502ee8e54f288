import { canonicalJson } from '../canonical';
import type { Recipe } from './recipe';

/** The recipe of work slung without a formula: one step named `work`. `digestOf` gives sha256 as hex. */
export function singleStepRecipe(
  title: string,
  description: string,
  acceptance: string | null,
  digestOf: (text: string) => string,
): Recipe {
  const step = {
    id: 'work',
    title,
    instructions: description === '' ? title : description,
    acceptance,
    checks: [],
    needs: [],
    parallel: false,
    gate: null,
    priority: null,
    labels: [],
    metadata: {},
    assignee: null,
  };
  const recipe = {
    schema: 1 as const,
    formula: 'single-step',
    version: 1,
    type: 'workflow' as const,
    title,
    description,
    vars: {},
    steps: [step],
  };
  return { ...recipe, digest: digestOf(canonicalJson(recipe)) };
}
