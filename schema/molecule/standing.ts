import {
  type Instance,
  instanceAt,
  instancesAround,
  known,
  type Molecule,
  ownersOf,
  performs,
  type Step,
  stepAt,
} from './molecule';

/** `open`: it can still happen. `met`: closed, and not as failed. `failed`: closed as failed, or it can never start. */
export type Standing = 'open' | 'met' | 'failed';

export interface Standings {
  of(position: number): Standing;
  /** Of these and of what they bring by fan-outs and compensations, but for items that may fail. A loop or a container speaks for what is inside. */
  all(positions: readonly number[]): Standing;
  /** Whether the rules of entry beside needs and gate are met: `waitsFor`, and instances that run one after the other. */
  entry(step: Step): Standing;
  /** Steps that it contains or brings, without compensations; `deep`: also what these do. */
  under(position: number, deep: boolean): number[];
  /** All that came with it or lies in it, down to the last. */
  everythingUnder(position: number): number[];
  /** Nothing of the molecule will ever run again. */
  isSpent(): boolean;
  /** With nothing left to run: whether all ended well, but for what a loop or a container has answered for and items that may fail. */
  outcome(): 'done' | 'failed';
}

/** Reads one state; what it finds out is remembered until the next state. */
export function standingsOf(molecule: Molecule): Standings {
  const { steps } = molecule;
  const remembered = new Map<number, Standing>();
  let brought: Map<number | null, Instance[]> | null = null;
  let contents: Map<number | undefined, number[]> | null = null;
  let failures: boolean | null = null;
  let scanned = 0;
  let scanning = false;

  function of(position: number): Standing {
    const { state } = stepAt(molecule, position);
    if (state.status === 'closed') return state.outcome === 'failed' ? 'failed' : 'met';
    if (state.status !== 'waiting') return 'open';
    // Only a failure keeps anything from starting for good.
    failures ??= steps.some((step) => step.state.status === 'closed' && step.state.outcome === 'failed');
    return failures ? ofWaiting(position) : 'open';
  }

  /** Needs come before what needs them, so that from the front to the back nothing is ever asked deep down. */
  function ofWaiting(position: number): Standing {
    if (!scanning) {
      scanning = true;
      for (; scanned < position; scanned += 1) of(scanned);
      scanning = false;
    }
    const known = remembered.get(position);
    if (known !== undefined) return known;
    const step = stepAt(molecule, position);
    const never = step.needs.some((need) => of(need) === 'failed') || entry(step) === 'failed';
    remembered.set(position, never ? 'failed' : 'open');
    return never ? 'failed' : 'open';
  }

  function all(positions: readonly number[]): Standing {
    let failed = false;
    const left = positions.map((position) => ({ position, mayFail: false }));
    for (let one = left.pop(); one !== undefined; one = left.pop()) {
      const standing = of(one.position);
      if (standing === 'open') return 'open';
      failed ||= standing === 'failed' && !one.mayFail;
      for (const instance of broughtBy(one.position)) {
        if (instance.kind !== 'item' && instance.kind !== 'undo') continue;
        const mayFail = one.mayFail || isForgiven(molecule, instance);
        for (const position of rangeOf(instance)) left.push({ position, mayFail });
      }
    }
    return failed ? 'failed' : 'met';
  }

  function entry({ waitsOn, after }: Step): Standing {
    const first = after === undefined ? 'met' : 'instance' in after ? before(after) : ofRest(after.bond);
    if (first !== 'met' || waitsOn === undefined) return first;
    return waitsOn.mode === 'all' ? all([waitsOn.of]) : any(waitsOn.of);
  }

  function before(after: { readonly instance: number; readonly anyway?: true }): Standing {
    const standing = all(rangeOf(instanceAt(molecule, after.instance)));
    return standing === 'failed' && after.anyway === true ? 'met' : standing;
  }

  function ofRest(bond: number): Standing {
    return all(
      steps.flatMap((step, position) =>
        bondOf(molecule, step) < bond && !isAnsweredFor(molecule, step) ? position : [],
      ),
    );
  }

  function any(position: number): Standing {
    const units = [
      ...contentsOf(position).map((content) => [content]),
      ...broughtBy(position)
        .filter(({ kind }) => kind !== 'undo')
        .map(rangeOf),
    ];
    if (units.length === 0) return of(position);
    const standings = units.map(all);
    if (standings.includes('met')) return 'met';
    return standings.includes('open') || of(position) === 'open' ? 'open' : 'failed';
  }

  function broughtBy(position: number): readonly Instance[] {
    brought ??= Map.groupBy(molecule.instances ?? [], ({ by }) => by);
    return brought.get(position) ?? [];
  }

  function contentsOf(position: number): readonly number[] {
    contents ??= Map.groupBy(steps.keys(), (at) => steps[at]?.within);
    return contents.get(position) ?? [];
  }

  function collect(position: number, deep: boolean, withUndo: boolean): number[] {
    const found = [
      ...contentsOf(position),
      ...broughtBy(position).flatMap((instance) => (withUndo || instance.kind !== 'undo' ? rangeOf(instance) : [])),
    ];
    return deep ? found.flatMap((at) => [at, ...collect(at, true, withUndo)]) : found;
  }

  return {
    of,
    all,
    entry,
    under: (position, deep) => collect(position, deep, false),
    everythingUnder: (position) => [...new Set(collect(position, true, true))],
    isSpent() {
      const waiting: number[] = [];
      for (const [position, { state }] of steps.entries()) {
        if (state.status === 'waiting') waiting.push(position);
        else if (state.status !== 'closed') return false;
      }
      return waiting.every((position) => of(position) !== 'open');
    },
    outcome() {
      const isWell = steps.every((step, position) => of(position) === 'met' || isAnsweredFor(molecule, step));
      return isWell ? 'done' : 'failed';
    },
  };
}

/** Its failure is that of nobody else: it is in a loop or a container, which has the last word, or in an item that may fail. */
function isAnsweredFor(molecule: Molecule, step: Step): boolean {
  return (
    ownersOf(molecule, step).length > 0 ||
    instancesAround(molecule, step).some((instance) => isForgiven(molecule, instance))
  );
}

/** An item of a fan-out that goes on whatever fails. */
function isForgiven(molecule: Molecule, { kind, by }: Instance): boolean {
  return kind === 'item' && performs(molecule, 3) && stepAt(molecule, by).flow?.fanOut?.onItemFailure === 'continue';
}

/** Number of the bond that the step came with, or -1. */
function bondOf(molecule: Molecule, step: Step): number {
  const outermost = instancesAround(molecule, step).at(-1);
  return outermost?.kind === 'bond' ? known(molecule.instances, () => 'no instances').indexOf(outermost) : -1;
}

/** Positions of its steps. */
export function rangeOf({ first, count }: { readonly first: number; readonly count: number }): number[] {
  return Array.from({ length: count }, (_, index) => first + index);
}
