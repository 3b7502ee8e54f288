import { TownError } from '../../../schema/errors';
import type { MoleculeId } from '../../../schema/ids';
import type { Ledger, Receipt, Runtime, SessionRow } from '../../../schema/ledger';
import type { StepBrief } from '../../../schema/views';

/** The part of the ledger that an agent host needs for sessions and closes. It asks without idempotency keys. */
export type HostLedger = Pick<
  Ledger,
  | 'currentSession' | 'openSession' | 'recordSpawn' | 'endSession' | 'getAgent' | 'getRig' | 'sessionByToken'
  | 'getReceipt' | 'writeReceipt' | 'brief' | 'seen'
>; // prettier-ignore
export interface FakeLedger extends HostLedger {
  readonly sessions: SessionRow[];
  readonly receipts: Receipt[];
  retire(): void;
}

const AGENT = 'acme/polecats/amber';
const RIG = 'acme';
const TASK = 'acme-k3f9a';
const AT = '2026-01-01T00:00:00.000Z';

/** In memory: the rig `acme`, the agent amber, and molecules whose steps each need the one before. Passes test/conformance/host-ledger. */
export function createFakeLedger(world: {
  readonly rigPath: string;
  readonly runtime: Runtime;
  readonly checks?: StepBrief['checks'];
  readonly molecules: Readonly<Record<MoleculeId, readonly string[]>>;
}): FakeLedger {
  const sessions: SessionRow[] = [];
  const receipts: Receipt[] = [];
  let status = 'active';
  let lastSeen: string | null = null;

  const newest = () => sessions.at(-1) ?? null;
  const incarnationNow = () => newest()?.incarnation ?? 0;
  const copy = <Row>(row: Row | null | undefined): Row | null => structuredClone(row ?? null);
  const receiptOf = (molecule_id: string, step: string, round = 1) =>
    copy(receipts.find((row) => row.molecule_id === molecule_id && row.step === step && row.round === round));

  function sessionOf(id: string): SessionRow {
    const row = sessions.find((one) => one.id === id);
    if (row === undefined) throw new TownError('NOT_FOUND', `there is no session ${id}`);
    return row;
  }
  function end(row: SessionRow, reason: string, exit_code: number | null): void {
    if (row.status !== 'ended') Object.assign(row, { status: 'ended', ended_at: AT, end_reason: reason, exit_code });
  }
  function expectAgent(id: string): void {
    if (id !== AGENT) throw new TownError('NOT_FOUND', `there is no agent ${id}`);
  }

  return {
    sessions,
    receipts,
    retire() {
      status = 'retired';
    },
    async openSession(_ask, { agent, ...opening }) {
      expectAgent(agent);
      if (status !== 'active') throw new TownError('WRONG_STATE', `${agent} is ${status}`);
      const previous = copy(newest());
      for (const row of sessions) end(row, 'revoked', null);
      const incarnation = incarnationNow() + 1;
      const id = `ses-${incarnation}-${process.pid}`;
      sessions.push({
        ...opening, id, agent_id: agent, incarnation, status: 'opening', pid: null, started_at: AT,
        ended_at: null, end_reason: null, exit_code: null, boot_id: null, pid_start: null,
      }); // prettier-ignore
      return { session_id: id, incarnation, previous };
    },
    async recordSpawn(id, spawn) {
      const row = sessionOf(id);
      if (row.status === 'ended') throw new TownError('STALE_SESSION', `session ${id} has ended`);
      Object.assign(row, spawn, { status: 'running' });
    },
    async endSession(_ask, id, { reason, exit_code }) {
      end(sessionOf(id), reason, exit_code);
    },
    async currentSession(agent) {
      return copy(sessions.findLast((row) => row.agent_id === agent && row.status !== 'ended'));
    },
    async sessionByToken(hash) {
      return copy(sessions.find((row) => row.token_hash === hash));
    },
    async getAgent(id) {
      expectAgent(id);
      return {
        id, role: 'polecat', rig_id: RIG, name: 'amber', status, incarnation: incarnationNow(),
        preset: world.runtime.preset, last_seen: lastSeen, current: null, host_id: null, runtime: world.runtime,
      }; // prettier-ignore
    },
    async getRig(id) {
      if (id !== RIG) throw new TownError('NOT_FOUND', `there is no rig ${id}`);
      return {
        id, prefix: id, path: world.rigPath, default_branch: 'main', workers_max: 2, runtime: {},
        default_formula: null, created_at: AT,
      }; // prettier-ignore
    },
    async getReceipt(molecule_id, step, round) {
      return receiptOf(molecule_id, step, round);
    },
    async writeReceipt({ session }, input) {
      if (session === undefined) throw new TownError('FORBIDDEN', 'only the session of an agent may write a receipt');
      expectAgent(session.agent);
      if (session.incarnation !== incarnationNow() || status === 'retired')
        throw new TownError('STALE_SESSION', `${session.agent} has a later session`);
      const { round = 1 } = input;
      const first = receiptOf(input.molecule_id, input.step, round);
      if (first !== null) return { receipt: first, fresh: false };
      const receipt = { ...input, round, agent_id: session.agent, incarnation: session.incarnation, at: AT };
      receipts.push(receipt);
      return { receipt: structuredClone(receipt), fresh: true };
    },
    async brief(molecule_id, step) {
      const steps = world.molecules[molecule_id] ?? [];
      const place = steps.indexOf(step);
      if (place === -1) throw new TownError('NOT_FOUND', `there is no step ${step} of a molecule ${molecule_id}`);
      const needs = steps.slice(Math.max(0, place - 1), place).map((need) => {
        const { outcome = null, note = null, commit_id = null, agent_id = null } = receiptOf(molecule_id, need) ?? {};
        return { step: need, outcome, note, commit_id, agent_id };
      });
      return {
        molecule_id, step, step_id: `${TASK}.${step}`, attempt: 1, dispatch: 1, title: step, instructions: '',
        acceptance: null, checks: [...(world.checks ?? [])], task_id: TASK, task_title: null, task_description: null,
        formula: 'f', rig_id: RIG, worktree: sessions.findLast((row) => row.worktree !== null)?.worktree ?? null,
        branch: null, steps_total: steps.length,
        steps_closed: receipts.filter((row) => row.molecule_id === molecule_id).length, needs, notes: [],
        resumed: sessions.filter((row) => row.molecule_id === molecule_id).length > 1,
      }; // prettier-ignore
    },
    async seen(agent) {
      if (agent === AGENT) lastSeen = AT;
    },
  };
}
