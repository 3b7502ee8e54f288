import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from '@temporalio/worker';
import { quietRuntime } from '../../workers/connect';

const folder = join(__dirname, 'histories');
const histories = readdirSync(folder).filter((name) => name.endsWith('.json'));
const bundle = { codePath: join(__dirname, '..', '..', 'dist', 'workflow-bundle.js') };

const read = (name: string) =>
  JSON.parse(readFileSync(join(folder, name), 'utf8')) as { events: { eventType: string }[] };

beforeAll(() => quietRuntime(() => undefined));

it('has a history of each workflow type', () => {
  for (const type of ['molecule', 'agent', 'dispatcher', 'convoy']) {
    expect(histories.some((name) => name.startsWith(`${type}-`))).toBe(true);
  }
});

it.each(histories)('this build goes on with the recorded run %s', async (name) => {
  await expect(Worker.runReplayHistory({ workflowBundle: bundle }, read(name), name)).resolves.toBeUndefined();
});

it('notices a run that this build would not continue', async () => {
  const text = JSON.stringify(read('molecule-losses.json')).replaceAll('"askSlot"', '"askOther"');
  await expect(Worker.runReplayHistory({ workflowBundle: bundle }, JSON.parse(text), 'altered')).rejects.toThrow(
    /TMPRL1100/,
  );
});
