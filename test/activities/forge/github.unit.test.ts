import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { connectGithub, githubEnvironment, troubleOf } from '../../../activities/forge/github';

let server: Server;
let baseUrl: string;
beforeAll(async () => {
  server = createServer(() => undefined); // takes requests, and never answers
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(async () => {
  server.closeAllConnections();
  await new Promise((closed) => server.close(closed));
});

it('gives up a request that is not answered in time', async () => {
  const { rest } = await connectGithub({ baseUrl, token: 'secret', timeoutMs: 50, patience: null });
  const error: unknown = await rest.pulls.get({ owner: 'acme', repo: 'web', pull_number: 1 }).catch((e: unknown) => e);
  expect(troubleOf(error)).toEqual({ kind: 'silent', words: 'no answer within 0.05 s (status 500)' });
});

it('takes a bug for no trouble of GitHub', () => {
  expect(troubleOf(new TypeError('x is not a function'))).toBeNull();
  expect(troubleOf({ status: 404 })).toBeNull();
});

it('reads the environment of the town, in which what is empty is not there', () => {
  const before = { ...process.env };
  try {
    Object.assign(process.env, { GITHUB_TOKEN: ' secret\n', GITHUB_API_URL: '' });
    expect(githubEnvironment()).toEqual({ token: 'secret', apiUrl: null });
    Object.assign(process.env, { GITHUB_TOKEN: '', GITHUB_API_URL: baseUrl });
    expect(githubEnvironment()).toEqual({ token: null, apiUrl: baseUrl });
  } finally {
    process.env = before;
  }
});
