import { proxyActivities } from '@temporalio/workflow';

interface Activities {
  step(n: number): Promise<number>;
  publish(n: number): Promise<void>;
}

const { step } = proxyActivities<Activities>({
  taskQueue: 'bench-floor-hook',
  startToCloseTimeout: '30 days',
  heartbeatTimeout: '5s',
  retry: { maximumAttempts: 1 },
});
const { publish } = proxyActivities<Activities>({ startToCloseTimeout: '2s' });

/** What a chain of steps asks of the server, and nothing else: an activity on another queue, and one beside it on the own queue. */
export async function floor(steps: number): Promise<void> {
  for (let n = 0; n < steps; n += 1) {
    await step(n);
    void publish(n);
  }
}
