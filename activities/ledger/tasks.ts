import { sql, type RawBuilder } from 'kysely';
import { canonicalJson } from '../../schema/canonical';
import { TownError } from '../../schema/errors';
import type { TaskId } from '../../schema/ids';
import type { JsonObject } from '../../schema/json';
import type { Ledger, TaskPatch } from '../../schema/ledger';
import { statusAt, type TaskStatus } from '../../schema/task/status';
import type { LinkView, TaskView } from '../../schema/views';
import { expectActive } from './agents';
import { command, record, type Store, type Unit } from './command';
import * as input from './input';
import { changes } from './move';
import { checkFields, checkTask, insertTask, refuseTakenReference, type TaskColumns } from './new-task';
import { mapPage } from './pages';
import { changeStatus } from './progress';
import { commentsOf, commentView, insertNote, notesOf, writeLabels } from './remarks';
import { conditionsOf, parseStatus } from './task-filter';
import { findTask, lockForClosing, lockTask, taskView, viewTask, type TaskRow } from './task-rows';
import { taskPage } from './task-sort';

type TaskCommands = Pick<Ledger, 'createTask' | 'createTasks' | 'updateTask' | 'getTask' | 'listTasks'>;

export function taskCommands(store: Store): TaskCommands {
  return {
    createTask(ask, task) {
      const checked = checkTask(task);
      return command(store, ask, 'createTask', task, (unit) => insertTask(unit, checked, 0));
    },
    createTasks(ask, tasks) {
      if (tasks.length > input.LIMITS.page) {
        throw new TownError('INPUT_TOO_LARGE', `${tasks.length} tasks at once; at most ${input.LIMITS.page}`, {
          hint: 'send them in several calls',
        });
      }
      const checked = tasks.map(checkTask);
      return command(store, ask, 'createTasks', tasks, async (unit) => {
        const views: TaskView[] = [];
        for (const [nth, task] of checked.entries()) views.push(await insertTask(unit, task, nth));
        return views;
      });
    },
    updateTask(ask, id, patch) {
      const checked = checkPatch(patch);
      return command(store, ask, 'updateTask', { id, patch }, (unit) => updateTask(unit, id, patch, checked));
    },
    async getTask(id) {
      const row = await findTask(store.db, id);
      const [dependencies, dependents, notes, comments] = await Promise.all([
        linked(store, sql`d.task_id = ${id} and t.id = d.depends_on_id`),
        linked(store, sql`d.depends_on_id = ${id} and t.id = d.task_id`),
        notesOf(store, id, 1_000),
        commentsOf(store, id, null, 1_000),
      ]);
      return { ...taskView(row), dependencies, dependents, notes, comments: comments.map(commentView) };
    },
    listTasks: async (filter) => mapPage(await taskPage(store.db, filter, conditionsOf(filter)), taskView),
  };
}

type Columns = TaskColumns & Partial<Pick<TaskRow, 'title' | 'description' | 'type' | 'priority'>>;

export interface CheckedPatch {
  readonly columns: Columns;
  readonly status: TaskStatus | null;
  /** JSON texts; null: as it is. */
  readonly metadata: string | null;
  readonly set_metadata: string | null;
}

/** @throws INVALID_INPUT, INPUT_TOO_LARGE */
export function checkPatch(patch: TaskPatch): CheckedPatch {
  const columns: Columns = checkFields(patch);
  if (patch.title !== undefined) columns.title = input.line(patch.title, 'title', input.LIMITS.title);
  if (patch.description !== undefined) {
    columns.description = input.text(patch.description, 'description', input.LIMITS.descriptionBytes);
  }
  if (patch.type !== undefined) columns.type = input.line(patch.type, 'type', 40);
  if (patch.priority !== undefined) columns.priority = input.priority(patch.priority);
  if (patch.note !== undefined) input.line(patch.note, 'note', input.LIMITS.noteBytes);
  patch.add_labels?.forEach(input.label);
  return {
    columns,
    status: patch.status === undefined ? null : parseStatus(patch.status),
    metadata: patch.metadata === undefined ? null : input.json(patch.metadata, 'metadata'),
    set_metadata: patch.set_metadata === undefined ? null : input.json(patch.set_metadata, 'metadata'),
  };
}

