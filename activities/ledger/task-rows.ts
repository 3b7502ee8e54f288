import { sql, type Kysely, type RawBuilder, type Selectable, type Transaction } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import type { TaskId } from '../../schema/ids';
import { BLOCKING_TYPES } from '../../schema/task/dependency';
import { statusAt, type TaskStatus } from '../../schema/task/status';
import type { TaskView } from '../../schema/views';
import { withTables } from './wisps-as-tasks';

export type TaskRow = Omit<Selectable<Database['tasks']>, 'status'> & { status: TaskStatus };
export type TaskWithMore = TaskRow & {
  labels: string[];
  convoy_id: string | null;
  hook_id: string | null;
  /** Of a wisp alone, where wisps are asked for. */
  wisp_type?: string | null;
  expires_at?: Date | null;
};

const BLOCKING = [...BLOCKING_TYPES];

/** What a view needs beside the columns of `t`. */
export const MORE = sql`
  coalesce((select array_agg(l.label order by l.label) from labels l where l.task_id = t.id), '{}') as labels,
  (select m.convoy_id from convoy_members m where m.task_id = t.id order by m.added_at desc, m.convoy_id limit 1) as convoy_id,
  (select i.agent_id from hook_items i where i.agent_id = t.assigned_agent_id and i.molecule_id = t.molecule_id limit 1) as hook_id`;

/** `tail` is the part from `where` on, about the table `tasks`; the order is kept. With wisps, those are among them. */
export function selectTasks(db: Kysely<Database>, tail: RawBuilder<unknown>, wisps = false): Promise<TaskWithMore[]> {
  return viewableTasks(db, sql`select tasks.* from tasks ${tail}`, wisps);
}

/** The rows of a query on `tasks` in its order, with what a view needs beside them. */
export async function viewableTasks(
  db: Kysely<Database>,
  query: RawBuilder<unknown>,
  wisps: boolean,
): Promise<TaskWithMore[]> {
  const { rows } = await sql<TaskWithMore>`
    ${withTables(wisps)}select t.*, ${MORE} from (select *, row_number() over () as place from (${query}) found) t
    order by t.place`.execute(db);
  return rows;
}

/** @throws NOT_FOUND */
export async function findTask(db: Kysely<Database>, id: TaskId): Promise<TaskWithMore> {
  return (await selectTasks(db, sql`where id = ${id}`))[0] ?? noTask(id);
}

export async function viewTask(db: Kysely<Database>, id: TaskId): Promise<TaskView> {
  return taskView(await findTask(db, id));
}

/** The row, locked until the transaction ends. @throws NOT_FOUND */
export async function lockTask(trx: Transaction<Database>, id: TaskId): Promise<TaskRow> {
  const { rows } = await sql<TaskRow>`select * from tasks where id = ${id} for no key update`.execute(trx);
  return rows[0] ?? noTask(id);
}

/** What a change between closed and not closed touches: see `lockForClosing`. */
export interface LockedTask {
  readonly task: TaskRow;
  readonly parent: TaskRow | null;
}

/** What a change touches, each as an SQL array of ids. */
interface Reach {
  /** What changes itself. */
  readonly tasks: RawBuilder<unknown>;
  /** Of these also what waits for them. */
  readonly waitedFor: RawBuilder<unknown>;
  /** Of these also all that is below them: it is held back, or let go, with them. */
  readonly above: RawBuilder<unknown>;
}

/**
 * All that a change touches, locked in the order of their ids, so that two who change the same part of the graph come one after the other
 * instead of being rolled back. Of what waits, its parts are locked too when one or two edges hold it, since then these may let go.
 */
export async function lockReach(trx: Transaction<Database>, { tasks, waitedFor, above }: Reach): Promise<TaskRow[]> {
  // By an array of ids: with `or` between subqueries the whole table would be read.
  const { rows } = await sql<TaskRow>`
    select * from tasks where id = any(array(
      with recursive waiting (id) as (
        select task_id from task_dependencies where depends_on_id = any(${waitedFor}) and type = any(${BLOCKING}::text[])
      ), below (id) as (
        (select unnest(${above}) union select t.id from waiting w join tasks t on t.id = w.id where t.open_blockers <= 2)
        union
        select c.id from below b join tasks c on c.parent_id = b.id
      )
      select unnest(${tasks}) union all select id from waiting union all select id from below
    )) order by id for no key update`.execute(trx);
  return rows;
}

/**
 * The row, its parent, and all that waits for either of the two (see `lockReach`). The locks on the task and on its parent are what
 * counts: edges to a task are only written under its lock, and children are counted under the lock of their parent. The others are taken
 * so that two closers meet in the same order. @throws NOT_FOUND
 */
export async function lockForClosing(trx: Transaction<Database>, id: TaskId): Promise<LockedTask> {
  const family = sql`array(select ${id}::text union all select parent_id from tasks where id = ${id} and parent_id is not null)`;
  const held = sql`array(select id from tasks where id = ${id} and open_blockers > 0)`;
  const rows = await lockReach(trx, { tasks: family, waitedFor: family, above: held });
  const task = rows.find((row) => row.id === id) ?? noTask(id);
  if (task.parent_id === null) return { task, parent: null };
  // Moved to another parent between the look and the lock.
  const parent = rows.find((row) => row.id === task.parent_id) ?? (await lockTask(trx, task.parent_id));
  return { task, parent };
}

export function taskView(row: TaskWithMore): TaskView {
  return {
    id: row.id,
    title: row.title,
    description: row.description,
    type: row.type,
    status: statusAt(row, new Date()),
    priority: row.priority,
    rig_id: row.rig_id,
    assigned_agent_id: row.assigned_agent_id,
    hook_id: row.hook_id,
    convoy_id: row.convoy_id,
    parent_id: row.parent_id,
    molecule_id: row.molecule_id,
    open_blockers: row.open_blockers,
    parent_blocked: row.parent_blocked,
    labels: row.labels,
    acceptance: row.acceptance,
    design: row.design,
    owner: row.owner,
    spec_id: row.spec_id,
    external_ref: row.external_ref,
    source_system: row.source_system,
    estimated_minutes: row.estimated_minutes,
    due_at: row.due_at?.toISOString() ?? null,
    defer_until: row.defer_until?.toISOString() ?? null,
    pinned: row.pinned,
    metadata: row.metadata,
    created_by: row.created_by,
    created_at: row.created_at.toISOString(),
    updated_at: row.updated_at.toISOString(),
    started_at: row.started_at?.toISOString() ?? null,
    completed_at: row.completed_at?.toISOString() ?? null,
    outcome: row.outcome,
    close_reason: row.close_reason,
    ...(row.expires_at == null ? {} : { wisp_type: row.wisp_type ?? null, expires_at: row.expires_at.toISOString() }),
  };
}

export function noTask(id: TaskId): never {
  const hint = id.includes('-wisp-') ? `a wisp is no task; see: town wisp show ${id}` : 'see: town task list';
  throw new TownError('NOT_FOUND', `there is no task ${id}`, { hint });
}
