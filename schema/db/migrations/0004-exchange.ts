import { sql, type Kysely } from 'kysely';

const STATEMENTS = [
  // No reference to the other task: that it is not there is the most frequent reason.
  `create table dependencies_aside (
    task_id text not null references tasks (id),
    depends_on_id text not null,
    type text not null,
    reason text not null,
    metadata jsonb not null default '{}',
    thread_id text,
    created_by text not null,
    created_at timestamptz(3) not null,
    primary key (task_id, depends_on_id, type)
  )`,
  `create index dependencies_aside_on on dependencies_aside (depends_on_id)`,
  `create index exports_digest on exports (digest)`,
  `create index imports_digest on imports (digest) where digest is not null`,
];

/** What was imported and cannot be an edge yet, or not here. */
export const exchange = {
  async up(db: Kysely<unknown>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
  },
};
