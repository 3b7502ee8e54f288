import type { GateSpec } from '../formula/flow';
import { describeGate } from '../formula/flow-text';
import type { Instant } from '../ids';
import type { Timings } from '../timings';
import { holds } from './condition';
import { type Molecule, stepAt } from './molecule';
import type { Standings } from './standing';
import { factsWanted, viewOf } from './view';

/**
 * Gates open by a message (a person, a closed task, a forge), by time, or by a condition. Behind those that wait for something outside
 * stands a look at it, in growing pauses: messages get lost. A gate that is late is escalated to a person, once, and stays closed.
 */
export type GateCommand =
  | {
      readonly kind: 'open_gate';
      readonly key: string;
      readonly step: number;
      readonly by: string;
      readonly reason: string;
    }
  /** `key` names one look; a look that was made is not made again. */
  | {
      readonly kind: 'look_at_gate';
      readonly key: string;
      readonly step: number;
      readonly gate: GateSpec;
      readonly since: Instant;
    }
  | { readonly kind: 'escalate_gate'; readonly key: string; readonly step: number; readonly reason: string };

/** What is due at a gated step, and when there will be more. `hold`: nothing that asks the outside. */
export function gateCommands(
  molecule: Molecule,
  standings: Standings,
  position: number,
  now: Instant,
  hold: boolean,
): { readonly commands: readonly GateCommand[]; readonly wakeAt: Instant | null } {
  const step = stepAt(molecule, position);
  const { gate, state } = step;
  if (gate === null || state.status !== 'gated') return { commands: [], wakeAt: null };
  const open = (by: string, reason: string) => ({
    commands: [{ kind: 'open_gate' as const, key: `gate:${step.id}`, step: position, by, reason }],
    wakeAt: null,
  });
  if (gate.kind === 'timer') {
    const opensAt = state.since + gate.durationMs;
    return opensAt <= now ? open('timer', 'the time is over') : { commands: [], wakeAt: opensAt };
  }
  const isKnown = gate.kind === 'condition' && factsWanted(molecule, standings, step) === null;
  if (isKnown && holds(gate.when, viewOf(molecule, standings, step))) return open('condition', 'its condition holds');
  if (hold) return { commands: [], wakeAt: null };
  const commands: GateCommand[] = [];
  const wakes: Instant[] = [];
  if (gate.timeoutMs !== null && state.escalated === undefined) {
    const lateAt = state.since + gate.timeoutMs;
    if (lateAt > now) wakes.push(lateAt);
    else commands.push({ kind: 'escalate_gate', key: `escalate:${step.id}`, step: position, reason: lateness(gate) });
  }
  if (gate.kind !== 'human' && gate.kind !== 'condition') {
    const { look, nextAt } = lookDue(state.since, now, molecule.timings);
    commands.push({
      kind: 'look_at_gate',
      key: `look:${step.id}:${look}`,
      step: position,
      gate,
      since: state.since,
    });
    wakes.push(nextAt);
  }
  return { commands, wakeAt: wakes.length === 0 ? null : Math.min(...wakes) };
}

/** Which look is due, from 0 (at once), and when the next is: after the first pause, then after pauses that double up to the longest. */
export function lookDue(
  since: Instant,
  now: Instant,
  { gatePollMs, gatePollMaxMs }: Pick<Timings, 'gatePollMs' | 'gatePollMaxMs'>,
): { readonly look: number; readonly nextAt: Instant } {
  let look = 0;
  let at = since;
  let pause = gatePollMs;
  for (; pause < gatePollMaxMs && at + pause <= now; look += 1) {
    at += pause;
    pause *= 2;
  }
  if (pause < gatePollMaxMs) return { look, nextAt: at + pause };
  const more = Math.max(0, Math.floor((now - at) / gatePollMaxMs));
  return { look: look + more, nextAt: at + (more + 1) * gatePollMaxMs };
}

function lateness(gate: Exclude<GateSpec, { readonly kind: 'timer' }>): string {
  return `waited ${gate.timeoutMs} ms for ${describeGate(gate)}`;
}
