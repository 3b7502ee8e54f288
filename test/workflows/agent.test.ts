import { runId } from '../../schema/ids';
import type { AgentInput } from '../../schema/runs';
import { FAST, startTestTown, type TestTown } from '../support/town';

let it_: TestTown;
beforeAll(async () => {
  it_ = await startTestTown();
});
afterAll(() => it_.stop());

/** Starts the run of an agent's hook, with two molecules on it and messages up to number 8 applied. */
async function startHook(name: string, rolloverMs: number) {
  const address = `${it_.rig.id}/crew/${name}`;
  const input: AgentInput = { version: 1, address, epoch: 1, timings: { ...FAST, rolloverMs }, state: null };
  const started = await it_.temporal.client.workflow.start('agent', {
    workflowId: runId.agent(address),
    taskQueue: `${it_.rig.id}.town`,
    args: [input],
  });
  const hook = it_.temporal.client.workflow.getHandle(runId.agent(address));
  const update = (what: string, message: object) => hook.executeUpdate(what, { args: [message] });
  for (const molecule_id of ['mol-1', 'mol-2'])
    await update('assign', { molecule_id, lane: 0, priority: 2, decision_id: 'd' });
  await update('pause', { reason: 'lunch', n: 7 });
  await update('resume', { reason: 'back', n: 8 });
  const rolledOver = () =>
    it_.until('the next run of the hook', async () => {
      const { runId: current } = await hook.describe();
      return current !== started.firstExecutionRunId;
    });
  return { address, hook, update, rolledOver };
}

it('hands its hook, and which messages it has applied, to the next run', async () => {
  const { address, hook, update, rolledOver } = await startHook('amber', 1_500);
  await rolledOver();
  // Told again what was applied before: ignored.
  expect(await update('pause', { reason: 'lunch', n: 7 })).toEqual({ status: 'active' });
  expect(await update('release', { molecule_id: 'mol-1', lane: 0, reason: 'done' })).toEqual({ released: true });
  const items = await it_.until('the grant of the second', async () => {
    const rows = await it_.db.selectFrom('hook_items').selectAll().where('agent_id', '=', address).execute();
    return rows.length === 1 && rows;
  });
  expect(items).toMatchObject([{ molecule_id: 'mol-2', state: 'granted' }]);
  await hook.terminate('the test is over');
});
