import type { DeskCaller, HookDesk } from '../../schema/desk';
import { TownError } from '../../schema/errors';
import type { AgentAddress } from '../../schema/ids';
import type { Ledger } from '../../schema/ledger';
import type { TownClient } from './client';

/** `joinHook` of the client: one session for all who ask in an agent's place at the same time. Tokens stay in memory here. */
export function createJoin(parts: {
  readonly ledger: Pick<Ledger, 'currentSession'>;
  readonly desk: HookDesk | null;
  readonly attach: TownClient['attach'];
}): TownClient['joinHook'] {
  const { ledger, desk, attach } = parts;
  const joined = new Map<AgentAddress, Promise<string>>();

  return async (ask, agent, { worktree, stale }) => {
    async function open(): Promise<string> {
      if (stale !== null && (await ledger.currentSession(agent)) !== null) throw stale;
      const { token } = await attach(ask, agent, worktree).catch((error: unknown) => {
        if (worktree !== null && error instanceof TownError && error.code === 'PATH_OUTSIDE_RIG')
          return attach(ask, agent, null);
        throw error;
      });
      return token;
    }

    for (;;) {
      const known = joined.get(agent);
      const token = known ?? open();
      joined.set(agent, token);
      const session = await token
        .then((text) => sessionOf(desk, text))
        .catch((error: unknown) => {
          if (joined.get(agent) === token) joined.delete(agent);
          throw error;
        });
      if (session !== null) return { session, token: await token };
      if (joined.get(agent) === token) joined.delete(agent);
      if (known === undefined) throw new TownError('CONFLICT', `somebody else attached to ${agent} at this moment`);
    }
  };
}

/** Null when it is over. */
async function sessionOf(desk: HookDesk | null, token: string): Promise<DeskCaller | null> {
  try {
    return (await desk?.authenticate(token)) ?? null;
  } catch (error) {
    if (error instanceof TownError && error.code === 'STALE_SESSION') return null;
    throw error;
  }
}
