import type { RunCondition, StepFlow } from '../formula/flow';
import type { Instant } from '../ids';
import { holds } from './condition';
import { endStep } from './ends';
import { gateCommands, type GateCommand } from './gates';
import { roundPrefix, spawnProblem } from './groups';
import { askFor, baseCommit, dispatch, dueSteps, type LaneCommand, release, type Wake, wakeBy } from './lanes';
import { type Instance, lastWord, liveLanes, type Molecule, type MoleculeEvent, type Step, stepAt } from './molecule';
import { rangeOf, type Standings, standingsOf } from './standing';
import type { LookForFacts } from '../runs';
import { factsWanted, viewOf, viewOfRound } from './view';

/** What the workflow must do next. Derived from the state, never stored; the key names one performance of it. */
export type MoleculeCommand =
  | LaneCommand
  | GateCommand
  /** What a step's conditions ask and nobody has reported; answered with `facts_found`. */
  | ({ readonly kind: 'look_for_facts'; readonly key: string; readonly step: number } & Omit<LookForFacts, 'rig_id'>)
  /** Nothing to perform: only the event is recorded. */
  | { readonly kind: 'decide'; readonly key: string; readonly event: MoleculeEvent }
  | { readonly kind: 'finish'; readonly key: string; readonly outcome: 'done' | 'failed' };

/**
 * Work that is due at `now`, in recipe order, and when to look again although nothing happened (null: only an event changes anything).
 * A decision comes alone, since what follows depends on it. `hold` stops new dispatches and asks: the run is about to continue as new.
 */
export function nextCommands(
  molecule: Molecule,
  now: Instant,
  hold = false,
): { commands: MoleculeCommand[]; wakeAt: Instant | null } {
  if (molecule.status !== 'running')
    return { commands: liveLanes(molecule).map((lane) => release(lane, molecule.status)), wakeAt: null };
  const standings = standingsOf(molecule);
  const event = nextDecision(molecule, standings);
  if (event !== null) return { commands: [{ kind: 'decide', key: `decide:${molecule.seq}`, event }], wakeAt: null };
  if (standings.isSpent()) {
    // Paused, a person may still want to have something tried again.
    if (molecule.paused === true) return { commands: releaseAll(molecule), wakeAt: null };
    return { commands: [{ kind: 'finish', key: 'finish', outcome: standings.outcome() }], wakeAt: null };
  }
  const commands: MoleculeCommand[] = [];
  const wake: Wake = { at: null };
  for (const position of molecule.steps.keys()) {
    commands.push(...factsLook(molecule, standings, position, hold));
    const gate = gateCommands(molecule, standings, position, now, hold);
    commands.push(...gate.commands);
    if (gate.wakeAt !== null) wakeBy(wake, gate.wakeAt);
  }
  if (hold) return { commands, wakeAt: wake.at };
  const due = molecule.paused === true ? [] : dueSteps(molecule, now, wake);
  const work: LaneCommand[] = [];
  for (const lane of molecule.lanes) work.push(...askFor(molecule, lane, due.length > 0, now, wake));
  dispatch(molecule, due, now, work, wake);
  return { commands: [...commands, ...work], wakeAt: wake.at };
}

/** What a command establishes by itself, to be recorded when it begins; null: its answer will. */
export function eventOf(command: MoleculeCommand): MoleculeEvent | null {
  switch (command.kind) {
    case 'decide':
      return command.event;
    case 'hook_step': {
      const { step, lane, agent, attempt, dispatch: number } = command;
      return { type: 'step_hooked', step, lane, agent, attempt, dispatch: number };
    }
    case 'release_lane':
      return { type: 'lane_released', lane: command.lane, reason: command.reason };
    case 'open_lane':
      return { type: 'lane_asked', lane: command.lane };
    case 'open_gate':
      return { type: 'gate_opened', step: command.step, by: command.by, reason: command.reason };
    case 'escalate_gate':
      return { type: 'gate_escalated', step: command.step, reason: command.reason };
    case 'finish':
      return { type: 'molecule_finished', outcome: command.outcome };
    case 'ask_slot':
    case 'ask_grant':
    case 'look_at_gate':
    case 'look_for_facts':
      return null;
  }
}

/** What the molecule decides by itself: whether a step's condition holds, what follows a round, when a container is done. One at a time:
 *  each may change what is to be decided next. */
export function nextDecision(molecule: Molecule, standings: Standings): MoleculeEvent | null {
  for (const [position, { flow }] of molecule.steps.entries()) {
    const event = flow === undefined ? null : decisionAt(molecule, standings, position, flow);
    if (event !== null) return event;
  }
  return null;
}

function decisionAt(
  molecule: Molecule,
  standings: Standings,
  position: number,
  { when, loop, fanOut }: StepFlow,
): MoleculeEvent | null {
  const step = stepAt(molecule, position);
  if (step.state.status === 'waiting')
    return when === undefined ? null : conditionFound(molecule, standings, position, when);
  if (step.state.status === 'running')
    return loop === undefined
      ? containerOver(molecule, standings, position)
      : roundOver(molecule, standings, position, loop);
  const stops = step.state.status === 'closed' && fanOut?.onItemFailure === 'stop';
  return stops ? itemStopped(molecule, standings, position) : null;
}

