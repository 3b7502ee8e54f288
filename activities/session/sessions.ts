/* The live session of each agent this host serves: found again, adopted or started.
 *
 * Only the session's row decides: a row with this boot's id, a live pid with the recorded start time and the wanted worktree is
 * adopted, whoever started it. Anything else is ended first, and a new session is opened in the ledger (which raises the
 * incarnation and so shuts out the old one) before its process exists. */
import { createHash, randomBytes } from 'node:crypto';
import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { HookDesk } from '../../schema/desk';
import { TownError } from '../../schema/errors';
import type { AgentAddress, MoleculeId, RigId, TaskId } from '../../schema/ids';
import type { Ledger, Runtime, SessionRow } from '../../schema/ledger';
import { bootId, isAlive, type ProcessRef } from '../provision/process';
import { tailOf } from '../provision/progress';
import { messageOf } from '../provision/state';
import { branchOf, type Worktrees } from '../worktree/git-worktree';
import { LOCK_NOT_WON, checkStartable, launch, type LaunchExit } from './launcher';
import { endSessionProcesses, watchProcess } from './processes';
import type { StepStates } from './step-states';

export interface SessionNeed {
  readonly agent: AgentAddress;
  readonly rig_id: RigId;
  readonly molecule_id: MoleculeId;
  readonly root_task_id: TaskId | null;
  readonly base_commit: string | null;
}
export interface SessionEnd {
  /** `exited` by itself or by somebody's signal, `unstartable`, `stopped` by this host, `lapsed` (external, no calls), `replaced` by a newer attach. */
  readonly kind: 'exited' | 'unstartable' | 'stopped' | 'lapsed' | 'replaced';
  /** Null when it is not known (adopted) or there was none (external). */
  readonly code: number | null;
  readonly signal: string | null;
  readonly reason: string;
}
export interface LiveSession {
  readonly id: string;
  readonly agent: AgentAddress;
  readonly incarnation: number;
  readonly preset: 'command' | 'external';
  readonly worktree: string | null;
  readonly branch: string | null;
  readonly molecule_id: MoleculeId | null;
  readonly token_hash: string;
  readonly process: ProcessRef | null;
  /** A predecessor worked on the same molecule. */
  readonly resumed: boolean;
  /** Null while it lives. */
  readonly end: SessionEnd | null;
  /** Calls back once when it has ended (at once when it already has); answers how to stop listening. */
  onEnd(listener: (end: SessionEnd) => void): () => void;
}
export interface Sessions {
  live(agent: AgentAddress): LiveSession | null;
  byToken(token_hash: string): LiveSession | null;
  /** The session for this work. Null: none lives, and the agent's sessions are external (see `onAttached`) or it may stop.
   *  @throws SESSION_UNSTARTABLE, GIT_FAILED, and what the ledger throws */
  ensure(need: SessionNeed): Promise<{ readonly session: LiveSession; readonly fresh: boolean } | null>;
  /** Opens an external session. The token is answered once and only its hash is stored.
   *  @throws CONFLICT while a started session lives, PATH_OUTSIDE_RIG, INVALID_INPUT */
  attach(
    agent: AgentAddress,
    worktree: string | null,
    actor: string,
  ): Promise<{ token: string; incarnation: number; session_id: string }>;
  placeIn: HookDesk['placeIn'];
  onAttached(listener: (agent: AgentAddress) => void): () => void;
  /** An external session has called: its lease starts again. */
  touch(agent: AgentAddress): void;
  /** The agent's session waits for its next step until the answer is called: it has nothing to finish, should another molecule come first. */
  rests(agent: AgentAddress): () => void;
  /** Ends the agent's session with all its processes, and says so in the ledger. Nothing to do is fine. */
  stop(agent: AgentAddress, reason: string): Promise<void>;
  /** The same for all that it has, and for what earlier hosts left running of these agents and nobody has asked for since. */
  stopAll(agents: readonly AgentAddress[], reason: string): Promise<void>;
  /** Lets go of all sessions and leaves them running; nothing more is written about them from here. */
  detach(): void;
}
export interface SessionsOptions {
  readonly ledger: Pick<
    Ledger,
    'currentSession' | 'openSession' | 'recordSpawn' | 'endSession' | 'getAgent' | 'getRig'
  >;
  readonly worktrees: Worktrees;
  readonly states: Pick<StepStates, 'isReleased'>;
  readonly hostId: string;
  readonly root: string;
  /** Folder for `<session>.log`. */
  readonly logs: string;
  /** The socket that sessions call. */
  readonly socket: string;
  /** Folder of the `town` program; first in the PATH of sessions. */
  readonly bin: string;
  readonly log: (line: string) => void;
  /** Between SIGTERM and SIGKILL. */
  readonly killGraceMs?: number;
  /** For a session whose molecule is done, to end by itself; one that waits for more work needs none. */
  readonly releaseGraceMs?: number;
  /** An external session that has not called for this long is over. */
  readonly externalLeaseMs?: number;
}

