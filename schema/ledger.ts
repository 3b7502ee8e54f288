import type { GateSpec, StepFlow } from './formula/flow';
import type { Recipe } from './formula/recipe';
import type { AgentAddress, ConvoyId, MoleculeId, RigId, TaskId } from './ids';
import type { JsonObject } from './json';
import type { DependencyType } from './task/dependency';
import type { TaskOutcome as Outcome } from './task/status';
import type { Direction, GraphView, TreeView } from './task/graph';
import type { HistoryView } from './task/history';
import type { DuplicatesView, StaleTaskView, TaskStatsView } from './task/overview';
import type { WhyView } from './task/why';
import type { TaskPlan } from './task/plan';
import type { AsideReason, TaskRecord } from './task/interchange';
import type {
  AgentView,
  BlockedTaskView,
  CommentView,
  ConvoyView,
  EventView,
  GateView,
  FoundTaskView,
  HookView,
  MoleculeView,
  Page,
  RigView,
  RunDigestView,
  SavedFilterView,
  SessionView,
  StepBrief,
  TaskDetail,
  TaskView,
  WispView,
} from './views';

export type { DependencyType } from './task/dependency';
export type { TaskOutcome as Outcome } from './task/status';

/** Who asks, and under which key. Repeating a command with the same key gives the first answer and changes nothing. */
export interface Ask {
  /** `person:<name>`, an agent address, a run id (`convoy.x`) or `system:<part>`. */
  readonly actor: string;
  /** Idempotency key, at most 200 characters; the same key with another request is IDEMPOTENCY_MISMATCH. */
  readonly key?: string;
  /** Set for writes of an agent's session: the row of the agent is locked and the incarnation compared (STALE_SESSION). */
  readonly session?: { readonly agent: AgentAddress; readonly incarnation: number };
}

