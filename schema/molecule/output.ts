import type { Operand, RunCondition } from '../formula/flow';
import type { Json, JsonObject } from '../json';
import type { LeanStep } from '../ledger';
import type { Wanted } from '../runs';
import type { Molecule, Step, Watch } from './molecule';

/**
 * What of the steps' outputs a molecule needs to know. The whole output of a step is in its receipt; the run gets from the agent host only
 * the places that its conditions and fan-outs look at, and keeps of them only what is small. So state and history do not grow with outputs.
 */

/** Longest JSON text of a value that is kept in the state. For conditions a larger one is null; a larger item is read from the receipt. */
export const KEPT_MAX = 500;

export function isSmall(value: Json): boolean {
  return JSON.stringify(value).length <= KEPT_MAX;
}

/** The value at a place, or undefined. Of a list, `length` is a place too. */
export function dig(value: Json | undefined, path: readonly string[]): Json | undefined {
  let found = value;
  for (const key of path) {
    if (typeof found !== 'object' || found === null || !Object.hasOwn(found, key)) return undefined;
    found = (found as JsonObject)[key];
  }
  return found;
}

/** The object with nothing but these places in it; what is not there is left out. */
export function pick(value: JsonObject, paths: readonly (readonly string[])[]): JsonObject {
  const byHead = new Map<string, string[][]>();
  for (const [head, ...rest] of paths) {
    if (head === undefined) return value;
    byHead.set(head, [...(byHead.get(head) ?? []), rest]);
  }
  const entries = [...byHead].flatMap(([head, rest]): [string, Json][] => {
    const inner = dig(value, [head]);
    if (inner === undefined) return [];
    if (rest.some((path) => path.length === 0)) return [[head, inner]];
    return typeof inner === 'object' && inner !== null ? [[head, pick(inner as JsonObject, rest)]] : [];
  });
  return Object.fromEntries(entries);
}

/** What the conditions of these steps look at beside statuses; undefined: nothing. */
export function watchOf(steps: readonly LeanStep[]): Watch | undefined {
  return lookedAt(
    steps.flatMap((step) => [
      ...entryOperands(step),
      ...(step.flow?.loop === undefined ? [] : operandsOf(step.flow.loop.until)),
    ]),
  );
}

/** The same of those conditions alone that must hold before the step begins. */
export function entryWatchOf(step: Pick<LeanStep, 'gate' | 'flow'>): Watch | undefined {
  return lookedAt(entryOperands(step));
}

function entryOperands({ gate, flow }: Pick<LeanStep, 'gate' | 'flow'>): Operand[] {
  return [
    ...(gate?.kind === 'condition' ? operandsOf(gate.when) : []),
    ...(flow?.when === undefined ? [] : operandsOf(flow.when)),
  ];
}

function lookedAt(operands: readonly Operand[]): Watch | undefined {
  return watching({
    outputs: operands.flatMap((operand) =>
      operand.of === 'output' ? [{ step: operand.step, path: operand.path }] : [],
    ),
    files: operands.flatMap((operand) => (operand.of === 'file' ? [operand.path] : [])),
    env: operands.flatMap((operand) => (operand.of === 'env' ? [operand.name] : [])),
  });
}

export function bothWatches(one: Watch | undefined, other: Watch | undefined): Watch | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return watching({
    outputs: [...one.outputs, ...other.outputs],
    files: [...one.files, ...other.files],
    env: [...one.env, ...other.env],
  });
}

/** What must be known when this step ends; undefined: nothing but its outcome. */
export function wantedOf(molecule: Molecule, step: Step): Wanted | undefined {
  const { fanOut } = step.flow ?? {};
  const { watch } = molecule;
  const outputs = [...watchedPlaces(molecule, step), ...(fanOut === undefined ? [] : [fanOut.path])];
  if (outputs.length === 0 && watch === undefined) return undefined;
  const wanted: Wanted = { outputs, files: watch?.files ?? [], env: watch?.env ?? [] };
  return outputs.length + wanted.files.length + wanted.env.length === 0 ? undefined : wanted;
}

/** Of a step's output, what is kept for conditions; undefined: nothing. */
export function keptOutput(molecule: Molecule, step: Step, output: JsonObject): JsonObject | undefined {
  const places = watchedPlaces(molecule, step).filter((path) => {
    const value = dig(output, path);
    return value !== undefined && isSmall(value);
  });
  return places.length === 0 ? undefined : pick(output, places);
}

/** Conditions name a step as its group or its recipe does, or whole. */
function watchedPlaces({ watch }: Molecule, { id, body }: Step): readonly (readonly string[])[] {
  const mine = watch?.outputs.filter(({ step }) => step === '' || step === id || step === body) ?? [];
  return mine.map(({ path }) => path);
}

function operandsOf(condition: RunCondition): Operand[] {
  switch (condition.op) {
    case 'and':
    case 'or':
      return condition.of.flatMap(operandsOf);
    case 'not':
      return operandsOf(condition.of);
    case 'compare':
      return [condition.left];
    default:
      return operandsOf(condition.where);
  }
}

/** Without repetitions; undefined when nothing is left. */
function watching({ outputs, files, env }: Watch): Watch | undefined {
  if (outputs.length + files.length + env.length === 0) return undefined;
  const places = new Map(outputs.map((place) => [JSON.stringify([place.step, place.path]), place]));
  return { outputs: [...places.values()], files: [...new Set(files)], env: [...new Set(env)] };
}
