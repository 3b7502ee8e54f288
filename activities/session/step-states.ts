import type { Kysely } from 'kysely';
import type { Database } from '../../schema/db/tables';
import type { AgentAddress, MoleculeId } from '../../schema/ids';

/** What the projection says of a step: one round trip. */
export interface StepState {
  readonly molecule_status: string;
  readonly step_status: string;
  readonly agent_id: AgentAddress | null;
  readonly outcome: string | null;
  /** Present round of its attempts; absent: the first. */
  readonly round?: number;
}
export interface StepStates {
  /** Null when the projection does not know the step (yet). */
  read(molecule_id: MoleculeId, step: string): Promise<StepState | null>;
  /** Calls back with the ids of molecules whose rows changed; with none of them when anything may have. Answers how to stop. */
  onChange(listener: (molecule_ids: readonly MoleculeId[]) => void): () => void;
}

export function createStepStates(
  db: Kysely<Database>,
  onChange: (listener: (molecule_ids: readonly MoleculeId[]) => void) => () => void,
): StepStates {
  return {
    async read(molecule_id, step) {
      const row = await db
        .selectFrom('steps')
        .innerJoin('molecules', 'molecules.id', 'steps.molecule_id')
        .select([
          'molecules.status as molecule_status',
          'steps.status as step_status',
          'steps.agent_id',
          'steps.outcome',
          'steps.round',
        ])
        .where('steps.molecule_id', '=', molecule_id)
        .where('steps.step', '=', step)
        .executeTakeFirst();
      if (row === undefined) return null;
      const { round, ...state } = row;
      return round === 1 ? state : { ...state, round };
    },
    onChange,
  };
}

/** Molecules in these states schedule no more steps. */
export function isOver(molecule_status: string): boolean {
  return molecule_status === 'completed' || molecule_status === 'failed' || molecule_status === 'cancelled';
}
