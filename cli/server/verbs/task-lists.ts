import { TASK_SORTS, type TaskFilter, type TaskSort } from '../../../schema/ledger';
import type { FlagSpec } from '../verb';
import { given } from './shared';
import { CONDITION_FLAGS, LIMIT, noneOr, readConditions } from './task-conditions';

export const CURSOR = { kind: 'text', summary: 'where the page before ended' } as const;

export const ORDER_FLAGS = {
  sort: { kind: 'text', choices: TASK_SORTS, summary: 'created when absent' },
  reverse: { kind: 'switch', summary: 'the other way round' },
  limit: LIMIT,
} as const satisfies Readonly<Record<string, FlagSpec>>;

/** What `task list` takes and a saved filter keeps: which tasks, and in which order. */
export const LIST_FLAGS = {
  ...CONDITION_FLAGS,
  status: { kind: 'list', summary: 'with this status; may be repeated' },
  assignee: { kind: 'text', summary: "of this agent; none: nobody's" },
  'closed-after': { kind: 'text', summary: 'closed after this time' },
  'closed-before': { kind: 'text', summary: 'closed before this time' },
  overdue: { kind: 'switch', summary: 'due and not closed' },
  deferred: { kind: 'switch', summary: 'put off until later' },
  pinned: { kind: 'switch', summary: 'pinned' },
  blocked: { kind: 'switch', summary: 'held back by a dependency' },
  ...ORDER_FLAGS,
} as const satisfies Readonly<Record<string, FlagSpec>>;

interface OrderValues {
  readonly sort: string | undefined;
  readonly reverse: boolean;
  readonly limit: number | undefined;
}
interface ListValues extends OrderValues {
  readonly status: string[];
  readonly assignee: string | undefined;
  readonly 'closed-after': string | undefined;
  readonly 'closed-before': string | undefined;
  readonly overdue: boolean;
  readonly deferred: boolean;
  readonly pinned: boolean;
  readonly blocked: boolean;
}

export function readList(flags: ListValues & Parameters<typeof readConditions>[0]): TaskFilter {
  return {
    ...readConditions(flags),
    ...given({ closed_after: flags['closed-after'], closed_before: flags['closed-before'] }),
    ...(flags.assignee === undefined ? {} : { assigned_agent_id: noneOr(flags.assignee) }),
    ...(flags.overdue ? { overdue: true } : {}),
    ...(flags.deferred ? { deferred: true } : {}),
    ...(flags.pinned ? { pinned: true } : {}),
    ...(flags.blocked ? { blocked: true } : {}),
    ...(flags.status.length === 0 ? {} : { status: flags.status }),
    ...readOrder(flags),
  };
}

export function readOrder(flags: OrderValues): Pick<TaskFilter, 'sort' | 'reverse' | 'limit'> {
  return {
    ...given({ sort: flags.sort as TaskSort | undefined, limit: flags.limit }), // one of the choices
    ...(flags.reverse ? { reverse: true } : {}),
  };
}
