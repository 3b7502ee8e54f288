import { sql, type Kysely } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import type { Ask } from '../../schema/ledger';

/**
 * Locks the agent's row until the transaction ends, so that no newer session can be opened beside this write.
 * @throws STALE_SESSION when a newer session exists already, or the agent is retired.
 */
export async function fenceSession(trx: Kysely<Database>, session: NonNullable<Ask['session']>): Promise<void> {
  const { rows } = await sql<{ incarnation: number; status: string }>`
    select incarnation, status from agents where id = ${session.agent} for no key update`.execute(trx);
  refuseStale(session, rows[0]);
}

/** `agent` is the row of the session's agent, locked by the transaction that writes. @throws NOT_FOUND, STALE_SESSION */
export function refuseStale(
  session: NonNullable<Ask['session']>,
  agent: { readonly incarnation: number; readonly status: string } | undefined,
): void {
  if (agent === undefined) {
    throw new TownError('NOT_FOUND', `there is no agent ${session.agent}`, { hint: 'see: town agent list' });
  }
  if (agent.incarnation === session.incarnation && agent.status !== 'retired') return;
  throw new TownError(
    'STALE_SESSION',
    agent.status === 'retired'
      ? `${session.agent} is retired: its sessions may not write any more`
      : `this is session ${session.incarnation} of ${session.agent}, and session ${agent.incarnation} has taken over its work`,
    {
      hint: 'stop here: what was asked was not done, and the newer session goes on with the work',
      details: { agent: session.agent, incarnation: session.incarnation, current: agent.incarnation },
    },
  );
}
