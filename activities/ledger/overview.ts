import { sql, type RawBuilder } from 'kysely';
import { TownError } from '../../schema/errors';
import type { Ledger, StaleFilter, TaskConditions } from '../../schema/ledger';
import { likenesses, SCORE_MIN, type Comparable } from '../../schema/task/duplicates';
import type { StaleTaskView, TaskStatsView } from '../../schema/task/overview';
import type { Store } from './command';
import * as input from './input';
import { allOf } from './pages';
import { IS_READY } from './ready';
import { BLOCKED, DORMANT, OVERDUE, STATUS } from './task-expressions';
import { sharedConditions } from './task-filter';
import { noTask, selectTasks } from './task-rows';
import { withTables } from './wisps-as-tasks';

/** Work in progress is left alone so long before it counts as stale: sessions and messages have their delays. */
const GRACE_MINUTES = 5;
/** Reading and comparing so many takes about 50 ms, in which nothing else is done. */
const COMPARED_MAX = 2_000;
/** As much of a description tells two tasks apart. */
const DESCRIPTION_CHARACTERS = 300;

type OverviewReads = Pick<Ledger, 'staleTasks' | 'duplicateTasks' | 'taskStats'>;

/** Reads over many tasks: each one scan of what is not closed, or of all, with a bounded answer. */
export function overviewReads(store: Store): OverviewReads {
  return {
    async staleTasks(filter) {
      const size = input.limit(filter.limit, 50);
      const { rows } = await staleQuery(filter, size + 1).execute(store.db);
      return input.pageOf(rows, size, (row) => input.encodeCursor({ at: row.updated_at, id: row.id }), staleView);
    },
    async duplicateTasks({ task_id, closed = false, score_min = SCORE_MIN, limit, ...conditions }) {
      const size = input.limit(limit, 50);
      if (!(score_min >= 0.3 && score_min <= 1)) {
        throw new TownError('INVALID_INPUT', `score ${score_min} is not a number from 0.3 to 1`);
      }
      const wisps = conditions.wisps === true;
      if (task_id !== undefined && (await selectTasks(store.db, sql`where id = ${task_id}`, wisps)).length === 0) {
        noTask(task_id);
      }
      const where = [...sharedConditions(conditions), ...(closed ? [] : [sql`status <> 'closed'`])];
      const columns = sql`id, title, left(description, ${DESCRIPTION_CHARACTERS}) as description, ${STATUS} as status, created_at`;
      const { rows } = await sql<Omit<Comparable, 'created_at'> & { status: string; created_at: Date }>`
        ${withTables(wisps)}(select ${columns} from tasks where id = ${task_id ?? null})
        union all
        (select ${columns} from tasks where ${allOf(where)} and id is distinct from ${task_id ?? null}
          order by created_at desc, id desc limit ${COMPARED_MAX + 1})`.execute(store.db);
      const compared = rows.slice(0, COMPARED_MAX);
      const byId = new Map(compared.map((row) => [row.id, row]));
      const { pairs, truncated } = likenesses(
        compared.map((row) => ({ ...row, created_at: row.created_at.toISOString() })),
        { scoreMin: score_min, about: task_id ?? null },
      );
      return {
        items: pairs.slice(0, size).map((pair) => ({
          ...pair,
          title: byId.get(pair.id)?.title ?? '',
          status: byId.get(pair.id)?.status ?? '',
          of_title: byId.get(pair.of)?.title ?? '',
          of_status: byId.get(pair.of)?.status ?? '',
        })),
        compared: compared.length,
        truncated: truncated || rows.length > compared.length || pairs.length > size,
      };
    },
    async taskStats(filter) {
      const { rows } = await statsQuery(filter).execute(store.db);
      const [row] = rows;
      if (row === undefined) throw new Error('a count without a row');
      return row.counts;
    },
  };
}

function staleView(row: StaleRow): StaleTaskView {
  const { id, title, status, type, priority, rig_id, assigned_agent_id, molecule_id, reason, touched_at } = row;
  return {
    id,
    title,
    status,
    type,
    priority,
    rig_id,
    assigned_agent_id,
    molecule_id,
    reason,
    touched_at: touched_at.toISOString(),
  };
}

interface StaleRow extends Omit<StaleTaskView, 'touched_at'> {
  readonly updated_at: Date;
  readonly touched_at: Date;
}

