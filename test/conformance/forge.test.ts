import { createGithub } from '../../activities/gate/forge';
import { startForgeServer } from '../support/forge-server';
import { describeForge } from './forge';

describeForge('GitHub, by its API', async () => {
  const server = await startForgeServer();
  const { url, answers } = server;
  answers.set('/actions/workflows?per_page=100', {
    body: { total_count: 1, workflows: [{ id: 5, name: 'build', path: '.github/workflows/build.yml' }] },
  });
  return {
    forge: createGithub({ token: 'good', apiUrl: url }),
    run(now) {
      const conclusion = now === 'running' ? null : now === 'succeeded' ? 'success' : 'failure';
      const run = { id: 12, status: now === 'running' ? 'in_progress' : 'completed', conclusion };
      answers.set('/actions/runs/12', { body: run });
      answers.set('/actions/workflows/5/runs?per_page=1', { body: { total_count: 1, workflow_runs: [run] } });
    },
    pull(now) {
      answers.set('/pulls/7', { body: { merged: now === 'merged', state: now === 'open' ? 'open' : 'closed' } });
    },
    close: () => server.close(),
  };
});
