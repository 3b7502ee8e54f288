import { sql, type Kysely } from 'kysely';

/** Times have milliseconds, so that one read as a Date and written back is the same time (cursors depend on it). */
const STATEMENTS = [
  // ---- ledger ----
  `create table rigs (
    id text primary key,
    prefix text not null unique,
    path text not null,
    default_branch text not null,
    workers_max integer not null check (workers_max >= 0),
    runtime jsonb not null,
    default_formula text,
    created_at timestamptz(3) not null default clock_timestamp()
  )`,
  `create table agents (
    id text primary key,
    role text not null,
    rig_id text references rigs (id),
    name text not null,
    status text not null default 'active' check (status in ('active', 'paused', 'retired')),
    incarnation integer not null default 0,
    runtime jsonb not null,
    worktree text,
    created_at timestamptz(3) not null default clock_timestamp()
  )`,
  `create table tasks (
    id text primary key,
    digest text not null,
    rig_id text references rigs (id),
    title text not null,
    description text not null,
    type text not null,
    status text not null check (status in
      ('open', 'in_progress', 'impl_complete', 'merge_ready', 'merged', 'merge_conflict', 'closed', 'deferred')),
    priority smallint not null check (priority between 0 and 4),
    assigned_agent_id text references agents (id),
    parent_id text references tasks (id),
    acceptance text,
    metadata jsonb not null default '{}',
    molecule_id text,
    open_blockers integer not null default 0 check (open_blockers >= 0),
    outcome text,
    close_reason text,
    defer_until timestamptz(3),
    created_by text not null,
    created_at timestamptz(3) not null default clock_timestamp(),
    updated_at timestamptz(3) not null default clock_timestamp(),
    completed_at timestamptz(3),
    child_count integer not null default 0
  )`,
  `create index tasks_ready on tasks (priority, created_at, id)
    where status = 'open' and open_blockers = 0 and assigned_agent_id is null`,
  `create index tasks_ready_rig on tasks (rig_id, priority, created_at, id)
    where status = 'open' and open_blockers = 0 and assigned_agent_id is null`,
  `create index tasks_created on tasks (created_at, id)`,
  `create index tasks_parent on tasks (parent_id) where parent_id is not null`,
  `create index tasks_assigned on tasks (assigned_agent_id) where assigned_agent_id is not null`,
  `create index tasks_molecule on tasks (molecule_id) where molecule_id is not null`,
  `create table task_dependencies (
    task_id text not null references tasks (id),
    depends_on_id text not null references tasks (id),
    type text not null check (type in ('blocks', 'parent-child', 'tracks', 'related')),
    created_by text not null,
    created_at timestamptz(3) not null default clock_timestamp(),
    primary key (task_id, depends_on_id),
    check (task_id <> depends_on_id)
  )`,
  `create index task_dependencies_on on task_dependencies (depends_on_id, type)`,
  `create table task_notes (
    id bigint generated always as identity primary key,
    task_id text not null references tasks (id),
    author text not null,
    body text not null,
    created_at timestamptz(3) not null default clock_timestamp()
  )`,
  `create index task_notes_task on task_notes (task_id, id)`,
  `create table labels (task_id text not null references tasks (id), label text not null, primary key (task_id, label))`,
  `create index labels_label on labels (label, task_id)`,
  `create table convoys (
    id text primary key,
    name text not null,
    rig_id text references rigs (id),
    status text not null check (status in ('open', 'running', 'stopped', 'completed')),
    formula text,
    created_by text not null,
    created_at timestamptz(3) not null default clock_timestamp(),
    updated_at timestamptz(3) not null default clock_timestamp(),
    completed_at timestamptz(3)
  )`,
  `create index convoys_created on convoys (created_at, id)`,
  `create table convoy_members (
    convoy_id text not null references convoys (id),
    task_id text not null references tasks (id),
    position integer not null,
    added_at timestamptz(3) not null default clock_timestamp(),
    primary key (convoy_id, task_id)
  )`,
  `create index convoy_members_task on convoy_members (task_id)`,
  `create table convoy_subscriptions (
    convoy_id text not null references convoys (id),
    subscriber text not null,
    primary key (convoy_id, subscriber)
  )`,
  `create table liveness (agent_id text primary key references agents (id), last_seen timestamptz(3) not null)`,
  `create table sessions (
    id text primary key,
    agent_id text not null references agents (id),
    incarnation integer not null,
    preset text not null,
    token_hash text not null unique,
    status text not null check (status in ('opening', 'running', 'ended')),
    host_id text not null,
    boot_id text,
    pid integer,
    pid_start text,
    worktree text,
    molecule_id text,
    started_at timestamptz(3) not null default clock_timestamp(),
    ended_at timestamptz(3),
    end_reason text,
    exit_code integer,
    unique (agent_id, incarnation)
  )`,
  `create index sessions_molecule on sessions (molecule_id) where molecule_id is not null`,
  `create table step_receipts (
    molecule_id text not null,
    step text not null,
    agent_id text not null references agents (id),
    session_id text,
    incarnation integer not null,
    attempt integer not null,
    outcome text not null,
    note text not null,
    commit_id text,
    output jsonb,
    at timestamptz(3) not null default clock_timestamp(),
    primary key (molecule_id, step)
  )`,
  `create table host_leases (
    agent_id text primary key references agents (id),
    host_id text not null,
    expires_at timestamptz(3) not null
  )`,
  `create index host_leases_host on host_leases (host_id)`,
  `create table mail (
    id bigint generated always as identity primary key,
    sender text not null,
    recipient text not null,
    kind text not null,
    subject text not null,
    body text not null,
    dedupe_key text unique,
    created_at timestamptz(3) not null default clock_timestamp(),
    read_at timestamptz(3)
  )`,
  `create index mail_recipient on mail (recipient, id)`,
  `create table policy_decisions (
    id text primary key,
    action text not null,
    actor text not null,
    allow boolean not null,
    reasons jsonb not null,
    question jsonb not null,
    input_digest text not null,
    policy_hash text not null,
    at timestamptz(3) not null default clock_timestamp()
  )`,
  `create index policy_decisions_at on policy_decisions (at)`,
  `create table events (
    id bigint generated always as identity primary key,
    type text not null,
    actor text not null,
    task_id text,
    molecule_id text,
    convoy_id text,
    agent_id text,
    rig_id text,
    run text,
    epoch integer,
    run_seq bigint,
    payload jsonb not null,
    at timestamptz(3) not null default clock_timestamp(),
    txid xid8 not null default pg_current_xact_id()
  )`,
  `create index events_txid on events (txid, id)`,
  `create unique index events_run on events (run, epoch, run_seq) where run is not null`,
  `create index events_task on events (task_id, id) where task_id is not null`,
  `create index events_molecule on events (molecule_id, id) where molecule_id is not null`,
  `create index events_convoy on events (convoy_id, id) where convoy_id is not null`,
  `create table audit (
    seq bigint primary key,
    event_id bigint not null unique,
    prev_hash text not null,
    hash text not null,
    sealed_at timestamptz(3) not null default clock_timestamp()
  )`,
  `create function town_refuse_change() returns trigger language plpgsql as $$
  begin
    if current_setting('town.retention', true) = 'on' then
      return coalesce(new, old);
    end if;
    raise exception '% is append-only', tg_table_name using errcode = 'insufficient_privilege';
  end $$`,
  `create trigger events_append_only before update or delete on events for each row execute function town_refuse_change()`,
  `create trigger events_no_truncate before truncate on events for each statement execute function town_refuse_change()`,
  `create trigger audit_append_only before update or delete on audit for each row execute function town_refuse_change()`,
  `create trigger audit_no_truncate before truncate on audit for each statement execute function town_refuse_change()`,
  `create table idempotency_keys (
    key text primary key,
    command text not null,
    request_digest text not null,
    response jsonb not null,
    at timestamptz(3) not null default clock_timestamp()
  )`,
  `create index idempotency_keys_at on idempotency_keys (at)`,
  `create table outbox_targets (target text primary key, last_n bigint not null)`,
  `create table outbox (
    id bigint generated always as identity primary key,
    target text not null,
    n bigint not null,
    message jsonb not null,
    created_at timestamptz(3) not null default clock_timestamp(),
    delivered_at timestamptz(3),
    attempts integer not null default 0,
    next_attempt_at timestamptz(3) not null default clock_timestamp(),
    failed_at timestamptz(3),
    error text,
    unique (target, n)
  )`,
  `create index outbox_waiting on outbox (target, n) where delivered_at is null and failed_at is null`,
  `create index outbox_failed on outbox (failed_at) where failed_at is not null`,
  `create index outbox_delivered on outbox (delivered_at) where delivered_at is not null`,
  `create table recipes (
    digest text primary key,
    formula text not null,
    document jsonb not null,
    created_at timestamptz(3) not null default clock_timestamp()
  )`,
  // ---- projection: no foreign keys, rows may be dropped and rebuilt ----
  `create table molecules (
    id text primary key,
    root_task_id text,
    rig_id text,
    formula text not null,
    recipe_digest text not null,
    status text not null,
    agent_id text,
    resume_step_id text,
    steps_total integer not null,
    steps_closed integer not null,
    priority smallint not null,
    outcome text,
    attention text,
    epoch integer not null,
    seq bigint not null,
    updated_at timestamptz(3) not null
  )`,
  `create index molecules_updated on molecules (updated_at, id)`,
  `create index molecules_root on molecules (root_task_id) where root_task_id is not null`,
  `create table steps (
    molecule_id text not null,
    step text not null,
    position integer not null,
    id text not null,
    title text not null,
    status text not null,
    attempt integer not null,
    agent_id text,
    needs jsonb not null,
    outcome text,
    note text,
    commit_id text,
    lost_reason text,
    epoch integer not null,
    seq bigint not null,
    updated_at timestamptz(3) not null,
    primary key (molecule_id, step)
  )`,
  `create index steps_hooked on steps (agent_id) where status = 'hooked'`,
  `create index steps_id on steps (id)`,
  `create table hooks (
    agent_id text primary key,
    status text not null,
    granted_molecule_id text,
    epoch integer not null,
    seq bigint not null,
    updated_at timestamptz(3) not null
  )`,
  `create table hook_items (
    agent_id text not null,
    molecule_id text not null,
    lane integer not null,
    priority smallint not null,
    state text not null,
    position integer not null,
    since timestamptz(3) not null,
    primary key (agent_id, molecule_id, lane)
  )`,
  `create index hook_items_molecule on hook_items (molecule_id)`,
  `create table dispatch_queue (
    rig_id text not null,
    molecule_id text not null,
    lane integer not null,
    priority smallint not null,
    state text not null,
    agent_id text,
    position integer not null,
    since timestamptz(3) not null,
    primary key (rig_id, molecule_id, lane)
  )`,
  `create table dispatchers (
    rig_id text primary key,
    workers_max integer not null,
    busy integer not null,
    waiting integer not null,
    epoch integer not null,
    seq bigint not null,
    updated_at timestamptz(3) not null
  )`,
];

/** All tables of the first release. */
export const town = {
  async up(db: Kysely<unknown>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
  },
};
