import type { GateSpec } from './formula/flow';
import type { AgentAddress, Instant, MoleculeId, RigId, TaskId } from './ids';
import type { Json, JsonObject } from './json';
import type { LeanStep, SlingTarget } from './ledger';
import type { Timings } from './timings';

/** Inputs of the runs and the messages they take. Plain JSON; every message from the ledger carries its outbox number `n`. */

export interface MoleculeInput {
  readonly version: 1;
  /**
   * How the run performs what its state machine says; it keeps this for life, also when it continues as new, so that a new build replays
   * it command by command. Absent: as the first builds did. 2: a human gate has its time-out; the run continues as new also when it is
   * older than `rolloverMs`; whoever sent an update is answered before anything else is begun. 3: also, a lane that waits in a queue asks
   * again in growing pauses, and no question is asked again while its answer is under way; what fails under `onItemFailure: 'continue'` does
   * not fail the molecule; files and variables that nobody has reported before a step are looked up for its conditions.
   */
  readonly performance?: 2 | 3;
  readonly id: MoleculeId;
  readonly epoch: number;
  readonly root_task_id: TaskId | null;
  readonly rig_id: RigId;
  readonly formula: string;
  readonly recipe_digest: string;
  readonly priority: number;
  readonly steps: readonly LeanStep[];
  /** As in the recipe: what loops and fan-outs make instances of. */
  readonly groups?: Readonly<Record<string, readonly LeanStep[]>>;
  readonly target: SlingTarget;
  /** The policy decision that allowed this dispatch; travels to every activity with side effects. */
  readonly decision_id: string;
  readonly timings: Timings;
  /** Prefix of hook queues, for tests that share a server; empty in a town. */
  readonly namespace: string;
  readonly n: number;
}

/** Argument of the activity on a hook queue. */
export interface PerformStep {
  readonly molecule_id: MoleculeId;
  readonly root_task_id: TaskId | null;
  readonly rig_id: RigId;
  readonly agent: AgentAddress;
  readonly step: string;
  /** Counted attempts, from 1. */
  readonly attempt: number;
  /** Every scheduling, counted or not, from 1; unique per molecule and step. */
  readonly dispatch: number;
  /** Commit that a needed step ended with: where a new worktree starts; null means the rig's default branch. */
  readonly base_commit: string | null;
  readonly decision_id: string;
  /** Which receipt of the step this is about; absent: the first. */
  readonly round?: number;
  /** What the run needs to know of the step's end beside its outcome; absent: nothing. */
  readonly wants?: Wanted;
}
/** Places in the step's output, paths in its worktree and variables of the host that the molecule's conditions and fan-outs look at. */
export interface Wanted {
  readonly outputs: readonly (readonly string[])[];
  readonly files: readonly string[];
  readonly env: readonly string[];
}
/** What was so where and when a step was closed. */
export interface Facts {
  readonly files: Readonly<Record<string, boolean>>;
  readonly env: Readonly<Record<string, string>>;
}
export interface StepResult {
  readonly outcome: 'done' | 'failed';
  readonly note: string;
  readonly commit_id: string | null;
  readonly incarnation: number;
  readonly agent: AgentAddress;
  /** The places of the output that were asked for; the whole of it is in the receipt. */
  readonly output?: JsonObject;
  readonly facts?: Facts;
}

export interface AgentInput {
  readonly version: 1;
  readonly address: AgentAddress;
  readonly epoch: number;
  readonly timings: Timings;
  /** null on the first start; the state carried over otherwise. */
  readonly state: JsonObject | null;
}
/** update `assign`: put a molecule's lane on the hook; answered with whether it holds the grant. Idempotent by (molecule, lane). */
export interface Assign {
  readonly molecule_id: MoleculeId;
  readonly lane: number;
  readonly priority: number;
  readonly decision_id: string;
}
export interface AssignAnswer {
  readonly granted: boolean;
  readonly position: number;
}
/** update `release`: the molecule needs the hook no more (done, cancelled, waiting). */
export interface Release {
  readonly molecule_id: MoleculeId;
  readonly lane: number;
  readonly reason: string;
}
/** update `requeue`: the grant goes to the next; the molecule is kept at the end of its priority. */
export interface Requeue {
  readonly molecule_id: MoleculeId;
  readonly reason: string;
  readonly n?: number;
}

