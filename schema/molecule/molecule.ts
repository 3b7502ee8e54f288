import type { GateSpec, StepFlow } from '../formula/flow';
import type { AgentAddress, Instant, MoleculeId, RigId, TaskId } from '../ids';
import type { Json, JsonObject } from '../json';
import type { LeanStep, SlingTarget } from '../ledger';
import type { BondRecipe, Facts, MoleculeInput } from '../runs';
import { DEFAULT_TIMINGS, type Timings } from '../timings';

/**
 * The state of a molecule and what can happen to it. `apply.ts` folds events into it, `next.ts` says what is due; the files beside them
 * hold one concern each: lanes, gates, groups (steps that come while it runs), standing (what is over, what can never start),
 * conditions, outputs, ends (what the end of an attempt means).
 *
 * Work is done in lanes. A lane is one agent at work for this molecule, with its own worktree. Lane 0 exists from the start; steps that
 * may run beside each other ask the rig's dispatcher for further lanes and run one after the other where none is free. The first
 * dependant of a step inherits its lane, so a chain of steps stays with one agent in one session.
 *
 * Fields that may be absent belong to parts that a formula need not use; a molecule without them is what it was before they existed.
 */
export interface Molecule {
  readonly version: 1;
  readonly id: MoleculeId;
  readonly root_task_id: TaskId | null;
  readonly rig_id: RigId;
  readonly formula: string;
  readonly recipe_digest: string;
  readonly priority: number;
  readonly target: SlingTarget;
  readonly decision_id: string;
  readonly timings: Timings;
  readonly status: 'running' | 'completed' | 'failed' | 'cancelled' | 'refused';
  readonly reason: string;
  /** In recipe order, then in the order in which they came; `needs` are positions in this list. Never gets shorter. */
  readonly steps: readonly Step[];
  readonly lanes: readonly Lane[];
  /** Number of the last event applied. */
  readonly seq: number;
  /** As in its input. From 3 on lanes ask again in growing pauses and never while the answer is under way, and an item that may fail does
   *  not fail the molecule. */
  readonly performance?: number;
  /** Nothing new is dispatched, and it does not end; what is being worked on goes on. */
  readonly paused?: true;
  /** As in the recipe. */
  readonly groups?: Groups;
  /** What came while it ran, in the order of coming. */
  readonly instances?: readonly Instance[];
  /** What its conditions look at; absent when they look at statuses alone. */
  readonly watch?: Watch;
}

export type Groups = Readonly<Record<string, readonly LeanStep[]>>;

export interface Step {
  readonly id: string;
  readonly title: string;
  readonly needs: readonly number[];
  readonly parallel: boolean;
  readonly priority: number | null;
  readonly gate: GateSpec | null;
  readonly gateOpen: boolean;
  /** First dependant of one of its needs: goes on in that need's lane. Position of the need, or null. */
  readonly heirOf: number | null;
  readonly state: StepState;
  /** Schedulings so far. */
  readonly dispatches: number;
  /** Number of the attempt that was dispatched last; absent before the first. */
  readonly attempt?: number;
  /** Counted losses in this round; the next attempt is one more. */
  readonly losses: number;
  readonly lostReason: string | null;
  /** Lane of its last dispatch; of a loop or a container that is closed, the lane in which its last step ended. */
  readonly lane: number | null;
  readonly flow?: StepFlow;
  /** Number (in `instances`) of what it came with; absent for steps of the recipe. */
  readonly instance?: number;
  /** Its name in its group or in the bonded recipe; absent for steps of the recipe. */
  readonly body?: string;
  /** Position of the step that contains it. */
  readonly within?: number;
  /** `flow.waitsFor` with the step found. */
  readonly waitsOn?: { readonly of: number; readonly mode: 'all' | 'any' };
  /** Starts only after these: an earlier instance (its number; `anyway`: also when it failed), or all that is older than its bond. */
  readonly after?: { readonly instance: number; readonly anyway?: true } | { readonly bond: number };
  /** Its `when` was found to hold. */
  readonly held?: true;
  /** Looked up for its conditions, since nothing before it had any. */
  readonly facts?: Facts;
  /** How often it was closed or given up and begun anew, from 1; absent: 1. A receipt is unique by (molecule, step, round). */
  readonly round?: number;
  /** Attempts of earlier rounds. */
  readonly spent?: number;
}

export type StepState =
  | { readonly status: 'waiting' }
  /** `escalated`: why a person was called. `trouble`: why the last look could not tell. */
  | { readonly status: 'gated'; readonly since: Instant; readonly escalated?: string; readonly trouble?: string }
  /** `notBefore`: back-off after a loss. `stuck`: lost too often; only a person or another run ends it. */
  | { readonly status: 'ready'; readonly notBefore: Instant; readonly stuck: boolean }
  | { readonly status: 'hooked'; readonly lane: number; readonly agent: AgentAddress; readonly since: Instant }
  /** A loop in its rounds, or a container with its contents: nobody works on the step itself. */
  | { readonly status: 'running'; readonly since: Instant }
  | ClosedState;
