import { TownError } from '../../schema/errors';
import type { JsonObject } from '../../schema/json';

const GONE = new Set([
  'ECONNREFUSED', 'ECONNRESET', 'ENOTFOUND', 'ENOENT', 'ETIMEDOUT', 'EPIPE', 'EHOSTUNREACH', 'EAI_AGAIN',
  '57P01', '57P02', '57P03', '53300', '25P03',
]); // prettier-ignore

const GONE_TEXT =
  /Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|driver has already been destroyed|Cannot use a pool after calling end/;

/** Another transaction was in the way: the command can be run again as a whole. */
export function isRetryable(error: unknown): boolean {
  const code = codeOf(error);
  return code === '40P01' || code === '40001';
}

/** Turns what Postgres throws into what callers can branch on; anything else (a bug) passes unchanged. */
export function toTownError(error: unknown): unknown {
  if (error instanceof TownError) return error;
  const code = codeOf(error);
  const message = error instanceof Error ? error.message : String(error);
  if ((code !== null && (GONE.has(code) || code.startsWith('08'))) || GONE_TEXT.test(message)) {
    const why = /terminated|not queryable/.test(message) ? 'the connection was lost' : message || code;
    return new TownError('POSTGRES_UNAVAILABLE', `the ledger's Postgres does not answer: ${why}`, {
      hint: 'see: town status',
      cause: error,
    });
  }
  if (code === '57014' || code === '55P03' || isRetryable(error)) {
    return new TownError('TIMED_OUT', `the ledger was too busy: ${message}`, { hint: 'try again', cause: error });
  }
  if (code === '53100') {
    return new TownError('DISK_FULL', 'the disk of the ledger is full', {
      hint: 'make room, then try again; see: town doctor',
      cause: error,
    });
  }
  if (code === '23505') return new TownError('ALREADY_EXISTS', detailOf(error) ?? message, { cause: error });
  if (code === '23503') return new TownError('NOT_FOUND', detailOf(error) ?? message, { cause: error });
  return error;
}

/**
 * A refusal that says where in a larger request it arose; `place` stands before its message. Anything else passes unchanged, and so does
 * what lost against another transaction: the request is run again as a whole.
 */
export function withPlace(thrown: unknown, place: string | null, details: JsonObject): unknown {
  const error = isRetryable(thrown) ? thrown : toTownError(thrown);
  if (!(error instanceof TownError)) return error;
  return new TownError(error.code, place === null ? error.message : `${place}: ${error.message}`, {
    ...(error.hint === undefined ? {} : { hint: error.hint }),
    details: { ...error.details, ...details },
    cause: error,
  });
}

function codeOf(error: unknown): string | null {
  if (typeof error !== 'object' || error === null) return null;
  if ('code' in error && typeof error.code === 'string') return error.code;
  // Several addresses were tried: the first failure speaks for all.
  if (error instanceof AggregateError) return codeOf(error.errors[0]);
  return null;
}

function detailOf(error: unknown): string | null {
  return typeof error === 'object' && error !== null && 'detail' in error && typeof error.detail === 'string'
    ? error.detail
    : null;
}
