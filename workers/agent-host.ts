/* The agent host: holds agents by ledger lease and serves the hook of each with a worker of one slot.
 *
 * A host that cannot renew its leases for as long as they last stops its sessions, since another host may have them by then. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Client } from '@temporalio/client';
import { type NativeConnection, Worker } from '@temporalio/worker';
import { bootId } from '../activities/provision/process';
import { createDesk, type Desk } from '../activities/session/desk';
import { createHookActivities } from '../activities/session/hook-activities';
import { createSessions } from '../activities/session/sessions';
import type { StepStates } from '../activities/session/step-states';
import { createAttemptTokens } from '../activities/session/tokens';
import { createWorktrees } from '../activities/worktree/git-worktree';
import { type AgentAddress, hookQueue, type MoleculeId } from '../schema/ids';
import type { Ledger } from '../schema/ledger';
import type { Timings } from '../schema/timings';

export interface AgentHostOptions {
  readonly connection: NativeConnection;
  readonly client: Client;
  readonly ledger: Ledger;
  readonly states: StepStates;
  /** Calls back when agents or leases changed (`town_agents`); answers how to stop. */
  readonly onAgentsChanged: (listener: () => void) => () => void;
  readonly paths: {
    readonly root: string;
    readonly logs: string;
    readonly checkLogs: string;
    readonly tokens: string;
    readonly worktrees: string;
    /** The socket that sessions call. */
    readonly socket: string;
    /** Folder of the `town` program. */
    readonly bin: string;
  };
  readonly hostId: string;
  /** Prefix of hook queues; empty in a town. */
  readonly namespace: string;
  readonly timings: Timings;
  readonly log: (line: string) => void;
  readonly agentsMax: number;
  /** An attempt at a step of the molecule ends here. */
  readonly onStepOver?: (molecule: MoleculeId) => void;
}
export interface AgentHost {
  readonly desk: Desk;
  /** Reports the former host's attempts, takes its leases back, and serves. */
  start(): Promise<void>;
  held(): readonly AgentAddress[];
  /** Ends the workers. `endSessions: false` leaves the sessions to the next host on this machine. */
  stop(options: { readonly endSessions: boolean }): Promise<void>;
}

/** The same for every host of this state folder until the machine boots again: a successor keeps the leases. */
export function hostIdOf(stateFolder: string): string {
  const file = join(stateFolder, 'host-id');
  if (!existsSync(file)) {
    mkdirSync(stateFolder, { recursive: true, mode: 0o700 });
    writeFileSync(`${file}.new`, `host-${randomBytes(6).toString('hex')}\n`, { mode: 0o600 });
    renameSync(`${file}.new`, file);
  }
  return `${readFileSync(file, 'utf8').trim()}-${bootId().slice(0, 8)}`;
}

