import { createHash, randomUUID } from 'node:crypto';
import {
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  writeFileSync,
  type Dirent,
} from 'node:fs';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { TownError } from '../../schema/errors';
import { joinParents } from '../../schema/formula/assemble';
import { compileFormula, type CompiledFormula } from '../../schema/formula/compile';
import type { Formula } from '../../schema/formula/formula';
import { parseOverlay, type Overlay } from '../../schema/formula/overlay';
import { decodeFormula, FORMULA_SIZE_MAX, type ParsedFormula } from '../../schema/formula/parse';
import { ProblemList } from '../../schema/formula/problems';
import type { FormulaProblem, Recipe } from '../../schema/formula/recipe';
import { newFormula, type TemplateName } from '../../schema/formula/templates';
import type { Traits } from '../../schema/formula/weave';

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

export interface CookOptions {
  /** Variables that are not given stay open; see `CompileOptions`. */
  readonly open?: boolean;
  /** Of the task it is for. */
  readonly traits?: Traits;
}

export interface Linted {
  /** Names of the formulas that were looked at. */
  readonly checked: readonly string[];
  readonly problems: readonly FormulaProblem[];
}

export interface Imported {
  readonly file: string;
  /** Null when the file holds no formula that has a name. */
  readonly name: string | null;
  /** `unchanged`: the same text was there already. */
  readonly outcome: 'copied' | 'unchanged' | 'refused';
  /** Why it was refused, or what to know about it. */
  readonly problems: readonly FormulaProblem[];
}

const NAME = /^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$/;
const ENDINGS = ['.formula.toml', '.formula.json', '.toml'];
const NAMED_MAX = 12;
/** Folder of overlays, beside that of the formulas. */
const OVERLAYS = 'formula-overlays';
const IMPORT_FILES_MAX = 1_000;
const IMPORT_DEPTH_MAX = 5;
const TEXT_SIZE_MAX = 200_000;

