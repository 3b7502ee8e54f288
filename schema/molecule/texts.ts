import type { GateSpec } from '../formula/flow';
import type { Json } from '../json';
import type { Level } from '../runs';
import { dig } from './output';

/**
 * Texts of steps that are filled in while the molecule runs: `{{name}}` from the variables of a fan-out, `{item}`, `{item.<key>}` and
 * `{index}` (also in double braces) from the item or the round around the step, the innermost first, and `{{steps.<id>.output.<place>}}`
 * from what other steps closed with. What nobody knows stays as it is written.
 */

const PLACE = /\{\{\s*([\w.-]{1,300})\s*\}\}|\{((?:item(?:\.[\w-]{1,100})*)|index)\}/g;

export type OutputOf = (step: string, path: readonly string[]) => Json | undefined;

/** `spell`: how a value is written into the text; absent: as it is. */
export function fillText(
  text: string,
  levels: readonly Level[],
  outputOf: OutputOf = () => undefined,
  spell: (value: string) => string = (value) => value,
): string {
  return text.replaceAll(PLACE, (whole, double: string | undefined, single: string) => {
    const value = valueOf(double ?? single, levels, outputOf);
    if (value === undefined) return whole;
    return spell(typeof value === 'string' ? value : JSON.stringify(value));
  });
}

/** Every string of the gate filled in. */
export function fillGate(gate: GateSpec, levels: readonly Level[]): GateSpec {
  if (levels.length === 0 || gate.kind === 'condition') return gate;
  const filled = Object.entries(gate).map(([key, value]: [string, unknown]) => {
    if (key === 'kind') return [key, value];
    if (typeof value === 'string') return [key, fillText(value, levels)];
    return [key, Array.isArray(value) ? value.map((name) => fillText(String(name), levels)) : value];
  });
  return Object.fromEntries(filled) as GateSpec; // the same keys, and text where text was
}

/** The steps whose outputs the text names. */
export function outputsNamed(text: string): { readonly step: string; readonly path: readonly string[] }[] {
  return [...text.matchAll(PLACE)].flatMap(([, name]) => {
    const place = name === undefined ? null : readOutput(name);
    return place === null ? [] : [place];
  });
}

function valueOf(name: string, levels: readonly Level[], outputOf: OutputOf): Json | undefined {
  const place = readOutput(name);
  if (place !== null) return outputOf(place.step, place.path);
  const [head, ...path] = name.split('.');
  for (const level of levels) {
    if (level.vars !== undefined && Object.hasOwn(level.vars, name)) return level.vars[name];
    if (name === 'index') return level.index;
    if (head === 'item' && level.item !== undefined) return dig(level.item, path);
  }
  return undefined;
}

/** `steps.<step>.output.<place>`; the step's name may hold dots itself. */
function readOutput(name: string): { step: string; path: string[] } | null {
  const [first, ...rest] = name.split('.');
  const at = rest.indexOf('output', 1);
  return first !== 'steps' || at === -1 ? null : { step: rest.slice(0, at).join('.'), path: rest.slice(at + 1) };
}
