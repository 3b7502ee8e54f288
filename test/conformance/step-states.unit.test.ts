import { createFakeStepStates } from '../support/fakes/step-states';
import { describeStepStates } from './step-states';

describeStepStates('in memory', async () => {
  const states = createFakeStepStates();
  return {
    states,
    show: async (molecule_id, step, state) => states.show(molecule_id, step, state),
    close: async () => undefined,
  };
});
