import { sql, type RawBuilder, type Transaction } from 'kysely';
import type { Database } from '../../schema/db/tables';
import type { JsonObject } from '../../schema/json';
import { sha256Hex } from './digest';
import { TASK_COLUMNS, type ImportPlan, type PlannedAddition, type PlannedTask } from './import-plan';
import type { TaskEdge } from './import-world';

/** The statements of an import: each writes thousands of rows, which come as one JSON text. */

const ROWS_AT_A_TIME = 2_000;

const TYPES: Partial<Record<(typeof TASK_COLUMNS)[number], string>> = {
  priority: 'smallint',
  estimated_minutes: 'integer',
  due_at: 'timestamptz',
  defer_until: 'timestamptz',
  pinned: 'boolean',
  metadata: 'jsonb',
  created_at: 'timestamptz',
  updated_at: 'timestamptz',
  started_at: 'timestamptz',
  completed_at: 'timestamptz',
};
const NAMES = sql.raw(TASK_COLUMNS.join(', '));
const TYPED = sql.raw(TASK_COLUMNS.map((name) => `${name} ${TYPES[name] ?? 'text'}`).join(', '));
const ASSIGNED = sql.raw(TASK_COLUMNS.filter((name) => name !== 'id').map((name) => `${name} = r.${name}`).join(', ')); // prettier-ignore

export async function writeTasks(trx: Transaction<Database>, plan: ImportPlan): Promise<void> {
  for (const rows of chunks(plan.created.map((task) => task.columns))) {
    await sql`insert into tasks (digest, ${NAMES})
      select encode(sha256(convert_to('imported ' || id, 'UTF8')), 'hex'), ${NAMES}
      from ${recordset(rows, TYPED)}`.execute(trx);
  }
  for (const rows of chunks(plan.replaced.map((task) => task.columns))) {
    await sql`update tasks t set ${ASSIGNED} from ${recordset(rows, TYPED)} where t.id = r.id`.execute(trx);
  }
}

export async function writeLabels(trx: Transaction<Database>, tasks: readonly PlannedTask[]): Promise<void> {
  for (const some of chunks(tasks)) {
    const whole = some.filter((task) => task.isWhole).map((task) => task.id);
    const rows = some.flatMap((task) => task.labels.map((label) => ({ task_id: task.id, label })));
    const typed = sql.raw('task_id text, label text');
    await sql`delete from labels l where l.task_id = any(${whole}::text[]) and not exists (
      select 1 from ${recordset(rows, typed)} where r.task_id = l.task_id and r.label = l.label)`.execute(trx);
    await sql`insert into labels (task_id, label) select task_id, label from ${recordset(rows, typed)}
      on conflict do nothing`.execute(trx);
  }
}

const EDGE = sql.raw(`task_id text, depends_on_id text, type text, metadata jsonb, thread_id text, created_by text,
  created_at timestamptz, reason text, holds boolean`);

/** Answers how many edges are new or changed. `holding`: which of `planned` hold their tasks back. */
export async function writeEdges(
  trx: Transaction<Database>,
  plan: ImportPlan,
  planned: readonly TaskEdge[],
  holding: readonly boolean[],
): Promise<number> {
  for (const tasks of chunks(plan.replaced.filter((task) => task.isWhole))) {
    const kept = tasks.flatMap((task) => task.edges.map(({ task_id, depends_on_id }) => ({ task_id, depends_on_id })));
    await sql`delete from task_dependencies d where d.task_id = any(${tasks.map((task) => task.id)}::text[]) and not exists (
      select 1 from ${recordset(kept, EDGE)} where r.task_id = d.task_id and r.depends_on_id = d.depends_on_id)`.execute(
      trx,
    );
  }
  let written = 0;
  const rowsOfEdges = planned.map((edge, place) => ({ ...edge, holds: holding[place] ?? false }));
  for (const edges of chunks(rowsOfEdges, ROWS_AT_A_TIME * 5)) {
    const { rows } = await sql<{ count: number }>`with written as (
        insert into task_dependencies as d (task_id, depends_on_id, type, metadata, thread_id, created_by, created_at, holds)
        select task_id, depends_on_id, type, metadata, thread_id, created_by, created_at, holds from ${recordset(edges, EDGE)}
        on conflict (task_id, depends_on_id) do update set type = excluded.type, metadata = excluded.metadata,
          thread_id = excluded.thread_id, created_by = excluded.created_by, created_at = excluded.created_at,
          holds = excluded.holds
        where (d.type, d.metadata, d.thread_id, d.created_by, d.created_at) is distinct from
          (excluded.type, excluded.metadata, excluded.thread_id, excluded.created_by, excluded.created_at)
        returning 1
      ) select count(*)::int as count from written`.execute(trx);
    written += rows[0]?.count ?? 0;
  }
  return written;
}

