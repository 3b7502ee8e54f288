import { closeSync, fstatSync, openSync, readSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';

export type Step = 'town' | 'postgres' | 'temporal' | 'service';
export type Level = 'info' | 'warn' | 'error';

/** Told by whatever takes time: what happens now. */
export type Progress = (step: Step, message: string, level?: Level) => void;

/** One line of up.log. */
export interface ProgressLine {
  /** ISO 8601 */
  readonly at: string;
  readonly step: Step;
  readonly message: string;
  /** Since the supervisor started. */
  readonly elapsedMs: number;
  readonly level: Level;
}

const LOG_BYTES_MAX = 20_000_000;

/** The end of a log, at most 1,000 characters; null when nothing was written. */
export function lastLines(folder: string, name: string, count: number): string | null {
  const text = tailOf(join(folder, name), 64_000).trim();
  return text === '' ? null : text.split('\n').slice(-count).join(' / ').slice(-1_000);
}

/** The last `bytes` of a file, empty when there is none. */
export function tailOf(file: string, bytes: number): string {
  let handle: number;
  try {
    handle = openSync(file, 'r');
  } catch {
    return '';
  }
  try {
    const { size } = fstatSync(handle);
    const buffer = Buffer.alloc(Math.min(bytes, size));
    const read = readSync(handle, buffer, 0, buffer.length, size - buffer.length);
    return buffer.subarray(0, read).toString('utf8');
  } finally {
    closeSync(handle);
  }
}

/** A file descriptor to append output to; the file of before is kept as `.1` when it has grown large. */
export function openLog(folder: string, name: string): number {
  const path = join(folder, name);
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > LOG_BYTES_MAX) renameSync(path, `${path}.1`);
  return openSync(path, 'a', 0o600);
}
