/** Every duration that decides behaviour, in milliseconds, in one value: runs carry it in their input, so tests shorten it. */
export interface Timings {
  readonly heartbeatTimeoutMs: number;
  readonly heartbeatThrottleMs: number;
  readonly stepTimeoutMs: number;
  /** A molecule without a due step gives its grant back after this long. */
  readonly graceMs: number;
  /** Wait before the next attempt after a counted loss: first, then doubled up to the maximum. */
  readonly backoffMs: number;
  readonly backoffMaxMs: number;
  /** Counted losses (SESSION_LOST, ENDED_EARLY) after which a step is stuck. */
  readonly attemptsMax: number;
  /** How often a run asks again for what it did not get (grant, slot): first, then in a queue doubled up to the maximum. */
  readonly askAgainMs: number;
  readonly askAgainMaxMs: number;
  /** An entity continues as new at the latest after this long. */
  readonly rolloverMs: number;
  readonly leaseMs: number;
  /** How often a closed gate is looked at when nobody opens it: first, then doubled up to the maximum. */
  readonly gatePollMs: number;
  readonly gatePollMaxMs: number;
}

export const DEFAULT_TIMINGS: Timings = {
  heartbeatTimeoutMs: 5_000,
  heartbeatThrottleMs: 2_000,
  stepTimeoutMs: 30 * 24 * 3_600_000,
  graceMs: 2_000,
  backoffMs: 100,
  backoffMaxMs: 60_000,
  attemptsMax: 5,
  askAgainMs: 15_000,
  askAgainMaxMs: 300_000,
  rolloverMs: 24 * 3_600_000,
  leaseMs: 15_000,
  gatePollMs: 60_000,
  gatePollMaxMs: 600_000,
};