export interface RigInput {
  id: RigId;
  /** Of its task ids; made from its name when absent. See `schema/prefix.ts`. */ prefix?: string;
  path: string;
  default_branch: string;
  workers_max: number;
  runtime: Runtime;
  default_formula?: string | null;
}
/** How a session starts. `command`: a program in its own process group; `external`: somebody else starts it. */
export interface Runtime {
  readonly preset: 'command' | 'external';
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}
/** What a task has beside its title, its place and its progress. Absent: as it is; null: nothing. Times are ISO 8601. */
export interface TaskFields {
  acceptance?: string | null;
  design?: string | null;
  /** Who answers for it, in free words. */ owner?: string | null;
  spec_id?: string | null;
  /** Its name elsewhere; unique within `source_system`, else ALREADY_EXISTS. */ external_ref?: string | null;
  source_system?: string | null;
  estimated_minutes?: number | null;
  due_at?: string | null;
  pinned?: boolean;
}
export interface TaskInput extends TaskFields {
  title: string;
  description?: string;
  type?: string;
  priority?: number;
  rig_id?: RigId | null;
  parent_id?: TaskId | null;
  labels?: readonly string[];
  metadata?: JsonObject;
  /** Ids of tasks that block it. */ depends_on?: readonly TaskId[];
  /** Further edges of the new task. */ dependencies?: readonly Omit<EdgeInput, 'task_id'>[];
  convoy_id?: ConvoyId;
  /** Not ready before; a time that has passed changes nothing. */ defer_until?: string | null;
}
export interface TaskPatch extends TaskFields {
  title?: string;
  description?: string;
  type?: string;
  priority?: number;
  status?: string;
  add_labels?: readonly string[];
  remove_labels?: readonly string[];
  note?: string;
  assigned_agent_id?: AgentAddress | null;
  /** Replaces all of it. */ metadata?: JsonObject;
  /** Sets these keys; null takes one away. */ set_metadata?: JsonObject;
  /** With a status: although it is held back or put off, or parts of it are open. */ force?: boolean;
}
/** All that is given must hold. Times are ISO 8601; `before` and `after` leave out the moment itself. */
export interface TaskFilter extends TaskConditions {
  status?: readonly string[];
  assigned_agent_id?: AgentAddress | null;
  closed_after?: string;
  closed_before?: string;
  /** Due before now and not closed. */ overdue?: boolean;
  /** Put off until later, now. */ deferred?: boolean;
  pinned?: boolean;
  /** Held back by a dependency, its own or an ancestor's. */ blocked?: boolean;
  sort?: TaskSort;
  /** The other way round. */ reverse?: boolean;
  limit?: number;
  cursor?: string;
}
/** What `list` and `ready` share. */
export interface TaskConditions {
  ids?: readonly TaskId[];
  rig_id?: RigId;
  type?: string;
  exclude_types?: readonly string[];
  label?: string;
  /** All of them. */ labels?: readonly string[];
  /** At least one of them. */ label_any?: readonly string[];
  /** A label like this: `*` is any text, `?` one character. */ label_pattern?: string;
  /** None of them. */ exclude_labels?: readonly string[];
  owner?: string | null;
  /** Most urgent. */ priority_min?: number;
  /** Least urgent. */ priority_max?: number;
  /** Parts of this task; with `deep` also their parts. Null: tasks that are part of nothing. */ parent_id?: TaskId | null;
  deep?: boolean;
  convoy_id?: ConvoyId;
  created_after?: string;
  created_before?: string;
  updated_after?: string;
  updated_before?: string;
  due_after?: string;
  due_before?: string;
  has_external_ref?: boolean;
  external_ref?: string;
  source_system?: string;
  /** Contains all these keys with these values. */ metadata?: JsonObject;
  has_metadata_key?: string;
  /** In title, description, design or acceptance, or the id; upper and lower case are the same. */ text?: string;
  /** In the query language of `schema/task/query.ts`. */ query?: string;
  /** Short-lived tasks too. */ wisps?: boolean;
}
export const TASK_SORTS = [
  'created',
  'updated',
  'closed',
  'due',
  'priority',
  'status',
  'type',
  'title',
  'assignee',
  'id',
] as const;
/** `created`, `updated`, `closed`: newest first; `priority`: most urgent, then oldest, first; others ascending. What lacks the time comes last. */
export type TaskSort = (typeof TASK_SORTS)[number];
export const READY_SORTS = ['priority', 'oldest', 'hybrid'] as const;
/** `priority`: most urgent, then oldest. `hybrid`: made in the last 48 hours by priority, then the others by age. */
export type ReadySort = (typeof READY_SORTS)[number];
export interface ReadyFilter extends TaskConditions {
  /** Given to this agent but not begun; absent or null: nobody's. */ assigned_agent_id?: AgentAddress | null;
  /** Also what is put off until later. */ include_deferred?: boolean;
  sort?: ReadySort;
  limit?: number;
  cursor?: string;
}
/** Words that must all be there, and which tasks to look at. */
export interface TaskSearch extends Omit<TaskFilter, 'sort' | 'reverse' | 'wisps'> {
  words: string;
}
export interface BlockedFilter extends TaskConditions {
  limit?: number;
  cursor?: string;
}
export interface EdgeInput {
  task_id: TaskId;
  depends_on_id: TaskId;
  type: DependencyType;
  /** `waits-for` reads `gate`: all-children (default) or any-children. */ metadata?: JsonObject;
  /** Of `replies-to`. */ thread_id?: string | null;
}
/** One of many changes; `line` is where it was asked for, and stands in the message when it is refused. */
export type TaskOperation = (
  | { readonly op: 'create'; readonly task: TaskInput }
  | { readonly op: 'update'; readonly id: TaskId; readonly patch: TaskPatch }
  | {
      readonly op: 'close';
      readonly id: TaskId;
      readonly outcome: Outcome;
      readonly reason?: string;
      readonly force?: boolean;
    }
  | { readonly op: 'reopen'; readonly id: TaskId; readonly reason?: string }
  | { readonly op: 'defer'; readonly id: TaskId; readonly until: string | null; readonly reason?: string }
  | { readonly op: 'undefer'; readonly id: TaskId }
  | { readonly op: 'note' | 'comment'; readonly id: TaskId; readonly body: string }
  | { readonly op: 'dep-add'; readonly edge: EdgeInput }
  | { readonly op: 'dep-remove'; readonly task_id: TaskId; readonly depends_on_id: TaskId }
) & { readonly line?: number };
export interface OperationResult {
  readonly op: TaskOperation['op'];
  readonly line: number | null;
  /** The task that was changed or made. */
  readonly target: TaskId;
}
export type SlingTarget =
  { readonly kind: 'agent'; readonly id: AgentAddress } | { readonly kind: 'rig'; readonly id: RigId };
