import { sql, type Kysely } from 'kysely';

const STATEMENTS = [
  `alter table steps
    add column round integer not null default 1,
    add column template jsonb,
    add column bindings jsonb,
    add column gate jsonb`,
  `create index steps_gate_task on steps ((gate->'spec'->>'task_id')) where status = 'gated'`,
  `create index steps_gate_molecule on steps ((gate->'spec'->>'molecule_id')) where status = 'gated'`,
  `alter table step_receipts
    add column round integer not null default 1,
    drop constraint step_receipts_pkey,
    add primary key (molecule_id, step, round)`,
];

/** Steps that come while a molecule runs, what they wait at, and one receipt for each round of attempts. */
export const moleculeFlow = {
  async up(db: Kysely<unknown>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
  },
};
