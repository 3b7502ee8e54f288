import { renameSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { TownError, type ErrorBody } from '../../schema/errors';
import type { ProcessRef } from './process';

/** What runs of a town and where. Written by the supervisor alone; removed by a clean stop. */
export interface TownState {
  readonly bootId: string;
  /** ISO 8601 */
  readonly startedAt: string;
  readonly supervisor: ProcessRef;
  /** Null until it is up. */
  readonly postgres: PostgresState | null;
  readonly temporal: TemporalState | null;
  readonly service: ServiceState | null;
  /** `starting` also while a part that died is brought back. The service reads `stopping` as: end the sessions too. */
  readonly phase: 'starting' | 'ready' | 'stopping';
  /** The last failure of a part that is not up again. Final once the supervisor has ended. */
  readonly error: ErrorBody | null;
}

export interface PostgresState {
  /** Null for a server that somebody else runs. */
  readonly pid: number | null;
  readonly startTime: number | null;
  readonly url: string;
  readonly owned: boolean;
}

export interface TemporalState {
  readonly pid: number | null;
  readonly startTime: number | null;
  /** host:port */
  readonly address: string;
  readonly uiUrl: string | null;
  readonly owned: boolean;
}

export interface ServiceState extends ProcessRef {
  readonly httpUrl: string | null;
}

/** Null when the town is not up, or the file was cut short by a power failure. */
export function readState(stateFile: string): TownState | null {
  const state = readJson(stateFile);
  return isRecord(state) && typeof state['phase'] === 'string' && isRecord(state['supervisor'])
    ? (state as unknown as TownState) // our own file, replaced as a whole
    : null;
}

export function writeState(stateFile: string, state: TownState): void {
  writeJson(stateFile, state);
}

/** The parsed file, or undefined when it is missing or no JSON. */
export function readJson(path: string): unknown {
  try {
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    if (error instanceof SyntaxError || (error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

/** Readers see the old or the new content, never a part.
 *  @throws DISK_FULL */
export function writeJson(path: string, content: unknown): void {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    writeFileSync(temporary, `${JSON.stringify(content, null, 2)}\n`, { mode: 0o600 });
    renameSync(temporary, path);
  } catch (error) {
    rmSync(temporary, { force: true });
    if ((error as NodeJS.ErrnoException).code === 'ENOSPC') {
      throw new TownError('DISK_FULL', `no space left to write ${path}`, {
        hint: 'free some space on that disk; the town goes on by itself',
        cause: error,
      });
    }
    throw error;
  }
}

/** Some errors of sockets have a code alone. */
export function messageOf(error: unknown): string {
  return error instanceof Error
    ? error.message || ((error as NodeJS.ErrnoException).code ?? error.name)
    : String(error);
}

export function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
