import type { FormulaProblem } from './recipe';

/** Every code a formula can be refused or warned with; each has a row in docs/formula.md. */
export const PROBLEM_CODES = [
  'FORMULA_TOO_BIG',
  'FORMULA_NOT_TEXT',
  'FORMULA_SYNTAX',
  'FORMULA_FORBIDDEN_KEY',
  'FORMULA_UNKNOWN_KEY',
  'FORMULA_TYPE',
  'FORMULA_VALUE',
  'FORMULA_MISSING_NAME',
  'FORMULA_MISSING_ID',
  'FORMULA_NO_STEPS',
  'FORMULA_DUPLICATE_STEP',
  'FORMULA_UNKNOWN_NEED',
  'FORMULA_CYCLE',
  'FORMULA_UNKNOWN_STEP',
  'FORMULA_UNKNOWN_FORMULA',
  'FORMULA_UNKNOWN_FILE',
  'FORMULA_EXTENDS_CYCLE',
  'FORMULA_CONDITION',
  'FORMULA_GATE',
  'FORMULA_WAITS_FOR',
  'FORMULA_CONFLICT',
  'FORMULA_PART',
  'FORMULA_REQUIRED_DEFAULT',
  'FORMULA_MISSING_VARIABLE',
  'FORMULA_UNKNOWN_VARIABLE',
  'FORMULA_ENUM',
  'FORMULA_PATTERN',
  'FORMULA_VARIABLE_TYPE',
] as const;
export type ProblemCode = (typeof PROBLEM_CODES)[number];

/** The text a part of a formula came from; parts of one compiled formula may come from several. */
export interface Source {
  readonly file: string;
  /** Line (from 1) of a path such as `steps[2].needs`, or of the nearest enclosing part that the text has. */
  lineOf(path: string): number;
}

/** Where something stands: a path of keys in a source. */
export interface Place {
  readonly source: Source;
  readonly path: string;
}

export interface Finding {
  readonly code: ProblemCode;
  readonly at: Place;
  readonly message: string;
  readonly fix: string;
  /** Default: error. */
  readonly severity?: 'error' | 'warning';
}

/** What is beyond that is not told: no author reads it. */
const PROBLEMS_MAX = 1_000;

/** Collects what is wrong, so that an author sees all of it at once. */
export class ProblemList {
  readonly all: FormulaProblem[] = [];
  #failed = false;

  add({ code, at, message, fix, severity = 'error' }: Finding): void {
    const isFirstError = severity === 'error' && !this.#failed;
    if (this.all.length >= PROBLEMS_MAX && !isFirstError) return;
    this.#failed ||= isFirstError;
    const { source, path } = at;
    this.all.push({ code, severity, file: source.file, line: source.lineOf(path), path, message, fix });
  }

  hasErrors(): boolean {
    return this.#failed;
  }
}

/** The choices of an author, for a fix. */
export function choices(names: Iterable<string>): string {
  const all = [...names];
  const shown = all.slice(0, CHOICES_MAX).join(', ');
  if (all.length === 0) return 'none';
  return all.length > CHOICES_MAX ? `${shown}, …` : shown;
}
const CHOICES_MAX = 20;

/** The place of a part of `place`: `within(step, 'needs')`, `within(step, 'needs', 0)`. */
export function within(place: Place, key: string, index?: number): Place {
  const path = place.path === '' ? key : `${place.path}.${key}`;
  return { source: place.source, path: index === undefined ? path : `${path}[${index}]` };
}
