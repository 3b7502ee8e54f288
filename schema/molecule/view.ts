import type { Facts } from '../runs';
import type { ConditionView, SeenStep } from './condition';
import { findStep } from './groups';
import {
  type Instance,
  instancesAround,
  lastWord,
  type Molecule,
  performs,
  type Step,
  stepAt,
  type Watch,
} from './molecule';
import { entryWatchOf } from './output';
import { rangeOf, type Standings } from './standing';

/** What the condition of a step sees: names from where the step is, files and variables as they were when its needs were closed, or else
 *  as they were looked up. */
export function viewOf(molecule: Molecule, standings: Standings, step: Step): ConditionView {
  const facts = factsBefore(molecule, standings, step) ?? step.facts ?? null;
  return view(molecule, standings, instancesAround(molecule, step), facts);
}

/** What a loop sees after a round: the names of the round go first, and files and variables are as the round left them. */
export function viewOfRound(molecule: Molecule, standings: Standings, loop: Step, round: Instance): ConditionView {
  const facts = factsOf(molecule, standings, rangeOf(round));
  return view(molecule, standings, [round, ...instancesAround(molecule, loop)], facts);
}

/** Files and variables that must be looked up before the step's conditions can be evaluated; null: none. */
export function factsWanted(molecule: Molecule, standings: Standings, step: Step): Pick<Watch, 'files' | 'env'> | null {
  if (!performs(molecule, 3) || step.facts !== undefined) return null;
  const { files, env } = entryWatchOf(step) ?? NOTHING;
  if (files.length + env.length === 0 || factsBefore(molecule, standings, step) !== null) return null;
  return { files, env };
}

const NOTHING = { files: [], env: [] };

function factsBefore(molecule: Molecule, standings: Standings, { needs, waitsOn }: Step): Facts | null {
  return factsOf(molecule, standings, [...needs, ...(waitsOn === undefined ? [] : [waitsOn.of])]);
}

function factsOf(molecule: Molecule, standings: Standings, before: readonly number[]): Facts | null {
  const worked = [...before, ...before.flatMap((at) => standings.everythingUnder(at))];
  return lastWord(molecule, worked, (closed) => closed.facts);
}

function view(
  molecule: Molecule,
  standings: Standings,
  around: readonly Instance[],
  facts: Facts | null,
): ConditionView {
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
