import { sql, type Kysely } from 'kysely';

/** As in `0002-work-graph.ts`; repeated by the queries of `activities/ledger/ready.ts`. */
const READY = `open_blockers = 0 and not parent_blocked and not pinned and assigned_agent_id is null
  and type not in ('merge-request', 'gate', 'message', 'agent', 'role', 'rig', 'event')`;

const STATEMENTS = [
  // By time alone, all that was ever put off and is open again was read and sorted for every look at what is ready.
  `drop index tasks_deferred`,
  `create index tasks_put_off on tasks (priority, created_at, id, defer_until)
    where (defer_until is not null or status = 'deferred') and status in ('open', 'deferred') and ${READY}`,
];

/** Work that was put off is found in the order of ready. */
export const readyOrder = {
  async up(db: Kysely<unknown>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
  },
};
