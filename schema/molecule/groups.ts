import { STEPS_MAX } from '../formula/recipe';
import type { Json } from '../json';
import type { LeanStep } from '../ledger';
import type { BondRecipe, Level } from '../runs';
import { groupsFor, known, type Instance, instancesAround, type Molecule, type Step, stepAt } from './molecule';
import { bothWatches, isSmall, watchOf } from './output';
import { fillGate, fillText } from './texts';

/** Steps that are made: those of the recipe, and those that come while the molecule runs. */

/** Ids are names of receipts and of activities. */
const ID_MAX = 900;

/** The steps of a recipe. */
export function recipeSteps(lean: readonly LeanStep[]): Step[] {
  return placed(lean, { offset: 0, prefix: '', heirOf: null, levels: [], find: () => null });
}

/** Why the group cannot be made `count` times for the step now, or null. */
export function spawnProblem(
  molecule: Molecule,
  position: number,
  group: string,
  prefixes: readonly string[],
): string | null {
  const step = stepAt(molecule, position);
  const lean = groupOf(molecule, step, group);
  if (lean === undefined) return `its formula has no group ${group}`;
  if (molecule.steps.length + lean.length * prefixes.length > STEPS_MAX)
    return `${lean.length * prefixes.length} more steps would make more than ${STEPS_MAX}`;
  const ids = new Set(molecule.steps.map(({ id }) => id));
  for (const prefix of prefixes) {
    const bad = lean.find(({ id }) => ids.has(prefix + id) || prefix.length + id.length > ID_MAX);
    if (bad !== undefined) return `the name ${(prefix + bad.id).slice(0, 100)} is taken or too long`;
  }
  return null;
}

export function roundPrefix(step: Step, round: number): string {
  return `${step.id}.iter${round}.`;
}

export function itemPrefixes(step: Step, count: number): string[] {
  return Array.from({ length: count }, (_, index) => `${step.id}.${index}.`);
}

export function undoPrefix(step: Step): string {
  return `${step.id}.undo.`;
}

/** The next round of a loop; its first step goes on where the last round ended. */
export function withRound(molecule: Molecule, position: number, round: number): Molecule {
  const step = stepAt(molecule, position);
  const { group } = known(step.flow?.loop, () => `step ${step.id} is no loop`);
  const last = molecule.instances?.findLast(({ kind, by }) => kind === 'round' && by === position);
  return withInstance(
    molecule,
    { kind: 'round', by: position, prefix: roundPrefix(step, round), group, number: round },
    knownGroup(molecule, step, group),
    last === undefined || last.count === 0 ? step.heirOf : last.first + last.count - 1,
  );
}

/** One instance for each item of a fan-out. */
export function withItems(molecule: Molecule, position: number, items: readonly Json[]): Molecule {
  const step = stepAt(molecule, position);
  const { group, vars, mode, onItemFailure } = known(step.flow?.fanOut, () => `step ${step.id} has no fan-out`);
  const lean = knownGroup(molecule, step, group);
  const already = molecule.instances?.length ?? 0;
  const outside = levelsOf(molecule, instancesAround(molecule, step));
  let after = molecule;
  for (const [number, item] of items.entries()) {
    const levels = [{ index: number, item }, ...outside];
    const filled = Object.entries(vars).map(([name, text]) => [name, fillText(text, levels)] as const);
    const before = mode === 'sequential' && number > 0 ? already + number - 1 : null;
    after = withInstance(
      after,
      {
        kind: 'item',
        by: position,
        prefix: `${step.id}.${number}.`,
        group,
        number,
        ...(isSmall(item) ? { item } : {}),
        vars: Object.fromEntries(filled),
      },
      lean,
      before !== null ? after.steps.length - 1 : number === 0 ? position : null,
      before === null ? undefined : { instance: before, ...(onItemFailure === 'continue' ? { anyway: true } : {}) },
    );
  }
  return after;
}

/** The compensation of a step that failed. */
export function withUndo(molecule: Molecule, position: number, group: string): Molecule {
  const step = stepAt(molecule, position);
  return withInstance(
    molecule,
    { kind: 'undo', by: position, prefix: undoPrefix(step), group },
    knownGroup(molecule, step, group),
    position,
  );
}

/** Another recipe's steps at the end. */
export function withBond(molecule: Molecule, bond: BondRecipe): Molecule {
  const number = molecule.instances?.length ?? 0;
  const sequential = bond.mode === 'sequential';
  return withInstance(
    watched(molecule, bond.steps, bond.groups),
    {
      kind: 'bond',
      by: null,
      prefix: `${bond.ref}.`,
      recipe_digest: bond.recipe_digest,
      ...(bond.groups === undefined ? {} : { groups: bond.groups }),
    },
    bond.steps,
    sequential && molecule.steps.length > 0 ? molecule.steps.length - 1 : null,
    sequential ? { bond: number } : undefined,
  );
}

/** Why these steps cannot be bonded under this name, or null. */
export function bondProblem(molecule: Molecule, { ref, steps }: Pick<BondRecipe, 'ref' | 'steps'>): string | null {
  if (molecule.steps.length + steps.length > STEPS_MAX)
    return `${steps.length} more steps would make more than ${STEPS_MAX}`;
  if (molecule.steps.some(({ id }) => id === ref || id.startsWith(`${ref}.`))) return `the name ${ref} is taken`;
  return null;
}