export interface FormulaShelf {
  /** Every formula that can be named, by name. Of several with one name only the one that is used. */
  list(rigPath: string | null): FormulaEntry[];
  /** The text as it lies in the file. @throws FORMULA_NOT_FOUND, PATH_OUTSIDE_RIG, INPUT_TOO_LARGE */
  read(name: string, rigPath: string | null): { readonly entry: FormulaEntry; readonly text: string };
  /** @throws FORMULA_INVALID with all problems, FORMULA_VARIABLES when only variables are wrong, and what `read` throws */
  cook(name: string, vars: Readonly<Record<string, string>>, rigPath: string | null, options?: CookOptions): Cooked;
  /** Names of the variables a formula and its parents declare. */
  variables(name: string, rigPath: string | null): string[];
  /** Everything that is wrong with the named formulas, or with all. @throws FORMULA_NOT_FOUND, PATH_OUTSIDE_RIG */
  lint(names: readonly string[], rigPath: string | null): Linted;
  /** Puts a new formula into the town's folder. @throws ALREADY_EXISTS, INVALID_INPUT */
  create(name: string, template: TemplateName): FormulaEntry;
  /** Copies the formulas of a folder that compile into the town's folder, each whole or not at all. Repeating it changes nothing.
   *  @throws NOT_FOUND, INPUT_TOO_LARGE */
  importFrom(folder: string): Imported[];
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
        if (!isWithin(path, folder)) {
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

  /** A formula as it lies there, and all that is wrong with it. */
  function open(name: string, rigPath: string | null): ParsedFormula & { readonly path: string } {
    const { path } = find(name, rigPath);
    // What lies among the files of another tool was written for it.
    const mode = path.includes(`${sep}.beads${sep}`) ? ({ mode: 'compatible' } as const) : {};
    return { ...decodeFormula(readBytes(path), path, mode), path };
  }

  function load(name: string, rigPath: string | null): Formula {
    const { formula, problems } = open(name, rigPath);
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

  /** What the rig changes about a formula, or else the town; problems of the file go to the list. */
  function overlayOf(name: string, rigPath: string | null, problems: FormulaProblem[]): Overlay | null {
    const places = [
      ...(rigPath === null ? [] : [join(rigPath, '.town', OVERLAYS), join(rigPath, '.beads', OVERLAYS)]),
      join(dirname(folders.town), OVERLAYS),
    ];
    for (const folder of places) {
      const path = join(folder, `${name}.toml`);
      if (!NAME.test(name) || statSync(path, { throwIfNoEntry: false })?.isFile() !== true) continue;
      if (!isWithin(path, folder)) continue;
      const found = parseOverlay(readBytes(path).toString('utf8'), path);
      if (!problems.some((problem) => problem.file === path)) problems.push(...found.problems);
      return found.overlay;
    }
    return null;
  }

  function compile(
    formula: Formula,
    given: CookOptions & { readonly vars: Readonly<Record<string, string>>; readonly rigPath: string | null },
    lookUp: (name: string) => Formula | null = (name) => loadParent(name, given.rigPath),
  ): CompiledFormula {
    const overlaid: FormulaProblem[] = [];
    const { recipe, problems } = compileFormula(formula, {
      vars: given.vars,
      digestOf: sha256,
      resolve: lookUp,
      overlay: (name) => overlayOf(name, given.rigPath, overlaid),
      readText: (file, path) => readTextBeside(file, path),
      ...(given.open === undefined ? {} : { open: given.open }),
      ...(given.traits === undefined ? {} : { traits: given.traits }),
    });
    const all = [...problems, ...overlaid];
    return { recipe: all.some(({ severity }) => severity === 'error') ? null : recipe, problems: all };
  }

  function lintOne(name: string, rigPath: string | null): readonly FormulaProblem[] {
    const { formula, problems, path } = open(name, rigPath);
    if (formula === null) return problems;
    const compiled = compile(formula, { vars: {}, rigPath, open: true }).problems;
    // That it does nothing alone is no fault of a part: it only matters to whoever pours it.
    const found = [...problems, ...compiled.filter(({ code }) => code !== 'FORMULA_PART')];
    if (formula.name !== name) {
      const message = `the formula calls itself ${formula.name}, but is found by the name of its file: ${name}`;
      const fix = `Write formula = "${name}", or rename the file.`;
      found.push({ code: 'FORMULA_VALUE', severity: 'warning', file: path, line: 1, path: 'formula', message, fix });
    }
    return found;
  }

  return {
    list(rigPath) {
      const found = new Map<string, FormulaEntry>();
      for (const [source, folder] of foldersOf(rigPath)) {
        for (const file of namesIn(folder)) {
          const name = formulaNameOf(file);
          if (NAME.test(name) && !found.has(name)) found.set(name, { name, source, path: join(folder, file) });
        }
      }
      return [...found.values()].toSorted((left, right) => (left.name < right.name ? -1 : 1));
    },
    read(name, rigPath) {
      const entry = find(name, rigPath);
      return { entry, text: readBytes(entry.path).toString('utf8') };
    },
    variables(name, rigPath) {
      const unseen = { problems: new ProblemList(), resolve: (parent: string) => loadParent(parent, rigPath) };
      return Object.keys(joinParents(load(name, rigPath), unseen).vars);
    },
    cook(name, vars, rigPath, options = {}) {
      const { recipe, problems } = compile(load(name, rigPath), { ...options, vars, rigPath });
      if (recipe === null) throw refusal(name, problems);
      return { recipe, warnings: problems };
    },
    lint(names, rigPath) {
      const checked = names.length === 0 ? this.list(rigPath).map(({ name }) => name) : [...names];
      return { checked, problems: unique(checked.flatMap((name) => lintOne(name, rigPath))) };
    },
    create(name, template) {
      checkName(name);
      const path = join(folders.town, `${name}.formula.toml`);
      const taken = ENDINGS.map((ending) => join(folders.town, name + ending)).find((each) => exists(each));
      if (taken !== undefined || !writeOnce(path, newFormula(name, template))) {
        throw new TownError('ALREADY_EXISTS', `there is a formula ${name} in the town already: ${taken ?? path}`, {
          hint: 'take another name',
        });
      }
      return { name, source: 'town', path };
    },
    importFrom(folder) {
      const candidates = filesBelow(folder).map((file) => {
        const bytes = readBytes(file);
        return { file, bytes, ...decodeFormula(bytes, file, { mode: 'compatible' }) };
      });
      return importAll(candidates, { town: folders.town, compile, lookUp: (name) => loadParent(name, null) });
    },
  };
}

interface Candidate extends ParsedFormula {
  readonly file: string;
  readonly bytes: Buffer;
}

/** Formulas of one folder may need each other: one that is refused takes those with it that need it. */
function importAll(
  candidates: readonly Candidate[],
  town: {
    readonly town: string;
    compile(
      formula: Formula,
      given: { vars: Record<string, string>; rigPath: null; open: true },
      lookUp: (name: string) => Formula | null,
    ): CompiledFormula;
    lookUp(name: string): Formula | null;
  },
): Imported[] {
  const refused = new Map<string, readonly FormulaProblem[]>();
  const notes = new Map<string, readonly FormulaProblem[]>();
  const byName = new Map<string, Candidate>();
  for (const candidate of candidates) {
    const { file, formula, problems } = candidate;
    const why = formula === null ? null : whyNotNamed(formula.name, file, byName.get(formula.name)?.file);
    if (formula !== null && why === null) byName.set(formula.name, candidate);
    else refused.set(file, why === null ? problems : [...problems, why]);
  }
  for (let before = -1; before !== refused.size;) {
    before = refused.size;
    const standing = (name: string): Formula | null => {
      const candidate = byName.get(name);
      return candidate === undefined || refused.has(candidate.file) ? town.lookUp(name) : candidate.formula;
    };
    for (const { file, formula, problems } of byName.values()) {
      if (formula === null || refused.has(file)) continue;
      const compiled = town.compile(formula, { vars: {}, rigPath: null, open: true }, standing);
      notes.set(file, unique([...problems, ...compiled.problems]));
      if (compiled.recipe === null) refused.set(file, notes.get(file) ?? []);
    }
  }
  return candidates.map(({ file, bytes, formula }): Imported => {
    const name = formula?.name ?? null;
    const why = refused.get(file);
    if (why !== undefined || name === null) return { file, name, outcome: 'refused', problems: why ?? [] };
    const problems = notes.get(file) ?? [];
    const text = withDialect(bytes.toString('utf8'), file, formula?.dialect ?? null);
    const path = join(town.town, `${name}${file.endsWith('.json') ? '.formula.json' : '.formula.toml'}`);
    const taken = ENDINGS.map((ending) => join(town.town, name + ending)).find((each) => exists(each));
    if (taken !== undefined && readFileSync(taken, 'utf8') === text)
      return { file, name, outcome: 'unchanged', problems };
    if (taken === undefined && writeOnce(path, text)) return { file, name, outcome: 'copied', problems };
    const message = `another formula ${name} is in the town already: ${taken ?? path}`;
    return { file, name, outcome: 'refused', problems: [importProblem(file, message, 'Rename one of the two.')] };
  });
}

function whyNotNamed(name: string, file: string, other: string | undefined): FormulaProblem | null {
  if (!NAME.test(name))
    return importProblem(file, `"${name.slice(0, 60)}" cannot be the name of a file`, 'Rename the formula.');
  if (other === undefined) return null;
  return importProblem(file, `the formula ${name} is also in ${other}`, 'Rename one of the two.');
}

function importProblem(file: string, message: string, fix: string): FormulaProblem {
  return { code: 'FORMULA_CONFLICT', severity: 'error', file, line: 1, path: 'formula', message, fix };
}

/** Says in the file itself that it was written for another tool, so that it is read as leniently where it lies now. */
function withDialect(text: string, file: string, dialect: string | null): string {
  const clean = text.replace(/^\uFEFF/, '');
  if (dialect !== null) return clean;
  return file.endsWith('.json') ? clean.replace('{', '{"dialect": "beads", ') : `dialect = "beads"\n${clean}`;
}

/** Formula files below a folder, in order. @throws NOT_FOUND, INPUT_TOO_LARGE */
function filesBelow(folder: string): string[] {
  const found: string[] = [];
  const visit = (at: string, depth: number): void => {
    for (const entry of entriesOf(at)) {
      const path = join(at, entry.name);
      if (entry.isDirectory() && depth < IMPORT_DEPTH_MAX && entry.name !== 'node_modules') visit(path, depth + 1);
      else if (entry.isFile() && ENDINGS.some((ending) => entry.name.endsWith(ending))) found.push(path);
    }
    if (found.length <= IMPORT_FILES_MAX) return;
    throw new TownError('INPUT_TOO_LARGE', `${folder} has more than ${IMPORT_FILES_MAX} files that could be formulas`, {
      hint: 'name the folder in which the formulas lie',
    });
  };
  if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) {
    throw new TownError('NOT_FOUND', `there is no folder ${folder}`, {
      hint: 'name the folder in which the formulas lie',
    });
  }
  visit(folder, 0);
  return found;
}

function entriesOf(folder: string): Dirent[] {
  try {
    return readdirSync(folder, { withFileTypes: true }).toSorted((left, right) => (left.name < right.name ? -1 : 1));
  } catch {
    return []; // it cannot be read, so nothing in it is a formula of ours
  }
}

/** The text of a file beside a formula, or in a folder beside that of the formula; null when it is elsewhere or no text. */
function readTextBeside(formulaFile: string, path: string): string | null {
  const folder = dirname(formulaFile);
  const target = resolve(folder, path);
  // The folder of a pack or of another tool belongs to its formulas; the root of a town or the home of a user does not.
  const shared = basename(dirname(folder)) === '.beads' ? dirname(folder) : folder;
  const size = statSync(target, { throwIfNoEntry: false });
  if (size?.isFile() !== true || size.size > TEXT_SIZE_MAX || !isWithin(target, shared)) return null;
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(readFileSync(target));
  } catch {
    return null;
  }
}

/** Links lead nowhere else. */
function isWithin(path: string, folder: string): boolean {
  return realpathSync(path).startsWith(realpathSync(folder) + sep);
}

function exists(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/** Writes a file whole or not at all. @returns false when there is one. */
function writeOnce(path: string, text: string): boolean {
  mkdirSync(dirname(path), { recursive: true });
  const draft = join(dirname(path), `.${randomUUID()}.draft`);
  writeFileSync(draft, text, { mode: 0o644 });
  try {
    linkSync(draft, path);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(draft);
  }
}

/** The name that a file is found by; empty when it is no formula. */
function formulaNameOf(file: string): string {
  const ending = ENDINGS.find((each) => file.endsWith(each));
  return ending === undefined ? '' : basename(file, ending);
}

/** The same problem of a file that several formulas use is told once. */
function unique(problems: readonly FormulaProblem[]): FormulaProblem[] {
  return [
    ...new Map(
      problems.map((each) => [`${each.file}:${each.line}:${each.code}:${each.path}:${each.message}`, each]),
    ).values(),
  ];
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
