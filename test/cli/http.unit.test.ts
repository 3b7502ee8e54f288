import { mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createHttpApp, readApiToken } from '../../cli/server/http';
import { TownError } from '../../schema/errors';
import { fakeTown } from '../support/fakes/town';

const town = fakeTown();
const app = createHttpApp({ town: town.client, token: 'secret-token', user: 'ann', pollMs: 5 });
const call = async (method: string, path: string, body?: unknown, headers: Record<string, string> = {}) =>
  await app.request(`http://127.0.0.1:1${path}`, {
    method,
    headers: { authorization: 'Bearer secret-token', 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });

it('is healthy without a token, and tells nothing else without one', async () => {
  expect((await app.request('http://127.0.0.1:1/healthz')).status).toBe(200);
  for (const authorization of ['', 'Bearer no', 'Bearer secret-tokem', 'Basic secret-token']) {
    const refused = await call('GET', '/api/convoys', undefined, { authorization });
    expect(refused.status).toBe(401);
    expect(refused.headers.get('content-type')).toContain('application/problem+json');
  }
});

it('refuses another Host', async () => {
  expect((await app.request('http://evil.example/healthz')).status).toBe(403);
});

it('lists and shows convoys, makes one', async () => {
  const { id } = (await (await call('POST', '/api/work-items', { title: 'Member' })).json()) as { id: string };
  const made = await call('POST', '/api/convoys', { name: 'first', tasks: [id] });
  expect(made.status).toBe(201);
  const first = (await made.json()) as { id: string };
  expect((await call('POST', '/api/convoys', { name: 'second', tasks: [id] })).status).toBe(201);
  const page = (await (await call('GET', '/api/convoys?limit=1')).json()) as { next_cursor: string };
  expect(page).toMatchObject({ items: [{ name: 'second' }], next_cursor: expect.any(String) as string });
  expect(await (await call('GET', `/api/convoys?limit=1&cursor=${page.next_cursor}`)).json()).toMatchObject({
    items: [{ id: first.id }],
    next_cursor: null,
  });
  expect(await (await call('GET', `/api/convoys/${first.id}`)).json()).toMatchObject({ name: 'first', total: 1 });
  expect((await call('GET', '/api/convoys/cv-none')).status).toBe(404);
});

it('makes, slings and closes a task; the same key makes it once', async () => {
  const first = await call('POST', '/api/work-items', { title: 'One' }, { 'idempotency-key': 'k' });
  expect(first.status).toBe(201);
  const { id } = (await first.json()) as { id: string };
  expect(
    await (await call('POST', '/api/work-items', { title: 'One' }, { 'idempotency-key': 'k' })).json(),
  ).toMatchObject({ id });
  expect(town.asks.at(-1)).toEqual({ actor: 'person:ann', key: 'k' });
  const slung = await call('POST', '/api/hooks/acme%2Fpolecats%2Famber/sling', { task_id: id });
  expect(await slung.json()).toMatchObject({ target: 'acme/polecats/amber', decision_id: 'd1' });
  expect((await call('POST', '/api/hooks/nowhere/sling', { task_id: id })).status).toBe(404);
  expect(await (await call('POST', `/api/work-items/${id}/done`, { outcome: 'done' })).json()).toMatchObject({
    status: 'closed',
  });
});

it('answers what the policy denies as forbidden, with the reasons', async () => {
  const denied = new TownError('POLICY_DENIED', 'the rig is closed', { details: { reasons: ['closed'] } });
  const closed = createHttpApp({
    town: { ...town.client, sling: () => Promise.reject(denied) },
    token: 'secret-token',
    user: 'ann',
  });
  const answer = await closed.request('http://127.0.0.1:1/api/hooks/acme/sling', {
    method: 'POST',
    headers: { authorization: 'Bearer secret-token', 'content-type': 'application/json' },
    body: JSON.stringify({ task_id: 'hq-00001' }),
  });
  expect(answer.status).toBe(403);
  expect(await answer.json()).toMatchObject({ code: 'POLICY_DENIED', details: { reasons: ['closed'] } });
});

it('pages hooks by address', async () => {
  const first = (await (await call('GET', '/api/hooks?limit=1')).json()) as { items: unknown[]; next_cursor: string };
  expect(first).toMatchObject({ items: [{ agent_id: 'acme/polecats/amber' }], next_cursor: 'acme/polecats/amber' });
  const second = await call('GET', `/api/hooks?limit=1&cursor=${encodeURIComponent(first.next_cursor)}`);
  expect(await second.json()).toMatchObject({ items: [{ agent_id: 'acme/polecats/basil' }], next_cursor: null });
});

it.each([
  ['POST', '/api/work-items', { title: '' }, 400],
  ['POST', '/api/work-items', { title: 'x', nonsense: 1 }, 400],
  ['POST', '/api/work-items', '{', 400],
  ['POST', '/api/work-items', { title: 'x', description: 'x'.repeat(1_100_000) }, 413],
  ['POST', '/api/work-items/nope/done', {}, 400],
  ['POST', '/api/work-items/hq-zzzzz/done', {}, 404],
  ['GET', '/api/events?after=x', undefined, 400],
  ['GET', '/api/convoys?limit=100000', undefined, 400],
  ['GET', '/api/nothing', undefined, 404],
] as const)('answers %s %s with a problem', async (method, path, body, status) => {
  const answer = await call(method, path, body);
  expect(answer.status).toBe(status);
  expect(answer.headers.get('content-type')).toContain('application/problem+json');
  expect(await answer.json()).toMatchObject({
    status,
    code: expect.any(String) as string,
    detail: expect.any(String) as string,
  });
});

it('lists events, and streams them as they come', async () => {
  const make = (title: string) => call('POST', '/api/work-items', { title });
  const { items: before } = (await (await call('GET', '/api/events?limit=200')).json()) as { items: unknown[] };
  const seen = before.length;
  await make('One');
  expect(await (await call('GET', `/api/events?after=${seen}`)).json()).toMatchObject({
    items: [{ seq: seen + 1, type: 'task_created' }],
  });
  const stream = await call('GET', '/api/events', undefined, {
    accept: 'text/event-stream',
    'last-event-id': String(seen),
  });
  expect(stream.headers.get('content-type')).toContain('text/event-stream');
  const reader = stream.body!.getReader();
  const read = async (): Promise<string> => new TextDecoder().decode((await reader.read()).value as Uint8Array);
  expect(await read()).toContain(`id: ${seen + 1}`);
  await make('Two');
  expect(await read()).toContain(`id: ${seen + 2}`);
  await reader.cancel();
});

it('describes itself', async () => {
  const document = (await (await call('GET', '/api/openapi.json')).json()) as { paths: Record<string, unknown> };
  expect(Object.keys(document.paths).toSorted()).toEqual([
    '/api/convoys',
    '/api/convoys/{id}',
    '/api/events',
    '/api/hooks',
    '/api/hooks/{id}/sling',
    '/api/work-items',
    '/api/work-items/{id}/done',
  ]);
});

it('keeps its token in a file of its owner', () => {
  const folder = mkdtempSync(join(tmpdir(), 'api-'));
  const token = readApiToken(folder);
  expect(readApiToken(folder)).toBe(token);
  expect(statSync(join(folder, 'api-token')).mode & 0o777).toBe(0o600);
  rmSync(folder, { recursive: true });
});
