import { unreachable } from '../errors';
import type { GateSpec } from '../formula/flow';
import type { AgentAddress, Instant, MoleculeId, RigId, TaskId } from '../ids';
import type { LeanStep, SlingTarget } from '../ledger';
import type { MoleculeInput } from '../runs';
import type { Timings } from '../timings';

/**
 * The state machine of a molecule: what has happened (`applyEvent`) and what is due now (`nextCommands`).
 *
 * Work is done in lanes. A lane is one agent at work for this molecule, with its own worktree. Lane 0 exists from the start; steps that
 * may run beside each other ask the rig's dispatcher for further lanes and run one after the other where none is free. The first
 * dependant of a step inherits its lane, so a chain of steps stays with one agent in one session.
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
  /** In recipe order; `needs` are positions in this list. */
  readonly steps: readonly Step[];
  readonly lanes: readonly Lane[];
  /** Number of the last event applied. */
  readonly seq: number;
}

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
  /** Counted losses so far; the next attempt is one more. */
  readonly losses: number;
  readonly lostReason: string | null;
  /** Lane of its last dispatch. */
  readonly lane: number | null;
}

export type StepState =
  | { readonly status: 'waiting' }
  | { readonly status: 'gated'; readonly since: Instant }
  /** `notBefore`: back-off after a loss. `stuck`: lost too often; only a person or another run ends it. */
  | { readonly status: 'ready'; readonly notBefore: Instant; readonly stuck: boolean }
  | { readonly status: 'hooked'; readonly lane: number; readonly agent: AgentAddress; readonly since: Instant }
  | {
      readonly status: 'closed';
      readonly outcome: 'done' | 'failed' | 'skipped';
      readonly agent: AgentAddress | null;
      readonly note: string;
      readonly commit_id: string | null;
      readonly at: Instant;
    };

