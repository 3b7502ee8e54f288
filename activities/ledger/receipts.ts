import { sql, type Kysely, type Selectable } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import type { Ledger, Receipt } from '../../schema/ledger';
import { command, record, type Store, withAttempts } from './command';
import { refuseStale } from './fence';
import { checkAsk, json, line, LIMITS, text } from './input';

type Row = Selectable<Database['step_receipts']>;
type NoRow = { readonly [Column in keyof Row]: null };

/** The agent's row as it was when the receipt was written or refused. */
interface Holder {
  readonly holder_incarnation: number;
  readonly holder_status: string;
}

/** Receipts: the one record that a step was closed. Unique by (molecule, step, round); whoever comes second reads the first. */
export function receiptCommands(store: Store): Pick<Ledger, 'writeReceipt' | 'giveOutput' | 'getReceipt'> {
  return {
    async writeReceipt(ask, input) {
      const { session } = ask;
      if (session === undefined) {
        throw new TownError('FORBIDDEN', 'only the session of an agent may write a receipt', {
          hint: 'run this inside a session; see: town prime',
        });
      }
      line(input.step, 'step', STEP_MAX);
      const { round = 1 } = input;
      text(input.note, 'note', LIMITS.noteBytes);
      const output = input.output === null ? null : json(input.output, 'output');
      checkAsk(ask);
      const { actor } = ask;
      const { molecule_id, step } = input;
      // Between two steps an agent waits for this: one statement is one transaction and one round trip.
      const { rows } = await withAttempts(() =>
        sql<Holder & (Row | NoRow)>`
          with holder as (
            select incarnation, status from agents where id = ${session.agent} for no key update
          ), written as (
            insert into step_receipts (molecule_id, step, round, agent_id, session_id, incarnation, attempt, outcome, note, commit_id, output)
            select ${molecule_id}::text, ${step}::text, ${round}::int, ${session.agent}::text, ${input.session_id}::text, incarnation,
              ${input.attempt}::int, ${input.outcome}::text, ${input.note}::text, ${input.commit_id}::text, ${output}::jsonb
            from holder where incarnation = ${session.incarnation} and status <> 'retired'
            on conflict (molecule_id, step, round) do nothing
            returning *
          ), told as (
            insert into events (type, actor, molecule_id, agent_id, payload)
            select 'step_receipt_written', ${actor}::text, molecule_id, agent_id, jsonb_build_object('step', step, 'round', round,
              'attempt', attempt, 'incarnation', incarnation, 'outcome', outcome, 'commit_id', commit_id)
            from written where not exists (select 1 from wisps where wisps.molecule_id = written.molecule_id)
            returning 1
          )
          select holder.incarnation as holder_incarnation, holder.status as holder_status, written.*,
            (select pg_notify('town_events', '') from told)
          from holder left join written on true`.execute(store.db),
      );
      const row = rows[0];
      refuseStale(session, row && { incarnation: row.holder_incarnation, status: row.holder_status });
      if (row !== undefined && row.molecule_id !== null) return { receipt: receiptOf(row), fresh: true };
      const first = await findReceipt(store.db, molecule_id, step, round);
      if (first === null) throw new Error(`receipt of ${molecule_id} ${step} vanished`);
      return { receipt: first, fresh: false };
    },
    async giveOutput(ask, given) {
      const { molecule_id, step, round } = given;
      line(step, 'step', STEP_MAX);
      const output = json(given.output, 'output');
      await command(store, ask, 'giveOutput', given, async (unit) => {
        const { rows } = await sql<{ is_wisp: boolean }>`
          insert into given_outputs (molecule_id, step, round, actor, output)
          values (${molecule_id}, ${step}, ${round}, ${ask.actor}, ${output}::jsonb)
          on conflict (molecule_id, step, round) do update
            set actor = excluded.actor, output = excluded.output, at = clock_timestamp()
          returning exists (select 1 from wisps where wisps.molecule_id = given_outputs.molecule_id) as is_wisp`.execute(
          unit.trx,
        );
        if (rows[0]?.is_wisp !== true) record(unit, 'step_output_given', { molecule_id }, { step, round });
      });
    },
    getReceipt: (molecule_id, step, round) => findReceipt(store.db, molecule_id, step, round ?? null),
  };
}

/** Steps that come while a molecule runs have the names of all they lie in. */
const STEP_MAX = 1_000;

/** `round` null: the present round of the step, as far as it is projected. */
async function findReceipt(
  db: Kysely<Database>,
  molecule_id: string,
  step: string,
  round: number | null,
): Promise<Receipt | null> {
  const { rows } = await sql<Row>`
    select * from step_receipts r where molecule_id = ${molecule_id} and step = ${step} and round = coalesce(${round},
      (select s.round from steps s where s.molecule_id = ${molecule_id} and s.step = ${step}), 1)`.execute(db);
  return rows[0] === undefined ? null : receiptOf(rows[0]);
}

function receiptOf(row: Row): Receipt {
  return {
    molecule_id: row.molecule_id,
    step: row.step,
    round: row.round,
    attempt: row.attempt,
    session_id: row.session_id,
    outcome: row.outcome === 'failed' ? 'failed' : 'done',
    note: row.note,
    commit_id: row.commit_id,
    output: row.output,
    agent_id: row.agent_id,
    incarnation: row.incarnation,
    at: row.at.toISOString(),
  };
}
