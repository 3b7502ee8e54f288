import { sql, type Transaction } from 'kysely';
import type { Database } from '../../schema/db/tables';
import type { JsonObject } from '../../schema/json';
import type { Ledger } from '../../schema/ledger';
import { taskLine, type AsideRecord, type EdgeRecord, type TaskRecord } from '../../schema/task/interchange';
import { isOutcome } from '../../schema/task/status';
import { command, type Store } from './command';
import { findRig } from './rigs';
import type { TaskRow } from './task-rows';

const TASKS_AT_A_TIME = 500;

export function exportCommands(store: Store): Pick<Ledger, 'exportTasks' | 'recordExport' | 'isKnownCopy'> {
  return {
    exportTasks: (filter, write) =>
      store.db
        .transaction()
        .setIsolationLevel('repeatable read')
        .setAccessMode('read only')
        .execute(async (trx) => {
          if (filter.rig_id != null) await findRig(trx, filter.rig_id);
          const ids = await idsOf(trx, filter.rig_id);
          let edges = 0;
          for (let from = 0; from < ids.length; from += TASKS_AT_A_TIME) {
            const rows = await selectWhole(trx, ids.slice(from, from + TASKS_AT_A_TIME));
            for (const row of rows) edges += row.edges.length;
            await write(rows.map((row) => `${taskLine(recordOfRow(row), row.dependents)}\n`).join(''));
          }
          return { tasks: ids.length, edges };
        }),
    recordExport: (ask, copy) =>
      command(store, ask, 'recordExport', copy, async (unit) => {
        await sql`insert into exports (rig_id, path, digest, tasks, edges, signed_by, created_by)
          values (${copy.rig_id}, ${copy.path}, ${copy.digest}, ${copy.tasks}, ${copy.edges}, ${copy.signed_by}, ${ask.actor})`.execute(
          unit.trx,
        );
      }),
    async isKnownCopy(digest) {
      const { rows } = await sql`select 1 from exports where digest = ${digest}
        union all select 1 from imports where digest = ${digest} limit 1`.execute(store.db);
      return rows.length > 0;
    },
  };
}

/** In the order of their characters, whatever the language of the database is. */
async function idsOf(trx: Transaction<Database>, rig: string | null | undefined): Promise<string[]> {
  const place = rig === undefined ? sql`true` : rig === null ? sql`rig_id is null` : sql`rig_id = ${rig}`;
  const { rows } = await sql<{ id: string }>`select id from tasks where ${place} order by id collate "C"`.execute(trx);
  return rows.map((row) => row.id);
}

/** Times inside of JSON come as Postgres writes them. */
interface WholeRow extends TaskRow {
  readonly labels: string[];
  readonly edges: EdgeRecord[];
  readonly aside: AsideRecord[];
  readonly comments: { id: string; author: string; body: string; created_at: string }[];
  readonly notes: { author: string; body: string; created_at: string }[];
  readonly dependents: number;
}

async function selectWhole(trx: Transaction<Database>, ids: readonly string[]): Promise<WholeRow[]> {
  const { rows } = await sql<WholeRow>`
    select t.*,
      coalesce((select array_agg(l.label) from labels l where l.task_id = t.id), '{}') as labels,
      coalesce((select jsonb_agg(jsonb_build_object('depends_on_id', d.depends_on_id, 'type', d.type, 'metadata', d.metadata,
          'thread_id', d.thread_id, 'created_by', d.created_by, 'created_at', d.created_at))
        from task_dependencies d where d.task_id = t.id), '[]') as edges,
      coalesce((select jsonb_agg(jsonb_build_object('depends_on_id', a.depends_on_id, 'type', a.type, 'metadata', a.metadata,
          'thread_id', a.thread_id, 'created_by', a.created_by, 'created_at', a.created_at, 'reason', a.reason))
        from dependencies_aside a where a.task_id = t.id), '[]') as aside,
      coalesce((select jsonb_agg(jsonb_build_object('id', c.id, 'author', c.author, 'body', c.body, 'created_at', c.created_at)
          order by c.created_at, c.id)
        from task_comments c where c.task_id = t.id), '[]') as comments,
      coalesce((select jsonb_agg(jsonb_build_object('author', n.author, 'body', n.body, 'created_at', n.created_at)
          order by n.created_at, n.id)
        from task_notes n where n.task_id = t.id), '[]') as notes,
      (select count(*)::int from task_dependencies d where d.depends_on_id = t.id) as dependents
    from unnest(${[...ids]}::text[]) with ordinality wanted (id, place) join tasks t on t.id = wanted.id
    order by wanted.place`.execute(trx);
  return rows;
}

function recordOfRow(row: WholeRow): TaskRecord & { readonly id: string } {
  return {
    line: 0,
    id: row.id,
    title: row.title,
    description: row.description,
    type: row.type,
    status: row.status,
    priority: row.priority,
    rig_id: row.rig_id,
    assignee: row.assigned_agent_id,
    owner: row.owner,
    acceptance: row.acceptance,
    design: row.design,
    spec_id: row.spec_id,
    external_ref: row.external_ref,
    source_system: row.source_system,
    estimated_minutes: row.estimated_minutes,
    due_at: instant(row.due_at),
    defer_until: instant(row.defer_until),
    pinned: row.pinned,
    outcome: row.outcome !== null && isOutcome(row.outcome) ? row.outcome : null,
    close_reason: row.close_reason,
    labels: row.labels,
    metadata: row.metadata as JsonObject,
    created_by: row.created_by,
    created_at: instant(row.created_at),
    updated_at: instant(row.updated_at),
    started_at: instant(row.started_at),
    completed_at: instant(row.completed_at),
    edges: row.edges.map(timed),
    aside: row.aside.map(timed),
    comments: row.comments.map(timed),
    notes: row.notes.map(timed),
  };
}

function timed<T extends { readonly created_at: string | null }>(item: T): T {
  return { ...item, created_at: instant(item.created_at) };
}

function instant(at: Date | string | null): string | null {
  return at === null ? null : new Date(at).toISOString();
}
