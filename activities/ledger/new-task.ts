import { randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import { TownError } from '../../schema/errors';
import { taskIdOf, type TaskId } from '../../schema/ids';
import type { TaskInput } from '../../schema/ledger';
import type { TaskView } from '../../schema/views';
import { record, type Unit } from './command';
import { addMember } from './convoy-members';
import { idNumber, sha256Hex } from './digest';
import { addEdge, insertEdge } from './edges';
import * as input from './input';
import { prefixOf } from './rigs';
import { noTask, taskView, viewTask, type TaskRow } from './task-rows';

/** Input that was checked, with what was left out filled in. */
export interface NewTask {
  readonly title: string;
  readonly description: string;
  readonly type: string;
  readonly priority: number;
  readonly rig_id: string | null;
  readonly parent_id: TaskId | null;
  readonly labels: readonly string[];
  readonly acceptance: string | null;
  readonly metadata: string;
  readonly depends_on: readonly TaskId[];
  readonly convoy_id: string | null;
}

export function checkTask(task: TaskInput): NewTask {
  const { acceptance = null } = task;
  return {
    title: input.line(task.title, 'title', input.LIMITS.title),
    description: input.text(task.description ?? '', 'description', input.LIMITS.descriptionBytes),
    type: input.line(task.type ?? 'task', 'type', 40),
    priority: input.priority(task.priority ?? 2),
    rig_id: task.rig_id ?? null,
    parent_id: task.parent_id ?? null,
    labels: [...new Set((task.labels ?? []).map(input.label))].toSorted(),
    acceptance: acceptance === null ? null : input.text(acceptance, 'acceptance', input.LIMITS.descriptionBytes),
    metadata: input.json(task.metadata ?? {}, 'metadata'),
    depends_on: [...new Set(task.depends_on)],
    convoy_id: task.convoy_id ?? null,
  };
}

/** `nth` tells the tasks of one command apart: the same idempotency key and place give the same id. */
export async function insertTask(unit: Unit, task: NewTask, nth: number): Promise<TaskView> {
  const { key, actor } = unit.ask;
  const digest = sha256Hex(
    key === undefined
      ? [task.title, task.description, actor, Date.now(), randomBytes(8).toString('hex')].join('\n')
      : `${key}\n${nth}`,
  );
  const row =
    task.parent_id === null
      ? await insertRoot(unit, task, digest)
      : await insertChild(unit, task, task.parent_id, digest);
  record(
    unit,
    'task_created',
    { task_id: row.id, rig_id: row.rig_id, convoy_id: task.convoy_id },
    {
      after: {
        title: row.title,
        type: row.type,
        status: row.status,
        priority: row.priority,
        parent_id: row.parent_id,
        labels: task.labels,
      },
    },
  );
  for (const blocker of task.depends_on)
    await addEdge(unit, { task_id: row.id, depends_on_id: blocker, type: 'blocks' });
  if (task.convoy_id !== null) await addMember(unit, task.convoy_id, row.id);
  if (task.depends_on.length > 0) return viewTask(unit.trx, row.id);
  return taskView({ ...row, labels: [...task.labels], convoy_id: task.convoy_id, hook_id: null });
}

async function insertRoot(unit: Unit, task: NewTask, digest: string): Promise<TaskRow> {
  const prefix = await prefixOf(unit, task.rig_id);
  for (let length = 5; length <= 13; length++) {
    const row = await insertRow(unit, task, taskIdOf(prefix, idNumber(digest), length), digest);
    if (row !== undefined) return row;
  }
  throw new Error(`no free id for ${prefix} and ${digest}`);
}

async function insertChild(unit: Unit, task: NewTask, parent_id: TaskId, digest: string): Promise<TaskRow> {
  const { rows } = await sql<{ child_count: number; rig_id: string | null; status: string }>`
    update tasks set child_count = child_count + 1 where id = ${parent_id}
    returning child_count, rig_id, status`.execute(unit.trx);
  const parent = rows[0] ?? noTask(parent_id);
  if (parent.status === 'closed') {
    throw new TownError('WRONG_STATE', `${parent_id} is closed: it takes no further children`, {
      hint: `open it first: town task update ${parent_id} --status open`,
    });
  }
  const child = { ...task, rig_id: task.rig_id ?? parent.rig_id };
  const row = await insertRow(unit, child, `${parent_id}.${parent.child_count}`, digest);
  if (row === undefined) throw new Error(`${parent_id}.${parent.child_count} exists`);
  await insertEdge(unit, { task_id: row.id, depends_on_id: parent_id, type: 'parent-child' });
  return row;
}

/** Undefined when the id is taken. */
async function insertRow(unit: Unit, task: NewTask, id: TaskId, digest: string): Promise<TaskRow | undefined> {
  const { rows } = await sql<TaskRow>`
    with created as (
      insert into tasks (id, digest, rig_id, title, description, type, status, priority, parent_id, acceptance, metadata, created_by)
      values (${id}, ${digest}, ${task.rig_id}, ${task.title}, ${task.description}, ${task.type}, 'open', ${task.priority},
        ${task.parent_id}, ${task.acceptance}, ${task.metadata}::jsonb, ${unit.ask.actor})
      on conflict (id) do nothing returning *
    ), labelled as (
      insert into labels (task_id, label) select created.id, label from created, unnest(${[...task.labels]}::text[]) label
    )
    select * from created`.execute(unit.trx);
  return rows[0];
}
