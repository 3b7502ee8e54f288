import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { createDesk } from '../../activities/session/desk';
import { createSessions } from '../../activities/session/sessions';
import { createAttemptTokens } from '../../activities/session/tokens';
import { createWorktrees } from '../../activities/worktree/git-worktree';
import { DEFAULT_TIMINGS } from '../../schema/timings';
import { testDatabase } from '../support/database';
import { makeGitRig } from '../support/git-rig';
import { poured } from '../support/poured';
import { projectStep, stepStatesOf } from '../support/projected';
import { describeHookDesk } from './hook-desk';

describeHookDesk('on Postgres and git', async () => {
  const { root, rig } = makeGitRig();
  const database = await testDatabase({ max: 5 });
  const { db, ledger } = database;
  const { agent, rig_id, molecule_id, task_id } = await poured(ledger, ['work'], { path: rig, check: 'true' });
  const projection = await stepStatesOf(database);
  const log = () => undefined;
  const worktrees = createWorktrees({ root: join(root, 'trees') });
  const sessions = createSessions({
    ledger,
    worktrees,
    states: projection.states,
    hostId: 'host-1',
    root,
    logs: join(root, 'logs'),
    socket: join(root, 'sock'),
    bin: join(root, 'bin'),
    log,
  });
  const desk = createDesk({
    ledger,
    sessions,
    worktrees,
    states: projection.states,
    tokens: createAttemptTokens(join(root, 'tokens'), log),
    held: () => [agent],
    refreshHeld: async () => undefined,
    timings: DEFAULT_TIMINGS,
    checkLogs: join(root, 'checks'),
    log,
    attemptWaitMs: 50,
  });
  const { token: oldToken } = await desk.attach(agent, null, 'person:ada');
  const { token } = await desk.attach(agent, null, 'person:ada');
  // The molecule's run: it asks for the step, and publishes how it ended.
  const run = desk
    .performStep(
      {
        molecule_id,
        root_task_id: task_id,
        rig_id,
        agent,
        step: 'work',
        attempt: 1,
        dispatch: 1,
        base_commit: null,
        decision_id: 'decision-1',
      },
      {
        taskToken: Buffer.from('token'),
        signal: new AbortController().signal,
        heartbeat: () => undefined,
        cancelRequested: () => false,
      },
    )
    .then(({ outcome }) =>
      projectStep(db, molecule_id, 'work', {
        molecule_status: outcome === 'done' ? 'completed' : 'failed',
        step_status: 'closed',
        agent_id: agent,
        outcome,
      }),
    )
    .catch(log);
  return {
    desk,
    agent,
    molecule_id,
    token,
    oldToken,
    async close() {
      desk.detach(null, 'the test is over');
      await run;
      await sessions.stopAll([], 'the test is over');
      await projection.close();
      await database.drop();
      rmSync(root, { recursive: true, force: true });
    },
  };
});
