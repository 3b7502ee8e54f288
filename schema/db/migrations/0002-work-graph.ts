import { sql, type Kysely } from 'kysely';

const READY = `open_blockers = 0 and not parent_blocked and not pinned and assigned_agent_id is null
  and type not in ('merge-request', 'gate', 'message', 'agent', 'role', 'rig', 'event')`;

/*
 * The conditions of the ready indexes are repeated by the queries of `activities/ledger/ready.ts`: change both or neither.
 * Types of edges are checked by the ledger (`schema/task/dependency.ts`), not by the database, so that the list stands once.
 */
const STATEMENTS = [
  `alter table tasks
    add column parent_blocked boolean not null default false,
    add column due_at timestamptz(3),
    add column owner text,
    add column design text,
    add column spec_id text,
    add column external_ref text,
    add column source_system text,
    add column estimated_minutes integer check (estimated_minutes >= 0),
    add column pinned boolean not null default false,
    add column started_at timestamptz(3),
    add column open_children integer not null default 0 check (open_children >= 0),
    add column closed_children integer not null default 0 check (closed_children >= 0)`,
  `alter table task_dependencies
    drop constraint task_dependencies_type_check,
    add constraint task_dependencies_type_check check (length(type) between 1 and 50),
    add column metadata jsonb not null default '{}',
    add column thread_id text,
    add column holds boolean not null default false`,
  // A parent that waits for a part of itself would hold that part back: until now it was allowed, and meant what closing means anyway.
  `with recursive below (ancestor, id) as (
    select parent_id, id from tasks where parent_id is not null
    union
    select b.ancestor, t.id from below b join tasks t on t.parent_id = b.id
  ), loosened as (
    update task_dependencies d set type = 'related' from below b
    where d.type = 'blocks' and d.task_id = b.ancestor and d.depends_on_id = b.id returning d.task_id, d.depends_on_id
  )
  update tasks t set open_blockers = t.open_blockers - l.count
  from (select o.task_id, count(*)::int as count from loosened o join tasks x on x.id = o.depends_on_id
    where x.status <> 'closed' group by o.task_id) l
  where t.id = l.task_id`,
  `update task_dependencies d set holds = true from tasks t
    where d.type = 'blocks' and t.id = d.depends_on_id and t.status <> 'closed'`,
  `update tasks p set open_children = c.open, closed_children = c.closed
    from (select parent_id, count(*) filter (where status <> 'closed') as open, count(*) filter (where status = 'closed') as closed
      from tasks where parent_id is not null group by parent_id) c
    where p.id = c.parent_id`,
  `with recursive held (id) as (
    select t.id from tasks t join tasks p on p.id = t.parent_id where p.status <> 'closed' and p.open_blockers > 0
    union
    select t.id from tasks t join held h on t.parent_id = h.id
  )
  update tasks set parent_blocked = true where id in (select id from held)`,
  `drop index tasks_ready`,
  `drop index tasks_ready_rig`,
  `create index tasks_ready on tasks (priority, created_at, id) where status = 'open' and defer_until is null and ${READY}`,
  `create index tasks_ready_rig on tasks (rig_id, priority, created_at, id)
    where status = 'open' and defer_until is null and ${READY}`,
  `create index tasks_ready_age on tasks (created_at, id) where status = 'open' and defer_until is null and ${READY}`,
  `create index tasks_deferred on tasks (defer_until) where defer_until is not null and status in ('open', 'deferred')`,
  `create index tasks_blocked on tasks (priority, created_at, id)
    where status <> 'closed' and (open_blockers > 0 or parent_blocked)`,
  `create index tasks_updated on tasks (updated_at, id)`,
  `create index tasks_due on tasks (due_at) where due_at is not null and status <> 'closed'`,
  `create unique index tasks_external on tasks (coalesce(source_system, ''), external_ref) where external_ref is not null`,
  `create index task_dependencies_holding on task_dependencies (task_id) where holds`,
  `create table task_comments (
    id uuid primary key default gen_random_uuid(),
    task_id text not null references tasks (id),
    author text not null,
    body text not null,
    created_at timestamptz(3) not null default clock_timestamp()
  )`,
  `create index task_comments_task on task_comments (task_id, created_at, id)`,
  `create table wisps (
    id text primary key,
    digest text not null,
    rig_id text references rigs (id),
    wisp_type text,
    title text not null,
    description text not null,
    type text not null,
    status text not null,
    priority smallint not null check (priority between 0 and 4),
    assigned_agent_id text references agents (id),
    owner text,
    parent_id text,
    acceptance text,
    design text,
    metadata jsonb not null default '{}',
    labels text[] not null default '{}',
    depends_on text[] not null default '{}',
    molecule_id text,
    outcome text,
    close_reason text,
    defer_until timestamptz(3),
    due_at timestamptz(3),
    created_by text not null,
    created_at timestamptz(3) not null default clock_timestamp(),
    updated_at timestamptz(3) not null default clock_timestamp(),
    started_at timestamptz(3),
    completed_at timestamptz(3),
    expires_at timestamptz(3) not null,
    child_count integer not null default 0
  )`,
  `create index wisps_expires on wisps (expires_at)`,
  `create index wisps_created on wisps (created_at, id)`,
  `create index wisps_parent on wisps (parent_id) where parent_id is not null`,
  `create index wisps_molecule on wisps (molecule_id) where molecule_id is not null`,
  `create table run_digests (
    id text primary key,
    molecule_id text,
    root_id text,
    rig_id text references rigs (id),
    formula text,
    title text not null,
    summary text not null,
    outcome text,
    steps_total integer not null default 0,
    steps_closed integer not null default 0,
    squashed jsonb not null default '[]',
    content jsonb not null default '{}',
    started_at timestamptz(3),
    ended_at timestamptz(3),
    created_by text not null,
    created_at timestamptz(3) not null default clock_timestamp()
  )`,
  `create index run_digests_created on run_digests (created_at, id)`,
  `create index run_digests_molecule on run_digests (molecule_id) where molecule_id is not null`,
  `create table saved_filters (
    name text primary key,
    filter jsonb not null,
    created_by text not null,
    created_at timestamptz(3) not null default clock_timestamp(),
    updated_at timestamptz(3) not null default clock_timestamp()
  )`,
  `create table exports (
    id bigint generated always as identity primary key,
    rig_id text references rigs (id),
    path text not null,
    digest text not null,
    tasks integer not null,
    edges integer not null,
    signed_by text,
    created_by text not null,
    created_at timestamptz(3) not null default clock_timestamp()
  )`,
  `create table imports (
    id bigint generated always as identity primary key,
    source_system text not null,
    source text not null,
    digest text,
    cursor text,
    created integer not null,
    updated integer not null,
    unchanged integer not null,
    created_by text not null,
    created_at timestamptz(3) not null default clock_timestamp()
  )`,
  `create index imports_source on imports (source_system, source, id)`,
];

/** The work graph in full: fields of tasks, kinds of dependencies and what they hold, comments, wisps and their digests. */
export const workGraph = {
  async up(db: Kysely<unknown>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
  },
};
