import { TownError } from '../../../schema/errors';
import type { JsonObject } from '../../../schema/json';
import type { Runtime } from '../../../schema/ledger';
import type { Caller } from '../verb';

/** Without what is undefined or empty text: what was not given is not passed on. */
export function given<T extends object>(fields: T): { [K in keyof T]?: Exclude<T[K], undefined | ''> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined && value !== '')) as {
    [K in keyof T]?: Exclude<T[K], undefined | ''>;
  };
}

/** The talk of a list that goes on. */
export function more(next_cursor: string | null): { readonly talk?: string } {
  return next_cursor === null ? {} : { talk: `more follows: --cursor ${next_cursor}\n` };
}

/** `--var name=value`, repeated. @throws USAGE */
export function readVariables(pairs: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      if (at > 0) return [pair.slice(0, at), pair.slice(at + 1)];
      throw new TownError('USAGE', `a variable is given as name=value, not as ${JSON.stringify(pair.slice(0, 60))}`, {
        hint: 'for example: --var issue=acme-k3f9a',
      });
    }),
  );
}

export const JSON_BYTES_MAX = 32 * 1024;

/** @throws INPUT_TOO_LARGE */
export function readMetadata(value: JsonObject | undefined): JsonObject | undefined {
  if (value === undefined || Buffer.byteLength(JSON.stringify(value)) <= JSON_BYTES_MAX) return value;
  throw new TownError('INPUT_TOO_LARGE', `the JSON object has more than ${JSON_BYTES_MAX} bytes`, {
    hint: 'put it into a file of the repository and name that file',
  });
}

/** The program after `--`; without one, sessions that somebody else starts. Null: nothing was said. */
export function readRuntime(command: readonly string[], env: readonly string[], external: boolean): Runtime | null {
  if (external && command.length > 0) {
    throw new TownError(
      'USAGE',
      '--external says that somebody else starts the sessions, so there is no program to name',
    );
  }
  if (external) return { preset: 'external' };
  if (command.length === 0) return null;
  return { preset: 'command', command: [...command], ...(env.length === 0 ? {} : { env: readVariables(env) }) };
}

/** The agent that is meant: the one named, or the one who asks. @throws USAGE */
export function meantAgent(named: string | undefined, caller: Caller, verb: string): string {
  const agent = named ?? caller.session?.agent;
  if (agent !== undefined) return agent;
  throw new TownError('USAGE', 'which agent is meant is not clear: this is no session of an agent', {
    hint: `town ${verb} <agent>; the agents are listed by: town agent list; in a terminal of one: export TOWN_AGENT=<agent>`,
  });
}
