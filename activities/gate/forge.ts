import type { GateState } from '../../schema/runs';
import { connectGithub, troubleOf, type GithubTrouble } from '../forge/github';

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
export function createGithub({
  token,
  apiUrl,
}: {
  readonly token: string | null;
  readonly apiUrl: string | null;
}): Forge {
  /** Without retries: the gate itself is looked at again and again. */
  const connect = () =>
    connectGithub({ baseUrl: apiUrl ?? 'https://api.github.com', token, timeoutMs: REQUEST_MS, patience: null });

  /** `absent`: what a thing that is not there means. */
  async function look({ host }: Repository, absent: string, body: () => Promise<GateState>): Promise<GateState> {
    if (token === null)
      return { kind: 'unknown', reason: 'there is no token for the forge: set GITHUB_TOKEN where the town is started' };
    // A remote is what anybody with the repository can set: the token goes where whoever started the town has said, and nowhere else.
    if (apiUrl === null && host !== 'github.com')
      return {
        kind: 'unknown',
        reason: `the API of ${host} is not known: set GITHUB_API_URL where the town is started`,
      };
    try {
      return await body();
    } catch (error) {
      const trouble = troubleOf(error);
      if (trouble?.kind === 'absent') return { kind: 'refused', reason: absent };
      return { kind: 'unknown', reason: wordsOf(trouble, error) };
    }
  }

  return {
    ciRun: (repository, run) =>
      look(repository, `there is no CI run ${run} in ${repository.owner}/${repository.name}`, async () => {
        const { rest, paginate } = await connect();
        const { owner, name: repo } = repository;
        if (/^\d+$/.test(run)) {
          return ofRun((await rest.actions.getWorkflowRun({ owner, repo, run_id: Number(run) })).data);
        }
        const pages = paginate.iterator(rest.actions.listRepoWorkflows, { owner, repo, per_page: 100 });
        for await (const { data } of pages) {
          const workflow = data.find(({ name, path }) => name === run || path.split('/').at(-1) === run);
          if (workflow === undefined) continue;
          const page = await rest.actions.listWorkflowRuns({ owner, repo, workflow_id: workflow.id, per_page: 1 });
          const [newest] = page.data.workflow_runs;
          return newest === undefined
            ? { kind: 'closed', reason: `the workflow ${run} has not run yet` }
            : ofRun(newest);
        }
        return { kind: 'refused', reason: `${owner}/${repo} has no workflow ${run}` };
      }),
    pullRequest: (repository, number) =>
      look(repository, `there is no pull request ${number} in ${repository.owner}/${repository.name}`, async () => {
        if (!/^\d+$/.test(number)) return { kind: 'refused', reason: `${number} is not the number of a pull request` };
        const { rest } = await connect();
        const { owner, name: repo } = repository;
        const { data: pull } = await rest.pulls.get({ owner, repo, pull_number: Number(number) });
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

function ofRun({ id, status, conclusion }: Run): GateState {
  if (status !== 'completed') return { kind: 'closed', reason: `CI run ${id} is ${status ?? 'waiting'}` };
  const reason = `CI run ${id} ended with ${conclusion ?? 'no conclusion'}`;
  return { kind: ENDED_WELL.has(conclusion ?? '') ? 'open' : 'refused', reason };
}

function wordsOf(trouble: GithubTrouble | null, error: unknown): string {
  if (trouble?.kind === 'token') return `the forge refuses the token (${trouble.status})`;
  if (trouble?.kind === 'limit')
    return `the forge answers no more requests for now: its rate limit ends ${trouble.ends}`;
  return `the forge does not answer: ${error instanceof Error ? error.message : String(error)}`.slice(0, 300);
}
