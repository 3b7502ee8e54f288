import { unreachable } from '../errors';
import type { Instant } from '../ids';
import type { MoleculeInput } from '../runs';
import { DEFAULT_TIMINGS, type Timings } from '../timings';
import { recipeSteps, spawnProblem, undoPrefix, watched, withBond, withItems, withRound, withUndo } from './groups';
import {
  attemptsBefore,
  isWorkedOn,
  type Lane,
  lastWord,
  type Molecule,
  type RecordedMoleculeEvent,
  type Step,
  stepAt,
  type StepClosed,
  type StepState,
} from './molecule';
import { type Standings, standingsOf } from './standing';

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
      return withLane(molecule, event.lane, ({ number, status, agent, putOff = 0 }) => {
        const queued: Lane = { number, status: 'queued', agent, since: at };
        return status === 'queued' ? { ...queued, putOff: putOff + 1 } : queued;
      });
    case 'lane_slotted':
      return withLane(molecule, event.lane, ({ number }) => ({
        number,
        status: 'slotted',
        agent: event.agent,
        since: at,
      }));
    case 'lane_granted':
      return withLane(molecule, event.lane, ({ number }) => ({
        number,
        status: 'granted',
        agent: event.agent,
        since: at,
      }));
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
      return settle(touchLane(closed(molecule, event, at), event.step, at), at);
    case 'step_retried':
      return touchLane(
        withStep(molecule, event.step, (step) => ({
          ...nextRound(step, 1),
          state: { status: 'ready', notBefore: at + event.pauseMs, stuck: false },
        })),
        event.step,
        at,
      );
    case 'step_reopened':
      return withStep(molecule, event.step, (step) => ({
        // A stuck step has no receipt yet; one that failed has, or was closed by a person.
        ...nextRound(step, step.state.status === 'closed' && step.dispatches > 0 ? 1 : 0),
        state: { status: 'ready', notBefore: at, stuck: false },
      }));
    case 'condition_found':
      return settle(
        event.holds
          ? withStep(molecule, event.step, (step) => ({ ...step, held: true }))
          : closed(molecule, passedOver(event.step, 'Its condition does not hold.'), at),
        at,
      );
    case 'facts_found':
      return withStep(molecule, event.step, (step) => ({ ...step, facts: event.facts }));
    case 'round_begun':
      return settle(withRound(molecule, event.step, event.round), at);
    case 'gate_opened':
      return settle(
        withStep(molecule, event.step, (step) => ({ ...step, gateOpen: true })),
        at,
      );
    case 'gate_escalated':
      return withStep(molecule, event.step, (step) =>
        step.state.status === 'gated' ? { ...step, state: { ...step.state, escalated: event.reason } } : step,
      );
    case 'gate_doubted':
      return withStep(molecule, event.step, (step) => doubted(step, event.trouble));
    case 'molecule_paused':
      return { ...molecule, paused: true };
    case 'molecule_resumed': {
      const { paused: _, ...resumed } = molecule;
      return resumed;
    }
    case 'molecule_bonded':
      return settle(withBond(molecule, event), at);
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
    timings: { ...DEFAULT_TIMINGS, ...input.timings },
    status: 'running',
    ...(input.performance === undefined ? {} : { performance: input.performance }),
    reason: '',
    steps: recipeSteps(input.steps),
    lanes: [],
    seq: 0,
    ...(input.groups === undefined ? {} : { groups: input.groups }),
  };
  return watched({ ...molecule, lanes: [newLane(molecule, 0, at)] }, input.steps, input.groups);
}

/** A lane of a molecule that was slung to an agent always asks that agent; one of a rig's molecule gets its agent with the slot. */
function newLane(molecule: Molecule, number: number, at: Instant): Lane {
  const agent = molecule.target.kind === 'agent' ? molecule.target.id : null;
  return { number, status: 'asking', agent, since: at };
}

/** The step closed, with what it brings, and without what it leaves behind. */
function closed(molecule: Molecule, event: StepClosed, at: Instant): Molecule {
  const { step: position, items } = event;
  const before = stepAt(molecule, position);
  let after = withStep(molecule, position, (step) => ({
    ...step,
    lane: isWorkedOn(step) ? step.lane : lastLane(molecule, position),
    state: closedState(event, at),
  }));
  if (!isWorkedOn(before)) after = withoutLeftovers(after, position, at);
  if (items !== undefined) after = withItems(after, position, items);
  const { onFailure } = before.flow ?? {};
  if (event.outcome === 'failed' && onFailure?.kind === 'compensate') {
    const possible = spawnProblem(after, position, onFailure.group, [undoPrefix(before)]) === null;
    if (possible) after = withUndo(after, position, onFailure.group);
  }
  return after;
}

/** Field by field: an event that was read back from its row has more in it. */
function closedState({ outcome, agent, note, commit_id, output, facts }: StepClosed, at: Instant): StepState {
  return {
    status: 'closed',
    outcome,
    agent,
    note,
    commit_id,
    at,
    ...(output === undefined ? {} : { output }),
    ...(facts === undefined ? {} : { facts }),
  };
}

/** When a loop or a container is closed, nothing in it is left open. */
function withoutLeftovers(molecule: Molecule, position: number, at: Instant): Molecule {
  const { id } = stepAt(molecule, position);
  let after = molecule;
  for (const inside of standingsOf(molecule).everythingUnder(position)) {
    if (stepAt(after, inside).state.status === 'closed') continue;
    const end = passedOver(inside, `Step ${id}, which it belongs to, is closed.`);
    after = withStep(after, inside, (step) => ({ ...step, state: closedState(end, at) }));
  }
  return after;
}

function passedOver(position: number, note: string): StepClosed {
  return {
    type: 'step_closed',
    step: position,
    outcome: 'skipped',
    agent: null,
    note,
    commit_id: null,
    by: 'molecule',
  };
}

/** The lane in which the last step inside ended: what follows goes on there. */
function lastLane(molecule: Molecule, position: number): number | null {
  return lastWord(molecule, standingsOf(molecule).everythingUnder(position), (_, { lane }) => lane);
}

/** Moves every waiting or gated step on whose needs are met now. */
function settle(molecule: Molecule, at: Instant): Molecule {
  let standings: Standings | null = null;
  return mapSteps(molecule, (step) => {
    if (step.state.status !== 'waiting' && step.state.status !== 'gated') return step;
    if (!step.needs.every((need) => isMet(molecule.steps[need]))) return step;
    if (step.waitsOn !== undefined || step.after !== undefined) {
      standings ??= standingsOf(molecule);
      if (standings.entry(step) !== 'met') return step;
    }
    // Evaluating it is a decision, which is recorded as an event of its own.
    if (step.flow?.when !== undefined && step.held !== true) return step;
    if (!step.gateOpen)
      return step.state.status === 'gated' ? step : { ...step, state: { status: 'gated', since: at } };
    if (!isWorkedOn(step)) return { ...step, state: { status: 'running', since: at } };
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

/** Attempts go on counting; the cap on losses begins anew. */
function nextRound(step: Step, more: 0 | 1): Step {
  return { ...step, losses: 0, round: (step.round ?? 1) + more, spent: attemptsBefore(step) + more };
}

function doubted(step: Step, trouble: string | null): Step {
  if (step.state.status !== 'gated') return step;
  const { trouble: _, ...state } = step.state;
  return { ...step, state: trouble === null ? state : { ...state, trouble } };
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
