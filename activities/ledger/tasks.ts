import { sql, type RawBuilder } from 'kysely';
import { TownError } from '../../schema/errors';
import type { TaskId } from '../../schema/ids';
import type { JsonObject } from '../../schema/json';
import type { Ledger, Outcome, TaskPatch } from '../../schema/ledger';
import { isOutcome, statusOf, TASK_STATUSES, type TaskStatus } from '../../schema/task/status';
import type { TaskDetail, TaskView } from '../../schema/views';
import { expectActive } from './agents';
import { command, record, type Store, type Unit } from './command';
import * as input from './input';
import { changes, moveTask } from './move';
import { checkTask, insertTask } from './new-task';
import { findTask, lockTask, lockTaskWithDependants, selectTasks, taskView, viewTask, type TaskRow } from './task-rows';

type TaskCommands = Pick<
  Ledger,
  'createTask' | 'createTasks' | 'updateTask' | 'closeTask' | 'addNote' | 'getTask' | 'listTasks' | 'readyTasks'
>;

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
    updateTask: (ask, id, patch) => {
      const { columns, status } = checkPatch(patch);
      return command(store, ask, 'updateTask', { id, patch }, (unit) => updateTask(unit, id, patch, columns, status));
    },
    closeTask(ask, id, close) {
      if (!isOutcome(close.outcome))
        throw new TownError('INVALID_INPUT', `${JSON.stringify(close.outcome)} is not an outcome`);
      if (close.reason !== undefined) input.text(close.reason, 'reason', input.LIMITS.noteBytes);
      return command(store, ask, 'closeTask', { id, close }, (unit) => closeTask(unit, id, close));
    },
    addNote(ask, id, body) {
      input.line(body, 'note', input.LIMITS.noteBytes);
      return command(store, ask, 'addNote', { id, body }, async (unit) => {
        const task = await lockTask(unit.trx, id);
        await insertNote(unit, task, body);
      });
    },
    async getTask(id) {
      const row = await findTask(store.db, id);
      const [dependencies, dependents, notes] = await Promise.all([
        linked(store, sql`d.task_id = ${id} and t.id = d.depends_on_id`),
        linked(store, sql`d.depends_on_id = ${id} and t.id = d.task_id`),
        notesOf(store, id, 1_000),
      ]);
      return { ...taskView(row), dependencies, dependents, notes };
    },
    async listTasks(filter) {
      const size = input.limit(filter.limit, 50);
      const conditions: RawBuilder<unknown>[] = [sql`true`];
      if (filter.rig_id !== undefined) conditions.push(sql`rig_id = ${filter.rig_id}`);
      if (filter.status !== undefined) conditions.push(sql`status = any(${filter.status.map(parseStatus)}::text[])`);
      if (filter.type !== undefined) conditions.push(sql`type = ${filter.type}`);
      if (filter.label !== undefined) conditions.push(hasLabel(filter.label));
      if (filter.assigned_agent_id !== undefined) conditions.push(sql`assigned_agent_id = ${filter.assigned_agent_id}`);
      if (filter.parent_id !== undefined) conditions.push(sql`parent_id = ${filter.parent_id}`);
      if (filter.convoy_id !== undefined) {
        conditions.push(sql`id in (select task_id from convoy_members where convoy_id = ${filter.convoy_id})`);
      }
      if (filter.cursor !== undefined) {
        const after = input.decodeCursor(filter.cursor);
        conditions.push(sql`(created_at, id) < (${after.at}, ${after.id})`);
      }
      const rows = await selectTasks(
        store.db,
        sql`where ${sql.join(conditions, sql` and `)} order by created_at desc, id desc limit ${size + 1}`,
      );
      return input.pageOf(rows, size, (row) => input.encodeCursor({ at: row.created_at, id: row.id }), taskView);
    },
    /** The conditions repeat those of the partial indexes `tasks_ready` and `tasks_ready_rig`. */
    async readyTasks(filter) {
      const conditions: RawBuilder<unknown>[] = [
        sql`status = 'open' and open_blockers = 0 and assigned_agent_id is null`,
        sql`(defer_until is null or defer_until <= clock_timestamp())`,
      ];
      if (filter.rig_id !== undefined) conditions.push(sql`rig_id = ${filter.rig_id}`);
      if (filter.type !== undefined) conditions.push(sql`type = ${filter.type}`);
      if (filter.label !== undefined) conditions.push(hasLabel(filter.label));
      const rows = await selectTasks(
        store.db,
        sql`where ${sql.join(conditions, sql` and `)} order by priority, created_at, id limit ${input.limit(filter.limit, 50)}`,
      );
      return rows.map(taskView);
    },
  };
}

