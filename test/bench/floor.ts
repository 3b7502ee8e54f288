/* How fast steps could be on this machine if the town did nothing: activities without a body on the town's own Temporal server. */
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Worker } from '@temporalio/worker';
import { quietRuntime } from '../../workers/connect';
import { timed } from './figures';

const STEPS = 300;

/** Milliseconds a step, over a chain of 300. */
export async function bareStep(address: string): Promise<number> {
  quietRuntime(() => undefined);
  const native = await NativeConnection.connect({ address });
  const connection = await Connection.connect({ address });
  try {
    const town = await Worker.create({
      connection: native,
      taskQueue: 'bench-floor',
      workflowsPath: require.resolve('./floor-workflow'),
      activities: { publish: () => Promise.resolve() },
    });
    const hook = await Worker.create({
      connection: native,
      taskQueue: 'bench-floor-hook',
      activities: { step: (n: number) => Promise.resolve(n) },
      maxConcurrentActivityTaskExecutions: 1,
      maxConcurrentActivityTaskPolls: 1,
    });
    const client = new Client({ connection });
    const chain = (steps: number) =>
      client.workflow.execute('floor', { taskQueue: 'bench-floor', workflowId: `floor-${steps}`, args: [steps] });
    return await town.runUntil(
      hook.runUntil(async () => {
        await chain(20); // the first ones pay for the start
        return (await timed(() => chain(STEPS))) / STEPS;
      }),
    );
  } finally {
    await connection.close();
    await native.close();
  }
}
