import { sql, type RawBuilder } from 'kysely';
import { TownError } from '../../schema/errors';
import { parseName } from '../../schema/ids';
import type { JsonObject } from '../../schema/json';
import type { Ledger, TaskFilter } from '../../schema/ledger';
import type { FoundTaskView, SavedFilterView } from '../../schema/views';
import { command, record, type Store } from './command';
import * as input from './input';
import { allOf, byName, mapPage } from './pages';
import { escapeLike } from './task-expressions';
import { conditionsOf } from './task-filter';
import { selectTasks, taskView } from './task-rows';
import { pagingOf } from './task-sort';

type FindingCommands = Pick<
  Ledger,
  'searchTasks' | 'listLabels' | 'saveFilter' | 'getSavedFilter' | 'listSavedFilters' | 'removeSavedFilter'
>;

const WORDS_MAX = 8;
const WORD_MAX = 100;

/** Search, labels in use, and filters under a name. */
export function findingCommands(store: Store): FindingCommands {
  return {
    async searchTasks({ words, ...filter }) {
      const size = input.limit(filter.limit, 50);
      const found = await rank(store, wordsOf(words), filter, size + 1);
      const rows = await selectTasks(store.db, sql`where id = any(${found.map((row) => row.id)}::text[])`);
      const byId = new Map(rows.map((row) => [row.id, row]));
      return input.pageOf(
        found,
        size,
        (row) => input.encodeKeys([String(row.score), row.updated_at.toISOString(), row.id]),
        (row): FoundTaskView => {
          const task = byId.get(row.id);
          if (task === undefined) throw new Error(`${row.id} was found and is not there`);
          return { ...taskView(task), score: row.score, found_in: row.found_in };
        },
      );
    },
    listLabels: (page = {}) =>
      byName(page, 'label', [], async (tail) => {
        const { rows } = await sql<{ label: string; tasks: number }>`
          select label, tasks from (select label, count(*)::int as tasks from labels group by label) counted ${tail}`.execute(
          store.db,
        );
        return rows;
      }),
    saveFilter(ask, name, filter) {
      parseName(name, 'filter');
      checkFilter(filter);
      // Plain JSON; an interface only lacks the index signature.
      const plain = JSON.parse(JSON.stringify(filter)) as JsonObject;
      const document = input.json(plain, 'filter');
      return command(store, ask, 'saveFilter', { name, filter }, async (unit) => {
        const { rows } = await sql<SavedRow>`
          insert into saved_filters (name, filter, created_by) values (${name}, ${document}::jsonb, ${ask.actor})
          on conflict (name) do update set filter = excluded.filter, updated_at = clock_timestamp()
          returning *`.execute(unit.trx);
        record(unit, 'filter_saved', {}, { name, filter: plain });
        return savedView(rows[0] ?? noFilter(name));
      });
    },
    async getSavedFilter(name) {
      return savedView((await selectSaved(store.db, sql`where name = ${name}`))[0] ?? noFilter(name));
    },
    async listSavedFilters(page = {}) {
      return mapPage(await byName(page, 'name', [], (tail) => selectSaved(store.db, tail)), savedView);
    },
    removeSavedFilter: (ask, name) =>
      command(store, ask, 'removeSavedFilter', { name }, async (unit) => {
        const { rows } = await sql`delete from saved_filters where name = ${name} returning name`.execute(unit.trx);
        if (rows.length > 0) record(unit, 'filter_removed', {}, { name });
      }),
  };
}

interface Ranked {
  readonly id: string;
  readonly score: number;
  readonly updated_at: Date;
  readonly found_in: string[];
}

/**
 * Every word must be somewhere; one in the title counts eight, in the description or the design three, in notes and comments one, and
 * the id itself fifty. What was changed last goes before what has the same score.
 */
async function rank(
  store: Store,
  words: readonly string[],
  filter: Omit<TaskFilter, 'sort' | 'reverse'>,
  size: number,
): Promise<Ranked[]> {
  const likes = words.map((word) => `%${escapeLike(word)}%`);
  const hits = likes.map(
    (like) => sql`(title ilike ${like} or description ilike ${like} or design ilike ${like} or id ilike ${like}
      or ${isSaid(like)})`,
  );
  const scores = likes.map(
    (
      like,
      nth,
    ) => sql`(case when title ilike ${like} then 8 else 0 end + case when id = ${words[nth]} then 50 else 0 end
      + case when description ilike ${like} or coalesce(design ilike ${like}, false) then 3 else 0 end
      + case when ${isSaid(like)} then 1 else 0 end)`,
  );
  const conditions = conditionsOf(filter);
  const after = filter.cursor === undefined ? sql`true` : afterOf(filter.cursor);
  const rare = await rarest(store, words);
  const matches =
    rare === null
      ? sql`select * from (select * from tasks where ${allOf(conditions)} order by updated_at desc, id desc offset 0) tasks
          where ${allOf(hits)} limit ${sql.lit(RANKED_MAX)}`
      : sql`select * from tasks where id = any(array(${withText(rare)})) and ${allOf([...hits, ...conditions])}`;
  const { rows } = await sql<Ranked>`
    select id, score, updated_at, array_remove(array[
      case when title ilike any(${likes}::text[]) then 'title' end,
      case when description ilike any(${likes}::text[]) then 'description' end,
      case when design ilike any(${likes}::text[]) then 'design' end,
      case when id ilike any(${likes}::text[]) then 'id' end,
      (select 'notes' from task_notes n where n.task_id = found.id and n.body ilike any(${likes}::text[]) limit 1),
      (select 'comments' from task_comments c where c.task_id = found.id and c.body ilike any(${likes}::text[]) limit 1)
    ], null) as found_in
    from (select id, title, description, design, updated_at, ${sql.join(scores, sql` + `)} as score from (${matches}) tasks) found
    where ${after} order by score desc, updated_at desc, id desc limit ${size}`.execute(store.db);
  return rows;
}

