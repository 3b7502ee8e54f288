import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createWorktrees, pathsAt } from '../../../activities/worktree/git-worktree';
import { makeGitRig } from '../../support/git-rig';

const { root, rig, git } = makeGitRig();
const worktrees = createWorktrees({ root: join(root, 'trees') });
const want = (molecule_id: string, root_task_id: string | null = 'acme-k3f9a') => ({
  rigPath: rig,
  defaultBranch: 'main',
  agent: 'acme/polecats/amber',
  molecule_id,
  root_task_id,
  base_commit: null,
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

test('makes a tree on a branch of the agent and the task, and finds it again', async () => {
  const made = await worktrees.ensure(want('mol-1'));
  expect(made.branch).toBe('polecats/amber/acme-k3f9a');
  writeFileSync(join(made.path, 'draft.txt'), 'not committed');
  expect(await worktrees.ensure(want('mol-1'))).toEqual(made);
  expect(existsSync(join(made.path, 'draft.txt'))).toBe(true);
  expect(await worktrees.head(made.path)).toBe(git(rig, 'rev-parse', 'HEAD'));
});

test('keeps the commits of a branch when the tree has to be made again', async () => {
  const { path } = await worktrees.ensure(want('mol-2', 'acme-22222'));
  git(path, 'commit', '-q', '--allow-empty', '-m', 'work');
  const head = git(path, 'rev-parse', 'HEAD');
  rmSync(`${path}.ready`); // as if it had been cut off
  rmSync(join(path, '.git'));
  await worktrees.ensure(want('mol-2', 'acme-22222'));
  expect(await worktrees.head(path)).toBe(head);
  expect(git(path, 'status', '--porcelain')).toBe('');
});

test('makes a half-made tree again, also when git has marked it as locked', async () => {
  const { path } = await worktrees.ensure(want('mol-3', 'acme-33333'));
  rmSync(`${path}.ready`);
  writeFileSync(join(git(path, 'rev-parse', '--absolute-git-dir'), 'locked'), 'initializing');
  rmSync(path, { recursive: true });
  mkdirSync(path);
  await worktrees.ensure(want('mol-3', 'acme-33333'));
  expect(readFileSync(join(path, 'a.txt'), 'utf8')).toBe('one\n');
});

test('removes an index lock whose owner is dead', async () => {
  const { path } = await worktrees.ensure(want('mol-4', 'acme-44444'));
  const lock = join(git(path, 'rev-parse', '--absolute-git-dir'), 'index.lock');
  writeFileSync(lock, '');
  await worktrees.ensure(want('mol-4', 'acme-44444'));
  expect(existsSync(lock)).toBe(false);
  git(path, 'commit', '-q', '--allow-empty', '-m', 'goes on');
});

test('takes the branch over from an earlier molecule of the same task and keeps the files there', async () => {
  const first = await worktrees.ensure(want('mol-5', 'acme-55555'));
  writeFileSync(join(first.path, 'draft.txt'), 'kept');
  const second = await worktrees.ensure(want('mol-6', 'acme-55555'));
  expect(git(second.path, 'branch', '--show-current')).toBe('polecats/amber/acme-55555');
  expect(existsSync(join(first.path, 'draft.txt'))).toBe(true);
});

test('starts a new branch at the commit of a needed step', async () => {
  const { path } = await worktrees.ensure(want('mol-1'));
  git(path, 'commit', '-q', '--allow-empty', '-m', 'needed');
  const base_commit = git(path, 'rev-parse', 'HEAD');
  const made = await worktrees.ensure({ ...want('mol-1'), agent: 'acme/polecats/basalt', base_commit });
  expect(await worktrees.head(made.path)).toBe(base_commit);
});

test('makes several trees of one rig at once', async () => {
  const all = await Promise.all([1, 2, 3, 4].map((n) => worktrees.ensure(want(`par-${n}`, `acme-par0${n}`))));
  expect(all.every(({ path }) => existsSync(join(path, 'a.txt')))).toBe(true);
});

test('knows what a new tree would have in it, without making one', async () => {
  const at = { path: rig, default_branch: 'main' };
  const base = git(rig, 'rev-parse', 'HEAD');
  mkdirSync(join(rig, 'folder'), { recursive: true });
  writeFileSync(join(rig, 'folder', 'new.txt'), '');
  const paths = ['a.txt', './a.txt', 'folder', 'folder/', 'folder/new.txt', '.', 'none', '../rig/a.txt', '/etc/passwd'];
  const has = async (commit: string | null) =>
    Object.entries(await pathsAt(at, commit, paths)).flatMap(([path, is]) => (is ? path : []));
  expect(await has(null)).toEqual(['a.txt', './a.txt', '.']);
  git(rig, 'add', 'folder');
  git(rig, 'commit', '-qm', 'a folder');
  expect(await has(null)).toEqual(['a.txt', './a.txt', 'folder', 'folder/', 'folder/new.txt', '.']);
  expect(await has(base)).toEqual(['a.txt', './a.txt', '.']);
  expect(await has('0'.repeat(40))).toEqual([]);
  await expect(pathsAt({ ...at, path: root }, null, paths)).rejects.toMatchObject({ code: 'GIT_FAILED' });
});

test('exports a commit and refuses what is none', async () => {
  const { path } = await worktrees.ensure(want('mol-1'));
  const dir = mkdtempSync(join(root, 'export-'));
  await worktrees.exportCommit(path, git(path, 'rev-parse', 'HEAD'), dir);
  expect(readFileSync(join(dir, 'a.txt'), 'utf8')).toBe('one\n');
  const loose = git(path, 'commit-tree', '-m', 'on no branch', 'HEAD^{tree}');
  for (const commit of ['--output=x', 'nothing', '', loose, '0'.repeat(40)]) {
    await expect(worktrees.exportCommit(path, commit, dir)).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  }
});

test('refuses ids that leave the folder, and trees of another repository', async () => {
  expect(() => worktrees.pathOf('acme/polecats/amber', '../../x')).toThrow(/not the id of a molecule/);
  git(root, 'init', '-q', 'other');
  await expect(worktrees.topInRig(rig, join(root, 'other'))).rejects.toMatchObject({ code: 'PATH_OUTSIDE_RIG' });
  const { path } = await worktrees.ensure(want('mol-1'));
  mkdirSync(join(path, 'below'), { recursive: true });
  expect(await worktrees.topInRig(rig, join(path, 'below'))).toBe(path);
});
