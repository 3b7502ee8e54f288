import { sql, type Kysely } from 'kysely';

/** As in `0002-work-graph.ts`, but somebody's. */
const FREE = `open_blockers = 0 and not parent_blocked and not pinned
  and type not in ('merge-request', 'gate', 'message', 'agent', 'role', 'rig', 'event')`;
const PUT_OFF = `(defer_until is not null or status = 'deferred') and status in ('open', 'deferred')`;

const STATEMENTS = [
  // A town of many tasks has many texts.
  `set local statement_timeout = 0`,
  // Of an agent with thousands of tasks, all were read to find the few that are ready.
  `create index tasks_ready_agent on tasks (assigned_agent_id, priority, created_at, id)
    where status = 'open' and defer_until is null and assigned_agent_id is not null and ${FREE}`,
  `create index tasks_put_off_agent on tasks (assigned_agent_id, priority, created_at, id, defer_until)
    where ${PUT_OFF} and assigned_agent_id is not null and ${FREE}`,
  `create index tasks_put_off_age on tasks (created_at, id, defer_until)
    where ${PUT_OFF} and assigned_agent_id is null and ${FREE}`,
  // Words by letters and digits alone; of `closeTask` also the parts.
  `create function town_words(body text) returns tsvector language sql immutable parallel safe as $$
    select strip(to_tsvector('pg_catalog.simple', translate(
      case when body ~ '[a-z0-9][A-Z]' then body || ' ' || regexp_replace(body, '([a-z0-9])([A-Z])', '\\1 \\2', 'g') else body end,
      '!"#$%&''()*+,-./:;<=>?@[]^_{|}~' || chr(92) || chr(96), repeat(' ', 32))))
  $$`,
  // A table of its own: every change of status writes all index entries of a task anew, and those of a text are many.
  `create table task_texts (
    task_id text primary key references tasks (id) on delete cascade,
    words tsvector not null
  )`,
  `create function town_keep_text() returns trigger language plpgsql as $$
  begin
    insert into task_texts (task_id, words) values (new.id, town_words(concat_ws(' ', new.id, new.title, new.description, new.design)))
    on conflict (task_id) do update set words = excluded.words;
    return null;
  end $$`,
  `create trigger tasks_text_made after insert on tasks for each row execute function town_keep_text()`,
  `create trigger tasks_text_changed after update of title, description, design on tasks for each row
    when ((old.title, old.description, old.design) is distinct from (new.title, new.description, new.design))
    execute function town_keep_text()`,
  // Also while a copy is written in with the checks of references off.
  `alter table tasks enable always trigger tasks_text_made, enable always trigger tasks_text_changed`,
  `insert into task_texts (task_id, words) select id, town_words(concat_ws(' ', id, title, description, design)) from tasks`,
  `create index task_texts_words on task_texts using gin (words)`,
  `create index task_notes_words on task_notes using gin (town_words(body))`,
  `create index task_comments_words on task_comments using gin (town_words(body))`,
];

/** What is searched for is found by an index, and so is what is ready of one agent. */
export const finding = {
  async up(db: Kysely<unknown>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
  },
};
