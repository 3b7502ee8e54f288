import type { GateSpec } from '../formula/flow';
import type { AgentAddress, ConvoyId, Instant, MoleculeId, RigId, TaskId } from '../ids';
import type { TaskOutcome } from './status';
import { holdsForEver, type DependencyType, type WaitGate } from './dependency';
import { isDormant, isHeld, RECORD_TYPES, type TaskStatus } from './status';
import { sentenceOf } from './why-text';

/** What is known about a task when somebody asks why it is not done. Times are ISO 8601; lists hold at most `LISTED`. */
export interface WhyFacts {
  readonly now: Instant;
  readonly task: {
    readonly id: TaskId;
    readonly title: string;
    readonly status: TaskStatus;
    readonly type: string;
    readonly rig_id: RigId | null;
    readonly assigned_agent_id: AgentAddress | null;
    readonly molecule_id: MoleculeId | null;
    readonly outcome: TaskOutcome | null;
    readonly close_reason: string | null;
    readonly completed_at: string | null;
    /** Null when its event is not there any more. */
    readonly closed_by: string | null;
    readonly defer_until: string | null;
    readonly due_at: string | null;
    readonly pinned: boolean;
    /** Carries the label `hold`. */
    readonly on_hold: boolean;
    readonly updated_at: string;
    /** When it became free to be taken. */
    readonly free_since: string;
  };
  readonly held_by: Held;
  /** The nearest ancestor that is held back itself. */
  readonly above: (Held & { readonly id: TaskId; readonly title: string }) | null;
  /** Its parent, when that is put off. */
  readonly dormant_parent: { readonly id: TaskId; readonly until: string | null } | null;
  readonly open_parts: { readonly total: number; readonly ids: readonly TaskId[] };
  /** Those that are not completed. */
  readonly convoys: readonly { readonly id: ConvoyId; readonly status: string; readonly rig_id: RigId | null }[];
  /** The one that has the task; null when there is none, or when its run has published nothing yet. */
  readonly molecule: MoleculeFacts | null;
  /** The message that starts its molecule, while it is not delivered. */
  readonly start: {
    readonly since: string;
    readonly tries: number;
    readonly error: string | null;
    readonly failed_at: string | null;
  } | null;
  /** The newest session of its agent. */
  readonly session: SessionFacts | null;
  readonly failure: Failure | null;
  /** The newest refusal by policy since it became free. */
  readonly denial: {
    readonly at: string;
    readonly actor: string;
    readonly target: string;
    readonly reasons: readonly string[];
  } | null;
}

/** Edges that hold a task back. */
export interface Held {
  readonly total: number;
  readonly edges: readonly HoldingEdge[];
}
export interface HoldingEdge extends OtherTask {
  readonly type: DependencyType;
  readonly gate: WaitGate;
  readonly outcome: string | null;
  readonly open_children: number;
  readonly closed_children: number;
}
export interface OtherTask {
  readonly id: TaskId;
  readonly title: string;
  readonly status: string;
  readonly agent: AgentAddress | null;
}
export interface MoleculeFacts {
  readonly id: MoleculeId;
  readonly status: string;
  readonly attention: string | null;
  readonly steps_total: number;
  readonly steps_closed: number;
  /** Steps that somebody works on, first those that are. */
  readonly hooked: readonly HookedStep[];
  readonly gated: readonly GatedStep[];
  readonly ready: readonly { readonly step: string; readonly since: string }[];
  readonly hook: HookPlace | null;
  readonly dispatch: DispatchPlace | null;
}
export interface HookedStep {
  readonly step: string;
  readonly agent: AgentAddress | null;
  readonly attempt: number;
  readonly since: string;
  readonly session: SessionFacts | null;
}
export interface GatedStep {
  readonly step: string;
  readonly since: string;
  /** Null when its run is of a build that did not publish it. */
  readonly gate: GateSpec | null;
}
/** Where it waits for the grant of an agent: `place` 1 is next. */
export interface HookPlace {
  readonly agent: AgentAddress;
  readonly agent_status: string;
  readonly place: number;
  readonly holder: MoleculeId | null;
  readonly since: string;
}
/** Where it waits for a worker of a rig: `place` 1 is next. */
export interface DispatchPlace {
  readonly rig_id: RigId;
  readonly place: number;
  readonly busy: number;
  readonly workers_max: number;
  readonly since: string;
}
export interface SessionFacts {
  readonly live: boolean;
  readonly started_at: string;
  readonly ended_at: string | null;
  readonly end_reason: string | null;
  readonly exit_code: number | null;
}
export interface Failure {
  readonly what: 'step_failed' | 'step_lost' | 'molecule_refused' | 'task_failed';
  readonly at: string;
  readonly molecule_id: MoleculeId | null;
  readonly step: string | null;
  /** A code for what was lost, otherwise who it was. */
  readonly cause: string | null;
  readonly note: string;
}