/** The molecule watching also what these steps look at. */
export function watched<T extends Pick<Molecule, 'watch'>>(
  molecule: T,
  steps: readonly LeanStep[],
  groups: Readonly<Record<string, readonly LeanStep[]>> | undefined,
): T {
  const watch = bothWatches(molecule.watch, watchOf([...steps, ...Object.values(groups ?? {}).flat()]));
  return watch === undefined ? molecule : { ...molecule, watch };
}

/** What the rounds and items around a step give to its texts, from the inside out. */
export function levelsOf(molecule: Molecule, around: readonly Instance[]): Level[] {
  return around.flatMap((instance): Level[] => {
    if (instance.kind === 'round') return [{ index: instance.number }];
    if (instance.kind !== 'item') return [];
    const { by, number, vars, item } = instance;
    if (item !== undefined) return [{ index: number, item, vars }];
    const { id, round = 1, flow } = stepAt(molecule, by);
    const { path } = known(flow?.fanOut, () => `step ${id} has no fan-out`);
    return [{ index: number, itemAt: { step: id, round, path: [...path, String(number)] }, vars }];
  });
}

/** The position of the step that a name means, seen from inside these instances: the nearest one goes first. */
export function findStep(molecule: Molecule, around: readonly Instance[], name: string): number | null {
  for (const prefix of [...around.map((instance) => instance.prefix), '']) {
    const position = molecule.steps.findIndex(({ id }) => id === prefix + name);
    if (position !== -1) return position;
  }
  return null;
}

function groupOf(molecule: Molecule, step: Step, group: string): readonly LeanStep[] | undefined {
  const groups = groupsFor(molecule, step);
  return groups !== undefined && Object.hasOwn(groups, group) ? groups[group] : undefined;
}

function knownGroup(molecule: Molecule, step: Step, group: string): readonly LeanStep[] {
  return known(groupOf(molecule, step, group), () => `the formula of step ${step.id} has no group ${group}`);
}

type Making<T> = T extends unknown ? Omit<T, 'first' | 'count'> : never;

function withInstance(
  molecule: Molecule,
  made: Making<Instance>,
  lean: readonly LeanStep[],
  heirOf: number | null,
  after?: NonNullable<Step['after']>,
): Molecule {
  const first = molecule.steps.length;
  const instance: Instance = { ...made, first, count: lean.length };
  const outside = made.by === null ? [] : instancesAround(molecule, stepAt(molecule, made.by));
  const steps = placed(lean, {
    offset: first,
    prefix: made.prefix,
    instance: molecule.instances?.length ?? 0,
    heirOf,
    ...(after === undefined ? {} : { after }),
    levels: levelsOf(molecule, [instance, ...outside]),
    find: (name) => findStep(molecule, outside, name),
  });
  return { ...molecule, steps: [...molecule.steps, ...steps], instances: [...(molecule.instances ?? []), instance] };
}

interface Place {
  /** Position of the first. */
  readonly offset: number;
  readonly prefix: string;
  readonly instance?: number;
  /** Whose lane the first step without needs inherits. */
  readonly heirOf: number | null;
  readonly after?: NonNullable<Step['after']>;
  readonly levels: readonly Level[];
  /** A step outside that is named. */
  find(name: string): number | null;
}

function placed(lean: readonly LeanStep[], place: Place): Step[] {
  const positions = new Map(lean.map(({ id }, index) => [id, place.offset + index]));
  const containers = new Map(
    lean.flatMap(({ id, flow }, index) =>
      (flow?.contains ?? []).map((content) => [content, [place.offset + index, id] as const]),
    ),
  );
  for (const [content, [, container]] of containers)
    if (!positions.has(content)) unknown(container, 'contains', content);
  const inherited = new Set<number>();
  let left = place.heirOf;
  return lean.map((step): Step => {
    // What a container contains it does not need: it is open while that is worked on.
    const outside = step.needs.filter((need) => step.flow?.contains?.includes(need) !== true);
    const needs = outside.map((need) => positions.get(need) ?? unknown(step.id, 'needs', need));
    let heirOf = needs.find((need) => !inherited.has(need)) ?? (step.parallel ? undefined : needs[0]);
    if (heirOf !== undefined) inherited.add(heirOf);
    else if (needs.length === 0 && left !== null) [heirOf, left] = [left, null];
    const waits = step.flow?.waitsFor;
    const of = waits === undefined ? null : (positions.get(waits.of) ?? place.find(waits.of));
    if (waits !== undefined && of === null) unknown(step.id, 'waits for', waits.of);
    const within = containers.get(step.id)?.[0];
    const isRoot = place.after !== undefined && needs.length === 0;
    return {
      id: place.prefix + step.id,
      title: fillText(step.title, place.levels),
      needs,
      parallel: step.parallel,
      priority: step.priority,
      gate: step.gate === null ? null : fillGate(step.gate, place.levels),
      gateOpen: step.gate === null,
      heirOf: heirOf ?? null,
      state: { status: 'waiting' },
      dispatches: 0,
      losses: 0,
      lostReason: null,
      lane: null,
      ...(step.flow === undefined ? {} : { flow: step.flow }),
      ...(place.instance === undefined ? {} : { instance: place.instance, body: step.id }),
      ...(within === undefined ? {} : { within }),
      ...(waits === undefined || of === null ? {} : { waitsOn: { of, mode: waits.mode } }),
      ...(isRoot ? { after: place.after } : {}),
    };
  });
}

function unknown(step: string, how: string, name: string): never {
  throw new Error(`step ${step} ${how} ${name}, which the recipe does not have`);
}
