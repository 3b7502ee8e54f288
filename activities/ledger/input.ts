import { TownError } from '../../schema/errors';
import { isDeeper, JSON_LEVELS_MAX, type JsonObject } from '../../schema/json';
import type { Ask } from '../../schema/ledger';

/** Limits of what callers may write. All throw INVALID_INPUT, or INPUT_TOO_LARGE above a size. */
export const LIMITS = {
  title: 500,
  descriptionBytes: 64 * 1024,
  label: 100,
  metadataBytes: 32 * 1024,
  noteBytes: 32 * 1024,
  name: 200,
  page: 1_000,
} as const;

export function checkAsk(ask: Ask): void {
  line(ask.actor, 'actor', LIMITS.name);
  if (ask.key !== undefined) line(ask.key, 'idempotency key', LIMITS.name);
}

/** Postgres refuses NUL, and half a surrogate pair would not survive UTF-8. */
export function text(value: string, what: string, bytesMax: number): string {
  if (value.includes('\0')) throw new TownError('INVALID_INPUT', `${what} contains a NUL character`);
  if (!value.isWellFormed()) throw new TownError('INVALID_INPUT', `${what} is not valid Unicode (a lone surrogate)`);
  if (Buffer.byteLength(value) > bytesMax) {
    throw new TownError('INPUT_TOO_LARGE', `${what} is larger than ${bytesMax} bytes`, {
      hint: 'keep long text in a file of the repository and name its path here',
    });
  }
  return value;
}

/** 1 to `max` characters, not only blanks. */
export function line(value: string, what: string, max: number): string {
  text(value, what, max * 4);
  if (value.trim() === '') throw new TownError('INVALID_INPUT', `${what} is empty`);
  if (value.length > max) throw new TownError('INVALID_INPUT', `${what} is longer than ${max} characters`);
  return value;
}

export function label(value: string): string {
  line(value, 'label', LIMITS.label);
  if (!/^[^\s,]+$/.test(value)) {
    throw new TownError('INVALID_INPUT', `label ${JSON.stringify(value)} contains a blank or a comma`);
  }
  return value;
}

export function priority(value: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= 4) return value;
  throw new TownError('INVALID_INPUT', `priority ${value} is not one of 0 (most urgent) to 4`);
}

export function minutes(value: number): number {
  if (Number.isInteger(value) && value >= 0 && value <= 10_000_000) return value;
  throw new TownError('INVALID_INPUT', `an estimate of ${value} minutes is not a whole number from 0`);
}

/** ISO 8601: a date, or a time with its zone. */
export function time(value: string, what: string): Date {
  const isTime = /^\d{4}-\d{2}-\d{2}(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2}))?$/i.test(value);
  const at = new Date(value);
  if (isTime && !Number.isNaN(at.getTime())) return at;
  throw new TownError('INVALID_INPUT', `${what} ${JSON.stringify(value.slice(0, 60))} is not a time`, {
    hint: 'write a date or a time with its zone: 2026-05-01 or 2026-05-01T15:00:00Z',
  });
}

const DELAY_MS: Readonly<Record<string, number>> = { m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** A time, or how far away it is from now: `3d`. What was asked for stays the same when it is asked again later. */
export function timeOrDelay(value: string, what: string): Date {
  const [, count, unit = ''] = /^\+?(\d{1,5})([mhdw])$/.exec(value) ?? [];
  return count === undefined ? time(value, what) : new Date(Date.now() + Number(count) * (DELAY_MS[unit] ?? 0));
}

export function limit(value: number | undefined, otherwise: number): number {
  if (value === undefined) return otherwise;
  if (Number.isInteger(value) && value >= 1 && value <= LIMITS.page) return value;
  throw new TownError('INVALID_INPUT', `limit ${value} is not a whole number from 1 to ${LIMITS.page}`);
}

/** The JSON text for a column. */
export function json(value: JsonObject, what: string): string {
  if (isDeeper(value, JSON_LEVELS_MAX)) {
    throw new TownError('INVALID_INPUT', `${what} is nested more than ${JSON_LEVELS_MAX} levels deep`);
  }
  checkStrings(value, what);
  return text(JSON.stringify(value), what, LIMITS.metadataBytes);
}

function checkStrings(value: unknown, what: string): void {
  if (typeof value === 'string') text(value, what, LIMITS.metadataBytes);
  else if (typeof value === 'object' && value !== null) {
    for (const [key, item] of Object.entries(value)) {
      text(key, what, LIMITS.metadataBytes);
      checkStrings(item, what);
    }
  }
}

/** Where a page ended: time and id of its last row. Opaque to callers. */
export interface Cursor {
  readonly at: Date;
  readonly id: string;
}

export function encodeCursor(cursor: Cursor): string {
  return encodeKeys([cursor.at.toISOString(), cursor.id]);
}

export function decodeCursor(cursor: string): Cursor {
  const [time_, id] = decodeKeys(cursor, 2);
  const at = new Date(time_ ?? '');
  if (id === undefined || Number.isNaN(at.getTime())) throw foreignCursor();
  return { at, id };
}

/** Where a page of another order ended: the keys of its last row. */
export function encodeKeys(keys: readonly string[]): string {
  return Buffer.from(JSON.stringify(keys)).toString('base64url');
}

export function decodeKeys(cursor: string, count: number): string[] {
  try {
    const keys: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString());
    const isKeys = Array.isArray(keys) && keys.length === count;
    if (isKeys && keys.every((key): key is string => typeof key === 'string' && !key.includes('\0'))) return keys;
  } catch {
    // falls through to the refusal below
  }
  throw foreignCursor();
}

export function foreignCursor(): TownError {
  return new TownError('INVALID_INPUT', 'the cursor is not one that this list answered', {
    hint: 'repeat the list without a cursor',
  });
}

/** Cuts the one row too many that was asked for, and says where the next page begins. */
export function pageOf<Row, View>(
  rows: readonly Row[],
  size: number,
  cursorOf: (row: Row) => string,
  viewOf: (row: Row) => View,
): { items: View[]; next_cursor: string | null } {
  const shown = rows.slice(0, size);
  const last = shown.at(-1);
  return {
    items: shown.map(viewOf),
    next_cursor: rows.length > size && last !== undefined ? cursorOf(last) : null,
  };
}
