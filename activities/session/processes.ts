/* What the host does to the processes of a session. A session is all processes of the group that its launcher leads,
 * and all that carry its id in their environment (a child that left the group would otherwise keep the worktree's lock). */
import { readFileSync, readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, processStartTime, type ProcessRef } from '../provision/process';

export interface SessionProcesses {
  readonly session_id: string;
  /** The leader of the group; null when nothing was ever started. */
  readonly leader: ProcessRef | null;
}

/** Sends SIGTERM to all of it, after `graceMs` SIGKILL, and waits until nothing is left.
 *  False when something survived (another user's process, or one in the kernel). */
export async function endSessionProcesses(target: SessionProcesses, graceMs: number): Promise<boolean> {
  if (!signalAll(target, 'SIGTERM')) return true;
  for (const until = Date.now() + graceMs; Date.now() < until; await sleep(15)) {
    if (sessionPids(target).length === 0) return true;
  }
  for (const until = Date.now() + 5_000; Date.now() < until; await sleep(15)) {
    if (!signalAll(target, 'SIGKILL')) return true;
  }
  return sessionPids(target).length === 0;
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

/** False when there was nobody to tell. */
function signalAll(target: SessionProcesses, signal: NodeJS.Signals): boolean {
  const pids = sessionPids(target);
  for (const pid of pids) {
    try {
      process.kill(pid, signal);
    } catch {
      // It ended just now, or is not ours to end: the caller looks again.
    }
  }
  return pids.length > 0;
}

/** Live processes of the session. The group counts while its leader lives: later its number may belong to others. */
function sessionPids(target: SessionProcesses): number[] {
  const { leader } = target;
  const group = leader !== null && isAlive(leader.pid, leader.startTime) ? leader.pid : null;
  const mark = `TOWN_SESSION=${target.session_id}`;
  const found: number[] = [];
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid || processStartTime(pid) === null) continue;
    if ((group !== null && groupOf(pid) === group) || carries(pid, mark)) found.push(pid);
  }
  return found;
}

function groupOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[2]);
  } catch {
    return null;
  }
}

function carries(pid: number, mark: string): boolean {
  try {
    return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(mark);
  } catch {
    return false; // gone, or somebody else's
  }
}