/** One reason. Their order is that of the text: what forbids the work, where it stands, what else there is to know. */
export type Cause =
  | {
      readonly kind: 'closed';
      readonly outcome: TaskOutcome | null;
      readonly at: string | null;
      readonly by: string | null;
      readonly reason: string | null;
    }
  | { readonly kind: 'pinned' }
  | { readonly kind: 'record'; readonly type: string }
  | EdgeCause
  | {
      readonly kind: 'inherited';
      readonly from: { readonly id: TaskId; readonly title: string };
      readonly causes: readonly EdgeCause[];
    }
  | { readonly kind: 'deferred'; readonly until: string | null }
  | { readonly kind: 'parent_deferred'; readonly parent_id: TaskId; readonly until: string | null }
  | {
      readonly kind: 'start_failed';
      readonly molecule_id: MoleculeId;
      readonly at: string;
      readonly error: string | null;
    }
  | {
      readonly kind: 'starting';
      readonly molecule_id: MoleculeId;
      readonly since: string;
      readonly tries: number;
      readonly error: string | null;
    }
  | { readonly kind: 'attention'; readonly molecule_id: MoleculeId; readonly why: string }
  | { readonly kind: 'paused'; readonly molecule_id: MoleculeId }
  | ({ readonly kind: 'gate'; readonly molecule_id: MoleculeId } & GatedStep)
  | ({ readonly kind: 'working'; readonly molecule_id: MoleculeId } & HookedStep &
      Pick<MoleculeFacts, 'steps_total' | 'steps_closed'>)
  | ({ readonly kind: 'hook_queue'; readonly molecule_id: MoleculeId } & HookPlace)
  | ({ readonly kind: 'dispatch_queue'; readonly molecule_id: MoleculeId } & DispatchPlace)
  | { readonly kind: 'step_ready'; readonly molecule_id: MoleculeId; readonly step: string; readonly since: string }
  | ({ readonly kind: 'molecule' } & Pick<MoleculeFacts, 'id' | 'status' | 'steps_total' | 'steps_closed'>)
  | {
      readonly kind: 'claimed';
      readonly agent: AgentAddress | null;
      readonly since: string;
      readonly session: SessionFacts | null;
    }
  | { readonly kind: 'merging'; readonly status: TaskStatus }
  | { readonly kind: 'open_parts'; readonly total: number; readonly ids: readonly TaskId[] }
  | { readonly kind: 'convoy_stopped'; readonly convoy_id: ConvoyId }
  | { readonly kind: 'no_rig'; readonly convoy_id: ConvoyId }
  | { readonly kind: 'on_hold' }
  | ({ readonly kind: 'denied' } & NonNullable<WhyFacts['denial']>)
  | { readonly kind: 'assigned'; readonly agent: AgentAddress }
  | { readonly kind: 'untaken'; readonly since: string }
  | ({ readonly kind: 'failure' } & Failure)
  | { readonly kind: 'overdue'; readonly due_at: string };

/** What edges can say; also of an ancestor. */
export type EdgeCause =
  /** Can never be met: the other was to fail, and ended well. */
  | { readonly kind: 'impossible'; readonly other: OtherTask; readonly outcome: string | null }
  | { readonly kind: 'blocked'; readonly by: readonly OtherTask[]; readonly total: number }
  | {
      readonly kind: 'waits_for_parts';
      readonly other: OtherTask;
      readonly gate: WaitGate;
      readonly open: number;
      readonly closed: number;
    }
  | { readonly kind: 'only_if_failed'; readonly other: OtherTask };

