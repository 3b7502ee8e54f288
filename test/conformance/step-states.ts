import type { StepState, StepStates } from '../../activities/session/step-states';
import type { AgentAddress, MoleculeId } from '../../schema/ids';

export interface StepStatesScene {
  readonly states: StepStates;
  /** Publishes what the projection says of a step from now on. */
  show(molecule_id: MoleculeId, step: string, state: StepState): Promise<void>;
  /** Publishes that the hook of the agent is paused, or is not any more. */
  release(agent: AgentAddress, released: boolean): Promise<void>;
  close(): Promise<void>;
}

const HOOKED: StepState = {
  molecule_status: 'running',
  step_status: 'hooked',
  agent_id: 'acme/polecats/amber',
  outcome: null,
};
const CLOSED: StepState = { ...HOOKED, molecule_status: 'completed', step_status: 'closed', outcome: 'done' };

/** What the desk of an agent host relies on when it looks at the projection. */
export function describeStepStates(name: string, open: () => Promise<StepStatesScene>): void {
  describe(`the states of steps: ${name}`, () => {
    let at: StepStatesScene;
    beforeEach(async () => {
      at = await open();
    });
    afterEach(() => at.close());

    /** Resolves at the first call that is about the molecule, or about any. */
    const changeOf = (molecule_id: string) => {
      const changed = Promise.withResolvers<readonly string[]>();
      const off = at.states.onChange((ids) => {
        if (ids.length > 0 && !ids.includes(molecule_id)) return;
        off();
        changed.resolve(ids);
      });
      return changed.promise;
    };

    test('a step is known once it is published, under its own molecule alone', async () => {
      expect(await at.states.read('mol-1', 'work')).toBeNull();
      await at.show('mol-1', 'work', HOOKED);
      expect(await at.states.read('mol-1', 'work')).toEqual(HOOKED);
      expect(await at.states.read('mol-2', 'work')).toBeNull();
      expect(await at.states.read('mol-1', 'other')).toBeNull();
      await at.show('mol-1', 'work', CLOSED);
      expect(await at.states.read('mol-1', 'work')).toEqual(CLOSED);
    });

    test('whoever listens is told of the molecule, and then reads what is new', async () => {
      await at.show('mol-1', 'work', HOOKED);
      const changes = [changeOf('mol-1'), changeOf('mol-1')];
      await at.show('mol-1', 'work', CLOSED);
      expect(await Promise.all(changes)).toEqual([['mol-1'], ['mol-1']]);
      expect(await at.states.read('mol-1', 'work')).toEqual(CLOSED);
    });

    test('an agent is released while its hook is paused, and listeners are told of it by its address', async () => {
      const agent = 'acme/polecats/amber';
      expect(await at.states.isReleased(agent)).toBe(false);
      for (const released of [true, false]) {
        const change = changeOf(agent);
        await at.release(agent, released);
        expect(await change).toEqual([agent]);
        expect(await at.states.isReleased(agent)).toBe(released);
      }
      expect(await at.states.isReleased('acme/polecats/basalt')).toBe(false);
    });

    test('whoever has stopped listening is told nothing more', async () => {
      const heard: string[] = [];
      const off = at.states.onChange((ids) => heard.push(...ids));
      off();
      const other = changeOf('mol-1');
      await at.show('mol-1', 'work', HOOKED);
      await other;
      expect(heard).toEqual([]);
    });
  });
}
