/** A value that survives JSON unchanged; all that may enter a payload, a row or an event. */
export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json };
export type JsonObject = { readonly [key: string]: Json };

/** How deep metadata may be nested, wherever it comes in: whatever walks it later, here or in another tool, does so by recursion. */
export const JSON_LEVELS_MAX = 32;

/** A list or an object is one level; a text or number is none. Looks no deeper than `levels`. */
export function isDeeper(value: unknown, levels: number): boolean {
  if (typeof value !== 'object' || value === null) return false;
  return levels === 0 || Object.values(value).some((item) => isDeeper(item, levels - 1));
}

export function isList(value: Json): value is readonly Json[] {
  return Array.isArray(value);
}

export function isObject(value: Json): value is JsonObject {
  return typeof value === 'object' && value !== null && !isList(value);
}
