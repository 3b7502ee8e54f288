import { createHash, randomBytes } from 'node:crypto';
import type { Kysely } from 'kysely';
import { Client } from 'pg';
import { createDatabase } from '../../activities/ledger/connect';
import { createLedger } from '../../activities/ledger/ledger';
import { migrateToLatest } from '../../activities/ledger/migrate';
import type { Database } from '../../schema/db/tables';
import type { Ledger } from '../../schema/ledger';
import { DEFAULT_TIMINGS } from '../../schema/timings';
import { until } from './until';

export interface TestDatabase {
  readonly url: string;
  readonly db: Kysely<Database>;
  readonly ledger: Ledger;
  /** Closes the pool and drops the database. */
  drop(): Promise<void>;
}

const TEMPLATE = 'town_template';
const TEMPLATE_LOCK = 7_399;

/** A database of its own, cloned from a migrated template, on the server that TOWN_TEST_POSTGRES_URL names. */
export async function testDatabase(options: { readonly max?: number } = {}): Promise<TestDatabase> {
  const name = `town_${randomBytes(6).toString('hex')}`;
  await withAdmin(async (admin) => {
    // Held while cloning too: a template that somebody is connected to cannot be copied.
    await admin.query('select pg_advisory_lock($1)', [TEMPLATE_LOCK]);
    const known = await admin.query('select 1 from pg_database where datname = $1 and datallowconn = false', [
      TEMPLATE,
    ]);
    if (known.rowCount === 0) await makeTemplate(admin);
    await admin.query(`create database ${name} template ${TEMPLATE}`);
  });
  const url = urlOf(name);
  const db = createDatabase(url, { max: options.max ?? 20 });
  const ledger = createLedger({ db, timings: DEFAULT_TIMINGS, namespace: '', digestOf: sha256 });
  return {
    url,
    db,
    ledger,
    async drop() {
      await db.destroy();
      await dropDatabase(name);
    },
  };
}

/** Seals all that is written: one call leaves some as long as any transaction of the server is open, also in another test's database. */
export async function sealAll(ledger: Pick<Ledger, 'seal' | 'verifyAudit'>): Promise<void> {
  await until(
    async () => {
      await ledger.seal();
      return (await ledger.verifyAudit()).unsealed === 0;
    },
    'the sealing of all events',
    60_000,
  );
}

/** An empty database without any table. */
export async function emptyDatabase(): Promise<{ url: string; drop(): Promise<void> }> {
  const name = `town_${randomBytes(6).toString('hex')}`;
  await withAdmin((admin) => admin.query(`create database ${name} template template0`));
  return { url: urlOf(name), drop: () => dropDatabase(name) };
}

export function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

async function makeTemplate(admin: Client): Promise<void> {
  // A half-made one of a run that was killed.
  await admin.query(`drop database if exists ${TEMPLATE} with (force)`);
  await admin.query(`create database ${TEMPLATE} template template0`);
  const db = createDatabase(urlOf(TEMPLATE), { max: 1 });
  try {
    await migrateToLatest(db);
  } finally {
    await db.destroy();
  }
  await admin.query(`alter database ${TEMPLATE} with allow_connections false`);
}

async function dropDatabase(name: string): Promise<void> {
  await withAdmin((admin) => admin.query(`drop database if exists ${name} with (force)`));
}

async function withAdmin(work: (admin: Client) => Promise<unknown>): Promise<void> {
  const admin = new Client({ connectionString: urlOf(null) });
  await admin.connect();
  try {
    await work(admin);
  } finally {
    await admin.end();
  }
}

function urlOf(database: string | null): string {
  const url = process.env['TOWN_TEST_POSTGRES_URL'];
  if (url === undefined) throw new Error('TOWN_TEST_POSTGRES_URL is not set: the integration project sets it');
  const parsed = new URL(url);
  if (database !== null) parsed.pathname = `/${database}`;
  return parsed.toString();
}
