import { TownError, unreachable } from '../../schema/errors';
import type { ForgeComment, ForgeIssue, IssueQuery, IssueSource } from '../../schema/task/issue-source';
import { quote } from '../../schema/text';
import { connectGithub, troubleOf, type GithubTrouble } from './github';

export interface GithubOptions {
  /** `https://api.github.com`, or of a server of one's own. */
  readonly baseUrl: string;
  /** For whoever asks without a token of his own. Null: as anybody, with few requests an hour. */
  readonly token: string | null;
  /** The longest wait for a rate limit to end, in seconds; 120 when absent. */
  readonly patienceS?: number;
  /** Told of every wait. */
  readonly log?: (message: string) => void;
}

const PER_PAGE = 100;
const ISSUES_MAX = 50_000;
const REQUEST_MS = 30_000;

/** Issues of GitHub. */
export function createGithubIssues({
  baseUrl,
  token,
  patienceS = 120,
  log = () => undefined,
}: GithubOptions): IssueSource {
  return {
    async listIssues(query, given) {
      const [owner = '', repo = ''] = repositoryOf(query.repository);
      const octokit = await connectGithub({
        baseUrl,
        token: given ?? token,
        timeoutMs: REQUEST_MS,
        patience: { limitS: patienceS, log },
      });
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
        const trouble = troubleOf(error);
        throw trouble === null
          ? error
          : refusalOf(
              trouble,
              error,
              query,
              given !== null ? 'the token of this command' : token === null ? null : 'the token of the service',
            );
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

function repositoryOf(repository: string): string[] {
  const parts = repository.split('/');
  if (parts.length === 2 && parts.every((part) => /^(?!\.+$)[A-Za-z0-9._-]{1,100}$/.test(part))) return parts;
  throw new TownError('INVALID_INPUT', `${quote(repository, 80)} is not a repository`, {
    hint: 'write <owner>/<repository>',
  });
}

function refusalOf(
  trouble: GithubTrouble,
  cause: unknown,
  { repository }: IssueQuery,
  /** The words for the token that was used; null: none was. */
  token: string | null,
): TownError {
  const credentials = 'set GITHUB_TOKEN where you run the command, or where the town is started';
  switch (trouble.kind) {
    case 'limit':
      return new TownError(
        'UNAVAILABLE',
        `GitHub answers no more requests for now: its rate limit ends ${trouble.ends}`,
        {
          hint:
            token === null ? `ask again then, or with a token: ${credentials}` : 'ask again then; nothing was imported',
          details: { reset_at: trouble.reset_at },
          cause,
        },
      );
    case 'token':
      return trouble.status === 401
        ? new TownError('UNAUTHORIZED', `GitHub does not know ${token ?? 'a token'}`, { hint: credentials, cause })
        : new TownError('FORBIDDEN', `GitHub does not let ${token ?? 'everybody'} read the issues of ${repository}`, {
            hint: 'the token needs to read issues and metadata of that repository',
            cause,
          });
    case 'absent':
      return new TownError('NOT_FOUND', `GitHub knows no issues of ${repository}`, {
        hint:
          token === null
            ? `a private repository needs a token: ${credentials}`
            : `is the name right, and may ${token} read it?`,
        cause,
      });
    case 'silent':
      return new TownError('UNAVAILABLE', `GitHub does not answer: ${trouble.words}`, {
        hint: 'ask again later; nothing was imported',
        cause,
      });
    default:
      return unreachable(trouble, 'refusalOf');
  }
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
