/* Starts a session's program so that it never runs unknown to the ledger.
 *
 * A small shell script leads a session and process group of its own. It takes the worktree's lock on descriptor 9, then
 * waits on descriptor 3 for the word "go", which the host sends after it has written pid, start time and boot id into the
 * session's row; then it becomes the program by exec, with the same pid and the lock still open. A host that dies before
 * closes descriptor 3, and the script ends without having run anything. */
import { spawn } from 'node:child_process';
import { accessSync, closeSync, constants, mkdirSync, openSync, statSync } from 'node:fs';
import { delimiter, dirname, isAbsolute, join, resolve } from 'node:path';
import { TownError } from '../../schema/errors';
import { processStartTime, type ProcessRef } from '../provision/process';

export interface Launch {
  readonly command: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string>>;
  readonly logFile: string;
  readonly lockFile: string;
}
export interface LaunchExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}
export interface Launched {
  readonly process: ProcessRef;
  /** Lets the program run. */
  go(): void;
  /** Ends the launcher without running the program. */
  abandon(): void;
  onExit(listener: (exit: LaunchExit) => void): void;
}

/** Exit code of the launcher when somebody else holds the worktree. */
export const LOCK_NOT_WON = 97;
/** Exit code of the launcher when the host went away before "go". */
export const NO_GO = 98;

/** 20 tries in 2 s: the processes of a predecessor need a moment to disappear. */
const SCRIPT = `
lock=$1; shift
exec 9>>"$lock" || exit ${LOCK_NOT_WON}
tries=0
until flock -n 9; do
  tries=$((tries + 1))
  [ "$tries" -gt 20 ] && exit ${LOCK_NOT_WON}
  sleep 0.1
done
read -r word <&3 || exit ${NO_GO}
[ "$word" = go ] || exit ${NO_GO}
exec 3<&-
exec "$@"
`;

/** Refuses what cannot start, before anything is written about it.
 *  @throws SESSION_UNSTARTABLE */
export function checkStartable(launch: Pick<Launch, 'command' | 'cwd' | 'env'>): void {
  const path = launch.env['PATH'] ?? '';
  const program = launch.command[0];
  if (program === undefined || program === '') {
    throw new TownError('SESSION_UNSTARTABLE', 'the runtime of this agent names no command', {
      hint: 'name one in the runtime of the rig or the agent',
    });
  }
  if (findProgram(program, path, launch.cwd) === null) {
    throw new TownError('SESSION_UNSTARTABLE', `there is no program ${JSON.stringify(program)} that can be executed`, {
      hint: `install it, or name another command in the runtime; looked in ${program.includes('/') ? launch.cwd : path}`,
    });
  }
  if (findProgram('flock', path, launch.cwd) === null) {
    throw new TownError('SESSION_UNSTARTABLE', 'there is no program "flock": a worktree cannot be held safely', {
      hint: 'install util-linux',
    });
  }
}

/** Starts the launcher; the program waits for `go()`.
 *  @throws SESSION_UNSTARTABLE */
export async function launch(request: Launch): Promise<Launched> {
  mkdirSync(dirname(request.logFile), { recursive: true, mode: 0o700 });
  const log = openSync(request.logFile, 'a', 0o600);
  try {
    const child = spawn('sh', ['-c', SCRIPT, 'town-session', request.lockFile, ...request.command], {
      cwd: request.cwd,
      env: request.env,
      detached: true,
      stdio: ['ignore', log, log, 'pipe'],
    });
    await new Promise<void>((started, failed) => {
      child.once('spawn', started);
      child.once('error', (cause) =>
        failed(new TownError('SESSION_UNSTARTABLE', `the session could not be started: ${cause.message}`, { cause })),
      );
    });
    child.unref();
    const pipe = child.stdio[3] as NodeJS.WritableStream & { destroy(): void; unref?(): void };
    pipe.on('error', () => undefined); // the exit says why
    pipe.unref?.();
    let exit: LaunchExit | null = null;
    const listeners: ((exit: LaunchExit) => void)[] = [];
    child.once('exit', (code, signal) => {
      exit = { code, signal };
      for (const listener of listeners) listener(exit);
    });
    const pid = child.pid!;
    return {
      process: { pid, startTime: processStartTime(pid) ?? 0 },
      go: () => void pipe.end('go\n'),
      abandon: () => pipe.destroy(),
      onExit: (listener) => {
        if (exit === null) listeners.push(listener);
        else listener(exit);
      },
    };
  } finally {
    closeSync(log);
  }
}

function findProgram(program: string, path: string, cwd: string): string | null {
  const places = program.includes('/')
    ? [isAbsolute(program) ? program : resolve(cwd, program)]
    : path.split(delimiter).map((folder) => join(folder, program));
  return places.find(isProgram) ?? null;
}

function isProgram(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}
