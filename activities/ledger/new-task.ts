import { randomBytes } from 'node:crypto';
import { sql } from 'kysely';
import { TownError } from '../../schema/errors';
import { childIdOf, taskIdOf, type TaskId } from '../../schema/ids';
import type { TaskFields, TaskInput } from '../../schema/ledger';
import type { TaskView } from '../../schema/views';
import { countChild, transmits } from './blockage';
import { record, takeLock, type Unit } from './command';
import { addMembers } from './convoy-members';
import { idNumber, sha256Hex } from './digest';
import { addEdge, checkEdge, insertEdge, refuseClosedWhole, type Edge } from './edges';
import * as input from './input';
import { prefixOf } from './rigs';
import { lockReach, noTask, taskView, viewTask, type TaskRow } from './task-rows';

/** Input that was checked, with what was left out filled in. */
export interface NewTask {
  readonly title: string;
  readonly description: string;
  readonly type: string;
  readonly priority: number;
  readonly rig_id: string | null;
  readonly parent_id: TaskId | null;
  readonly labels: readonly string[];
  readonly fields: TaskColumns;
  readonly metadata: string;
  /** Without the new task's id: it is not known yet. */
  readonly dependencies: readonly Edge[];
  readonly convoy_id: string | null;
  readonly defer_until: Date | null;
}

/** Columns that are given as they are. */
export type TaskColumns = {
  acceptance?: string | null;
  design?: string | null;
  owner?: string | null;
  spec_id?: string | null;
  external_ref?: string | null;
  source_system?: string | null;
  estimated_minutes?: number | null;
  due_at?: string | null;
  pinned?: boolean;
};

const NEW = '(new)';

/** What was given of them. @throws INVALID_INPUT, INPUT_TOO_LARGE */
export function checkFields(fields: TaskFields): TaskColumns {
  const { LIMITS } = input;
  const text = (value: string | null, what: string) =>
    value === null ? null : input.text(value, what, LIMITS.descriptionBytes);
  const line = (value: string | null, what: string) => (value === null ? null : input.line(value, what, LIMITS.title));
  const columns: TaskColumns = {};
  if (fields.acceptance !== undefined) columns.acceptance = text(fields.acceptance, 'acceptance');
  if (fields.design !== undefined) columns.design = text(fields.design, 'design');
  if (fields.owner !== undefined) columns.owner = line(fields.owner, 'owner');
  if (fields.spec_id !== undefined) columns.spec_id = line(fields.spec_id, 'specification');
  if (fields.external_ref !== undefined) columns.external_ref = line(fields.external_ref, 'external reference');
  if (fields.source_system !== undefined) columns.source_system = line(fields.source_system, 'source system');
  if (fields.estimated_minutes !== undefined) {
    columns.estimated_minutes = fields.estimated_minutes === null ? null : input.minutes(fields.estimated_minutes);
  }
  if (fields.due_at !== undefined) {
    columns.due_at = fields.due_at === null ? null : input.time(fields.due_at, 'due date').toISOString();
  }
  if (fields.pinned !== undefined) columns.pinned = fields.pinned;
  return columns;
}

export function checkTask(task: TaskInput): NewTask {
  const blockers = [...new Set(task.depends_on)].map((depends_on_id) => ({ depends_on_id, type: 'blocks' as const }));
  return {
    title: input.line(task.title, 'title', input.LIMITS.title),
    description: input.text(task.description ?? '', 'description', input.LIMITS.descriptionBytes),
    type: input.line(task.type ?? 'task', 'type', 40),
    priority: input.priority(task.priority ?? 2),
    rig_id: task.rig_id ?? null,
    parent_id: task.parent_id ?? null,
    labels: [...new Set((task.labels ?? []).map(input.label))].toSorted(),
    fields: checkFields(task),
    metadata: input.json(task.metadata ?? {}, 'metadata'),
    dependencies: [...blockers, ...(task.dependencies ?? [])].map((edge) => checkEdge({ ...edge, task_id: NEW })),
    convoy_id: task.convoy_id ?? null,
    defer_until: task.defer_until == null ? null : input.time(task.defer_until, 'time of deferral'),
  };
}

/** `nth` tells the tasks of one command apart: the same idempotency key and place give the same id. */
export function digestOfNew(unit: Unit, task: Pick<NewTask, 'title' | 'description'>, nth: number): string {
  const { key, actor } = unit.ask;
  return sha256Hex(
    key === undefined
      ? [task.title, task.description, actor, Date.now(), randomBytes(8).toString('hex')].join('\n')
      : `${key}\n${nth}`,
  );
}

