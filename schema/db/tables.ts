import type { ColumnType, Generated, JSONColumnType } from 'kysely';
import type { Json, JsonObject } from '../json';
import type { GateRow, StepBindings, StepTemplate } from '../runs';

/** Times are `timestamptz`, read as Date. `bigint` columns are read as number (they stay below 2^53). */
type Time = ColumnType<Date, Date | string, Date | string>;
type TimeDefault = ColumnType<Date, Date | string | undefined, Date | string>;
type Jsonb<T extends object | null> =
  JSONColumnType<T & object> | (null extends T ? ColumnType<T, string | null, string | null> : never);

/** The ledger: facts. Every command is one transaction that also writes its event rows and outbox rows. */
export interface LedgerTables {
  rigs: {
    id: string;
    prefix: string;
    /** Absolute path of the repository. */
    path: string;
    default_branch: string;
    /** Short-lived workers at once. */
    workers_max: number;
    /** How sessions of its short-lived workers start: `{preset, command?, env?}`. */
    runtime: JSONColumnType<JsonObject>;
    /** Digest of the recipe for tasks slung without a formula; null means a single step. */
    default_formula: string | null;
    created_at: TimeDefault;
  };
  tasks: {
    id: string;
    /** sha256 hex that the id was cut from. */
    digest: string;
    rig_id: string | null;
    title: string;
    description: string;
    type: string;
    status: string;
    /** 0 most urgent to 4. */
    priority: number;
    assigned_agent_id: string | null;
    parent_id: string | null;
    acceptance: string | null;
    metadata: JSONColumnType<JsonObject>;
    /** The running or last molecule whose root this is. */
    molecule_id: string | null;
    /** How many of its edges hold it back (`task_dependencies.holds`); kept in the transaction of every edge and close. */
    open_blockers: Generated<number>;
    /** An ancestor that is not closed has open blockers; kept in the same transactions, see `activities/ledger/blockage.ts`. */
    parent_blocked: Generated<boolean>;
    outcome: string | null;
    close_reason: string | null;
    /** Not ready before; see `isDormant`. */
    defer_until: Time | null;
    due_at: Time | null;
    /** A person who answers for it, in free words; who works on it is `assigned_agent_id`. */
    owner: string | null;
    design: string | null;
    /** The document it was specified in. */
    spec_id: string | null;
    /** Its name elsewhere, such as `gh-9`; unique within `source_system`. */
    external_ref: string | null;
    /** Where it was imported from. */
    source_system: string | null;
    estimated_minutes: number | null;
    /** A mark to be read: never ready, and nothing else. */
    pinned: Generated<boolean>;
    /** When it was first in progress. */
    started_at: Time | null;
    created_by: string;
    created_at: TimeDefault;
    updated_at: TimeDefault;
    completed_at: Time | null;
    /** Next number for a child id. */
    child_count: Generated<number>;
    /** Tasks whose `parent_id` this is, by whether they are closed. */
    open_children: Generated<number>;
    closed_children: Generated<number>;
  };
  /** One edge an ordered pair. */
  task_dependencies: {
    task_id: string;
    depends_on_id: string;
    /** See `schema/task/dependency.ts`. */
    type: string;
    /** `gate` for `waits-for`; otherwise as it was given. */
    metadata: ColumnType<JsonObject, string | undefined, string>;
    /** Of `replies-to`. */
    thread_id: string | null;
    /** It holds its task back now; kept under the lock of `depends_on_id`. */
    holds: Generated<boolean>;
    created_by: string;
    created_at: TimeDefault;
  };
  /** Imported edges that cannot be edges here: see `ASIDE_REASONS` in `schema/task/interchange.ts`. Exported again as they came. */
  dependencies_aside: {
    task_id: string;
    /** May not exist. */
    depends_on_id: string;
    type: string;
    reason: string;
    metadata: ColumnType<JsonObject, string | undefined, string>;
    thread_id: string | null;
    created_by: string;
    created_at: Time;
  };
  /** The words of id, title, description and design of each task, for search; kept by triggers. */
  task_texts: { task_id: string; words: string };
  task_notes: { id: Generated<number>; task_id: string; author: string; body: string; created_at: TimeDefault };
  /** Said about a task, and kept with their ids on import; notes are what its workers leave for the next. */
  task_comments: { id: Generated<string>; task_id: string; author: string; body: string; created_at: TimeDefault };
  labels: { task_id: string; label: string };
  /** Short-lived tasks: nothing of them is in `tasks`, events, audit or exports. Gone after `expires_at`. */
  wisps: {
    id: string;
    digest: string;
    rig_id: string | null;
    /** Decides the time to live: heartbeat, ping, patrol, gc_report, recovery, error, escalation, or null. */
    wisp_type: string | null;
    title: string;
    description: string;
    type: string;
    status: string;
    priority: number;
    assigned_agent_id: string | null;
    owner: string | null;
    /** A wisp or a task. */
    parent_id: string | null;
    acceptance: string | null;
    design: string | null;
    metadata: JSONColumnType<JsonObject>;
    labels: ColumnType<string[], readonly string[] | undefined, readonly string[]>;
    /** Wisps or tasks that block it; few, and only looked at when it is asked for. */
    depends_on: ColumnType<string[], readonly string[] | undefined, readonly string[]>;
    molecule_id: string | null;
    outcome: string | null;
    close_reason: string | null;
    defer_until: Time | null;
    due_at: Time | null;
    created_by: string;
    created_at: TimeDefault;
    updated_at: TimeDefault;
    started_at: Time | null;
    completed_at: Time | null;
    expires_at: Time;
    child_count: Generated<number>;
  };
  /** What is left of a short-lived run when it was squashed. */
  run_digests: {
    id: string;
    molecule_id: string | null;
    /** The task or wisp it was about. */
    root_id: string | null;
    rig_id: string | null;
    formula: string | null;
    title: string;
    summary: string;
    outcome: string | null;
    steps_total: number;
    steps_closed: number;
    /** Ids of the wisps that went into it. */
    squashed: JSONColumnType<string[]>;
    /** Further figures and outcomes by step. */
    content: JSONColumnType<JsonObject>;
    started_at: Time | null;
    ended_at: Time | null;
    created_by: string;
    created_at: TimeDefault;
  };
  /** Filters and orders of `list` under a name. */
  saved_filters: {
    name: string;
    filter: JSONColumnType<JsonObject>;
    created_by: string;
    created_at: TimeDefault;
    updated_at: TimeDefault;
  };
  /** Copies that were written: what `sync` compares with. */
  exports: {
    id: Generated<number>;
    /** Null: of all rigs. */
    rig_id: string | null;
    path: string;
    /** sha256 hex of the content. */
    digest: string;
    tasks: number;
    edges: number;
    signed_by: string | null;
    created_by: string;
    created_at: TimeDefault;
  };
  /** What was read in, and how far: a source that pages goes on after `cursor`. */
  imports: {
    id: Generated<number>;
    source_system: string;
    /** File, folder or repository. */
    source: string;
    digest: string | null;
    cursor: string | null;
    created: number;
    updated: number;
    unchanged: number;
    created_by: string;
    created_at: TimeDefault;
  };
  convoys: {
    id: string;
    name: string;
    rig_id: string | null;
    /** open, running, stopped, completed */
    status: string;
    formula: string | null;
    created_by: string;
    created_at: TimeDefault;
    updated_at: TimeDefault;
    completed_at: Time | null;
  };
  convoy_members: { convoy_id: string; task_id: string; position: number; added_at: TimeDefault };
  /** Who is told when a convoy completes: an address, or `human`. */
  convoy_subscriptions: { convoy_id: string; subscriber: string };
  agents: {
    id: string;
    role: string;
    rig_id: string | null;
    name: string;
    /** active, paused, retired */
    status: string;
    /** Raised by every openSession; a write with an older one is refused. */
    incarnation: Generated<number>;
    /** `{preset: 'command'|'external', command?: string[], env?: {}}` */
    runtime: JSONColumnType<JsonObject>;
    worktree: string | null;
    created_at: TimeDefault;
  };
  liveness: { agent_id: string; last_seen: Time };
  sessions: {
    id: string;
    agent_id: string;
    incarnation: number;
    preset: string;
    /** sha256 hex of the token. */
    token_hash: string;
    /** opening, running, ended */
    status: string;
    host_id: string;
    boot_id: string | null;
    pid: number | null;
    /** Field 22 of /proc/<pid>/stat: tells a process from a later one with the same pid. */
    pid_start: string | null;
    worktree: string | null;
    molecule_id: string | null;
    started_at: TimeDefault;
    ended_at: Time | null;
    end_reason: string | null;
    exit_code: number | null;
  };
  step_receipts: {
    molecule_id: string;
    step: string;
    /** From 1; the next one begins when a step that was closed is tried again. */
    round: Generated<number>;
    agent_id: string;
    session_id: string | null;
    incarnation: number;
    attempt: number;
    outcome: string;
    note: string;
    commit_id: string | null;
    output: Jsonb<JsonObject | null>;
    at: TimeDefault;
  };
  /** Of steps that a person closed: they have no receipt. */
  given_outputs: {
    molecule_id: string;
    step: string;
    /** As in `step_receipts`. */
    round: number;
    actor: string;
    output: Jsonb<JsonObject>;
    at: TimeDefault;
  };
  host_leases: { agent_id: string; host_id: string; expires_at: Time };
  mail: {
    id: Generated<number>;
    sender: string;
    recipient: string;
    kind: string;
    subject: string;
    body: string;
    /** One message per key, however often it is sent. */
    dedupe_key: string | null;
    created_at: TimeDefault;
    read_at: Time | null;
  };
  policy_decisions: {
    id: string;
    action: string;
    actor: string;
    allow: boolean;
    reasons: JSONColumnType<string[]>;
    question: JSONColumnType<JsonObject>;
    input_digest: string;
    policy_hash: string;
    at: TimeDefault;
  };
  /** Append-only. `run` columns are set for events that a run recorded: unique by (run, epoch, run_seq). */
  events: {
    id: Generated<number>;
    type: string;
    actor: string;
    task_id: string | null;
    molecule_id: string | null;
    convoy_id: string | null;
    agent_id: string | null;
    rig_id: string | null;
    run: string | null;
    epoch: number | null;
    run_seq: number | null;
    payload: JSONColumnType<JsonObject>;
    at: TimeDefault;
    /** xid8 of the writing transaction: the sealer takes only what no running transaction can still precede. */
    txid: ColumnType<string, never, never>;
  };
  /** The sealed order of events and the hash chain over them. */
  audit: { seq: number; event_id: number; prev_hash: string; hash: string; sealed_at: TimeDefault };
  idempotency_keys: {
    key: string;
    command: string;
    request_digest: string;
    response: ColumnType<Json, string, string>;
    at: TimeDefault;
  };
  outbox: {
    id: Generated<number>;
    /** Workflow id of the run it is for. */
    target: string;
    /** 1, 2, 3 … per target, numbered under the target's lock. */
    n: number;
    message: JSONColumnType<JsonObject>;
    created_at: TimeDefault;
    delivered_at: Time | null;
    attempts: Generated<number>;
    next_attempt_at: TimeDefault;
    /** Set when it failed for good: it stands on the attention list. */
    failed_at: Time | null;
    error: string | null;
  };
  outbox_targets: { target: string; last_n: number };
  /** Compiled formulas by digest; never changed. */
  recipes: { digest: string; formula: string; document: JSONColumnType<object>; created_at: TimeDefault };
}

