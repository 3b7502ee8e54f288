import type { Instant, MoleculeId } from './ids';

/** What hooks and dispatch queues have in common: they hold lanes of molecules, the more urgent first, then the one that came first. */
export interface LaneKey {
  readonly molecule_id: MoleculeId;
  readonly lane: number;
}

export function isSameLane(one: LaneKey, other: LaneKey): boolean {
  return one.molecule_id === other.molecule_id && one.lane === other.lane;
}

export function findLane<Item extends LaneKey>(items: readonly Item[], key: LaneKey): Item | null {
  return items.find((item) => isSameLane(item, key)) ?? null;
}

/** Those that wait, in the order in which it will be their turn. */
export function waitingInTurn<
  Item extends { readonly state: string; readonly priority: number; readonly since: Instant },
>(items: readonly Item[]): Item[] {
  return items
    .filter(({ state }) => state === 'waiting')
    .toSorted((a, b) => a.priority - b.priority || a.since - b.since);
}
