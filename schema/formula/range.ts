import { attempt, Refusal, type Read } from './refusal';

/**
 * The bounds of a loop: `1..7`, `1..2^{disks}`, `{first}..({last} - 1)`. Whole numbers, `{name}` or `{{name}}` for a variable,
 * `+ - * / ^` and parentheses; a division is rounded towards zero.
 */
export interface LoopRange {
  readonly first: number;
  readonly last: number;
}

const LENGTH_MAX = 200;
const NUMBER_MAX = 1_000_000_000;

export function readRange(text: string, values: ReadonlyMap<string, string>): Read<LoopRange> {
  return attempt(() => {
    if (text.length > LENGTH_MAX) throw new Refusal(`it is longer than ${LENGTH_MAX} characters`);
    const dots = text.indexOf('..');
    if (dots === -1 || text.includes('..', dots + 2)) throw new Refusal('it is not of the form first..last');
    const first = new Arithmetic(text.slice(0, dots), values).result();
    const last = new Arithmetic(text.slice(dots + 2), values).result();
    if (last < first) throw new Refusal(`it ends with ${last}, before ${first}`);
    return { first, last };
  });
}

/** The variables a range is made of. */
export function rangeNames(text: string): string[] {
  return [...text.matchAll(/(?<=\{\s*)[A-Za-z_]\w*(?=\s*\})/g)].map(([name]) => name);
}

class Arithmetic {
  readonly #text: string;
  readonly #values: ReadonlyMap<string, string>;
  #at = 0;

  constructor(text: string, values: ReadonlyMap<string, string>) {
    this.#text = text;
    this.#values = values;
  }

  result(): number {
    const value = this.#sum();
    if (this.#at < this.#text.length) throw new Refusal(`"${this.#text.slice(this.#at)}" is not known here`);
    return value;
  }

  #sum(): number {
    let value = this.#product();
    for (let sign = this.#take(/[+-]/y); sign !== null; sign = this.#take(/[+-]/y)) {
      const right = this.#product();
      value = bounded(sign === '+' ? value + right : value - right);
    }
    return value;
  }

  #product(): number {
    let value = this.#power();
    for (let sign = this.#take(/[*/]/y); sign !== null; sign = this.#take(/[*/]/y)) {
      const right = this.#power();
      value = bounded(sign === '*' ? value * right : value / right);
    }
    return value;
  }

  #power(): number {
    const base = this.#atom();
    return this.#take(/\^/y) === null ? base : bounded(base ** this.#power());
  }

  #atom(): number {
    if (this.#take(/-/y) !== null) return -this.#atom();
    if (this.#take(/\(/y) !== null) {
      const value = this.#sum();
      if (this.#take(/\)/y) === null) throw new Refusal('a ")" is missing');
      return value;
    }
    const number = this.#take(/\d{1,10}/y);
    if (number !== null) return bounded(Number(number));
    const name = this.#take(/\{\{?\s*[A-Za-z_]\w*\s*\}?\}/y)?.replaceAll(/[{}\s]/g, '');
    if (name === undefined) throw new Refusal(`a number is missing in "${this.#text.trim()}"`);
    const value = this.#values.get(name) ?? '';
    if (!/^-?\d{1,10}$/.test(value))
      throw new Refusal(`the variable ${name} is "${value.slice(0, 40)}", not a whole number`);
    return bounded(Number(value));
  }

  #take(pattern: RegExp): string | null {
    while (/\s/.test(this.#text.charAt(this.#at))) this.#at += 1;
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? null;
    this.#at += found?.length ?? 0;
    return found;
  }
}

function bounded(value: number): number {
  if (Math.abs(value) <= NUMBER_MAX) return Math.trunc(value);
  throw new Refusal('a number in it is too large, or divided by zero');
}
