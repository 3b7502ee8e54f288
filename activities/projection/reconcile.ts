import type { Client } from '@temporalio/client';
import { WorkflowNotFoundError } from '@temporalio/client';
import { type Kysely, sql } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { runId } from '../../schema/ids';

/** A lane that still has a grant or a slot although its molecule has ended: `run` is the agent's or the dispatcher's. */
interface Leftover {
  readonly run: string;
  readonly update: 'release' | 'free';
  readonly molecule_id: string;
  readonly lane: number;
}

/** Old enough that the molecule's own release is not merely on its way. */
const SETTLED_SECONDS = 10;

/**
 * Takes grants and slots back from molecules that ended without giving them back (a lost message, a terminated run).
 * Idempotent: releasing what is free already changes nothing. Answers how many it asked for.
 */
export async function reconcile(db: Kysely<Database>, client: Client): Promise<number> {
  const left = await leftovers(db);
  for (const { run, update, molecule_id, lane } of left) {
    try {
      await client.workflow
        .getHandle(run)
        .executeUpdate(update, { args: [{ molecule_id, lane, reason: 'its molecule has ended' }] });
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
    }
  }
  return left.length;
}

async function leftovers(db: Kysely<Database>): Promise<Leftover[]> {
  const ended = sql<boolean>`m.status not in ('running', 'paused') and m.updated_at < now() - make_interval(secs => ${SETTLED_SECONDS})`;
  const grants = await sql<{ agent_id: string; molecule_id: string; lane: number }>`
    select i.agent_id, i.molecule_id, i.lane from hook_items i join molecules m on m.id = i.molecule_id where ${ended}`.execute(
    db,
  );
  const slots = await sql<{ rig_id: string; molecule_id: string; lane: number }>`
    select q.rig_id, q.molecule_id, q.lane from dispatch_queue q join molecules m on m.id = q.molecule_id where ${ended}`.execute(
    db,
  );
  return [
    ...grants.rows.map(({ agent_id, molecule_id, lane }) => ({
      run: runId.agent(agent_id),
      update: 'release' as const,
      molecule_id,
      lane,
    })),
    ...slots.rows.map(({ rig_id, molecule_id, lane }) => ({
      run: runId.dispatcher(rig_id),
      update: 'free' as const,
      molecule_id,
      lane,
    })),
  ];
}
