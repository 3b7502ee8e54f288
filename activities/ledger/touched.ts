import { sql, type Kysely } from 'kysely';
import type { Database } from '../../schema/db/tables';

/** Convoys, not completed, that have one of the tasks as a member. */
export async function convoysOf(trx: Kysely<Database>, tasks: ReadonlySet<string>): Promise<string[]> {
  if (tasks.size === 0) return [];
  const { rows } = await sql<{ convoy_id: string }>`
    select distinct m.convoy_id from convoy_members m join convoys c on c.id = m.convoy_id
    where m.task_id = any(${[...tasks]}::text[]) and c.status <> 'completed'
    order by 1`.execute(trx);
  return rows.map((row) => row.convoy_id);
}
