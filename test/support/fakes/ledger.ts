import { TownError } from '../../../schema/errors';
import type { Ledger, Receipt, Runtime, SessionRow } from '../../../schema/ledger';

/** The part of the ledger that an agent host needs for sessions and closes, in memory, with the real fencing rules. */
export type HostLedger = Pick<
  Ledger,
  | 'currentSession' | 'openSession' | 'recordSpawn' | 'endSession' | 'getAgent' | 'getRig' | 'sessionByToken'
  | 'getReceipt' | 'writeReceipt' | 'brief' | 'seen'
>; // prettier-ignore
export interface FakeLedger extends HostLedger {
  readonly sessions: SessionRow[];
  readonly receipts: Receipt[];
}

export function createFakeLedger(world: { rigPath: string; runtime: Runtime; checks?: readonly string[] }): FakeLedger {
  const sessions: SessionRow[] = [];
  const receipts: Receipt[] = [];
  const newest = (agent: string) => sessions.findLast((row) => row.agent_id === agent) ?? null;
  const find = async (molecule_id: string, step: string) =>
    receipts.find((row) => row.molecule_id === molecule_id && row.step === step) ?? null;
  const now = '2026-01-01T00:00:00.000Z';
  return {
    sessions,
    receipts,
    async openSession(_ask, opening) {
      const previous = newest(opening.agent);
      for (const row of sessions) {
        if (row.agent_id !== opening.agent || row.status === 'ended') continue;
        Object.assign(row, { status: 'ended', end_reason: 'revoked' });
      }
      const incarnation = (previous?.incarnation ?? 0) + 1;
      const id = `ses-${sessions.length + 1}-${process.pid}`;
      const { agent, ...rest } = opening;
      sessions.push({
        ...rest, id, agent_id: agent, incarnation, status: 'opening', pid: null, started_at: now,
        ended_at: null, end_reason: null, exit_code: null, boot_id: null, pid_start: null,
      }); // prettier-ignore
      return { session_id: id, incarnation, previous };
    },
    async recordSpawn(id, spawn) {
      Object.assign(
        sessions.find((row) => row.id === id)!,
        spawn,
        { status: 'running' },
      );
    },
    async endSession(_ask, id, end) {
      const row = sessions.find((one) => one.id === id)!;
      if (row.status !== 'ended')
        Object.assign(row, { status: 'ended', end_reason: end.reason, exit_code: end.exit_code });
    },
    async currentSession(agent) {
      return sessions.findLast((row) => row.agent_id === agent && row.status !== 'ended') ?? null;
    },
    async sessionByToken(hash) {
      return sessions.find((row) => row.token_hash === hash) ?? null;
    },
    async getAgent(id) {
      return {
        id, role: 'worker', rig_id: 'acme', name: 'amber', status: 'active', incarnation: newest(id)?.incarnation ?? 0,
        preset: world.runtime.preset, last_seen: null, current: null, host_id: null, runtime: world.runtime,
      }; // prettier-ignore
    },
    async getRig(id) {
      return {
        id, prefix: id, path: world.rigPath, default_branch: 'main', workers_max: 2, runtime: {},
        default_formula: null, created_at: now,
      }; // prettier-ignore
    },
    getReceipt: find,
    async writeReceipt(ask, input) {
      const { agent, incarnation } = ask.session!;
      if (newest(agent)?.incarnation !== incarnation)
        throw new TownError('STALE_SESSION', `${agent} has a later session`);
      const first = await find(input.molecule_id, input.step);
      if (first !== null) return { receipt: first, fresh: false };
      const receipt = { ...input, agent_id: agent, incarnation, at: now };
      receipts.push(receipt);
      return { receipt, fresh: true };
    },
    async brief(molecule_id, step) {
      return {
        molecule_id, step, step_id: `acme-k3f9a.${step}`, attempt: 1, dispatch: 1, title: step, instructions: '',
        acceptance: null, checks: [...(world.checks ?? [])], task_id: 'acme-k3f9a', task_title: null, task_description: null,
        formula: 'f', rig_id: 'acme', worktree: null, branch: null, steps_total: 2, steps_closed: 0, needs: [], notes: [],
        resumed: false,
      }; // prettier-ignore
    },
    async seen() {},
  };
}
