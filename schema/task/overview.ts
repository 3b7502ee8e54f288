import type { AgentAddress, MoleculeId, RigId, TaskId } from '../ids';
import type { Likeness } from './duplicates';

/** Answers about many tasks at once. */

export const STALE_REASONS = {
  attention: 'a person must look at its molecule',
  molecule_ended: 'in progress, but its molecule has ended',
  not_started: 'in progress, but its molecule never began',
  nobody: 'in progress, but held by nobody',
  no_session: 'in progress, but its agent has no live session',
  untouched: 'nothing was done about it',
} as const;
export type StaleReason = keyof typeof STALE_REASONS;

export interface StaleTaskView {
  id: TaskId;
  title: string;
  status: string;
  type: string;
  priority: number;
  rig_id: RigId | null;
  assigned_agent_id: AgentAddress | null;
  molecule_id: MoleculeId | null;
  /** The first that holds, in the order of `STALE_REASONS`. */
  reason: StaleReason;
  /** When it, its notes, its comments or its molecule last changed. */
  touched_at: string;
}

export interface DuplicateView extends Likeness {
  readonly title: string;
  readonly status: string;
  readonly of_title: string;
  readonly of_status: string;
}
export interface DuplicatesView {
  items: DuplicateView[];
  /** Tasks that were compared. */
  compared: number;
  /** There are more tasks, comparisons or pairs than were looked at. */
  truncated: boolean;
}

export interface TaskStatsView {
  total: number;
  by_status: Record<string, number>;
  by_type: Record<string, number>;
  /** By `0` to `4`. */
  by_priority: Record<string, number>;
  ready: number;
  blocked: number;
  deferred: number;
  overdue: number;
  pinned: number;
  /** Not closed, although all of its parts are. */
  closable: number;
  /** From made to closed, of those that were done or merged; null when there are none. */
  lead_hours_average: number | null;
  lead_hours_median: number | null;
  closed_last_7_days: number;
  /** Not closed, and made before all others. */
  oldest: { id: TaskId; title: string; created_at: string } | null;
}
