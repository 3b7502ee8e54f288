import type { AgentAddress, MoleculeId, RigId, TaskId } from '../../schema/ids';
import type { Ledger } from '../../schema/ledger';
import { chainOf } from './recipes';

export interface Poured {
  readonly rig_id: RigId;
  readonly agent: AgentAddress;
  readonly task_id: TaskId;
  readonly molecule_id: MoleculeId;
  /** The check of every step. */
  readonly check: string;
}

/** A rig `acme` whose external agent amber got a molecule of these steps, each of which needs the one before. No run is started. */
export async function poured(
  ledger: Ledger,
  steps: readonly string[],
  { path = '/repo', check = 'node --test' } = {},
): Promise<Poured> {
  const person = { actor: 'person:ada' };
  const [rig_id, agent] = ['acme', 'acme/polecats/amber'];
  const runtime = { preset: 'external' as const };
  await ledger.addRig(person, { id: rig_id, prefix: 'acme', path, default_branch: 'main', workers_max: 2, runtime });
  await ledger.addAgent(person, { id: agent, role: 'polecat', rig_id, runtime });
  const { task, molecule_id } = await ledger.pour(person, {
    recipe: chainOf(steps, { checks: [{ run: check, timeoutMs: 60_000 }] }),
    rig_id,
    target: { kind: 'agent', id: agent },
    decision_id: 'decision-1',
  });
  if (molecule_id === null) throw new Error('it was slung');
  return { rig_id, agent, task_id: task.id, molecule_id, check };
}