export async function updateTask(unit: Unit, id: TaskId, patch: TaskPatch, checked: CheckedPatch): Promise<TaskView> {
  const { columns, status } = checked;
  // Before the task, as every command that names an agent does.
  if (patch.assigned_agent_id != null) await expectActive(unit.trx, patch.assigned_agent_id);
  const { task, parent } =
    status === null ? { task: await lockTask(unit.trx, id), parent: null } : await lockForClosing(unit.trx, id);
  const { before, after } = changes(
    { ...task, due_at: task.due_at?.toISOString() ?? null },
    patch.assigned_agent_id === undefined ? columns : { ...columns, assigned_agent_id: patch.assigned_agent_id },
  );
  if (Object.keys(after).length > 0) {
    await unit.trx
      .updateTable('tasks')
      .set({ ...after, updated_at: sql<Date>`clock_timestamp()` })
      .where('id', '=', id)
      .execute()
      .catch(refuseTakenReference);
  }
  const metadata = await changeMetadata(unit, task, checked);
  const labels = await changeLabels(unit, id, patch);
  if (Object.keys(after).length > 0 || labels !== null || metadata !== null) {
    const changed =
      metadata === null
        ? { before, after }
        : { before: { ...before, metadata: task.metadata }, after: { ...after, metadata } };
    record(unit, 'task_updated', { task_id: id, rig_id: task.rig_id }, { ...changed, ...labels });
  }
  if (patch.note !== undefined) await insertNote(unit, task, patch.note);
  // As it is seen: what was put off until a time that has come is open, and can be put off again.
  if (status !== null && status !== statusAt(task, new Date())) {
    const assigned = patch.assigned_agent_id === undefined ? {} : { assigned_agent_id: patch.assigned_agent_id };
    await changeStatus(unit, { task: { ...task, ...assigned }, parent }, status, {
      force: patch.force === true,
      // An open task is nobody's, unless this very patch says whose.
      keepAssignee: patch.assigned_agent_id !== undefined,
    });
  }
  return viewTask(unit.trx, id);
}

/** The metadata after the change, which is made from the locked row: two who set different keys lose nothing. Null: as it was. */
async function changeMetadata(unit: Unit, task: TaskRow, checked: CheckedPatch): Promise<JsonObject | null> {
  if (checked.metadata === null && checked.set_metadata === null) return null;
  const { rows } = await sql<{ metadata: JsonObject }>`
    update tasks set updated_at = clock_timestamp(), metadata = (
      select coalesce(jsonb_object_agg(key, value) filter (where value <> 'null'), '{}')
      from jsonb_each(coalesce(${checked.metadata}::jsonb, metadata) || coalesce(${checked.set_metadata}::jsonb, '{}')))
    where id = ${task.id} returning metadata`.execute(unit.trx);
  const metadata = rows[0]?.metadata ?? {};
  input.json(metadata, 'metadata');
  return canonicalJson(metadata) === canonicalJson(task.metadata) ? null : metadata;
}

/** What was really added and removed; null when nothing was. */
async function changeLabels(
  unit: Unit,
  id: TaskId,
  patch: TaskPatch,
): Promise<{ labels_added: string[]; labels_removed: string[] } | null> {
  if (!patch.add_labels?.length && !patch.remove_labels?.length) return null;
  return writeLabels(unit, id, patch.add_labels ?? [], patch.remove_labels ?? []);
}

async function linked(store: Store, condition: RawBuilder<unknown>): Promise<LinkView[]> {
  const { rows } = await sql<LinkView & { defer_until: Date | null }>`
    select t.id, d.type, t.status, t.defer_until, t.title, d.holds, d.metadata
    from task_dependencies d join tasks t on true
    where ${condition} order by t.id`.execute(store.db);
  return rows.map(({ defer_until, ...row }) => ({
    ...row,
    status: statusAt({ status: row.status as TaskStatus, defer_until }, new Date()),
  }));
}
