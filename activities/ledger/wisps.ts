import { sql, type Selectable, type Transaction } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import { childIdOf, runId, taskIdOf, type AgentAddress, type MoleculeId, type TaskId } from '../../schema/ids';
import type { Ledger, Outcome, WispInput } from '../../schema/ledger';
import { isOutcome, type TaskStatus } from '../../schema/task/status';
import { ttlOf } from '../../schema/task/wisp';
import type { WispView } from '../../schema/views';
import { command, type Store, type Unit } from './command';
import { base36Of, idNumber, sha256Hex } from './digest';
import { addEdge, checkEdge } from './edges';
import * as input from './input';
import { moveTask } from './move';
import { checkTask, digestOfNew, insertTask, type NewTask } from './new-task';
import { having, mapPage } from './pages';
import { checkClose } from './progress';
import { prefixOf } from './rigs';
import { conditionsOf } from './task-filter';
import { lockForClosing, lockTask, selectTasks, taskView, viewTask, type TaskWithMore } from './task-rows';
import { taskPage } from './task-sort';

/*
 * Short-lived tasks: rows of `wisps` and nothing else. Their commands record no event and write no edge; an idempotency key is all that
 * is kept of them elsewhere, for as long as keys are kept. A short-lived molecule is a wisp with a run (`molecule_id`) and no root task:
 * its run publishes rows but no events (`activities/projection/project.ts`), and its receipts are deleted with it.
 */

type WispCommands = Pick<
  Ledger,
  | 'createWisp'
  | 'getWisp'
  | 'listWisps'
  | 'closeWisp'
  | 'promoteWisp'
  | 'burnWisps'
  | 'purgeWisps'
  | 'burnMolecule'
  | 'endWispMolecule'
>;
export type WispRow = Omit<Selectable<Database['wisps']>, 'status'> & { status: TaskStatus };

const PURGE_BATCH = 1_000;

export function wispCommands(store: Store): WispCommands {
  return {
    createWisp(ask, wisp) {
      const checked = checkWisp(wisp);
      return command(store, ask, 'createWisp', wisp, async (unit) => {
        const id = await insertWisp(unit, checked, 0, digestOfNew(unit, checked.task, 0));
        return viewWisp(unit.trx, id);
      });
    },
    getWisp: (id) => viewWisp(store.db, id),
    async listWisps({ wisp_type, molecule_id, ...filter }) {
      const conditions = [...conditionsOf(filter), sql`expires_at is not null`, ...having({ wisp_type, molecule_id })];
      return mapPage(await taskPage(store.db, { ...filter, wisps: true }, conditions), wispView);
    },
    closeWisp(ask, id, close) {
      checkClose(close);
      return command(store, ask, 'closeWisp', { id, close }, async (unit) => {
        const wisp = await lockWisp(unit.trx, id);
        if (wisp.status === 'closed' && wisp.outcome !== close.outcome) {
          throw new TownError('WRONG_STATE', `${id} is closed as ${wisp.outcome} already`, {
            hint: `see: town wisp show ${id}`,
          });
        }
        await refuseRunning(unit.trx, [wisp]);
        if (wisp.status !== 'closed') await closeRow(unit.trx, id, close.outcome, close.reason ?? null);
        return viewWisp(unit.trx, id);
      });
    },
    promoteWisp: (ask, id) => command(store, ask, 'promoteWisp', { id }, (unit) => promote(unit, id)),
    burnWisps: (ask, ids) =>
      command(store, ask, 'burnWisps', { ids }, async (unit) => {
        const wisps = await lockWithParts(unit.trx, checkIds(ids));
        await refuseRunning(unit.trx, wisps);
        await deleteWisps(unit.trx, wisps);
        return { burned: wisps.map((wisp) => wisp.id) };
      }),
    purgeWisps: () => purgeWisps(store),
    burnMolecule: (ask, id) =>
      command(store, ask, 'burnMolecule', { id }, async (unit) => {
        const wisp = await findOfMolecule(unit.trx, id);
        if (wisp === null) {
          await refuseDurable(unit.trx, id);
          return { burned: [] };
        }
        const wisps = await lockWithParts(unit.trx, [wisp.id]);
        await refuseRunning(unit.trx, wisps);
        await deleteWisps(unit.trx, wisps);
        return { burned: [id, ...wisps.map((each) => each.id)] };
      }),
    endWispMolecule: (ask, id, { outcome, reason }) =>
      command(store, ask, 'endWispMolecule', { id, outcome, reason }, async (unit) => {
        const wisp = await findOfMolecule(unit.trx, id);
        if (wisp === null || wisp.status === 'closed') return;
        await closeRow(unit.trx, wisp.id, outcome, reason === '' ? null : reason);
      }),
  };
}

