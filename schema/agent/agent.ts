import { unreachable } from '../errors';
import type { AgentAddress, Instant, MoleculeId } from '../ids';
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
        items: agent.items.map((item) => (isSame(item, event) ? { ...item, state: 'granted', since: at } : item)),
      };
    case 'hook_released':
      return { ...agent, items: agent.items.filter((item) => !isSame(item, event)) };
    case 'hook_requeued': {
      const [found] = agent.items.filter((item) => isSame(item, event));
      if (found === undefined) return agent;
      const others = agent.items.filter((item) => !isSame(item, event));
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
  return agent.items.toSorted((a, b) => a.priority - b.priority || a.since - b.since)[0] ?? null;
}

export function findItem(
  agent: Agent,
  key: { readonly molecule_id: MoleculeId; readonly lane: number },
): HookItem | null {
  return agent.items.find((item) => isSame(item, key)) ?? null;
}

/** 1 for the next to be granted; 0 for the one that holds the grant. */
export function positionOf(agent: Agent, key: { readonly molecule_id: MoleculeId; readonly lane: number }): number {
  const waiting = agent.items
    .filter((item) => item.state === 'waiting')
    .toSorted((a, b) => a.priority - b.priority || a.since - b.since);
  return waiting.findIndex((item) => isSame(item, key)) + 1;
}

export function hookRow(agent: Agent): HookRow {
  return {
    agent_id: agent.address,
    status: agent.status,
    granted_molecule_id: agent.items.find((item) => item.state === 'granted')?.molecule_id ?? null,
    items: agent.items,
  };
}

function isSame(
  a: { readonly molecule_id: MoleculeId; readonly lane: number },
  b: { readonly molecule_id: MoleculeId; readonly lane: number },
): boolean {
  return a.molecule_id === b.molecule_id && a.lane === b.lane;
}
