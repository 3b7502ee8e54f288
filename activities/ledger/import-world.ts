import { sql, type Transaction } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { taskIdOf, type TaskId } from '../../schema/ids';
import type { ImportBatch } from '../../schema/ledger';
import { BLOCKING_TYPES } from '../../schema/task/dependency';
import { referenceOf, type EdgeRecord } from '../../schema/task/interchange';
import type { Unit } from './command';
import { idNumber, sha256Hex } from './digest';
import { findRig, TOWN_PREFIX } from './rigs';
import type { TaskRow } from './task-rows';

/** What an import has to know of what is here. The rows of its tasks, and of what waits for them, are locked. */
export interface ImportWorld {
  /** The record's id, or the one of the task that has its external reference, or a new one. By place in the batch. */
  readonly ids: readonly TaskId[];
  readonly tasks: ReadonlyMap<TaskId, KnownTask>;
  /** Of all ids that edges point at, those that exist. */
  readonly known: ReadonlySet<TaskId>;
  readonly agents: ReadonlySet<string>;
  /** From prefix to rig. */
  readonly rigs: ReadonlyMap<string, string>;
  /** From `source_system external_ref` to the task that has it. */
  readonly references: ReadonlyMap<string, TaskId>;
  /** All blocking edges and all parts of the town, for circles. */
  readonly blocking: readonly (readonly [TaskId, TaskId])[];
  readonly parents: readonly (readonly [TaskId, TaskId])[];
  /** Edges to tasks of the batch that were kept aside because those were missing. */
  readonly awaited: readonly KnownEdge[];
}
export interface KnownTask extends TaskRow {
  readonly labels: readonly string[];
  readonly edges: readonly KnownEdge[];
  readonly aside: readonly KnownEdge[];
}
/** An edge of a task, with nothing left open. */
export interface TaskEdge extends EdgeRecord {
  readonly task_id: TaskId;
  readonly created_by: string;
  readonly created_at: string;
}
/** `created_at` is as Postgres writes it inside of JSON. */
export interface KnownEdge extends TaskEdge {
  readonly reason: string;
}

const BLOCKING = [...BLOCKING_TYPES];

export async function readWorld(unit: Unit, batch: ImportBatch): Promise<ImportWorld> {
  const { trx } = unit;
  const rigs = await sql<{ id: string; prefix: string }>`select id, prefix from rigs`.execute(trx);
  const references = await referencesOf(trx, batch);
  const ids = await idsOf(unit, batch, references);
  const targets = [
    ...new Set(batch.records.flatMap((task) => [...task.edges, ...task.aside].map((edge) => edge.depends_on_id))),
  ];
  await lockAll(trx, ids, targets);
  const assignees = [...new Set(batch.records.flatMap((task) => (task.assignee === null ? [] : [task.assignee])))];
  const [tasks, known, agents, blocking, parents, awaited] = [
    await knownTasks(trx, ids),
    await sql<{ id: string }>`select id from tasks where id = any(${targets}::text[])`.execute(trx),
    await sql<{ id: string }>`select id from agents where id = any(${assignees}::text[])`.execute(trx),
    await sql<{ task_id: string; depends_on_id: string }>`select task_id, depends_on_id from task_dependencies
      where type = any(${BLOCKING}::text[])`.execute(trx),
    await sql<{ id: string; parent_id: string }>`select id, parent_id from tasks where parent_id is not null`.execute(
      trx,
    ),
    await sql<KnownEdge>`select * from dependencies_aside
      where reason = 'missing' and depends_on_id = any(${[...ids]}::text[])`.execute(trx),
  ];
  return {
    ids,
    tasks,
    known: new Set(known.rows.map((row) => row.id)),
    agents: new Set(agents.rows.map((row) => row.id)),
    rigs: new Map(rigs.rows.map((rig) => [rig.prefix, rig.id])),
    references,
    blocking: blocking.rows.map((row) => [row.task_id, row.depends_on_id] as const),
    parents: parents.rows.map((row) => [row.id, row.parent_id] as const),
    awaited: awaited.rows,
  };
}

/** Tasks here that have an external reference of the batch. */
async function referencesOf(trx: Transaction<Database>, { records }: ImportBatch): Promise<Map<string, TaskId>> {
  const wanted = records.filter((task) => task.external_ref !== null);
  const { rows } = await sql<{ id: string; source_system: string | null; external_ref: string }>`
    select t.id, t.source_system, t.external_ref
    from unnest(${wanted.map((task) => task.source_system ?? '')}::text[], ${wanted.map((task) => task.external_ref)}::text[])
      wanted (source_system, external_ref)
    join tasks t on coalesce(t.source_system, '') = wanted.source_system and t.external_ref = wanted.external_ref`.execute(
    trx,
  );
  return new Map(rows.map((row) => [referenceOf(row), row.id]));
}

async function idsOf(unit: Unit, batch: ImportBatch, references: ReadonlyMap<string, TaskId>): Promise<TaskId[]> {
  const prefix = batch.rig_id === undefined ? TOWN_PREFIX : (await findRig(unit.trx, batch.rig_id)).prefix;
  const candidates = (reference: string) =>
    [5, 6, 7, 8, 9, 10, 11, 12, 13].map((length) => taskIdOf(prefix, idNumber(sha256Hex(reference)), length));
  const unnamed = batch.records.flatMap((task) => {
    const reference = referenceOf(task);
    return task.id !== null || references.has(reference) ? [] : candidates(reference);
  });
  const { rows } = await sql<{ id: string }>`select id from tasks where id = any(${unnamed}::text[])`.execute(unit.trx);
  const taken = new Set(rows.map((row) => row.id));
  return batch.records.map((task) => {
    if (task.id !== null) return task.id;
    const reference = referenceOf(task);
    const known = references.get(reference);
    if (known !== undefined) return known;
    const free = candidates(reference).find((id) => !taken.has(id));
    if (free === undefined) throw new Error(`no free id for ${reference}`);
    taken.add(free);
    return free;
  });
}

/** What the import may change, in the order of ids: the tasks, their wholes and targets, and what waits for them. */
async function lockAll(trx: Transaction<Database>, ids: readonly TaskId[], targets: readonly TaskId[]): Promise<void> {
  await sql`with mine as (
      select unnest(${[...ids]}::text[]) as id union select unnest(${[...targets]}::text[])
    )
    select id from tasks where id in (
      select id from mine
      union select t.parent_id from mine join tasks t on t.id = mine.id
      union select d.task_id from mine join task_dependencies d on d.depends_on_id = mine.id where d.type = any(${BLOCKING}::text[])
    ) order by id for no key update`.execute(trx);
}

async function knownTasks(trx: Transaction<Database>, ids: readonly TaskId[]): Promise<Map<TaskId, KnownTask>> {
  const { rows } = await sql<KnownTask>`
    select t.*,
      coalesce((select array_agg(l.label order by l.label) from labels l where l.task_id = t.id), '{}') as labels,
      coalesce((select jsonb_agg(to_jsonb(d)) from task_dependencies d where d.task_id = t.id), '[]') as edges,
      coalesce((select jsonb_agg(to_jsonb(a)) from dependencies_aside a where a.task_id = t.id), '[]') as aside
    from tasks t where t.id = any(${[...ids]}::text[])`.execute(trx);
  return new Map(rows.map((row) => [row.id, row]));
}