export interface CheckedWisp {
  readonly task: NewTask;
  readonly wisp_type: string | null;
  readonly ttl_ms: number;
  readonly depends_on: readonly TaskId[];
}

/** @throws INVALID_INPUT, INPUT_TOO_LARGE */
export function checkWisp({ wisp_type = null, ttl_ms = null, depends_on = [], ...task }: WispInput): CheckedWisp {
  if (depends_on.length > 100) throw new TownError('INPUT_TOO_LARGE', 'a wisp waits for at most 100 others');
  return { task: checkTask(task), wisp_type, ttl_ms: ttlOf(wisp_type, ttl_ms), depends_on: [...new Set(depends_on)] };
}

/** Answers its id: `<prefix>-wisp-<hash>`, or `<parent>.<n>` for a part of a wisp. @throws NOT_FOUND for what it names */
async function insertWisp(unit: Unit, wisp: CheckedWisp, nth: number, digest: string): Promise<TaskId> {
  const { parent_id } = wisp.task;
  await expectKnown(unit.trx, [...wisp.depends_on, ...(parent_id === null ? [] : [parent_id])]);
  const parent = parent_id === null ? null : await countPart(unit.trx, parent_id);
  if (parent !== null) {
    const child = { ...wisp, task: { ...wisp.task, rig_id: wisp.task.rig_id ?? parent.rig_id } };
    return (await insertRow(unit, child, childIdOf(parent.id, parent.child_count), digest)) ?? alreadyThere(parent.id);
  }
  const prefix = `${await prefixOf(unit, wisp.task.rig_id)}-wisp`;
  for (let length = 5; length <= 13; length++) {
    const id = await insertRow(unit, wisp, taskIdOf(prefix, idNumber(digest), length), digest);
    if (id !== null) return id;
  }
  throw new Error(`no free id for wisp ${nth} of ${prefix} and ${digest}`);
}

/** In progress from the start; its run is started by the caller. The molecule's id is long: ids of runs are never used again. */
export async function insertWispMolecule(
  unit: Unit,
  wisp: CheckedWisp,
  agent: AgentAddress | null,
): Promise<{ task: WispView; molecule_id: MoleculeId }> {
  const digest = digestOfNew(unit, wisp.task, 0);
  const id = await insertWisp(unit, wisp, 0, digest);
  const molecule_id = `mol-${base36Of(sha256Hex(`${digest}\nwisp`), 13)}`;
  await sql`update wisps set molecule_id = ${molecule_id}, status = 'in_progress', assigned_agent_id = ${agent},
    started_at = clock_timestamp() where id = ${id}`.execute(unit.trx);
  return { task: await viewWisp(unit.trx, id), molecule_id };
}

/** Deletes what has outlived its time, in batches; idempotent. */
export async function purgeWisps(store: Store): Promise<number> {
  for (let purged = 0; ;) {
    const count = await store.db.transaction().execute(async (trx) => {
      const { rows } = await sql<WispRow>`
        select w.* from wisps w where w.expires_at <= clock_timestamp() and not ${IS_RUNNING}
        order by w.expires_at limit ${PURGE_BATCH} for update of w skip locked`.execute(trx);
      await deleteWisps(trx, rows);
      return rows.length;
    });
    purged += count;
    if (count < PURGE_BATCH) return purged;
  }
}

/** A run still works on it: it has begun and is not known to be over. */
const IS_RUNNING = sql`(w.molecule_id is not null and w.status <> 'closed' and not exists (
  select 1 from molecules m where m.id = w.molecule_id and m.status not in ('running', 'paused')))`;

/** @throws WRONG_STATE naming the molecules that still run. */
export async function refuseRunning(trx: Transaction<Database>, wisps: readonly WispRow[]): Promise<void> {
  const { rows } = await sql<{ molecule_id: string }>`
    select w.molecule_id from wisps w where w.id = any(${wisps.map((wisp) => wisp.id)}::text[]) and ${IS_RUNNING}
    order by 1 limit 20`.execute(trx);
  if (rows.length === 0) return;
  const running = rows.map((row) => row.molecule_id);
  throw new TownError('WRONG_STATE', `${running.join(', ')} is not over yet`, {
    hint: `wait for its end; see: town molecule show ${running[0]}`,
    details: { running },
  });
}

/** The wisps and all that is part of them, by depth; those that are not there are left out. Locked until the transaction ends. */
export async function lockWithParts(trx: Transaction<Database>, ids: readonly TaskId[]): Promise<WispRow[]> {
  const { rows } = await sql<WispRow>`
    with recursive below (id, depth) as (
      select id, 0 from wisps where id = any(${[...ids]}::text[])
      union
      select c.id, b.depth + 1 from below b join wisps c on c.parent_id = b.id where b.depth < 20
    )
    select w.* from wisps w join (select id, min(depth) as depth from below group by id) b on b.id = w.id
    order by b.depth, w.created_at, w.id for update of w`.execute(trx);
  return rows;
}

