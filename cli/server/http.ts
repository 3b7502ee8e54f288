import { randomBytes, timingSafeEqual } from 'node:crypto';
import { closeSync, existsSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { serve, type ServerType } from '@hono/node-server';
import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi';
import type { Context } from 'hono';
import { bodyLimit } from 'hono/body-limit';
import { streamSSE } from 'hono/streaming';
import { ERROR_CODES, TownError } from '../../schema/errors';
import { parseTaskId } from '../../schema/ids';
import type { Ask, TaskInput } from '../../schema/ledger';
import { OUTCOMES } from '../../schema/task/status';
import type { TownClient } from '../client/client';
import { refusalOf } from './answer';
import { personOf } from './caller';
import { given } from './verbs/shared';

/**
 * The HTTP API on 127.0.0.1. Every route but `/healthz` needs the bearer token of `.town/api-token`. Errors are
 * application/problem+json with the town's own code; lists are paged by cursor; writes take an `Idempotency-Key`.
 */
export interface HttpOptions {
  readonly town: TownClient;
  readonly token: string;
  /** Name of the person whose token it is. */
  readonly user: string;
  /** How often a stream of events looks for more, in ms; 500 when absent. */
  readonly pollMs?: number;
  readonly onBug?: (error: unknown) => void;
}

const BODY_BYTES_MAX = 1024 * 1024;
const id = (what: string) => z.string().min(1).max(200).openapi({ description: what });
const page = {
  limit: z.coerce.number().int().min(1).max(200).default(50),
  cursor: z.string().max(500).optional().openapi({ description: 'next_cursor of the page before' }),
};
const Json = z.record(z.string(), z.unknown());
const ProblemSchema = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.int(),
    detail: z.string(),
    code: z.string(),
    hint: z.string().optional(),
    details: Json.optional(),
  })
  .openapi('Problem');
const TaskSchema = z
  .looseObject({
    id: z.string(),
    title: z.string(),
    status: z.string(),
    priority: z.int(),
    rig_id: z.string().nullable(),
    outcome: z.string().nullable(),
  })
  .openapi('Task');
const ConvoySchema = z
  .looseObject({
    id: z.string(),
    name: z.string(),
    status: z.string(),
    total: z.int(),
    closed: z.int(),
    percent: z.number(),
  })
  .openapi('Convoy');
const HookSchema = z.looseObject({ agent_id: z.string(), status: z.string(), incarnation: z.int() }).openapi('Hook');
const EventSchema = z
  .looseObject({ id: z.int(), seq: z.int().nullable(), type: z.string(), actor: z.string(), at: z.string() })
  .openapi('Event');
const SlungSchema = z
  .looseObject({ molecule_id: z.string(), target: z.string(), decision_id: z.string() })
  .openapi('Slung');

const NewConvoy = z
  .strictObject({
    name: z.string().min(1).max(200),
    tasks: z.array(z.string()).max(10_000).default([]),
    rig_id: z.string().nullable().default(null),
    formula: z.string().nullable().default(null),
    vars: z.record(z.string(), z.string()).default({}),
    notify: z.array(z.string()).default([]),
    human: z.boolean().default(false),
  })
  .openapi('NewConvoy');
const NewTask = z
  .strictObject({
    title: z.string().min(1).max(500),
    description: z.string().optional(),
    type: z.string().optional(),
    priority: z.int().min(0).max(4).optional(),
    rig_id: z.string().optional(),
    parent_id: z.string().optional(),
    labels: z.array(z.string()).optional(),
    acceptance: z.string().optional(),
    depends_on: z.array(z.string()).optional(),
    convoy_id: z.string().optional(),
  })
  .openapi('NewTask');
const SlingBody = z
  .strictObject({
    task_id: z.string(),
    formula: z.string().nullable().default(null),
    vars: z.record(z.string(), z.string()).default({}),
    bare: z.boolean().default(false),
    resume: z.boolean().default(false),
  })
  .openapi('Sling');
const DoneBody = z
  .strictObject({
    outcome: z.enum(OUTCOMES).default('done'),
    reason: z.string().max(8_000).optional(),
  })
  .openapi('Done');

