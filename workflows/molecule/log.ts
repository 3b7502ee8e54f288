import { applyEvent, type Molecule, type MoleculeEvent } from '../../schema/molecule/molecule';
import { changedSteps, moleculeRow, runEventOf, stepRow } from '../../schema/molecule/rows';
import type { ProjectionBatch, RunEvent } from '../../schema/runs';
import { now } from '../clock';

/** The molecule and its events that are not published yet: the one place where the run's state changes. */
export class MoleculeLog {
  private state: Molecule | null;
  private unpublished: RunEvent[] = [];
  private readonly changed = new Set<number>();

  private readonly run: string;
  private readonly epoch: number;

  constructor(run: string, epoch: number, state: Molecule | null) {
    this.run = run;
    this.epoch = epoch;
    this.state = state;
  }

  get molecule(): Molecule {
    if (this.state === null) throw new Error('the molecule is not poured yet');
    return this.state;
  }

  record(event: MoleculeEvent): void {
    const before = this.state;
    const recorded = { seq: (before?.seq ?? 0) + 1, at: now(), event };
    this.state = applyEvent(before, recorded);
    for (const position of changedSteps(before, this.state)) this.changed.add(position);
    this.unpublished.push(runEventOf(recorded, this.state));
  }

  hasUnpublished(): boolean {
    return this.unpublished.length > 0;
  }

  /** Takes what is unpublished. The caller gives it to an activity that is retried until it succeeds. */
  takeBatch(): ProjectionBatch {
    const molecule = this.molecule;
    const batch: ProjectionBatch = {
      run: this.run,
      epoch: this.epoch,
      events: this.unpublished,
      rows: {
        kind: 'molecule',
        seq: molecule.seq,
        molecule: moleculeRow(molecule),
        steps: [...this.changed].sort((a, b) => a - b).map((position) => stepRow(molecule, position)),
      },
    };
    this.unpublished = [];
    this.changed.clear();
    return batch;
  }
}