export interface SlingRequest {
  task_id: TaskId;
  target: SlingTarget;
  recipe: Recipe;
  decision_id: string;
  /** Take over a task that is in progress. */ resume?: boolean;
}
export interface PourRequest {
  recipe: Recipe;
  rig_id: RigId;
  title?: string;
  priority?: number;
  convoy_id?: ConvoyId;
  /** null: poured but not slung. */ target: SlingTarget | null;
  decision_id: string | null;
  /** A short-lived molecule: without root task, and without a trace in the trail. It needs a target. */ wisp?: boolean;
  /** Of the wisp: decides how long it lives. */ wisp_type?: string | null;
  /** Of the wisp, instead of what its type says. */ ttl_ms?: number | null;
}
/** A short-lived task. Absent: as for a task. */
export interface WispInput extends Pick<
  TaskInput,
  | 'title'
  | 'description'
  | 'type'
  | 'priority'
  | 'rig_id'
  | 'parent_id'
  | 'labels'
  | 'metadata'
  | 'depends_on'
  | 'defer_until'
  | 'acceptance'
  | 'design'
  | 'owner'
  | 'due_at'
> {
  /** See `schema/task/wisp.ts`: decides how long it lives. */ wisp_type?: string | null;
  /** In ms, instead of what its type says. */ ttl_ms?: number | null;
}
export interface WispFilter extends Omit<TaskFilter, 'wisps'> {
  wisp_type?: string;
  molecule_id?: MoleculeId;
}
export interface ConvoyInput {
  name: string;
  tasks: readonly TaskId[];
  rig_id?: RigId | null;
  formula?: string | null;
  notify?: readonly string[];
  human?: boolean;
}
export interface DecisionInput {
  action: string;
  actor: string;
  allow: boolean;
  reasons: readonly string[];
  question: JsonObject;
  input_digest: string;
  policy_hash: string;
}

export interface SessionOpening {
  agent: AgentAddress;
  preset: string;
  token_hash: string;
  host_id: string;
  worktree: string | null;
  molecule_id: MoleculeId | null;
}
export interface SessionSpawn {
  boot_id: string;
  pid: number;
  pid_start: string;
}
export interface SessionRow extends SessionView {
  token_hash: string;
  boot_id: string | null;
  pid_start: string | null;
}
export interface ReceiptInput {
  molecule_id: MoleculeId;
  step: string;
  attempt: number;
  session_id: string | null;
  /** Of the step's attempts; absent: the first. */ round?: number;
  outcome: 'done' | 'failed';
  note: string;
  commit_id: string | null;
  output: JsonObject | null;
}
export interface Receipt extends ReceiptInput {
  round: number;
  agent_id: AgentAddress;
  incarnation: number;
  at: string;
}

/** A message of the ledger to a run. Delivered in order of `n` per target, at least once; the run ignores an `n` it has seen. */
export type OutboxMessage =
  | { readonly kind: 'start'; readonly workflow: 'molecule' | 'convoy'; readonly input: JsonObject }
  | { readonly kind: 'update'; readonly name: string; readonly args: JsonObject };
export interface OutboxRow {
  id: number;
  target: string;
  n: number;
  message: OutboxMessage;
  attempts: number;
}

/**
 * The ledger's commands and reads. A command is one transaction with its event rows and outbox rows.
 * Refusals are TownErrors: NOT_FOUND, WRONG_STATE, CONFLICT, STALE_SESSION, …
 */
export interface Ledger {
  /** ALREADY_EXISTS for its name or its prefix, also for a prefix whose ids could be confused with those of another. */
  addRig(ask: Ask, rig: RigInput): Promise<RigView>;
  listRigs(): Promise<RigView[]>;
  getRig(id: RigId): Promise<RigView>;

