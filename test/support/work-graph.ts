/*
 * The work graph in plain words: nothing is counted or kept, everything is worked out from tasks and edges when it is asked for. What
 * the ledger answers is compared with this.
 */
import type { ReadyFilter } from '../../schema/ledger';
import type { DependencyType } from '../../schema/task/dependency';
import type { TaskStatus } from '../../schema/task/status';
import type { JsonObject } from '../../schema/json';

/** What is stored of a task. Times are ISO 8601 in UTC with milliseconds, so that they compare as text. */
export interface PlainTask {
  id: string;
  title: string;
  description: string;
  rig_id: string | null;
  type: string;
  priority: number;
  status: TaskStatus;
  outcome: string | null;
  parent_id: string | null;
  assigned_agent_id: string | null;
  pinned: boolean;
  labels: readonly string[];
  owner: string | null;
  external_ref: string | null;
  source_system: string | null;
  metadata: JsonObject;
  defer_until: string | null;
  due_at: string | null;
  created_at: string;
  updated_at: string;
}

export interface PlainEdge {
  readonly task_id: string;
  readonly depends_on_id: string;
  readonly type: DependencyType;
  readonly gate: 'all-children' | 'any-children';
}

/** One look at a graph; made anew after each change. */
export class WorkGraph {
  private readonly tasks: ReadonlyMap<string, PlainTask>;
  private readonly edgesOf: ReadonlyMap<string, readonly PlainEdge[]>;
  private readonly childrenOf: ReadonlyMap<string, readonly PlainTask[]>;

  constructor(tasks: Iterable<PlainTask>, edges: Iterable<PlainEdge>) {
    const all = [...tasks];
    this.tasks = new Map(all.map((task) => [task.id, task]));
    this.edgesOf = Map.groupBy(edges, (edge) => edge.task_id);
    this.childrenOf = Map.groupBy(
      all.filter((task) => task.parent_id !== null),
      (task) => task.parent_id ?? '',
    );
  }

  task(id: string): PlainTask {
    const task = this.tasks.get(id);
    if (task === undefined) throw new Error(`no task ${id} in the graph`);
    return task;
  }

  children(id: string): { readonly open: number; readonly closed: number } {
    const all = this.childrenOf.get(id) ?? [];
    const closed = all.filter((child) => child.status === 'closed').length;
    return { open: all.length - closed, closed };
  }

  isHolding(edge: PlainEdge): boolean {
    const other = this.task(edge.depends_on_id);
    const isClosed = other.status === 'closed';
    if (edge.type === 'blocks') return !isClosed;
    if (edge.type === 'conditional-blocks') return !isClosed || !FAILED.has(other.outcome ?? '');
    if (edge.type !== 'waits-for') return false;
    const { open, closed } = this.children(other.id);
    if (open + closed === 0) return !isClosed;
    return edge.gate === 'any-children' ? closed === 0 : open > 0;
  }

  /** Ids of what holds the task back itself, in order. */
  blockers(id: string): string[] {
    const holding = (this.edgesOf.get(id) ?? []).filter((edge) => this.isHolding(edge));
    return holding.map((edge) => edge.depends_on_id).toSorted();
  }

  /** The nearest ancestor that is not closed and held back itself. */
  blockedAncestor(id: string): string | null {
    const { parent_id } = this.task(id);
    if (parent_id === null) return null;
    const waits = this.task(parent_id).status !== 'closed' && this.blockers(parent_id).length > 0;
    return waits ? parent_id : this.blockedAncestor(parent_id);
  }

  isBlocked(id: string): boolean {
    return this.blockers(id).length > 0 || this.blockedAncestor(id) !== null;
  }

  /** Whether all could be closed if each waited until the other end of each of its blocking edges is closed, however it ends. */
  canEnd(): boolean {
    const closed = new Set<string>();
    const mayStart = (task: PlainTask): boolean =>
      (this.edgesOf.get(task.id) ?? []).every((edge) => !BLOCKING.has(edge.type) || closed.has(edge.depends_on_id)) &&
      (task.parent_id === null || mayStart(this.task(task.parent_id)));
    for (let before = -1; before < closed.size;) {
      before = closed.size;
      for (const task of this.tasks.values()) {
        const parts = this.childrenOf.get(task.id) ?? [];
        if (parts.every((part) => closed.has(part.id)) && mayStart(task)) closed.add(task.id);
      }
    }
    return closed.size === this.tasks.size;
  }

  /** Without `limit`. */
  ready(filter: ReadyFilter, now: string): PlainTask[] {
    const found = [...this.tasks.values()].filter((task) => this.isReady(task, filter, now));
    return found.toSorted(ORDERS[filter.sort ?? 'priority'](now));
  }

