import type { JsonObject } from '../json';
import type { GateSpec, StepFlow } from './flow';

/** Of a recipe with its groups, and of a molecule while it runs. */
export const STEPS_MAX = 5_000;

/**
 * A compiled formula (the protomolecule): checked, ordered, variables filled in. Plain JSON. Stored once under its digest,
 * and never changed: editing a formula makes another recipe, and a molecule keeps the one it was poured from.
 */
export interface Recipe {
  /** Version of this document's shape, raised when a field changes its meaning. */
  readonly schema: 1;
  readonly formula: string;
  readonly version: number;
  readonly type: FormulaType;
  /** Title of the root task: the formula's `title`, variable `title`, or its name. */
  readonly title: string;
  readonly description: string;
  readonly vars: Readonly<Record<string, string>>;
  /** Every step after the steps it needs; otherwise in the order of the file. */
  readonly steps: readonly RecipeStep[];
  /** Steps that loops and fan-outs make instances of while the molecule runs, by name of the group; absent when there are none.
   *  Needs name steps of the same group. */
  readonly groups?: Readonly<Record<string, readonly RecipeStep[]>>;
  /** How the author means it to be poured: kept in the ledger, or as a wisp; absent when the author did not say. */
  readonly phase?: FormulaPhase;
  /** The author asks that its steps are kept one by one; ours always are. */
  readonly pour?: boolean;
  /** What the digest of a finished run is made of. */
  readonly squash?: SquashHint;
  /** sha256 (hex) over the canonical JSON of all other fields. */
  readonly digest: string;
}

export type FormulaPhase = 'liquid' | 'vapor';

export interface SquashHint {
  readonly trigger: string | null;
  readonly template: string | null;
  readonly metrics: boolean;
}

export type FormulaType = 'workflow' | 'expansion' | 'aspect' | 'convoy';

export interface RecipeStep {
  /** Unique within the recipe; letters, digits, `.`, `_` and `-`, at most 200 characters. */
  readonly id: string;
  readonly title: string;
  /** What the agent is told to do. */
  readonly instructions: string;
  /** When the step counts as done, in words for the agent; null when the author gave none. */
  readonly acceptance: string | null;
  /** Commands that must exit 0 on an export of the commit before a close as done is accepted. */
  readonly checks: readonly StepCheck[];
  readonly needs: readonly string[];
  /** May run at the same time as its siblings on another agent. False: the author wants it in sequence (`parallel = false`). */
  readonly parallel: boolean;
  readonly gate: GateSpec | null;
  /** 0 (most urgent) to 4; null means the molecule's own. */
  readonly priority: number | null;
  readonly labels: readonly string[];
  readonly metadata: JsonObject;
  readonly assignee: string | null;
  /** Absent: the step is worked on once its needs are met, and nothing more. */
  readonly flow?: StepFlow;
}

export interface StepCheck {
  /** A shell command line, run at the top of the exported commit. */
  readonly run: string;
  readonly timeoutMs: number;
}

/** One thing wrong with a formula. All of them are reported at once. */
export interface FormulaProblem {
  readonly code: string;
  readonly severity: 'error' | 'warning';
  readonly file: string;
  /** 1-based; 1 when the place is not known. */
  readonly line: number;
  /** Path of keys, such as `steps[2].needs[0]`. */
  readonly path: string;
  readonly message: string;
  /** What the author should write instead. */
  readonly fix: string;
}