/** Closed by the molecule without having been worked on. */
const SKIPPED = {
  type: 'step_closed',
  outcome: 'skipped',
  agent: null,
  commit_id: null,
  by: 'molecule',
} as const satisfies Partial<MoleculeEvent>;

/** A step of an item that has not begun, when another item has failed and the fan-out is to stop then. */
function itemStopped(molecule: Molecule, standings: Standings, position: number): MoleculeEvent | null {
  const items = (molecule.instances ?? []).filter(({ kind, by }) => kind === 'item' && by === position).map(rangeOf);
  const unbegun = items
    .filter((item) => !item.some((at) => hasBegun(stepAt(molecule, at))))
    .flatMap((item) => item.filter((at) => stepAt(molecule, at).state.status !== 'closed'));
  // The last one first: what needs a step that is skipped would start.
  const last = unbegun.at(-1);
  if (last === undefined || !items.some((item) => standings.all(item) === 'failed')) return null;
  return { ...SKIPPED, step: last, note: `Another item of ${stepAt(molecule, position).id} failed.` };
}

/** Worked on, or begun again by a person. */
function hasBegun({ dispatches, spent, state }: Step): boolean {
  return (
    dispatches > 0 ||
    spent !== undefined ||
    state.status === 'running' ||
    (state.status === 'closed' && state.outcome !== 'skipped')
  );
}

function conditionFound(
  molecule: Molecule,
  standings: Standings,
  position: number,
  when: RunCondition,
): MoleculeEvent | null {
  const step = stepAt(molecule, position);
  if (step.held === true || !isEntered(standings, step) || factsWanted(molecule, standings, step) !== null) return null;
  return { type: 'condition_found', step: position, holds: holds(when, viewOf(molecule, standings, step)) };
}

function isEntered(standings: Standings, step: Step): boolean {
  return step.needs.every((need) => standings.of(need) === 'met') && standings.entry(step) === 'met';
}

/** The look that the conditions of a step wait for, once nothing else holds it back. */
function factsLook(molecule: Molecule, standings: Standings, position: number, hold: boolean): MoleculeCommand[] {
  const step = stepAt(molecule, position);
  const { status } = step.state;
  const isDue = status === 'gated' || (status === 'waiting' && step.flow?.when !== undefined);
  if (hold || !isDue || !isEntered(standings, step)) return [];
  const wanted = factsWanted(molecule, standings, step);
  if (wanted === null) return [];
  const base_commit = baseCommit(molecule, position);
  return [{ kind: 'look_for_facts', key: `facts:${step.id}`, step: position, base_commit, ...wanted }];
}

/** Null as long as something of the contents can still happen. */
function containerOver(molecule: Molecule, standings: Standings, position: number): MoleculeEvent | null {
  const contents = standings.under(position, false);
  const standing = standings.all(contents);
  if (standing === 'open') return null;
  return standing === 'met'
    ? ended(molecule, position, contents, 'done', '')
    : ended(molecule, position, contents, 'failed', failing(molecule, standings, contents));
}

/** What follows a round, or the first one; null as long as something of the round can still happen. */
function roundOver(
  molecule: Molecule,
  standings: Standings,
  position: number,
  { group, until, max }: NonNullable<StepFlow['loop']>,
): MoleculeEvent | null {
  const step = stepAt(molecule, position);
  const round = molecule.instances?.findLast((one): one is Round => one.kind === 'round' && one.by === position);
  const inside = round === undefined ? [] : rangeOf(round);
  const number = round?.number ?? 0;
  const end = (outcome: 'done' | 'failed', note: string) => ended(molecule, position, inside, outcome, note);
  const standing = standings.all(inside);
  if (standing === 'open') return null;
  if (standing === 'failed') return end('failed', `Round ${number}: ${failing(molecule, standings, inside)}`);
  if (round !== undefined && holds(until, viewOfRound(molecule, standings, step, round)))
    return end('done', `Its condition holds after round ${number}.`);
  if (number >= max) return end('failed', `Its condition does not hold after ${number} rounds.`);
  const problem = spawnProblem(molecule, position, group, [roundPrefix(step, number + 1)]);
  if (problem !== null) return end('failed', `Round ${number + 1} could not begin: ${problem}.`);
  return { type: 'round_begun', step: position, round: number + 1 };
}

type Round = Instance & { readonly kind: 'round' };

/** The step closed by the molecule itself, with the commit that was made last inside. */
function ended(
  molecule: Molecule,
  position: number,
  inside: readonly number[],
  outcome: 'done' | 'failed',
  note: string,
): MoleculeEvent {
  const commit_id = lastWord(molecule, inside, (closed) => closed.commit_id);
  return endStep(molecule, position, { outcome, agent: null, note, commit_id, by: 'molecule' });
}

function failing(molecule: Molecule, standings: Standings, inside: readonly number[]): string {
  const failed = inside.find((at) => standings.of(at) === 'failed');
  return failed === undefined ? 'something it brought failed.' : `step ${stepAt(molecule, failed).id} failed.`;
}

function releaseAll(molecule: Molecule): MoleculeCommand[] {
  return liveLanes(molecule).map((lane) => release(lane, 'paused'));
}