export async function writeAside(trx: Transaction<Database>, plan: ImportPlan): Promise<void> {
  const whole = plan.replaced.filter((task) => task.isWhole).map((task) => task.id);
  for (const ids of chunks(whole)) {
    await sql`delete from dependencies_aside where task_id = any(${ids}::text[])`.execute(trx);
  }
  for (const rows of chunks(plan.resolved)) {
    await sql`delete from dependencies_aside a using ${recordset(rows, EDGE)}
      where a.task_id = r.task_id and a.depends_on_id = r.depends_on_id and a.type = r.type`.execute(trx);
  }
  const aside = [...plan.created, ...plan.replaced, ...plan.merged].flatMap((task) => task.aside);
  for (const rows of chunks(aside)) {
    await sql`insert into dependencies_aside (task_id, depends_on_id, type, reason, metadata, thread_id, created_by, created_at)
      select task_id, depends_on_id, type, reason, metadata, thread_id, created_by, created_at from ${recordset(rows, EDGE)}
      on conflict do nothing`.execute(trx);
  }
}

/** Adds comments and notes that are not there yet. Answers the tasks that got any. */
export async function addRemarks(trx: Transaction<Database>, tasks: readonly PlannedAddition[]): Promise<Set<string>> {
  const remarked = new Set<string>();
  const remarks = sql.raw('id uuid, task_id text, author text, body text, created_at timestamptz, place integer');
  for (const rows of chunks(await namedComments(trx, tasks))) {
    const added = await sql<{ task_id: string }>`insert into task_comments (id, task_id, author, body, created_at)
      select id, task_id, author, body, created_at from ${recordset(rows, remarks)} on conflict (id) do nothing
      returning task_id`.execute(trx);
    for (const { task_id } of added.rows) remarked.add(task_id);
  }
  const notes = tasks.flatMap((task) => task.notes.map((note, place) => ({ ...note, task_id: task.id, place })));
  for (const rows of chunks(notes)) {
    const added = await sql<{ task_id: string }>`insert into task_notes (task_id, author, body, created_at)
      select r.task_id, r.author, r.body, r.created_at from ${recordset(rows, remarks)}
      where not exists (select 1 from task_notes n
        where n.task_id = r.task_id and n.created_at = r.created_at and n.author = r.author and n.body = r.body)
      order by r.task_id, r.place
      returning task_id`.execute(trx);
    for (const { task_id } of added.rows) remarked.add(task_id);
  }
  return remarked;
}

const UUID = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

/** Each comment with a UUID of its own: the given one, unless another task's comment has it. */
async function namedComments(trx: Transaction<Database>, tasks: readonly PlannedAddition[]): Promise<JsonObject[]> {
  const given = tasks.flatMap((task) => task.comments.flatMap(({ id }) => (id !== null && UUID.test(id) ? [id] : [])));
  const { rows } = await sql<{ id: string; task_id: string }>`
    select id, task_id from task_comments where id = any(${given}::uuid[])`.execute(trx);
  const owners = new Map(rows.map((row) => [row.id, row.task_id]));
  return tasks.flatMap((task) =>
    task.comments.map(({ id, author, body, created_at }) => {
      const own = id !== null && UUID.test(id) ? id.toLowerCase() : null;
      const isFree = own !== null && (owners.get(own) ?? task.id) === task.id;
      if (own !== null && isFree) owners.set(own, task.id);
      const name = id ?? [author, created_at, body].join('\n');
      return { id: isFree ? own : uuidOf(`${task.id}\n${name}`), task_id: task.id, author, body, created_at };
    }),
  );
}

/** Version 8: made of a digest, so that the same comment has the same id in every import. */
function uuidOf(text: string): string {
  const hex = sha256Hex(text);
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    '-',
  );
}

/** The rows as a table `r`. */
function recordset(rows: readonly object[], columns: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as r (${columns})`;
}

function chunks<T>(list: readonly T[], size = ROWS_AT_A_TIME): T[][] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, nth) => list.slice(nth * size, (nth + 1) * size));
}
