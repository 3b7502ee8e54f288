import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { TownError } from '../../schema/errors';
import type { CheckView } from '../../schema/views';
import { tailOf } from '../provision/progress';
import type { Worktrees } from '../worktree/git-worktree';
import { CHECK_MARK } from './processes';

export interface CheckRun {
  readonly checks: readonly CheckView[];
  /** The working tree whose repository holds the commit. */
  readonly worktree: string;
  readonly commit: string;
  readonly logFile: string;
  readonly env: NodeJS.ProcessEnv;
  /** Before a check that could not be made is tried again, then doubled; a second when absent. */
  readonly pauseMs?: number;
}

/** Runs a step's acceptance checks, one after the other, on an export of the commit: what is not committed does not count.
 *  @throws CHECKS_FAILED with the check, its exit code or the limit it exceeded, and the tail of its output; UNAVAILABLE when a check could not be made (exit code 75); INVALID_INPUT for what is no commit */
export async function runChecks(worktrees: Worktrees, run: CheckRun): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'town-check-'));
  mkdirSync(dirname(run.logFile), { recursive: true, mode: 0o700 });
  try {
    await worktrees.exportCommit(run.worktree, run.commit, folder);
    for (const check of run.checks) {
      const end = await runCheckable(check, folder, run);
      if (end.code === 0) continue;
      if (end.code === UNCHECKABLE) {
        throw new TownError(
          'UNAVAILABLE',
          `check \`${check.run}\` could not be made on ${run.commit.slice(0, 12)} (exit code 75)`,
          {
            hint: 'nothing is wrong with the work; close the step again in a while',
            details: { check: check.run, commit_id: run.commit, output: tailOf(run.logFile, 4_000) },
          },
        );
      }
      const how = end.timedOut
        ? `took longer than its limit of ${check.timeout_ms / 1_000} s`
        : `ended with ${end.signal ?? `exit code ${end.code}`}`;
      throw new TownError('CHECKS_FAILED', `check \`${check.run}\` ${how} on ${run.commit.slice(0, 12)}`, {
        hint: end.timedOut
          ? 'make it faster, or ask for a longer timeout in the formula; then close the step again'
          : 'correct the work, commit it, then close the step again',
        details: {
          check: check.run,
          timeout_ms: check.timeout_ms,
          exit_code: end.code,
          commit_id: run.commit,
          output: tailOf(run.logFile, 4_000),
        },
      });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The exit code of sysexits for trouble that passes: it says nothing about the work. */
const UNCHECKABLE = 75;
const CHECK_TRIES = 3;
/** Node's timers take no more, and go off at once instead: 24.8 days. */
const TIMER_MAX_MS = 2 ** 31 - 1;

/** A check that could not be made is tried again, which costs no attempt at the step. */
async function runCheckable(check: CheckView, cwd: string, run: CheckRun): ReturnType<typeof runCheck> {
  for (let attempt = 1; ; attempt += 1) {
    const end = await runCheck(check, cwd, run);
    if (end.code !== UNCHECKABLE || attempt === CHECK_TRIES) return end;
    await sleep((run.pauseMs ?? 1_000) * 2 ** (attempt - 1));
  }
}

function runCheck(
  check: CheckView,
  cwd: string,
  run: CheckRun,
): Promise<{ code: number | null; signal: string | null; timedOut: boolean }> {
  const log = openSync(run.logFile, 'w', 0o600);
  return new Promise((done, fail) => {
    const child = spawn('sh', ['-c', check.run], {
      cwd,
      env: { ...run.env, [CHECK_MARK]: run.logFile },
      detached: true,
      stdio: ['ignore', log, log],
    });
    closeSync(log);
    let timedOut = false;
    const endGroup = () => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // nothing is left of it
      }
    };
    const timer = setTimeout(
      () => {
        timedOut = true;
        endGroup();
      },
      Math.min(check.timeout_ms, TIMER_MAX_MS),
    );
    child.once('error', (error) => {
      clearTimeout(timer);
      fail(error);
    });
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      endGroup(); // what it left in the background
      done({ code, signal, timedOut });
    });
  });
}