/** Oldest first; the newest `size` of them. */
export async function notesOf(store: Store, id: TaskId, size: number): Promise<TaskDetail['notes']> {
  const { rows } = await sql<{ author: string; body: string; created_at: Date }>`
    select author, body, created_at from task_notes where task_id = ${id} order by id desc limit ${size}`.execute(
    store.db,
  );
  return rows.toReversed().map((row) => ({ ...row, created_at: row.created_at.toISOString() }));
}

async function closeTask(
  unit: Unit,
  id: TaskId,
  close: { outcome: Outcome; reason?: string; force?: boolean },
): Promise<TaskView> {
  const task = await lockTaskWithDependants(unit.trx, id);
  refuseForeignMolecule(unit, task);
  if (task.status === 'closed') {
    if (task.outcome === close.outcome) return viewTask(unit.trx, id);
    throw new TownError('WRONG_STATE', `${id} is closed as ${task.outcome} already`, {
      hint: `see: town task show ${id}`,
    });
  }
  if (close.force !== true) await refuseOpenChildren(unit, id);
  return moveTask(unit, task, {
    to: 'closed',
    event: 'task_closed',
    outcome: close.outcome,
    reason: close.reason ?? null,
  });
}

/** A molecule that lost its task (taken over, slung again) may not end it. */
function refuseForeignMolecule(unit: Unit, task: TaskRow): void {
  const { actor } = unit.ask;
  if (!actor.startsWith('molecule.') || actor === `molecule.${task.molecule_id}`) return;
  throw new TownError(
    'WRONG_STATE',
    `${task.id} is the work of ${task.molecule_id ?? 'no molecule'} now, not of ${actor}`,
    {
      details: { molecule_id: task.molecule_id },
    },
  );
}

async function refuseOpenChildren(unit: Unit, id: TaskId): Promise<void> {
  const { rows } = await sql<{ id: string }>`
    select id from tasks where parent_id = ${id} and status <> 'closed' order by id limit 20`.execute(unit.trx);
  if (rows.length === 0) return;
  const children = rows.map((row) => row.id);
  throw new TownError('WRONG_STATE', `${id} has open children: ${children.join(', ')}`, {
    hint: 'close them first',
    details: { children },
  });
}

type Columns = Partial<Pick<TaskRow, 'title' | 'description' | 'type' | 'priority' | 'acceptance'>>;

function checkPatch(patch: TaskPatch): { columns: Columns; status: TaskStatus | null } {
  const columns: Columns = {};
  if (patch.title !== undefined) columns.title = input.line(patch.title, 'title', input.LIMITS.title);
  if (patch.description !== undefined) {
    columns.description = input.text(patch.description, 'description', input.LIMITS.descriptionBytes);
  }
  if (patch.type !== undefined) columns.type = input.line(patch.type, 'type', 40);
  if (patch.priority !== undefined) columns.priority = input.priority(patch.priority);
  if (patch.acceptance !== undefined) {
    columns.acceptance =
      patch.acceptance === null ? null : input.text(patch.acceptance, 'acceptance', input.LIMITS.descriptionBytes);
  }
  if (patch.note !== undefined) input.line(patch.note, 'note', input.LIMITS.noteBytes);
  patch.add_labels?.forEach(input.label);
  return { columns, status: patch.status === undefined ? null : parseStatus(patch.status) };
}

