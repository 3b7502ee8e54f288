import { createFakeStepStates } from '../support/fakes/step-states';
import { describeStepStates } from './step-states';

describeStepStates('in memory', async () => {
  const states = createFakeStepStates();
  return {
    states,
    show: async (molecule_id, step, state) => states.show(molecule_id, step, state),
    release: async (agent, released) => states.release(agent, released),
    close: async () => undefined,
  };
});
