import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * The part of GitHub's REST API that issues are read with, on loopback. Like the real one it: pages by `page` and `per_page` (100 at
 * most) and links to the next page in `Link`; answers pull requests among issues, with a key `pull_request`; filters by `state`,
 * `labels` (all of them) and `since` (by `updated_at`); answers 404 for a repository that the token may not see and 401 for a token it does not know;
 * counts requests in `x-ratelimit-*`, and above the limit answers 403 with `x-ratelimit-remaining: 0` and the second of the reset, or
 * 429 with `retry-after` for the secondary limit. Unlike it: only these two routes, no conditional requests, no GraphQL.
 */
export interface FakeGithub {
  readonly url: string;
  readonly issues: FakeIssue[];
  readonly comments: {
    readonly id: number;
    readonly number: number;
    readonly login: string;
    readonly body: string;
    readonly at: string;
  }[];
  /** Paths asked for, in order. */
  readonly requests: string[];
  /** The next so many requests are above a limit that ends in `seconds`. */
  limit(kind: 'primary' | 'secondary', requests: number, seconds: number): void;
  close(): Promise<void>;
}
export interface FakeIssue {
  readonly number: number;
  readonly title: string;
  readonly body?: string | null;
  readonly state?: 'open' | 'closed';
  readonly state_reason?: string;
  readonly labels?: readonly string[];
  readonly at: string;
  readonly isPull?: true;
}

export async function startFakeGithub(token: string): Promise<FakeGithub> {
  const issues: FakeIssue[] = [];
  const comments: FakeGithub['comments'] = [];
  const requests: string[] = [];
  let limited = { kind: 'primary', left: 0, seconds: 0 };
  const server: Server = createServer((request, response) => {
    const asked = new URL(request.url ?? '/', 'http://github.test');
    requests.push(`${asked.pathname}${asked.search}`);
    const given = request.headers.authorization;
    if (limited.left > 0) {
      limited.left -= 1;
      return refuse(response, limited.kind, limited.seconds);
    }
    if (given !== undefined && given !== `token ${token}`) return send(response, 401, { message: 'Bad credentials' });
    const route = /^\/repos\/acme\/web\/issues(\/comments)?$/.exec(asked.pathname);
    if (route === null || given === undefined) return send(response, 404, { message: 'Not Found' });
    const found = route[1] === undefined ? issuesOf(asked.searchParams) : commentsOf(asked.searchParams);
    const size = Math.min(100, Number(asked.searchParams.get('per_page') ?? 30));
    const page = Number(asked.searchParams.get('page') ?? 1);
    const next = new URL(asked.href.replace('http://github.test', url));
    next.searchParams.set('page', String(page + 1));
    send(
      response,
      200,
      found.slice((page - 1) * size, page * size),
      page * size < found.length ? { link: `<${next.href}>; rel="next"` } : {},
    );
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;

  function issuesOf(query: URLSearchParams): object[] {
    const state = query.get('state') ?? 'open';
    const labels = (query.get('labels') ?? '').split(',').filter(Boolean);
    return issues
      .filter((issue) => state === 'all' || (issue.state ?? 'open') === state)
      .filter((issue) => labels.every((label) => issue.labels?.includes(label)))
      .filter((issue) => issue.at >= (query.get('since') ?? ''))
      .map((issue) => ({
        number: issue.number,
        title: issue.title,
        body: issue.body ?? null,
        state: issue.state ?? 'open',
        state_reason: issue.state_reason ?? null,
        labels: (issue.labels ?? []).map((name) => ({ name })),
        user: { login: 'kim' },
        assignees: [],
        milestone: null,
        html_url: `https://github.test/acme/web/issues/${issue.number}`,
        created_at: '2026-04-01T00:00:00Z',
        updated_at: issue.at,
        closed_at: issue.state === 'closed' ? issue.at : null,
        ...(issue.isPull === undefined ? {} : { pull_request: {} }),
      }));
  }

  function commentsOf(query: URLSearchParams): object[] {
    return comments
      .filter((comment) => comment.at >= (query.get('since') ?? ''))
      .map(({ id, number, login, body, at }) => ({
        id,
        body,
        user: { login },
        created_at: at,
        updated_at: at,
        issue_url: `${url}/repos/acme/web/issues/${number}`,
      }));
  }

  return {
    url,
    issues,
    comments,
    requests,
    limit(kind, count, seconds) {
      limited = { kind, left: count, seconds };
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function refuse(response: ServerResponse, kind: string, seconds: number): void {
  if (kind === 'secondary') {
    return send(
      response,
      429,
      { message: 'You have exceeded a secondary rate limit.' },
      { 'retry-after': String(seconds) },
    );
  }
  const reset = Math.floor(Date.now() / 1000) + seconds;
  send(
    response,
    403,
    { message: 'API rate limit exceeded' },
    { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': String(reset) },
  );
}

function send(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Readonly<Record<string, string>> = {},
): void {
  response.writeHead(status, { 'content-type': 'application/json', date: new Date().toUTCString(), ...headers });
  response.end(JSON.stringify(body));
}
