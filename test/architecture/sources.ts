import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';

export const ROOT = join(__dirname, '..', '..');
export const LAYERS = ['schema', 'workflows', 'activities', 'cli', 'workers'] as const;

export interface Import {
  /** Path of the importing file from the root. */
  readonly from: string;
  /** Path of the imported file from the root, or the package: `pg`, `@temporalio/client`, `node:fs`. */
  readonly to: string;
  readonly isOwn: boolean;
  /** Gone after compilation. */
  readonly typeOnly: boolean;
}

/** Files below a folder of the root, as paths from the root, in order; none when the folder is missing. */
export function filesBelow(folder: string, ending: string): string[] {
  if (!existsSync(join(ROOT, folder))) return [];
  return readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => path.endsWith(ending) && statSync(join(ROOT, path)).isFile())
    .sort();
}

export function read(path: string): string {
  return readFileSync(join(ROOT, path), 'utf8');
}

const STATEMENT =
  /^\s*(?:import|export)\s+(type\s+)?([^'";()]*?)\s*\bfrom\s*'([^']+)'|^\s*import\s*'([^']+)'|\b(?:import|require)\(\s*'([^']+)'\s*\)/gm;

/** The imports of one source: statements, re-exports, `import()` and `require()` of a fixed name. */
export function importsOf(path: string): Import[] {
  return [...withoutComments(read(path)).matchAll(STATEMENT)].map((match) => {
    const [, typeKeyword, names = '', named, bare, dynamic] = match;
    const target = named ?? bare ?? dynamic ?? '';
    const typeOnly = named !== undefined && (typeKeyword !== undefined || allTypes(names));
    if (!target.startsWith('.')) return { from: path, to: packageOf(target), isOwn: false, typeOnly };
    return { from: path, to: resolveOwn(path, target), isOwn: true, typeOnly };
  });
}

function withoutComments(text: string): string {
  return text.replace(/^\s*\/\*[\s\S]*?\*\//gm, '').replace(/^\s*\/\/.*$/gm, '');
}

/** `{ type A, type B }` leaves nothing to run. */
function allTypes(names: string): boolean {
  const list = /^\{([\s\S]*)\}$/.exec(names.trim())?.[1];
  if (list === undefined) return false;
  return list
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '')
    .every((name) => name.startsWith('type '));
}

function packageOf(target: string): string {
  if (target.startsWith('node:')) return target;
  return target
    .split('/')
    .slice(0, target.startsWith('@') ? 2 : 1)
    .join('/');
}

function resolveOwn(from: string, target: string): string {
  const base = relative(ROOT, join(ROOT, dirname(from), target.replace(/\.js$/, '')));
  const found = [`${base}.ts`, join(base, 'index.ts'), base].find((path) => existsSync(join(ROOT, path)));
  if (found === undefined) throw new Error(`${from} imports ${target}, which is not there`);
  return found;
}
