/* The last attempt of each agent with its task token, in a file of the host: a host that comes back tells the server at once that its
 * former attempts are over, instead of leaving that to the heartbeat timeout. */
import { existsSync, mkdirSync, readFileSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ActivityNotFoundError, type Client, WorkflowNotFoundError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import { encodeAddress, runId, type AgentAddress } from '../../schema/ids';
import type { PerformStep } from '../../schema/runs';

export interface AttemptTokens {
  /** Replaces what was kept for the agent. It stays after the attempt: it tells where to look for one that never got here. Never throws:
   *  without it only the next boot is slower. */
  save(agent: AgentAddress, token: Uint8Array, request: PerformStep): void;
  /** Fails every attempt that a former host left behind, with type HOST_RESTARTED; answers how many. For boot, before any hook worker
   *  runs. `identityOf` names the hook worker of an agent on this host. What the server does not know any more is fine. */
  failStaleAttempts(client: TokenClient, identityOf: (agent: AgentAddress) => string): Promise<number>;
}

export type TokenClient = Pick<Client, 'activity' | 'workflow' | 'workflowService' | 'options'>;

interface KeptAttempt {
  readonly token: string;
  readonly agent: AgentAddress;
  readonly molecule_id: string;
  readonly step: string;
  readonly dispatch: number;
}

/** As the server's protocol numbers the states of a pending activity. */
const STARTED = 2;

export function createAttemptTokens(folder: string, log: (line: string) => void): AttemptTokens {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const fileOf = (agent: AgentAddress) => join(folder, `${encodeAddress(agent)}.json`);
  return {
    save(agent, token, request) {
      const { molecule_id, step, dispatch } = request;
      const file = fileOf(agent);
      const kept: KeptAttempt = { token: Buffer.from(token).toString('base64'), agent, molecule_id, step, dispatch };
      try {
        writeFileSync(`${file}.new`, JSON.stringify(kept), { mode: 0o600 });
        renameSync(`${file}.new`, file);
      } catch (error) {
        log(`the attempt of ${agent} is not noted: ${String(error)}`);
      }
    },

    async failStaleAttempts(client, identityOf) {
      const files = existsSync(folder) ? readdirSync(folder).filter((name) => name.endsWith('.json')) : [];
      const failed = await Promise.all(
        files.map(async (name) => {
          const kept = readAttempt(join(folder, name));
          try {
            const count = kept === null ? null : await failAttempts(client, kept, identityOf(kept.agent));
            if (count === null) rmSync(join(folder, name), { force: true });
            return count ?? 0;
          } catch (error) {
            // The next attempt of the agent replaces the file, and the heartbeat timeout covers this one.
            log(`could not report the former attempt of ${name.slice(0, -5)}: ${String(error)}`);
            return 0;
          }
        }),
      );
      return failed.reduce((sum, one) => sum + one, 0);
    },
  };
}

/** How many, or null when the run has ended. */
async function failAttempts(client: TokenClient, kept: KeptAttempt, identity: string): Promise<number | null> {
  const workflowId = runId.molecule(kept.molecule_id);
  await forgetWorker(client, workflowId);
  try {
    await client.activity.fail(Buffer.from(kept.token, 'base64'), restarted());
    return 1;
  } catch (error) {
    if (!(error instanceof ActivityNotFoundError)) throw error;
  }
  // That one had ended. The server may have handed out the next just when the host died, to a connection that nobody read.
  const run = await client.workflow.getHandle(workflowId).describe().catch(nullWhenUnknown);
  if (run?.status.name !== 'RUNNING') return null;
  const { raw } = run;
  const lost = (raw.pendingActivities ?? []).filter(
    (activity) => activity.state === STARTED && activity.lastWorkerIdentity === identity,
  );
  for (const { activityId } of lost) {
    await client.activity.fail({ workflowId, activityId: activityId ?? '' }, restarted()).catch(ignoreEnded);
  }
  return lost.length;
}

/** The run may prefer an orchestrator that died with the host: the server would wait 1 s for that one before it asks another. */
async function forgetWorker({ workflowService, options }: TokenClient, workflowId: string): Promise<void> {
  // Only haste: a run that has ended, or a server that refuses, is no reason to keep the attempt.
  await workflowService
    .resetStickyTaskQueue({ namespace: options.namespace, execution: { workflowId } })
    .catch(() => undefined);
}

function nullWhenUnknown(error: unknown): null {
  if (error instanceof WorkflowNotFoundError) return null;
  throw error;
}

function ignoreEnded(error: unknown): void {
  if (!(error instanceof ActivityNotFoundError)) throw error;
}

/** Null when it was cut off, or is not ours: nothing to report. */
function readAttempt(file: string): KeptAttempt | null {
  try {
    const kept = JSON.parse(readFileSync(file, 'utf8')) as Partial<KeptAttempt> | null;
    const texts = [kept?.token, kept?.agent, kept?.molecule_id];
    return texts.every((text) => typeof text === 'string' && text !== '') ? (kept as KeptAttempt) : null;
  } catch {
    return null;
  }
}

function restarted(): ApplicationFailure {
  return ApplicationFailure.create({
    type: 'HOST_RESTARTED',
    nonRetryable: true,
    message: 'the agent host was started again',
  });
}