/** asking → (slotted, for a lane of a rig) → queued → granted → released. */
export interface Lane {
  readonly number: number;
  readonly status: 'asking' | 'queued' | 'slotted' | 'granted' | 'refused' | 'released';
  readonly agent: AgentAddress | null;
  readonly since: Instant;
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
  | {
      readonly type: 'step_closed';
      readonly step: number;
      readonly outcome: 'done' | 'failed' | 'skipped';
      readonly agent: AgentAddress | null;
      readonly note: string;
      readonly commit_id: string | null;
      readonly by: string;
    }
  | { readonly type: 'gate_opened'; readonly step: number; readonly by: string; readonly reason: string }
  | { readonly type: 'molecule_cancelled'; readonly reason: string; readonly by: string }
  | { readonly type: 'molecule_refused'; readonly reason: string }
  | { readonly type: 'molecule_finished'; readonly outcome: 'done' | 'failed' };

export interface RecordedMoleculeEvent {
  readonly seq: number;
  readonly at: Instant;
  readonly event: MoleculeEvent;
}

/** What the workflow must do next. Derived from the state, never stored; the key names one performance of it. */
export type MoleculeCommand =
  | {
      readonly kind: 'ask_slot';
      readonly key: string;
      readonly lane: number;
      /** false: a second worker, only if one is free now. */ readonly wait: boolean;
    }
  | { readonly kind: 'ask_grant'; readonly key: string; readonly lane: number; readonly agent: AgentAddress }
  | { readonly kind: 'open_lane'; readonly key: string; readonly lane: number }
  | {
      readonly kind: 'release_lane';
      readonly key: string;
      readonly lane: number;
      readonly agent: AgentAddress | null;
      readonly reason: string;
    }
  | {
      readonly kind: 'hook_step';
      readonly key: string;
      readonly step: number;
      readonly lane: number;
      readonly agent: AgentAddress;
      readonly attempt: number;
      readonly dispatch: number;
      readonly baseCommit: string | null;
    }
  | { readonly kind: 'open_gate'; readonly key: string; readonly step: number }
  | { readonly kind: 'finish'; readonly key: string; readonly outcome: 'done' | 'failed' };

/** At most so many agents at once for one molecule. */
export const LANES_MAX = 16;

/** The molecule after one more event. `before` is null only for `molecule_poured`. */
export function applyEvent(before: Molecule | null, recorded: RecordedMoleculeEvent): Molecule {
  const { event, at, seq } = recorded;
  if (event.type === 'molecule_poured') return settle({ ...poured(event.input, at), seq }, at);
  if (before === null) throw new Error(`first event of a molecule is ${event.type}`);
  const molecule = { ...before, seq };
  switch (event.type) {
    case 'lane_asked':
      // What was refused before is dropped, or a molecule that waits for days in a full rig grows with every ask.
      return {
        ...molecule,
        lanes: [...molecule.lanes.filter((lane) => lane.status !== 'refused'), newLane(molecule, event.lane, at)],
      };
    case 'lane_queued':
      return withLane(molecule, event.lane, (lane) => ({ ...lane, status: 'queued', since: at }));
    case 'lane_slotted':
      return withLane(molecule, event.lane, (lane) => ({ ...lane, status: 'slotted', agent: event.agent, since: at }));
    case 'lane_granted':
      return withLane(molecule, event.lane, (lane) => ({ ...lane, status: 'granted', agent: event.agent, since: at }));
    case 'lane_refused':
      return withLane(molecule, event.lane, (lane) => ({ ...lane, status: 'refused', since: at }));
    case 'lane_released':
      return withLane(molecule, event.lane, (lane) => ({ ...lane, status: 'released', since: at }));
    case 'lane_revoked': {
      const queued = withLane(molecule, event.lane, (lane) => ({ ...lane, status: 'queued', since: at }));
      return mapSteps(queued, (step) =>
        step.state.status === 'hooked' && step.state.lane === event.lane
          ? { ...step, lostReason: event.reason, state: { status: 'ready', notBefore: at, stuck: false } }
          : step,
      );
    }
    case 'step_hooked':
      return withLane(
        withStep(molecule, event.step, (step) => ({
          ...step,
          dispatches: event.dispatch,
          attempt: event.attempt,
          lane: event.lane,
          state: { status: 'hooked', lane: event.lane, agent: event.agent, since: at },
        })),
        event.lane,
        (lane) => ({ ...lane, since: at }),
      );
    case 'step_lost':
      return touchLane(
        withStep(molecule, event.step, (step) => lost(step, event, molecule.timings, at)),
        event.step,
        at,
      );
    case 'step_closed':
      return settle(
        touchLane(
          withStep(molecule, event.step, (step) => ({
            ...step,
            state: {
              status: 'closed',
              outcome: event.outcome,
              agent: event.agent,
              note: event.note,
              commit_id: event.commit_id,
              at,
            },
          })),
          event.step,
          at,
        ),
        at,
      );
    case 'gate_opened':
      return settle(
        withStep(molecule, event.step, (step) => ({ ...step, gateOpen: true })),
        at,
      );
    case 'molecule_cancelled':
      return { ...molecule, status: 'cancelled', reason: event.reason };
    case 'molecule_refused':
      return { ...molecule, status: 'refused', reason: event.reason };
    case 'molecule_finished':
      return { ...molecule, status: event.outcome === 'done' ? 'completed' : 'failed' };
    default:
      return unreachable(event, 'applyEvent');
  }
}

/**
 * Work that is due at `now`, in recipe order, and when to look again although nothing happened (null: only an event changes anything).
 * `hold` stops new dispatches and asks: the run is about to continue as new.
 */
export function nextCommands(
  molecule: Molecule,
  now: Instant,
  hold = false,
): { commands: MoleculeCommand[]; wakeAt: Instant | null } {
  const commands: MoleculeCommand[] = [];
  const wake = { at: null as Instant | null };
  if (molecule.status !== 'running') {
    for (const lane of liveLanes(molecule)) commands.push(release(lane, molecule.status));
    return { commands, wakeAt: null };
  }
  if (isSpent(molecule)) {
    const outcome = molecule.steps.every((step) => step.state.status === 'closed' && step.state.outcome !== 'failed')
      ? 'done'
      : 'failed';
    return { commands: [{ kind: 'finish', key: 'finish', outcome }], wakeAt: null };
  }
  for (const [position, step] of molecule.steps.entries()) {
    if (step.state.status !== 'gated' || step.gate?.kind !== 'timer') continue;
    const opensAt = step.state.since + step.gate.durationMs;
    if (opensAt <= now) commands.push({ kind: 'open_gate', key: `gate:${step.id}`, step: position });
    else wakeBy(wake, opensAt);
  }
  if (hold) return { commands, wakeAt: wake.at };
  const due = dueSteps(molecule, now, wake);
  for (const lane of molecule.lanes) commands.push(...askFor(molecule, lane, due.length > 0, now, wake));
  dispatch(molecule, due, now, commands, wake);
  return { commands, wakeAt: wake.at };
}

/** The first lane that lives waits in the dispatcher's queue; further ones are only taken when they are free now. */
function isFirstLive(molecule: Molecule, lane: Lane): boolean {
  return liveLanes(molecule)[0]?.number === lane.number;
}

/** Nothing of it will ever run again: every step is closed, or what is open waits for a step that failed and nothing is under way. */
function isSpent(molecule: Molecule): boolean {
  let failed = false;
  let open = false;
  for (const step of molecule.steps) {
    if (step.state.status === 'closed') failed ||= step.state.outcome === 'failed';
    else if (step.state.status === 'waiting') open = true;
    else return false;
  }
  return failed || !open;
}

/** Why a person should look, or null. */
export function attentionOf(molecule: Molecule): string | null {
  const stuck = molecule.steps.find((step) => step.state.status === 'ready' && step.state.stuck);
  return stuck ? `step ${stuck.id} was lost ${stuck.losses} times, last by ${stuck.lostReason}` : null;
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
  const step = molecule.steps[position];
  if (step === undefined) throw new Error(`molecule ${molecule.id} has no step ${position}`);
  return step;
}

export function liveLanes(molecule: Molecule): readonly Lane[] {
  return molecule.lanes.filter((lane) => lane.status !== 'released' && lane.status !== 'refused');
}

function poured(input: MoleculeInput, at: Instant): Molecule {
  const molecule: Molecule = {
    version: 1,
    id: input.id,
    root_task_id: input.root_task_id,
    rig_id: input.rig_id,
    formula: input.formula,
    recipe_digest: input.recipe_digest,
    priority: input.priority,
    target: input.target,
    decision_id: input.decision_id,
    timings: input.timings,
    status: 'running',
    reason: '',
    steps: stepsOf(input.steps),
    lanes: [],
    seq: 0,
  };
  return { ...molecule, lanes: [newLane(molecule, 0, at)] };
}

/** A lane of a molecule that was slung to an agent always asks that agent; one of a rig's molecule gets its agent with the slot. */
function newLane(molecule: Molecule, number: number, at: Instant): Lane {
  const agent = molecule.target.kind === 'agent' ? molecule.target.id : null;
  return { number, status: 'asking', agent, since: at };
}

function stepsOf(lean: readonly LeanStep[]): Step[] {
  const position = new Map(lean.map((step, index) => [step.id, index]));
  const inherited = new Set<number>();
  return lean.map((step) => {
    const needs = step.needs.map((need) => {
      const found = position.get(need);
      if (found === undefined) throw new Error(`step ${step.id} needs ${need}, which the recipe does not have`);
      return found;
    });
    const heirOf = needs.find((need) => !inherited.has(need)) ?? (step.parallel ? undefined : needs[0]);
    if (heirOf !== undefined) inherited.add(heirOf);
    return {
      id: step.id,
      title: step.title,
      needs,
      parallel: step.parallel,
      priority: step.priority,
      gate: step.gate,
      gateOpen: step.gate === null,
      heirOf: heirOf ?? null,
      state: { status: 'waiting' },
      dispatches: 0,
      losses: 0,
      lostReason: null,
      lane: null,
    };
  });
}

/** Moves every waiting or gated step on whose needs are met now. */
function settle(molecule: Molecule, at: Instant): Molecule {
  return mapSteps(molecule, (step) => {
    if (step.state.status !== 'waiting' && step.state.status !== 'gated') return step;
    if (!step.needs.every((need) => isMet(molecule.steps[need]))) return step;
    if (!step.gateOpen)
      return step.state.status === 'gated' ? step : { ...step, state: { status: 'gated', since: at } };
    return { ...step, state: { status: 'ready', notBefore: at, stuck: false } };
  });
}

function isMet(step: Step | undefined): boolean {
  return step?.state.status === 'closed' && step.state.outcome !== 'failed';
}

function lost(
  step: Step,
  event: { readonly reason: string; readonly counted: boolean; readonly dispatch: number },
  timings: Timings,
  at: Instant,
): Step {
  if (step.state.status !== 'hooked' || step.dispatches !== event.dispatch) return step;
  const losses = step.losses + (event.counted ? 1 : 0);
  const backoff =
    event.counted && losses > 1 ? Math.min(timings.backoffMs * 2 ** (losses - 2), timings.backoffMaxMs) : 0;
  return {
    ...step,
    losses,
    lostReason: event.reason,
    state: { status: 'ready', notBefore: at + backoff, stuck: losses >= timings.attemptsMax },
  };
}

function dueSteps(molecule: Molecule, now: Instant, wake: { at: Instant | null }): number[] {
  const due: number[] = [];
  for (const [position, step] of molecule.steps.entries()) {
    if (step.state.status !== 'ready' || step.state.stuck) continue;
    if (step.state.notBefore <= now) due.push(position);
    else wakeBy(wake, step.state.notBefore);
  }
  const urgency = (position: number) => molecule.steps[position]?.priority ?? molecule.priority;
  return due.sort((a, b) => urgency(a) - urgency(b) || a - b);
}

/** What a lane that does not work yet must ask for; asks again when no answer came for a while. */
function askFor(
  molecule: Molecule,
  lane: Lane,
  wanted: boolean,
  now: Instant,
  wake: { at: Instant | null },
): MoleculeCommand[] {
  const again = Math.floor((now - lane.since) / molecule.timings.askAgainMs);
  const key = (what: string) => `${what}:${lane.number}:${lane.since}:${again}`;
  switch (lane.status) {
    case 'asking':
      if (!wanted) return [];
      wakeBy(wake, lane.since + (again + 1) * molecule.timings.askAgainMs);
      if (molecule.target.kind === 'agent')
        return [{ kind: 'ask_grant', key: key('grant'), lane: lane.number, agent: molecule.target.id }];
      return [{ kind: 'ask_slot', key: key('slot'), lane: lane.number, wait: isFirstLive(molecule, lane) }];
    case 'slotted':
    case 'queued':
      if (lane.status === 'queued' && again === 0) {
        wakeBy(wake, lane.since + molecule.timings.askAgainMs);
        return [];
      }
      wakeBy(wake, lane.since + (again + 1) * molecule.timings.askAgainMs);
      if (lane.agent !== null) return [{ kind: 'ask_grant', key: key('grant'), lane: lane.number, agent: lane.agent }];
      // Answered as queued means that it is in the dispatcher's queue: asking without waiting would take it out again.
      return [{ kind: 'ask_slot', key: key('slot'), lane: lane.number, wait: true }];
    case 'granted':
    case 'refused':
    case 'released':
      return [];
  }
}

/** Gives due steps to idle lanes, asks for further lanes, and gives back the lanes that have had nothing to do for the grace period. */
function dispatch(
  molecule: Molecule,
  due: readonly number[],
  now: Instant,
  commands: MoleculeCommand[],
  wake: { at: Instant | null },
): void {
  const busy = new Set(molecule.steps.flatMap((step) => (step.state.status === 'hooked' ? [step.state.lane] : [])));
  const idle = new Map(
    molecule.lanes
      .filter((lane): lane is IdleLane => lane.status === 'granted' && lane.agent !== null && !busy.has(lane.number))
      .map((lane) => [lane.number, lane]),
  );
  const give = (position: number, lane: IdleLane): void => {
    idle.delete(lane.number);
    commands.push(hook(molecule, position, lane));
  };
  const free: number[] = [];
  for (const position of due) {
    const home = homeLane(molecule, position);
    const lane = home === null ? undefined : idle.get(home);
    if (home === null) free.push(position);
    else if (lane !== undefined) give(position, lane);
  }
  for (const position of free) {
    const [lane] = idle.values();
    if (lane === undefined) askForLane(molecule, free.length, now, commands, wake);
    else give(position, lane);
  }
  for (const lane of idle.values()) {
    const givesBackAt = lane.since + molecule.timings.graceMs;
    if (givesBackAt <= now) commands.push(release(lane, 'nothing due'));
    else wakeBy(wake, givesBackAt);
  }
  if (free.length > 0 && liveLanes(molecule).length === 0) openLane(molecule, now, commands, wake);
}

/** The lane in which a step must go on, while that lane lives: its own last one, or that of the step it inherits from. */
function homeLane(molecule: Molecule, position: number): number | null {
  const step = stepAt(molecule, position);
  const home = step.lane ?? (step.heirOf === null ? null : stepAt(molecule, step.heirOf).lane);
  if (home === null) return null;
  const lane = molecule.lanes.find((candidate) => candidate.number === home);
  return lane === undefined || lane.status === 'released' || lane.status === 'refused' ? null : home;
}

/** A lane with its agent, and nothing to do. */
interface IdleLane extends Lane {
  readonly agent: AgentAddress;
}

function hook(molecule: Molecule, position: number, lane: IdleLane): MoleculeCommand {
  const step = stepAt(molecule, position);
  const dispatchNumber = step.dispatches + 1;
  const base = step.needs
    .map((need) => molecule.steps[need]?.state)
    .find((state) => state?.status === 'closed' && state.commit_id !== null);
  return {
    kind: 'hook_step',
    key: `step:${position}:${dispatchNumber}`,
    step: position,
    lane: lane.number,
    agent: lane.agent,
    attempt: step.losses + 1,
    dispatch: dispatchNumber,
    baseCommit: base?.status === 'closed' ? base.commit_id : null,
  };
}

/** A further lane, when the target is a rig and fewer asks are open than steps want one. */
function askForLane(
  molecule: Molecule,
  wanted: number,
  now: Instant,
  commands: MoleculeCommand[],
  wake: { at: Instant | null },
): void {
  if (molecule.target.kind === 'agent' || commands.some((command) => command.kind === 'open_lane')) return;
  const live = liveLanes(molecule);
  if (
    live.length === 0 ||
    live.length >= LANES_MAX ||
    live.filter((lane) => lane.status !== 'granted').length >= wanted
  )
    return;
  openLane(molecule, now, commands, wake);
}

/** One more lane, unless the last refusal is too fresh: then it is asked for again later. */
function openLane(molecule: Molecule, now: Instant, commands: MoleculeCommand[], wake: { at: Instant | null }): void {
  const refused = molecule.lanes.findLast((lane) => lane.status === 'refused');
  if (refused !== undefined && refused.since + molecule.timings.askAgainMs > now) {
    wakeBy(wake, refused.since + molecule.timings.askAgainMs);
    return;
  }
  // Numbers are never used again: the dispatcher and the hook know a lane by its number.
  const lane = 1 + Math.max(-1, ...molecule.lanes.map((known) => known.number));
  commands.push({ kind: 'open_lane', key: `lane:${lane}`, lane });
}

function release(lane: Lane, reason: string): MoleculeCommand {
  return { kind: 'release_lane', key: `release:${lane.number}`, lane: lane.number, agent: lane.agent, reason };
}

function wakeBy(wake: { at: Instant | null }, at: Instant): void {
  wake.at = wake.at === null ? at : Math.min(wake.at, at);
}

function withStep(molecule: Molecule, position: number, change: (step: Step) => Step): Molecule {
  return { ...molecule, steps: molecule.steps.with(position, change(stepAt(molecule, position))) };
}

function withLane(molecule: Molecule, number: number, change: (lane: Lane) => Lane): Molecule {
  return { ...molecule, lanes: molecule.lanes.map((lane) => (lane.number === number ? change(lane) : lane)) };
}

/** The lane of a step that has just ended is idle from now on. */
function touchLane(molecule: Molecule, position: number, at: Instant): Molecule {
  const lane = molecule.steps[position]?.lane ?? null;
  return lane === null ? molecule : withLane(molecule, lane, (found) => ({ ...found, since: at }));
}

function mapSteps(molecule: Molecule, change: (step: Step) => Step): Molecule {
  let changed = false;
  const steps = molecule.steps.map((step) => {
    const after = change(step);
    changed ||= after !== step;
    return after;
  });
  return changed ? { ...molecule, steps } : molecule;
}
