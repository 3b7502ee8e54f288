import { testDatabase } from '../support/database';
import { projectHook, projectStep, stepStatesOf } from '../support/projected';
import { describeStepStates } from './step-states';

describeStepStates('the projection in Postgres', async () => {
  const database = await testDatabase({ max: 5 });
  const projection = await stepStatesOf(database);
  return {
    states: projection.states,
    show: (molecule_id, step, state) => projectStep(database.db, molecule_id, step, state),
    release: (agent, released) => projectHook(database.db, agent, released ? 'paused' : 'active'),
    async close() {
      await projection.close();
      await database.drop();
    },
  };
});