/** The application without a port: tests call it by `app.request`. */
export function createHttpApp({ town, token, user, pollMs = 500, onBug = () => undefined }: HttpOptions): OpenAPIHono {
  const app = new OpenAPIHono({
    defaultHook: (result, c) => {
      if (result.success) return undefined;
      const problems = result.error.issues.map((issue) => `${issue.path.join('.') || 'the request'}: ${issue.message}`);
      return problem(c, new TownError('INVALID_INPUT', problems.join('; '), { details: { problems } }));
    },
  });
  app.onError((error, c) => {
    // hono's own refusals (a body that is no JSON, for example) carry a status.
    const status = (error as { status?: unknown }).status;
    if (typeof status === 'number' && status < 500)
      return problem(c, new TownError('INVALID_INPUT', error.message || 'the request is not readable'));
    const refusal = refusalOf(error);
    if (refusal.code === 'INTERNAL') onBug(error);
    return problem(c, refusal);
  });
  app.notFound((c) =>
    problem(
      c,
      new TownError('NOT_FOUND', `there is no ${c.req.method} ${c.req.path}`, { hint: 'see /api/openapi.json' }),
    ),
  );

  // A page of another site may resolve its own name to 127.0.0.1; it cannot change the Host header.
  app.use(async (c, next) => {
    const host = c.req.header('host') ?? new URL(c.req.url).host;
    if (!/^(?:127\.0\.0\.1|localhost|\[::1\])(?::\d+)?$/.test(host)) {
      return problem(
        c,
        new TownError('FORBIDDEN', `this town is not called ${JSON.stringify(host.slice(0, 80))}`, {
          hint: 'use http://127.0.0.1',
        }),
      );
    }
    return await next();
  });
  app.get('/healthz', (c) => c.json({ ok: true }));
  app.use('/api/*', async (c, next) => {
    if (isToken(c.req.header('authorization'), token)) return await next();
    c.header('www-authenticate', 'Bearer');
    return problem(
      c,
      new TownError('UNAUTHORIZED', 'the bearer token is missing or not the one of this town', {
        hint: 'send Authorization: Bearer with the content of .town/api-token',
      }),
    );
  });
  app.use(
    '/api/*',
    bodyLimit({
      maxSize: BODY_BYTES_MAX,
      onError: (c) => problem(c, new TownError('INPUT_TOO_LARGE', `a body has at most ${BODY_BYTES_MAX} bytes`)),
    }),
  );

  const askOf = (c: Context): Ask => {
    const key = c.req.header('idempotency-key');
    if (key === undefined) return { actor: personOf(user) };
    if (key.length >= 1 && key.length <= 150) return { actor: personOf(user), key };
    throw new TownError('INVALID_INPUT', 'an Idempotency-Key has 1 to 150 characters');
  };

  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/convoys',
      request: { query: z.object({ ...page, status: z.string().optional() }) },
      responses: answers(200, 'convoys, newest first', paged(ConvoySchema)),
    }),
    async (c) => {
      const { limit, cursor, status } = c.req.valid('query');
      const listed = await town.listConvoys({
        limit,
        ...given({ cursor }),
        ...(status === undefined ? {} : { status: status.split(',') }),
      });
      return c.json(listed, 200);
    },
  );
  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/convoys/{id}',
      request: { params: z.object({ id: id('convoy') }) },
      responses: answers(200, 'a convoy with its tasks', ConvoySchema),
    }),
    async (c) => c.json(await town.getConvoy(c.req.valid('param').id), 200),
  );
  app.openapi(
    createRoute({
      method: 'post',
      path: '/api/convoys',
      request: { body: json(NewConvoy) },
      responses: answers(201, 'make a convoy', ConvoySchema),
    }),
    async (c) => {
      const wish = c.req.valid('json');
      return c.json(await town.openConvoy(askOf(c), { ...wish, tasks: wish.tasks.map(parseTaskId) }), 201);
    },
  );
  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/hooks',
      request: { query: z.object(page) },
      responses: answers(200, 'hooks of all agents, by address', paged(HookSchema)),
    }),
    async (c) => {
      const { limit, cursor = '' } = c.req.valid('query');
      const addresses = (await town.listAgents({}))
        .map((agent) => agent.id)
        .filter((address) => address > cursor)
        .toSorted();
      const shown = addresses.slice(0, limit);
      const items = await Promise.all(shown.map(async (address) => await town.hook(address)));
      return c.json({ items, next_cursor: addresses.length > limit ? (shown.at(-1) ?? null) : null }, 200);
    },
  );
  app.openapi(
    createRoute({
      method: 'post',
      path: '/api/hooks/{id}/sling',
      request: {
        params: z.object({ id: id('address of an agent, its slashes as %2F, or a rig') }),
        body: json(SlingBody),
      },
      responses: answers(201, 'give a task to an agent or a rig', SlungSchema),
    }),
    async (c) => {
      const { task_id, ...wish } = c.req.valid('json');
      const target = town.readTarget(c.req.valid('param').id);
      return c.json({ ...(await town.sling(askOf(c), { ...wish, task_id: parseTaskId(task_id), target })) }, 201);
    },
  );
  app.openapi(
    createRoute({
      method: 'post',
      path: '/api/work-items',
      request: { body: json(NewTask) },
      responses: answers(201, 'make a task', TaskSchema),
    }),
    async (c) => {
      const task: TaskInput = { title: '', ...given(c.req.valid('json')) };
      return c.json({ ...(await town.createTask(askOf(c), task)) }, 201);
    },
  );
  app.openapi(
    createRoute({
      method: 'post',
      path: '/api/work-items/{id}/done',
      request: { params: z.object({ id: id('task') }), body: json(DoneBody) },
      responses: answers(200, 'close a task', TaskSchema),
    }),
    async (c) => {
      const { outcome, reason } = c.req.valid('json');
      const closed = await town.closeTask(askOf(c), parseTaskId(c.req.valid('param').id), {
        outcome,
        ...given({ reason }),
      });
      return c.json({ ...closed }, 200);
    },
  );

  const eventQuery = z.object({
    after: z.coerce.number().int().min(0).default(0).openapi({ description: 'only events after this number' }),
    limit: page.limit,
    type: z.string().optional(),
    task_id: z.string().optional(),
    molecule_id: z.string().optional(),
    convoy_id: z.string().optional(),
  });
  app.openapi(
    createRoute({
      method: 'get',
      path: '/api/events',
      request: { query: eventQuery },
      responses: answers(200, 'events, oldest first; as a stream with Accept: text/event-stream', paged(EventSchema)),
    }),
    async (c) => {
      const { after, limit, ...rest } = c.req.valid('query');
      const filter = { limit, ...given(rest) };
      if (!(c.req.header('accept') ?? '').includes('text/event-stream')) {
        // The payload is any JSON; hono's own type for that has no read-only arrays.
        const { items, next_cursor } = await town.listEvents({ ...filter, after });
        return c.json(
          { items: items.map((event) => ({ ...event, payload: event.payload as never })), next_cursor },
          200,
        );
      }
      const resumed = Number(c.req.header('last-event-id') ?? '');
      let seen = Number.isSafeInteger(resumed) && resumed > 0 ? resumed : after;
      c.header('x-accel-buffering', 'no');
      // A stream is no JSON answer; the document says so in words.
      return streamSSE(c, async (stream) => {
        let quiet = 0;
        while (!stream.aborted && !stream.closed) {
          const { items } = await town.listEvents({ ...filter, after: seen });
          for (const event of items) {
            seen = event.seq ?? seen;
            await stream.writeSSE({ id: String(seen), event: event.type, data: JSON.stringify(event) });
          }
          quiet = items.length > 0 ? 0 : quiet + pollMs;
          // Tells a dead connection from a quiet town.
          if (quiet >= 15_000) {
            await stream.write(': still here\n\n');
            quiet = 0;
          }
          if (items.length < limit) await stream.sleep(pollMs);
        }
      }) as never;
    },
  );

  app.openAPIRegistry.registerComponent('securitySchemes', 'token', { type: 'http', scheme: 'bearer' });
  app.doc31('/api/openapi.json', {
    openapi: '3.1.0',
    info: { title: 'Steeltown', version: '1' },
    security: [{ token: [] }],
  });
  return app;
}

