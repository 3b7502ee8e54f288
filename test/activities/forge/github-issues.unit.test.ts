import { inspect } from 'node:util';
import { createGithubIssues, type GithubOptions } from '../../../activities/forge/github-issues';
import type { IssueQuery } from '../../../schema/task/issue-source';
import { startFakeGithub, type FakeGithub } from '../../support/github-server';

let github: FakeGithub;
beforeEach(async () => {
  github = await startFakeGithub('secret');
});
afterEach(() => github.close());

const source = (more: Partial<GithubOptions> = {}) =>
  createGithubIssues({ baseUrl: github.url, token: 'secret', ...more });
const query: IssueQuery = { repository: 'acme/web', state: 'all', labels: [], since: null, comments: false };

function fill(count: number): void {
  for (let number = 1; number <= count; number += 1) {
    github.issues.push({
      number,
      title: `Issue ${number}`,
      labels: number % 2 === 0 ? ['bug', 'good first issue'] : [],
      state: number % 3 === 0 ? 'closed' : 'open',
      at: `2026-04-02T00:00:${String(number % 60).padStart(2, '0')}Z`,
      ...(number % 10 === 0 ? { isPull: true as const } : {}),
    });
  }
}

it('reads every page, and leaves pull requests out', async () => {
  fill(250);
  const issues = await source().listIssues(query, null);
  expect(issues).toHaveLength(225);
  expect(issues[1]).toMatchObject({
    number: 2,
    labels: ['bug', 'good first issue'],
    author: 'kim',
    state: 'open',
    comments: [],
  });
  expect(github.requests).toHaveLength(3);
  const bugs = await source().listIssues({ ...query, labels: ['bug'], state: 'closed' }, null);
  expect(bugs.length).toBeGreaterThan(0);
  expect(bugs.every((issue) => issue.state === 'closed' && issue.labels.includes('bug'))).toBe(true);
});

it('puts comments to their issues, and asks only for what has changed since', async () => {
  fill(3);
  for (const id of [1, 2, 3])
    github.comments.push({ id, number: 2, login: 'ann', body: `said ${id}`, at: '2026-04-03T00:00:00Z' });
  const issues = await source().listIssues({ ...query, comments: true }, null);
  expect(issues[1]!.comments.map((comment) => [comment.id, comment.author, comment.body])).toEqual([
    ['github-1', 'ann', 'said 1'],
    ['github-2', 'ann', 'said 2'],
    ['github-3', 'ann', 'said 3'],
  ]);
  expect(await source().listIssues({ ...query, since: '2026-04-02T00:00:03Z' }, null)).toHaveLength(1);
});

it.each(['primary', 'secondary'] as const)('waits for a %s rate limit that ends soon', async (kind) => {
  fill(2);
  github.limit(kind, 1, 1);
  const waits: string[] = [];
  expect(await source({ log: (message) => waits.push(message) }).listIssues(query, null)).toHaveLength(2);
  expect(waits).toEqual([expect.stringMatching(/rate limit .*waiting \d s/)]);
});

it('says when a rate limit ends that lasts too long', async () => {
  github.limit('primary', 10, 3_600);
  await expect(source({ patienceS: 5 }).listIssues(query, null)).rejects.toMatchObject({
    code: 'UNAVAILABLE',
    message: expect.stringMatching(/rate limit ends at \d{4}-\d{2}-\d{2}T/),
    details: { reset_at: expect.any(String) },
  });
  expect(github.requests).toHaveLength(1);
});

it('tells a token that is wrong from a repository that is not there', async () => {
  await expect(source({ token: 'other' }).listIssues(query, null)).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
  await expect(source().listIssues({ ...query, repository: 'acme/none' }, null)).rejects.toMatchObject({
    code: 'NOT_FOUND',
  });
  await expect(source({ token: null }).listIssues(query, null)).rejects.toMatchObject({
    code: 'NOT_FOUND',
    hint: expect.stringContaining('GITHUB_TOKEN'),
  });
  for (const repository of ['../../etc', '../web', 'acme/..', 'acme', 'acme/web?x']) {
    await expect(source().listIssues({ ...query, repository }, null)).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  }
});

it('asks with the token of who asks, and else with its own; neither is in what it throws', async () => {
  fill(1);
  expect(await source({ token: 'other' }).listIssues(query, 'secret')).toHaveLength(1);
  expect(await source().listIssues(query, null)).toHaveLength(1);
  for (const [own, given, words] of [
    ['secret', 'wrong-one', 'GitHub does not know the token of this command'],
    ['wrong-one', null, 'GitHub does not know the token of the service'],
  ] as const) {
    const error: unknown = await source({ token: own })
      .listIssues(query, given)
      .catch((refused: unknown) => refused);
    expect(error).toMatchObject({
      code: 'UNAUTHORIZED',
      message: words,
      hint: 'set GITHUB_TOKEN where you run the command, or where the town is started',
    });
    expect(inspect(error, { depth: 20, showHidden: true })).not.toContain('wrong-one');
  }
});
