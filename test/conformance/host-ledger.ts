import type { AgentAddress, MoleculeId, RigId } from '../../schema/ids';
import type { Ask, ReceiptInput } from '../../schema/ledger';
import type { HostLedger } from '../support/fakes/ledger';

/** A ledger with one rig and one agent, that has a molecule of two steps, `one` and then `two`, to work on. */
export interface HostLedgerScene {
  readonly ledger: HostLedger;
  readonly rig_id: RigId;
  readonly agent: AgentAddress;
  readonly molecule_id: MoleculeId;
  /** Check of every step, as a shell command. */
  readonly check: string;
  retire(): Promise<void>;
  close(): Promise<void>;
}

const PERSON: Ask = { actor: 'person:ada' };
const END = { reason: 'exited', exit_code: 0 };
const SPAWN = { boot_id: 'boot', pid: 7, pid_start: '70' };

/** What an agent host relies on in the ledger, whoever keeps it. */
export function describeHostLedger(name: string, open: () => Promise<HostLedgerScene>): void {
  describe(`the ledger of an agent host: ${name}`, () => {
    let at: HostLedgerScene;
    let sessions = 0;
    beforeEach(async () => {
      at = await open();
    });
    afterEach(() => at.close());

    const opening = (worktree: string | null = '/tree') => ({
      agent: at.agent,
      preset: 'command',
      token_hash: `hash-${(sessions += 1)}`,
      host_id: 'host-1',
      worktree,
      molecule_id: at.molecule_id,
    });
    const as = (incarnation: number): Ask => ({ actor: at.agent, session: { agent: at.agent, incarnation } });
    const receipt = (step: string, note = ''): ReceiptInput => ({
      molecule_id: at.molecule_id,
      step,
      attempt: 1,
      session_id: null,
      outcome: 'done',
      note,
      commit_id: 'c1',
      output: { a: 1 },
    });

    test('every session has the next incarnation, and ends the one before', async () => {
      const first = await at.ledger.openSession(PERSON, opening());
      expect(first).toMatchObject({ incarnation: 1, previous: null });
      expect(await at.ledger.currentSession(at.agent)).toMatchObject({
        id: first.session_id,
        status: 'opening',
        pid: null,
        ended_at: null,
      });
      await at.ledger.recordSpawn(first.session_id, SPAWN);
      const wish = opening('/other');
      const second = await at.ledger.openSession(PERSON, wish);
      // As it was when the successor came, so that the successor knows what to end.
      expect(second).toMatchObject({ incarnation: 2, previous: { id: first.session_id, status: 'running', ...SPAWN } });
      expect(second.session_id).not.toBe(first.session_id);
      expect(await at.ledger.currentSession(at.agent)).toMatchObject({ id: second.session_id, worktree: '/other' });
      expect((await at.ledger.getAgent(at.agent)).incarnation).toBe(2);
      await at.ledger.endSession(PERSON, second.session_id, END);
      expect((await at.ledger.openSession(PERSON, opening())).previous).toMatchObject({ status: 'ended', ...END_ROW });
    });

    test('sessions opened at the same time have an incarnation each, and one of them lives', async () => {
      const opened = await Promise.all(Array.from({ length: 4 }, () => at.ledger.openSession(PERSON, opening())));
      expect(opened.map((session) => session.incarnation).toSorted((a, b) => a - b)).toEqual([1, 2, 3, 4]);
      const last = opened.find((session) => session.incarnation === 4);
      expect(await at.ledger.currentSession(at.agent)).toMatchObject({ id: last?.session_id });
    });

    test('only an active agent that is known gets a session', async () => {
      await expect(at.ledger.openSession(PERSON, { ...opening(), agent: 'nobody' })).rejects.toMatchObject({
        code: 'NOT_FOUND',
      });
      await at.retire();
      await expect(at.ledger.openSession(PERSON, opening())).rejects.toMatchObject({ code: 'WRONG_STATE' });
      expect(await at.ledger.getAgent(at.agent)).toMatchObject({ status: 'retired', incarnation: 0 });
    });

    test('a process is recorded for a session that has not ended', async () => {
      const { session_id } = await at.ledger.openSession(PERSON, opening());
      await at.ledger.recordSpawn(session_id, SPAWN);
      expect(await at.ledger.currentSession(at.agent)).toMatchObject({ status: 'running', ...SPAWN });
      await at.ledger.openSession(PERSON, opening());
      await expect(at.ledger.recordSpawn(session_id, SPAWN)).rejects.toMatchObject({ code: 'STALE_SESSION' });
      await expect(at.ledger.recordSpawn('ses-none', SPAWN)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    });

    test('the first end of a session is its end', async () => {
      const wish = opening();
      const { session_id } = await at.ledger.openSession(PERSON, wish);
      await at.ledger.endSession(PERSON, session_id, END);
      await at.ledger.endSession(PERSON, session_id, { reason: 'later', exit_code: 9 });
      expect(await at.ledger.currentSession(at.agent)).toBeNull();
      expect(await at.ledger.sessionByToken(wish.token_hash)).toMatchObject({ status: 'ended', ...END_ROW });
      await expect(at.ledger.endSession(PERSON, 'ses-none', END)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    });

    test('a token is known as long as its session is, also after its end', async () => {
      const wish = opening();
      const { session_id } = await at.ledger.openSession(PERSON, wish);
      expect(await at.ledger.sessionByToken(wish.token_hash)).toMatchObject({ id: session_id, agent_id: at.agent });
      await at.ledger.openSession(PERSON, opening());
      expect(await at.ledger.sessionByToken(wish.token_hash)).toMatchObject({ status: 'ended', end_reason: 'revoked' });
      expect(await at.ledger.sessionByToken('guess')).toBeNull();
    });

    test('what was answered does not change afterwards', async () => {
      const { session_id } = await at.ledger.openSession(PERSON, opening());
      const before = await at.ledger.currentSession(at.agent);
      await at.ledger.endSession(PERSON, session_id, END);
      expect(before?.status).toBe('opening');
    });

    test('a step has one receipt, whoever writes how often', async () => {
      const { incarnation } = await at.ledger.openSession(PERSON, opening());
      expect(await at.ledger.getReceipt(at.molecule_id, 'one')).toBeNull();
      const answers = await Promise.all(
        Array.from({ length: 4 }, (_, n) => at.ledger.writeReceipt(as(incarnation), receipt('one', `n${n}`))),
      );
      expect(answers.filter((answer) => answer.fresh)).toHaveLength(1);
      const kept = await at.ledger.getReceipt(at.molecule_id, 'one');
      expect(kept).toMatchObject({
        agent_id: at.agent,
        incarnation,
        outcome: 'done',
        commit_id: 'c1',
        output: { a: 1 },
      });
      for (const answer of answers) expect(answer.receipt).toEqual(kept);
      expect(await at.ledger.getReceipt(at.molecule_id, 'two')).toBeNull();
      expect(await at.ledger.getReceipt('mol-none', 'one')).toBeNull();
    });

    test('only the newest session writes, even what is there already', async () => {
      const old = await at.ledger.openSession(PERSON, opening());
      await at.ledger.writeReceipt(as(old.incarnation), receipt('one'));
      const { incarnation } = await at.ledger.openSession(PERSON, opening());
      for (const other of [old.incarnation, incarnation + 1]) {
        for (const step of ['one', 'two']) {
          await expect(at.ledger.writeReceipt(as(other), receipt(step))).rejects.toMatchObject({
            code: 'STALE_SESSION',
          });
        }
      }
      await expect(async () => at.ledger.writeReceipt(PERSON, receipt('two'))).rejects.toMatchObject({
        code: 'FORBIDDEN',
      });
      expect(await at.ledger.getReceipt(at.molecule_id, 'two')).toBeNull();
      expect(await at.ledger.writeReceipt(as(incarnation), receipt('one'))).toMatchObject({
        fresh: false,
        receipt: { incarnation: old.incarnation },
      });
      await at.retire();
      await expect(at.ledger.writeReceipt(as(incarnation), receipt('two'))).rejects.toMatchObject({
        code: 'STALE_SESSION',
      });
    });

    test('agents and rigs are found by their names', async () => {
      expect(await at.ledger.getAgent(at.agent)).toMatchObject({
        id: at.agent,
        rig_id: at.rig_id,
        name: at.agent.split('/').at(-1),
        status: 'active',
        incarnation: 0,
        last_seen: null,
        current: null,
        host_id: null,
      });
      const { preset, runtime } = await at.ledger.getAgent(at.agent);
      expect(runtime.preset).toBe(preset);
      await at.ledger.seen(at.agent);
      expect((await at.ledger.getAgent(at.agent)).last_seen).toEqual(expect.any(String));
      expect(await at.ledger.getRig(at.rig_id)).toMatchObject({ id: at.rig_id, default_branch: 'main' });
      await expect(at.ledger.getAgent('nobody')).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await expect(at.ledger.getRig('nowhere')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    });

    test('a brief follows receipts and sessions', async () => {
      const first = await at.ledger.brief(at.molecule_id, 'one');
      expect(first).toMatchObject({
        molecule_id: at.molecule_id,
        step: 'one',
        attempt: 1,
        dispatch: 1,
        checks: [{ run: at.check, timeout_ms: 60_000 }],
        rig_id: at.rig_id,
        worktree: null,
        branch: null,
        steps_total: 2,
        steps_closed: 0,
        needs: [],
        notes: [],
        resumed: false,
      });
      expect(first.step_id).toBe(`${first.task_id}.one`);
      const open = { step: 'one', outcome: null, note: null, commit_id: null, agent_id: null };
      expect((await at.ledger.brief(at.molecule_id, 'two')).needs).toEqual([open]);

      const { incarnation } = await at.ledger.openSession(PERSON, opening('/tree'));
      await at.ledger.writeReceipt(as(incarnation), receipt('one', 'see a.txt'));
      const closed = { step: 'one', outcome: 'done', note: 'see a.txt', commit_id: 'c1', agent_id: at.agent };
      expect(await at.ledger.brief(at.molecule_id, 'two')).toMatchObject({
        needs: [closed],
        steps_closed: 1,
        worktree: '/tree',
        resumed: false,
      });
      await at.ledger.openSession(PERSON, opening(null));
      expect(await at.ledger.brief(at.molecule_id, 'two')).toMatchObject({ resumed: true, worktree: '/tree' });
      await expect(at.ledger.brief(at.molecule_id, 'three')).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await expect(at.ledger.brief('mol-none', 'one')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    });
  });
}

const END_ROW = { end_reason: END.reason, exit_code: END.exit_code, ended_at: expect.any(String) as string };