/** The id is cut from the digest. */
export async function insertTask(
  unit: Unit,
  task: NewTask,
  nth: number,
  digest = digestOfNew(unit, task, nth),
): Promise<TaskView> {
  const { parent_id } = task;
  const named = await lockNamed(unit, task);
  const row =
    parent_id === null
      ? await insertRoot(unit, task, digest)
      : await insertChild(unit, task, named.find((each) => each.id === parent_id) ?? noTask(parent_id), digest);
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
        ...task.fields,
        ...(row.defer_until === null ? {} : { defer_until: row.defer_until.toISOString() }),
      },
    },
  );
  for (const edge of task.dependencies) await addEdge(unit, { ...edge, task_id: row.id });
  if (task.convoy_id !== null) await addMembers(unit, task.convoy_id, [row.id]);
  if (task.dependencies.length > 0) return viewTask(unit.trx, row.id);
  return taskView({ ...row, labels: [...task.labels], convoy_id: task.convoy_id, hook_id: null });
}

/** What the new task changes elsewhere, in the order that all commands keep: the lock on edges, then tasks by id. */
async function lockNamed(unit: Unit, { parent_id, dependencies }: NewTask): Promise<TaskRow[]> {
  if (dependencies.length > 0) await takeLock(unit.trx, 'edges');
  if (parent_id === null && dependencies.length === 0) return [];
  const whole = parent_id === null ? [] : [parent_id];
  return lockReach(unit.trx, {
    tasks: sql`${[...whole, ...dependencies.map((edge) => edge.depends_on_id)]}::text[]`,
    waitedFor: sql`${whole}::text[]`,
    above: sql`array[]::text[]`,
  });
}

async function insertRoot(unit: Unit, task: NewTask, digest: string): Promise<TaskRow> {
  const prefix = await prefixOf(unit, task.rig_id);
  for (let length = 5; length <= 13; length++) {
    const row = await insertRow(unit, task, taskIdOf(prefix, idNumber(digest), length), digest, false);
    if (row !== undefined) return row;
  }
  throw new Error(`no free id for ${prefix} and ${digest}`);
}

/** The parent must be locked, and what waits for it. */
async function insertChild(unit: Unit, task: NewTask, parent: TaskRow, digest: string): Promise<TaskRow> {
  const { id: parent_id } = parent;
  refuseClosedWhole(parent, { status: 'open' });
  const nth = parent.child_count + 1;
  const id = childIdOf(parent_id, nth);
  await sql`update tasks set child_count = ${nth} where id = ${parent_id}`.execute(unit.trx);
  const child = { ...task, rig_id: task.rig_id ?? parent.rig_id };
  const row = await insertRow(unit, child, id, digest, transmits(parent));
  if (row === undefined) throw new Error(`${id} exists`);
  const edge = {
    task_id: row.id,
    depends_on_id: parent_id,
    type: 'parent-child',
    metadata: '{}',
    thread_id: null,
  } as const;
  await insertEdge(unit, { ...edge, gate: 'all-children' }, false);
  await countChild(unit, parent, { open: 1, closed: 0 });
  return row;
}

/** Undefined when the id is taken. @throws ALREADY_EXISTS when the external reference is. */
async function insertRow(
  unit: Unit,
  task: NewTask,
  id: TaskId,
  digest: string,
  parent_blocked: boolean,
): Promise<TaskRow | undefined> {
  const { fields } = task;
  const { rows } = await sql<TaskRow>`
    with created as (
      insert into tasks (id, digest, rig_id, title, description, type, status, priority, parent_id, acceptance, metadata, created_by,
        design, owner, spec_id, external_ref, source_system, estimated_minutes, due_at, pinned, defer_until, parent_blocked)
      values (${id}, ${digest}, ${task.rig_id}, ${task.title}, ${task.description}, ${task.type},
        case when ${task.defer_until}::timestamptz > clock_timestamp() then 'deferred' else 'open' end, ${task.priority},
        ${task.parent_id}, ${fields.acceptance ?? null}, ${task.metadata}::jsonb, ${unit.ask.actor}, ${fields.design ?? null},
        ${fields.owner ?? null}, ${fields.spec_id ?? null}, ${fields.external_ref ?? null}, ${fields.source_system ?? null},
        ${fields.estimated_minutes ?? null}, ${fields.due_at ?? null}::timestamptz, ${fields.pinned ?? false},
        case when ${task.defer_until}::timestamptz > clock_timestamp() then ${task.defer_until}::timestamptz end, ${parent_blocked})
      on conflict (id) do nothing returning *
    ), labelled as (
      insert into labels (task_id, label) select created.id, label from created, unnest(${[...task.labels]}::text[]) label
    )
    select * from created`
    .execute(unit.trx)
    .catch(refuseTakenReference);
  return rows[0];
}

/** For the unique index over external references. @throws ALREADY_EXISTS, or what it was given. */
export function refuseTakenReference(error: unknown): never {
  if (error instanceof Error && 'constraint' in error && error.constraint === 'tasks_external') {
    throw new TownError('ALREADY_EXISTS', 'another task has this external reference', {
      hint: 'see: town task list --external-ref <reference>',
      cause: error,
    });
  }
  throw error;
}
