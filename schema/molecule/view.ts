import type { ConditionView, SeenStep } from './condition';
import { findStep } from './groups';
import { type Instance, instancesAround, lastWord, type Molecule, type Step, stepAt } from './molecule';
import { rangeOf, type Standings } from './standing';

/** What the condition of a step sees: names from where the step is, files and variables as they were when its needs were closed. */
export function viewOf(molecule: Molecule, standings: Standings, step: Step): ConditionView {
  const before = [...step.needs, ...(step.waitsOn === undefined ? [] : [step.waitsOn.of])];
  return view(molecule, standings, instancesAround(molecule, step), before);
}

/** What a loop sees after a round: the names of the round go first, and files and variables are as the round left them. */
export function viewOfRound(molecule: Molecule, standings: Standings, loop: Step, round: Instance): ConditionView {
  return view(molecule, standings, [round, ...instancesAround(molecule, loop)], rangeOf(round));
}

function view(
  molecule: Molecule,
  standings: Standings,
  around: readonly Instance[],
  before: readonly number[],
): ConditionView {
  const worked = [...before, ...before.flatMap((at) => standings.everythingUnder(at))];
  const facts = lastWord(molecule, worked, (closed) => closed.facts);
  const seen = (position: number): SeenStep => {
    const { state } = stepAt(molecule, position);
    if (state.status !== 'closed') return { status: 'open', output: null };
    return { status: state.outcome === 'done' ? 'complete' : state.outcome, output: state.output ?? null };
  };
  return {
    step(name) {
      const position = findStep(molecule, around, name);
      return position === null ? null : seen(position);
    },
    under(name, deep) {
      const position = findStep(molecule, around, name);
      return position === null ? [] : standings.under(position, deep).map(seen);
    },
    closed: molecule.steps.filter(({ state }) => state.status === 'closed').length,
    file: (path) => own(facts?.files, path),
    env: (name) => own(facts?.env, name),
  };
}

function own<T>(values: Readonly<Record<string, T>> | undefined, key: string): T | null {
  const found = Object.entries(values ?? {}).find(([name]) => name === key);
  return found === undefined ? null : found[1];
}
