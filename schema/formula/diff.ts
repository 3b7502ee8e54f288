import { canonicalJson } from '../canonical';
import type { Json, JsonObject } from '../json';
import type { Recipe, RecipeStep } from './recipe';

/** One difference between two recipes, by step. */
export type RecipeChange =
  | { readonly kind: 'added'; readonly step: string }
  | { readonly kind: 'removed'; readonly step: string }
  /** `step` null: of the recipe itself. */
  | {
      readonly kind: 'changed';
      readonly step: string | null;
      readonly field: string;
      readonly before: Json;
      readonly after: Json;
    }
  /** The same steps in another order, where nothing else says why. */
  | { readonly kind: 'moved'; readonly step: string; readonly before: number; readonly after: number };

const HEAD_FIELDS = ['title', 'description', 'version', 'type', 'vars', 'phase', 'pour', 'squash'] as const;

/** What makes the second recipe another than the first; steps of groups are named `group/step`. Empty: they are equal. */
export function diffRecipes(before: Recipe, after: Recipe): RecipeChange[] {
  const heads = HEAD_FIELDS.flatMap((field) => fieldChange(null, field, [plain(before)[field], plain(after)[field]]));
  const [old, fresh] = [stepsByName(before), stepsByName(after)];
  const removed = [...old.keys()].filter((name) => !fresh.has(name));
  const added = [...fresh.keys()].filter((name) => !old.has(name));
  const common = [...fresh].flatMap(([name, step]) => {
    const was = old.get(name);
    return was === undefined ? [] : stepChanges(name, was, step);
  });
  const was = [...old.keys()].filter((name) => fresh.has(name));
  const is = [...fresh.keys()].filter((name) => old.has(name));
  const moved =
    removed.length + added.length > 0
      ? []
      : is.flatMap((step, index) =>
          was[index] === step
            ? []
            : [{ kind: 'moved' as const, step, before: was.indexOf(step) + 1, after: index + 1 }],
        );
  return [
    ...heads,
    ...removed.map((step) => ({ kind: 'removed' as const, step })),
    ...added.map((step) => ({ kind: 'added' as const, step })),
    ...common,
    ...moved,
  ];
}

/** One line a change, and two more for what was and what is. */
export function diffText(changes: readonly RecipeChange[]): string {
  return changes.map(changeText).join('');
}

function changeText(change: RecipeChange): string {
  if (change.kind === 'added') return `+ ${change.step}\n`;
  if (change.kind === 'removed') return `- ${change.step}\n`;
  if (change.kind === 'moved') return `~ ${change.step}: place ${change.before} → ${change.after}\n`;
  const { step, field, before, after } = change;
  const name = step === null ? field : `${step}.${field}`;
  return `~ ${name}\n${indented('-', before)}${indented('+', after)}`;
}

function indented(sign: string, value: Json): string {
  const text = typeof value === 'string' ? value : canonicalJson(value);
  return text
    .split('\n')
    .map((line) => `    ${sign} ${line}\n`)
    .join('');
}

function stepChanges(name: string, before: RecipeStep, after: RecipeStep): RecipeChange[] {
  const [old, fresh] = [plain(before), plain(after)];
  return [...new Set([...Object.keys(old), ...Object.keys(fresh)])].flatMap((field) =>
    fieldChange(name, field, [old[field], fresh[field]]),
  );
}

function fieldChange(
  step: string | null,
  field: string,
  [before = null, after = null]: readonly [Json | undefined, Json | undefined],
): RecipeChange[] {
  return canonicalJson(before) === canonicalJson(after) ? [] : [{ kind: 'changed', step, field, before, after }];
}

function stepsByName(recipe: Recipe): Map<string, RecipeStep> {
  const groups = Object.entries(recipe.groups ?? {}).flatMap(([group, steps]) =>
    steps.map((step) => [`${group}/${step.id}`, step] as const),
  );
  return new Map([...recipe.steps.map((step) => [step.id, step] as const), ...groups]);
}

/** A recipe is plain JSON; interfaces have no index. */
function plain(value: Recipe | RecipeStep): JsonObject {
  return value as unknown as JsonObject;
}