/** The wisps, and of short-lived molecules also the rows of their runs and their receipts. */
export async function deleteWisps(trx: Transaction<Database>, wisps: readonly WispRow[]): Promise<void> {
  const molecules = wisps.flatMap((wisp) => wisp.molecule_id ?? []);
  if (molecules.length > 0) {
    await sql`delete from steps where molecule_id = any(${molecules}::text[])`.execute(trx);
    await sql`delete from molecules where id = any(${molecules}::text[])`.execute(trx);
    await sql`delete from step_receipts where molecule_id = any(${molecules}::text[])`.execute(trx);
    await sql`delete from given_outputs where molecule_id = any(${molecules}::text[])`.execute(trx);
  }
  await sql`delete from wisps where id = any(${wisps.map((wisp) => wisp.id)}::text[])`.execute(trx);
}

export async function findOfMolecule(trx: Transaction<Database>, id: MoleculeId): Promise<WispRow | null> {
  const { rows } = await sql<WispRow>`select * from wisps where molecule_id = ${id} for update`.execute(trx);
  return rows[0] ?? null;
}

export function checkIds(ids: readonly TaskId[]): readonly TaskId[] {
  if (ids.length <= input.LIMITS.page) return ids;
  throw new TownError('INPUT_TOO_LARGE', `${ids.length} wisps at once; at most ${input.LIMITS.page}`);
}

export function noWisp(id: TaskId): never {
  throw new TownError('NOT_FOUND', `there is no wisp ${id}; it may have outlived its time`, {
    hint: 'see: town wisp list',
  });
}

/**
 * The wisp and its parts as tasks: made in the order of their depth, then brought to where they were. What they waited for is kept as far
 * as it is a task, or one of them.
 */
async function promote(
  unit: Unit,
  id: TaskId,
): Promise<{ task: ReturnType<typeof taskView>; ids: Record<string, string> }> {
  const wisps = await lockWithParts(unit.trx, [id]);
  if (wisps.length === 0) noWisp(id);
  await refuseRunning(unit.trx, wisps);
  const ids = new Map<string, string>();
  for (const [nth, wisp] of wisps.entries()) {
    const parent_id =
      wisp.parent_id === null ? null : (ids.get(wisp.parent_id) ?? (await ifTask(unit, wisp.parent_id)));
    const task = checkTask({
      title: wisp.title,
      description: wisp.description,
      type: wisp.type,
      priority: wisp.priority,
      rig_id: wisp.rig_id,
      parent_id,
      labels: wisp.labels,
      metadata: wisp.metadata,
      acceptance: wisp.acceptance,
      design: wisp.design,
      owner: wisp.owner,
      due_at: wisp.due_at?.toISOString() ?? null,
      defer_until: wisp.defer_until?.toISOString() ?? null,
    });
    ids.set(wisp.id, (await insertTask(unit, task, nth, wisp.digest)).id);
  }
  for (const wisp of wisps) {
    const task_id = ids.get(wisp.id) ?? '';
    for (const needed of wisp.depends_on) {
      const depends_on_id = ids.get(needed) ?? (await ifTask(unit, needed));
      if (depends_on_id !== null) await addEdge(unit, checkEdge({ task_id, depends_on_id, type: 'blocks' }));
    }
  }
  // Parts before their wholes, as anybody would close them.
  for (const wisp of wisps.toReversed()) await bring(unit, ids.get(wisp.id) ?? '', wisp);
  await deleteWisps(unit.trx, wisps);
  return { task: await viewTask(unit.trx, ids.get(id) ?? ''), ids: Object.fromEntries(ids) };
}

/** Status, who had it, and the times of the wisp, whatever holds it back now. */
async function bring(unit: Unit, id: TaskId, wisp: WispRow): Promise<void> {
  const { assigned_agent_id } = wisp;
  if (wisp.status === 'closed') {
    const { task, parent } = await lockForClosing(unit.trx, id);
    const outcome = wisp.outcome !== null && isOutcome(wisp.outcome) ? wisp.outcome : null;
    const how = { outcome, reason: wisp.close_reason, assigned_agent_id, force: true };
    await moveTask(unit, task, { to: 'closed', event: 'task_closed', ...how }, parent);
  } else if (wisp.status === 'in_progress') {
    const task = await lockTask(unit.trx, id);
    await moveTask(unit, task, { to: 'in_progress', event: 'task_claimed', assigned_agent_id, force: true });
  }
  await sql`update tasks set created_by = ${wisp.created_by}, created_at = ${wisp.created_at}, started_at = ${wisp.started_at},
    completed_at = case when status = 'closed' then ${wisp.completed_at}::timestamptz end where id = ${id}`.execute(
    unit.trx,
  );
}

