import type { CloseAnswer, CloseStep, DeskCaller, HookDesk } from '../../../schema/desk';
import { TownError } from '../../../schema/errors';
import type { StepBrief } from '../../../schema/views';

const AGENT = 'acme/polecats/amber';

/** Of amber's session, which is her second, and of the first. */
export const TOKEN = 'token-of-amber';
export const OLD_TOKEN = 'former-token-of-amber';

export interface FakeDesk extends HookDesk {
  /** What sessions have closed, as they asked for it. */
  readonly closed: CloseStep[];
  incarnation(): number;
}

/** The desk of a host that serves amber alone, whose hook holds one step. Passes test/conformance/hook-desk. */
export function createFakeDesk(brief: StepBrief): FakeDesk {
  const tokens = [OLD_TOKEN, TOKEN];
  const closed: CloseStep[] = [];
  let answer: CloseAnswer | null = null;

  const callerOf = (incarnation: number): DeskCaller => ({
    agent: AGENT,
    session_id: `s${incarnation}`,
    incarnation,
    worktree: null,
  });
  const isStale = ({ incarnation }: DeskCaller) => incarnation < tokens.length;
  const stale = () => new TownError('STALE_SESSION', `this session of ${AGENT} is over`);

  return {
    closed,
    incarnation: () => tokens.length,
    async authenticate(token) {
      const incarnation = tokens.indexOf(token) + 1;
      if (incarnation === 0) throw new TownError('UNAUTHORIZED', 'this session token is not known here');
      const caller = callerOf(incarnation);
      if (isStale(caller)) throw stale();
      return caller;
    },
    current: async (caller) => (answer !== null || isStale(caller) ? null : structuredClone(brief)),
    async closeStep(caller, close) {
      if (isStale(caller)) throw stale();
      const isMolecule = close.molecule_id === null || close.molecule_id === brief.molecule_id;
      const isStep = close.step === null || close.step === brief.step || close.step === brief.step_id;
      const isNamed = close.molecule_id !== null && close.step !== null;
      if (answer !== null && isMolecule && isStep && isNamed) return { ...answer, already: true };
      if (!isMolecule && answer === null)
        throw new TownError('NOT_HOLDER', `${close.molecule_id} is not on the hook of ${AGENT}`);
      if (answer !== null || !isStep) throw new TownError('WRONG_STATE', `that is not on the hook of ${AGENT}`);
      closed.push(close);
      const { molecule_id, step } = brief;
      answer = { molecule_id, step, outcome: close.outcome, projected: true, already: false, next: null };
      return answer;
    },
    held: () => [AGENT],
    placeIn: async (_rig, path) => path,
    async attach(agent) {
      if (agent !== AGENT) throw new TownError('UNAVAILABLE', `the hook of ${agent} is not served here`);
      const incarnation = tokens.push(`token-${tokens.length + 1}-of-amber`);
      return { token: tokens[incarnation - 1]!, incarnation, session_id: callerOf(incarnation).session_id };
    },
  };
}
