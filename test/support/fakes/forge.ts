import type { Forge } from '../../../activities/gate/forge';
import type { GateState } from '../../../schema/runs';

export type RunNow = 'running' | 'succeeded' | 'failed';
export type PullNow = 'open' | 'merged' | 'closed';

/** A forge in memory: what runs and pull requests are now, by number (runs also by the name of their workflow). What nobody has set does
 *  not exist. Passes test/conformance/forge. */
export interface FakeForge extends Forge {
  readonly runs: Map<string, RunNow>;
  readonly pulls: Map<string, PullNow>;
}

const KIND: Readonly<Record<RunNow | PullNow, GateState['kind']>> = {
  running: 'closed',
  succeeded: 'open',
  failed: 'refused',
  open: 'closed',
  merged: 'open',
  closed: 'refused',
};

export function createFakeForge(): FakeForge {
  const runs = new Map<string, RunNow>();
  const pulls = new Map<string, PullNow>();
  const look = (now: RunNow | PullNow | undefined, what: string): Promise<GateState> =>
    Promise.resolve({ kind: now === undefined ? 'refused' : KIND[now], reason: `${what} is ${now ?? 'not there'}` });
  return {
    runs,
    pulls,
    ciRun: (_repository, run) => look(runs.get(run), `CI run ${run}`),
    pullRequest: (_repository, number) => look(pulls.get(number), `pull request ${number}`),
  };
}
