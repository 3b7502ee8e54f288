import { createFakeLedger } from '../support/fakes/ledger';
import { describeHostLedger } from './host-ledger';

describeHostLedger('in memory', async () => {
  const check = 'node --test';
  const ledger = createFakeLedger({
    rigPath: '/repo',
    runtime: { preset: 'external' },
    checks: [{ run: check, timeout_ms: 60_000 }],
    molecules: { 'mol-1': ['one', 'two'] },
  });
  return {
    ledger,
    rig_id: 'acme',
    agent: 'acme/polecats/amber',
    molecule_id: 'mol-1',
    check,
    retire: async () => ledger.retire(),
    close: async () => undefined,
  };
});
