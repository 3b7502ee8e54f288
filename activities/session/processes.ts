/* Ends the processes of a session or of an acceptance check. They are all of the group that a leader leads, and all that carry a mark in
 * their environment (a child that left the group would otherwise keep the worktree's lock). */
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, processStartTime, type ProcessRef } from '../provision/process';

/** Variable that names the log file of a check to all its processes. */
export const CHECK_MARK = 'TOWN_CHECK';

export interface SessionProcesses {
  readonly session_id: string;
  /** The leader of the group; null when nothing was ever started. */
  readonly leader: ProcessRef | null;
}

/** Sends SIGTERM to all of it, after `graceMs` SIGKILL, and waits until nothing is left.
 *  False when something survived (another user's process, or one in the kernel). */
export async function endSessionProcesses(target: SessionProcesses, graceMs: number): Promise<boolean> {
  return await endAll(() => sessionPids(target), graceMs);
}

/** The same for what sessions and checks of a town left: `root` is its folder, `checkLogs` where checks write. For a town whose host is gone. */
export async function endTownProcesses(root: string, checkLogs: string, graceMs: number): Promise<boolean> {
  const inTown = `TOWN_ROOT=${root}`;
  const ofCheck = `${CHECK_MARK}=${checkLogs}/`;
  return await endAll(
    () =>
      pidsWith(
        (marks) =>
          marks.some((mark) => mark.startsWith(ofCheck)) ||
          (marks.includes(inTown) && marks.some((mark) => mark.startsWith('TOWN_SESSION='))),
      ),
    graceMs,
  );
}

/** Calls back once when the process has ended; answers how to stop watching. Keeps no process alive. */
export function watchProcess(target: ProcessRef, pollMs: number, onEnd: () => void): () => void {
  const timer = setInterval(() => {
    if (isAlive(target.pid, target.startTime)) return;
    clearInterval(timer);
    onEnd();
  }, pollMs);
  timer.unref();
  return () => clearInterval(timer);
}

async function endAll(pidsOf: () => number[], graceMs: number): Promise<boolean> {
  if (!signalAll(pidsOf(), 'SIGTERM')) return true;
  for (const until = Date.now() + graceMs; Date.now() < until; await sleep(15)) {
    if (pidsOf().length === 0) return true;
  }
  for (const until = Date.now() + 5_000; Date.now() < until; await sleep(15)) {
    if (!signalAll(pidsOf(), 'SIGKILL')) return true;
  }
  return pidsOf().length === 0;
}

/** False when there was nobody to tell. */
function signalAll(pids: readonly number[], signal: NodeJS.Signals): boolean {
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // It ended just now, or is not ours to end: the caller looks again.
    }
  }
  return pids.length > 0;
}

/** The group counts while its leader lives: later its number may belong to others. */
function sessionPids({ session_id, leader }: SessionProcesses): number[] {
  const group = leader !== null && isAlive(leader.pid, leader.startTime) ? leader.pid : null;
  const mark = `TOWN_SESSION=${session_id}`;
  return pidsWith((marks, pid) => (group !== null && groupOf(pid) === group) || marks.includes(mark));
}

/** Live processes but this one, by their environment; what is somebody else's has none that could be read. */
function pidsWith(matches: (environment: readonly string[], pid: number) => boolean): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => Number.isInteger(pid) && pid !== process.pid && processStartTime(pid) !== null)
    .filter((pid) => matches(environmentOf(pid), pid));
}

function groupOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]);
  } catch {
    return null;
  }
}

function environmentOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0');
  } catch {
    return []; // gone, or somebody else's
  }
}