  createTask(ask: Ask, task: TaskInput): Promise<TaskView>;
  /** All or none, in one transaction. */
  createTasks(ask: Ask, tasks: readonly TaskInput[]): Promise<TaskView[]>;
  /** A change of status has the same guards as the command of its own. */
  updateTask(ask: Ask, id: TaskId, patch: TaskPatch): Promise<TaskView>;
  /**
   * Closing again with the same outcome answers the same; what waits for it is counted down in the same transaction. Unless forced:
   * WRONG_STATE with open children or gates that its molecule waits at, OPEN_BLOCKERS when it is blocked and the outcome says that
   * the work was done.
   */
  closeTask(ask: Ask, id: TaskId, close: { outcome: Outcome; reason?: string; force?: boolean }): Promise<TaskView>;
  /** Open again and nobody's; one that is not closed stays as it is. */
  reopenTask(ask: Ask, id: TaskId, reason?: string): Promise<TaskView>;
  /** Until a time or for so long (`3d`), after which it is open by itself; or until somebody ends it (null). Held work is taken back. */
  deferTask(ask: Ask, id: TaskId, deferral: { until: string | null; reason?: string }): Promise<TaskView>;
  undeferTask(ask: Ask, id: TaskId): Promise<TaskView>;
  /**
   * In progress with this agent. Its own claim again answers the same. ALREADY_CLAIMED names the holder; OPEN_BLOCKERS and WRONG_STATE
   * (put off until later) unless forced.
   */
  claimTask(ask: Ask, id: TaskId, claim: { agent: AgentAddress; force?: boolean }): Promise<TaskView>;
  addNote(ask: Ask, id: TaskId, body: string): Promise<void>;
  addComment(ask: Ask, id: TaskId, body: string): Promise<CommentView>;
  /** Oldest first. */
  listComments(id: TaskId, page?: { limit?: number; cursor?: string }): Promise<Page<CommentView>>;
  /** Exactly these labels. */
  setLabels(ask: Ask, id: TaskId, labels: readonly string[]): Promise<TaskView>;
  /**
   * The same edge again takes over its metadata. CONFLICT when the two have an edge of another type, DEPENDENCY_CYCLE with the path,
   * WRONG_STATE for an open part of what is closed.
   */
  addDependency(ask: Ask, edge: EdgeInput): Promise<void>;
  removeDependency(ask: Ask, edge: { task_id: TaskId; depends_on_id: TaskId }): Promise<void>;
  getTask(id: TaskId): Promise<TaskDetail>;
  listTasks(filter: TaskFilter): Promise<Page<TaskView>>;
  /** Open, not deferred nor a part of what is deferred, held back by nothing, not pinned, a type of work, and nobody's. */
  readyPage(filter: ReadyFilter): Promise<Page<TaskView>>;
  /** Not closed and held back, with what holds it; by priority, then oldest first. */
  blockedTasks(filter: BlockedFilter): Promise<Page<BlockedTaskView>>;

  storeRecipe(recipe: Recipe): Promise<void>;
  getRecipe(digest: string): Promise<Recipe>;

  /** Makes the root task of a molecule; with a target it is slung in the same transaction. */
  pour(ask: Ask, request: PourRequest): Promise<{ task: TaskView; molecule_id: MoleculeId | null }>;
  /** Task in_progress, a new molecule id, and the outbox row that starts the molecule: one transaction. Needs an open, unblocked task. */
  sling(ask: Ask, request: SlingRequest): Promise<{ task: TaskView; molecule_id: MoleculeId }>;
  /** Compensation and `hook unassign`: task open again without holder; its molecule is told to cancel. */
  unassignTask(ask: Ask, id: TaskId, reason: string): Promise<TaskView>;
  /** A run tells who holds the work now. */
  recordHolder(ask: Ask, id: TaskId, agent: AgentAddress): Promise<void>;
  /** Claims up to `count` ready tasks of a rig for an agent (SKIP LOCKED): each task goes to exactly one claimer. */
  claimReady(ask: Ask, claim: { agent: AgentAddress; rig_id: RigId; count: number }): Promise<TaskView[]>;
  /** Asks a run to do something through the outbox: the message row alone. Answers the target's `n`. */
  tellRun(ask: Ask, target: string, message: OutboxMessage): Promise<number>;

