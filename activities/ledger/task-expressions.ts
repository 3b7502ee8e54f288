import { sql } from 'kysely';

/** Conditions on a row of `tasks` that several queries ask for; none of them is ever null. */

/** What callers see as the status, see `statusAt`. */
export const STATUS = sql`(case when status = 'deferred' and defer_until <= statement_timestamp() then 'open' else status end)`;

/** See `isDormant`. */
export const DORMANT = sql`(status in ('open', 'deferred') and
  coalesce(defer_until > statement_timestamp(), status = 'deferred'))`;

export const OVERDUE = sql`coalesce(due_at < statement_timestamp() and status <> 'closed', false)`;

export const BLOCKED = sql`(status <> 'closed' and (open_blockers > 0 or parent_blocked))`;

/** `*` and `?` to what `like` knows; matching takes no longer than the text is long, whatever the pattern. */
export function likeOf(glob: string): string {
  return escapeLike(glob.replaceAll(/\*+/g, '*')).replaceAll('*', '%').replaceAll('?', '_');
}

export function escapeLike(text: string): string {
  return text.replaceAll(/[\\%_]/g, (character) => `\\${character}`);
}
