import type { SocketAnswer, SocketRequest } from '../../schema/desk';
import { ERROR_CODES, exitCodeOf, TownError } from '../../schema/errors';
import type { KeyedRequest } from '../ask';
import { askOfSession, type TownClient } from '../client/client';
import { printable } from './print';
import { parseVerb, type Caller } from './verb';
import { findVerb } from './verbs';

/** One command line in, what is printed out. Never rejects: a refusal is an answer too. */
export async function answerRequest(
  town: TownClient,
  request: KeyedRequest,
  { onBug = () => undefined }: { readonly onBug?: (error: unknown) => void } = {},
): Promise<SocketAnswer> {
  const { id } = request;
  const found = findVerb(request.argv);
  if (found === null) return { id, code: 2, stdout: '', stderr: '', unknown: true };
  const { verb, rest } = found;
  const end = rest.indexOf('--');
  const json = (end < 0 ? rest : rest.slice(0, end)).includes('--json');
  try {
    const parsed = parseVerb(verb, rest);
    // Only the full command set reads what is piped into it, and the caller's environment, and asks again with that.
    const wanted = verb.readsStdin?.(parsed) ?? null;
    const isForCommands =
      (verb.localWith ?? []).some((flag) => parsed.flags[flag] === true) ||
      wanted === 'file' ||
      (wanted === 'text' && request.stdin === undefined) ||
      (verb.readsForgeToken?.(parsed) === true && request.forge_token === undefined);
    if (isForCommands) return { id, code: 2, stdout: '', stderr: '', unknown: true };
    const caller = await identify(town, request, parsed.key ?? request.key);
    const answer = await verb.run(town, { ...parsed, caller });
    const stdout = parsed.json
      ? `${JSON.stringify(answer.data, null, request.tty ? 2 : 0)}\n`
      : answer.text(request.tty);
    return { id, code: answer.code ?? 0, stdout, stderr: answer.talk ?? '' };
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal.code === 'INTERNAL') onBug(error);
    return { id, code: exitCodeOf(refusal.code), stdout: '', stderr: describeError(refusal, json) };
  }
}

/** Who asks. An agent is known by its token, and only by that. */
async function identify(town: TownClient, request: SocketRequest, key: string | undefined): Promise<Caller> {
  const keyPart = key === undefined ? {} : { key };
  const given = { cwd: request.cwd, stdin: request.stdin ?? null, forgeToken: request.forge_token ?? null };
  if (request.token === undefined) {
    return { ask: { actor: personOf(request.user), ...keyPart }, session: null, ...given };
  }
  if (town.desk === null) {
    throw new TownError('UNAVAILABLE', 'no agent host runs here, so the session cannot be recognised', {
      hint: 'wait a moment and ask again',
    });
  }
  const session = await town.desk.authenticate(request.token);
  return { ask: { ...askOfSession(session), ...keyPart }, session, ...given };
}

export function personOf(user: string): string {
  const name = user.replaceAll(/[^A-Za-z0-9._-]/g, '').slice(0, 64);
  return `person:${name === '' ? 'unknown' : name}`;
}

/** What callers are told of any failure. Bugs become INTERNAL, with their message and no more. */
export function refusalOf(error: unknown): TownError {
  if (error instanceof TownError) return error;
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code === 'string' && /^(?:ECONNREFUSED|ECONNRESET|EPIPE|57P0[123]|08\d{3}|53300)$/.test(code)) {
    return new TownError('POSTGRES_UNAVAILABLE', 'the database does not answer', {
      hint: 'look at the town with: town status',
      cause: error,
    });
  }
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new TownError('DISK_FULL', 'no space is left on the disk', {
      hint: 'make room on the disk, then ask again',
      cause: error,
    });
  const message = error instanceof Error ? error.message : String(error);
  return new TownError('INTERNAL', `something went wrong inside the town: ${message.slice(0, 500)}`, {
    hint: 'the log of the service says more; see: town status',
    cause: error,
  });
}

export function describeError(error: TownError, json: boolean): string {
  if (json) return `${JSON.stringify({ error: error.toBody(), exit: ERROR_CODES[error.code].exit })}\n`;
  return `town: ${printable(error.message)} (${error.code})\n${error.hint === undefined ? '' : `hint: ${printable(error.hint)}\n`}`;
}
