import { createFakeForge } from '../support/fakes/forge';
import { describeForge } from './forge';

describeForge('in memory', async () => {
  const forge = createFakeForge();
  return {
    forge,
    run(now) {
      for (const name of ['12', 'build']) forge.runs.set(name, now);
    },
    pull: (now) => void forge.pulls.set('7', now),
    close: async () => undefined,
  };
});