/** The projection: rows of runs, which can be dropped and rebuilt from `events`. `seq` is the highest event a row reflects. */
export interface ProjectionTables {
  molecules: {
    id: string;
    root_task_id: string | null;
    rig_id: string | null;
    formula: string;
    recipe_digest: string;
    /** running, paused, completed, failed, cancelled */
    status: string;
    /** First lane's agent. */
    agent_id: string | null;
    /** The step at which work goes on: first hooked, else first ready, else null. */
    resume_step_id: string | null;
    steps_total: number;
    steps_closed: number;
    priority: number;
    outcome: string | null;
    /** Raised attention: the reason a person should look, or null. */
    attention: string | null;
    epoch: number;
    seq: number;
    updated_at: Time;
  };
  steps: {
    molecule_id: string;
    step: string;
    position: number;
    /** `<root task>.<step>` */
    id: string;
    title: string;
    /** waiting, gated, ready, hooked, closed */
    status: string;
    attempt: number;
    agent_id: string | null;
    needs: JSONColumnType<string[]>;
    outcome: string | null;
    note: string | null;
    commit_id: string | null;
    lost_reason: string | null;
    /** From 1; see `step_receipts`. */
    round: number;
    /** Where a step that came later is described: `{recipe_digest, group, step}`; null for a step of the molecule's own recipe. */
    template: Jsonb<StepTemplate | null>;
    /** What fills the texts of such a step: `{scopes, levels}`. */
    bindings: Jsonb<StepBindings | null>;
    /** `{spec, since, escalated, trouble}` while it is gated. */
    gate: Jsonb<GateRow | null>;
    epoch: number;
    seq: number;
    updated_at: Time;
  };
  hooks: {
    agent_id: string;
    status: string;
    granted_molecule_id: string | null;
    epoch: number;
    seq: number;
    updated_at: Time;
  };
  hook_items: {
    agent_id: string;
    molecule_id: string;
    lane: number;
    priority: number;
    state: string;
    position: number;
    since: Time;
  };
  dispatch_queue: {
    rig_id: string;
    molecule_id: string;
    lane: number;
    priority: number;
    state: string;
    agent_id: string | null;
    position: number;
    since: Time;
  };
  dispatchers: {
    rig_id: string;
    workers_max: number;
    busy: number;
    waiting: number;
    epoch: number;
    seq: number;
    updated_at: Time;
  };
}

export type Database = LedgerTables & ProjectionTables;
