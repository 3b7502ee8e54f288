import { sql, type Transaction } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import type { ConvoyId, TaskId } from '../../schema/ids';
import type { Unit } from './command';

export interface ConvoyHead {
  readonly id: ConvoyId;
  readonly name: string;
  readonly status: string;
  readonly rig_id: string | null;
}

/** The convoy, locked until the transaction ends. @throws NOT_FOUND */
export async function lockConvoy(trx: Transaction<Database>, id: ConvoyId): Promise<ConvoyHead> {
  const { rows } = await sql<ConvoyHead>`
    select id, name, status, rig_id from convoys where id = ${id} for no key update`.execute(trx);
  const convoy = rows[0];
  if (convoy === undefined)
    throw new TownError('NOT_FOUND', `there is no convoy ${id}`, { hint: 'see: town convoy list' });
  return convoy;
}

/** Last in order; a member stays where it is. Its convoy is woken. @throws NOT_FOUND, WRONG_STATE when the convoy is completed. */
export async function addMember(unit: Unit, convoy: ConvoyId, task: TaskId): Promise<void> {
  const { status } = await lockConvoy(unit.trx, convoy);
  if (status === 'completed') {
    throw new TownError('WRONG_STATE', `convoy ${convoy} is completed and takes no further tasks`, {
      hint: 'make another one: town convoy create',
    });
  }
  await sql`
    insert into convoy_members (convoy_id, task_id, position)
    select ${convoy}, ${task}, coalesce(max(position), 0) + 1 from convoy_members where convoy_id = ${convoy}
    on conflict (convoy_id, task_id) do nothing`.execute(unit.trx);
  unit.wakeConvoys.add(convoy);
}

/** Convoys, not completed, that the task is a member of. */
export async function convoysOf(trx: Transaction<Database>, task: TaskId): Promise<ConvoyId[]> {
  const { rows } = await sql<{ id: ConvoyId }>`
    select c.id from convoy_members m join convoys c on c.id = m.convoy_id
    where m.task_id = ${task} and c.status <> 'completed' order by c.id`.execute(trx);
  return rows.map((row) => row.id);
}
