/** What an automation action is asked about, and what comes back. The rules themselves are in policies/. */

/** Every kind of action that passes the policy. Only those of `POLICY_ENTRYPOINTS` have rules yet; the others are denied. */
export const POLICY_ACTIONS = [
  'dispatch',
  'nudge',
  'restart',
  'reassign',
  'merge',
  'push',
  'escalate',
  'purge',
  'spend',
  'stop',
] as const;
export type PolicyAction = (typeof POLICY_ACTIONS)[number];

export interface PolicyActor {
  readonly kind: 'person' | 'agent' | 'run' | 'system';
  /** For an agent its address, for a run its workflow id. Never empty. */
  readonly name: string;
}

/** May this task go to this agent or rig? */
export interface DispatchQuestion {
  readonly action: 'dispatch';
  readonly actor: PolicyActor;
  readonly task: {
    readonly id: string;
    readonly rig_id: string;
    readonly priority: number;
    readonly type: string;
    readonly labels: readonly string[];
  };
  /** An agent's address or a rig's id. An agent that claims work names itself here. */
  readonly target: string;
  /** False only where the actor asked for exactly this dispatch. Runs and the system count as automatic either way. */
  readonly automatic: boolean;
  readonly features: { readonly automatic_dispatch: boolean };
  readonly rig: { readonly id: string; readonly workers_max: number; readonly workers_busy: number };
}

export type PolicyQuestion = DispatchQuestion;

/** Path of the rule that answers each action, below the policy engine's data. */
export const POLICY_ENTRYPOINTS = {
  dispatch: 'town/dispatch/decision',
} as const satisfies Record<PolicyQuestion['action'], string>;

export interface PolicyAnswer {
  readonly allow: boolean;
  /** Sentences for people: the grounds of an allowance, or everything that speaks against it. */
  readonly reasons: readonly string[];
}

/** An answer with what proves where it came from. */
export interface PolicyRuling extends PolicyAnswer {
  /** Sha256 (hex) of the module that answered; `server:<host>` for a policy server; `none` when no policy was asked. */
  readonly policyHash: string;
  /** Sha256 (hex) of the question as canonical JSON; `none` when it is no JSON object. */
  readonly inputDigest: string;
}

/** A ruling as the ledger keeps it; `id` is what side-effecting activities carry. */
export interface PolicyDecision {
  readonly id: string;
  readonly action: PolicyAction;
  readonly allow: boolean;
  readonly reasons: readonly string[];
  readonly input_digest: string;
  readonly policy_hash: string;
  /** ISO 8601, UTC. */
  readonly at: string;
}

export function denial(...reasons: readonly string[]): PolicyAnswer {
  return { allow: false, reasons };
}

/** Reads what a policy engine returned. Anything but exactly `{allow: boolean, reasons: string[]}` is a denial. */
export function readAnswer(raw: unknown): PolicyAnswer {
  return isAnswer(raw)
    ? { allow: raw.allow, reasons: raw.reasons }
    : denial('POLICY_UNAVAILABLE: the policy gave no readable answer');
}

function isAnswer(raw: unknown): raw is PolicyAnswer {
  if (typeof raw !== 'object' || raw === null || Object.keys(raw).length !== 2) return false;
  const { allow, reasons } = raw as Partial<Record<keyof PolicyAnswer, unknown>>;
  return (
    typeof allow === 'boolean' &&
    Array.isArray(reasons) &&
    reasons.every((reason: unknown) => typeof reason === 'string')
  );
}
