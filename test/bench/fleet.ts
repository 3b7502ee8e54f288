/* Many molecules over many agents, against what the agents could do if they never waited for the town. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { DrivenTown } from '../demo/driven-town';
import { until } from '../support/until';
import { chainEnd, chainFaults, chainFormula, RIG } from './chain';
import { gapsOf, percentile } from './figures';

export const AGENTS = 10;
const MOLECULES = 50;
const STEPS = 20;
/** As short as a model's quickest step. */
export const THINK_MS = 1_000;

export interface FleetRun {
  readonly seconds: number;
  /** Of one molecule alone, from the beginning of a step to that of the next. */
  readonly stepMs: number;
  /** With every agent at work all the time, each step as long as alone. */
  readonly idealSeconds: number;
  readonly faults: readonly string[];
}

/** One molecule alone for the measure, then fifty at once. */
export async function runFleet(town: DrivenTown): Promise<FleetRun> {
  writeFileSync(
    join(town.root, 'formulas', 'fleet.formula.toml'),
    chainFormula('fleet', Array<string>(STEPS).fill('One of many')),
  );
  const alone = await pour(town);
  const first = await chainEnd(town, alone, 300_000);
  const gaps = gapsOf(begins(town, alone));
  const stepMs = percentile(gaps, 0.5);
  const ids: string[] = [];
  for (let number = 0; number < MOLECULES; number += 1) ids.push(await pour(town));
  const poured = new Set(ids);
  const notes = () => town.effects().filter(({ kind, molecule }) => kind === 'record' && poured.has(molecule));
  await until(
    () => (notes().length >= MOLECULES * STEPS ? true : null),
    'the last step of the fleet',
    1_800_000,
    1_000,
  );
  const molecules = [];
  for (const id of ids) molecules.push(await chainEnd(town, id, 60_000));
  const begun = Math.min(
    ...town.effects().flatMap(({ kind, molecule, at }) => (kind === 'begin' && poured.has(molecule) ? at : [])),
  );
  const ended = Math.max(
    ...town.effects().flatMap(({ kind, molecule, at }) => (kind === 'close' && poured.has(molecule) ? at : [])),
  );
  const faults = [];
  for (const molecule of [first, ...molecules]) faults.push(...(await chainFaults(town, molecule)));
  return {
    seconds: (ended - begun) / 1000,
    stepMs,
    idealSeconds: (MOLECULES * STEPS * stepMs) / AGENTS / 1000,
    faults,
  };
}

async function pour(town: DrivenTown): Promise<string> {
  return (await town.json<{ molecule_id: string }>('molecule', 'pour', 'fleet', '--on', RIG)).molecule_id;
}

function begins(town: DrivenTown, id: string): number[] {
  return town.effects().flatMap(({ kind, molecule, at }) => (kind === 'begin' && molecule === id ? at : []));
}
