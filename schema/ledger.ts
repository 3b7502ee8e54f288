import type { GateSpec, StepFlow } from './formula/flow';
import type { Recipe } from './formula/recipe';
import type { AgentAddress, ConvoyId, MoleculeId, RigId, TaskId } from './ids';
import type { JsonObject } from './json';
import type {
  AgentView,
  ConvoyView,
  EventView,
  HookView,
  MoleculeView,
  Page,
  RigView,
  SessionView,
  StepBrief,
  TaskDetail,
  TaskView,
} from './views';

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
  prefix: string;
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
export interface TaskInput {
  title: string;
  description?: string;
  type?: string;
  priority?: number;
  rig_id?: RigId | null;
  parent_id?: TaskId | null;
  labels?: readonly string[];
  acceptance?: string | null;
  metadata?: JsonObject;
  /** Ids of tasks that block it. */ depends_on?: readonly TaskId[];
  convoy_id?: ConvoyId;
}
export interface TaskPatch {
  title?: string;
  description?: string;
  type?: string;
  priority?: number;
  status?: string;
  acceptance?: string | null;
  add_labels?: readonly string[];
  remove_labels?: readonly string[];
  note?: string;
  assigned_agent_id?: AgentAddress | null;
}
export interface TaskFilter {
  rig_id?: RigId;
  status?: readonly string[];
  type?: string;
  label?: string;
  assigned_agent_id?: AgentAddress;
  convoy_id?: ConvoyId;
  parent_id?: TaskId;
  limit?: number;
  cursor?: string;
}
export type DependencyType = 'blocks' | 'parent-child' | 'tracks' | 'related';
export type Outcome = 'done' | 'failed' | 'skipped' | 'cancelled' | 'merged' | 'deferred' | 'escalated';
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
  outcome: 'done' | 'failed';
  note: string;
  commit_id: string | null;
  output: JsonObject | null;
}
export interface Receipt extends ReceiptInput {
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
  addRig(ask: Ask, rig: RigInput): Promise<RigView>;
  listRigs(): Promise<RigView[]>;
  getRig(id: RigId): Promise<RigView>;

  createTask(ask: Ask, task: TaskInput): Promise<TaskView>;
  /** All or none, in one transaction. */
  createTasks(ask: Ask, tasks: readonly TaskInput[]): Promise<TaskView[]>;
  updateTask(ask: Ask, id: TaskId, patch: TaskPatch): Promise<TaskView>;
  /** Closing again with the same outcome answers the same; blockers of dependants are counted down in the same transaction. */
  closeTask(ask: Ask, id: TaskId, close: { outcome: Outcome; reason?: string; force?: boolean }): Promise<TaskView>;
  addNote(ask: Ask, id: TaskId, body: string): Promise<void>;
  addDependency(ask: Ask, edge: { task_id: TaskId; depends_on_id: TaskId; type: DependencyType }): Promise<void>;
  removeDependency(ask: Ask, edge: { task_id: TaskId; depends_on_id: TaskId }): Promise<void>;
  getTask(id: TaskId): Promise<TaskDetail>;
  listTasks(filter: TaskFilter): Promise<Page<TaskView>>;
  /** Open, not deferred, no open blocker, nobody's; by priority, then oldest first. */
  readyTasks(filter: { rig_id?: RigId; label?: string; type?: string; limit?: number }): Promise<TaskView[]>;

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
    agent: { id: AgentAddress; role: string; rig_id: RigId | null; runtime: Runtime },
  ): Promise<AgentView>;
  getAgent(id: AgentAddress): Promise<AgentView & { runtime: Runtime }>;
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
  listSessions(filter: { agent_id?: AgentAddress; status?: string; limit?: number }): Promise<SessionView[]>;

  /** Unique by (molecule, step), fenced by `ask.session`; writing it again answers the first one with fresh = false. */
  writeReceipt(ask: Ask, receipt: ReceiptInput): Promise<{ receipt: Receipt; fresh: boolean }>;
  getReceipt(molecule_id: MoleculeId, step: string): Promise<Receipt | null>;

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
    limit?: number;
    cursor?: string;
  }): Promise<Page<MoleculeView>>;
  hook(agent: AgentAddress): Promise<HookView>;
  /** All that a session needs to know for one step of a molecule. */
  brief(molecule_id: MoleculeId, step: string): Promise<StepBrief>;
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
