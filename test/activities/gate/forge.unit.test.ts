import { createGithub, repositoryOf } from '../../../activities/gate/forge';
import { type ForgeServer, startForgeServer } from '../../support/forge-server';

const REPOSITORY = { host: 'github.com', owner: 'acme', name: 'web' };
let server: ForgeServer;
beforeAll(async () => {
  server = await startForgeServer();
});
afterAll(() => server.close());
beforeEach(() => server.answers.clear());

const forge = (token: string | null = 'good') => createGithub({ token, apiUrl: server.url });

describe('a CI run', () => {
  it.each<[string, string | null, string]>([
    ['queued', null, 'closed'],
    ['in_progress', null, 'closed'],
    ['completed', 'success', 'open'],
    ['completed', 'skipped', 'open'],
    ['completed', 'failure', 'refused'],
    ['completed', 'cancelled', 'refused'],
    ['completed', null, 'refused'],
  ])('that is %s with %s is %s', async (status, conclusion, kind) => {
    server.answers.set('/actions/runs/12', { body: { id: 12, status, conclusion } });
    expect((await forge().ciRun(REPOSITORY, '12')).kind).toBe(kind);
  });

  it('is the newest of a workflow that is named', async () => {
    server.answers.set('/actions/workflows?per_page=100', {
      body: { total_count: 101, workflows: [{ id: 4, name: 'Lint', path: '.github/workflows/lint.yml' }] },
      next: '/actions/workflows?per_page=100&page=2',
    });
    server.answers.set('/actions/workflows?per_page=100&page=2', {
      body: { total_count: 101, workflows: [{ id: 5, name: 'Build it', path: '.github/workflows/build.yml' }] },
    });
    server.answers.set('/actions/workflows/5/runs?per_page=1', {
      body: { total_count: 1, workflow_runs: [{ id: 9, status: 'completed', conclusion: 'success' }] },
    });
    expect(await forge().ciRun(REPOSITORY, 'Build it')).toEqual({
      kind: 'open',
      reason: 'CI run 9 ended with success',
    });
    expect((await forge().ciRun(REPOSITORY, 'build.yml')).kind).toBe('open');
    expect(await forge().ciRun(REPOSITORY, 'deploy')).toEqual({
      kind: 'refused',
      reason: 'acme/web has no workflow deploy',
    });
    server.answers.set('/actions/workflows/5/runs?per_page=1', { body: { total_count: 0, workflow_runs: [] } });
    expect((await forge().ciRun(REPOSITORY, 'Build it')).kind).toBe('closed');
  });
});

it.each([
  [{ merged: true, state: 'closed' }, 'open'],
  [{ merged: false, state: 'open' }, 'closed'],
  [{ merged: false, state: 'closed' }, 'refused'],
])('a pull request that is %j is %s', async (body, kind) => {
  server.answers.set('/pulls/7', { body });
  expect((await forge().pullRequest(REPOSITORY, '7')).kind).toBe(kind);
});

describe('what cannot be found out', () => {
  it('is said with its reason, and never thrown', async () => {
    expect(await forge(null).pullRequest(REPOSITORY, '7')).toMatchObject({
      kind: 'unknown',
      reason: expect.stringContaining('GITHUB_TOKEN'),
    });
    expect(await forge('bad').pullRequest(REPOSITORY, '7')).toEqual({
      kind: 'unknown',
      reason: 'the forge refuses the token (401)',
    });
    expect((await forge().pullRequest(REPOSITORY, '8')).kind).toBe('refused');
    expect((await forge().pullRequest(REPOSITORY, 'x')).kind).toBe('refused');
    const elsewhere = createGithub({ token: 'good', apiUrl: null });
    expect(await elsewhere.pullRequest({ ...REPOSITORY, host: 'git.example.org' }, '7')).toEqual({
      kind: 'unknown',
      reason: 'the API of git.example.org is not known: set GITHUB_API_URL where the town is started',
    });
    server.answers.set('/pulls/9', { status: 500, body: { message: 'broken' } });
    expect(await forge().pullRequest(REPOSITORY, '9')).toMatchObject({
      kind: 'unknown',
      reason: expect.stringContaining('does not answer'),
    });
    server.answers.set('/pulls/10', {
      status: 403,
      headers: { 'x-ratelimit-remaining': '0', 'x-ratelimit-reset': '1777593600' },
      body: { message: 'API rate limit exceeded' },
    });
    expect(await forge().pullRequest(REPOSITORY, '10')).toEqual({
      kind: 'unknown',
      reason: 'the forge answers no more requests for now: its rate limit ends at 2026-05-01T00:00:00.000Z',
    });
    const away = createGithub({ token: 'good', apiUrl: 'http://127.0.0.1:9' });
    expect((await away.ciRun(REPOSITORY, '1')).kind).toBe('unknown');
  });
});

it.each([
  ['https://github.com/acme/web.git', 'github.com'],
  ['https://github.com/acme/web', 'github.com'],
  ['https://me:secret@git.example.org/acme/web.git', 'git.example.org'],
  ['git@github.com:acme/web.git', 'github.com'],
  ['ssh://git@git.example.org:2222/acme/web.git', 'git.example.org'],
])('%s is a repository at %s', (remote, host) => {
  expect(repositoryOf(remote)).toEqual({ host, owner: 'acme', name: 'web' });
});

it.each(['/srv/git/web.git', '../web', 'file:///srv/web', '', 'https://github.com/web'])('%s is none', (remote) => {
  expect(repositoryOf(remote)).toBeNull();
});
