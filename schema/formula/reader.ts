import { isList, isObject, type Json, type JsonObject } from '../json';
import { ProblemList, within, type Place, type ProblemCode } from './problems';

/** Strict: a key we do not know is an error. Compatible: a warning, for files written for other tools. */
export type FormulaMode = 'strict' | 'compatible';

/** What decides which steps there are, and their order. Other keys of the wrong type are left out in compatible mode: where the other
 *  tools do not know them, files have them in any form. */
const BEARING_KEYS = (
  'formula name id title description needs depends_on steps template children body extends vars inputs loop range count until max ' +
  'compose expand map branch gate with target select from join before after advice around pointcuts legs synthesis presets ' +
  'condition priority parallel waits_for on_complete for_each bond drain glob trigger attach'
).split(' ');

/** One table of a formula. Every question notes what is wrong and answers with a harmless value, so that reading goes on. */
export class TableReader {
  readonly place: Place;
  readonly problems: ProblemList;
  readonly mode: FormulaMode;
  readonly #table: JsonObject;

  constructor(table: JsonObject, place: Place, shared: { readonly problems: ProblemList; readonly mode: FormulaMode }) {
    this.#table = table;
    this.place = place;
    this.problems = shared.problems;
    this.mode = shared.mode;
  }

  /** A reader for a table found inside this one by other means than a key. */
  inner(table: JsonObject, place: Place): TableReader {
    return new TableReader(table, place, { problems: this.problems, mode: this.mode });
  }

