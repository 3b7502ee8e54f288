import { until } from '../support/until';
import { branchFaults, pourBranches, WORKED_ON } from '../bench/branches';
import { chainEnd, chainFaults, pourChain, withTown } from '../bench/chain';
import { KILL_KINDS, killOnce } from '../bench/kills';
import { killProcess } from '../demo/driven-town';

/* The short form of `npm run bench -- kills`: real processes, each kind of death once, on one chain of steps. Durations are the bench's. */

it('goes on at the same step after the death of a session, of the host and of everything, and does nothing twice', async () => {
  await withTown({ WORKER_THINK_MS: '150', WORKER_IDLE_MS: '600000' }, async (town) => {
    const id = await pourChain(town, 5);
    for (const kind of KILL_KINDS) await killOnce(town, kind);
    const molecule = await chainEnd(town, id, 120_000);
    expect(molecule.status).toBe('completed');
    expect(molecule.steps.every((step) => step.status === 'closed' && step.outcome === 'done')).toBe(true);
    expect(await chainFaults(town, molecule)).toEqual([]);
    const [agent] = await town.agents();
    // One session died alone and one with everything; the host's death left its session alive.
    expect(agent?.incarnation).toBe(3);
    expect(await town.json('audit', 'verify')).toMatchObject({ ok: true });
  });
}, 240_000);

it('leaves nothing behind when town down comes after the supervisor, or all but the sessions, was killed', async () => {
  await withTown({ WORKER_THINK_MS: '600000', WORKER_IDLE_MS: '600000' }, async (town) => {
    await pourChain(town, 2);
    const atWork = (count: number) =>
      until(
        () => (town.effects().filter(({ kind }) => kind === 'begin').length >= count ? true : null),
        `session ${count}`,
        60_000,
        50,
      );
    await atWork(1);
    killProcess(town.partPid('supervisor') ?? 0);
    expect(await town.down()).toEqual([]);

    await town.up();
    await atWork(2);
    for (const part of ['supervisor', 'service'] as const) killProcess(town.partPid(part) ?? 0);
    // withTown takes the town down and looks what is left.
  });
}, 240_000);

it('finishes branches, rounds, items and a timer exactly once, though the service is killed twice in between', async () => {
  const worker = { WORKER_THINK_MS: '300', WORKER_IDLE_MS: '600000' };
  await withTown(
    worker,
    async (town) => {
      const id = await pourBranches(town);
      const noted = () => town.effects().filter(({ kind }) => kind === 'record').length;
      for (const earliest of [2, WORKED_ON / 2]) {
        const at = Math.floor(earliest + (Math.random() * WORKED_ON) / 3);
        await until(() => noted() >= at, `${at} notes`, 60_000, 50);
        await town.killService();
      }
      const molecule = await chainEnd(town, id, 120_000);
      expect(await branchFaults(town, molecule)).toEqual([]);
      expect((await town.agents()).length).toBeGreaterThan(1);
      expect(await town.json('audit', 'verify')).toMatchObject({ ok: true });
    },
    undefined,
    3,
  );
}, 240_000);
