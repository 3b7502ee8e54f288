import { applyEvent } from '../../schema/molecule/apply';
import type { Molecule, MoleculeEvent } from '../../schema/molecule/molecule';
import { changedSteps, moleculeRow, runEventOf, stepRow } from '../../schema/molecule/rows';
import type { ProjectionBatch } from '../../schema/runs';
import { RunLog } from '../run-log';

/** The log of a molecule. A batch has the rows of those steps alone that changed since the batch before. */
export class MoleculeLog {
  private readonly log: RunLog<Molecule, MoleculeEvent>;

  constructor(run: string, epoch: number, carried: Molecule | null) {
    const changed = new Set<number>();
    this.log = new RunLog<Molecule, MoleculeEvent>({
      run,
      epoch,
      carried,
      apply(before, recorded) {
        const after = applyEvent(before, recorded);
        for (const position of changedSteps(before, after)) changed.add(position);
        return after;
      },
      eventOf: runEventOf,
      rowsOf(molecule) {
        const steps = [...changed].sort((a, b) => a - b).map((position) => stepRow(molecule, position));
        changed.clear();
        return { kind: 'molecule', seq: molecule.seq, molecule: moleculeRow(molecule), steps };
      },
    });
  }

  get molecule(): Molecule {
    return this.log.state;
  }

  record(event: MoleculeEvent): void {
    this.log.record(event);
  }

  hasUnpublished(): boolean {
    return this.log.hasUnpublished();
  }

  takeBatch(): ProjectionBatch {
    return this.log.takeBatch();
  }
}
