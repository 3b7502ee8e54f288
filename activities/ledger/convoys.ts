import { sql, type Kysely, type RawBuilder } from 'kysely';
import { randomBytes } from 'node:crypto';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import { runId, type ConvoyId } from '../../schema/ids';
import type { JsonObject } from '../../schema/json';
import type { Ledger } from '../../schema/ledger';
import type { ConvoyRunInput } from '../../schema/runs';
import type { ConvoyTaskView, ConvoyView } from '../../schema/views';
import { command, record, tell, type Store, type Unit } from './command';
import { addMembers, lockConvoy } from './convoy-members';
import { base36Of, sha256Hex } from './digest';
import * as input from './input';
import { mapPage, newestFirst } from './pages';
import { findRig } from './rigs';

type ConvoyCommands = Pick<
  Ledger,
  'createConvoy' | 'addToConvoy' | 'setConvoyStatus' | 'completeConvoy' | 'getConvoy' | 'listConvoys'
>;

export function convoyCommands(store: Store): ConvoyCommands {
  return {
    createConvoy(ask, convoy) {
      input.line(convoy.name, 'name', input.LIMITS.name);
      const subscribers = [...(convoy.notify ?? []), ...(convoy.human === true ? ['human'] : [])];
      for (const subscriber of subscribers) input.line(subscriber, 'subscriber', input.LIMITS.name);
      return command(store, ask, 'createConvoy', convoy, async (unit) => {
        const rig_id = convoy.rig_id ?? null;
        if (rig_id !== null) await findRig(unit.trx, rig_id);
        const id = await insertConvoy(unit, convoy.name, rig_id, convoy.formula ?? null);
        await sql`insert into convoy_subscriptions (convoy_id, subscriber)
          select ${id}, s from unnest(${subscribers}::text[]) s on conflict do nothing`.execute(unit.trx);
        const start: ConvoyRunInput = { version: 1, convoy_id: id, epoch: 1, timings: store.timings, last_n: 0, n: 0 };
        // Plain JSON; interfaces only lack the index signature.
        tell(unit, runId.convoy(id), { kind: 'start', workflow: 'convoy', input: start as unknown as JsonObject });
        await addMembers(unit, id, convoy.tasks);
        record(
          unit,
          'convoy_created',
          { convoy_id: id, rig_id },
          { after: { name: convoy.name, status: 'running', tasks: convoy.tasks } },
        );
        return findConvoy(unit.trx, id);
      });
    },
    addToConvoy(ask, id, tasks) {
      return command(store, ask, 'addToConvoy', { id, tasks }, async (unit) => {
        await addMembers(unit, id, tasks);
        record(unit, 'convoy_extended', { convoy_id: id }, { tasks });
        return findConvoy(unit.trx, id);
      });
    },
    setConvoyStatus(ask, id, status) {
      return command(store, ask, 'setConvoyStatus', { id, status }, async (unit) => {
        const convoy = await lockConvoy(unit.trx, id);
        if (convoy.status === 'completed') throw new TownError('WRONG_STATE', `convoy ${id} is completed`);
        if (convoy.status !== status) {
          await sql`update convoys set status = ${status}, updated_at = clock_timestamp() where id = ${id}`.execute(
            unit.trx,
          );
          tell(unit, runId.convoy(id), { kind: 'update', name: status === 'stopped' ? 'stop' : 'resume', args: {} });
          const type = status === 'stopped' ? 'convoy_stopped' : 'convoy_resumed';
          record(unit, type, { convoy_id: id }, { before: { status: convoy.status }, after: { status } });
        }
        return findConvoy(unit.trx, id);
      });
    },
    completeConvoy: (ask, id) => command(store, ask, 'completeConvoy', { id }, (unit) => complete(unit, id)),
    getConvoy: (id) => findConvoy(store.db, id),
    async listConvoys(filter) {
      const conditions = filter.status === undefined ? [] : [sql`status = any(${[...filter.status]}::text[])`];
      const page = await newestFirst(filter, 'created_at', conditions, (tail) => selectConvoys(store.db, tail));
      const members = await membersOf(
        store.db,
        page.items.map((row) => row.id),
      );
      return mapPage(page, (row) => convoyView(row, members.get(row.id) ?? []));
    },
  };
}

async function insertConvoy(
  unit: Unit,
  name: string,
  rig_id: string | null,
  formula: string | null,
): Promise<ConvoyId> {
  const digest = sha256Hex(unit.ask.key ?? `${name}\n${Date.now()}\n${randomBytes(8).toString('hex')}`);
  for (let length = 5; length <= 13; length++) {
    const { rows } = await sql<{ id: string }>`
      insert into convoys (id, name, rig_id, status, formula, created_by)
      values (${`cv-${base36Of(digest, length)}`}, ${name}, ${rig_id}, 'running', ${formula}, ${unit.ask.actor})
      on conflict (id) do nothing returning id`.execute(unit.trx);
    if (rows[0] !== undefined) return rows[0].id;
  }
  throw new Error(`no free id for convoy ${name}`);
}

