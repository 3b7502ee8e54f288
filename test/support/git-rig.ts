import { execFileSync } from 'node:child_process';
import { mkdtempSync, realpathSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A temporary folder with a git repository of one commit in `rig`. */
export function makeGitRig(): { root: string; rig: string; git: (cwd: string, ...args: string[]) => string } {
  const root = realpathSync(mkdtempSync(join(tmpdir(), 'town test ')));
  const rig = join(root, 'rig');
  const git = (cwd: string, ...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=t', '-c', 'user.email=t@example.org', ...args], {
      cwd,
      encoding: 'utf8',
    }).trim();
  git(root, 'init', '-q', '-b', 'main', 'rig');
  writeFileSync(join(rig, 'a.txt'), 'one\n');
  git(rig, 'add', '.');
  git(rig, 'commit', '-qm', 'first');
  return { root, rig, git };
}
