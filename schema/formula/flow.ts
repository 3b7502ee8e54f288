import type { Json } from '../json';

/**
 * What a step does while its molecule runs, beside being worked on. Made by the compiler, carried by the molecule, read by its state
 * machine: plain JSON without texts for agents. A part that the author did not use is absent, so older recipes and runs stay as they were.
 */
export interface StepFlow {
  /** Evaluated once, when the needs are met: a step whose condition is false is closed as skipped, and counts as met. */
  readonly when?: RunCondition;
  /** Also waits for what `of` brings while it runs (its rounds, its fan-out) or contains. With none of them it is met once `of` is closed. */
  readonly waitsFor?: { readonly of: string; readonly mode: 'all' | 'any' };
  /** Repeats a group until the condition holds after a round. Nobody works on the step itself; `max` rounds without it end it as failed. */
  readonly loop?: { readonly group: string; readonly until: RunCondition; readonly max: number };
  /** When the step is done: one instance of the group for each item of a list in its output. */
  readonly fanOut?: FanOut;
  /** An outcome `failed` is tried again, `attemptsMax` times in all. */
  readonly retry?: { readonly attemptsMax: number; readonly backoffMs: number; readonly exhausted: 'fail' | 'skip' };
  /** What follows from the outcome `failed`; absent: what needs the step never starts and the molecule fails. */
  readonly onFailure?: { readonly kind: 'skip' } | { readonly kind: 'compensate'; readonly group: string };
  /** Steps that this one contains and closes: it is ready when they are closed, and nobody works on it. */
  readonly contains?: readonly string[];
}

export interface FanOut {
  readonly group: string;
  /** Keys from the step's output to the list: `['findings']` for `output.findings`. */
  readonly path: readonly string[];
  /** Variables of every instance; `{item}`, `{item.<key>}` and `{index}` stand in the values. */
  readonly vars: Readonly<Record<string, string>>;
  readonly mode: 'parallel' | 'sequential';
  /** More items than this end the fan-out as failed: nothing is started. */
  readonly itemsMax: number;
  /** What an item that fails means: nothing for the others and for the molecule, which counts it as over; or those not yet begun are skipped.
   *  Absent: as for any step. */
  readonly onItemFailure?: 'continue' | 'stop';
}

/** What must happen, beside its needs, before a step may start. `timeoutMs`: then it is escalated to a person and stays closed. */
export type GateSpec =
  | {
      readonly kind: 'human';
      readonly prompt: string;
      readonly timeoutMs: number | null;
      /** Roles or names of which one must open it; absent: any person. */
      readonly approvers?: readonly string[];
    }
  | { readonly kind: 'timer'; readonly durationMs: number }
  | { readonly kind: 'task'; readonly task_id: string; readonly timeoutMs: number | null }
  | { readonly kind: 'molecule'; readonly molecule_id: string; readonly timeoutMs: number | null }
  /** A run of a workflow of the forge: its number, or the workflow's name (its newest run). Opens on success. */
  | { readonly kind: 'ci_run'; readonly run: string; readonly timeoutMs: number | null }
  /** Opens when the pull request is merged. */
  | { readonly kind: 'pull_request'; readonly number: string; readonly timeoutMs: number | null }
  /** Opens when a mail arrives for this address. */
  | { readonly kind: 'mail'; readonly address: string; readonly timeoutMs: number | null }
  | { readonly kind: 'condition'; readonly when: RunCondition; readonly timeoutMs: number | null };

/** A condition on steps that have ended. It never fails: what is not there is null, and a comparison with null other than `!=` is false. */
export type RunCondition =
  | { readonly op: 'and' | 'or'; readonly of: readonly RunCondition[] }
  | { readonly op: 'not'; readonly of: RunCondition }
  | { readonly op: 'compare'; readonly left: Operand; readonly is: Comparison; readonly right: Json }
  /** Of the steps that `step` brings or contains; `deep`: also theirs. In `where`, an operand's step `''` is the one looked at. */
  | {
      readonly op: 'all' | 'any';
      readonly step: string;
      readonly deep: boolean;
      readonly where: RunCondition;
    }
  | {
      readonly op: 'count';
      readonly step: string;
      readonly deep: boolean;
      readonly where: RunCondition;
      readonly is: Comparison;
      readonly right: number;
    };
export type Comparison = '==' | '!=' | '<' | '<=' | '>' | '>=';
export type Operand =
  /** Of a closed step: `status` (`complete` or `failed` or `skipped`, `open` before) or a place in its output. Step `''`: see `all`;
   *  in a loop's `until`, a step of the group means that of the last round. */
  | { readonly of: 'status'; readonly step: string }
  | { readonly of: 'output'; readonly step: string; readonly path: readonly string[] }
  /** How many steps of the molecule are closed. */
  | { readonly of: 'complete' }
  /** Whether a path exists in the worktree where the step it depends on was closed, found out when that step closes; where nobody has worked
   *  before, in the commit that the worktree would start from. */
  | { readonly of: 'file'; readonly path: string }
  /** A variable of the agent host's environment whose name begins with `TOWN_VAR_`; found out in the same way. */
  | { readonly of: 'env'; readonly name: string };
