import { sql, type Kysely } from 'kysely';

const STATEMENTS = [
  `create table given_outputs (
    molecule_id text not null,
    step text not null,
    round integer not null,
    actor text not null,
    output jsonb not null,
    at timestamptz(3) not null default clock_timestamp(),
    primary key (molecule_id, step, round)
  )`,
];

/** What people gave as the output of steps that they closed themselves: such a step has no receipt. */
export const givenOutputs = {
  async up(db: Kysely<unknown>): Promise<void> {
    for (const statement of STATEMENTS) await sql.raw(statement).execute(db);
  },
};