export interface DispatcherInput {
  readonly version: 1;
  readonly rig_id: RigId;
  readonly epoch: number;
  readonly timings: Timings;
  readonly state: JsonObject | null;
}
/** update `enqueue`: ask the rig for a worker for one lane. Idempotent by (molecule, lane). */
export interface EnqueueLane {
  readonly molecule_id: MoleculeId;
  readonly lane: number;
  readonly priority: number;
  readonly decision_id: string;
  /** false: answer `refused` instead of waiting when no slot is free. */ readonly wait: boolean;
}
export type EnqueueAnswer =
  | { readonly kind: 'granted'; readonly agent: AgentAddress }
  | { readonly kind: 'queued'; readonly position: number }
  | { readonly kind: 'refused' };
/** update `free`: the lane's worker is free again. Idempotent. */
export interface FreeLane {
  readonly molecule_id: MoleculeId;
  readonly lane: number;
}

/** signal to a molecule: lane `lane` works on `agent` now (from the dispatcher: slot; from the agent: grant). */
export interface Granted {
  readonly from: 'dispatcher' | 'agent';
  readonly lane: number;
  readonly agent: AgentAddress;
}
/** signal to a molecule: the grant was taken back (requeue, pause); it asks again. */
export interface Revoked {
  readonly agent: AgentAddress;
  readonly lane: number;
  readonly reason: string;
}
/** update `resolveStep` of a molecule: an operator or another run ends a step. */
export interface ResolveStep {
  readonly step: string;
  readonly outcome: 'done' | 'failed' | 'skipped';
  readonly reason: string;
  readonly actor: string;
  /** What the person gives as the step's output; kept whole in the ledger (`given_outputs`). */
  readonly output?: JsonObject;
  readonly n?: number;
}
export interface OpenGate {
  readonly step: string;
  readonly actor: string;
  readonly reason: string;
  readonly n?: number;
}
export interface CancelMolecule {
  readonly reason: string;
  readonly actor: string;
  readonly n?: number;
}
/** updates `pause` and `resume` of a molecule. */
export interface PauseMolecule {
  readonly reason: string;
  readonly actor: string;
  readonly n?: number;
}
/** update `retryStep` of a molecule: a failed step, or one that is ready (also stuck), gets new attempts at once. */
export interface RetryStep {
  readonly step: string;
  readonly reason: string;
  readonly actor: string;
  readonly n?: number;
}
/** A recipe whose steps are appended to a running molecule, as `<ref>.<step>`. */
export interface BondRecipe {
  readonly ref: string;
  readonly formula: string;
  readonly recipe_digest: string;
  /** `sequential`: after all that the molecule has by now; `parallel`: at once. */
  readonly mode: 'sequential' | 'parallel';
  readonly steps: readonly LeanStep[];
  readonly groups?: Readonly<Record<string, readonly LeanStep[]>>;
}
/** update `bond` of a molecule. */
export interface BondMolecule extends BondRecipe {
  readonly actor: string;
  readonly n?: number;
}

/** Activity `lookAtGate`: what a gate waits for, asked from the world. */
export interface LookAtGate {
  readonly molecule_id: MoleculeId;
  readonly rig_id: RigId;
  readonly step: string;
  readonly gate: GateSpec;
  /** When the step's needs were met: older mail does not count. */
  readonly since: Instant;
}
/** Activity `lookForFacts`: what a step's conditions ask, when nobody who worked before it has said it. */
export interface LookForFacts {
  readonly rig_id: RigId;
  /** Where its worktree would start; null: the rig's default branch. */
  readonly base_commit: string | null;
  readonly files: readonly string[];
  readonly env: readonly string[];
}
export interface GateState {
  /** `refused`: it will not open by itself any more. `unknown`: nobody can tell, and `reason` says why. */
  readonly kind: 'open' | 'closed' | 'refused' | 'unknown';
  readonly reason: string;
}