  createConvoy(ask: Ask, convoy: ConvoyInput): Promise<ConvoyView>;
  addToConvoy(ask: Ask, id: ConvoyId, tasks: readonly TaskId[]): Promise<ConvoyView>;
  setConvoyStatus(ask: Ask, id: ConvoyId, status: 'running' | 'stopped'): Promise<ConvoyView>;
  /** Completed only when every member is closed (else WRONG_STATE); event and mail to subscribers in the same transaction. */
  completeConvoy(ask: Ask, id: ConvoyId): Promise<ConvoyView>;
  getConvoy(id: ConvoyId): Promise<ConvoyView>;
  listConvoys(filter: { status?: readonly string[]; limit?: number; cursor?: string }): Promise<Page<ConvoyView>>;

  addAgent(
    ask: Ask,
    agent: { id: AgentAddress; role: string; rig_id: RigId | null; runtime: Runtime; worktree?: string },
  ): Promise<AgentView>;
  getAgent(id: AgentAddress): Promise<AgentView & { runtime: Runtime }>;
  /** Agents whose sessions somebody else starts and whose folder holds this one, nearest first. */
  agentsAt(folder: string): Promise<{ id: AgentAddress; worktree: string }[]>;
  listAgents(filter: { rig_id?: RigId; status?: string }): Promise<AgentView[]>;
  retireAgent(ask: Ask, id: AgentAddress): Promise<AgentView>;
  seen(agent: AgentAddress): Promise<void>;

  /** Raises the incarnation, revokes older sessions, inserts the row: before any process exists. */
  openSession(
    ask: Ask,
    opening: SessionOpening,
  ): Promise<{ session_id: string; incarnation: number; previous: SessionRow | null }>;
  recordSpawn(session_id: string, spawn: SessionSpawn): Promise<void>;
  /** Idempotent: the first end wins. */
  endSession(ask: Ask, session_id: string, end: { reason: string; exit_code: number | null }): Promise<void>;
  /** The newest session of the agent that is not ended. */
  currentSession(agent: AgentAddress): Promise<SessionRow | null>;
  sessionByToken(token_hash: string): Promise<SessionRow | null>;

  /** Unique by (molecule, step, round), fenced by `ask.session`; writing it again answers the first one with fresh = false. */
  writeReceipt(ask: Ask, receipt: ReceiptInput): Promise<{ receipt: Receipt; fresh: boolean }>;
  /** What a person gives as the output of a step that they close, before the run is told. Giving it again replaces it; a receipt goes first. */
  giveOutput(
    ask: Ask,
    given: { molecule_id: MoleculeId; step: string; round: number; output: JsonObject },
  ): Promise<void>;
  /** Without a round: that of the step's present one. */
  getReceipt(molecule_id: MoleculeId, step: string, round?: number): Promise<Receipt | null>;

  /** Takes every active agent without a live lease, at most `max` in all; answers those newly taken. */
  acquireLeases(host_id: string, options: { max: number; ttl_ms: number }): Promise<AgentAddress[]>;
  /** Renews this host's leases; answers the agents still held. */
  renewLeases(host_id: string, ttl_ms: number): Promise<AgentAddress[]>;
  releaseLeases(host_id: string): Promise<void>;

  recordDecision(decision: DecisionInput): Promise<string>;

  /** Due rows, oldest first per target, at most one per target; for the courier. */
  dueOutbox(limit: number): Promise<OutboxRow[]>;
  delivered(id: number): Promise<void>;
  /** Next try after `retry_ms`; null: failed for good, the row goes to the attention list and later rows of the target may pass. */
  deliveryFailed(id: number, error: string, retry_ms: number | null): Promise<void>;