/** A word that more texts have is none to look tasks up by. */
const FEW = 5_000;
/** Of tasks with such words alone, so many are ranked: those that were changed last. */
const RANKED_MAX = 500;

/**
 * The lookup that finds the fewest texts, of one of the words. Null when each word is in more than a few, or cannot be looked up; then
 * the tasks are read in the order of their last change, where words that many have are met soon.
 */
async function rarest(store: Store, words: readonly string[]): Promise<string | null> {
  const lookups = words.flatMap((word) => lookupOf(word) ?? []);
  if (lookups.length === 0) return null;
  const counts = lookups.map((each) => sql`(select count(*) from (${withText(each)} limit ${sql.lit(FEW + 1)}) texts)`);
  const { rows } = await sql<{ counts: number[] }>`select array[${sql.join(counts)}]::int[] as counts`.execute(
    store.db,
  );
  const found = rows[0]?.counts ?? [];
  const least = Math.min(...found);
  return least > FEW ? null : (lookups[found.indexOf(least)] ?? null);
}

/**
 * For the index of words, by their beginnings. Null for a word without letters and digits, with so few that half of the index begins
 * like it, or in a script that has no blanks between words or other small letters than Postgres knows.
 */
function lookupOf(word: string): string | null {
  const parts = word.toLowerCase().match(/[a-z0-9]+/g);
  if (parts === null || /[^\p{ASCII}]/u.test(word) || parts.every((part) => part.length < 2)) return null;
  return parts.map((part) => `'${part}':*`).join(' & ');
}

/** Ids of tasks with the words in their own text, in a note or in a comment; some more than once. */
function withText(lookup: string): RawBuilder<unknown> {
  return sql`select task_id from task_texts where words @@ ${lookup}::tsquery
    union all select task_id from task_notes where town_words(body) @@ ${lookup}::tsquery
    union all select task_id from task_comments where town_words(body) @@ ${lookup}::tsquery`;
}

/** In a note or a comment. Values rather than `exists`, for which the planner reads the notes of all tasks. */
function isSaid(like: string): RawBuilder<unknown> {
  return sql`coalesce((select true from task_notes n where n.task_id = tasks.id and n.body ilike ${like} limit 1),
    (select true from task_comments c where c.task_id = tasks.id and c.body ilike ${like} limit 1), false)`;
}

function afterOf(cursor: string): RawBuilder<unknown> {
  const [score = '', updated = '', id = ''] = input.decodeKeys(cursor, 3);
  if (!/^\d{1,6}$/.test(score) || Number.isNaN(Date.parse(updated))) throw input.foreignCursor();
  return sql`(score, updated_at, id) < (${score}::int, ${updated}::timestamptz, ${id}::text)`;
}

function wordsOf(text: string): string[] {
  const words = [...new Set(input.line(text, 'search', 500).trim().split(/\s+/))];
  if (words.length > WORDS_MAX || words.some((word) => word.length > WORD_MAX)) {
    throw new TownError('INVALID_INPUT', `a search has at most ${WORDS_MAX} words of ${WORD_MAX} characters`, {
      hint: 'ask more precisely with: town query',
    });
  }
  return words;
}

/** A saved filter is one that can be asked. @throws INVALID_INPUT */
function checkFilter(filter: TaskFilter): void {
  if (filter.cursor !== undefined) throw new TownError('INVALID_INPUT', 'a cursor is no part of a filter');
  conditionsOf(filter);
  pagingOf(filter.sort ?? 'created', filter.reverse === true, undefined);
  input.limit(filter.limit, 50);
}

interface SavedRow {
  name: string;
  filter: TaskFilter;
  created_by: string;
  created_at: Date;
  updated_at: Date;
}

async function selectSaved(db: Store['db'], tail: RawBuilder<unknown>): Promise<SavedRow[]> {
  return (await sql<SavedRow>`select * from saved_filters ${tail}`.execute(db)).rows;
}

function savedView(row: SavedRow): SavedFilterView {
  const { name, filter, created_by } = row;
  return {
    name,
    filter,
    created_by,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
  };
}

function noFilter(name: string): never {
  throw new TownError('NOT_FOUND', `there is no saved filter ${JSON.stringify(name.slice(0, 60))}`, {
    hint: 'see: town filter list',
  });
}
