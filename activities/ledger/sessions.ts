import { sql, type Kysely, type RawBuilder, type Selectable } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import type { Ledger, SessionRow } from '../../schema/ledger';
import type { SessionView } from '../../schema/views';
import { lockAgent } from './agents';
import { command, record, type Store } from './command';
import { randomId } from './digest';
import { decodeCursor, encodeCursor, limit, line, pageOf } from './input';

type SessionCommands = Pick<
  Ledger,
  'openSession' | 'recordSpawn' | 'endSession' | 'currentSession' | 'sessionByToken' | 'listSessions' | 'sessionPage'
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
        const previous = (await selectSessions(unit.trx, sql`agent_id = ${opening.agent}`, 1))[0] ?? null;
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
      const row = (await selectSessions(store.db, sql`agent_id = ${agent} and status <> 'ended'`, 1))[0];
      return row === undefined ? null : sessionRow(row);
    },
    async sessionByToken(token_hash) {
      const row = (await selectSessions(store.db, sql`token_hash = ${token_hash}`, 1))[0];
      return row === undefined ? null : sessionRow(row);
    },
    async listSessions(filter) {
      const conditions: RawBuilder<unknown>[] = [sql`true`];
      if (filter.agent_id !== undefined) conditions.push(sql`agent_id = ${filter.agent_id}`);
      if (filter.status !== undefined) conditions.push(sql`status = ${filter.status}`);
      return (await selectSessions(store.db, sql.join(conditions, sql` and `), limit(filter.limit, 100))).map(
        sessionView,
      );
    },
    async sessionPage(filter) {
      const size = limit(filter.limit, 50);
      const conditions: RawBuilder<unknown>[] = [sql`true`];
      if (filter.agent_id !== undefined) conditions.push(sql`agent_id = ${filter.agent_id}`);
      if (filter.status !== undefined) conditions.push(sql`status = ${filter.status}`);
      if (filter.cursor !== undefined) {
        const after = decodeCursor(filter.cursor);
        conditions.push(sql`(started_at, id) < (${after.at}, ${after.id})`);
      }
      const { rows } = await sql<Row>`select * from sessions where ${sql.join(conditions, sql` and `)}
        order by started_at desc, id desc limit ${size + 1}`.execute(store.db);
      return pageOf(rows, size, (row) => encodeCursor({ at: row.started_at, id: row.id }), sessionView);
    },
  };
}

/** Newest first. */
async function selectSessions(db: Kysely<Database>, condition: RawBuilder<unknown>, size: number): Promise<Row[]> {
  const { rows } = await sql<Row>`
    select * from sessions where ${condition} order by started_at desc, incarnation desc limit ${size}`.execute(db);
  return rows;
}

async function findSession(db: Kysely<Database>, id: string): Promise<Row> {
  const row = (await selectSessions(db, sql`id = ${id}`, 1))[0];
  if (row === undefined)
    throw new TownError('NOT_FOUND', `there is no session ${id}`, { hint: 'see: town session list' });
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