  listEvents(filter: {
    after?: number;
    type?: string;
    task_id?: TaskId;
    molecule_id?: MoleculeId;
    convoy_id?: ConvoyId;
    limit?: number;
  }): Promise<Page<EventView>>;
  /** Gives unsealed events their number and hash; answers how many. Safe to run twice at once. */
  seal(): Promise<number>;
  verifyAudit(): Promise<{
    ok: boolean;
    sealed: number;
    unsealed: number;
    broken_at: number | null;
    problem: string | null;
  }>;
  /** Applies the retention table; answers deleted rows per table. */
  sweep(): Promise<Record<string, number>>;

  getMolecule(id: MoleculeId): Promise<MoleculeView>;
  listMolecules(filter: {
    rig_id?: RigId;
    status?: string;
    root_task_id?: TaskId;
    /** Short-lived ones too. */ wisps?: boolean;
    limit?: number;
    cursor?: string;
  }): Promise<Page<MoleculeView>>;
  /** Steps that wait at a gate, longest first. */
  listGates(filter: { rig_id?: RigId; molecule_id?: MoleculeId }): Promise<GateView[]>;
  /** A mail to the people of the town. Once per (molecule, step). */
  escalateGate(
    ask: Ask,
    gate: {
      molecule_id: MoleculeId;
      root_task_id: TaskId | null;
      step: string;
      title: string;
      waits_for: string;
      reason: string;
    },
  ): Promise<void>;
  /** Tells all molecules whose gates wait for this task or molecule that it is closed. */
  openGatesOf(ask: Ask, kind: 'task' | 'molecule', id: string, reason: string): Promise<void>;
  /** Has a running molecule append the recipe's steps as `<ref>.<step>`; the recipe is kept. */
  bondRecipe(
    ask: Ask,
    bond: { molecule_id: MoleculeId; recipe: Recipe; ref: string; mode: 'sequential' | 'parallel' },
  ): Promise<void>;
  hook(agent: AgentAddress): Promise<HookView>;
  /** All that a session needs to know for one step of a molecule. */
  brief(molecule_id: MoleculeId, step: string): Promise<StepBrief>;

  /** Why a task is not done, or how it ended. */
  whyTask(id: TaskId): Promise<WhyView>;
  /** Not closed and left alone: longest unchanged first. What is pinned or put off is not among them. */
  staleTasks(filter: StaleFilter): Promise<Page<StaleTaskView>>;
  /** Pairs of tasks that look alike, among the newest 2,000 that match. */
  duplicateTasks(filter: DuplicateFilter): Promise<DuplicatesView>;
  taskStats(filter: TaskConditions): Promise<TaskStatsView>;
  /** What happened to a task, newest first; `steps`: also to the steps of its molecules. */
  taskHistory(
    id: TaskId,
    page: { steps?: boolean; oldest_first?: boolean; limit?: number; cursor?: string },
  ): Promise<Page<HistoryView>>;
  /** What a task needs, what needs it. */
  dependencyTree(id: TaskId, bounds: GraphBounds & { directions?: readonly Direction[] }): Promise<TreeView>;
  /** What is connected with these tasks, in both directions; without any: all that is not closed and has dependencies. */
  taskGraph(filter: GraphBounds & { ids?: readonly TaskId[]; rig_id?: RigId }): Promise<GraphView>;

  // Finding, changing many at once, short-lived tasks, moves between rigs.

