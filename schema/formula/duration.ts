const UNITS_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const DURATION_MAX_MS = 30 * 86_400_000;

/** Reads `90s`, `1h30m`, `500ms`, `2d`. @returns milliseconds, or null when it is no duration between 1 ms and 30 days. */
export function parseDurationMs(text: string): number | null {
  if (!/^(?:\d{1,9}(?:ms|s|m|h|d))+$/.test(text)) return null;
  let total = 0;
  for (const [, amount, unit] of text.matchAll(/(\d+)(ms|s|m|h|d)/g))
    total += Number(amount) * (UNITS_MS[unit ?? ''] ?? 0);
  return total >= 1 && total <= DURATION_MAX_MS ? total : null;
}
