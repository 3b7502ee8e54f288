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
      or ${noted(like)} or ${commented(like)})`,
  );
  const scores = likes.map(
    (
      like,
      nth,
    ) => sql`(case when title ilike ${like} then 8 else 0 end + case when id = ${words[nth]} then 50 else 0 end
      + case when description ilike ${like} or coalesce(design ilike ${like}, false) then 3 else 0 end
      + case when ${noted(like)} or ${commented(like)} then 1 else 0 end)`,
  );
  const conditions = conditionsOf(filter);
  const after = filter.cursor === undefined ? sql`true` : afterOf(filter.cursor);
  const { rows } = await sql<Ranked>`
    select id, score, updated_at, array_remove(array[
      case when title ilike any(${likes}::text[]) then 'title' end,
      case when description ilike any(${likes}::text[]) then 'description' end,
      case when design ilike any(${likes}::text[]) then 'design' end,
      case when id ilike any(${likes}::text[]) then 'id' end,
      case when exists (select 1 from task_notes n where n.task_id = found.id and n.body ilike any(${likes}::text[])) then 'notes' end,
      case when exists (select 1 from task_comments c where c.task_id = found.id and c.body ilike any(${likes}::text[])) then 'comments' end
    ], null) as found_in
    from (select id, title, description, design, updated_at, ${sql.join(scores, sql` + `)} as score
      from tasks where ${allOf([...hits, ...conditions])}) found
    where ${after} order by score desc, updated_at desc, id desc limit ${size}`.execute(store.db);
  return rows;
}

function noted(like: string): RawBuilder<unknown> {
  return sql`id in (select task_id from task_notes where body ilike ${like})`;
}

function commented(like: string): RawBuilder<unknown> {
  return sql`id in (select task_id from task_comments where body ilike ${like})`;
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