/** The answer of `town why`. */
export interface WhyView {
  readonly task_id: TaskId;
  readonly title: string;
  readonly status: string;
  readonly done: boolean;
  readonly causes: readonly Cause[];
  /** One paragraph. */
  readonly text: string;
  /** A command that tells more, or goes on, about the first cause that has one; null when none has. Never one that destroys. */
  readonly next: string | null;
}

/** How many blockers, parts, steps and convoys are named; further ones are counted. */
export const LISTED = 10;

export function explain(facts: WhyFacts): WhyView {
  const { id, title, status } = facts.task;
  const causes = causesOf(facts);
  const done = status === 'closed';
  const lead = done ? `${id} "${title}" is closed.` : `${id} "${title}" is not done.`;
  return {
    task_id: id,
    title,
    status: seenStatus(facts),
    done,
    causes,
    text: [lead, ...causes.map(sentenceOf)].join(' '),
    next: causes.map((cause) => nextOf(facts.task, cause)).find((next) => next !== null) ?? null,
  };
}

/** Never empty. */
export function causesOf(facts: WhyFacts): Cause[] {
  const { task } = facts;
  if (task.status === 'closed') {
    const { outcome, completed_at: at, closed_by: by, close_reason: reason } = task;
    return [{ kind: 'closed', outcome, at, by, reason }];
  }
  const forbidden = forbiddenBy(facts);
  const standing = isHeld(task.status) ? standingOf(facts) : waitingFor(facts, forbidden.length > 0);
  return [...forbidden, ...standing, ...remarksOn(facts)];
}

/** What keeps it from being ready. */
function forbiddenBy({ task, held_by, above, dormant_parent, now }: WhyFacts): Cause[] {
  const causes: Cause[] = [];
  if (task.pinned) causes.push({ kind: 'pinned' });
  if ((RECORD_TYPES as readonly string[]).includes(task.type)) causes.push({ kind: 'record', type: task.type });
  causes.push(...edgeCauses(held_by));
  if (above !== null) {
    causes.push({ kind: 'inherited', from: { id: above.id, title: above.title }, causes: edgeCauses(above) });
  }
  if (isDormant(dormancy(task), new Date(now))) causes.push({ kind: 'deferred', until: task.defer_until });
  if (dormant_parent !== null && !isHeld(task.status)) {
    causes.push({ kind: 'parent_deferred', parent_id: dormant_parent.id, until: dormant_parent.until });
  }
  return causes;
}

/** What can never be met comes first: waiting does not help there. */
function edgeCauses({ edges, total }: Held): EdgeCause[] {
  const never: EdgeCause[] = [];
  const others: EdgeCause[] = [];
  const by: OtherTask[] = [];
  for (const edge of edges) {
    const { id, title, status, agent, type, outcome } = edge;
    const other = { id, title, status, agent };
    if (holdsForEver(type, { closed: status === 'closed', outcome })) {
      never.push({ kind: 'impossible', other, outcome });
    } else if (type === 'waits-for') {
      const { gate, open_children: open, closed_children: closed } = edge;
      others.push({ kind: 'waits_for_parts', other, gate, open, closed });
    } else if (type === 'conditional-blocks') {
      others.push({ kind: 'only_if_failed', other });
    } else {
      by.push(other);
    }
  }
  const unnamed = total - edges.length;
  const blocked: EdgeCause[] = by.length + unnamed > 0 ? [{ kind: 'blocked', by, total: by.length + unnamed }] : [];
  return [...never, ...blocked, ...others];
}

/** Where work that somebody has taken stands. */
function standingOf({ task, molecule, start, session }: WhyFacts): Cause[] {
  if (task.status !== 'in_progress') return [{ kind: 'merging', status: task.status }];
  if (task.molecule_id === null) {
    return [{ kind: 'claimed', agent: task.assigned_agent_id, since: task.updated_at, session }];
  }
  const { molecule_id } = task;
  if (molecule !== null) return moleculeCauses(molecule);
  if (start !== null && start.failed_at !== null) {
    return [{ kind: 'start_failed', molecule_id, at: start.failed_at, error: start.error }];
  }
  const { since, tries, error } = start ?? { since: task.updated_at, tries: 0, error: null };
  return [{ kind: 'starting', molecule_id, since, tries, error }];
}