  /** Some keys of the table, with others added, at the same place. */
  only(keys: readonly string[], more: JsonObject): TableReader {
    const kept = Object.entries(this.#table).filter(([key]) => keys.includes(key));
    return this.inner({ ...Object.fromEntries(kept), ...more }, this.place);
  }

  keys(): string[] {
    return Object.keys(this.#table);
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#table, key);
  }

  at(key: string): Place {
    return within(this.place, key);
  }

  value(key: string): Json | undefined {
    return this.has(key) ? this.#table[key] : undefined;
  }

  /** Notes every key that is not among the known ones. */
  expectKeys(known: readonly string[]): void {
    for (const key of this.keys()) {
      if (known.includes(key)) continue;
      const near = known.find((candidate) => isNear(key, candidate));
      this.problems.add({
        code: 'FORMULA_UNKNOWN_KEY',
        at: this.at(key),
        severity: this.severity(),
        message: `the key ${key} is not known here`,
        fix: near === undefined ? `Use one of: ${known.join(', ')}.` : `Write ${near}.`,
      });
    }
  }

  /** Of what another tool would let pass. */
  severity(): 'error' | 'warning' {
    return this.mode === 'strict' ? 'error' : 'warning';
  }

  text(key: string): string | null {
    const value = this.value(key);
    if (value === undefined || typeof value === 'string') return value ?? null;
    this.#wrongType(key, 'a text', value);
    return null;
  }

  /** A text, or a list of texts that become its paragraphs. */
  prose(key: string): string | null {
    const value = this.value(key);
    return value !== undefined && isList(value) ? this.texts(key).join('\n') : this.text(key);
  }

  /** The first of several keys that are written for one thing. */
  firstText(...keys: string[]): string | null {
    return keys.map((key) => this.scalar(key)).find((text) => text !== null) ?? null;
  }

  /** A text, number or truth value, as text. */
  scalar(key: string): string | null {
    const value = this.value(key);
    if (typeof value === 'number' || typeof value === 'boolean') return String(value);
    return this.text(key);
  }

  flag(key: string): boolean | null {
    const value = this.#lenient(key, /^(?:true|false)$/, (text) => text === 'true');
    if (value === undefined || typeof value === 'boolean') return value ?? null;
    this.#wrongType(key, 'true or false', value);
    return null;
  }

  integer(key: string, range: { readonly min: number; readonly max: number }): number | null {
    const value = this.#lenient(key, /^[Pp]?\d{1,9}(?:\.\d{1,9}){0,2}$/, (text) =>
      Number.parseInt(text.replace(/^[Pp]/, ''), 10),
    );
    if (value === undefined) return null;
    if (typeof value !== 'number' || !Number.isInteger(value)) this.#wrongType(key, 'a whole number', value);
    else if (value >= range.min && value <= range.max) return value;
    else
      this.badValue(key, {
        message: `${value} is out of range`,
        fix: `Use a whole number from ${range.min} to ${range.max}.`,
      });
    return null;
  }

  choice<T extends string>(key: string, options: readonly T[]): T | null {
    const value = this.text(key);
    const found = options.find((option) => option === value);
    if (value !== null && found === undefined) {
      this.oddValue(key, {
        message: `"${value}" is not one of the choices`,
        fix: `Use one of: ${options.join(', ')}.`,
      });
    }
    return found ?? null;
  }

  /** A list of texts; one text alone stands for a list of one. */
  texts(key: string): string[] {
    const value = this.value(key);
    if (value === undefined) return [];
    if (typeof value === 'string') return [value];
    if (isList(value) && value.every((entry) => typeof entry === 'string')) return [...value];
    this.#wrongType(key, 'a list of texts', value);
    return [];
  }

  object(key: string): JsonObject {
    const value = this.value(key);
    if (value === undefined) return {};
    if (isObject(value)) return value;
    this.#wrongType(key, 'a table', value);
    return {};
  }

  /** A table whose values are texts. */
  textTable(key: string): Record<string, string> {
    const table = this.table(key);
    return Object.fromEntries(table === null ? [] : table.keys().map((name) => [name, table.scalar(name) ?? '']));
  }

  table(key: string): TableReader | null {
    const value = this.value(key);
    if (value === undefined) return null;
    return this.inner(this.object(key), this.at(key));
  }

  tables(key: string): TableReader[] {
    const value = this.value(key);
    if (value === undefined) return [];
    if (!isList(value) || !value.every(isObject)) {
      this.#wrongType(key, 'a list of tables', value);
      return [];
    }
    return value.map((entry, index) => this.inner(entry, within(this.place, key, index)));
  }

  badValue(key: string, finding: { readonly message: string; readonly fix: string }): void {
    this.problems.add({ code: 'FORMULA_VALUE', at: this.at(key), ...finding });
  }

  /** An error in strict mode; in compatible mode a warning, after which the caller goes on with something harmless. */
  oddValue(
    key: string,
    finding: { readonly message: string; readonly fix: string; readonly code?: ProblemCode },
  ): void {
    this.problems.add({ code: 'FORMULA_VALUE', at: this.at(key), severity: this.severity(), ...finding });
  }

  /** In compatible mode a text that can only mean one thing is taken for it, with a warning. */
  #lenient(key: string, form: RegExp, read: (text: string) => Json): Json | undefined {
    const value = this.value(key);
    if (this.mode === 'strict' || typeof value !== 'string' || !form.test(value)) return value;
    this.oddValue(key, {
      message: `${key} is written as the text "${value}"`,
      fix: `Write ${JSON.stringify(read(value))} without quotes.`,
    });
    return read(value);
  }

  #wrongType(key: string, wanted: string, value: Json): void {
    const fix = `Write ${wanted} for ${key}.`;
    this.problems.add({
      code: 'FORMULA_TYPE',
      at: this.at(key),
      severity: BEARING_KEYS.includes(key) ? 'error' : this.severity(),
      message: `${key} must be ${wanted}, not ${nameOfType(value)}`,
      fix,
    });
  }
}

function nameOfType(value: Json): string {
  if (isList(value)) return 'a list';
  if (typeof value === 'object') return value === null ? 'null' : 'a table';
  return typeof value === 'string' ? 'a text' : `the ${typeof value} ${String(value)}`;
}

/** Would one slip of the fingers make the one of the other: a letter too many, too few, wrong, or swapped with the next. */
function isNear(typed: string, meant: string): boolean {
  let head = 0;
  while (head < typed.length && typed[head] === meant[head]) head += 1;
  const a = typed.slice(head);
  const b = meant.slice(head);
  return (
    a.slice(1) === b ||
    a === b.slice(1) ||
    a.slice(1) === b.slice(1) ||
    (a[0] === b[1] && a[1] === b[0] && a.slice(2) === b.slice(2))
  );
}