/** In the order of an index, so that a page is read without looking at what comes after it. */
function staleQuery(filter: StaleFilter, size: number): RawBuilder<StaleRow> {
  const { days = 14 } = filter;
  if (!(days >= 0 && days <= 36_500)) throw new TownError('INVALID_INPUT', `${days} is not a number of days`);
  const cursor = filter.cursor === undefined ? null : input.decodeCursor(filter.cursor);
  const conditions = [sql`status <> 'closed' and not pinned and not ${DORMANT}`, ...sharedConditions(filter)];
  if (cursor !== null) conditions.push(sql`(updated_at, id) > (${cursor.at}, ${cursor.id})`);
  const old = sql`clock_timestamp() - ${days}::float8 * interval '1 day'`;
  const grace = sql`clock_timestamp() - ${sql.lit(GRACE_MINUTES)} * interval '1 minute'`;
  const isAsleep = (agent: RawBuilder<unknown>) =>
    sql`not exists (select 1 from sessions x where x.agent_id = ${agent} and x.status <> 'ended')`;
  const isSaid = (table: RawBuilder<unknown>) =>
    sql`exists (select 1 from ${table} r where r.task_id = t.id and r.created_at >= ${old})`;
  return sql`
    ${withTables(filter.wisps === true)}select id, title, seen as status, type, priority, rig_id, assigned_agent_id, molecule_id, reason, updated_at,
      greatest(updated_at, molecule_updated_at, (select max(n.created_at) from task_notes n where n.task_id = found.id),
        (select max(c.created_at) from task_comments c where c.task_id = found.id)) as touched_at
    from (
      select t.id, t.title, t.seen, t.type, t.priority, t.rig_id, t.assigned_agent_id, t.molecule_id, t.updated_at,
        m.updated_at as molecule_updated_at,
        case
          when t.status = 'in_progress' and m.status = 'running' and m.attention is not null then 'attention'
          when t.status = 'in_progress' and t.updated_at < ${grace} and m.status in ('completed', 'failed', 'cancelled', 'refused')
            then 'molecule_ended'
          when t.status = 'in_progress' and t.updated_at < ${grace} and t.molecule_id is not null and m.id is null then 'not_started'
          when t.status = 'in_progress' and t.updated_at < ${grace} and t.molecule_id is null and t.assigned_agent_id is null
            then 'nobody'
          when t.status = 'in_progress' and t.updated_at < ${grace} and t.molecule_id is null
            and ${isAsleep(sql`t.assigned_agent_id`)} then 'no_session'
          when t.status = 'in_progress' and m.status = 'running' and exists (
            select 1 from steps s where s.molecule_id = m.id and s.status = 'hooked' and s.updated_at < ${grace}
              and ${isAsleep(sql`s.agent_id`)}) then 'no_session'
          when t.updated_at < ${old} and coalesce(m.updated_at < ${old}, true)
            and not ${isSaid(sql`task_notes`)} and not ${isSaid(sql`task_comments`)} then 'untouched'
        end as reason
      from (select tasks.*, ${STATUS} as seen from tasks where ${allOf(conditions)}) t
      left join molecules m on m.id = t.molecule_id
      where t.updated_at < ${old} or t.status = 'in_progress'
    ) found
    where reason is not null order by updated_at, id limit ${size}`;
}

function statsQuery(filter: TaskConditions): RawBuilder<{ counts: TaskStatsView }> {
  const countsBy = (key: RawBuilder<unknown>) =>
    sql`coalesce((select jsonb_object_agg(key, n order by key) from (select ${key} as key, count(*) as n from found group by 1) g), '{}')`;
  const success = sql`status = 'closed' and outcome in ('done', 'merged')`;
  const leadHours = sql`extract(epoch from completed_at - created_at) / 3600`;
  const found = sql`found as materialized (
      select id, title, status, type, priority, outcome, pinned, created_at, completed_at,
        ${STATUS} as seen,
        ${IS_READY} as is_ready,
        ${BLOCKED} as is_blocked,
        ${DORMANT} as is_deferred,
        ${OVERDUE} as is_overdue,
        status <> 'closed' and open_children = 0 and closed_children > 0 as is_closable
      from tasks where ${allOf(sharedConditions(filter))}
    )`;
  return sql`${withTables(filter.wisps === true, found)}select jsonb_build_object(
      'total', count(*),
      'by_status', ${countsBy(sql`seen`)},
      'by_type', ${countsBy(sql`type`)},
      'by_priority', ${countsBy(sql`priority::text`)},
      'ready', count(*) filter (where is_ready),
      'blocked', count(*) filter (where is_blocked),
      'deferred', count(*) filter (where is_deferred),
      'overdue', count(*) filter (where is_overdue),
      'pinned', count(*) filter (where pinned and status <> 'closed'),
      'closable', count(*) filter (where is_closable),
      'lead_hours_average', round(avg(${leadHours}) filter (where ${success}), 2),
      'lead_hours_median', round((percentile_cont(0.5) within group (order by ${leadHours}) filter (where ${success}))::numeric, 2),
      'closed_last_7_days', count(*) filter (where status = 'closed' and completed_at > clock_timestamp() - interval '7 days'),
      'oldest', (select jsonb_build_object('id', o.id, 'title', o.title, 'created_at',
          to_char(o.created_at at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'))
        from found o where o.status <> 'closed' order by o.created_at, o.id limit 1)
    ) as counts from found`;
}
