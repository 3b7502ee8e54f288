import type { SocketAnswer } from '../../schema/desk';
import { ERROR_CODES, exitCodeOf, TownError } from '../../schema/errors';
import type { KeyedRequest } from '../ask';
import type { TownClient } from '../client/client';
import { identify } from './caller';
import { printable } from './print';
import { parseVerb } from './verb';
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
  let attached: Pick<SocketAnswer, 'attached'> = {};
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
    const isOwn = verb.attaches === true && parsed.args['agent'] === undefined;
    const { caller, ...identity } = await identify(town, request, parsed.key ?? request.key, isOwn);
    attached = identity;
    const answer = await verb.run(town, { ...parsed, caller });
    const stdout = parsed.json
      ? `${JSON.stringify(answer.data, null, request.tty ? 2 : 0)}\n`
      : answer.text(request.tty);
    const news =
      attached.attached === undefined
        ? ''
        : `attached as ${caller.session?.agent}, incarnation ${caller.session?.incarnation}\n`;
    return { id, code: answer.code ?? 0, stdout, stderr: `${news}${answer.talk ?? ''}`, ...attached };
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal.code === 'INTERNAL') onBug(error);
    return { id, code: exitCodeOf(refusal.code), stdout: '', stderr: describeError(refusal, json), ...attached };
  }
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