/** Of its output it has what conditions look at. */
export interface ClosedState extends Omit<End, 'by'> {
  readonly status: 'closed';
  readonly at: Instant;
}
export type StepOutcome = 'done' | 'failed' | 'skipped';

/** Steps that came together while the molecule ran; they lie beside each other in `steps`. `by`: position of the step that brought them. */
export type Instance = Placed &
  (
    | { readonly kind: 'round'; readonly by: number; readonly group: string; /** From 1. */ readonly number: number }
    | {
        readonly kind: 'item';
        readonly by: number;
        readonly group: string;
        /** Its place in the list, from 0. */
        readonly number: number;
        /** Absent when it is larger than is kept here: then it is in the output of the receipt. */
        readonly item?: Json;
        /** Variables of the fan-out, filled in. */
        readonly vars: Readonly<Record<string, string>>;
      }
    /** The compensation of a step that failed. */
    | { readonly kind: 'undo'; readonly by: number; readonly group: string }
    | { readonly kind: 'bond'; readonly by: null; readonly recipe_digest: string; readonly groups?: Groups }
  );
interface Placed {
  /** What the ids of its steps begin with, the last dot included. */
  readonly prefix: string;
  readonly first: number;
  readonly count: number;
}

/** Places in outputs (of the step with this name; `''` of any), paths and variables that conditions ask for. */
export interface Watch {
  readonly outputs: readonly { readonly step: string; readonly path: readonly string[] }[];
  readonly files: readonly string[];
  readonly env: readonly string[];
}

/** asking → (slotted, for a lane of a rig) → queued → granted → released. */
export interface Lane {
  readonly number: number;
  readonly status: 'asking' | 'queued' | 'slotted' | 'granted' | 'refused' | 'released';
  readonly agent: AgentAddress | null;
  readonly since: Instant;
  /** How often it was told, while queued, that it is still queued; absent: never. */
  readonly putOff?: number;
}

export type MoleculeEvent =
  | { readonly type: 'molecule_poured'; readonly input: MoleculeInput }
  | { readonly type: 'lane_asked'; readonly lane: number }
  | { readonly type: 'lane_queued'; readonly lane: number }
  | { readonly type: 'lane_slotted'; readonly lane: number; readonly agent: AgentAddress }
  | { readonly type: 'lane_granted'; readonly lane: number; readonly agent: AgentAddress }
  | { readonly type: 'lane_refused'; readonly lane: number; readonly reason: string }
  | { readonly type: 'lane_revoked'; readonly lane: number; readonly reason: string }
  | { readonly type: 'lane_released'; readonly lane: number; readonly reason: string }
  | {
      readonly type: 'step_hooked';
      readonly step: number;
      readonly lane: number;
      readonly agent: AgentAddress;
      readonly attempt: number;
      readonly dispatch: number;
    }
  | {
      readonly type: 'step_lost';
      readonly step: number;
      readonly dispatch: number;
      readonly reason: string;
      readonly counted: boolean;
      readonly detail: string;
    }
  | StepClosed
  /** It failed, and is tried again as its formula says. */
  | {
      readonly type: 'step_retried';
      readonly step: number;
      readonly pauseMs: number;
      readonly agent: AgentAddress | null;
      readonly note: string;
      readonly commit_id: string | null;
      readonly by: string;
    }
  /** A person has it tried again: a step that failed, or one that is ready: stuck, or waiting for its next attempt. */
  | { readonly type: 'step_reopened'; readonly step: number; readonly by: string; readonly reason: string }
  /** Its `when`, evaluated once its needs were met: it goes on, or is closed as skipped. */
  | { readonly type: 'condition_found'; readonly step: number; readonly holds: boolean }
  | { readonly type: 'facts_found'; readonly step: number; readonly facts: Facts }
  | { readonly type: 'round_begun'; readonly step: number; readonly round: number }
  | { readonly type: 'gate_opened'; readonly step: number; readonly by: string; readonly reason: string }
  /** It did not open in time or never will by itself: a person is told. It stays closed. */
  | { readonly type: 'gate_escalated'; readonly step: number; readonly reason: string }
  /** What the last look could not tell; null: it can tell again. */
  | { readonly type: 'gate_doubted'; readonly step: number; readonly trouble: string | null }
  | { readonly type: 'molecule_paused'; readonly reason: string; readonly by: string }
  | { readonly type: 'molecule_resumed'; readonly by: string }
  | ({ readonly type: 'molecule_bonded'; readonly by: string } & BondRecipe)
  | { readonly type: 'molecule_cancelled'; readonly reason: string; readonly by: string }
  | { readonly type: 'molecule_refused'; readonly reason: string }
  | { readonly type: 'molecule_finished'; readonly outcome: 'done' | 'failed' };

/** How a step ended: what its agent, a person or the molecule itself says. */
export interface End {
  readonly outcome: StepOutcome;
  /** Whose work it was; null when nobody worked on it to the end. */
  readonly agent: AgentAddress | null;
  readonly note: string;
  readonly commit_id: string | null;
  readonly by: string;
  readonly output?: JsonObject;
  readonly facts?: Facts;
}

