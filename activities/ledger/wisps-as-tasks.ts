import { sql, type RawBuilder } from 'kysely';

/**
 * The tables `tasks` and `labels` with the short-lived tasks among them, to be put after `with`: within the query the two names are these
 * unions. The whole table is read, so it is there for those who ask for wisps and for nobody else.
 */
const WISP_TABLES = sql`tasks as (
  select id, digest, rig_id, title, description, type, status, priority, assigned_agent_id, parent_id, acceptance, metadata, molecule_id,
    open_blockers, parent_blocked, outcome, close_reason, defer_until, due_at, owner, design, spec_id, external_ref, source_system,
    estimated_minutes, pinned, started_at, created_by, created_at, updated_at, completed_at, child_count, open_children, closed_children,
    null::text as wisp_type, null::timestamptz as expires_at
  from tasks
  union all
  select id, digest, rig_id, title, description, type, status, priority, assigned_agent_id, parent_id, acceptance, metadata, molecule_id,
    (select count(*)::int from unnest(w.depends_on) needed where exists (select 1 from tasks t where t.id = needed and t.status <> 'closed')
      or exists (select 1 from wisps x where x.id = needed and x.status <> 'closed')),
    false, outcome, close_reason, defer_until, due_at, owner, design, null, null, null,
    null, false, started_at, created_by, created_at, updated_at, completed_at, child_count, 0, 0,
    wisp_type, expires_at
  from wisps w
), labels as (
  select task_id, label from labels
  union all
  select w.id, l.label from wisps w cross join lateral unnest(w.labels) l (label)
)`;

/** What stands before a query on `tasks` and `labels`: nothing, unless wisps are asked for too, or it has tables of its own. */
export function withTables(wisps: boolean, own?: RawBuilder<unknown>): RawBuilder<unknown> {
  const tables = [...(wisps ? [WISP_TABLES] : []), ...(own === undefined ? [] : [own])];
  return tables.length === 0 ? sql`` : sql`with ${sql.join(tables)} `;
}
