import type { FanOut } from '../formula/flow';
import type { Json } from '../json';
import { itemPrefixes, spawnProblem, undoPrefix } from './groups';
import { type End, isWorkedOn, type Molecule, type MoleculeEvent, ownersOf, stepAt, type StepClosed } from './molecule';
import { dig, keptOutput } from './output';
import { mayBegin } from './shown';

/** What the end of a step means for the molecule, as its formula says: closed, tried again, skipped, with what it brings. */
export function endStep(molecule: Molecule, position: number, end: End): MoleculeEvent {
  const step = stepAt(molecule, position);
  const { fanOut, retry, onFailure } = step.flow ?? {};
  const { output, facts, ...said } = end;
  const closed: StepClosed = {
    type: 'step_closed',
    step: position,
    ...said,
    ...optional('output', output === undefined ? undefined : keptOutput(molecule, step, output)),
    ...optional('facts', facts),
  };
  if (end.outcome === 'skipped') return closed;
  if (end.outcome === 'done') {
    if (fanOut === undefined) return closed;
    const items = dig(output, fanOut.path);
    const problem = fanOutProblem(molecule, position, fanOut, items);
    if (problem === null) return { ...closed, items: items as Json[] };
    return endStep(molecule, position, {
      ...end,
      outcome: 'failed',
      note: sentences(end.note, `Its fan-out failed: ${problem}.`),
    });
  }
  const round = step.round ?? 1;
  if (retry !== undefined && end.agent !== null && round < retry.attemptsMax) {
    const { agent, note, commit_id, by } = end;
    // The author's pause, doubled with each try; never longer than the town's longest, unless the author says so.
    const pauseMs = Math.min(
      retry.backoffMs * 2 ** (round - 1),
      Math.max(retry.backoffMs, molecule.timings.backoffMaxMs),
    );
    return { type: 'step_retried', step: position, pauseMs, agent, note, commit_id, by };
  }
  if (retry?.exhausted === 'skip' || onFailure?.kind === 'skip')
    return { ...closed, outcome: 'skipped', note: sentences('Failed, and skipped as the formula says.', end.note) };
  if (onFailure?.kind !== 'compensate') return closed;
  const problem = spawnProblem(molecule, position, onFailure.group, [undoPrefix(step)]);
  return problem === null
    ? closed
    : { ...closed, note: sentences(end.note, `Its compensation could not begin: ${problem}.`) };
}

/** Why the step cannot be begun again, or null. */
export function reopenProblem(molecule: Molecule, position: number): string | null {
  const step = stepAt(molecule, position);
  const { id, state } = step;
  if (molecule.status !== 'running') return `molecule ${molecule.id} is ${molecule.status}`;
  if (!isWorkedOn(step)) return `nobody works on step ${id} itself: try one of its steps again`;
  if (!mayBegin(state)) return `step ${id} is neither ready nor failed`;
  if (molecule.instances?.some(({ kind, by }) => kind === 'undo' && by === position) === true)
    return `the compensation of step ${id} has begun`;
  const closed = ownersOf(molecule, step).find((owner) => owner.state.status === 'closed');
  return closed === undefined ? null : `step ${closed.id}, which it belongs to, is closed`;
}

function fanOutProblem(
  molecule: Molecule,
  position: number,
  { group, itemsMax, path }: FanOut,
  items: Json | undefined,
): string | null {
  const step = stepAt(molecule, position);
  if (!Array.isArray(items)) return `there is no list at ${['output', ...path].join('.')}`;
  if (items.length > itemsMax) return `${items.length} items, and at most ${itemsMax} are allowed`;
  return spawnProblem(molecule, position, group, itemPrefixes(step, items.length));
}

function sentences(...parts: readonly string[]): string {
  return parts.filter((part) => part !== '').join(' ');
}

function optional<K extends string, V>(key: K, value: V | undefined): { [key in K]?: V } {
  return (value === undefined ? {} : { [key]: value }) as { [key in K]?: V };
}
