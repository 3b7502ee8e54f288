import { sql } from 'kysely';
import type { Ledger } from '../../schema/ledger';
import { command, record, type Store } from './command';
import { randomId } from './digest';
import { json } from './input';

export function decisionCommands(store: Store): Pick<Ledger, 'recordDecision'> {
  return {
    recordDecision(decision) {
      const question = json(decision.question, 'question');
      return command(store, { actor: decision.actor }, 'recordDecision', null, async (unit) => {
        const id = randomId('dec', 12);
        await sql`
          insert into policy_decisions (id, action, actor, allow, reasons, question, input_digest, policy_hash)
          values (${id}, ${decision.action}, ${decision.actor}, ${decision.allow}, ${JSON.stringify(decision.reasons)}::jsonb,
            ${question}::jsonb, ${decision.input_digest}, ${decision.policy_hash})`.execute(unit.trx);
        const { action, allow, reasons, input_digest, policy_hash } = decision;
        record(unit, 'policy_decided', {}, { decision_id: id, action, allow, reasons, input_digest, policy_hash });
        return id;
      });
    },
  };
}