  /** By name. */
  rigPage(page: { limit?: number; cursor?: string }): Promise<Page<RigView>>;
  /** By address. */
  agentPage(filter: { rig_id?: RigId; status?: string; limit?: number; cursor?: string }): Promise<Page<AgentView>>;
  /** Newest first. */
  sessionPage(filter: {
    agent_id?: AgentAddress;
    status?: string;
    limit?: number;
    cursor?: string;
  }): Promise<Page<SessionView>>;
  /** Best first: title, description and design, notes and comments are searched. At most eight words. */
  searchTasks(search: TaskSearch): Promise<Page<FoundTaskView>>;
  /** Labels in use, by name, with how many tasks have them. */
  listLabels(page?: { limit?: number; cursor?: string }): Promise<Page<{ label: string; tasks: number }>>;
  /** A filter of `listTasks` under a name, in the place of an earlier one. Relative times stay relative. */
  saveFilter(ask: Ask, name: string, filter: TaskFilter): Promise<SavedFilterView>;
  getSavedFilter(name: string): Promise<SavedFilterView>;
  listSavedFilters(page?: { limit?: number; cursor?: string }): Promise<Page<SavedFilterView>>;
  /** One that is not there: nothing happens. */
  removeSavedFilter(ask: Ask, name: string): Promise<void>;
  /**
   * Makes all tasks and edges of a plan in one transaction, or none; `defaults` are for tasks that say nothing of it, the parent for those
   * that are part of nothing in the plan. Answers the id of each key.
   * @throws INVALID_INPUT, DEPENDENCY_CYCLE before anything is written; NOT_FOUND for tasks and agents that it names
   */
  createPlan(
    ask: Ask,
    plan: TaskPlan,
    defaults: { rig_id?: RigId | null; parent_id?: TaskId | null },
  ): Promise<{ ids: Record<string, TaskId>; tasks: TaskView[] }>;
  /**
   * All in one transaction, in their order, each with the guards and events of the command of its own; or none, with the refusal of
   * the first that is refused (`details.line`, `details.operation`). Answers the tasks as they are at the end, by id.
   */
  changeTasks(
    ask: Ask,
    operations: readonly TaskOperation[],
  ): Promise<{ results: OperationResult[]; tasks: TaskView[] }>;

  /**
   * To another rig (null: to the town), with all their parts. Ids stay as they are, and so does all that names them. Answers every task
   * that belongs there now. WRONG_STATE for work that has begun.
   */
  moveTasks(ask: Ask, ids: readonly TaskId[], rig_id: RigId | null): Promise<TaskView[]>;
  /** Nothing of a wisp is in tasks, events or audit. */
  createWisp(ask: Ask, wisp: WispInput): Promise<WispView>;
  getWisp(id: TaskId): Promise<WispView>;
  listWisps(filter: WispFilter): Promise<Page<WispView>>;
  /** Closing again with the same outcome answers the same. */
  closeWisp(ask: Ask, id: TaskId, close: { outcome: Outcome; reason?: string }): Promise<WispView>;
  /**
   * Makes a wisp and its parts durable tasks with the same facts, labels and times. Its id loses the word `wisp`; answers all ids, old to
   * new. WRONG_STATE while its molecule runs.
   */
  promoteWisp(ask: Ask, id: TaskId): Promise<{ task: TaskView; ids: Record<TaskId, TaskId> }>;
  /** Writes one digest of wisps and their parts, and deletes them. */
  squashWisps(ask: Ask, ids: readonly TaskId[], digest: { title?: string; summary?: string }): Promise<RunDigestView>;
  /** Deletes wisps and their parts without a trace; those that are not there are passed over. */
  burnWisps(ask: Ask, ids: readonly TaskId[]): Promise<{ burned: TaskId[] }>;
  /** Deletes what has outlived its time, but not what a molecule still works on. Part of `sweep`; running it again changes nothing. */
  purgeWisps(): Promise<number>;
  /** The last word of a short-lived molecule; for one that is not there nothing happens. */
  endWispMolecule(
    ask: Ask,
    id: MoleculeId,
    end: { outcome: 'done' | 'failed' | 'cancelled'; reason: string },
  ): Promise<void>;
  /**
   * Writes the digest of a molecule that is over, once: again answers the first. A short-lived one is deleted with it. NOT_FOUND,
   * WRONG_STATE while it runs.
   */
  squashMolecule(ask: Ask, id: MoleculeId, digest: { summary?: string }): Promise<RunDigestView>;
  /** Deletes a short-lived molecule that is over, without a trace. WRONG_STATE while it runs, and for one with a root task. */
  burnMolecule(ask: Ask, id: MoleculeId): Promise<{ burned: string[] }>;
  getRunDigest(id: string): Promise<RunDigestView>;
  /** Newest first. */
  listRunDigests(filter: {
    rig_id?: RigId;
    molecule_id?: MoleculeId;
    limit?: number;
    cursor?: string;
  }): Promise<Page<RunDigestView>>;