async function complete(unit: Unit, id: ConvoyId): Promise<ConvoyView> {
  const convoy = await lockConvoy(unit.trx, id);
  const before = await findConvoy(unit.trx, id);
  if (convoy.status === 'completed') return before;
  if (before.total === 0 || before.closed < before.total) {
    throw new TownError('WRONG_STATE', `convoy ${id} has ${before.closed} of ${before.total} tasks closed`, {
      hint: `see: town convoy status ${id}`,
    });
  }
  await sql`update convoys set status = 'completed', completed_at = clock_timestamp(), updated_at = clock_timestamp()
    where id = ${id}`.execute(unit.trx);
  const told = await sql<{ recipient: string }>`
    insert into mail (sender, recipient, kind, subject, body, dedupe_key)
    select ${unit.ask.actor}, s.subscriber, 'convoy_completed', ${`Convoy ${convoy.name} is complete`},
      ${`All ${before.total} tasks of convoy ${id} are closed.`}, 'convoy_completed:' || s.convoy_id || ':' || s.subscriber
    from convoy_subscriptions s where s.convoy_id = ${id}
    on conflict (dedupe_key) do nothing returning recipient`.execute(unit.trx);
  record(
    unit,
    'convoy_completed',
    { convoy_id: id, rig_id: convoy.rig_id },
    {
      before: { status: convoy.status },
      after: { status: 'completed' },
      total: before.total,
      notified: told.rows.map((row) => row.recipient),
    },
  );
  return findConvoy(unit.trx, id);
}

interface ConvoyRow {
  id: string;
  name: string;
  status: string;
  rig_id: string | null;
  created_at: Date;
  completed_at: Date | null;
}

async function selectConvoys(db: Kysely<Database>, tail: RawBuilder<unknown>): Promise<ConvoyRow[]> {
  const { rows } =
    await sql<ConvoyRow>`select id, name, status, rig_id, created_at, completed_at from convoys ${tail}`.execute(db);
  return rows;
}

async function findConvoy(db: Kysely<Database>, id: ConvoyId): Promise<ConvoyView> {
  const row = (await selectConvoys(db, sql`where id = ${id}`))[0];
  if (row === undefined)
    throw new TownError('NOT_FOUND', `there is no convoy ${id}`, { hint: 'see: town convoy list' });
  return convoyView(row, (await membersOf(db, [id])).get(id) ?? []);
}

async function membersOf(db: Kysely<Database>, ids: readonly ConvoyId[]): Promise<Map<ConvoyId, ConvoyTaskView[]>> {
  const { rows } = await sql<ConvoyTaskView & { convoy_id: ConvoyId }>`
    select c.convoy_id, t.id, t.title, t.status, t.outcome, t.assigned_agent_id, t.molecule_id,
      m.steps_total, m.steps_closed, m.resume_step_id
    from convoy_members c join tasks t on t.id = c.task_id left join molecules m on m.id = t.molecule_id
    where c.convoy_id = any(${[...ids]}::text[]) order by c.convoy_id, c.position, t.id`.execute(db);
  const byConvoy = new Map<ConvoyId, ConvoyTaskView[]>();
  for (const { convoy_id, ...task } of rows) byConvoy.set(convoy_id, [...(byConvoy.get(convoy_id) ?? []), task]);
  return byConvoy;
}

function convoyView(row: ConvoyRow, tasks: ConvoyTaskView[]): ConvoyView {
  const closed = tasks.filter((task) => task.status === 'closed').length;
  return {
    id: row.id,
    name: row.name,
    status: row.status,
    total: tasks.length,
    closed,
    percent: percentOf(tasks, closed),
    rig_id: row.rig_id,
    created_at: row.created_at.toISOString(),
    completed_at: row.completed_at?.toISOString() ?? null,
    tasks,
  };
}

/** Mean over the members, rounded down; 100 only when all are closed. */
function percentOf(tasks: readonly ConvoyTaskView[], closed: number): number {
  if (tasks.length === 0) return 0;
  if (closed === tasks.length) return 100;
  const done = tasks.reduce((sum, task) => sum + (task.status === 'closed' ? 1 : shareOf(task)), 0);
  return Math.min(99, Math.floor((done / tasks.length) * 100));
}

function shareOf(task: ConvoyTaskView): number {
  return task.steps_total === null || task.steps_total === 0 ? 0 : (task.steps_closed ?? 0) / task.steps_total;
}
