import { sql, type Kysely, type RawBuilder, type Selectable } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import type { Ledger, SessionRow } from '../../schema/ledger';
import type { SessionView } from '../../schema/views';
import { lockAgent } from './agents';
import { command, record, type Store } from './command';
import { randomId } from './digest';
import { line } from './input';
import { having, mapPage, newestFirst } from './pages';

type SessionCommands = Pick<
  Ledger,
  'openSession' | 'recordSpawn' | 'endSession' | 'currentSession' | 'sessionByToken' | 'sessionPage'
>;
type Row = Selectable<Database['sessions']>;

export function sessionCommands(store: Store): SessionCommands {
  return {
    openSession(ask, opening) {
      line(opening.token_hash, 'token hash', 128);
      return command(store, ask, 'openSession', opening, async (unit) => {
        const agent = await lockAgent(unit.trx, opening.agent);
        if (agent.status !== 'active') {
          throw new TownError('WRONG_STATE', `${opening.agent} is ${agent.status}: no session may be opened for it`, {
            hint: 'see: town agent list',
          });
        }
        const previous = await newestSession(unit.trx, sql`agent_id = ${opening.agent}`);
        const incarnation = agent.incarnation + 1;
        const session_id = randomId('ses', 10);
        const revoked = await sql<{ id: string }>`
          update sessions set status = 'ended', ended_at = clock_timestamp(), end_reason = 'revoked'
          where agent_id = ${opening.agent} and status <> 'ended' returning id`.execute(unit.trx);
        await sql`update agents set incarnation = ${incarnation}, worktree = coalesce(${opening.worktree}, worktree)
          where id = ${opening.agent}`.execute(unit.trx);
        await sql`
          insert into sessions (id, agent_id, incarnation, preset, token_hash, status, host_id, worktree, molecule_id)
          values (${session_id}, ${opening.agent}, ${incarnation}, ${opening.preset}, ${opening.token_hash}, 'opening',
            ${opening.host_id}, ${opening.worktree}, ${opening.molecule_id})`.execute(unit.trx);
        record(
          unit,
          'session_opened',
          { agent_id: opening.agent, molecule_id: opening.molecule_id },
          {
            session_id,
            incarnation,
            host_id: opening.host_id,
            preset: opening.preset,
            revoked: revoked.rows.map((row) => row.id),
          },
        );
        return { session_id, incarnation, previous: previous === null ? null : sessionRow(previous) };
      });
    },
    recordSpawn(session_id, spawn) {
      return command(store, { actor: 'system:host' }, 'recordSpawn', null, async (unit) => {
        const { rows } = await sql<{ agent_id: string; incarnation: number }>`
          update sessions set boot_id = ${spawn.boot_id}, pid = ${spawn.pid}, pid_start = ${spawn.pid_start}, status = 'running'
          where id = ${session_id} and status <> 'ended' returning agent_id, incarnation`.execute(unit.trx);
        const session = rows[0];
        if (session === undefined) {
          const ended = await findSession(unit.trx, session_id);
          throw new TownError(
            'STALE_SESSION',
            `session ${session_id} of ${ended.agent_id} has ended (${ended.end_reason})`,
          );
        }
        record(
          unit,
          'session_spawned',
          { agent_id: session.agent_id },
          { session_id, incarnation: session.incarnation, pid: spawn.pid },
        );
      });
    },
    endSession(ask, session_id, end) {
      line(end.reason, 'reason', 500);
      return command(store, ask, 'endSession', { session_id, end }, async (unit) => {
        const { rows } = await sql<{ agent_id: string; molecule_id: string | null; incarnation: number }>`
          update sessions set status = 'ended', ended_at = clock_timestamp(), end_reason = ${end.reason}, exit_code = ${end.exit_code}
          where id = ${session_id} and status <> 'ended' returning agent_id, molecule_id, incarnation`.execute(
          unit.trx,
        );
        const session = rows[0];
        if (session === undefined) {
          await findSession(unit.trx, session_id);
          return;
        }
        record(
          unit,
          'session_ended',
          { agent_id: session.agent_id, molecule_id: session.molecule_id },
          { session_id, incarnation: session.incarnation, reason: end.reason, exit_code: end.exit_code },
        );
      });
    },
    async currentSession(agent) {
      const row = await newestSession(store.db, sql`agent_id = ${agent} and status <> 'ended'`);
      return row === null ? null : sessionRow(row);
    },
    async sessionByToken(token_hash) {
      const row = await newestSession(store.db, sql`token_hash = ${token_hash}`);
      return row === null ? null : sessionRow(row);
    },
    async sessionPage({ agent_id, status, ...page }) {
      const select = (tail: RawBuilder<unknown>) => selectSessions(store.db, tail);
      return mapPage(await newestFirst(page, 'started_at', having({ agent_id, status }), select), sessionView);
    },
  };
}

async function newestSession(db: Kysely<Database>, condition: RawBuilder<unknown>): Promise<Row | null> {
  const tail = sql`where ${condition} order by incarnation desc limit 1`;
  return (await selectSessions(db, tail))[0] ?? null;
}

async function selectSessions(db: Kysely<Database>, tail: RawBuilder<unknown>): Promise<Row[]> {
  return (await sql<Row>`select * from sessions ${tail}`.execute(db)).rows;
}

async function findSession(db: Kysely<Database>, id: string): Promise<Row> {
  const row = await newestSession(db, sql`id = ${id}`);
  if (row === null) throw new TownError('NOT_FOUND', `there is no session ${id}`, { hint: 'see: town session list' });
  return row;
}

function sessionView(row: Row): SessionView {
  return {
    id: row.id,
    agent_id: row.agent_id,
    incarnation: row.incarnation,
    preset: row.preset,
    status: row.status,
    host_id: row.host_id,
    pid: row.pid,
    worktree: row.worktree,
    molecule_id: row.molecule_id,
    started_at: row.started_at.toISOString(),
    ended_at: row.ended_at?.toISOString() ?? null,
    end_reason: row.end_reason,
    exit_code: row.exit_code,
  };
}

function sessionRow(row: Row): SessionRow {
  return { ...sessionView(row), token_hash: row.token_hash, boot_id: row.boot_id, pid_start: row.pid_start };
}