  private isReady(task: PlainTask, filter: ReadyFilter, now: string): boolean {
    const asked = filter.type !== undefined && RECORDS.has(filter.type);
    return (
      (task.status === 'open' || task.status === 'deferred') &&
      task.assigned_agent_id === (filter.assigned_agent_id ?? null) &&
      !task.pinned &&
      (asked || !RECORDS.has(task.type)) &&
      (filter.include_deferred === true || !this.isPutOff(task, now)) &&
      this.matches(task, filter) &&
      !this.isBlocked(task.id)
    );
  }

  private isPutOff(task: PlainTask, now: string): boolean {
    return isDormant(task, now) || (task.parent_id !== null && isDormant(this.task(task.parent_id), now));
  }

  private matches(task: PlainTask, filter: ReadyFilter): boolean {
    const has = (label: string): boolean => task.labels.includes(label);
    const text = filter.text?.toLowerCase();
    return [
      filter.ids?.includes(task.id),
      filter.rig_id === undefined ? undefined : task.rig_id === filter.rig_id,
      filter.type === undefined ? undefined : task.type === filter.type,
      filter.exclude_types?.every((type) => task.type !== type),
      filter.label === undefined ? undefined : has(filter.label),
      filter.labels?.every(has),
      filter.label_any?.some(has),
      filter.label_pattern === undefined ? undefined : task.labels.some((label) => isLike(label, filter.label_pattern)),
      filter.exclude_labels?.every((label) => !has(label)),
      filter.owner === undefined ? undefined : task.owner === filter.owner,
      filter.priority_min === undefined ? undefined : task.priority >= filter.priority_min,
      filter.priority_max === undefined ? undefined : task.priority <= filter.priority_max,
      filter.parent_id === undefined ? undefined : this.isPartOf(task, filter.parent_id, filter.deep === true),
      filter.created_after === undefined ? undefined : task.created_at > filter.created_after,
      filter.created_before === undefined ? undefined : task.created_at < filter.created_before,
      filter.updated_after === undefined ? undefined : task.updated_at > filter.updated_after,
      filter.updated_before === undefined ? undefined : task.updated_at < filter.updated_before,
      filter.due_after === undefined ? undefined : task.due_at !== null && task.due_at > filter.due_after,
      filter.due_before === undefined ? undefined : task.due_at !== null && task.due_at < filter.due_before,
      filter.has_external_ref === undefined ? undefined : (task.external_ref !== null) === filter.has_external_ref,
      filter.external_ref === undefined ? undefined : task.external_ref === filter.external_ref,
      filter.source_system === undefined ? undefined : task.source_system === filter.source_system,
      filter.has_metadata_key === undefined ? undefined : Object.hasOwn(task.metadata, filter.has_metadata_key),
      // Flat in these graphs.
      Object.entries(filter.metadata ?? {}).every(([key, value]) => task.metadata[key] === value),
      text === undefined
        ? undefined
        : [task.title, task.description, task.id].some((words) => words.toLowerCase().includes(text)),
    ].every((holds) => holds !== false);
  }

  private isPartOf(task: PlainTask, whole: string | null, deep: boolean): boolean {
    if (task.parent_id === whole) return true;
    return deep && whole !== null && task.parent_id !== null && this.isPartOf(this.task(task.parent_id), whole, deep);
  }
}

const FAILED = new Set(['failed', 'cancelled', 'escalated']);
const BLOCKING = new Set<DependencyType>(['blocks', 'conditional-blocks', 'waits-for']);
const RECORDS = new Set(['merge-request', 'gate', 'message', 'agent', 'role', 'rig', 'event']);

export function isDormant(task: Pick<PlainTask, 'status' | 'defer_until'>, now: string): boolean {
  if (task.status !== 'open' && task.status !== 'deferred') return false;
  return task.defer_until === null ? task.status === 'deferred' : task.defer_until > now;
}

type Compare = (a: PlainTask, b: PlainTask) => number;

const text = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const byAge: Compare = (a, b) => text(a.created_at, b.created_at) || text(a.id, b.id);
const byPriority: Compare = (a, b) => a.priority - b.priority || byAge(a, b);

const ORDERS: Record<NonNullable<ReadyFilter['sort']>, (now: string) => Compare> = {
  priority: () => byPriority,
  oldest: () => byAge,
  hybrid: (now) => {
    const twoDaysAgo = new Date(Date.parse(now) - 48 * 3_600_000).toISOString();
    const isNew = (task: PlainTask): boolean => task.created_at > twoDaysAgo;
    return (a, b) => Number(isNew(b)) - Number(isNew(a)) || (isNew(a) && isNew(b) ? byPriority(a, b) : byAge(a, b));
  },
};

/** `*` is any text, `?` one character. */
function isLike(word: string, glob = ''): boolean {
  if (glob === '') return word === '';
  if (glob.startsWith('*')) return isLike(word, glob.slice(1)) || (word !== '' && isLike(word.slice(1), glob));
  return word !== '' && (glob.startsWith('?') || glob[0] === word[0]) && isLike(word.slice(1), glob.slice(1));
}
