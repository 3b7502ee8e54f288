import { createFakeDesk, OLD_TOKEN, TOKEN } from '../support/fakes/desk';
import { step } from '../support/fakes/town';
import { describeHookDesk } from './hook-desk';

describeHookDesk('in memory', async () => ({
  desk: createFakeDesk(step),
  agent: 'acme/polecats/amber',
  molecule_id: step.molecule_id,
  token: TOKEN,
  oldToken: OLD_TOKEN,
  close: async () => undefined,
}));
