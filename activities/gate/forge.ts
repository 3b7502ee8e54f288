import type { GateState } from '../../schema/runs';

/** A repository at a forge. */
export interface Repository {
  readonly host: string;
  readonly owner: string;
  readonly name: string;
}

/** What gates ask of a forge. Never throws: what cannot be found out is `unknown` with the reason. */
export interface Forge {
  /** A run by its number, or the newest run of the workflow with this name or file name. Open when it ended well. */
  ciRun(repository: Repository, run: string): Promise<GateState>;
  /** Open when it is merged. */
  pullRequest(repository: Repository, number: string): Promise<GateState>;
}

/** `https://host/owner/name.git`, `git@host:owner/name.git` and the like; null for what is no address at a forge. */
export function repositoryOf(remote: string): Repository | null {
  const match =
    /^(?:https?:\/\/(?:[^@/]+@)?|ssh:\/\/(?:[^@/]+@)?|[\w.-]+@)([\w.-]+)(?::\d+)?[:/]+([\w.-]+)\/([\w.-]+?)(?:\.git)?\/?$/.exec(
      remote,
    );
  const [, host, owner, name] = match ?? [];
  return host === undefined || owner === undefined || name === undefined ? null : { host, owner, name };
}

const REQUEST_MS = 5_000;
const ENDED_WELL = new Set(['success', 'skipped']);

/** GitHub, or a server of one's own that speaks its API. Without a token everything is `unknown`. */
export function createGithub(options: { readonly token: string | null; readonly apiUrl: string | null }): Forge {
  const { token } = options;

  async function ask<T>(repository: Repository, path: string): Promise<T> {
    // Loaded when it is needed: it takes longer than anything else at the start of the service.
    const { Octokit } = await import('octokit');
    const api =
      options.apiUrl ??
      (repository.host === 'github.com' ? 'https://api.github.com' : `https://${repository.host}/api/v3`);
    const octokit = new Octokit({
      auth: token,
      baseUrl: api,
      // The gate itself is looked at again and again.
      retry: { enabled: false },
      throttle: { enabled: false },
      log: { debug() {}, info() {}, warn() {}, error() {} },
    });
    const { data } = (await octokit.request(`GET /repos/{owner}/{name}${path}`, {
      owner: repository.owner,
      name: repository.name,
      request: { signal: AbortSignal.timeout(REQUEST_MS) },
    })) as { data: T };
    return data;
  }

  /** `absent`: what a thing that is not there means. */
  async function look(absent: string, body: () => Promise<GateState>): Promise<GateState> {
    if (token === null)
      return { kind: 'unknown', reason: 'there is no token for the forge: set GITHUB_TOKEN where the town is started' };
    try {
      return await body();
    } catch (error) {
      const status = typeof error === 'object' && error !== null && 'status' in error ? error.status : null;
      if (status === 404) return { kind: 'refused', reason: absent };
      const why = status === 401 || status === 403 ? `the forge refuses the token (${status})` : wordsOf(error);
      return { kind: 'unknown', reason: why };
    }
  }

  return {
    ciRun: (repository, run) =>
      look(`there is no CI run ${run} in ${repository.owner}/${repository.name}`, async () => {
        if (/^\d+$/.test(run)) return ofRun(await ask<Run>(repository, `/actions/runs/${run}`));
        const { workflows } = await ask<{ workflows: Workflow[] }>(repository, '/actions/workflows?per_page=100');
        const workflow = workflows.find(({ name, path }) => name === run || path.split('/').at(-1) === run);
        if (workflow === undefined)
          return { kind: 'refused', reason: `${repository.owner}/${repository.name} has no workflow ${run}` };
        const page = await ask<{ workflow_runs: Run[] }>(
          repository,
          `/actions/workflows/${workflow.id}/runs?per_page=1`,
        );
        const [newest] = page.workflow_runs;
        return newest === undefined ? { kind: 'closed', reason: `the workflow ${run} has not run yet` } : ofRun(newest);
      }),
    pullRequest: (repository, number) =>
      look(`there is no pull request ${number} in ${repository.owner}/${repository.name}`, async () => {
        if (!/^\d+$/.test(number)) return { kind: 'refused', reason: `${number} is not the number of a pull request` };
        const pull = await ask<{ merged: boolean; state: string }>(repository, `/pulls/${number}`);
        if (pull.merged) return { kind: 'open', reason: `pull request ${number} is merged` };
        return pull.state === 'closed'
          ? { kind: 'refused', reason: `pull request ${number} was closed without being merged` }
          : { kind: 'closed', reason: `pull request ${number} is open` };
      }),
  };
}

interface Run {
  readonly id: number;
  readonly status: string | null;
  readonly conclusion: string | null;
}
interface Workflow {
  readonly id: number;
  readonly name: string;
  readonly path: string;
}

function ofRun({ id, status, conclusion }: Run): GateState {
  if (status !== 'completed') return { kind: 'closed', reason: `CI run ${id} is ${status ?? 'waiting'}` };
  const reason = `CI run ${id} ended with ${conclusion ?? 'no conclusion'}`;
  return { kind: ENDED_WELL.has(conclusion ?? '') ? 'open' : 'refused', reason };
}

function wordsOf(error: unknown): string {
  return `the forge does not answer: ${error instanceof Error ? error.message : String(error)}`.slice(0, 300);
}