export interface HttpServer {
  /** `http://127.0.0.1:<port>` */
  readonly url: string;
  close(): Promise<void>;
}

/** Listens on loopback only. `port` 0 takes a free one. */
export async function startHttpServer(app: OpenAPIHono, port: number): Promise<HttpServer> {
  let server!: ServerType;
  const bound = await new Promise<number>((resolve, reject) => {
    server = serve({ fetch: app.fetch, hostname: '127.0.0.1', port }, (address) => resolve(address.port));
    server.once('error', reject);
  });
  return {
    url: `http://127.0.0.1:${bound}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        if ('closeAllConnections' in server) server.closeAllConnections();
      }),
  };
}

/** The token of a town's API: made at the first start, kept afterwards. `state` is the folder `.town`. */
export function readApiToken(state: string): string {
  const path = join(state, 'api-token');
  if (existsSync(path)) {
    const kept = readFileSync(path, 'utf8').trim();
    if (kept.length >= 32) return kept;
  }
  const token = randomBytes(32).toString('base64url');
  const temporary = `${path}.${process.pid}`;
  const file = openSync(temporary, 'w', 0o600);
  writeSync(file, `${token}\n`);
  closeSync(file);
  renameSync(temporary, path);
  return token;
}

function isToken(header: string | undefined, token: string): boolean {
  const given_ = Buffer.from(/^Bearer (\S+)$/i.exec(header ?? '')?.[1] ?? '');
  const wanted = Buffer.from(token);
  return given_.length === wanted.length && timingSafeEqual(given_, wanted);
}

function problem(c: Context, error: TownError): Response {
  const { http } = ERROR_CODES[error.code];
  const { code, message, hint, details } = error.toBody();
  const body = {
    type: `urn:steeltown:${code}`,
    title: code,
    status: http,
    detail: message,
    code,
    ...given({ hint, details }),
  };
  return c.body(JSON.stringify(body), http as 400, { 'content-type': 'application/problem+json' });
}

function paged<T extends z.ZodType>(item: T) {
  return z.object({ items: z.array(item), next_cursor: z.string().nullable() });
}

function answers<const S extends 200 | 201, T extends z.ZodType>(status: S, description: string, schema: T) {
  return {
    [status]: { description, content: { 'application/json': { schema } } },
    default: { description: 'refused', content: { 'application/problem+json': { schema: ProblemSchema } } },
    // A computed key loses its literal type.
  } as { [K in S]: { description: string; content: { 'application/json': { schema: T } } } };
}

function json<T extends z.ZodType>(schema: T) {
  return { required: true, content: { 'application/json': { schema } } };
}