/** An adopted process is no child of ours: it is looked at this often. */
const POLL_MS = 150;
/** Sessions hold neither database nor Temporal credentials, nor the host's own switches. */
const WITHHELD = /^(?:TOWN_|PG[A-Z]|POSTGRES|DATABASE_URL|TEMPORAL|GIT_|NODE_OPTIONS$|NODE_CHANNEL_FD$|JEST_)/;

interface Entry extends LiveSession {
  end: SessionEnd | null;
  listeners: Set<(end: SessionEnd) => void>;
  unwatch: () => void;
  lastCallAt: number;
  /** Why this host is ending it; null while it is not. */
  stopping: string | null;
  /** Calls in which it waits for its next step. */
  resting: number;
  onRest: () => void;
}

export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

export function createSessions(options: SessionsOptions): Sessions {
  const { ledger, worktrees, log } = options;
  const killGraceMs = options.killGraceMs ?? 5_000;
  const releaseGraceMs = options.releaseGraceMs ?? 3_000;
  const externalLeaseMs = options.externalLeaseMs ?? 10 * 60_000;
  const actor = 'system:agent-host';
  const entries = new Map<AgentAddress, Entry>();
  const queues = new Map<AgentAddress, Promise<void>>();
  const attachedListeners = new Set<(agent: AgentAddress) => void>();
  let detached = false;

  /** One change of an agent's session at a time. */
  function alone<Result>(agent: AgentAddress, work: () => Promise<Result>): Promise<Result> {
    const mine = (queues.get(agent) ?? Promise.resolve()).then(work);
    const settled = mine
      .catch(() => undefined)
      .then(() => {
        if (queues.get(agent) === settled) queues.delete(agent);
      });
    queues.set(agent, settled);
    return mine;
  }

  function keep(
    session: Omit<Entry, 'end' | 'listeners' | 'unwatch' | 'lastCallAt' | 'stopping' | 'resting' | 'onRest' | 'onEnd'>,
  ): Entry {
    const listeners = new Set<(end: SessionEnd) => void>();
    const entry: Entry = {
      ...session,
      end: null,
      listeners,
      unwatch: () => undefined,
      lastCallAt: Date.now(),
      stopping: null,
      resting: 0,
      onRest: () => undefined,
      onEnd(listener) {
        if (entry.end !== null) listener(entry.end);
        else listeners.add(listener);
        return () => listeners.delete(listener);
      },
    };
    entries.set(entry.agent, entry);
    return entry;
  }

  /** Says that a session is over: to the waiting step at once, to the ledger soon. Once only. */
  function ended(entry: Entry, seen: SessionEnd): void {
    if (entry.end !== null || detached) return;
    const end: SessionEnd = entry.stopping === null ? seen : { ...seen, kind: 'stopped', reason: entry.stopping };
    entry.end = end;
    entry.unwatch();
    if (entries.get(entry.agent) === entry) entries.delete(entry.agent);
    void alone(entry.agent, () => bury(entry, end)).catch((error: unknown) =>
      log(`${entry.agent}: the end of session ${entry.id} is not recorded yet: ${messageOf(error)}`),
    );
    for (const listener of entry.listeners) listener(end);
    entry.listeners.clear();
  }

  /** Children left behind would hold the worktree's lock. */
  async function bury(entry: Entry, end: SessionEnd): Promise<void> {
    if (entry.process !== null) {
      await endSessionProcesses({ session_id: entry.id, leader: entry.process }, killGraceMs);
    }
    await ledger.endSession({ actor }, entry.id, { reason: oneLine(end.reason), exit_code: end.code });
  }

  async function end(entry: Entry, reason: string): Promise<void> {
    entry.stopping = reason;
    if (entry.process !== null) {
      await endSessionProcesses({ session_id: entry.id, leader: entry.process }, killGraceMs);
    }
    ended(entry, { kind: 'stopped', code: null, signal: null, reason });
  }

  /** The molecule has left this session: it has nothing more to do and may end by itself. */
  async function release(entry: Entry): Promise<void> {
    const idle = new Promise<void>((done) => {
      entry.onEnd(() => done());
      entry.onRest = done;
      if (entry.resting > 0) done();
    });
    await Promise.race([idle, sleep(releaseGraceMs, undefined, { ref: false })]);
    if (entry.end === null) await end(entry, 'released: the agent goes on with another molecule');
  }

  function keepExternal(session: Pick<LiveSession, 'id' | 'agent' | 'incarnation' | 'worktree' | 'token_hash'>): Entry {
    const { id, agent, incarnation, worktree, token_hash } = session;
    const entry = keep({
      id,
      agent,
      incarnation,
      preset: 'external',
      worktree,
      branch: null,
      molecule_id: null,
      token_hash,
      process: null,
      resumed: false,
    });
    const timer = setInterval(
      () => {
        if (Date.now() - entry.lastCallAt < externalLeaseMs) return;
        ended(entry, { kind: 'lapsed', code: null, signal: null, reason: 'the attached session made no call' });
      },
      Math.max(10, externalLeaseMs / 10),
    );
    timer.unref();
    entry.unwatch = () => clearInterval(timer);
    return entry;
  }

  function adopt(row: SessionRow, need: SessionNeed, process: ProcessRef): Entry {
    const entry = keep({
      id: row.id,
      agent: row.agent_id,
      incarnation: row.incarnation,
      preset: 'command',
      worktree: row.worktree,
      branch: branchOf(need),
      molecule_id: row.molecule_id,
      token_hash: row.token_hash,
      process,
      resumed: false,
    });
    entry.unwatch = watchProcess(process, POLL_MS, () =>
      ended(entry, { kind: 'exited', code: null, signal: null, reason: 'its process is gone' }),
    );
    log(`Re-attached ${entry.agent} to session ${entry.id} (pid ${process.pid}, incarnation ${entry.incarnation})`);
    return entry;
  }

  function adoptExternal(row: SessionRow): Entry {
    const entry = keepExternal({ ...row, agent: row.agent_id });
    log(`Re-attached ${entry.agent} to external session ${entry.id} (incarnation ${entry.incarnation})`);
    return entry;
  }

  async function start(need: SessionNeed, runtime: Runtime): Promise<Entry> {
    const rig = await ledger.getRig(need.rig_id);
    const tree = await worktrees.ensure({ ...need, rigPath: rig.path, defaultBranch: rig.default_branch });
    const command = runtime.command ?? [];
    const base = sessionEnv(runtime.env ?? {}, options.bin);
    checkStartable({ command, cwd: tree.path, env: base });
    const { token, token_hash } = newToken();
    const opened = await ledger.openSession(
      { actor },
      {
        agent: need.agent,
        preset: 'command',
        token_hash,
        host_id: options.hostId,
        worktree: tree.path,
        molecule_id: need.molecule_id,
      },
    );
    const { session_id, incarnation } = opened;
    const logFile = join(options.logs, `${encodeURIComponent(session_id)}.log`);
    const env = {
      ...base,
      TOWN_AGENT: need.agent,
      TOWN_TOKEN: token,
      TOWN_SOCKET: options.socket,
      TOWN_ROOT: options.root,
      TOWN_SESSION: session_id,
      TOWN_INCARNATION: String(incarnation),
      TOWN_MOLECULE: need.molecule_id,
    };
    try {
      // Taking over is safe now: whoever else was in this worktree can write nothing any more.
      if (opened.previous !== null) await endRow(opened.previous);
      const launched = await launch({ command, cwd: tree.path, env, logFile, lockFile: `${tree.path}.lock` });
      const { process } = launched;
      const entry = keep({
        id: session_id,
        agent: need.agent,
        incarnation,
        preset: 'command',
        worktree: tree.path,
        branch: tree.branch,
        molecule_id: need.molecule_id,
        token_hash,
        process,
        resumed: opened.previous?.molecule_id === need.molecule_id,
      });
      launched.onExit((exit) => ended(entry, describeExit(exit, logFile)));
      try {
        await ledger.recordSpawn(session_id, {
          boot_id: bootId(),
          pid: process.pid,
          pid_start: String(process.startTime),
        });
      } catch (error) {
        launched.abandon();
        throw error;
      }
      if (incarnation > 1) log(`Resuming identity: ${need.agent}, incarnation ${incarnation}`);
      else log(`Started ${need.agent}, session ${session_id} (pid ${process.pid})`);
      launched.go();
      return entry;
    } catch (error) {
      await ledger.endSession({ actor }, session_id, { reason: oneLine(messageOf(error)), exit_code: null });
      throw error;
    }
  }

  async function endRow(row: SessionRow): Promise<void> {
    if (await endSessionProcesses({ session_id: row.id, leader: processOf(row) }, killGraceMs)) return;
    throw new TownError('SESSION_UNSTARTABLE', `processes of session ${row.id} of ${row.agent_id} cannot be ended`, {
      hint: 'see: town session list',
    });
  }

  async function find(need: SessionNeed): Promise<{ session: LiveSession; fresh: boolean } | null> {
    const known = entries.get(need.agent);
    if (known !== undefined) {
      if (known.preset === 'external' || known.molecule_id === need.molecule_id)
        return { session: known, fresh: false };
      await release(known);
    }
    const row = known === undefined ? await ledger.currentSession(need.agent) : null;
    if (row?.preset === 'external') return { session: adoptExternal(row), fresh: false };
    if (row !== null) {
      const process = liveProcessOf(row);
      const fits = row.worktree === worktrees.pathOf(need.agent, need.molecule_id);
      if (process !== null && fits) return { session: adopt(row, need, process), fresh: false };
      await endRow(row);
      await ledger.endSession({ actor }, row.id, {
        reason: process === null ? 'lost: its process is gone' : 'released: the agent goes on with another molecule',
        exit_code: null,
      });
    }
    const { runtime } = await ledger.getAgent(need.agent);
    if (runtime.preset === 'external' || (await options.states.isReleased(need.agent))) return null;
    const session = await start(need, runtime);
    return { session, fresh: true };
  }

  async function placeIn(rig_id: RigId | null, path: string): Promise<string> {
    if (rig_id !== null) return await worktrees.topInRig((await ledger.getRig(rig_id)).path, path);
    try {
      return realpathSync(path);
    } catch (cause) {
      throw new TownError('NOT_FOUND', `there is no folder ${path}`, { cause });
    }
  }

  const stop = (agent: AgentAddress, reason: string): Promise<void> =>
    alone(agent, async () => {
      const entry = entries.get(agent);
      if (entry !== undefined) await end(entry, reason);
    });

  const stopOrLeft = (agent: AgentAddress, reason: string): Promise<void> =>
    alone(agent, async () => {
      const entry = entries.get(agent);
      if (entry !== undefined) return end(entry, reason);
      const row = await ledger.currentSession(agent);
      if (row === null || row.preset === 'external') return;
      await endRow(row);
      await ledger.endSession({ actor }, row.id, { reason: oneLine(reason), exit_code: null });
    });

  return {
    live: (agent) => entries.get(agent) ?? null,
    byToken: (token_hash) => [...entries.values()].find((entry) => entry.token_hash === token_hash) ?? null,

    ensure(need) {
      const known = entries.get(need.agent);
      if (known?.molecule_id === need.molecule_id && !queues.has(need.agent)) {
        return Promise.resolve({ session: known, fresh: false });
      }
      return alone(need.agent, () => find(need));
    },

    attach: (agent, worktree, asker) =>
      alone(agent, async () => {
        const known = entries.get(agent);
        if (known?.preset === 'command') {
          throw new TownError('CONFLICT', `${agent} has a running session (${known.id}) that the town started`, {
            hint: 'wait until its work is done, or choose another agent; see: town session list',
          });
        }
        const view = await ledger.getAgent(agent);
        const top = worktree === null ? null : await placeIn(view.rig_id, worktree);
        const { token, token_hash } = newToken();
        const opening = {
          agent,
          preset: 'external',
          token_hash,
          host_id: options.hostId,
          worktree: top,
          molecule_id: null,
        };
        const { session_id, incarnation, previous } = await ledger.openSession({ actor: asker }, opening);
        if (previous !== null && previous.preset !== 'external') await endRow(previous);
        if (known !== undefined)
          ended(known, { kind: 'replaced', code: null, signal: null, reason: 'replaced by a newer attach' });
        keepExternal({ id: session_id, agent, incarnation, worktree: top, token_hash });
        log(`Attached ${agent}, session ${session_id}, incarnation ${incarnation}`);
        for (const listener of attachedListeners) listener(agent);
        return { token, incarnation, session_id };
      }),

    placeIn,

    onAttached(listener) {
      attachedListeners.add(listener);
      return () => attachedListeners.delete(listener);
    },

    touch(agent) {
      const entry = entries.get(agent);
      if (entry !== undefined) entry.lastCallAt = Date.now();
    },

    rests(agent) {
      const entry = entries.get(agent);
      if (entry === undefined) return () => undefined;
      entry.resting += 1;
      entry.onRest();
      return () => {
        entry.resting -= 1;
      };
    },

    stop,

    async stopAll(agents, reason) {
      await Promise.all([...new Set([...entries.keys(), ...agents])].map((agent) => stopOrLeft(agent, reason)));
      await Promise.all(queues.values());
    },

    detach() {
      detached = true;
      for (const entry of entries.values()) {
        entry.unwatch();
        entry.listeners.clear();
      }
      entries.clear();
    },
  };
}