function moleculeCauses(molecule: MoleculeFacts): Cause[] {
  const { id, status, steps_total, steps_closed, attention } = molecule;
  const summary: Cause = { kind: 'molecule', id, status, steps_total, steps_closed };
  if (status !== 'running' && status !== 'paused') return [summary];
  const causes: Cause[] = attention === null ? [] : [{ kind: 'attention', molecule_id: id, why: attention }];
  if (status === 'paused') causes.push({ kind: 'paused', molecule_id: id });
  for (const step of molecule.hooked)
    causes.push({ kind: 'working', molecule_id: id, ...step, steps_total, steps_closed });
  for (const step of molecule.gated) causes.push({ kind: 'gate', molecule_id: id, ...step });
  if (molecule.hooked.length === 0 && status === 'running') causes.push(...queueOf(molecule));
  return causes.length === 0 ? [summary] : causes;
}

/** What a molecule waits for that nobody works for. A step that is stuck is ready too, but only a person moves it. */
function queueOf({ id: molecule_id, hook, dispatch, ready, attention }: MoleculeFacts): Cause[] {
  if (hook !== null) return [{ kind: 'hook_queue', molecule_id, ...hook }];
  if (dispatch !== null) return [{ kind: 'dispatch_queue', molecule_id, ...dispatch }];
  const [first] = ready;
  return first === undefined || attention !== null ? [] : [{ kind: 'step_ready', molecule_id, ...first }];
}

/** What an open task waits for that nothing forbids. */
function waitingFor({ task, convoys, denial }: WhyFacts, isForbidden: boolean): Cause[] {
  const causes: Cause[] = [];
  for (const convoy of convoys) {
    if (convoy.status === 'stopped') causes.push({ kind: 'convoy_stopped', convoy_id: convoy.id });
    else if (task.rig_id === null && convoy.rig_id === null) causes.push({ kind: 'no_rig', convoy_id: convoy.id });
  }
  if (task.on_hold) causes.push({ kind: 'on_hold' });
  if (denial !== null) causes.push({ kind: 'denied', ...denial });
  if (task.assigned_agent_id !== null) causes.push({ kind: 'assigned', agent: task.assigned_agent_id });
  else if (!isForbidden) causes.push({ kind: 'untaken', since: task.free_since });
  return causes;
}

function remarksOn({ task, open_parts, failure, now }: WhyFacts): Cause[] {
  const causes: Cause[] = [];
  if (open_parts.total > 0) causes.push({ kind: 'open_parts', ...open_parts });
  if (failure !== null) causes.push({ kind: 'failure', ...failure });
  if (task.due_at !== null && Date.parse(task.due_at) < now) causes.push({ kind: 'overdue', due_at: task.due_at });
  return causes;
}

function seenStatus({ task, now }: WhyFacts): TaskStatus {
  return task.status === 'deferred' && !isDormant(dormancy(task), new Date(now)) ? 'open' : task.status;
}

function dormancy(task: WhyFacts['task']): { status: TaskStatus; defer_until: Date | null } {
  return { status: task.status, defer_until: task.defer_until === null ? null : new Date(task.defer_until) };
}

/** Where to look, or what to do, about a cause. */
function nextOf(task: WhyFacts['task'], cause: Cause): string | null {
  switch (cause.kind) {
    case 'blocked':
      return cause.by[0] === undefined ? `town dep tree ${task.id}` : `town why ${cause.by[0].id}`;
    case 'waits_for_parts':
    case 'only_if_failed':
      return `town why ${cause.other.id}`;
    case 'inherited':
      return `town why ${cause.from.id}`;
    case 'impossible':
      return `town dep tree ${task.id}`;
    case 'start_failed':
      return 'town event list --type delivery_failed';
    case 'starting':
      return 'town status';
    case 'attention':
    case 'paused':
    case 'gate':
    case 'working':
    case 'step_ready':
    case 'dispatch_queue':
      return `town molecule show ${cause.molecule_id}`;
    case 'molecule':
      return `town molecule show ${cause.id}`;
    case 'hook_queue':
    case 'assigned':
      return `town hook ${cause.agent}`;
    case 'convoy_stopped':
    case 'no_rig':
      return `town convoy status ${cause.convoy_id}`;
    case 'untaken':
      return `town sling ${task.id} ${task.rig_id ?? '<agent or rig>'}`;
    case 'open_parts':
      return `town dep tree ${task.id} --direction down`;
    default:
      return null;
  }
}
