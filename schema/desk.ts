import type { AgentAddress, MoleculeId, RigId } from './ids';
import type { JsonObject } from './json';
import type { StepBrief } from './views';

/**
 * What an agent host answers to the sessions of its agents, over its unix socket. The caller is known by its token;
 * a token of an older incarnation gets STALE_SESSION (exit code 4) and changes nothing.
 */
export interface HookDesk {
  /** Who the token belongs to. @throws UNAUTHORIZED, STALE_SESSION */
  authenticate(token: string): Promise<DeskCaller>;
  /** The step to work on now; with wait_ms it waits for one that long. Null: none yet. */
  current(caller: DeskCaller, wait_ms: number): Promise<StepBrief | null>;
  /**
   * Closes the step: joins the one job of (molecule, step, attempt): checks, receipt, completion. Waits up to 10 s for the projection
   * (`projected: false` then) and up to `next_wait_ms` for the next step. Asking again gives the same answer.
   * @throws NOT_HOLDER, STALE_SESSION, CHECKS_FAILED, WRONG_STATE
   */
  closeStep(caller: DeskCaller, close: CloseStep): Promise<CloseAnswer>;
  /** Agents whose hooks this host serves now. */
  held(): readonly AgentAddress[];
  /** The top folder of the working tree that holds `path`. Without a rig: the folder itself. @throws PATH_OUTSIDE_RIG, NOT_FOUND */
  placeIn(rig_id: RigId | null, path: string): Promise<string>;
  /** Serves an agent whose session somebody else started (`town attach`): opens an external session and answers its token. */
  attach(
    agent: AgentAddress,
    worktree: string | null,
    actor: string,
  ): Promise<{ token: string; incarnation: number; session_id: string }>;
}
export interface DeskCaller {
  readonly agent: AgentAddress;
  readonly session_id: string;
  readonly incarnation: number;
  readonly worktree: string | null;
}
export interface CloseStep {
  /** Name of the step, or its id `<task>.<step>`, or null for the current one. */
  readonly step: string | null;
  readonly molecule_id: MoleculeId | null;
  readonly outcome: 'done' | 'failed';
  readonly note: string;
  /** null: the head of the session's worktree. */
  readonly commit_id: string | null;
  readonly output: JsonObject | null;
  readonly next_wait_ms: number;
}
export interface CloseAnswer {
  readonly molecule_id: MoleculeId;
  readonly step: string;
  readonly outcome: string;
  readonly projected: boolean;
  readonly already: boolean;
  readonly next: StepBrief | null;
}

/** One line of JSON each way on the town's unix sockets; several requests may follow on one connection. */
export interface SocketRequest {
  readonly v: 1;
  /** Chosen by the client, echoed in the answer. */
  readonly id: number;
  /** The words of the command line, without `town`. */
  readonly argv: readonly string[];
  readonly cwd: string;
  readonly tty: boolean;
  /** Session token of an agent, or absent for the person at the keyboard. */
  readonly token?: string;
  /** The token is not from the environment: the client kept it since the first `town hook` in this place. */
  readonly kept?: true;
  /** TOWN_AGENT: whose hook the first `town hook` without a token attaches to. Empty: nobody's, a person asks. */
  readonly agent?: string;
  /** What the caller's machine calls him; who has a token is known by that alone. */
  readonly user: string;
  /** Idempotency key of the command: repeated after a lost answer, it changes nothing. */
  readonly key?: string;
  /** What was piped into the command, for the verbs that read it. */
  readonly stdin?: string;
  /** The caller's own token for the code host, for the verbs that ask it; null: he has none. Used for this request, and kept nowhere. */
  readonly forge_token?: string | null;
}
/** `stdout` and `stderr` are printed as they are; the process ends with `code`. `unknown: true` means: load the full command set instead. */
export interface SocketAnswer {
  readonly id: number;
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly unknown?: true;
  /** A session was attached: the client keeps its token for this agent, and for those who ask from this folder or below. */
  readonly attached?: { readonly agent: string; readonly folder: string | null; readonly token: string };
}
