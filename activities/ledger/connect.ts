import { Kysely, PostgresDialect } from 'kysely';
import { Client, Pool, types, type CustomTypesConfig } from 'pg';
import type { Database } from '../../schema/db/tables';

const INT8 = 20;

/** `bigint` columns stay below 2^53, so they are read as numbers. */
const parsers: CustomTypesConfig = {
  getTypeParser: ((oid: number, format?: 'text' | 'binary') =>
    oid === INT8 && format !== 'binary'
      ? Number
      : types.getTypeParser(oid, format)) as CustomTypesConfig['getTypeParser'],
};

/** A pool of at most `max` connections. A statement that runs longer than 30 s is stopped by the server. */
export function createDatabase(url: string, options: { readonly max: number }): Kysely<Database> {
  const pool = new Pool({
    connectionString: url,
    max: options.max,
    types: parsers,
    statement_timeout: 30_000,
    connectionTimeoutMillis: 10_000,
    idle_in_transaction_session_timeout: 60_000,
    application_name: 'town',
    keepAlive: true,
  });
  // An idle connection that breaks is replaced at the next use; without this handler it would end the process.
  pool.on('error', ignore);
  return new Kysely<Database>({ dialect: new PostgresDialect({ pool }) });
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
