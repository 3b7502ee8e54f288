import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { historyToJSON } from '@temporalio/common/lib/proto-utils';
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
  return { address, hook, update, rolledOver, firstRun: started.firstExecutionRunId };
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

it('is allowed to stop with work on its hook, and then gets nothing granted until it is resumed', async () => {
  const { town, ledger, rig } = it_;
  const person = { actor: 'person:test' };
  const agent = `${rig.id}/crew/cobalt`;
  await ledger.addAgent(person, { id: agent, role: 'crew', rig_id: rig.id, runtime: { preset: 'external' } });
  await town.release(person, agent, 'the day is over');
  expect(await town.hook(agent)).toMatchObject({ status: 'paused' });
  const hook = it_.temporal.client.workflow.getHandle(runId.agent(agent));
  const work = { molecule_id: 'mol-3', lane: 0, priority: 2, decision_id: 'd' };
  expect(await hook.executeUpdate('assign', { args: [work] })).toMatchObject({ granted: false });
  await town.resumeHook(person, agent, 'a new day');
  await it_.until('the grant', async () => (await town.hook(agent)).items[0]?.state === 'granted');
  await hook.terminate('the test is over');
});

it('continues as new when the server suggests it', async () => {
  const { hook, rolledOver, address, firstRun } = await startHook('basalt', 1_500);
  await rolledOver();
  await hook.terminate('the test is over');
  const first = it_.temporal.client.workflow.getHandle(runId.agent(address), firstRun);
  // A history so long that the server suggests it takes too long to make: the suggestion is written into one that ended in time.
  const history = JSON.parse(historyToJSON(await first.fetchHistory())) as {
    events: { workflowTaskStartedEventAttributes?: { suggestContinueAsNew?: boolean } }[];
  };
  const last = history.events.findLast((event) => event.workflowTaskStartedEventAttributes !== undefined);
  Object.assign(last?.workflowTaskStartedEventAttributes ?? {}, { suggestContinueAsNew: true });
  await expect(replay(history)).resolves.toMatchObject({ stderr: '' });
});

/** In a process of its own, since a run that spins cannot be stopped otherwise. */
async function replay(history: object) {
  const folder = mkdtempSync(join(tmpdir(), 'town-replay-'));
  const file = join(folder, 'history.json');
  const bundle = join(__dirname, '..', '..', 'dist', 'workflow-bundle.js');
  writeFileSync(file, JSON.stringify(history));
  const script = `const [codePath, file] = process.argv.slice(1);
    const { DefaultLogger, Runtime, Worker } = require('@temporalio/worker');
    Runtime.install({ logger: new DefaultLogger('ERROR') });
    Worker.runReplayHistory({ workflowBundle: { codePath } }, require(file), 'replayed').then(
      () => process.exit(0),
      (error) => { console.error(error); process.exit(1); },
    );`;
  try {
    return await promisify(execFile)(process.execPath, ['-e', script, bundle, file], {
      cwd: join(__dirname, '..', '..'),
      timeout: 30_000,
      killSignal: 'SIGKILL',
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
