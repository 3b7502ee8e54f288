import { createHash } from 'node:crypto';
import { compileFormula, type CompiledFormula, type CompileOptions } from '../../../schema/formula/compile';
import type { Formula } from '../../../schema/formula/formula';
import { parseFormula } from '../../../schema/formula/parse';
import type { Recipe, RecipeStep } from '../../../schema/formula/recipe';

/** The words of the tests of the compiler: texts of formulas go in, recipes and problems come out. */

export const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');

export interface Kitchen extends Partial<Omit<CompileOptions, 'resolve' | 'digestOf'>> {
  /** Other formulas, by name. */
  readonly others?: Readonly<Record<string, string>>;
  readonly file?: string;
  /** How all of them are read; absent: as they say themselves. */
  readonly read?: 'strict' | 'compatible';
}

export function parsed(text: string, file = 'f.toml', read?: Kitchen['read']): Formula {
  const { formula, problems } = parseFormula(text, file, read === undefined ? {} : { mode: read });
  if (formula === null) throw new Error(JSON.stringify(problems));
  return formula;
}

export function cook(text: string, { others = {}, file = 'f.toml', read, ...options }: Kitchen = {}): CompiledFormula {
  const { formula, problems } = parseFormula(text, file, read === undefined ? {} : { mode: read });
  if (formula === null) return { recipe: null, problems };
  const resolve = (name: string): Formula | null => {
    const other = others[name];
    return other === undefined ? null : parsed(other, `${name}.toml`, read);
  };
  const compiled = compileFormula(formula, { vars: {}, digestOf, resolve, ...options });
  return { recipe: compiled.recipe, problems: [...problems, ...compiled.problems] };
}

export function recipeOf(text: string, kitchen: Kitchen = {}): Recipe {
  const { recipe, problems } = cook(text, kitchen);
  if (recipe === null) throw new Error(JSON.stringify(problems));
  return recipe;
}

/** `line code` of every problem, errors and warnings. */
export const places = (result: CompiledFormula): string[] => result.problems.map((p) => `${p.line} ${p.code}`);
export const codes = (result: CompiledFormula): string[] => result.problems.map((p) => p.code);
export const needsOf = (recipe: Recipe): Record<string, readonly string[]> =>
  Object.fromEntries(recipe.steps.map((step) => [step.id, step.needs]));

export function stepOf(recipe: Recipe, id: string): RecipeStep {
  const all = [...recipe.steps, ...Object.values(recipe.groups ?? {}).flat()];
  const found = all.find((step) => step.id === id);
  if (found === undefined) throw new Error(`${id} is not among ${all.map((step) => step.id).join(' ')}`);
  return found;
}