/** The process that was recorded; null when none was since the machine has booted. */
function processOf(row: SessionRow): ProcessRef | null {
  if (row.boot_id !== bootId() || row.pid === null || row.pid_start === null) return null;
  return { pid: row.pid, startTime: Number(row.pid_start) };
}

function liveProcessOf(row: SessionRow): ProcessRef | null {
  const process = processOf(row);
  return process !== null && isAlive(process.pid, process.startTime) ? process : null;
}

function newToken(): { readonly token: string; readonly token_hash: string } {
  const token = randomBytes(32).toString('base64url');
  return { token, token_hash: hashToken(token) };
}

/** This process's environment without credentials and switches of the town. */
export function plainEnv(): Record<string, string> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries(process.env)) {
    if (value !== undefined && !WITHHELD.test(name)) env[name] = value;
  }
  return env;
}

function sessionEnv(extra: Readonly<Record<string, string>>, bin: string): Record<string, string> {
  const env = { ...plainEnv(), ...extra };
  return { ...env, PATH: `${bin}:${env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin'}` };
}

function describeExit(exit: LaunchExit, logFile: string): SessionEnd {
  const { code, signal } = exit;
  if (code === LOCK_NOT_WON) {
    return { kind: 'unstartable', code, signal, reason: 'another process holds the lock of the worktree' };
  }
  if (code === 126 || code === 127) {
    return { kind: 'unstartable', code, signal, reason: tailOf(logFile, 400).trim() || `exit code ${code}` };
  }
  return { kind: 'exited', code, signal, reason: signal === null ? `exit code ${code}` : `signal ${signal}` };
}

function oneLine(text: string): string {
  return text.replace(/\s+/g, ' ').trim().slice(0, 450);
}
