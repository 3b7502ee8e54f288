import type { MoleculeId } from '../../schema/ids';
import type { ProjectionBatch } from '../../schema/runs';

/**
 * Lets the answer of a publication travel with the end of the step that was scheduled beside it. What is published is there for every
 * reader already; but each answer that comes alone wakes the run for nothing, which costs two transactions of the server and a task of the
 * worker. Both ends are in one process, or no answer is held.
 */
export interface HeldAnswers {
  /** Settles when a step of the batch's molecule ends here, or after `HOLD_MS`; at once when the batch puts no step on a hook. */
  hold(batch: ProjectionBatch): Promise<void>;
  /** An attempt at a step of the molecule ends. */
  release(molecule: MoleculeId): void;
}

/** The next batch of the run waits as long, should nothing end here meanwhile. Far below the activity's 2 s. */
const HOLD_MS = 100;

export function createHeldAnswers(): HeldAnswers {
  const held = new Map<MoleculeId, Set<() => void>>();
  return {
    hold({ rows }) {
      if (rows.kind !== 'molecule' || !rows.steps.some(({ status }) => status === 'hooked')) return Promise.resolve();
      const { id } = rows.molecule;
      return new Promise((done) => {
        const answers = held.get(id) ?? new Set();
        held.set(id, answers);
        const answer = () => {
          clearTimeout(timer);
          answers.delete(answer);
          if (answers.size === 0) held.delete(id);
          done();
        };
        const timer = setTimeout(answer, HOLD_MS);
        answers.add(answer);
      });
    },
    release(molecule) {
      for (const answer of held.get(molecule) ?? []) answer();
    },
  };
}
