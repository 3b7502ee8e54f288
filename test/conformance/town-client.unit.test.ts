import { fakeTown } from '../support/fakes/town';
import { describeTownClient } from './town-client';

describeTownClient('in memory', async () => ({
  town: fakeTown().client,
  incarnation: 2,
  seal: async () => undefined,
  close: async () => undefined,
}));
