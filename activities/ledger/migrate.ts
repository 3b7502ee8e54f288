import type { Kysely } from 'kysely';
import { Migrator } from 'kysely/migration';
import type { Database } from '../../schema/db/tables';
import { migrations } from '../../schema/db/migrate';

/** Brings the tables up to date; answers the names of the migrations it ran. Twice at once: the second waits, then runs none. */
export async function migrateToLatest(db: Kysely<Database>): Promise<string[]> {
  const migrator = new Migrator({ db, provider: { getMigrations: () => Promise.resolve(migrations) } });
  const { error, results } = await migrator.migrateToLatest();
  if (error !== undefined) throw error;
  return (results ?? []).filter((result) => result.status === 'Success').map((result) => result.migrationName);
}
