import { sql, type Kysely, type RawBuilder } from 'kysely';
import type { Database } from '../../schema/db/tables';
import type { TaskId } from '../../schema/ids';
import type { Ledger } from '../../schema/ledger';
import { explain, LISTED, type WhyFacts } from '../../schema/task/why';
import { HELD_ANCESTOR } from './blockage';
import type { Store } from './command';
import { noTask } from './task-rows';

/** So far back the events of a task are looked through, and the decisions of policy; what is older is not told. */
const EVENTS = 2_000;
const DECISIONS = 500;

export function whyReads(store: Store): Pick<Ledger, 'whyTask'> {
  return { whyTask: async (id) => explain(await factsOf(store.db, id)) };
}

type Row = Omit<WhyFacts, 'now' | 'task' | 'above'> &
  WhyFacts['task'] & { readonly above: WhyFacts['above']; readonly now_ms: number };

/** One statement, so that all facts are of one moment. Every list is bounded, and every part is found by an index. */
async function factsOf(db: Kysely<Database>, id: TaskId): Promise<WhyFacts> {
  const { rows } = await sql<Row>`
    with recent as materialized (
      select id, type, actor, molecule_id, payload, at from events where task_id = ${id} order by id desc limit ${EVENTS}
    )
    select t.id, t.title, t.status, t.type, t.rig_id, t.assigned_agent_id, t.molecule_id, t.outcome, t.close_reason,
      ${iso(sql`t.completed_at`)} as completed_at, ${iso(sql`t.defer_until`)} as defer_until, ${iso(sql`t.due_at`)} as due_at,
      ${iso(sql`t.updated_at`)} as updated_at, t.pinned,
      (extract(epoch from clock_timestamp()) * 1000)::float8 as now_ms,
      exists (select 1 from labels l where l.task_id = t.id and l.label = 'hold') as on_hold,
      (select r.actor from recent r where r.type = 'task_closed' order by r.id desc limit 1) as closed_by,
      ${iso(FREE_SINCE)} as free_since,
      ${heldOf(sql`t.id`)} as held_by,
      case when t.parent_blocked then ${ABOVE} end as above,
      ${DORMANT_PARENT} as dormant_parent,
      jsonb_build_object('total', t.open_children, 'ids', ${OPEN_PARTS}) as open_parts,
      ${CONVOYS} as convoys,
      ${MOLECULE} as molecule,
      ${START} as start,
      ${sessionOf(sql`t.assigned_agent_id`)} as session,
      ${FAILURE} as failure,
      ${DENIAL} as denial
    from tasks t where t.id = ${id}`.execute(db);
  const row = rows[0] ?? noTask(id);
  const { now_ms, held_by, above, dormant_parent, open_parts, convoys, molecule, start, session, failure, denial } =
    row;
  return {
    now: now_ms,
    task: row,
    held_by,
    above,
    dormant_parent,
    open_parts,
    convoys,
    molecule,
    start,
    session,
    failure,
    denial: denial !== null && denial.at >= row.free_since ? denial : null,
  };
}

const LIST = sql.lit(LISTED);

const FREE_SINCE = sql`coalesce((select r.at from recent r
  where r.type in ('task_created', 'task_unassigned', 'task_reopened', 'task_undeferred')
    or (r.type = 'task_status_changed' and r.payload->'after'->>'status' = 'open')
  order by r.id desc limit 1), t.created_at)`;

const ABOVE = sql`(select jsonb_build_object('id', p.id, 'title', p.title) || ${heldOf(sql`p.id`)}
  from tasks p where p.id = ${HELD_ANCESTOR})`;

/** As `NOT_BELOW_DORMANT` of ready: one level up. */
const DORMANT_PARENT = sql`(select jsonb_build_object('id', p.id, 'until', ${iso(sql`p.defer_until`)}) from tasks p
  where p.id = t.parent_id and p.status in ('open', 'deferred') and coalesce(p.defer_until > clock_timestamp(), p.status = 'deferred'))`;

const OPEN_PARTS = sql`${list(
  sql`to_jsonb(c.id)`,
  sql`(select id from tasks where parent_id = t.id and status <> 'closed' order by created_at, id limit ${LIST}) c`,
)}`;

const CONVOYS = list(
  sql`to_jsonb(c)`,
  sql`(select v.id, v.status, v.rig_id from convoy_members m join convoys v on v.id = m.convoy_id
    where m.task_id = t.id and v.status <> 'completed' order by v.created_at, v.id limit ${LIST}) c`,
);

const START = sql`(select jsonb_build_object('since', ${iso(sql`o.created_at`)}, 'tries', o.attempts, 'error', o.error,
    'failed_at', ${iso(sql`o.failed_at`)})
  from outbox o where o.target = 'molecule.' || t.molecule_id and o.delivered_at is null and o.message->>'kind' = 'start'
  order by o.n desc limit 1)`;

const HOOKED = list(
  sql`jsonb_build_object('step', s.step, 'agent', s.agent_id, 'attempt', s.attempt, 'since', ${iso(sql`s.updated_at`)},
    'session', ${sessionOf(sql`s.agent_id`)})`,
  stepsOf('hooked'),
);
const GATED = list(
  sql`jsonb_build_object('step', s.step, 'gate', s.gate->'spec',
    'since', ${iso(sql`coalesce(to_timestamp((s.gate->>'since')::float8 / 1000), s.updated_at)`)})`,
  stepsOf('gated'),
);
const READY = list(sql`jsonb_build_object('step', s.step, 'since', ${iso(sql`s.updated_at`)})`, stepsOf('ready'));

