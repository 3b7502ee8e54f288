import type { Forge } from '../../activities/gate/forge';
import type { PullNow, RunNow } from '../support/fakes/forge';

export interface ForgeScene {
  readonly forge: Forge;
  /** Run 12 is the newest of the workflow `build` from now on. */
  run(now: RunNow): void;
  /** Of pull request 7. */
  pull(now: PullNow): void;
  close(): Promise<void>;
}

const REPOSITORY = { host: 'github.com', owner: 'acme', name: 'web' };

/** What gates rely on when they look at a forge. */
export function describeForge(name: string, open: () => Promise<ForgeScene>): void {
  describe(`a forge: ${name}`, () => {
    let at: ForgeScene;
    beforeEach(async () => {
      at = await open();
    });
    afterEach(() => at.close());

    test.each([
      ['running', 'closed'],
      ['succeeded', 'open'],
      ['failed', 'refused'],
    ] as const)('a CI run that is %s is %s, by its number and by its workflow', async (now, kind) => {
      at.run(now);
      expect(await at.forge.ciRun(REPOSITORY, '12')).toEqual({ kind, reason: expect.stringContaining('CI run') });
      expect((await at.forge.ciRun(REPOSITORY, 'build')).kind).toBe(kind);
    });

    test.each([
      ['open', 'closed'],
      ['merged', 'open'],
      ['closed', 'refused'],
    ] as const)('a pull request that is %s is %s', async (now, kind) => {
      at.pull(now);
      expect(await at.forge.pullRequest(REPOSITORY, '7')).toEqual({
        kind,
        reason: expect.stringContaining('pull request 7'),
      });
    });

    test('what is not there will not open a gate by itself', async () => {
      expect((await at.forge.ciRun(REPOSITORY, '99')).kind).toBe('refused');
      expect((await at.forge.ciRun(REPOSITORY, 'nothing')).kind).toBe('refused');
      expect((await at.forge.pullRequest(REPOSITORY, '99')).kind).toBe('refused');
    });
  });
}
