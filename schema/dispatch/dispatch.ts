import { unreachable } from '../errors';
import type { AgentAddress, Instant, MoleculeId, RigId } from '../ids';
import { findLane, isSameLane, type LaneKey, waitingInTurn } from '../lane-queue';
import type { DispatchRow } from '../runs';

/** A rig's dispatch queue: lanes that want a short-lived worker, and those that have one. Bounded by the rig's `workers_max`. */
export interface Dispatcher {
  readonly version: 1;
  readonly rig_id: RigId;
  readonly workers_max: number;
  readonly items: readonly DispatchItem[];
  readonly seq: number;
}
export interface DispatchItem {
  readonly molecule_id: MoleculeId;
  readonly lane: number;
  readonly priority: number;
  /** The policy decision that allowed this dispatch. */
  readonly decision_id: string;
  readonly state: 'waiting' | 'busy';
  readonly agent_id: AgentAddress | null;
  readonly since: Instant;
}

export type DispatchEvent =
  | { readonly type: 'dispatcher_opened'; readonly rig_id: RigId; readonly workers_max: number }
  | { readonly type: 'limit_changed'; readonly workers_max: number }
  | {
      readonly type: 'lane_enqueued';
      readonly molecule_id: MoleculeId;
      readonly lane: number;
      readonly priority: number;
      readonly decision_id: string;
    }
  | {
      readonly type: 'worker_assigned';
      readonly molecule_id: MoleculeId;
      readonly lane: number;
      readonly agent: AgentAddress;
    }
  | { readonly type: 'worker_freed'; readonly molecule_id: MoleculeId; readonly lane: number };

export interface RecordedDispatchEvent {
  readonly seq: number;
  readonly at: Instant;
  readonly event: DispatchEvent;
}

export function applyEvent(before: Dispatcher | null, { seq, at, event }: RecordedDispatchEvent): Dispatcher {
  if (event.type === 'dispatcher_opened')
    return { version: 1, rig_id: event.rig_id, workers_max: event.workers_max, items: [], seq };
  if (before === null) throw new Error(`first event of a dispatcher is ${event.type}`);
  const dispatcher = { ...before, seq };
  switch (event.type) {
    case 'limit_changed':
      return { ...dispatcher, workers_max: event.workers_max };
    case 'lane_enqueued': {
      const { molecule_id, lane, priority, decision_id } = event;
      return {
        ...dispatcher,
        items: [
          ...dispatcher.items,
          { molecule_id, lane, priority, decision_id, state: 'waiting', agent_id: null, since: at },
        ],
      };
    }
    case 'worker_assigned':
      return {
        ...dispatcher,
        items: dispatcher.items.map((item) =>
          isSameLane(item, event) ? { ...item, state: 'busy', agent_id: event.agent, since: at } : item,
        ),
      };
    case 'worker_freed':
      return { ...dispatcher, items: dispatcher.items.filter((item) => !isSameLane(item, event)) };
    default:
      return unreachable(event, 'applyEvent');
  }
}

/** The waiting lane that gets the next worker, and the worker's name; null when no slot is free or nobody waits. */
export function nextWorker(
  dispatcher: Dispatcher,
): { readonly item: DispatchItem; readonly agent: AgentAddress } | null {
  const busy = dispatcher.items.filter((item) => item.state === 'busy');
  if (busy.length >= dispatcher.workers_max) return null;
  const [item] = waitingInTurn(dispatcher.items);
  if (item === undefined) return null;
  return { item, agent: freeWorker(dispatcher.rig_id, new Set(busy.map((candidate) => candidate.agent_id))) };
}

export function findItem(dispatcher: Dispatcher, key: LaneKey): DispatchItem | null {
  return findLane(dispatcher.items, key);
}

/** How many get a worker before this one; -1 when it does not wait. */
export function waitingBefore(dispatcher: Dispatcher, key: LaneKey): number {
  return waitingInTurn(dispatcher.items).findIndex((item) => isSameLane(item, key));
}

export function dispatchRow(dispatcher: Dispatcher): DispatchRow {
  return { rig_id: dispatcher.rig_id, workers_max: dispatcher.workers_max, items: dispatcher.items };
}

const NAMES = (
  'amber basalt cobalt dolomite ember flint garnet hematite iron jasper kyanite lazurite marble nickel onyx pyrite quartz ruby slate topaz umber ' +
  'vanadium wolfram xenon yttrium zircon'
).split(' ');

/** Names are used again, so that a worker's identity and history go on with its next work. */
function freeWorker(rig: RigId, taken: ReadonlySet<AgentAddress | null>): AgentAddress {
  for (let round = 1; ; round += 1) {
    for (const name of NAMES) {
      const address = `${rig}/polecats/${name}${round === 1 ? '' : `-${round}`}`;
      if (!taken.has(address)) return address;
    }
  }
}
