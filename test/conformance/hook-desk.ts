import type { HookDesk } from '../../schema/desk';
import type { AgentAddress, MoleculeId } from '../../schema/ids';
import { close } from '../support/close-step';

/** A desk that serves one agent, whose second session is external and has the only step of a molecule, `work`, on its hook. */
export interface HookDeskScene {
  readonly desk: HookDesk;
  readonly agent: AgentAddress;
  readonly molecule_id: MoleculeId;
  readonly token: string;
  /** Of the agent's first session. */
  readonly oldToken: string;
  close(): Promise<void>;
}

/** Far above what a step takes to come; nothing here waits that long. */
const PATIENCE_MS = 20_000;

/** What sessions and their command line rely on at the desk of an agent host. */
export function describeHookDesk(name: string, open: () => Promise<HookDeskScene>): void {
  describe(`the desk of an agent host: ${name}`, () => {
    let at: HookDeskScene;
    beforeEach(async () => {
      at = await open();
    });
    afterEach(() => at.close());

    test('a token is known, replaced, or unknown', async () => {
      expect(await at.desk.authenticate(at.token)).toMatchObject({ agent: at.agent, incarnation: 2 });
      await expect(at.desk.authenticate(at.oldToken)).rejects.toMatchObject({ code: 'STALE_SESSION' });
      await expect(at.desk.authenticate('guess')).rejects.toMatchObject({ code: 'UNAUTHORIZED' });
    });

    test('the step on the hook is shown as often as it is asked for', async () => {
      const caller = await at.desk.authenticate(at.token);
      const first = await at.desk.current(caller, PATIENCE_MS);
      expect(first).toMatchObject({ molecule_id: at.molecule_id, step: 'work', dispatch: 1, steps_total: 1 });
      expect(await at.desk.current(caller, 0)).toEqual(first);
    });

    test('what is not on the hook is not closed', async () => {
      const caller = await at.desk.authenticate(at.token);
      await at.desk.current(caller, PATIENCE_MS);
      await expect(at.desk.closeStep(caller, close({ step: 'other' }))).rejects.toMatchObject({ code: 'WRONG_STATE' });
      for (const step of [null, 'work']) {
        await expect(at.desk.closeStep(caller, close({ molecule_id: 'mol-other', step }))).rejects.toMatchObject({
          code: 'NOT_HOLDER',
        });
      }
      expect(await at.desk.current(caller, 0)).toMatchObject({ step: 'work' });
    });

    test('a step is closed once, and a later call gets the first answer', async () => {
      const caller = await at.desk.authenticate(at.token);
      const brief = await at.desk.current(caller, PATIENCE_MS);
      const answer = await at.desk.closeStep(caller, close({ step: brief?.step_id ?? null, outcome: 'failed' }));
      const closed = { molecule_id: at.molecule_id, step: 'work', outcome: 'failed', projected: true, next: null };
      expect(answer).toEqual({ ...closed, already: false });
      expect(await at.desk.current(caller, 0)).toBeNull();
      expect(await at.desk.closeStep(caller, close({ molecule_id: at.molecule_id, step: 'work' }))).toEqual({
        ...closed,
        already: true,
      });
      await expect(at.desk.closeStep(caller, close())).rejects.toMatchObject({ code: 'WRONG_STATE' });
    });

    test('attaching replaces the session, whose calls are refused from then on', async () => {
      const before = await at.desk.authenticate(at.token);
      await at.desk.current(before, PATIENCE_MS);
      expect(at.desk.held()).toEqual([at.agent]);
      const { token, incarnation } = await at.desk.attach(at.agent, null, 'person:ada');
      expect(incarnation).toBe(3);
      await expect(at.desk.authenticate(at.token)).rejects.toMatchObject({ code: 'STALE_SESSION' });
      await expect(at.desk.closeStep(before, close())).rejects.toMatchObject({ code: 'STALE_SESSION' });
      const caller = await at.desk.authenticate(token);
      expect(await at.desk.current(caller, PATIENCE_MS)).toMatchObject({ step: 'work' });
      expect(await at.desk.current(before, 0)).toBeNull();
      await expect(at.desk.attach('acme/polecats/nobody', null, 'person:ada')).rejects.toMatchObject({
        code: 'UNAVAILABLE',
      });
    });
  });
}
