import { Kysely, PostgresDialect, type PostgresPool, type PostgresPoolClient, type PostgresQueryResult } from 'kysely';
import { Client, DatabaseError, Pool, types, type CustomTypesConfig, type PoolClient } from 'pg';
import type { Database } from '../../schema/db/tables';

const INT8 = 20;

/** `bigint` columns stay below 2^53, so they are read as numbers. */
const parsers: CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === INT8 && format !== 'binary'
      ? Number
      : types.getTypeParser(oid, format)) as CustomTypesConfig['getTypeParser'],
};

/** A statement without an answer for this long raises the question whether the server answers anybody. */
const DOUBT_MS = 4_000;
/** How long the server has to answer that question. */
const PROBE_MS = 2_000;

/**
 * A pool of at most `max` connections. A statement that runs longer than 30 s is stopped by the server; one that a server which has
 * stopped answering owes us fails as a lost connection after 6 s.
 */
export function createDatabase(url: string, options: { readonly max: number }): Kysely<Database> {
  const pool = new Pool({
    connectionString: url,
    max: options.max,
    types: parsers,
    statement_timeout: 30_000,
    connectionTimeoutMillis: 8_000,
    idle_in_transaction_session_timeout: 60_000,
    application_name: 'town',
    keepAlive: true,
  });
  // An idle connection that breaks is replaced at the next use; without this handler it would end the process.
  pool.on('error', ignore);
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool: preparing(pool, proberOf(url)) }) });
}

/** Statements with a name are parsed and planned once a connection: a create took 3.1 ms without, about 1.6 ms with. */
const STATEMENTS_MAX = 500;
const names = new Map<string, string>();

function nameOf(text: string): string | undefined {
  if (!names.has(text) && names.size < STATEMENTS_MAX) names.set(text, `town_${names.size}`);
  return names.get(text);
}

function preparing(pool: Pool, answers: () => Promise<boolean>): PostgresPool {
  const wrapped = new WeakMap<PoolClient, PostgresPoolClient>();
  return {
    options: pool.options,
    end: () => pool.end(),
    async connect() {
      const client = await pool.connect();
      const known = wrapped.get(client);
      if (known !== undefined) return known;
      // The pool listens only while the connection is idle. In use, the failed statement says it; unheard, it would end the process.
      client.on('error', ignore);
      const fresh = preparingClient(client, answers);
      wrapped.set(client, fresh);
      return fresh;
    },
  };
}

function preparingClient(client: PoolClient, answers: () => Promise<boolean>): PostgresPoolClient {
  let outdated = false;

  /** Ends the connection when the server is found dumb: all its statements then fail as on a lost connection. Answers how to stop. */
  function watch(): () => void {
    let answered = false;
    let timer: NodeJS.Timeout;
    const doubt = () => {
      timer = setTimeout(() => {
        void answers().then((yes) => {
          if (answered) return;
          if (yes) doubt();
          else socketOf(client).destroy();
        });
      }, DOUBT_MS);
    };
    doubt();
    return () => {
      answered = true;
      clearTimeout(timer);
    };
  }

  async function query<R>(text: string, values: readonly unknown[]): Promise<PostgresQueryResult<R>> {
    const name = values.length === 0 ? undefined : nameOf(text);
    const unwatch = watch();
    try {
      // Kysely's result type is the part of pg's that it reads.
      return (await client.query({ text, values: [...values], ...(name === undefined ? {} : { name }) })) as never;
    } catch (error) {
      // A migration changed the table below a prepared statement: only a new connection forgets it.
      if (error instanceof Error && 'code' in error && error.code === '0A000') outdated = true;
      throw error;
    } finally {
      unwatch();
    }
  }
  return {
    // Cursors, the other form of `query`, are not used here.
    query: query as PostgresPoolClient['query'],
    release: (destroy) => client.release(destroy === true || outdated),
  };
}

/** Whether a new connection gets an answer, whatever it is. Those who ask together share one look. */
function proberOf(connectionString: string): () => Promise<boolean> {
  let looking: Promise<boolean> | null = null;
  async function look(): Promise<boolean> {
    const client = new Client({ connectionString, connectionTimeoutMillis: PROBE_MS, query_timeout: PROBE_MS });
    client.on('error', ignore); // the failed call says it
    try {
      await client.connect();
      await client.query('select 1');
      return true;
    } catch (error) {
      return error instanceof DatabaseError; // a refusal is an answer too
    } finally {
      client.end().catch(ignore);
    }
  }
  return () => (looking ??= look().finally(() => (looking = null)));
}

/** pg has no call of its own that ends a connection without asking the server. */
function socketOf(client: PoolClient): { destroy(): void } {
  return (client as unknown as { readonly connection: { readonly stream: { destroy(): void } } }).connection.stream;
}

/**
 * Calls `onNotify` for every notification on `channels`, over one connection of its own. A lost connection is made again after
 * 100 ms, doubling up to 5 s; after each one `onNotify` is called once per channel with an empty payload, since what came
 * meanwhile is lost. The first connection must succeed: its error is thrown.
 */
export async function listen(
  url: string,
  channels: readonly string[],
  onNotify: (channel: string, payload: string) => void,
): Promise<{ close(): Promise<void> }> {
  let closed = false;
  let client: Client | null = null;
  let timer: NodeJS.Timeout | null = null;
  let attempt = 0;

  async function connect(): Promise<void> {
    const next = new Client({ connectionString: url, application_name: 'town-listen', keepAlive: true });
    const lost = () => {
      if (client !== next) return;
      client = null;
      next.end().catch(ignore);
      reconnectLater();
    };
    next.on('error', lost);
    next.on('end', lost);
    next.on('notification', (note) => onNotify(note.channel, note.payload ?? ''));
    try {
      await next.connect();
      for (const channel of channels) await next.query(`listen ${next.escapeIdentifier(channel)}`);
    } catch (error) {
      next.end().catch(ignore);
      throw error;
    }
    if (closed) {
      await next.end().catch(ignore);
      return;
    }
    client = next;
    attempt = 0;
  }

  function reconnectLater(): void {
    if (closed || timer !== null) return;
    timer = setTimeout(
      () => {
        timer = null;
        connect().then(() => {
          if (!closed) for (const channel of channels) onNotify(channel, '');
        }, reconnectLater);
      },
      Math.min(5_000, 100 * 2 ** Math.min(attempt++, 10)),
    );
  }

  await connect();
  return {
    async close() {
      closed = true;
      if (timer !== null) clearTimeout(timer);
      const last = client;
      client = null;
      await last?.end().catch(ignore);
    },
  };
}

function ignore(): void {}
