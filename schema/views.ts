import type { Json, JsonObject } from './json';
import type { TaskFilter } from './ledger';

/** What commands and the API answer: plain JSON, snake_case, times as ISO 8601 text in UTC. */
export interface TaskView {
  id: string;
  title: string;
  description: string;
  type: string;
  status: string;
  priority: number;
  rig_id: string | null;
  assigned_agent_id: string | null;
  hook_id: string | null;
  convoy_id: string | null;
  parent_id: string | null;
  molecule_id: string | null;
  /** How many of its dependencies hold it back. */
  open_blockers: number;
  /** An ancestor is held back, and so all its parts. */
  parent_blocked: boolean;
  labels: string[];
  acceptance: string | null;
  design: string | null;
  owner: string | null;
  spec_id: string | null;
  external_ref: string | null;
  source_system: string | null;
  estimated_minutes: number | null;
  due_at: string | null;
  defer_until: string | null;
  pinned: boolean;
  metadata: JsonObject;
  created_by: string;
  created_at: string;
  updated_at: string;
  started_at: string | null;
  completed_at: string | null;
  outcome: string | null;
  close_reason: string | null;
}
/** A short-lived task: its fields are those of a task, as far as it has them. Lists that are asked for wisps answer it among the others. */
export interface WispView extends TaskView {
  wisp_type: string | null;
  /** When it goes away by itself. */
  expires_at: string;
}
/** What is left of a run, or of wisps, that were squashed. */
export interface RunDigestView {
  id: string;
  molecule_id: string | null;
  /** The task or wisp it was about. */
  root_id: string | null;
  rig_id: string | null;
  formula: string | null;
  title: string;
  summary: string;
  outcome: string | null;
  steps_total: number;
  steps_closed: number;
  /** Ids of the wisps that went into it. */
  squashed: string[];
  content: JsonObject;
  started_at: string | null;
  ended_at: string | null;
  created_by: string;
  created_at: string;
}
/** A task that a search found. */
export interface FoundTaskView extends TaskView {
  /** Higher is better; only to be compared within one search. */
  score: number;
  found_in: string[];
}
export interface SavedFilterView {
  name: string;
  filter: TaskFilter;
  created_by: string;
  created_at: string;
  updated_at: string;
}
export interface TaskDetail extends TaskView {
  dependencies: LinkView[];
  dependents: LinkView[];
  notes: { author: string; body: string; created_at: string }[];
  comments: CommentView[];
}
/** The other end of an edge. */
export interface LinkView {
  id: string;
  type: string;
  status: string;
  title: string;
  /** The edge holds back the task that has it. */
  holds: boolean;
  metadata: JsonObject;
}
export interface CommentView {
  id: string;
  author: string;
  body: string;
  created_at: string;
}
export interface BlockedTaskView extends TaskView {
  /** What holds it back itself. `never`: it cannot become ready while that stays closed (`conditional-blocks` on what ended well). */
  blocked_by: { id: string; type: string; status: string; title: string; never: boolean }[];
  /** The nearest ancestor that is held back itself; null when none is. */
  blocked_ancestor: string | null;
}
export interface StepView {
  id: string;
  step: string;
  title: string;
  status: string;
  attempt: number;
  agent_id: string | null;
  needs: string[];
  outcome: string | null;
  note: string | null;
  commit_id: string | null;
  /** From 1; raised when a step that was closed is tried again. */
  round: number;
  /** What its agent closed it with. */
  output: JsonObject | null;
  /** What it waits for at its gate; null when it does not. */
  waits_for: string | null;
}
export interface GateView {
  molecule_id: string;
  step: string;
  title: string;
  rig_id: string | null;
  root_task_id: string | null;
  kind: string;
  waits_for: string;
  /** Question to the person who opens it; null for other kinds. */
  prompt: string | null;
  /** Roles or names of which one must open it; null: any person. */
  approvers: string[] | null;
  since: string;
  /** Why a person was called; null: nobody was. */
  escalated: string | null;
  /** Why nobody can tell whether it opens. */
  trouble: string | null;
}
export interface MoleculeView {
  id: string;
  formula: string;
  status: string;
  root_task_id: string | null;
  rig_id: string | null;
  agent_id: string | null;
  resume_step_id: string | null;
  steps_total: number;
  steps_closed: number;
  outcome: string | null;
  attention: string | null;
  updated_at: string;
  steps: StepView[];
}
export interface ConvoyView {
  id: string;
  name: string;
  status: string;
  total: number;
  closed: number;
  percent: number;
  rig_id: string | null;
  created_at: string;
  completed_at: string | null;
  tasks: ConvoyTaskView[];
}
export interface ConvoyTaskView {
  id: string;
  title: string;
  status: string;
  outcome: string | null;
  assigned_agent_id: string | null;
  molecule_id: string | null;
  steps_total: number | null;
  steps_closed: number | null;
  resume_step_id: string | null;
}
export interface AgentView {
  id: string;
  role: string;
  rig_id: string | null;
  name: string;
  status: string;
  incarnation: number;
  preset: string;
  last_seen: string | null;
  current: { molecule_id: string; step: string; task_id: string | null } | null;
  host_id: string | null;
}
export interface SessionView {
  id: string;
  agent_id: string;
  incarnation: number;
  preset: string;
  status: string;
  host_id: string;
  pid: number | null;
  worktree: string | null;
  molecule_id: string | null;
  started_at: string;
  ended_at: string | null;
  end_reason: string | null;
  exit_code: number | null;
}
export interface EventView {
  id: number;
  seq: number | null;
  type: string;
  actor: string;
  task_id: string | null;
  molecule_id: string | null;
  convoy_id: string | null;
  agent_id: string | null;
  payload: Json;
  at: string;
}
export interface RigView {
  id: string;
  prefix: string;
  path: string;
  default_branch: string;
  workers_max: number;
  runtime: JsonObject;
  default_formula: string | null;
  created_at: string;
}
export interface HookView {
  agent_id: string;
  status: string;
  incarnation: number;
  items: {
    molecule_id: string;
    task_id: string | null;
    title: string;
    priority: number;
    state: string;
    since: string;
  }[];
  /** The step to work on now, with all that is needed; null when nothing is granted. */
  current: StepBrief | null;
}
/** Everything a session needs for one step. */
export interface StepBrief {
  molecule_id: string;
  step: string;
  step_id: string;
  attempt: number;
  dispatch: number;
  title: string;
  instructions: string;
  acceptance: string | null;
  checks: CheckView[];
  task_id: string | null;
  task_title: string | null;
  task_description: string | null;
  formula: string;
  rig_id: string | null;
  worktree: string | null;
  branch: string | null;
  steps_total: number;
  steps_closed: number;
  /** Outcomes of the steps it needs. */
  needs: {
    step: string;
    outcome: string | null;
    note: string | null;
    commit_id: string | null;
    agent_id: string | null;
  }[];
  /** Notes on the task, oldest first, at most 20. */
  notes: { author: string; body: string; created_at: string }[];
  resumed: boolean;
}
/** A command that must exit 0 on the commit, and how long it may take. */
export interface CheckView {
  run: string;
  timeout_ms: number;
}
export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}
