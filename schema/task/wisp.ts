import { TownError } from '../errors';
import { quote } from '../text';

/*
 * Wisps: short-lived tasks. They are never part of the durable work, its trail or its copies; each goes away by itself when its time to
 * live is over, unless it was promoted, squashed or burned before.
 */

const HOUR_MS = 3_600_000;

/** How long a wisp of a type lives, in ms, when it is not said. */
const TTL_MS = {
  heartbeat: 6 * HOUR_MS,
  ping: 6 * HOUR_MS,
  patrol: 24 * HOUR_MS,
  gc_report: 24 * HOUR_MS,
  recovery: 168 * HOUR_MS,
  error: 168 * HOUR_MS,
  escalation: 168 * HOUR_MS,
} as const;
const TTL_DEFAULT_MS = 24 * HOUR_MS;
export const TTL_MIN_MS = 1_000;
export const TTL_MAX_MS = 90 * 24 * HOUR_MS;

export type WispType = keyof typeof TTL_MS;
export const WISP_TYPES = Object.keys(TTL_MS) as readonly WispType[];

export function isWispType(word: string): word is WispType {
  return Object.hasOwn(TTL_MS, word);
}

/** @throws INVALID_INPUT for a type that is none, or a time out of bounds */
export function ttlOf(type: string | null, given: number | null): number {
  if (type !== null && !isWispType(type)) {
    throw new TownError('INVALID_INPUT', `${quote(type)} is not a type of wisp`, {
      hint: `one of ${WISP_TYPES.join(', ')}`,
    });
  }
  if (given === null) return type === null ? TTL_DEFAULT_MS : TTL_MS[type];
  if (Number.isInteger(given) && given >= TTL_MIN_MS && given <= TTL_MAX_MS) return given;
  throw new TownError('INVALID_INPUT', `a wisp lives from 1 second to 90 days, not ${given} ms`);
}
