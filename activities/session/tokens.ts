/* The task token of each attempt in flight, in a file of the host: a host that comes back tells the server at once that its
 * former attempts are over, instead of leaving that to the heartbeat timeout. */
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ActivityNotFoundError, type Client } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { encodeAddress, type AgentAddress } from '../../schema/ids';
import type { PerformStep } from '../../schema/runs';

export interface AttemptTokens {
  /** Replaces what was kept for the agent. */
  save(agent: AgentAddress, token: Uint8Array, request: PerformStep): void;
  /** Forgets the agent's attempt. */
  remove(agent: AgentAddress): void;
  /** Fails every attempt that a former host left behind, with type HOST_RESTARTED; answers how many. For boot, before any worker
   *  runs. What the server does not know any more is fine. */
  failStaleAttempts(client: Pick<Client, 'activity'>): Promise<number>;
}

export function createAttemptTokens(folder: string, log: (line: string) => void): AttemptTokens {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const fileOf = (agent: AgentAddress) => join(folder, `${encodeAddress(agent)}.json`);
  return {
    save(agent, token, request) {
      const { molecule_id, step, dispatch } = request;
      const file = fileOf(agent);
      const body = { token: Buffer.from(token).toString('base64'), molecule_id, step, dispatch };
      writeFileSync(`${file}.new`, JSON.stringify(body), { mode: 0o600 });
      renameSync(`${file}.new`, file);
    },

    remove(agent) {
      rmSync(fileOf(agent), { force: true });
    },

    async failStaleAttempts(client) {
      const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')) : [];
      const failed = await Promise.all(
        files.map(async (name) => {
          const token = readToken(join(folder, name));
          try {
            if (token !== null) await client.activity.fail(token, restarted());
            rmSync(join(folder, name), { force: true });
            return token === null ? 0 : 1;
          } catch (error) {
            if (error instanceof ActivityNotFoundError) rmSync(join(folder, name), { force: true });
            // The file stays: the next attempt of the agent replaces it, and the heartbeat timeout covers this one.
            else log(`could not report the former attempt of ${name.slice(0, -5)}: ${String(error)}`);
            return 0;
          }
        }),
      );
      return failed.reduce<number>((sum, one) => sum + one, 0);
    },
  };
}

function readToken(file: string): Uint8Array | null {
  try {
    const body: unknown = JSON.parse(readFileSync(file, 'utf8'));
    const token = (body as { token?: unknown } | null)?.token;
    return typeof token === 'string' && token !== '' ? Buffer.from(token, 'base64') : null;
  } catch {
    return null; // cut off, or not ours: nothing to report
  }
}

function restarted(): ApplicationFailure {
  return ApplicationFailure.create({
    type: 'HOST_RESTARTED',
    nonRetryable: true,
    message: 'the agent host was started again',
  });
}
