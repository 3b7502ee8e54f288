import { clientOf } from '../support/client';
import { sealAll, testDatabase } from '../support/database';
import { describeTownClient } from './town-client';

describeTownClient('on Postgres', async () => {
  const database = await testDatabase({ max: 5 });
  const { ledger } = database;
  const person = { actor: 'person:ada' };
  const runtime = { preset: 'external' as const };
  await ledger.addRig(person, {
    id: 'acme',
    prefix: 'acme',
    path: '/repo',
    default_branch: 'main',
    workers_max: 2,
    runtime,
  });
  for (const name of ['amber', 'basil'])
    await ledger.addAgent(person, { id: `acme/polecats/${name}`, role: 'polecat', rig_id: 'acme', runtime });
  const opening = { agent: 'acme/polecats/amber', preset: 'external', host_id: 'h', worktree: null, molecule_id: null };
  await ledger.openSession(person, { ...opening, token_hash: 'first' });
  const { incarnation } = await ledger.openSession(person, { ...opening, token_hash: 'second' });
  return {
    town: await clientOf(ledger),
    incarnation,
    seal: () => sealAll(ledger),
    close: () => database.drop(),
  };
});
