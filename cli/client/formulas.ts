import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { basename, join, sep } from 'node:path';
import { TownError } from '../../schema/errors';
import { compileFormula } from '../../schema/formula/compile';
import type { Formula } from '../../schema/formula/formula';
import { decodeFormula, FORMULA_SIZE_MAX } from '../../schema/formula/parse';
import type { FormulaProblem, Recipe } from '../../schema/formula/recipe';

/** Where formulas are looked for, and what becomes of them. The first folder that has the name wins. */

export interface FormulaFolders {
  /** `<root>/formulas` */
  readonly town: string;
  /** `~/.steeltown/formulas` */
  readonly user: string;
  /** Shipped with the town; may be missing. */
  readonly builtIn: string;
}
export interface FormulaEntry {
  readonly name: string;
  readonly source: 'town' | 'rig' | 'user' | 'built-in';
  readonly path: string;
}
export interface Cooked {
  readonly recipe: Recipe;
  readonly warnings: readonly FormulaProblem[];
}

const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/;
const ENDINGS = ['.formula.toml', '.formula.json', '.toml'];
const NAMED_MAX = 12;

export interface FormulaShelf {
  /** Every formula that can be named, by name. Of several with one name only the one that is used. */
  list(rigPath: string | null): FormulaEntry[];
  /** The text as it lies in the file. @throws FORMULA_NOT_FOUND, PATH_OUTSIDE_RIG, INPUT_TOO_LARGE */
  read(name: string, rigPath: string | null): { readonly entry: FormulaEntry; readonly text: string };
  /** @throws FORMULA_INVALID with all problems, FORMULA_VARIABLES when only variables are wrong, and what `read` throws */
  cook(name: string, vars: Readonly<Record<string, string>>, rigPath: string | null): Cooked;
  /** Names of the variables a formula declares. */
  variables(name: string, rigPath: string | null): string[];
}

export function createFormulaShelf(folders: FormulaFolders): FormulaShelf {
  const foldersOf = (rigPath: string | null): [FormulaEntry['source'], string][] => [
    ['town', folders.town],
    ...(rigPath === null
      ? []
      : ([join(rigPath, '.town', 'formulas'), join(rigPath, '.beads', 'formulas')].map((path) => ['rig', path]) as [
          'rig',
          string,
        ][])),
    ['user', folders.user],
    ['built-in', folders.builtIn],
  ];

  function find(name: string, rigPath: string | null): FormulaEntry {
    checkName(name);
    for (const [source, folder] of foldersOf(rigPath)) {
      for (const ending of ENDINGS) {
        const path = join(folder, name + ending);
        if (statSync(path, { throwIfNoEntry: false })?.isFile() !== true) continue;
        // A link may lead within its folder, not out of it: rigs are checked out from elsewhere.
        if (!realpathSync(path).startsWith(realpathSync(folder) + sep)) {
          throw new TownError('PATH_OUTSIDE_RIG', `the formula ${name} is a link that leads out of ${folder}`, {
            hint: 'put the formula itself into that folder',
          });
        }
        return { name, source, path };
      }
    }
    throw new TownError('FORMULA_NOT_FOUND', `there is no formula ${name}`, {
      hint: 'see: town formula list',
      details: { looked_in: foldersOf(rigPath).map(([, folder]) => folder) },
    });
  }

  function load(name: string, rigPath: string | null): Formula {
    const { path } = find(name, rigPath);
    const { formula, problems } = decodeFormula(readBytes(path), path);
    if (formula === null) throw refusal(name, problems);
    return formula;
  }

  /** Null lets the compiler say, at its line, that there is no such formula. */
  function loadParent(name: string, rigPath: string | null): Formula | null {
    try {
      return load(name, rigPath);
    } catch (error) {
      if (error instanceof TownError) return null;
      throw error;
    }
  }

  return {
    list(rigPath) {
      const found = new Map<string, FormulaEntry>();
      for (const [source, folder] of foldersOf(rigPath)) {
        for (const file of namesIn(folder)) {
          const ending = ENDINGS.find((each) => file.endsWith(each));
          const name = ending === undefined ? '' : basename(file, ending);
          if (NAME.test(name) && !found.has(name)) found.set(name, { name, source, path: join(folder, file) });
        }
      }
      return [...found.values()].toSorted((left, right) => (left.name < right.name ? -1 : 1));
    },
    read(name, rigPath) {
      const entry = find(name, rigPath);
      return { entry, text: readBytes(entry.path).toString('utf8') };
    },
    variables: (name, rigPath) => Object.keys(load(name, rigPath).vars),
    cook(name, vars, rigPath) {
      const formula = load(name, rigPath);
      const { recipe, problems } = compileFormula(formula, {
        vars,
        digestOf: sha256,
        resolve: (parent) => loadParent(parent, rigPath),
      });
      if (recipe === null) throw refusal(name, problems);
      return { recipe, warnings: problems };
    },
  };
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function checkName(name: string): void {
  if (NAME.test(name)) return;
  const shown = JSON.stringify(name.slice(0, 60));
  if (name.includes('/') || name.includes('\\') || name.startsWith('.')) {
    throw new TownError('PATH_OUTSIDE_RIG', `a formula is named, not given as a path: ${shown}`, {
      hint: 'put the file into the formulas folder of the town and name it; see: town formula list',
    });
  }
  throw new TownError('INVALID_INPUT', `${shown} is not the name of a formula`, {
    hint: 'use letters, digits, dots, dashes and underscores',
  });
}

function readBytes(path: string): Buffer {
  const size = statSync(path).size;
  if (size > FORMULA_SIZE_MAX) {
    throw new TownError('INPUT_TOO_LARGE', `${path} has ${size} bytes; a formula has at most ${FORMULA_SIZE_MAX}`, {
      hint: 'split it into formulas that extend each other',
    });
  }
  return readFileSync(path);
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // it need not exist
  }
}

function refusal(name: string, problems: readonly FormulaProblem[]): TownError {
  const errors = problems.filter(({ severity }) => severity === 'error');
  const lines = errors.slice(0, NAMED_MAX).map(({ file, line, message }) => `\n  ${file}:${line}: ${message}`);
  if (errors.length > NAMED_MAX) lines.push(`\n  and ${errors.length - NAMED_MAX} more`);
  const onlyVariables = errors.every(({ code }) => /VARIABLE|ENUM|PATTERN/.test(code));
  return new TownError(
    onlyVariables ? 'FORMULA_VARIABLES' : 'FORMULA_INVALID',
    `the formula ${name} cannot be used:${lines.join('')}`,
    {
      hint: onlyVariables
        ? 'give each variable as --var name=value'
        : (errors[0]?.fix ?? 'correct the lines named above'),
      details: { problems: errors.slice(0, 100) },
    },
  );
}