export interface StepClosed extends End {
  readonly type: 'step_closed';
  readonly step: number;
  /** Of a fan-out: each brings one instance of its group. */
  readonly items?: readonly Json[];
}

export interface RecordedMoleculeEvent {
  readonly seq: number;
  readonly at: Instant;
  readonly event: MoleculeEvent;
}

/** A state that an older build has written, as this build reads it. */
export function restored(carried: Molecule): Molecule {
  return { ...carried, timings: { ...DEFAULT_TIMINGS, ...carried.timings } };
}

/** Why a person should look, or null. */
export function attentionOf(molecule: Molecule): string | null {
  for (const { id, state, losses, lostReason } of molecule.steps) {
    if (state.status === 'ready' && state.stuck) return `step ${id} was lost ${losses} times, last by ${lostReason}`;
    if (state.status !== 'gated') continue;
    if (state.escalated !== undefined) return `the gate of step ${id} stays closed: ${state.escalated}`;
    if (state.trouble !== undefined) return `nobody can tell whether the gate of step ${id} opens: ${state.trouble}`;
  }
  return null;
}

/** Whether a run, by its state or its input, is performed as runs are since this `performance`. */
export function performs({ performance = 1 }: { readonly performance?: number }, since: number): boolean {
  return performance >= since;
}

/** The step at which work goes on: the first hooked, else the first ready; null when none is. */
export function resumePointer(molecule: Molecule): Step | null {
  return (
    molecule.steps.find((step) => step.state.status === 'hooked') ??
    molecule.steps.find((step) => step.state.status === 'ready') ??
    null
  );
}

export function hasOpenStep(molecule: Molecule): boolean {
  return molecule.steps.some((step) => step.state.status === 'hooked');
}

export function positionOf(molecule: Molecule, step: string): number | null {
  const position = molecule.steps.findIndex((candidate) => candidate.id === step);
  return position === -1 ? null : position;
}

export function stepAt(molecule: Molecule, position: number): Step {
  return known(molecule.steps[position], () => `molecule ${molecule.id} has no step ${position}`);
}

export function instanceAt(molecule: Molecule, number: number): Instance {
  return known(molecule.instances?.[number], () => `molecule ${molecule.id} has no instance ${number}`);
}

/** What must be there: that it is not is a bug. */
export function known<T>(value: T | null | undefined, problem: () => string): T {
  if (value === null || value === undefined) throw new Error(problem());
  return value;
}

/** What the step came with, from the inside out: its own instance, then that of the step which brought it, and so on. */
export function instancesAround(molecule: Molecule, step: Step): Instance[] {
  const around: Instance[] = [];
  for (let at = step.instance; at !== undefined;) {
    const instance: Instance = instanceAt(molecule, at);
    around.push(instance);
    at = instance.by === null ? undefined : stepAt(molecule, instance.by).instance;
  }
  return around;
}

/** The loops and containers that have the last word about the step, from the inside out. */
export function ownersOf(molecule: Molecule, step: Step): Step[] {
  const owners: Step[] = [];
  for (let at: Step | null = step; at !== null;) {
    const brought: Instance | null = at.instance === undefined ? null : instanceAt(molecule, at.instance);
    const above: number | null = at.within ?? brought?.by ?? null;
    const owns: boolean = at.within !== undefined || brought?.kind === 'round';
    at = above === null ? null : stepAt(molecule, above);
    if (at !== null && owns) owners.push(at);
  }
  return owners;
}

/** Of what `word` finds in these steps, that of the one closed last; null when none of them is closed and has any. */
export function lastWord<Word>(
  molecule: Molecule,
  positions: readonly number[],
  word: (closed: ClosedState, step: Step) => Word | null | undefined,
): Word | null {
  let last: Word | null = null;
  let at = -1;
  for (const position of positions) {
    const step = stepAt(molecule, position);
    if (step.state.status !== 'closed' || step.state.at < at) continue;
    const found = word(step.state, step) ?? null;
    if (found !== null) [last, at] = [found, step.state.at];
  }
  return last;
}

/** The groups that the step's formula has. */
export function groupsFor(molecule: Molecule, step: Step): Groups | undefined {
  const outermost = instancesAround(molecule, step).at(-1);
  return outermost?.kind === 'bond' ? outermost.groups : molecule.groups;
}

/** Counted attempts of earlier rounds and losses of this one: the number of the next attempt is one more. */
export function attemptsBefore(step: Step): number {
  return (step.spent ?? 0) + step.losses;
}

export function liveLanes(molecule: Molecule): readonly Lane[] {
  return molecule.lanes.filter((lane) => lane.status !== 'released' && lane.status !== 'refused');
}

/** Nobody works on a loop or a container: it opens and closes by itself. */
export function isWorkedOn(step: Step): boolean {
  return step.flow?.loop === undefined && step.flow?.contains === undefined;
}
