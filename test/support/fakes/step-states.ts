import type { AgentAddress, MoleculeId } from '../../../schema/ids';
import type { StepState, StepStates } from '../../../activities/session/step-states';

export interface FakeStepStates extends StepStates {
  /** Writes the row and tells the listeners, as a publication of the molecule's run does. */
  show(molecule_id: MoleculeId, step: string, state: StepState): void;
  /** Tells the listeners of a change of another row of the molecule. */
  touch(molecule_id: MoleculeId): void;
  /** As `town hook release` and `town hook resume` change the row of a hook. */
  release(agent: AgentAddress, released: boolean): void;
}

/** The projection's steps in memory. Passes test/conformance/step-states. */
export function createFakeStepStates(): FakeStepStates {
  const states = new Map<string, StepState>();
  const released = new Set<AgentAddress>();
  const listeners = new Set<(ids: readonly string[]) => void>();
  const touch = (id: string) => {
    for (const listener of listeners) listener([id]);
  };
  return {
    read: async (molecule_id, step) => structuredClone(states.get(`${molecule_id}/${step}`) ?? null),
    isReleased: async (agent) => released.has(agent),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    show(molecule_id, step, state) {
      states.set(`${molecule_id}/${step}`, { ...state });
      touch(molecule_id);
    },
    touch,
    release(agent, isReleased) {
      if (isReleased) released.add(agent);
      else released.delete(agent);
      touch(agent);
    },
  };
}