async function updateTask(
  unit: Unit,
  id: TaskId,
  patch: TaskPatch,
  columns: Columns,
  status: TaskStatus | null,
): Promise<TaskView> {
  const task = status === null ? await lockTask(unit.trx, id) : await lockTaskWithDependants(unit.trx, id);
  const { before, after } = changes(task, await withAssignee(unit, columns, patch.assigned_agent_id));
  if (Object.keys(after).length > 0) {
    await unit.trx
      .updateTable('tasks')
      .set({ ...after, updated_at: sql<Date>`clock_timestamp()` })
      .where('id', '=', id)
      .execute();
  }
  const labels = await changeLabels(unit, id, patch);
  if (Object.keys(after).length > 0 || labels !== null) {
    record(unit, 'task_updated', { task_id: id, rig_id: task.rig_id }, { before, after, ...labels });
  }
  if (patch.note !== undefined) await insertNote(unit, task, patch.note);
  if (status !== null && status !== task.status) {
    const changed: TaskRow = { ...task, ...after };
    if (status === 'closed') await refuseOpenChildren(unit, id);
    await moveTask(unit, changed, {
      to: status,
      event: status === 'closed' ? 'task_closed' : 'task_status_changed',
      outcome: status === 'closed' ? 'done' : null,
      // An open task is nobody's, unless this very patch says whose.
      ...(status === 'open' && patch.assigned_agent_id === undefined ? { assigned_agent_id: null } : {}),
    });
  }
  return viewTask(unit.trx, id);
}

async function withAssignee(unit: Unit, columns: Columns, agent: string | null | undefined): Promise<JsonObject> {
  if (agent === undefined) return columns;
  if (agent !== null) await expectActive(unit.trx, agent);
  return { ...columns, assigned_agent_id: agent };
}

/** What was really added and removed; null when nothing was. */
async function changeLabels(
  unit: Unit,
  id: TaskId,
  patch: TaskPatch,
): Promise<{ labels_added: string[]; labels_removed: string[] } | null> {
  if (!patch.add_labels?.length && !patch.remove_labels?.length) return null;
  const removed = await sql<{ label: string }>`
    delete from labels where task_id = ${id} and label = any(${[...(patch.remove_labels ?? [])]}::text[])
    returning label`.execute(unit.trx);
  const added = await sql<{ label: string }>`
    insert into labels (task_id, label) select ${id}, label from unnest(${[...(patch.add_labels ?? [])]}::text[]) label
    on conflict do nothing returning label`.execute(unit.trx);
  if (added.rows.length + removed.rows.length === 0) return null;
  return { labels_added: added.rows.map((row) => row.label), labels_removed: removed.rows.map((row) => row.label) };
}

async function insertNote(unit: Unit, task: TaskRow, body: string): Promise<void> {
  await sql`insert into task_notes (task_id, author, body) values (${task.id}, ${unit.ask.actor}, ${body})`.execute(
    unit.trx,
  );
  record(unit, 'task_noted', { task_id: task.id, rig_id: task.rig_id }, { size: body.length });
}

function parseStatus(word: string): TaskStatus {
  const status = statusOf(word);
  if (status !== null) return status;
  throw new TownError('INVALID_INPUT', `${JSON.stringify(word.slice(0, 80))} is not a status of a task`, {
    hint: `one of ${TASK_STATUSES.join(', ')}`,
  });
}

function hasLabel(label: string): RawBuilder<unknown> {
  return sql`exists (select 1 from labels l where l.task_id = tasks.id and l.label = ${label})`;
}

async function linked(store: Store, condition: RawBuilder<unknown>): Promise<TaskDetail['dependencies']> {
  const { rows } = await sql<TaskDetail['dependencies'][number]>`
    select t.id, d.type, t.status, t.title from task_dependencies d join tasks t on true
    where ${condition} order by t.id`.execute(store.db);
  return rows;
}
