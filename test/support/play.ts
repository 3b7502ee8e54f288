import { type Agent, type AgentEvent, applyEvent as applyToHook } from '../../schema/agent/agent';
import { applyEvent as applyToQueue, type DispatchEvent, type Dispatcher } from '../../schema/dispatch/dispatch';
import type { LeanStep } from '../../schema/ledger';
import { applyEvent } from '../../schema/molecule/apply';
import { endStep } from '../../schema/molecule/ends';
import {
  type End,
  type Molecule,
  type MoleculeEvent,
  positionOf,
  type RecordedMoleculeEvent,
  type Step,
} from '../../schema/molecule/molecule';
import { type MoleculeCommand, nextCommands, nextDecision } from '../../schema/molecule/next';
import { standingsOf } from '../../schema/molecule/standing';
import type { MoleculeInput } from '../../schema/runs';
import { DEFAULT_TIMINGS } from '../../schema/timings';

/** When every play begins; in ms, as all times. */
export const START = 1_000_000;
export const AMBER = 'acme/polecats/amber';
export const BASALT = 'acme/polecats/basalt';

/** A number lets that many ms pass; an event happens at the time reached. */
export type Beat<Event> = Event | number;

/** The molecule poured from `input` after these events. */
export function play(input: MoleculeInput, ...beats: readonly Beat<MoleculeEvent>[]): Molecule {
  return fold<Molecule, MoleculeEvent>(applyEvent, [{ type: 'molecule_poured', input }, ...beats]);
}

/** The hook of amber after these events. */
export function playHook(...beats: readonly Beat<AgentEvent>[]): Agent {
  return fold<Agent, AgentEvent>(applyToHook, [{ type: 'hook_opened', address: AMBER }, ...beats]);
}

/** The dispatch queue of rig acme after these events. */
export function playQueue(workersMax: number, ...beats: readonly Beat<DispatchEvent>[]): Dispatcher {
  return fold<Dispatcher, DispatchEvent>(applyToQueue, [
    { type: 'dispatcher_opened', rig_id: 'acme', workers_max: workersMax },
    ...beats,
  ]);
}

/** An input for the rig acme; `steps` such as `step('b', { needs: ['a'] })`. */
export function inputOf(steps: readonly LeanStep[], changes: Partial<MoleculeInput> = {}): MoleculeInput {
  return {
    version: 1,
    id: 'm-1',
    epoch: 1,
    root_task_id: 'acme-k3f9a',
    rig_id: 'acme',
    formula: 'work',
    recipe_digest: 'd1',
    priority: 2,
    steps,
    target: { kind: 'agent', id: AMBER },
    decision_id: 'p-1',
    timings: DEFAULT_TIMINGS,
    namespace: '',
    n: 1,
    ...changes,
  };
}

export function step(id: string, changes: Partial<LeanStep> = {}): LeanStep {
  return { id, title: `do ${id}`, needs: [], parallel: true, priority: null, gate: null, ...changes };
}

/** Steps that each need the one before. */
export function chain(...ids: readonly string[]): LeanStep[] {
  return ids.map((id, index) => step(id, { needs: ids.slice(Math.max(0, index - 1), index) }));
}

export const asked = (lane: number): MoleculeEvent => ({ type: 'lane_asked', lane });
export const queued = (lane = 0): MoleculeEvent => ({ type: 'lane_queued', lane });
export const slotted = (lane = 0, agent = AMBER): MoleculeEvent => ({ type: 'lane_slotted', lane, agent });
export const granted = (lane = 0, agent = AMBER): MoleculeEvent => ({ type: 'lane_granted', lane, agent });
export const refused = (lane: number): MoleculeEvent => ({ type: 'lane_refused', lane, reason: 'no slot' });
export const revoked = (lane = 0): MoleculeEvent => ({ type: 'lane_revoked', lane, reason: 'requeued' });
export const released = (lane = 0): MoleculeEvent => ({ type: 'lane_released', lane, reason: 'nothing due' });
export const opened = (position: number): MoleculeEvent => ({
  type: 'gate_opened',
  step: position,
  by: 'ada',
  reason: 'fine',
});

export function hooked(position: number, { lane = 0, agent = AMBER, attempt = 1, dispatch = 1 } = {}): MoleculeEvent {
  return { type: 'step_hooked', step: position, lane, agent, attempt, dispatch };
}

export function lost(position: number, { dispatch = 1, counted = true, reason = 'SESSION_LOST' } = {}): MoleculeEvent {
  return { type: 'step_lost', step: position, dispatch, reason, counted, detail: '' };
}

export function closed(
  position: number,
  {
    outcome = 'done' as 'done' | 'failed' | 'skipped',
    agent = AMBER as string | null,
    commit = null as string | null,
  } = {},
): MoleculeEvent {
  return { type: 'step_closed', step: position, outcome, agent, note: '', commit_id: commit, by: agent ?? 'ada' };
}

function fold<State, Event>(
  apply: (
    before: State | null,
    recorded: { readonly seq: number; readonly at: number; readonly event: Event },
  ) => State,
  beats: readonly Beat<Event>[],
): State {
  let state: State | null = null;
  let at = START;
  let seq = 0;
  for (const beat of beats) {
    if (typeof beat === 'number') at += beat;
    else state = apply(state, { seq: (seq += 1), at, event: beat });
  }
  if (state === null) throw new Error('a play needs an event');
  return state;
}

/** A molecule under way, driven by what happens to its steps by name; what it decides by itself is recorded at once. */
export class Play {
  molecule: Molecule;
  now = START;
  /** All that happened, in order. */
  readonly events: RecordedMoleculeEvent[] = [];

  constructor(input: MoleculeInput) {
    this.molecule = this.applied(null, { type: 'molecule_poured', input });
    this.decide();
  }

  record(event: MoleculeEvent): this {
    this.molecule = this.applied(this.molecule, event);
    return this.decide();
  }

  /** The end of an attempt, as amber says it. */
  ends(step: string, end: Partial<End> = {}): this {
    this.now += 1;
    const whole: End = { outcome: 'done', agent: AMBER, note: '', commit_id: null, by: AMBER, ...end };
    return this.record(endStep(this.molecule, this.at(step), whole));
  }

  fails(step: string): this {
    return this.ends(step, { outcome: 'failed' });
  }

  at(step: string): number {
    const position = positionOf(this.molecule, step);
    if (position === null) throw new Error(`there is no step ${step}`);
    return position;
  }

  step(name: string): Step {
    return this.molecule.steps[this.at(name)]!;
  }

  /** Status of each step by name; of a closed one its outcome. */
  shown(): Record<string, string> {
    return Object.fromEntries(
      this.molecule.steps.map(({ id, state }) => [id, state.status === 'closed' ? state.outcome : state.status]),
    );
  }

  /** What the molecule would do now. */
  due(): MoleculeCommand[] {
    return nextCommands(this.molecule, this.now).commands;
  }

  private decide(): this {
    for (let round = 0; ; round += 1) {
      if (round > 20_000) throw new Error('decides for ever');
      const event = nextDecision(this.molecule, standingsOf(this.molecule));
      if (event === null) return this;
      this.molecule = this.applied(this.molecule, event);
    }
  }

  private applied(before: Molecule | null, event: MoleculeEvent): Molecule {
    const recorded = { seq: this.events.length + 1, at: this.now, event };
    this.events.push(recorded);
    return applyEvent(before, recorded);
  }
}
