/* A lock between processes of one machine that needs no clean-up after kill -9 or a reboot.
 *
 * The lock is the file `<name>.<n>.lock` with the highest n; it names its holder. A holder that is dead, or that has
 * written itself out, is followed by whoever creates n+1, which the file system grants to exactly one. The highest file
 * is never removed, so numbers never repeat; the next holder removes the lower ones. A slow contender that re-creates
 * such a lower number sees the higher one afterwards and withdraws. */
import { linkSync, readdirSync, rmSync, writeFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TownError } from '../../schema/errors';
import { bootId, isAlive, thisProcess, type ProcessRef } from './process';
import { isRecord, readJson } from './state';

export interface Lock {
  release(): void;
}

let contender = 0;

/** The live process that holds the lock; null when nobody does. */
export function lockHolder(folder: string, name: string): ProcessRef | null {
  return holderOf(folder, name, highest(folder, name));
}

/** Null when a live process holds the lock (also this one). */
export function tryLock(folder: string, name: string): Lock | null {
  const last = highest(folder, name);
  if (holderOf(folder, name, last) !== null) return null;
  const mine = last + 1;
  const file = lockFile(folder, name, mine);
  contender += 1;
  const draft = join(folder, `${name}.${process.pid}-${contender}.draft`);
  writeFileSync(draft, JSON.stringify({ ...thisProcess(), bootId: bootId() }), { mode: 0o600 });
  try {
    linkSync(draft, file); // with its content, or not at all
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return null;
    throw error;
  } finally {
    rmSync(draft, { force: true });
  }
  if (highest(folder, name) !== mine) {
    rmSync(file, { force: true });
    return null;
  }
  for (const number of numbers(folder, name))
    if (number < mine) rmSync(lockFile(folder, name, number), { force: true });
  return {
    release() {
      writeFileSync(draft, '{}', { mode: 0o600 });
      renameSync(draft, file);
    },
  };
}

/** Runs `work` as the only one; waits for other holders.
 *  @throws TIMED_OUT after `waitMs` without the lock. */
export async function withLock<Result>(
  folder: string,
  name: string,
  options: {
    readonly waitMs: number;
    readonly onWait?: (holder: ProcessRef | null) => void;
    readonly signal?: AbortSignal;
  },
  work: () => Promise<Result>,
): Promise<Result> {
  const until = Date.now() + options.waitMs;
  let told = false;
  for (;;) {
    const lock = tryLock(folder, name);
    if (lock !== null) {
      try {
        return await work();
      } finally {
        lock.release();
      }
    }
    if (!told) options.onWait?.(lockHolder(folder, name));
    told = true;
    if (Date.now() >= until) {
      const holder = lockHolder(folder, name);
      throw new TownError(
        'TIMED_OUT',
        `another process (pid ${holder?.pid ?? 'unknown'}) still works on ${name} in ${folder}`,
        {
          hint: 'wait until it has finished and try again',
        },
      );
    }
    await sleep(50, undefined, options.signal === undefined ? {} : { signal: options.signal });
  }
}

function lockFile(folder: string, name: string, number: number): string {
  return join(folder, `${name}.${number}.lock`);
}

function numbers(folder: string, name: string): number[] {
  return readdirSync(folder)
    .filter((entry) => entry.startsWith(`${name}.`) && entry.endsWith('.lock'))
    .map((entry) => Number(entry.slice(name.length + 1, -'.lock'.length)))
    .filter(Number.isInteger);
}

function highest(folder: string, name: string): number {
  return Math.max(0, ...numbers(folder, name));
}

function holderOf(folder: string, name: string, number: number): ProcessRef | null {
  const holder = readJson(lockFile(folder, name, number));
  if (!isRecord(holder) || holder['bootId'] !== bootId()) return null;
  const { pid, startTime } = holder;
  return typeof pid === 'number' && typeof startTime === 'number' && isAlive(pid, startTime)
    ? { pid, startTime }
    : null;
}
