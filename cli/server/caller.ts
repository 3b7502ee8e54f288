import type { DeskCaller, SocketAnswer, SocketRequest } from '../../schema/desk';
import { TownError } from '../../schema/errors';
import { parseAgentAddress, type AgentAddress } from '../../schema/ids';
import type { KeyedRequest } from '../ask';
import { askOfSession, type TownClient } from '../client/client';
import type { Caller } from './verb';

/*
 * Who asks. An agent is known by its token, and only by that: from the environment of its session, or, where somebody else starts the
 * sessions, kept for the place of the agent since the first `town hook` there. That one attaches: it opens the session, and its answer
 * brings the token, which the client keeps. A place is what TOWN_AGENT names, or the folder that the agent was registered for.
 */

export interface Identity {
  readonly caller: Caller;
  /** Absent when no session was entered. */
  readonly attached?: NonNullable<SocketAnswer['attached']>;
}

/** `attaches`: the verb shows the caller's own hook. @throws UNAUTHORIZED, STALE_SESSION, and what attaching throws */
export async function identify(
  town: TownClient,
  request: KeyedRequest,
  key: string | undefined,
  attaches: boolean,
): Promise<Identity> {
  const keyPart = key === undefined ? {} : { key };
  const asCaller = (session: DeskCaller | null): Caller => ({
    ask: { ...(session === null ? { actor: personOf(request.user) } : askOfSession(session)), ...keyPart },
    session,
    cwd: request.cwd,
    stdin: request.stdin ?? null,
    forgeToken: request.forge_token ?? null,
  });
  const stale = request.token === undefined ? null : await authenticate(town, request, request.token);
  if (stale !== null && !(stale instanceof TownError)) return { caller: asCaller(stale) };
  const place = attaches ? await placeOf(town, request) : null;
  if (place === null) {
    if (stale !== null) throw stale;
    return { caller: asCaller(null) };
  }
  const { session, token } = await town.joinHook({ actor: personOf(request.user) }, place.agent, {
    worktree: place.worktree,
    stale,
  });
  return { caller: asCaller(session), attached: { agent: place.agent, folder: place.folder, token } };
}

export function personOf(user: string): string {
  const name = user.replaceAll(/[^A-Za-z0-9._-]/g, '').slice(0, 64);
  return `person:${name === '' ? 'unknown' : name}`;
}

/** The session, or why a kept token is none any more. */
async function authenticate(town: TownClient, request: SocketRequest, token: string): Promise<DeskCaller | TownError> {
  if (town.desk === null) {
    throw new TownError('UNAVAILABLE', 'no agent host runs here, so the session cannot be recognised', {
      hint: 'wait a moment and ask again',
    });
  }
  try {
    return await town.desk.authenticate(token);
  } catch (error) {
    const isOver = error instanceof TownError && (error.code === 'STALE_SESSION' || error.code === 'UNAUTHORIZED');
    if (request.kept !== true || !isOver) throw error;
    return new TownError('STALE_SESSION', `the session that was attached here is over: ${error.message}`, {
      hint: 'an agent looks at its hook again: town hook; a person says so by an empty variable: TOWN_AGENT= town …',
      cause: error,
    });
  }
}

interface Place {
  readonly agent: AgentAddress;
  /** Where the session works, if that is in the agent's rig. */
  readonly worktree: string | null;
  /** The folder that stands for the agent; null: TOWN_AGENT does. */
  readonly folder: string | null;
}

/** Null where no agent is at home. @throws WRONG_STATE for an agent whose sessions the town starts, CONFLICT for a folder of several */
async function placeOf(town: TownClient, { agent, cwd }: SocketRequest): Promise<Place | null> {
  if (town.desk === null || agent === '') return null;
  if (agent !== undefined) {
    const { runtime, rig_id } = await town.getAgent(parseAgentAddress(agent));
    if (runtime.preset !== 'external') {
      throw new TownError('WRONG_STATE', `the town starts the sessions of ${agent}, and this is none of them`, {
        hint: `to look at its hook: town hook ${agent}`,
      });
    }
    return { agent, worktree: rig_id === null ? null : cwd, folder: null };
  }
  const [nearest, ...others] = await town.agentsAt(cwd);
  if (nearest === undefined) return null;
  const same = others.filter(({ worktree }) => worktree === nearest.worktree);
  if (same.length > 0) {
    const names = [nearest, ...same].map(({ id }) => id);
    throw new TownError('CONFLICT', `${nearest.worktree} is the folder of several agents: ${names.join(', ')}`, {
      hint: `say which one you are: export TOWN_AGENT=${nearest.id}`,
    });
  }
  return { agent: nearest.id, worktree: nearest.worktree, folder: nearest.worktree };
}
