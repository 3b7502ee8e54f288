import type { AgentAddress, MoleculeId, RigId, TaskId } from './ids';
import type {
  Assign,
  AssignAnswer,
  EnqueueAnswer,
  EnqueueLane,
  Facts,
  FeedAnswer,
  FreeLane,
  GateState,
  LookAtGate,
  LookForFacts,
  PerformStep,
  ProjectionBatch,
  Release,
  StepResult,
} from './runs';

/** The contract: all that a run may ask of the world. Workflows know only this; adapters implement it. */
export interface TownActivities {
  /** Writes a run's events and rows. Idempotent by (run, epoch, seq). */
  project(batch: ProjectionBatch): Promise<void>;
  /** Puts a molecule's lane on an agent's hook (update-with-start of the agent run). Idempotent by (molecule, lane).
   *  @throws NOT_FOUND, WRONG_STATE (retired): not retryable. */
  askGrant(request: Assign & { readonly agent: AgentAddress }): Promise<AssignAnswer>;
  releaseGrant(request: Release & { readonly agent: AgentAddress }): Promise<void>;
  /** Asks the rig's dispatcher for a worker for one lane. Idempotent by (molecule, lane). */
  askSlot(request: EnqueueLane & { readonly rig_id: RigId }): Promise<EnqueueAnswer>;
  freeSlot(request: FreeLane & { readonly rig_id: RigId }): Promise<void>;
  /** Registers the short-lived worker (or finds it) so that a host takes it. Idempotent by the address. */
  prepareWorker(request: {
    readonly rig_id: RigId;
    readonly agent: AgentAddress;
    readonly decision_id: string;
  }): Promise<void>;
  /** How many workers the rig may have now. */
  rigLimit(request: { readonly rig_id: RigId }): Promise<{ readonly workers_max: number }>;
  /** Tells the ledger who holds the task. */
  recordHolder(request: {
    readonly task_id: TaskId;
    readonly agent: AgentAddress;
    readonly molecule_id: MoleculeId;
  }): Promise<void>;
  /** Closes the root task (done, failed) or reopens it (refused): the molecule's last word. Idempotent by the molecule. */
  finishMolecule(request: {
    readonly molecule_id: MoleculeId;
    readonly root_task_id: TaskId | null;
    readonly outcome: 'done' | 'failed' | 'cancelled' | 'refused';
    readonly reason: string;
    readonly decision_id: string;
  }): Promise<void>;
  /** What the gate waits for: whether it is there. Reads only; `unknown` with the reason when it cannot be found out. */
  lookAtGate(request: LookAtGate): Promise<GateState>;
  /** Which of the paths are in the commit that a new worktree starts from, and which of the variables are set here. Reads only.
   *  @throws NOT_FOUND, GIT_FAILED: not retryable. */
  lookForFacts(request: LookForFacts): Promise<Facts>;
  /** Tells a person by mail that a gate stays closed. Idempotent by (molecule, step). */
  escalateGate(request: {
    readonly molecule_id: MoleculeId;
    readonly root_task_id: TaskId | null;
    readonly step: string;
    readonly title: string;
    readonly waits_for: string;
    readonly reason: string;
  }): Promise<void>;
  /** Slings the convoy's ready members to their rig, each after its own policy decision; completes the convoy when all are closed. */
  feedConvoy(request: { readonly convoy_id: string }): Promise<FeedAnswer>;
}

/** Served by an agent host on each hook queue. */
export interface HookActivities {
  performStep(request: PerformStep): Promise<StepResult>;
}