/** Null when one of its lanes has a grant: then it waits for nobody. */
const HOOK = sql`(select jsonb_build_object('agent', i.agent_id, 'since', ${iso(sql`i.since`)},
    'agent_status', coalesce((select h.status from hooks h where h.agent_id = i.agent_id), 'active'),
    'holder', (select g.molecule_id from hook_items g where g.agent_id = i.agent_id and g.state = 'granted' limit 1),
    'place', 1 + (select count(*) from hook_items b where b.agent_id = i.agent_id and b.state = 'waiting'
      and (b.priority, b.since, b.position) < (i.priority, i.since, i.position)))
  from hook_items i where i.molecule_id = m.id and i.state = 'waiting'
    and not exists (select 1 from hook_items g where g.molecule_id = m.id and g.state = 'granted')
  order by i.lane limit 1)`;

/** Null when one of its lanes has a worker. */
const DISPATCH = sql`(select jsonb_build_object('rig_id', q.rig_id, 'since', ${iso(sql`q.since`)},
    'busy', coalesce(d.busy, 0), 'workers_max', coalesce(d.workers_max, 0),
    'place', 1 + (select count(*) from dispatch_queue b where b.rig_id = q.rig_id and b.state = 'waiting'
      and (b.priority, b.since, b.position) < (q.priority, q.since, q.position)))
  from dispatch_queue q left join dispatchers d on d.rig_id = q.rig_id
  where q.rig_id = m.rig_id and q.molecule_id = m.id and q.state = 'waiting'
    and not exists (select 1 from dispatch_queue b where b.rig_id = m.rig_id and b.molecule_id = m.id and b.state = 'busy')
  order by q.lane limit 1)`;

const MOLECULE = sql`(select jsonb_build_object('id', m.id, 'status', m.status, 'attention', m.attention,
    'steps_total', m.steps_total, 'steps_closed', m.steps_closed,
    'hooked', ${HOOKED}, 'gated', ${GATED}, 'ready', ${READY}, 'hook', ${HOOK}, 'dispatch', ${DISPATCH})
  from molecules m where m.id = t.molecule_id)`;

/** Events of older builds have the number of the step there, and its name as `step_id`. */
const STEP = sql`coalesce(r.payload->>'step_id', r.payload->>'step')`;

/** The newest that was not made good: a step that was closed well after all is none. What a molecule closes as failed, its steps tell. */
const FAILURE = sql`(select jsonb_build_object(
    'what', case r.type when 'step_lost' then 'step_lost' when 'molecule_refused' then 'molecule_refused'
      when 'task_closed' then 'task_failed' else 'step_failed' end,
    'at', ${iso(sql`r.at`)}, 'molecule_id', r.molecule_id, 'step', ${STEP},
    'cause', case r.type when 'step_lost' then r.payload->>'reason' when 'task_closed' then r.actor else r.payload->>'by' end,
    'note', coalesce(case r.type when 'step_lost' then r.payload->>'detail' when 'molecule_refused' then r.payload->>'reason'
      when 'task_closed' then r.payload->'after'->>'close_reason' else r.payload->>'note' end, ''))
  from recent r where r.type = 'molecule_refused'
    or (r.type = 'task_closed' and r.payload->'after'->>'outcome' = 'failed' and r.actor not like 'molecule.%')
    or ((r.type in ('step_lost', 'step_retried') or (r.type = 'step_closed' and r.payload->>'outcome' = 'failed'))
      and not exists (select 1 from steps s where s.molecule_id = r.molecule_id and s.step = ${STEP}
        and s.status = 'closed' and s.outcome <> 'failed'))
  order by r.id desc limit 1)`;

const DENIAL = sql`(select jsonb_build_object('at', ${iso(sql`p.at`)}, 'actor', p.actor, 'target', p.question->>'target',
    'reasons', p.reasons)
  from (select * from policy_decisions order by at desc limit ${sql.lit(DECISIONS)}) p
  where t.status in ('open', 'deferred') and not p.allow and p.question->'task'->>'id' = t.id order by p.at desc limit 1)`;

/** `Held`: the edges that hold one task back. */
function heldOf(id: RawBuilder<unknown>): RawBuilder<unknown> {
  const edges = list(
    sql`jsonb_build_object('id', b.id, 'title', b.title, 'agent', b.assigned_agent_id, 'type', h.type,
      'gate', coalesce(h.metadata->>'gate', 'all-children'), 'outcome', b.outcome,
      'status', case when b.status = 'deferred' and b.defer_until <= clock_timestamp() then 'open' else b.status end,
      'open_children', b.open_children, 'closed_children', b.closed_children)`,
    sql`(select d.depends_on_id, d.type, d.metadata from task_dependencies d where d.task_id = ${id} and d.holds
      order by d.depends_on_id limit ${LIST}) h join tasks b on b.id = h.depends_on_id`,
  );
  return sql`jsonb_build_object('edges', ${edges},
    'total', (select count(*) from task_dependencies d where d.task_id = ${id} and d.holds))`;
}

/** `SessionFacts` of the newest session of an agent. */
function sessionOf(agent: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`(select jsonb_build_object('live', x.status <> 'ended', 'started_at', ${iso(sql`x.started_at`)},
      'ended_at', ${iso(sql`x.ended_at`)}, 'end_reason', x.end_reason, 'exit_code', x.exit_code)
    from sessions x where x.agent_id = ${agent} order by x.incarnation desc limit 1)`;
}

function stepsOf(status: string): RawBuilder<unknown> {
  return sql`(select * from steps where molecule_id = m.id and status = ${sql.lit(status)} order by position limit ${LIST}) s`;
}

/** A JSON array in the order of `from`. */
function list(item: RawBuilder<unknown>, from: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`coalesce((select jsonb_agg(${item}) from ${from}), '[]')`;
}

/** The text that `Date.toISOString` would make. */
function iso(time: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`to_char(${time} at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')`;
}
