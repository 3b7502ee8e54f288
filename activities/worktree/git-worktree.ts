/* One working tree per agent and molecule, made by `git worktree` from the rig's repository.
 *
 * `<root>/<agent>/<molecule>` is the tree, `<root>/<agent>/<molecule>.ready` says that it was made completely,
 * `<root>/<agent>/<molecule>.lock` is what the session in it holds. A tree without its `.ready` was cut off while being
 * made: nobody has worked in it, so it is made again. Commits are on the branch, which is reused. */
import { execFile, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { readlink, readdir } from 'node:fs/promises';
import { isAbsolute, join, posix, resolve, sep } from 'node:path';
import { TownError } from '../../schema/errors';
import { encodeAddress, parseAgentAddress, type AgentAddress, type MoleculeId, type TaskId } from '../../schema/ids';
import { withLock } from '../provision/lock';

export interface WorktreeRequest {
  readonly rigPath: string;
  readonly defaultBranch: string;
  readonly agent: AgentAddress;
  readonly molecule_id: MoleculeId;
  readonly root_task_id: TaskId | null;
  /** Where a new branch starts; null: the default branch. A branch that exists goes on where it is. */
  readonly base_commit: string | null;
}
export interface Worktree {
  readonly path: string;
  readonly branch: string;
}
export interface Worktrees {
  /** Where the tree of this agent and molecule is, made or not.
   *  @throws INVALID_INPUT, PATH_OUTSIDE_RIG */
  pathOf(agent: AgentAddress, molecule_id: MoleculeId): string;
  /** Makes the tree or finds it. Idempotent by (agent, molecule); safe after kill -9 at any point. Nobody may be working in it.
   *  @throws INVALID_INPUT, GIT_FAILED, CONFLICT (somebody has the branch checked out elsewhere), TIMED_OUT */
  ensure(request: WorktreeRequest): Promise<Worktree>;
  /** The commit that is checked out; null before the first commit.
   *  @throws GIT_FAILED when `path` is no working tree */
  head(path: string): Promise<string | null>;
  /** The full id of a commit that some ref or the HEAD of `path` reaches.
   *  @throws INVALID_INPUT */
  resolveCommit(path: string, commit: string): Promise<string>;
  /** Writes the files of a commit into the folder `dir`, which must exist.
   *  @throws INVALID_INPUT for what is no reachable commit, GIT_FAILED */
  exportCommit(path: string, commit: string, dir: string): Promise<void>;
  /** The top folder of the working tree of the rig's repository that holds `path`.
   *  @throws PATH_OUTSIDE_RIG */
  topInRig(rigPath: string, path: string): Promise<string>;
}

const MOLECULE = /^[a-z0-9][a-z0-9.-]{0,79}$/;
/** Making a tree of a big repository on a slow disk. */
const RIG_WAIT_MS = 10 * 60_000;

export function createWorktrees(options: { readonly root: string }): Worktrees {
  const root = resolve(options.root);
  const queues = new Map<string, Promise<unknown>>();

  const pathOf = (agent: AgentAddress, molecule_id: MoleculeId): string => {
    parseAgentAddress(agent);
    if (!MOLECULE.test(molecule_id) || molecule_id.includes('..')) {
      throw new TownError('INVALID_INPUT', `${JSON.stringify(molecule_id)} is not the id of a molecule`);
    }
    const path = join(root, encodeAddress(agent), molecule_id);
    if (!path.startsWith(root + sep)) throw new TownError('PATH_OUTSIDE_RIG', `${path} is outside of ${root}`);
    return path;
  };

  /** One git command that changes a rig's worktrees at a time: in this process by a queue, between processes by a lock. */
  function alone<Result>(rigPath: string, work: () => Promise<Result>): Promise<Result> {
    const name = `rig-${createHash('sha256').update(rigPath).digest('hex').slice(0, 12)}`;
    const before = queues.get(rigPath) ?? Promise.resolve();
    const mine = before.then(() => {
      mkdirSync(root, { recursive: true, mode: 0o700 });
      return withLock(root, name, { waitMs: RIG_WAIT_MS }, work);
    });
    queues.set(
      rigPath,
      mine.catch(() => undefined),
    );
    return mine;
  }

  return {
    pathOf,

    async ensure(request) {
      const path = pathOf(request.agent, request.molecule_id);
      const branch = branchOf(request);
      const rigPath = await repositoryOf(request.rigPath);
      return alone(rigPath, async () => {
        const ready = `${path}.ready`;
        if (existsSync(ready) && existsSync(path)) {
          if (!(await isWorktree(path))) await git(rigPath, ['worktree', 'repair', path]);
          await removeStaleLock(path, join(await gitDirOf(path), 'index.lock'));
          return { path, branch };
        }
        rmSync(ready, { force: true });
        rmSync(path, { recursive: true, force: true });
        mkdirSync(join(path, '..'), { recursive: true, mode: 0o700 });
        await git(rigPath, ['worktree', 'prune']);
        const base = request.base_commit === null ? null : await resolveCommit(rigPath, request.base_commit);
        await addWorktree(rigPath, path, branch, startsOf(base, request.defaultBranch), root);
        writeFileSync(ready, `${branch}\n`, { mode: 0o600 });
        return { path, branch };
      });
    },

    async head(path) {
      const quick = readHead(path);
      if (quick !== null) return quick;
      await gitDirOf(path);
      const answer = await tryGit(path, ['rev-parse', '--verify', '--quiet', 'HEAD^{commit}']);
      return answer?.trim() ?? null;
    },

    resolveCommit,

    async exportCommit(path, commit, dir) {
      const id = await resolveCommit(path, commit);
      await pipeArchive(path, id, dir);
    },

    async topInRig(rigPath, path) {
      const [rig, own] = await Promise.all([commonDirOf(rigPath), commonDirOf(path)]);
      if (rig === null) throw new TownError('GIT_FAILED', `${rigPath} is not a git repository`);
      const top = own === rig ? await tryGit(path, ['rev-parse', '--show-toplevel']) : null;
      if (top !== null) return top.trim();
      throw new TownError('PATH_OUTSIDE_RIG', `${path} is not a working tree of ${rigPath}`, {
        hint: 'name a folder inside the rig, or a worktree of its repository',
      });
    },
  };
}

/** Which of these paths a new worktree would have that starts at `base_commit`, or else at the default branch.
 *  @throws GIT_FAILED when `rigPath` is no repository */
export async function pathsAt(
  rig: { readonly path: string; readonly default_branch: string },
  base_commit: string | null,
  paths: readonly string[],
): Promise<Record<string, boolean>> {
  const repository = await repositoryOf(rig.path);
  let commit: string | null = null;
  for (const start of startsOf(base_commit, rig.default_branch))
    if (commit === null && (await exists(repository, start))) commit = start;
  const found: Record<string, boolean> = {};
  for (const path of paths) {
    const plain = posix.normalize(path).replace(/^\.?\/*$|\/+$/, '');
    const isInside = commit !== null && !posix.isAbsolute(path) && plain !== '..' && !plain.startsWith('../');
    found[path] = isInside && (await tryGit(repository, ['cat-file', '-e', `${commit}:${plain}`])) !== null;
  }
  return found;
}

/** `polecats/amber/acme-k3f9a`; a town-level agent gets the group `town`. */
export function branchOf(request: {
  readonly agent: AgentAddress;
  readonly molecule_id: MoleculeId;
  readonly root_task_id: TaskId | null;
}): string {
  const parts = request.agent.split('/');
  const [group, name] = parts.length === 3 ? parts.slice(1) : ['town', ...parts];
  return `${group}/${name}/${request.root_task_id ?? request.molecule_id}`;
}

async function addWorktree(
  rigPath: string,
  path: string,
  branch: string,
  starts: readonly string[],
  root: string,
): Promise<void> {
  const holder = await worktreeOfBranch(rigPath, branch);
  if (holder !== null && holder !== path) {
    if (!holder.startsWith(root + sep)) {
      throw new TownError('CONFLICT', `branch ${branch} is checked out in ${holder}`, {
        hint: `switch ${holder} to another branch, then try again`,
      });
    }
    // An earlier molecule of the same task: its files stay as they are, the branch goes on here.
    if (existsSync(holder)) await git(holder, ['checkout', '--quiet', '--detach']);
  }
  await removeStaleLock(rigPath, join((await commonDirOf(rigPath))!, 'refs', 'heads', `${branch}.lock`));
  // Forced twice: the entry of a killed `worktree add` is marked as locked.
  const add = ['worktree', 'add', '--quiet', '-f', '-f'];
  if (await exists(rigPath, `refs/heads/${branch}`)) {
    await git(rigPath, [...add, path, branch]);
    return;
  }
  for (const start of starts) {
    if (!(await exists(rigPath, start))) continue;
    await git(rigPath, [...add, '--no-track', '-b', branch, path, start]);
    return;
  }
  throw new TownError('GIT_FAILED', `${rigPath} has no commit to start from: no ${starts.join(', no ')}`, {
    hint: 'make a first commit in the rig',
  });
}

function startsOf(commit: string | null, branch: string): string[] {
  return commit === null ? [`refs/heads/${branch}`, `refs/remotes/origin/${branch}`, 'HEAD'] : [commit];
}

async function worktreeOfBranch(rigPath: string, branch: string): Promise<string | null> {
  const list = await git(rigPath, ['worktree', 'list', '--porcelain']);
  for (const entry of list.split('\n\n')) {
    const lines = entry.split('\n');
    if (lines.includes(`branch refs/heads/${branch}`)) return lines[0]!.slice('worktree '.length);
  }
  return null;
}

/** A lock file of git names no owner: it is stale when no live process works in the tree or has the file open. */
async function removeStaleLock(tree: string, lock: string): Promise<void> {
  if (!existsSync(lock)) return;
  const owner = await processIn(realpathSync(tree), realpathSync(lock));
  if (owner !== null) {
    throw new TownError('GIT_FAILED', `${lock} is in use by process ${owner}`, {
      hint: 'wait until that process has ended',
    });
  }
  rmSync(lock, { force: true });
}

async function processIn(tree: string, file: string): Promise<number | null> {
  for (const entry of await readdir('/proc')) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const executable = await readlink(`/proc/${pid}/exe`).catch(() => '');
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => '');
    if (/\/git[^/]*$/.test(executable) && (cwd === tree || cwd.startsWith(tree + sep))) return pid;
    for (const fd of await readdir(`/proc/${pid}/fd`).catch(() => [])) {
      if ((await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '')) === file) return pid;
    }
  }
  return null;
}

async function repositoryOf(rigPath: string): Promise<string> {
  if (!isAbsolute(rigPath)) throw new TownError('INVALID_INPUT', `${JSON.stringify(rigPath)} is not an absolute path`);
  const answer = await tryGit(rigPath, ['rev-parse', '--git-dir']);
  if (answer !== null) return realpathSync(rigPath);
  throw new TownError('GIT_FAILED', `${rigPath} is not a git repository`, { hint: 'see: town rig list' });
}

async function isWorktree(path: string): Promise<boolean> {
  const top = await tryGit(path, ['rev-parse', '--show-toplevel']);
  return top !== null && top.trim() === realpathSync(path);
}

async function gitDirOf(path: string): Promise<string> {
  const answer = await git(path, ['rev-parse', '--absolute-git-dir']);
  return answer.trim();
}

/** Null when the path is in no repository. */
async function commonDirOf(path: string): Promise<string | null> {
  const answer = await tryGit(path, ['rev-parse', '--git-common-dir']);
  return answer === null ? null : realpathSync(resolve(path, answer.trim()));
}

async function exists(path: string, ref: string): Promise<boolean> {
  return (await tryGit(path, ['rev-parse', '--verify', '--quiet', '--end-of-options', `${ref}^{commit}`])) !== null;
}

async function resolveCommit(path: string, commit: string): Promise<string> {
  const refuse = (why: string) =>
    new TownError('INVALID_INPUT', `${JSON.stringify(commit.slice(0, 80))} ${why}`, {
      hint: 'name a commit of the worktree, for example the answer of: git rev-parse HEAD',
    });
  if (!/^[A-Za-z0-9_][A-Za-z0-9_./^~-]{0,199}$/.test(commit)) throw refuse('is not the name of a commit');
  const id = (
    await tryGit(path, ['rev-parse', '--verify', '--quiet', '--end-of-options', `${commit}^{commit}`])
  )?.trim();
  if (id === undefined) throw refuse(`is no commit in ${path}`);
  if (readHead(path) === id) return id;
  if ((await tryGit(path, ['merge-base', '--is-ancestor', id, 'HEAD'])) !== null) return id;
  const refs = await tryGit(path, ['for-each-ref', '--count=1', '--contains', id]);
  if (refs === null || refs === '') throw refuse(`is on no branch of ${path}`);
  return id;
}

/** The head without starting git (0.1 ms instead of 5): null when the ref is not a plain file, and git has to be asked. */
function readHead(path: string): string | null {
  try {
    const pointer = /^gitdir: (.+)$/m.exec(readFileSync(join(path, '.git'), 'utf8'))?.[1];
    if (pointer === undefined) return null;
    const gitDir = resolve(path, pointer);
    const head = readFileSync(join(gitDir, 'HEAD'), 'utf8').trim();
    if (isCommitId(head)) return head;
    const ref = /^ref: (refs\/.+)$/.exec(head)?.[1];
    if (ref === undefined) return null;
    const common = resolve(gitDir, readFileSync(join(gitDir, 'commondir'), 'utf8').trim());
    const id = readFileSync(join(common, ref), 'utf8').trim();
    return isCommitId(id) ? id : null;
  } catch {
    return null; // a main worktree, or a packed ref
  }
}

function isCommitId(text: string): boolean {
  return /^(?:[0-9a-f]{40}|[0-9a-f]{64})$/.test(text);
}

function pipeArchive(path: string, commit: string, dir: string): Promise<void> {
  return new Promise((done, fail) => {
    const archive = spawn('git', ['archive', '--format=tar', commit], {
      cwd: path,
      env: gitEnv(),
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const unpack = spawn('tar', ['-x', '-f', '-', '-C', dir], { stdio: ['pipe', 'ignore', 'pipe'] });
    let said = '';
    let open = 2;
    const failed = (error: unknown) => fail(gitFailed(`could not export ${commit} of ${path}`, said, error));
    for (const part of [archive, unpack]) {
      part.stderr.on('data', (chunk: Buffer) => (said += chunk.toString().slice(0, 2_000)));
      part.on('error', failed);
      part.on('close', (code) => {
        if (code !== 0) failed(null);
        else if ((open -= 1) === 0) done();
      });
    }
    unpack.stdin.on('error', () => undefined); // its exit code tells
    archive.stdout.pipe(unpack.stdin);
  });
}

function git(cwd: string, args: readonly string[]): Promise<string> {
  return new Promise((done, fail) => {
    execFile('git', args, { cwd, env: gitEnv(), maxBuffer: 16 << 20 }, (error, stdout, stderr) => {
      if (error === null) done(stdout);
      else fail(gitFailed(`git ${args[0]} ${args[1] ?? ''} failed in ${cwd}`, stderr, error));
    });
  });
}

/** Null when git says no. */
async function tryGit(cwd: string, args: readonly string[]): Promise<string | null> {
  try {
    return await git(cwd, args);
  } catch (error) {
    if (error instanceof TownError && error.details?.['spawned'] === true) return null;
    throw error;
  }
}

function gitFailed(what: string, stderr: string, cause: unknown): TownError {
  const code = (cause as NodeJS.ErrnoException | null)?.code;
  const missing = code === 'ENOENT';
  const said = stderr.trim().slice(0, 1_000) || (missing ? 'no git executable, or no such folder' : '');
  return new TownError(
    /No space left/.test(said) ? 'DISK_FULL' : 'GIT_FAILED',
    said === '' ? what : `${what}: ${said}`,
    {
      details: { spawned: typeof code === 'number' || missing },
      cause,
    },
  );
}

function gitEnv(): NodeJS.ProcessEnv {
  const env: NodeJS.ProcessEnv = {};
  for (const [name, value] of Object.entries(process.env)) if (!name.startsWith('GIT_')) env[name] = value;
  return { ...env, GIT_TERMINAL_PROMPT: '0', GIT_OPTIONAL_LOCKS: '0', LC_ALL: 'C' };
}
