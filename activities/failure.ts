import { ApplicationFailure } from '@temporalio/common';
import { type ErrorCode, TownError } from '../schema/errors';

/** Trouble that passes: the activity is tried again. Every other TownError is a refusal. */
const PASSING: ReadonlySet<ErrorCode> = new Set([
  'POSTGRES_UNAVAILABLE',
  'TEMPORAL_UNAVAILABLE',
  'UNAVAILABLE',
  'TIMED_OUT',
  'DISK_FULL',
  'POLICY_UNAVAILABLE',
]);

/** Gives a TownError to Temporal as a failure whose `type` is its code; refusals are not retried. Other errors pass as they are. */
export async function asActivity<T>(body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    if (!(error instanceof TownError)) throw error;
    throw ApplicationFailure.create({
      type: error.code,
      message: error.message,
      nonRetryable: !PASSING.has(error.code),
      cause: error,
    });
  }
}

/** The business code of a refusal that a run answered, or null for anything else. */
export function refusalOf(error: unknown): { readonly code: string; readonly message: string } | null {
  for (let cause = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof ApplicationFailure && cause.type != null) return { code: cause.type, message: cause.message };
  }
  return null;
}
