import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { sha256 } from '../support/database';
import { joinParents } from '../../schema/formula/assemble';
import { compileFormula } from '../../schema/formula/compile';
import type { Formula, VariableSpec } from '../../schema/formula/formula';
import { parseFormula } from '../../schema/formula/parse';
import { ProblemList } from '../../schema/formula/problems';
import type { Recipe } from '../../schema/formula/recipe';
import { playFaults, startCrew } from '../support/scripted-agent';
import { startTestTown } from '../support/town';

/* Formulas that other tools were written for run to their end here, all at the same time. */

const folder = join(__dirname, '..', '..', '..', 'shared', 'corpus', 'formulas');
const files = existsSync(folder)
  ? readdirSync(folder, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && /\.(?:toml|json)$/.test(entry.name))
      .map((entry) => join(entry.parentPath, entry.name))
      .toSorted()
  : [];

/** The long ones have a thousand steps. */
const PATIENCE_MS = 240_000;

if (files.length === 0) {
  it('formulas of other projects are not on this machine, so none is run', () => {
    process.stdout.write('formulas of other projects: ../shared/corpus is absent, none was run\n');
  });
} else {
  it(
    'every valid formula of other projects runs to its end',
    async () => {
      const recipes = compiled();
      // Dozens wait for a worker: asking again every second, as other tests do, would keep the server busy with that alone.
      const town = await startTestTown({ workersMax: 8, timings: { askAgainMs: 15_000 } });
      try {
        const crew = await startCrew(town);
        const played = await crew.play(
          [...recipes.values()].map((recipe) => ({ recipe })),
          PATIENCE_MS,
        );
        const ends = played.map(({ formula, molecule }) => `${formula} ${molecule.status}`);
        expect(ends).toEqual([...recipes.values()].map(({ formula }) => `${formula} completed`));
        for (const each of played) expect(await playFaults(town, each)).toEqual([]);
      } finally {
        await town.stop();
      }
    },
    PATIENCE_MS + 60_000,
  );
}

/** By file. Only what needs a formula that is nowhere is left out. */
function compiled(): Map<string, Recipe> {
  const formulas = new Map(
    files.map((file) => [file, parseFormula(readFileSync(file, 'utf8'), file, { mode: 'compatible' }).formula]),
  );
  const recipes = new Map<string, Recipe>();
  const refused: string[] = [];
  for (const [file, formula] of formulas) {
    // Of two with one name, that of the same project.
    const near = [...formulas].toSorted(
      ([a], [b]) => Number(dirname(b) === dirname(file)) - Number(dirname(a) === dirname(file)),
    );
    const resolve = (name: string): Formula | null => near.find(([, other]) => other?.name === name)?.[1] ?? null;
    if (formula === null) throw new Error(`${file} cannot be read`);
    const whole = joinParents(formula, { resolve, problems: new ProblemList() });
    const vars = Object.fromEntries(Object.entries(whole.vars).map(([name, spec]) => [name, valueFor(spec)]));
    const { recipe, problems } = compileFormula(formula, { vars, digestOf: sha256, resolve });
    if (recipe !== null) recipes.set(file, recipe);
    else refused.push(`${basename(file)} ${problems.map(({ code }) => code).join(' ')}`);
  }
  expect(refused.filter((each) => !each.endsWith('.toml FORMULA_UNKNOWN_FORMULA'))).toEqual([]);
  return recipes;
}

function valueFor(spec: VariableSpec): string {
  if (spec.default !== null && (spec.default !== '' || !spec.required)) return spec.default;
  return spec.enum?.[0] ?? (spec.type === 'boolean' ? 'true' : '42');
}