  // Import and export; docs/exchange.md.
  /**
   * Writes the tasks of one rig, of no rig (null), or all (absent) as lines of JSON by id, all as they were at one moment. `write` gets
   * whole lines, some hundred at a time.
   */
  exportTasks(
    filter: { rig_id?: RigId | null },
    write: (lines: string) => Promise<void> | void,
  ): Promise<{ tasks: number; edges: number }>;
  /**
   * All or nothing, in one transaction; the same again changes nothing. People only.
   * @throws INVALID_INPUT and DEPENDENCY_CYCLE with every line that is wrong
   */
  importTasks(ask: Ask, batch: ImportBatch): Promise<ImportReport>;
  /** Notes that a copy was written. */
  recordExport(ask: Ask, copy: ExportedCopy): Promise<void>;
  /** Whether this content was exported or imported here before. */
  isKnownCopy(digest: string): Promise<boolean>;
  /** Where the newest import of this source ended; null: there was none. */
  importCursor(source_system: string, source: string): Promise<string | null>;
}

export interface StaleFilter extends TaskConditions {
  /** Untouched for so many days; 14 when absent. */ days?: number;
  limit?: number;
  cursor?: string;
}
export interface DuplicateFilter extends TaskConditions {
  /** Only what is like this one. */ task_id?: TaskId;
  /** Also among closed tasks. */ closed?: boolean;
  /** From 0.3 to 1. */ score_min?: number;
  limit?: number;
}
export interface GraphBounds {
  /** Edges of these types only. */ types?: readonly DependencyType[];
  /** How far from the task; 10 when absent, at most 50. */ depth?: number;
  /** At most so many tasks; 200 when absent, at most 500. */ limit?: number;
}

/** What a molecule needs to know of a step; instructions stay in the recipe. */
export interface LeanStep {
  readonly id: string;
  readonly title: string;
  readonly needs: readonly string[];
  readonly parallel: boolean;
  readonly priority: number | null;
  readonly gate: GateSpec | null;
  readonly flow?: StepFlow;
}

/** What an import is asked to write. */
export interface ImportBatch {
  readonly source_system: string;
  /** File, folder or repository; in the trail, and in errors. */
  readonly source: string;
  /** sha256 hex of the content; null when it is no file. */
  readonly digest: string | null;
  readonly records: readonly TaskRecord[];
  /**
   * `copy`: the source is another ledger, and a record that is newer than ours replaces it. `mirror`: the source knows part of a task
   * (title, description, labels, comments, and that it is over); the rest is ours.
   */
  readonly mode: 'copy' | 'mirror';
  /** Edges of circles and external references that are taken: kept aside and reported, instead of a refusal. */
  readonly lenient: boolean;
  /** Where new tasks belong; absent: where the record says, else the rig that has the prefix of the id. */
  readonly rig_id?: RigId;
  /** Where the next import of the source can go on. */
  readonly cursor: string | null;
  /** Reports what would happen, and changes nothing. */
  readonly dry_run: boolean;
}
export interface ImportReport {
  readonly created: number;
  readonly updated: number;
  readonly unchanged: number;
  /** Edges written, new or changed. */
  readonly edges: number;
  /** Edges kept aside now; at most 1,000 are listed. */
  readonly aside: readonly { task_id: TaskId; depends_on_id: TaskId; type: string; reason: AsideReason }[];
  readonly aside_total: number;
  /** Edges that had been kept aside, and are edges now. */
  readonly resolved: number;
  /** Tasks whose molecule runs: their progress stayed as it is here. At most 1,000. */
  readonly kept_progress: readonly TaskId[];
  readonly warnings: readonly string[];
  readonly dry_run: boolean;
}
export interface ExportedCopy {
  readonly rig_id: RigId | null;
  readonly path: string;
  /** sha256 hex of the lines. */
  readonly digest: string;
  readonly tasks: number;
  readonly edges: number;
  /** Public key; null: not signed. */
  readonly signed_by: string | null;
}