export interface ConvoyRunInput {
  readonly version: 1;
  readonly convoy_id: string;
  readonly epoch: number;
  readonly timings: Timings;
  readonly last_n: number;
  readonly n: number;
}
/** updates of a convoy: `tasksChanged`, `stop`, `resume`; each only wakes it: the ledger holds the members and the status. */
export interface ConvoyWake {
  readonly n: number;
}
export interface FeedAnswer {
  readonly total: number;
  readonly closed: number;
  readonly fed: number;
  readonly status: 'open' | 'running' | 'stopped' | 'completed';
  /** Ready members that policy or capacity held back. */ readonly held: number;
}

/** What a run publishes after a wake-up. Repeated, late and concurrent batches change nothing. */
export interface ProjectionBatch {
  /** Workflow id. */
  readonly run: string;
  readonly epoch: number;
  readonly events: readonly RunEvent[];
  readonly rows: RunRows;
}
export interface RunEvent {
  readonly seq: number;
  readonly at: Instant;
  readonly type: string;
  readonly task_id: TaskId | null;
  readonly molecule_id: MoleculeId | null;
  readonly agent_id: AgentAddress | null;
  readonly payload: JsonObject;
}
export type RunRows =
  | {
      readonly kind: 'molecule';
      readonly seq: number;
      readonly molecule: MoleculeRow;
      readonly steps: readonly StepRow[];
    }
  | { readonly kind: 'agent'; readonly seq: number; readonly hook: HookRow }
  | { readonly kind: 'dispatcher'; readonly seq: number; readonly queue: DispatchRow };
export interface MoleculeRow {
  readonly id: MoleculeId;
  readonly root_task_id: TaskId | null;
  readonly rig_id: RigId;
  readonly formula: string;
  readonly recipe_digest: string;
  readonly status: string;
  readonly agent_id: AgentAddress | null;
  readonly resume_step_id: string | null;
  readonly steps_total: number;
  readonly steps_closed: number;
  readonly priority: number;
  readonly outcome: string | null;
  readonly attention: string | null;
}
export interface StepRow {
  readonly step: string;
  readonly position: number;
  readonly id: string;
  readonly title: string;
  readonly status: string;
  readonly attempt: number;
  readonly agent_id: AgentAddress | null;
  readonly needs: readonly string[];
  readonly outcome: string | null;
  readonly note: string | null;
  readonly commit_id: string | null;
  readonly lost_reason: string | null;
  readonly round: number;
  /** What its texts are made from; null for a step of the molecule's own recipe. */
  readonly template: StepTemplate | null;
  /** What fills its texts; null as above. */
  readonly bindings: StepBindings | null;
  /** Its gate, as long as that holds the step back. */
  readonly gate: GateRow | null;
}
/** Where a step that came while the molecule ran is described. */
export interface StepTemplate {
  readonly recipe_digest: string;
  /** null: among the steps of the recipe (a bond). */
  readonly group: string | null;
  readonly step: string;
}
export interface StepBindings {
  /** What names of other steps begin with, from the inside out; the last is empty. */
  readonly scopes: readonly string[];
  /** From the inside out. */
  readonly levels: readonly Level[];
}
/** What a round or an item gives to the texts of its steps. */
export interface Level {
  readonly index: number;
  readonly vars?: Readonly<Record<string, string>>;
  readonly item?: Json;
  /** The item is too large to be carried along: it is in the output of this step's receipt. */
  readonly itemAt?: { readonly step: string; readonly round: number; readonly path: readonly string[] };
}
export interface GateRow {
  readonly spec: GateSpec;
  readonly since: Instant;
  readonly escalated: string | null;
  readonly trouble: string | null;
}
export interface HookRow {
  readonly agent_id: AgentAddress;
  readonly status: string;
  readonly granted_molecule_id: MoleculeId | null;
  readonly items: readonly {
    readonly molecule_id: MoleculeId;
    readonly lane: number;
    readonly priority: number;
    readonly state: string;
    readonly since: Instant;
  }[];
}
export interface DispatchRow {
  readonly rig_id: RigId;
  readonly workers_max: number;
  readonly items: readonly {
    readonly molecule_id: MoleculeId;
    readonly lane: number;
    readonly priority: number;
    readonly state: 'waiting' | 'busy';
    readonly agent_id: AgentAddress | null;
    readonly since: Instant;
  }[];
}
