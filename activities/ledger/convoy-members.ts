import { sql, type RawBuilder, type Transaction } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import type { ConvoyId, TaskId } from '../../schema/ids';
import type { Unit } from './command';
import { noTask } from './task-rows';

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

/**
 * Last in order; members stay where they are. The convoy is woken. @throws NOT_FOUND for a task that is not there, WRONG_STATE when the
 * convoy is completed.
 */
export async function addMembers(unit: Unit, convoy: ConvoyId, tasks: readonly TaskId[]): Promise<void> {
  const { status } = await lockConvoy(unit.trx, convoy);
  if (status === 'completed') {
    throw new TownError('WRONG_STATE', `convoy ${convoy} is completed and takes no further tasks`, {
      hint: 'make another one: town convoy create',
    });
  }
  const { rows } = await sql<{ id: TaskId; is_known: boolean }>`
    with named as (
      select n.id, min(place) as place, exists (select 1 from tasks t where t.id = n.id) as is_known
      from unnest(${[...tasks]}::text[]) with ordinality as n (id, place) group by n.id
    ), added as (
      insert into convoy_members (convoy_id, task_id, position)
      select ${convoy}, id, (select coalesce(max(position), 0) from convoy_members where convoy_id = ${convoy}) + place
      from named where is_known on conflict (convoy_id, task_id) do nothing
    )
    select id, is_known from named order by place`.execute(unit.trx);
  const missing = rows.find((row) => !row.is_known);
  if (missing !== undefined) noTask(missing.id);
  unit.wakeConvoys.add(convoy);
}

/** Convoys, not completed, of which one of the tasks is a member; `tasks` is what follows `in`. */
export function openConvoysOf(tasks: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`select distinct c.id from convoy_members m join convoys c on c.id = m.convoy_id
    where c.status <> 'completed' and m.task_id in (${tasks})`;
}

export async function wakeConvoysOf(unit: Unit, tasks: readonly TaskId[]): Promise<void> {
  const { rows } = await sql<{ id: ConvoyId }>`${openConvoysOf(sql`select unnest(${[...tasks]}::text[])`)}`.execute(
    unit.trx,
  );
  for (const { id } of rows) unit.wakeConvoys.add(id);
}
