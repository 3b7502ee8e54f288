/** Value below which the share `of` (0 to 1) of the values lies. NaN without values. */
export function percentile(values: readonly number[], of: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(of * sorted.length) - 1)] ?? Number.NaN;
}

/** p50, p95 and the greatest, with one digit. */
export function spread(values: readonly number[]): string[] {
  return [percentile(values, 0.5), percentile(values, 0.95), Math.max(...values)].map((value) => value.toFixed(1));
}

export function printTable(title: string, head: readonly string[], rows: readonly (readonly string[])[]): void {
  const widths = head.map((word, column) => Math.max(word.length, ...rows.map((row) => (row[column] ?? '').length)));
  const line = (cells: readonly string[]) => cells.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join('  ');
  process.stdout.write(`\n${title}\n${[head, ...rows].map((row) => `  ${line(row).trimEnd()}`).join('\n')}\n`);
}

export function say(text: string): void {
  process.stderr.write(`${new Date().toISOString().slice(11, 19)}  ${text}\n`);
}

export async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

/** From each moment to the next. */
export function gapsOf(times: readonly number[]): number[] {
  return times.slice(1).map((at, index) => at - (times[index] ?? at));
}

/** Each client takes the next item as soon as it is done with one. */
export async function shareOut<Client, Item>(
  clients: readonly Client[],
  items: readonly Item[],
  work: (client: Client, item: Item) => Promise<unknown>,
): Promise<void> {
  const left = items.values();
  await Promise.all(
    clients.map(async (client) => {
      for (const item of left) await work(client, item);
    }),
  );
}
