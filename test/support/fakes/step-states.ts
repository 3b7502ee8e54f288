import type { MoleculeId } from '../../../schema/ids';
import type { StepState, StepStates } from '../../../activities/session/step-states';

export interface FakeStepStates extends StepStates {
  /** Writes the row and tells the listeners, as a publication of the molecule's run does. */
  show(molecule_id: MoleculeId, step: string, state: StepState): void;
  /** Tells the listeners of a change of another row of the molecule. */
  touch(molecule_id: MoleculeId): void;
}

/** The projection's steps in memory. Passes test/conformance/step-states. */
export function createFakeStepStates(): FakeStepStates {
  const states = new Map<string, StepState>();
  const listeners = new Set<(molecule_ids: readonly MoleculeId[]) => void>();
  const touch = (molecule_id: MoleculeId) => {
    for (const listener of listeners) listener([molecule_id]);
  };
  return {
    read: async (molecule_id, step) => structuredClone(states.get(`${molecule_id}/${step}`) ?? null),
    onChange(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    show(molecule_id, step, state) {
      states.set(`${molecule_id}/${step}`, { ...state });
      touch(molecule_id);
    },
    touch,
  };
}
