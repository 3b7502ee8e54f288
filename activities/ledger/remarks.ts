import { sql, type RawBuilder } from 'kysely';
import type { TaskId } from '../../schema/ids';
import type { Ledger } from '../../schema/ledger';
import type { CommentView, TaskDetail, TaskView } from '../../schema/views';
import { command, record, type Store, type Unit } from './command';
import * as input from './input';
import { findTask, lockTask, viewTask, type TaskRow } from './task-rows';

type RemarkCommands = Pick<Ledger, 'addNote' | 'addComment' | 'listComments' | 'setLabels'>;

/** What is written beside a task: notes, comments, labels. */
export function remarkCommands(store: Store): RemarkCommands {
  return {
    addNote(ask, id, body) {
      input.line(body, 'note', input.LIMITS.noteBytes);
      return command(store, ask, 'addNote', { id, body }, async (unit) => {
        const task = await lockTask(unit.trx, id);
        await insertNote(unit, task, body);
      });
    },
    addComment(ask, id, body) {
      input.line(body, 'comment', input.LIMITS.noteBytes);
      return command(store, ask, 'addComment', { id, body }, async (unit) => {
        const task = await lockTask(unit.trx, id);
        return insertComment(unit, task, body);
      });
    },
    async listComments(id, page = {}) {
      await findTask(store.db, id);
      const size = input.limit(page.limit, 50);
      const after = page.cursor === undefined ? null : input.decodeCursor(page.cursor);
      const rows = await commentsOf(store, id, after, size + 1);
      return input.pageOf(rows, size, (row) => input.encodeCursor({ at: row.created_at, id: row.id }), commentView);
    },
    setLabels(ask, id, labels) {
      const wanted = [...new Set(labels.map(input.label))];
      return command(store, ask, 'setLabels', { id, labels }, async (unit): Promise<TaskView> => {
        const task = await lockTask(unit.trx, id);
        const { rows } = await sql<{ label: string }>`
          select label from labels where task_id = ${id} and label <> all(${wanted}::text[])`.execute(unit.trx);
        const surplus = rows.map((row) => row.label);
        const changed = await writeLabels(unit, id, wanted, surplus);
        if (changed !== null) record(unit, 'task_updated', { task_id: id, rig_id: task.rig_id }, { ...changed });
        return viewTask(unit.trx, id);
      });
    },
  };
}

/** What was really added and removed; null when nothing was. The task must be locked. */
export async function writeLabels(
  unit: Unit,
  id: TaskId,
  add: readonly string[],
  remove: readonly string[],
): Promise<{ labels_added: string[]; labels_removed: string[] } | null> {
  const removed = await sql<{ label: string }>`
    delete from labels where task_id = ${id} and label = any(${[...remove]}::text[]) returning label`.execute(unit.trx);
  const added = await sql<{ label: string }>`
    insert into labels (task_id, label) select ${id}, label from unnest(${[...add]}::text[]) label
    on conflict do nothing returning label`.execute(unit.trx);
  if (added.rows.length + removed.rows.length === 0) return null;
  await sql`update tasks set updated_at = clock_timestamp() where id = ${id}`.execute(unit.trx);
  return { labels_added: added.rows.map((row) => row.label), labels_removed: removed.rows.map((row) => row.label) };
}

export async function insertNote(unit: Unit, task: TaskRow, body: string): Promise<void> {
  await sql`insert into task_notes (task_id, author, body) values (${task.id}, ${unit.ask.actor}, ${body})`.execute(
    unit.trx,
  );
  record(unit, 'task_noted', { task_id: task.id, rig_id: task.rig_id }, { size: body.length });
}

export async function insertComment(unit: Unit, task: TaskRow, body: string): Promise<CommentView> {
  const { rows } = await sql<CommentRow>`
    insert into task_comments (task_id, author, body) values (${task.id}, ${unit.ask.actor}, ${body}) returning *`.execute(
    unit.trx,
  );
  const comment = rows[0];
  if (comment === undefined) throw new Error(`the comment on ${task.id} was not written`);
  const about = { task_id: task.id, rig_id: task.rig_id };
  record(unit, 'task_commented', about, { comment_id: comment.id, size: body.length });
  return commentView(comment);
}

/** Oldest first; the newest `size` of them. */
export async function notesOf(store: Store, id: TaskId, size: number): Promise<TaskDetail['notes']> {
  const { rows } = await sql<{ author: string; body: string; created_at: Date }>`
    select author, body, created_at from task_notes where task_id = ${id} order by id desc limit ${size}`.execute(
    store.db,
  );
  return rows.toReversed().map((row) => ({ ...row, created_at: row.created_at.toISOString() }));
}

interface CommentRow extends Omit<CommentView, 'created_at'> {
  created_at: Date;
}

/** Oldest first. */
export async function commentsOf(
  store: Store,
  id: TaskId,
  after: input.Cursor | null,
  size: number,
): Promise<CommentRow[]> {
  const further: RawBuilder<unknown> =
    after === null ? sql`true` : sql`(created_at, id::text) > (${after.at}, ${after.id})`;
  const { rows } = await sql<CommentRow>`
    select id, author, body, created_at from task_comments where task_id = ${id} and ${further}
    order by created_at, id::text limit ${size}`.execute(store.db);
  return rows;
}

export function commentView({ id, author, body, created_at }: CommentRow): CommentView {
  return { id, author, body, created_at: created_at.toISOString() };
}
