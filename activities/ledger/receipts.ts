import { sql, type Kysely, type Selectable } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import type { Ledger, Receipt } from '../../schema/ledger';
import { command, record, type Store } from './command';
import { json, line, LIMITS, text } from './input';

type Row = Selectable<Database['step_receipts']>;

/** Receipts: the one record that a step was closed. Unique by (molecule, step, round); whoever comes second reads the first. */
export function receiptCommands(store: Store): Pick<Ledger, 'writeReceipt' | 'getReceipt'> {
  return {
    writeReceipt(ask, input) {
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
      return command(store, ask, 'writeReceipt', input, async (unit) => {
        const { rows } = await sql<Row & { is_wisp: boolean }>`
          insert into step_receipts (molecule_id, step, round, agent_id, session_id, incarnation, attempt, outcome, note, commit_id, output)
          values (${input.molecule_id}, ${input.step}, ${round}, ${session.agent}, ${input.session_id}, ${session.incarnation}, ${input.attempt},
            ${input.outcome}, ${input.note}, ${input.commit_id}, ${output}::jsonb)
          on conflict (molecule_id, step, round) do nothing
          returning *, exists (select 1 from wisps where molecule_id = ${input.molecule_id}) as is_wisp`.execute(
          unit.trx,
        );
        const written = rows[0];
        if (written?.is_wisp === true) return { receipt: receiptOf(written), fresh: true };
        if (written !== undefined) {
          record(
            unit,
            'step_receipt_written',
            { molecule_id: input.molecule_id, agent_id: session.agent },
            {
              step: input.step,
              round,
              attempt: input.attempt,
              incarnation: session.incarnation,
              outcome: input.outcome,
              commit_id: input.commit_id,
            },
          );
          return { receipt: receiptOf(written), fresh: true };
        }
        const first = await findReceipt(unit.trx, input.molecule_id, input.step, round);
        if (first === null) throw new Error(`receipt of ${input.molecule_id} ${input.step} vanished`);
        return { receipt: first, fresh: false };
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
