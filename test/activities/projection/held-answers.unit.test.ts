import { createHeldAnswers } from '../../../activities/projection/held-answers';
import type { ProjectionBatch } from '../../../schema/runs';

function batch(molecule: string, status: string): ProjectionBatch {
  const rows = { kind: 'molecule', seq: 1, molecule: { id: molecule }, steps: [{ step: 'a', status }] };
  return { run: `molecule.${molecule}`, epoch: 1, events: [], rows } as unknown as ProjectionBatch;
}

/** Whether it has settled by now, without waiting for it. */
async function isSettled(promise: Promise<void>): Promise<boolean> {
  let settled = false;
  void promise.then(() => (settled = true));
  for (let turn = 0; turn < 5; turn += 1) await Promise.resolve();
  return settled;
}

describe('answers of publications', () => {
  beforeEach(() => jest.useFakeTimers());
  afterEach(() => jest.useRealTimers());

  it('travel with the end of a step of their molecule', async () => {
    const answers = createHeldAnswers();
    const held = [answers.hold(batch('m1', 'hooked')), answers.hold(batch('m1', 'hooked'))];
    const other = answers.hold(batch('m2', 'hooked'));
    answers.release('m1');
    await Promise.all(held);
    expect(await isSettled(other)).toBe(false);
    answers.release('m2');
    await other;
    expect(jest.getTimerCount()).toBe(0);
  });

  it('wait 100 ms at most', async () => {
    const held = createHeldAnswers().hold(batch('m1', 'hooked'));
    jest.advanceTimersByTime(99);
    expect(await isSettled(held)).toBe(false);
    jest.advanceTimersByTime(1);
    expect(await isSettled(held)).toBe(true);
  });

  it('do not wait when no step is put on a hook, nor for a step that ended before', async () => {
    const answers = createHeldAnswers();
    await answers.hold(batch('m1', 'closed'));
    await answers.hold({ run: 'agent.a', epoch: 1, events: [], rows: { kind: 'agent' } } as unknown as ProjectionBatch);
    answers.release('m1');
    expect(await isSettled(answers.hold(batch('m1', 'hooked')))).toBe(false);
  });
});
