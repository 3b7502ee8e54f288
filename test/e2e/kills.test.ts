import { chainEnd, chainFaults, pourChain, withTown } from '../bench/chain';
import { KILL_KINDS, killOnce } from '../bench/kills';

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

it('refuses with a code, says what to do, and changes nothing', async () => {
  await withTown({}, async (town) => {
    const refused = async (code: number, text: string, ...words: string[]) => {
      const end = await town.run(...words);
      expect([end.code, end.stdout]).toEqual([code, '']);
      expect(end.stderr).toContain(text);
    };
    await refused(3, 'NOT_FOUND', 'task', 'show', 'hanoi-zzzzz');
    await refused(2, 'USAGE', 'task', 'create', 'x', '--no-such-flag');
    await refused(2, 'INVALID_INPUT', 'task', 'create', '');
    await refused(3, 'FORMULA_NOT_FOUND', 'formula', 'show', 'absent');
    await refused(2, 'PATH_OUTSIDE_RIG', 'formula', 'show', '../../etc/passwd');
    const first = await town.json<{ id: string }>('task', 'create', 'first', '--rig', 'hanoi');
    const second = await town.json<{ id: string }>('task', 'create', 'second', '--rig', 'hanoi');
    await town.json('dep', 'add', second.id, first.id);
    await refused(4, 'DEPENDENCY_CYCLE', 'dep', 'add', first.id, second.id);
    await refused(4, 'OPEN_BLOCKERS', 'sling', second.id, 'hanoi');
    expect((await town.json<{ id: string }[]>('ready')).map(({ id }) => id)).toEqual([first.id]);
    expect(await town.json('audit', 'verify')).toMatchObject({ ok: true });
  });
}, 120_000);
