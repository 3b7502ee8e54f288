import { readFileSync, readdirSync, readlinkSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** A process that cannot be mistaken for a later one with the same pid. */
export interface ProcessRef {
  readonly pid: number;
  /** Clock ticks since boot, from the kernel. */
  readonly startTime: number;
}

export interface SeenProcess extends ProcessRef {
  readonly args: readonly string[];
  /** Null when it may not be read (somebody else's process). */
  readonly cwd: string | null;
}

/** Null when there is no such process, or only a zombie of it. */
export function processStartTime(pid: number): number | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return null; // gone
  }
  // The name in parentheses may hold blanks and parentheses itself. What follows the last one starts with field 3.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return fields[0] === 'Z' || fields[0] === 'X' ? null : Number(fields[19]);
}

/** Pids and start times are meaningful within one boot only: compare `bootId` first when they come from a file. */
export function isAlive(pid: number, startTime: number): boolean {
  return processStartTime(pid) === startTime;
}

export function bootId(): string {
  return readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
}

export function thisProcess(): ProcessRef {
  return { pid: process.pid, startTime: processStartTime(process.pid) ?? 0 };
}

/** Live processes (no zombies) of this user that match; as root, of all users. */
export function findProcesses(matches: (seen: SeenProcess) => boolean): SeenProcess[] {
  const uid = process.getuid?.() ?? 0;
  const found: SeenProcess[] = [];
  for (const entry of readdirSync('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid)) continue;
    const startTime = processStartTime(pid);
    if (startTime === null) continue;
    try {
      if (uid !== 0 && statSync(`/proc/${pid}`).uid !== uid) continue;
      const args = readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').slice(0, -1);
      const seen = { pid, startTime, args, cwd: readCwd(pid) };
      if (matches(seen)) found.push(seen);
    } catch {
      // It ended while we looked.
    }
  }
  return found;
}

/** Sends each signal in turn and waits its time for the process to end. False when it outlived them all. */
export async function endProcess(
  target: ProcessRef,
  signals: readonly { readonly signal: NodeJS.Signals; readonly waitMs: number }[],
): Promise<boolean> {
  for (const { signal, waitMs } of signals) {
    if (!isAlive(target.pid, target.startTime)) return true;
    try {
      process.kill(target.pid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
    }
    if (await processEnds(target, waitMs)) return true;
  }
  return !isAlive(target.pid, target.startTime);
}

/** SIGTERM, and after 10 s SIGKILL. False when it outlived both. */
export async function stopProcess(target: ProcessRef): Promise<boolean> {
  return await endProcess(target, [
    { signal: 'SIGTERM', waitMs: 10_000 },
    { signal: 'SIGKILL', waitMs: 5_000 },
  ]);
}

/** True once the process is gone, false after `waitMs`. */
export async function processEnds(target: ProcessRef, waitMs: number, pollMs = 10): Promise<boolean> {
  for (const until = Date.now() + waitMs; Date.now() < until; await sleep(pollMs)) {
    if (!isAlive(target.pid, target.startTime)) return true;
  }
  return !isAlive(target.pid, target.startTime);
}

/** Settles when the process ends. Does not keep this process alive. */
export async function exitOf(target: ProcessRef): Promise<void> {
  while (isAlive(target.pid, target.startTime)) await sleep(200, undefined, { ref: false });
}

/** Different free ports on 127.0.0.1, below the range the kernel hands out to clients. */
export async function freePorts(count: number): Promise<number[]> {
  const held: Server[] = [];
  const ports: number[] = [];
  try {
    for (let tries = 0; ports.length < count && tries < 500; tries += 1) {
      const port = 12_000 + Math.floor(Math.random() * 20_000);
      const server = await listenOn(port);
      if (server === null) continue;
      held.push(server);
      ports.push(port);
    }
  } finally {
    for (const server of held) server.close();
  }
  if (ports.length < count) throw new Error('no free port on 127.0.0.1 between 12000 and 32000');
  return ports;
}

export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  return port!;
}

export async function isPortFree(port: number): Promise<boolean> {
  const server = await listenOn(port);
  server?.close();
  return server !== null;
}

function listenOn(port: number): Promise<Server | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(null));
    server.listen({ host: '127.0.0.1', port, exclusive: true }, () => resolve(server));
  });
}

function readCwd(pid: number): string | null {
  try {
    return readlinkSync(`/proc/${pid}/cwd`);
  } catch {
    return null;
  }
}