/** Serves nothing before `start`; its desk is there at once for whoever answers sessions. */
export function createAgentHost(options: AgentHostOptions): AgentHost {
  const { ledger, hostId, timings, log, paths } = options;
  const ttl_ms = timings.leaseMs;
  const workers = new Map<AgentAddress, HookWorker>();
  let renewedAt = Date.now();
  let stopped = false;
  let running: Promise<void> | null = null;
  let following: Promise<void> | null = null;
  const timers: NodeJS.Timeout[] = [];
  let unlisten = () => undefined as void;

  const worktrees = createWorktrees({ root: paths.worktrees });
  const tokens = createAttemptTokens(paths.tokens, log);
  const sessions = createSessions({
    ledger,
    worktrees,
    states: options.states,
    hostId,
    root: paths.root,
    logs: join(paths.logs, 'sessions'),
    socket: paths.socket,
    bin: paths.bin,
    log,
  });
  const desk = createDesk({
    ledger,
    sessions,
    worktrees,
    states: options.states,
    tokens,
    held: () => [...workers.keys()],
    refreshHeld: () => refresh(),
    timings,
    checkLogs: paths.checkLogs,
    log,
    ...(options.onStepOver === undefined ? {} : { onStepOver: options.onStepOver }),
  });
  const activities = createHookActivities(desk);

  /** One renewal at a time. Calls that come meanwhile share one more after it, since it may have looked before they had cause to call. */
  function refresh(): Promise<void> {
    if (running === null) return (running = renew().finally(() => (running = null)));
    following ??= running
      .catch(() => undefined) // whoever asked for that one is told
      .then(() => {
        following = null;
        return refresh();
      });
    return following;
  }

  async function renew(): Promise<void> {
    if (stopped) return;
    const asked = Date.now();
    const kept = await ledger.renewLeases(hostId, ttl_ms);
    const taken = await ledger.acquireLeases(hostId, { max: options.agentsMax, ttl_ms });
    if (stopped) return;
    renewedAt = asked;
    const wanted = new Set([...kept, ...taken]);
    for (const agent of wanted) {
      if (!workers.has(agent)) workers.set(agent, startHookWorker(agent));
    }
    // Not awaited: ending a session takes seconds, and the other leases have to be renewed meanwhile.
    void giveUp(
      [...workers.keys()].filter((agent) => !wanted.has(agent)),
      'the lease of this agent is gone',
    ).catch((error: unknown) => log(String(error)));
  }

  async function giveUp(agents: readonly AgentAddress[], why: string): Promise<void> {
    if (agents.length === 0) return;
    const leaving = agents.map((agent) => [agent, workers.get(agent)] as const);
    for (const agent of agents) workers.delete(agent);
    desk.detach(agents, why);
    await Promise.all(
      leaving.map(async ([agent, worker]) => {
        await Promise.all([sessions.stop(agent, why), worker?.stop()]);
      }),
    );
  }

  function identityOf(agent: AgentAddress): string {
    return `${hostId}:${agent}`;
  }

  function startHookWorker(agent: AgentAddress): HookWorker {
    return keepWorking(agent, log, () =>
      Worker.create({
        connection: options.connection,
        taskQueue: hookQueue(agent, options.namespace),
        identity: identityOf(agent),
        activities: { ...activities },
        maxConcurrentActivityTaskExecutions: 1,
        maxConcurrentActivityTaskPolls: 1,
        maxHeartbeatThrottleInterval: timings.heartbeatThrottleMs,
        defaultHeartbeatThrottleInterval: timings.heartbeatThrottleMs,
        shutdownGraceTime: 0,
      }),
    );
  }

  const tick = () => void refresh().catch((error: unknown) => log(`leases were not renewed: ${String(error)}`));
  // Apart from the renewal, which may hang together with the database.
  const fence = () => {
    if (Date.now() - renewedAt <= ttl_ms || workers.size === 0) return;
    log(`no lease could be renewed for ${ttl_ms} ms: ending the sessions of ${workers.size} agents`);
    void giveUp([...workers.keys()], 'this host lost its leases').catch((error: unknown) => log(String(error)));
  };

  return {
    desk,
    async start() {
      const failed = await tokens.failStaleAttempts(options.client, identityOf);
      if (failed > 0) log(`${failed} attempts of the former host are dispatched again`);
      await refresh();
      if (stopped) return;
      timers.push(setInterval(tick, Math.max(10, ttl_ms / 3)), setInterval(fence, Math.max(5, ttl_ms / 12)));
      unlisten = options.onAgentsChanged(tick);
    },
    held: () => [...workers.keys()],
    async stop({ endSessions }) {
      if (stopped) return;
      stopped = true;
      unlisten();
      for (const timer of timers) clearInterval(timer);
      await (following ?? running)?.catch(() => undefined);
      desk.detach(null, 'the agent host is ending');
      await Promise.all([...workers.values()].map((worker) => worker.stop()));
      if (endSessions) {
        await sessions.stopAll([...workers.keys()], 'the town was stopped');
        await ledger.releaseLeases(hostId);
      }
      sessions.detach();
      workers.clear();
    },
  };
}

interface HookWorker {
  stop(): Promise<void>;
}

/** Runs a worker, and another one after a growing pause when it fails, until it is stopped. */
function keepWorking(agent: AgentAddress, log: (line: string) => void, create: () => Promise<Worker>): HookWorker {
  const stopping = new AbortController();
  const whole = (async () => {
    for (let pauseMs = 100; !stopping.signal.aborted; pauseMs = Math.min(2 * pauseMs, 10_000)) {
      try {
        const worker = await create();
        // Not a race with shutdown(): that refuses while the worker is not running yet.
        await worker.runUntil(aborted(stopping.signal));
        return;
      } catch (error) {
        if (stopping.signal.aborted) return;
        log(`the worker of ${agent} ended and is started again: ${String(error)}`);
        await sleep(pauseMs, undefined, { signal: stopping.signal }).catch(() => undefined);
      }
    }
  })();
  return {
    stop() {
      stopping.abort();
      return whole;
    },
  };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((done) => {
    if (signal.aborted) done();
    else signal.addEventListener('abort', () => done(), { once: true });
  });
}
