/** What one compile may cost, in characters written and steps looked at. A real formula costs some ten thousand. */
const WORK_MAX = 20_000_000;

/** Work that is still allowed. Loops, expansions and placeholders multiply each other: a short file could ask for billions of characters. */
export class Work {
  #left: number;

  constructor(max: number = WORK_MAX) {
    this.#left = max;
  }

  get spent(): boolean {
    return this.#left < 0;
  }

  /** Takes what is about to be done. @returns false when it must be left undone. */
  takes(amount: number): boolean {
    this.#left -= amount;
    return !this.spent;
  }

  /** Puts values in place of what the pattern finds; its group is the name. A name without a value stays as it is. */
  fill(text: string, pattern: RegExp, values: ReadonlyMap<string, string>): string {
    if (!text.includes('{') || !this.takes(text.length)) return text;
    return text.replaceAll(pattern, (whole, name: string) => {
      const value = values.get(name);
      return value !== undefined && this.takes(value.length) ? value : whole;
    });
  }
}

/** Stops every multiplication of steps before it happens: nested loops and expansions could make billions. */
export class Budget {
  readonly max: number;
  readonly work: Work;
  #full = false;

  constructor(max: number, work: Work) {
    this.max = max;
    this.work = work;
  }

  get spent(): boolean {
    return this.#full || this.work.spent;
  }

  allows(steps: number): boolean {
    if (steps > this.max) this.#full = true;
    return !this.spent;
  }
}