async function ifTask(unit: Unit, id: TaskId): Promise<TaskId | null> {
  const { rows } = await sql`select 1 from tasks where id = ${id} and status <> 'closed'`.execute(unit.trx);
  return rows.length === 0 ? null : id;
}

async function expectKnown(trx: Transaction<Database>, ids: readonly TaskId[]): Promise<void> {
  if (ids.length === 0) return;
  const { rows } = await sql<{ id: string }>`
    select id from unnest(${[...ids]}::text[]) as named (id)
    where not exists (select 1 from tasks t where t.id = named.id) and not exists (select 1 from wisps w where w.id = named.id)
    limit 1`.execute(trx);
  const unknown = rows[0];
  if (unknown === undefined) return;
  throw new TownError('NOT_FOUND', `there is no task or wisp ${unknown.id}`, { hint: 'see: town task list --wisps' });
}

/** The wisp with its parts counted up by one, or null when the whole is a task: its parts are numbered there. */
async function countPart(
  trx: Transaction<Database>,
  id: TaskId,
): Promise<{ id: string; rig_id: string | null; child_count: number } | null> {
  const { rows } = await sql<{ id: string; rig_id: string | null; child_count: number }>`
    update wisps set child_count = child_count + 1 where id = ${id} returning id, rig_id, child_count`.execute(trx);
  return rows[0] ?? null;
}

/** Null when the id is taken. */
async function insertRow(unit: Unit, wisp: CheckedWisp, id: TaskId, digest: string): Promise<TaskId | null> {
  const { task } = wisp;
  const { rows } = await sql`
    insert into wisps (id, digest, rig_id, wisp_type, title, description, type, status, priority, owner, parent_id, acceptance, design,
      metadata, labels, depends_on, defer_until, due_at, created_by, expires_at)
    values (${id}, ${digest}, ${task.rig_id}, ${wisp.wisp_type}, ${task.title}, ${task.description}, ${task.type},
      case when ${task.defer_until}::timestamptz > clock_timestamp() then 'deferred' else 'open' end, ${task.priority},
      ${task.fields.owner ?? null}, ${task.parent_id}, ${task.fields.acceptance ?? null}, ${task.fields.design ?? null},
      ${task.metadata}::jsonb, ${[...task.labels]}::text[], ${[...wisp.depends_on]}::text[],
      case when ${task.defer_until}::timestamptz > clock_timestamp() then ${task.defer_until}::timestamptz end,
      ${task.fields.due_at ?? null}::timestamptz, ${unit.ask.actor}, clock_timestamp() + ${wisp.ttl_ms} * interval '1 millisecond')
    on conflict (id) do nothing returning id`.execute(unit.trx);
  return rows.length === 0 ? null : id;
}

async function lockWisp(trx: Transaction<Database>, id: TaskId): Promise<WispRow> {
  const { rows } = await sql<WispRow>`select * from wisps where id = ${id} for update`.execute(trx);
  return rows[0] ?? noWisp(id);
}

async function closeRow(
  trx: Transaction<Database>,
  id: TaskId,
  outcome: Outcome,
  reason: string | null,
): Promise<void> {
  await sql`update wisps set status = 'closed', outcome = ${outcome}, close_reason = ${reason}, updated_at = clock_timestamp(),
    completed_at = clock_timestamp() where id = ${id}`.execute(trx);
}

/** @throws WRONG_STATE for a molecule whose task is durable. */
async function refuseDurable(trx: Transaction<Database>, id: MoleculeId): Promise<void> {
  const { rows } = await sql`
    select 1 from molecules where id = ${id} and root_task_id is not null
    union all select 1 from events where molecule_id = ${id} and type = 'task_slung' limit 1`.execute(trx);
  if (rows.length === 0) return;
  throw new TownError(
    'WRONG_STATE',
    `${id} is the work of a task, and stays as long as that: only what is short-lived is burned`,
    {
      hint: `see: town molecule show ${id}; its run is ${runId.molecule(id)}`,
    },
  );
}

async function viewWisp(db: Store['db'], id: TaskId): Promise<WispView> {
  const row = (await selectTasks(db, sql`where id = ${id} and expires_at is not null`, true))[0];
  return row === undefined ? noWisp(id) : wispView(row);
}

function wispView(row: TaskWithMore): WispView {
  if (row.expires_at == null) throw new Error(`${row.id} is no wisp`);
  return { ...taskView(row), wisp_type: row.wisp_type ?? null, expires_at: row.expires_at.toISOString() };
}

function alreadyThere(parent: TaskId): never {
  throw new Error(`the next part of ${parent} exists`);
}
