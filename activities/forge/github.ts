/*
 * The connection to GitHub, or to a server of one's own that speaks its API. What is asked over it is said in `github-issues.ts` and in
 * `activities/gate/forge.ts`.
 */

export interface GithubAccess {
  /** `https://api.github.com`, or of a server of one's own. */
  readonly baseUrl: string;
  /** Null: as anybody, with few requests an hour. */
  readonly token: string | null;
  /** After so long a request is given up. */
  readonly timeoutMs: number;
  /** How to ask again after a failure, and after the end of a rate limit; null: whoever asks comes back by himself. */
  readonly patience: {
    /** The longest wait for a rate limit to end, in seconds. */
    readonly limitS: number;
    /** Told of every wait. */
    readonly log: (message: string) => void;
  } | null;
}

const WAITS_MAX = 5;

/** What the town was started with. */
export function githubEnvironment(): { readonly token: string | null; readonly apiUrl: string | null } {
  const { GITHUB_TOKEN, GITHUB_API_URL } = process.env;
  return { token: GITHUB_TOKEN?.trim() || null, apiUrl: GITHUB_API_URL || null };
}

/** Octokit is loaded with the first request: it takes longer than anything else at the start of the service, and few towns ask. */
export async function connectGithub({ baseUrl, token, timeoutMs, patience }: GithubAccess) {
  const { Octokit } = await import('octokit');
  const waits = (kind: string) => (seconds: number, request: object, _octokit: unknown, count: number) => {
    const isWorthIt = patience !== null && seconds <= patience.limitS && count < WAITS_MAX;
    const url = (request as { url?: string }).url ?? baseUrl;
    patience?.log(`${kind} of ${url}: ${isWorthIt ? `waiting ${seconds} s` : 'given up'}`);
    return isWorthIt;
  };
  const quiet = () => undefined;
  return new Octokit({
    baseUrl,
    ...(token === null ? {} : { auth: token }),
    userAgent: 'steeltown',
    request: { fetch: fetchWithin(timeoutMs) },
    throttle: {
      enabled: patience !== null,
      onRateLimit: waits('rate limit'),
      onSecondaryRateLimit: waits('secondary rate limit'),
    },
    // A rate limit is the other plug-in's: this one would ask again after a second.
    retry: { enabled: patience !== null, doNotRetry: [400, 401, 403, 404, 410, 422, 429, 451] },
    // What it would say comes out as an error of ours.
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  });
}

function fetchWithin(timeoutMs: number): typeof fetch {
  return async (url, init) => {
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      return await fetch(url, { ...init, signal });
    } catch (error) {
      throw signal.aborted ? new Error(`no answer within ${timeoutMs / 1_000} s`, { cause: error }) : error;
    }
  };
}

/** Why GitHub did not answer what was asked. */
export type GithubTrouble =
  /** `reset_at` is ISO 8601, null when it was not said. */
  | { readonly kind: 'limit'; readonly ends: string; readonly reset_at: string | null }
  | { readonly kind: 'token'; readonly status: 401 | 403 }
  | { readonly kind: 'absent' }
  | { readonly kind: 'silent'; readonly words: string };

/** The part of Octokit's error that is read. */
interface Failure {
  readonly status: number;
  readonly message: string;
  readonly response?: { readonly headers: Readonly<Record<string, string | number | undefined>> } | undefined;
}

/** Null for what is no failure of a request: a refusal of our own, or a bug. */
export function troubleOf(error: unknown): GithubTrouble | null {
  if (!isFailure(error)) return null;
  const { status, message } = error;
  const headers = error.response?.headers ?? {};
  if (status === 404 || status === 410) return { kind: 'absent' };
  if (status === 429 || String(headers['x-ratelimit-remaining']) === '0' || /rate limit/i.test(message)) {
    const reset = Number(headers['x-ratelimit-reset']);
    const wait = Number(headers['retry-after']);
    const reset_at = Number.isFinite(reset) && reset > 0 ? new Date(reset * 1000).toISOString() : null;
    const ends = reset_at !== null ? `at ${reset_at}` : Number.isFinite(wait) ? `in ${wait} s` : 'later';
    return { kind: 'limit', ends, reset_at };
  }
  if (status === 401 || status === 403) return { kind: 'token', status };
  return { kind: 'silent', words: `${message.slice(0, 200)} (status ${status})` };
}

function isFailure(error: unknown): error is Failure {
  return error instanceof Error && 'status' in error && typeof error.status === 'number';
}
