import { TownError } from '../../schema/errors';
import type { ForgeComment, ForgeIssue, IssueQuery, IssueSource } from '../../schema/task/issue-source';

export interface GithubOptions {
  /** `https://api.github.com`, or of a server of one's own. */
  readonly baseUrl: string;
  /** Null: as anybody, with few requests an hour. */
  readonly token: string | null;
  /** The longest wait for a rate limit to end, in seconds; 120 when absent. */
  readonly patienceS?: number;
  /** Told of every wait. */
  readonly log?: (message: string) => void;
}

const PER_PAGE = 100;
const ISSUES_MAX = 50_000;
const WAITS_MAX = 5;

/** Issues of GitHub. Octokit is loaded with the first request: it is large, and few towns ask. */
export function createGithubIssues(options: GithubOptions): IssueSource {
  return {
    async listIssues(query) {
      const [owner = '', repo = ''] = repositoryOf(query.repository);
      const { octokit, RequestError } = await connect(options);
      const page = { owner, repo, per_page: PER_PAGE, ...(query.since === null ? {} : { since: query.since }) };
      try {
        const issues: Omit<ForgeIssue, 'comments'>[] = [];
        const pages = octokit.paginate.iterator(octokit.rest.issues.listForRepo, {
          ...page,
          state: query.state,
          sort: 'created',
          direction: 'asc',
          ...(query.labels.length === 0 ? {} : { labels: query.labels.join(',') }),
        });
        for await (const { data } of pages) {
          for (const issue of data) if (issue.pull_request === undefined) issues.push(issueOf(issue));
          if (issues.length > ISSUES_MAX) throw tooMany(query);
        }
        const comments = query.comments && issues.length > 0 ? await commentsOf() : new Map<number, ForgeComment[]>();
        return issues.map((issue) => ({ ...issue, comments: comments.get(issue.number) ?? [] }));
      } catch (error) {
        throw error instanceof RequestError ? refusalOf(error, query, options) : error;
      }

      /** Of the whole repository: a page for a hundred comments instead of one for each issue. */
      async function commentsOf(): Promise<Map<number, ForgeComment[]>> {
        const found = new Map<number, ForgeComment[]>();
        const pages = octokit.paginate.iterator(octokit.rest.issues.listCommentsForRepo, {
          ...page,
          sort: 'created',
          direction: 'asc',
        });
        for await (const { data } of pages) {
          for (const comment of data) {
            const number = Number(comment.issue_url.slice(comment.issue_url.lastIndexOf('/') + 1));
            const list = found.get(number) ?? [];
            list.push({
              id: `github-${comment.id}`,
              author: comment.user?.login ?? 'ghost',
              body: comment.body ?? '',
              created_at: comment.created_at,
            });
            found.set(number, list);
          }
        }
        return found;
      }
    },
  };
}

/** What is read of an issue as GitHub gives it. */
interface GithubIssue {
  readonly number: number;
  readonly title: string;
  readonly body?: string | null;
  readonly state: string;
  readonly state_reason?: string | null;
  readonly labels: readonly (string | { readonly name?: string | null })[];
  readonly user: { readonly login: string } | null;
  readonly assignees?: readonly { readonly login: string }[] | null;
  readonly milestone: { readonly title: string } | null;
  readonly html_url: string;
  readonly created_at: string;
  readonly updated_at: string;
  readonly closed_at: string | null;
}

function issueOf(issue: GithubIssue): Omit<ForgeIssue, 'comments'> {
  return {
    number: issue.number,
    title: issue.title,
    body: issue.body ?? '',
    state: issue.state === 'closed' ? 'closed' : 'open',
    state_reason: issue.state_reason ?? null,
    labels: issue.labels.flatMap((label) => (typeof label === 'string' ? label : (label.name ?? []))),
    author: issue.user?.login ?? 'ghost',
    assignees: (issue.assignees ?? []).map((user) => user.login),
    milestone: issue.milestone?.title ?? null,
    url: issue.html_url,
    created_at: issue.created_at,
    updated_at: issue.updated_at,
    closed_at: issue.closed_at,
  };
}

