import type { AgentAddress, Instant } from '../ids';
import type { Wanted } from '../runs';
import { attemptsBefore, instanceAt, type Lane, liveLanes, type Molecule, performs, stepAt } from './molecule';
import { wantedOf } from './output';

/** Getting lanes, giving them work, and giving them back. */
export type LaneCommand =
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
      /** Absent: the first. */
      readonly round?: number;
      readonly wants?: Wanted;
    };

/** When to look again; the earliest counts. */
export interface Wake {
  at: Instant | null;
}

/** At most so many agents at once for one molecule. */
export const LANES_MAX = 16;

/** Steps that may be worked on now, the most urgent first. */
export function dueSteps(molecule: Molecule, now: Instant, wake: Wake): number[] {
  const due: number[] = [];
  for (const [position, step] of molecule.steps.entries()) {
    if (step.state.status !== 'ready' || step.state.stuck) continue;
    if (step.state.notBefore <= now) due.push(position);
    else wakeBy(wake, step.state.notBefore);
  }
  const urgency = (position: number) => molecule.steps[position]?.priority ?? molecule.priority;
  return due.sort((a, b) => urgency(a) - urgency(b) || a - b);
}

/** Whether an agent's name is news for the lane: it waits for a worker of the rig. */
export function awaitsSlot({ status, agent }: Lane): boolean {
  return (status === 'asking' || status === 'queued') && agent === null;
}

/** Whether a grant, or that it has to wait for one, is news for the lane. */
export function awaitsGrant({ status }: Lane): boolean {
  return status === 'asking' || status === 'queued' || status === 'slotted';
}

/** What a lane that does not work yet must ask for, and when again. */
export function askFor(molecule: Molecule, lane: Lane, wanted: boolean, now: Instant, wake: Wake): LaneCommand[] {
  const { number, status, agent } = lane;
  if (!awaitsGrant(lane) || (status === 'asking' && !wanted)) return [];
  const { turn, nextAt } = turnOf(molecule, lane, now);
  if (nextAt !== null) wakeBy(wake, nextAt);
  if (turn === null) return [];
  if (agent !== null) return [{ kind: 'ask_grant', key: `grant:${number}:${turn}`, lane: number, agent }];
  // Answered as queued means that it is in the dispatcher's queue: asking without waiting would take it out again.
  const wait = status === 'queued' || isFirstLive(molecule, lane);
  return [{ kind: 'ask_slot', key: `slot:${number}:${turn}`, lane: number, wait }];
}

/** Which ask of the lane is due, null for none, and when to look again. Who is queued is told when its turn comes: asking is for news that got lost. */
function turnOf(
  molecule: Molecule,
  { status, since, putOff = 0 }: Lane,
  now: Instant,
): { readonly turn: string | null; readonly nextAt: Instant | null } {
  const { askAgainMs, askAgainMaxMs } = molecule.timings;
  if (performs(molecule, 3)) {
    const pauseMs = Math.min(askAgainMs * 2 ** putOff, Math.max(askAgainMs, askAgainMaxMs));
    const dueAt = status === 'queued' ? since + pauseMs : since;
    return dueAt > now ? { turn: null, nextAt: dueAt } : { turn: `${since}`, nextAt: null };
  }
  const again = Math.floor((now - since) / askAgainMs);
  const turn = status === 'queued' && again === 0 ? null : `${since}:${again}`;
  return { turn, nextAt: since + (again + 1) * askAgainMs };
}

/** Gives due steps to idle lanes, asks for further lanes, and gives back the lanes that have had nothing to do for the grace period. */
export function dispatch(
  molecule: Molecule,
  due: readonly number[],
  now: Instant,
  commands: LaneCommand[],
  wake: Wake,
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
  let step = stepAt(molecule, position);
  // What was skipped had no lane: the one before it has.
  while (step.lane === null && step.heirOf !== null) step = stepAt(molecule, step.heirOf);
  const home = step.lane;
  if (home === null) return null;
  const lane = molecule.lanes.find((candidate) => candidate.number === home);
  return lane === undefined || lane.status === 'released' || lane.status === 'refused' ? null : home;
}

/** A lane with its agent, and nothing to do. */
interface IdleLane extends Lane {
  readonly agent: AgentAddress;
}

function hook(molecule: Molecule, position: number, lane: IdleLane): LaneCommand {
  const step = stepAt(molecule, position);
  const dispatchNumber = step.dispatches + 1;
  const wants = wantedOf(molecule, step);
  return {
    kind: 'hook_step',
    key: `step:${position}:${dispatchNumber}`,
    step: position,
    lane: lane.number,
    agent: lane.agent,
    attempt: attemptsBefore(step) + 1,
    dispatch: dispatchNumber,
    baseCommit: baseCommit(molecule, position),
    ...(step.round === undefined ? {} : { round: step.round }),
    ...(wants === undefined ? {} : { wants }),
  };
}

/** Where a new worktree starts: the nearest commit on the way back, through the needs in their order and what a step goes on from. */
export function baseCommit(molecule: Molecule, position: number): string | null {
  const seen = new Set([position]);
  // A set goes on to what is added while it is read: the nearer ones come first.
  for (const at of seen) {
    const { needs, heirOf, state, instance } = stepAt(molecule, at);
    if (at !== position && state.status === 'closed' && state.commit_id !== null) return state.commit_id;
    for (const need of needs) seen.add(need);
    if (heirOf !== null) seen.add(heirOf);
    const by = instance === undefined ? null : instanceAt(molecule, instance).by;
    if (needs.length === 0 && by !== null) for (const need of stepAt(molecule, by).needs) seen.add(need);
  }
  return null;
}

/** A further lane, when the target is a rig and fewer asks are open than steps want one. */
function askForLane(molecule: Molecule, wanted: number, now: Instant, commands: LaneCommand[], wake: Wake): void {
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
function openLane(molecule: Molecule, now: Instant, commands: LaneCommand[], wake: Wake): void {
  const refused = molecule.lanes.findLast((lane) => lane.status === 'refused');
  if (refused !== undefined && refused.since + molecule.timings.askAgainMs > now) {
    wakeBy(wake, refused.since + molecule.timings.askAgainMs);
    return;
  }
  // Numbers are never used again: the dispatcher and the hook know a lane by its number.
  const lane = 1 + Math.max(-1, ...molecule.lanes.map((known) => known.number));
  commands.push({ kind: 'open_lane', key: `lane:${lane}`, lane });
}

export function release(lane: Lane, reason: string): LaneCommand {
  return { kind: 'release_lane', key: `release:${lane.number}`, lane: lane.number, agent: lane.agent, reason };
}

export function wakeBy(wake: Wake, at: Instant): void {
  wake.at = wake.at === null ? at : Math.min(wake.at, at);
}

/** The first lane that lives waits in the dispatcher's queue; further ones are only taken when they are free now. */
function isFirstLive(molecule: Molecule, lane: Lane): boolean {
  return liveLanes(molecule)[0]?.number === lane.number;
}
