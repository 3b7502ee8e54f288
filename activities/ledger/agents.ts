import { sql, type Kysely, type RawBuilder } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import { parseAgentAddress, type AgentAddress } from '../../schema/ids';
import type { Ledger, Runtime } from '../../schema/ledger';
import type { AgentView } from '../../schema/views';
import { command, record, type Store } from './command';
import { json, line } from './input';
import { allOf, byName, having, mapPage } from './pages';
import { findRig } from './rigs';

type AgentCommands = Pick<
  Ledger,
  'addAgent' | 'getAgent' | 'agentsAt' | 'listAgents' | 'agentPage' | 'retireAgent' | 'seen'
>;

interface AgentRow extends Omit<AgentView, 'preset' | 'last_seen'> {
  runtime: Runtime;
  last_seen: Date | null;
}

export function agentCommands(store: Store): AgentCommands {
  return {
    addAgent(ask, agent) {
      parseAgentAddress(agent.id);
      line(agent.role, 'role', 40);
      const runtime = json({ ...agent.runtime }, 'runtime');
      return command(store, ask, 'addAgent', agent, async (unit) => {
        if (agent.rig_id !== null) await findRig(unit.trx, agent.rig_id);
        const { rows } = await sql`
          insert into agents (id, role, rig_id, name, runtime, worktree)
          values (${agent.id}, ${agent.role}, ${agent.rig_id}, ${agent.id.split('/').at(-1)}, ${runtime}::jsonb, ${agent.worktree ?? null})
          on conflict (id) do nothing returning id`.execute(unit.trx);
        if (rows.length === 0) {
          throw new TownError('ALREADY_EXISTS', `an agent ${agent.id} exists`, { hint: 'see: town agent list' });
        }
        await notifyAgent(unit.trx, agent.id);
        const added = await findAgent(unit.trx, agent.id);
        // Not the runtime: its environment may hold what should not stand in the trail.
        record(
          unit,
          'agent_added',
          { agent_id: agent.id, rig_id: agent.rig_id },
          { role: agent.role, preset: agent.runtime.preset },
        );
        return agentView(added);
      });
    },
    async getAgent(id) {
      const row = await findAgent(store.db, id);
      return { ...agentView(row), runtime: row.runtime };
    },
    async agentsAt(folder) {
      const { rows } = await sql<{ id: string; worktree: string }>`
        select id, worktree from agents
        where runtime ->> 'preset' = 'external' and status <> 'retired'
          and (worktree = ${folder} or starts_with(${folder}, worktree || '/'))
        order by length(worktree) desc, id limit 20`.execute(store.db);
      return rows;
    },
    async listAgents({ rig_id, status }) {
      const where = allOf(having({ rig_id, status }));
      return (await selectAgents(store.db, sql`where ${where} order by id collate "C"`)).map(agentView);
    },
    async agentPage({ rig_id, status, ...page }) {
      const select = (tail: RawBuilder<unknown>) => selectAgents(store.db, tail);
      return mapPage(await byName(page, 'id', having({ rig_id, status }), select), agentView);
    },
    retireAgent(ask, id) {
      return command(store, ask, 'retireAgent', { id }, async (unit) => {
        const before = await lockAgent(unit.trx, id);
        if (before.status !== 'retired') {
          await refuseWhileWorking(unit.trx, id);
          await sql`update agents set status = 'retired' where id = ${id}`.execute(unit.trx);
          await sql`delete from host_leases where agent_id = ${id}`.execute(unit.trx);
          await notifyAgent(unit.trx, id);
          record(
            unit,
            'agent_retired',
            { agent_id: id },
            { before: { status: before.status }, after: { status: 'retired' } },
          );
        }
        return agentView(await findAgent(unit.trx, id));
      });
    },
    async seen(agent) {
      await sql`insert into liveness (agent_id, last_seen) values (${agent}, clock_timestamp())
        on conflict (agent_id) do update set last_seen = excluded.last_seen`.execute(store.db);
    },
  };
}

/** Wakes hosts: an agent came, went, or is free to be taken. */
export async function notifyAgent(trx: Kysely<Database>, id: AgentAddress): Promise<void> {
  await sql`select pg_notify('town_agents', ${id})`.execute(trx);
}

/** The row, locked until the transaction ends. @throws NOT_FOUND */
export async function lockAgent(
  trx: Kysely<Database>,
  id: AgentAddress,
): Promise<{ status: string; incarnation: number; rig_id: string | null }> {
  const { rows } = await sql<{ status: string; incarnation: number; rig_id: string | null }>`
    select status, incarnation, rig_id from agents where id = ${id} for no key update`.execute(trx);
  return rows[0] ?? noAgent(id);
}

/** Locks the agent against retirement. @throws NOT_FOUND, WRONG_STATE when it does not take work. */
export async function expectActive(trx: Kysely<Database>, id: AgentAddress): Promise<{ rig_id: string | null }> {
  const { rows } = await sql<{ status: string; rig_id: string | null }>`
    select status, rig_id from agents where id = ${id} for share`.execute(trx);
  const agent = rows[0] ?? noAgent(id);
  if (agent.status !== 'active') {
    throw new TownError('WRONG_STATE', `${id} is ${agent.status}: it takes no work`, { hint: 'see: town agent list' });
  }
  return agent;
}

async function refuseWhileWorking(trx: Kysely<Database>, id: AgentAddress): Promise<void> {
  const { rows } = await sql<{ id: string }>`
    select id from tasks where assigned_agent_id = ${id} and status = 'in_progress' order by id limit 20`.execute(trx);
  if (rows.length === 0) return;
  const tasks = rows.map((row) => row.id);
  throw new TownError('HOOK_HAS_WORK', `${id} still holds ${tasks.join(', ')}`, {
    hint: `let it finish, or move the work: town hook show ${id}`,
    details: { tasks },
  });
}

async function findAgent(db: Kysely<Database>, id: AgentAddress): Promise<AgentRow> {
  return (await selectAgents(db, sql`where id = ${id}`))[0] ?? noAgent(id);
}

/** `tail` is the part from `where` on. */
async function selectAgents(db: Kysely<Database>, tail: RawBuilder<unknown>): Promise<AgentRow[]> {
  const { rows } = await sql<AgentRow>`
    select a.id, a.role, a.rig_id, a.name, a.status, a.incarnation, a.runtime, l.last_seen,
      (select h.host_id from host_leases h where h.agent_id = a.id and h.expires_at > clock_timestamp()) as host_id,
      (select jsonb_build_object('molecule_id', s.molecule_id, 'step', s.step, 'task_id', m.root_task_id)
        from steps s left join molecules m on m.id = s.molecule_id
        where s.agent_id = a.id and s.status = 'hooked' order by s.updated_at desc limit 1) as current
    from agents a left join liveness l on l.agent_id = a.id
    ${tail}`.execute(db);
  return rows;
}

function agentView(row: AgentRow): AgentView {
  return {
    id: row.id,
    role: row.role,
    rig_id: row.rig_id,
    name: row.name,
    status: row.status,
    incarnation: row.incarnation,
    preset: row.runtime.preset,
    last_seen: row.last_seen?.toISOString() ?? null,
    current: row.current,
    host_id: row.host_id,
  };
}

function noAgent(id: AgentAddress): never {
  throw new TownError('NOT_FOUND', `there is no agent ${id}`, { hint: 'see: town agent list' });
}
