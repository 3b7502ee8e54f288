/** Every failure a caller can branch on. The code is stable; each has a section in docs/errors.md. */
export const ERROR_CODES = {
  // usage: exit code 2
  USAGE: { exit: 2, http: 400 },
  INVALID_INPUT: { exit: 2, http: 400 },
  INPUT_TOO_LARGE: { exit: 2, http: 413 },
  FORMULA_INVALID: { exit: 2, http: 422 },
  FORMULA_VARIABLES: { exit: 2, http: 422 },
  CONFIG_INVALID: { exit: 2, http: 422 },
  PATH_OUTSIDE_RIG: { exit: 2, http: 400 },
  // not found: exit code 3
  NOT_FOUND: { exit: 3, http: 404 },
  TOWN_NOT_FOUND: { exit: 3, http: 404 },
  FORMULA_NOT_FOUND: { exit: 3, http: 404 },
  // conflict or stale session: exit code 4
  CONFLICT: { exit: 4, http: 409 },
  ALREADY_EXISTS: { exit: 4, http: 409 },
  WRONG_STATE: { exit: 4, http: 409 },
  DEPENDENCY_CYCLE: { exit: 4, http: 409 },
  OPEN_BLOCKERS: { exit: 4, http: 409 },
  ALREADY_CLAIMED: { exit: 4, http: 409 },
  STALE_SESSION: { exit: 4, http: 409 },
  NOT_HOLDER: { exit: 4, http: 409 },
  HOOK_HAS_WORK: { exit: 4, http: 409 },
  IDEMPOTENCY_MISMATCH: { exit: 4, http: 409 },
  CHECKS_FAILED: { exit: 1, http: 422 },
  AUDIT_BROKEN: { exit: 1, http: 500 },
  PROJECTION_DIFFERS: { exit: 1, http: 500 },
  // denied: exit code 5
  POLICY_DENIED: { exit: 5, http: 403 },
  FORBIDDEN: { exit: 5, http: 403 },
  UNAUTHORIZED: { exit: 5, http: 401 },
  BUDGET_EXHAUSTED: { exit: 6, http: 402 },
  // unavailable: exit code 7
  UNAVAILABLE: { exit: 7, http: 503 },
  TOWN_DOWN: { exit: 7, http: 503 },
  POSTGRES_UNAVAILABLE: { exit: 7, http: 503 },
  TEMPORAL_UNAVAILABLE: { exit: 7, http: 503 },
  POLICY_UNAVAILABLE: { exit: 7, http: 503 },
  DISK_FULL: { exit: 7, http: 507 },
  TIMED_OUT: { exit: 7, http: 504 },
  // anything else: exit code 1
  GIT_FAILED: { exit: 1, http: 500 },
  INTERNAL: { exit: 1, http: 500 },
  // why an attempt at a step ended without a close; read by the molecule, never by people
  SESSION_LOST: { exit: 1, http: 500 },
  ENDED_EARLY: { exit: 1, http: 500 },
  HOST_RESTARTED: { exit: 1, http: 500 },
  HOST_DETACHED: { exit: 1, http: 500 },
  SESSION_UNSTARTABLE: { exit: 1, http: 500 },
  STEP_RESOLVED: { exit: 1, http: 500 },
} as const satisfies Record<string, { readonly exit: number; readonly http: number }>;

export type ErrorCode = keyof typeof ERROR_CODES;

export interface ErrorBody {
  readonly code: ErrorCode;
  /** What happened and why, in one sentence that names the thing. */
  readonly message: string;
  /** The safe next step; never a destructive command. */
  readonly hint?: string;
  /** Further facts for machines: ids, lists of problems. Plain JSON. */
  readonly details?: Readonly<Record<string, unknown>>;
}

/** The one error type of business refusals. A bug throws a plain `Error` instead and is not caught. */
export class TownError extends Error implements ErrorBody {
  override readonly name = 'TownError';
  readonly code: ErrorCode;
  readonly hint?: string;
  readonly details?: Readonly<Record<string, unknown>>;

  constructor(
    code: ErrorCode,
    message: string,
    extra: {
      readonly hint?: string;
      readonly details?: Readonly<Record<string, unknown>>;
      readonly cause?: unknown;
    } = {},
  ) {
    super(message, extra.cause === undefined ? undefined : { cause: extra.cause });
    this.code = code;
    if (extra.hint !== undefined) this.hint = extra.hint;
    if (extra.details !== undefined) this.details = extra.details;
  }

  toBody(): ErrorBody {
    return {
      code: this.code,
      message: this.message,
      ...(this.hint === undefined ? {} : { hint: this.hint }),
      ...(this.details === undefined ? {} : { details: this.details }),
    };
  }
}

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(ERROR_CODES, code);
}

export function exitCodeOf(code: ErrorCode): number {
  return ERROR_CODES[code].exit;
}

/** Ends a switch over a union: a new variant turns red here at compile time. */
export function unreachable(value: never, where: string): never {
  throw new Error(`${where}: unexpected ${JSON.stringify(value)}`);
}
