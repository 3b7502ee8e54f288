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
  /** The agent may stop with work on its hook (`town hook release`): no session is started for it until its hook is resumed. */
  isReleased(agent: AgentAddress): Promise<boolean>;
  /** Calls back with the ids of molecules and agents whose rows changed; with none when anything may have. Answers how to stop. */
  onChange(listener: (ids: readonly string[]) => void): () => void;
}

export function createStepStates(
  db: Kysely<Database>,
  onChange: (listener: (ids: readonly string[]) => void) => () => void,
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
    async isReleased(agent) {
      const hook = await db.selectFrom('hooks').select('status').where('agent_id', '=', agent).executeTakeFirst();
      return hook?.status === 'paused';
    },
    onChange,
  };
}
