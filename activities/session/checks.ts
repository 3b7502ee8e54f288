import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { TownError } from '../../schema/errors';
import type { Worktrees } from '../worktree/git-worktree';
import { tailOf } from './launcher';

export interface CheckRun {
  readonly checks: readonly string[];
  /** The working tree whose repository holds the commit. */
  readonly worktree: string;
  readonly commit: string;
  readonly logFile: string;
  /** For each check. */
  readonly timeoutMs: number;
  readonly env: NodeJS.ProcessEnv;
}

/** Runs a step's acceptance checks, one after the other, on an export of the commit: what is not committed does not count.
 *  @throws CHECKS_FAILED with the check, its exit code and the tail of its output; INVALID_INPUT for what is no commit */
export async function runChecks(worktrees: Worktrees, run: CheckRun): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'town-check-'));
  mkdirSync(dirname(run.logFile), { recursive: true, mode: 0o700 });
  try {
    await worktrees.exportCommit(run.worktree, run.commit, folder);
    for (const check of run.checks) {
      const end = await runCheck(check, folder, run);
      if (end.code === 0) continue;
      const how = end.timedOut
        ? `took longer than ${run.timeoutMs} ms`
        : `ended with ${end.signal ?? `exit code ${end.code}`}`;
      throw new TownError('CHECKS_FAILED', `check \`${check}\` ${how} on ${run.commit.slice(0, 12)}`, {
        hint: 'correct the work, commit it, then close the step again',
        details: { check, exit_code: end.code, commit_id: run.commit, output: tailOf(run.logFile, 4_000) },
      });
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function runCheck(
  check: string,
  cwd: string,
  run: CheckRun,
): Promise<{ code: number | null; signal: string | null; timedOut: boolean }> {
  const log = openSync(run.logFile, 'w', 0o600);
  return new Promise((done, fail) => {
    const child = spawn('sh', ['-c', check], { cwd, env: run.env, detached: true, stdio: ['ignore', log, log] });
    closeSync(log);
    let timedOut = false;
    const endGroup = () => {
      try {
        if (child.pid !== undefined) process.kill(-child.pid, 'SIGKILL');
      } catch {
        // nothing is left of it
      }
    };
    const timer = setTimeout(() => {
      timedOut = true;
      endGroup();
    }, run.timeoutMs);
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
