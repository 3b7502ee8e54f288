import { type Agent, type AgentEvent, applyEvent as applyToHook } from '../../schema/agent/agent';
import { applyEvent as applyToQueue, type DispatchEvent, type Dispatcher } from '../../schema/dispatch/dispatch';
import type { LeanStep } from '../../schema/ledger';
import { applyEvent, type Molecule, type MoleculeEvent } from '../../schema/molecule/molecule';
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
