import { unreachable } from '../errors';
import type { AgentAddress, Instant, MoleculeId } from '../ids';
import { findLane, isSameLane, type LaneKey, waitingInTurn } from '../lane-queue';
import type { HookRow } from '../runs';

/** The hook: an ordered queue of molecules' lanes, of which one holds the grant. Higher priority first, then first come. */
export interface Agent {
  readonly version: 1;
  readonly address: AgentAddress;
  readonly status: 'active' | 'paused' | 'retired';
  readonly items: readonly HookItem[];
  readonly seq: number;
}
export interface HookItem {
  readonly molecule_id: MoleculeId;
  readonly lane: number;
  readonly priority: number;
  readonly state: 'waiting' | 'granted';
  readonly since: Instant;
}

export type AgentEvent =
  | { readonly type: 'hook_opened'; readonly address: AgentAddress }
  | {
      readonly type: 'hook_assigned';
      readonly molecule_id: MoleculeId;
      readonly lane: number;
      readonly priority: number;
    }
  | { readonly type: 'hook_granted'; readonly molecule_id: MoleculeId; readonly lane: number }
  | { readonly type: 'hook_released'; readonly molecule_id: MoleculeId; readonly lane: number; readonly reason: string }
  | { readonly type: 'hook_requeued'; readonly molecule_id: MoleculeId; readonly lane: number; readonly reason: string }
  | { readonly type: 'agent_paused'; readonly reason: string }
  | { readonly type: 'agent_resumed'; readonly reason: string }
  | { readonly type: 'agent_retired'; readonly reason: string };

export interface RecordedAgentEvent {
  readonly seq: number;
  readonly at: Instant;
  readonly event: AgentEvent;
}

export function applyEvent(before: Agent | null, { seq, at, event }: RecordedAgentEvent): Agent {
  if (event.type === 'hook_opened') return { version: 1, address: event.address, status: 'active', items: [], seq };
  if (before === null) throw new Error(`first event of a hook is ${event.type}`);
  const agent = { ...before, seq };
  switch (event.type) {
    case 'hook_assigned': {
      const { molecule_id, lane, priority } = event;
      return { ...agent, items: [...agent.items, { molecule_id, lane, priority, state: 'waiting', since: at }] };
    }
    case 'hook_granted':
      return {
        ...agent,
        items: agent.items.map((item) => (isSameLane(item, event) ? { ...item, state: 'granted', since: at } : item)),
      };
    case 'hook_released':
      return { ...agent, items: agent.items.filter((item) => !isSameLane(item, event)) };
    case 'hook_requeued': {
      const found = findLane(agent.items, event);
      if (found === null) return agent;
      const others = agent.items.filter((item) => !isSameLane(item, event));
      return { ...agent, items: [...others, { ...found, state: 'waiting', since: at }] };
    }
    case 'agent_paused':
      return { ...agent, status: 'paused' };
    case 'agent_resumed':
      return { ...agent, status: 'active' };
    case 'agent_retired':
      return { ...agent, status: 'retired' };
    default:
      return unreachable(event, 'applyEvent');
  }
}

/** Who gets the grant next; null while one holds it, nobody waits, or the agent is not active. */
export function nextGrant(agent: Agent): HookItem | null {
  if (agent.status !== 'active' || agent.items.some((item) => item.state === 'granted')) return null;
  return waitingInTurn(agent.items)[0] ?? null;
}

export function findItem(agent: Agent, key: LaneKey): HookItem | null {
  return findLane(agent.items, key);
}

/** 1 for the next to be granted; 0 for the one that holds the grant. */
export function positionOf(agent: Agent, key: LaneKey): number {
  return waitingInTurn(agent.items).findIndex((item) => isSameLane(item, key)) + 1;
}

export function hookRow(agent: Agent): HookRow {
  return {
    agent_id: agent.address,
    status: agent.status,
    granted_molecule_id: agent.items.find((item) => item.state === 'granted')?.molecule_id ?? null,
    items: agent.items,
  };
}