async function connect({ baseUrl, token, patienceS = 120, log = () => undefined }: GithubOptions) {
  const { Octokit, RequestError } = await import('octokit');
  const waits = (kind: string) => (seconds: number, request: object, _octokit: unknown, count: number) => {
    const isWorthIt = seconds <= patienceS && count < WAITS_MAX;
    log(
      `${kind} of ${(request as { url?: string }).url ?? baseUrl}: ${isWorthIt ? `waiting ${seconds} s` : 'given up'}`,
    );
    return isWorthIt;
  };
  const quiet = () => undefined;
  const octokit = new Octokit({
    baseUrl,
    ...(token === null ? {} : { auth: token }),
    userAgent: 'steeltown',
    throttle: { onRateLimit: waits('rate limit'), onSecondaryRateLimit: waits('secondary rate limit') },
    // A rate limit is the other plug-in's: this one would ask again after a second.
    retry: { doNotRetry: [400, 401, 403, 404, 410, 422, 429, 451] },
    // What it would say comes out as an error of ours.
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
  });
  return { octokit, RequestError };
}

function repositoryOf(repository: string): string[] {
  const parts = repository.split('/');
  if (parts.length === 2 && parts.every((part) => /^[A-Za-z0-9._-]{1,100}$/.test(part))) return parts;
  throw new TownError('INVALID_INPUT', `${JSON.stringify(repository.slice(0, 80))} is not a repository`, {
    hint: 'write <owner>/<repository>',
  });
}

/** The part of Octokit's error that is read. */
interface Failure {
  readonly status: number;
  readonly message: string;
  readonly response?: { readonly headers: Readonly<Record<string, string | number | undefined>> } | undefined;
}

function refusalOf(error: Failure, { repository }: IssueQuery, { token }: GithubOptions): TownError {
  const headers = error.response?.headers ?? {};
  const isLimit =
    error.status === 429 || String(headers['x-ratelimit-remaining']) === '0' || /rate limit/i.test(error.message);
  const credentials = 'the service takes it from GITHUB_TOKEN, which is set where the town is started';
  if (isLimit && error.status !== 404) {
    const reset = Number(headers['x-ratelimit-reset']);
    const wait = Number(headers['retry-after']);
    const at = Number.isFinite(reset) && reset > 0 ? new Date(reset * 1000).toISOString() : null;
    const when = at !== null ? `ends at ${at}` : Number.isFinite(wait) ? `ends in ${wait} s` : 'ends later';
    return new TownError('UNAVAILABLE', `GitHub answers no more requests for now: its rate limit ${when}`, {
      hint: token === null ? `ask again then, or with a token: ${credentials}` : 'ask again then; nothing was imported',
      details: { reset_at: at },
      cause: error,
    });
  }
  if (error.status === 401) {
    return new TownError('UNAUTHORIZED', 'GitHub does not know the token', { hint: credentials, cause: error });
  }
  if (error.status === 403) {
    return new TownError('FORBIDDEN', `GitHub does not let the token read the issues of ${repository}`, {
      hint: 'the token needs to read issues and metadata of that repository',
      cause: error,
    });
  }
  if (error.status === 404 || error.status === 410) {
    return new TownError('NOT_FOUND', `GitHub knows no issues of ${repository}`, {
      hint:
        token === null
          ? `a private repository needs a token: ${credentials}`
          : 'is the name right, and may the token read it?',
      cause: error,
    });
  }
  return new TownError(
    'UNAVAILABLE',
    `GitHub does not answer: ${error.message.slice(0, 200)} (status ${error.status})`,
    {
      hint: 'ask again later; nothing was imported',
      cause: error,
    },
  );
}

function tooMany({ repository }: IssueQuery): TownError {
  return new TownError(
    'INPUT_TOO_LARGE',
    `${repository} has more than ${ISSUES_MAX} such issues; nothing was imported`,
    {
      hint: 'name a label or a state',
    },
  );
}
