const UNITS_MS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const DURATION_MAX_MS = 30 * UNITS_MS.d;

/** Reads `90s`, `1h30m`, `500ms`, `2d`. @returns milliseconds, or null when it is no duration between 1 ms and 30 days. */
export function parseDurationMs(text: string): number | null {
  if (!/^(?:\d{1,9}(?:ms|s|m|h|d))+$/.test(text)) return null;
  let total = 0;
  for (const [part] of text.matchAll(/\d+[a-z]+/g)) {
    const unit = part.replace(/^\d+/, '') as keyof typeof UNITS_MS; // the whole was matched above
    total += Number.parseInt(part, 10) * UNITS_MS[unit];
  }
  return total >= 1 && total <= DURATION_MAX_MS ? total : null;
}

/** As an author would write it: `1h30m`. */
export function durationText(ms: number): string {
  let left = ms;
  const parts = Object.entries(UNITS_MS)
    .toReversed()
    .map(([unit, size]) => {
      const amount = Math.floor(left / size);
      left -= amount * size;
      return amount === 0 ? '' : `${amount}${unit}`;
    });
  return parts.join('');
}

export function notADuration(text: string): { readonly message: string; readonly fix: string } {
  const message = `"${text.slice(0, 60)}" is not a duration`;
  return { message, fix: 'Write one such as 90s, 15m or 1h30m, at most 30 days.' };
}
