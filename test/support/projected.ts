import type { Kysely } from 'kysely';
import { listen } from '../../activities/ledger/connect';
import { project } from '../../activities/projection/project';
import { createStepStates, type StepState, type StepStates } from '../../activities/session/step-states';
import type { Database } from '../../schema/db/tables';
import { runId, type AgentAddress, type MoleculeId } from '../../schema/ids';
import type { TestDatabase } from './database';

let seq = 0;

/** Publishes the row of one step and of its molecule, as the molecule's run would; a later call wins. */
export async function projectStep(
  db: Kysely<Database>,
  molecule_id: MoleculeId,
  step: string,
  { molecule_status, step_status, agent_id, outcome }: StepState,
): Promise<void> {
  seq += 1;
  const molecule = {
    id: molecule_id, root_task_id: null, rig_id: 'acme', formula: 'f', recipe_digest: 'd', status: molecule_status, agent_id,
    resume_step_id: null, steps_total: 1, steps_closed: 0, priority: 2, outcome: null, attention: null,
  }; // prettier-ignore
  const row = {
    step, position: 0, id: `${molecule_id}.${step}`, title: step, status: step_status, attempt: 1, agent_id, needs: [], outcome,
    note: null, commit_id: null, lost_reason: null, round: 1, template: null, bindings: null, gate: null,
  }; // prettier-ignore
  const run = `molecule.${molecule_id}`;
  await project(db, { run, epoch: 1, events: [], rows: { kind: 'molecule', seq, molecule, steps: [row] } });
}

/** Publishes the row of an agent's hook, which is empty, as its run would; a later call wins. */
export async function projectHook(db: Kysely<Database>, agent_id: AgentAddress, status: string): Promise<void> {
  seq += 1;
  const hook = { agent_id, status, granted_molecule_id: null, items: [] };
  await project(db, { run: runId.agent(agent_id), epoch: 1, events: [], rows: { kind: 'agent', seq, hook } });
}

/** What a host sees of the projection, put together as the service does it. */
export async function stepStatesOf({ url, db }: TestDatabase): Promise<{ states: StepStates; close(): Promise<void> }> {
  const listeners = new Set<(ids: readonly string[]) => void>();
  const listening = await listen(url, ['town_projection'], (_channel, payload) => {
    for (const listener of listeners) listener(payload === '' ? [] : [payload]);
  });
  const states = createStepStates(db, (listener) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  });
  return { states, close: () => listening.close() };
}
