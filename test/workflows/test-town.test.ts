import { startTestTown } from '../support/town';

const PERSON = { actor: 'person:test' };

it('a test town ends soon, though a script and a wait of a failed test would go on', async () => {
  const it_ = await startTestTown();
  const { rig, ledger, performed } = it_;
  const agent = `${rig.id}/polecats/amber`;
  await ledger.addAgent(PERSON, { id: agent, role: 'polecat', rig_id: rig.id, runtime: { preset: 'external' } });
  await it_.serve(agent, () => new Promise(() => undefined));
  const { id } = await ledger.createTask(PERSON, { title: 'never done', rig_id: rig.id });
  const wish = { formula: null, vars: {}, bare: true, resume: false };
  await it_.town.sling(PERSON, { ...wish, task_id: id, target: { kind: 'agent', id: agent } });
  await it_.until('the step', async () => performed.length > 0);

  const waiting = it_.until('what never comes', async () => false).catch(String);
  const started = Date.now();
  await it_.stop();
  expect(Date.now() - started).toBeLessThan(20_000);
  expect(await waiting).toContain('the town was stopped');
});
