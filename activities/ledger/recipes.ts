import { sql, type Kysely } from 'kysely';
import { canonicalJson } from '../../schema/canonical';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import { RECIPE_BYTES_MAX, whyTooBig } from '../../schema/formula/lean';
import type { Recipe } from '../../schema/formula/recipe';
import type { JsonObject } from '../../schema/json';
import type { Ledger } from '../../schema/ledger';
import type { Store } from './command';

export function recipeCommands(store: Store): Pick<Ledger, 'storeRecipe' | 'getRecipe'> {
  return {
    storeRecipe: (recipe) => keepRecipe(store, store.db, recipe),
    getRecipe: (digest) => findRecipe(store.db, digest),
  };
}

/** Idempotent by the digest. @throws INVALID_INPUT when the digest is not that of the content, INPUT_TOO_LARGE */
export async function keepRecipe(store: Store, db: Kysely<Database>, recipe: Recipe): Promise<void> {
  const { digest, ...body } = recipe;
  // A recipe is plain JSON; interfaces only lack the index signature.
  if (store.digestOf !== null && store.digestOf(canonicalJson(body as unknown as JsonObject)) !== digest) {
    throw new TownError('INVALID_INPUT', `the recipe of ${recipe.formula} does not match its digest ${digest}`);
  }
  const tooBig = whyTooBig(body, RECIPE_BYTES_MAX);
  if (tooBig !== null) {
    throw new TownError('INPUT_TOO_LARGE', `${recipe.formula} cannot be poured: ${tooBig}`, {
      hint: 'split the formula, or shorten its texts; see: town formula lint',
    });
  }
  await sql`insert into recipes (digest, formula, document) values (${digest}, ${recipe.formula}, ${JSON.stringify(recipe)}::jsonb)
    on conflict (digest) do nothing`.execute(db);
}

/** Recipes read last. One of a thousand steps takes milliseconds to read, and every step of its molecule asks for it. */
const RECENT_MAX = 32;
const recent = new Map<string, Recipe>();

/** A recipe never changes under its digest, so one that was read stays good. @throws NOT_FOUND */
export async function findRecipe(db: Kysely<Database>, digest: string): Promise<Recipe> {
  const known = recent.get(digest);
  if (known !== undefined) return known;
  const { rows } = await sql<{ document: Recipe }>`select document from recipes where digest = ${digest}`.execute(db);
  const row = rows[0];
  if (row === undefined) {
    throw new TownError('NOT_FOUND', `there is no recipe ${digest.slice(0, 12)}`, { hint: 'see: town formula list' });
  }
  recent.set(digest, row.document);
  for (const oldest of recent.keys()) {
    if (recent.size <= RECENT_MAX) break;
    recent.delete(oldest);
  }
  return row.document;
}
