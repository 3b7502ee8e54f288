import { poured } from '../support/poured';
import { testDatabase } from '../support/database';
import { describeHostLedger } from './host-ledger';

describeHostLedger('Postgres', async () => {
  const database = await testDatabase({ max: 5 });
  const { ledger } = database;
  const { agent, rig_id, molecule_id, task_id, check } = await poured(ledger, ['one', 'two']);
  return {
    ledger,
    rig_id,
    agent,
    molecule_id,
    check,
    async retire() {
      const person = { actor: 'person:ada' };
      await ledger.unassignTask(person, task_id, 'the agent goes');
      await ledger.retireAgent(person, agent);
    },
    close: () => database.drop(),
  };
});
