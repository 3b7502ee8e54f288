import { openSync, renameSync, statSync } from 'node:fs';
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

/** A file descriptor to append output to; the file of before is kept as `.1` when it has grown large. */
export function openLog(folder: string, name: string): number {
  const path = join(folder, name);
  if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > LOG_BYTES_MAX) renameSync(path, `${path}.1`);
  return openSync(path, 'a', 0o600);
}
