import { canonicalJson } from '../../schema/canonical';
import { TownError } from '../../schema/errors';
import type { TaskId } from '../../schema/ids';
import type { Json, JsonObject } from '../../schema/json';
import type { ImportBatch, ImportReport } from '../../schema/ledger';
import { waitingCycles } from '../../schema/task/cycles';
import { isBlocking, isDependencyType } from '../../schema/task/dependency';
import {
  EXCHANGE_LIMITS,
  referenceOf,
  refusal,
  type AsideReason,
  type CommentRecord,
  type EdgeRecord,
  type LineProblem,
  type NoteRecord,
  type TaskRecord,
} from '../../schema/task/interchange';
import { withImported } from '../../schema/task/interchange-record';
import { isHeld } from '../../schema/task/status';
import type { ImportWorld, KnownTask, TaskEdge } from './import-world';
import { changes } from './move';

/** What is to be written. Everything is decided; nothing is known to be in the way. */
export interface ImportPlan {
  /** Wholes before their parts. */
  readonly created: readonly PlannedTask[];
  readonly replaced: readonly PlannedTask[];
  /** As old as ours: only what is said beside a task is added, and edges that are younger than it. */
  readonly merged: readonly PlannedAddition[];
  /** Edges of other tasks that were kept aside until now. */
  readonly resolved: readonly TaskEdge[];
  readonly aside: ImportReport['aside'];
  readonly kept_progress: readonly TaskId[];
  readonly warnings: readonly string[];
}
export interface PlannedAddition {
  readonly id: TaskId;
  readonly edges: readonly TaskEdge[];
  readonly aside: readonly PlannedAside[];
  readonly comments: readonly CommentRecord[];
  readonly notes: readonly NoteRecord[];
}
export interface PlannedTask extends PlannedAddition {
  readonly columns: TaskColumns;
  readonly labels: readonly string[];
  /** False: labels and edges that are here stay beside those of the record. */
  readonly isWhole: boolean;
  readonly parent_before: TaskId | null;
  /** For the trail. */
  readonly change: { readonly before?: JsonObject; readonly after: JsonObject };
}
export interface PlannedAside extends TaskEdge {
  readonly reason: AsideReason;
}
/** Columns of `tasks` that an import writes. */
export type TaskColumns = Readonly<Record<(typeof TASK_COLUMNS)[number], Json>> & {
  readonly id: TaskId;
  readonly rig_id: string | null;
  readonly parent_id: TaskId | null;
};
export const TASK_COLUMNS = [
  'id', 'rig_id', 'title', 'description', 'type', 'status', 'priority', 'assigned_agent_id', 'parent_id', 'acceptance', 'design',
  'owner', 'spec_id', 'external_ref', 'source_system', 'estimated_minutes', 'due_at', 'defer_until', 'pinned', 'metadata', 'outcome',
  'close_reason', 'created_by', 'created_at', 'updated_at', 'started_at', 'completed_at',
] as const; // prettier-ignore

export interface Importer {
  readonly actor: string;
  /** ISO 8601; for times that nobody said. */
  readonly now: string;
}

/** A task on its way into the plan; its edges move aside when they close a circle. */
interface Draft {
  readonly id: TaskId;
  readonly record: TaskRecord;
  readonly before: KnownTask | null;
  readonly kind: 'created' | 'replaced' | 'mirrored' | 'merged';
  readonly edges: Map<TaskId, TaskEdge>;
  readonly aside: PlannedAside[];
}

const CIRCLE_ROUNDS = 200;

/** Decides what of a batch is new, newer or known. @throws INVALID_INPUT, DEPENDENCY_CYCLE with every problem */
export function planImport(batch: ImportBatch, world: ImportWorld, importer: Importer): ImportPlan {
  const problems: LineProblem[] = [];
  const warnings: string[] = [];
  const references = new Map(world.references);
  const drafts: Draft[] = [];
  const seen = new Set<TaskId>();
  batch.records.forEach((given, place) => {
    const id = world.ids[place] ?? '';
    if (seen.has(id)) problems.push({ line: given.line, reason: `${id} is there twice` });
    seen.add(id);
    const kind = kindOf(batch, given, world.tasks.get(id));
    if (kind === 'unchanged') return;
    const record = withFreeReference(batch, given, id, references, problems, warnings);
    drafts.push({ id, record, before: world.tasks.get(id) ?? null, kind, edges: new Map(), aside: [] });
  });
  const present = (id: TaskId) => world.known.has(id) || seen.has(id);
  for (const draft of drafts) placeEdges(draft, batch, present, importer, problems);
  const resolved = awaitedEdges(world, drafts);
  if (problems.length === 0) breakCircles(batch, world, drafts, resolved, problems);
  const tasks = drafts.filter((draft) => draft.kind !== 'merged');
  const planned = new Map(tasks.map((draft) => [draft.id, plannedTask(draft, batch, world, importer, problems)]));
  if (problems.length > 0) throw refusal(batch.source, problems.slice(0, EXCHANGE_LIMITS.problems));

  const created = tasks.filter((draft) => draft.kind === 'created').flatMap(({ id }) => planned.get(id) ?? []);
  const kept = tasks.filter(
    ({ before, record }) => before !== null && isAtWork(before) && record.status !== before.status,
  );
  return {
    created: wholesFirst(created),
    replaced: tasks.filter((draft) => draft.kind !== 'created').flatMap(({ id }) => planned.get(id) ?? []),
    merged: drafts.filter((draft) => draft.kind === 'merged').map(additionOf),
    resolved,
    aside: drafts.flatMap((draft) => draft.aside.map(listed)),
    kept_progress: batch.mode === 'copy' ? kept.map((draft) => draft.id) : [],
    warnings,
  };
}

function kindOf(batch: ImportBatch, record: TaskRecord, before: KnownTask | undefined): Draft['kind'] | 'unchanged' {
  if (before === undefined) return 'created';
  const [theirs, ours] =
    batch.mode === 'copy'
      ? [record.updated_at, before.updated_at.toISOString()]
      : [mirroredAt(record.metadata), mirroredAt(before.metadata) ?? ''];
  if (theirs === null || theirs < ours) return 'unchanged';
  if (theirs === ours) return 'merged';
  return batch.mode === 'copy' ? 'replaced' : 'mirrored';
}

/** When the source of a mirrored task had last changed it: the town's own changes do not count. */
function mirroredAt(metadata: JsonObject): string | null {
  const mirror = metadata['mirror'];
  const at = typeof mirror === 'object' && mirror !== null ? (mirror as JsonObject)['updated_at'] : null;
  return typeof at === 'string' ? at : null;
}

/** An external reference belongs to one task; where the import is lenient a second one keeps it among its metadata. */
function withFreeReference(
  batch: ImportBatch,
  record: TaskRecord,
  id: TaskId,
  references: Map<string, TaskId>,
  problems: LineProblem[],
  warnings: string[],
): TaskRecord {
  const reference = record.external_ref === null ? null : referenceOf(record);
  const holder = reference === null ? undefined : references.get(reference);
  if (reference !== null && holder === undefined) references.set(reference, id);
  if (holder === undefined || holder === id) return record;
  const reason = `${id}: the external reference ${record.external_ref} is ${holder}'s`;
  if (!batch.lenient) problems.push({ line: record.line, reason });
  else if (warnings.length < EXCHANGE_LIMITS.problems) warnings.push(`${reason}; it is kept in the metadata`);
  return {
    ...record,
    external_ref: null,
    metadata: withImported(record.metadata, { external_ref: record.external_ref }),
  };
}

/** Puts each edge of the record among the edges of the task or aside. */
function placeEdges(
  draft: Draft,
  batch: ImportBatch,
  present: (id: TaskId) => boolean,
  importer: Importer,
  problems: LineProblem[],
): void {
  const { record, id, before, kind } = draft;
  const isAdding = kind === 'merged' || kind === 'mirrored';
  const ours = isAdding ? (before?.edges ?? []) : [];
  const since = kind === 'merged' ? (before?.updated_at.toISOString() ?? '') : '';
  let parent = isAdding ? (before?.parent_id ?? null) : null;
  const complete = (edge: EdgeRecord): TaskEdge => ({
    ...edge,
    task_id: id,
    created_by: edge.created_by ?? record.created_by ?? importer.actor,
    created_at: edge.created_at ?? record.created_at ?? importer.now,
  });
  const place = (edge: EdgeRecord, retried: boolean): void => {
    const planned = complete(edge);
    const known = ours.find((each) => each.depends_on_id === edge.depends_on_id);
    if (isAdding && (planned.created_at <= since || known?.type === edge.type)) return;
    if (before?.aside.some((each) => isSame(each, planned)) === true && isAdding) return;
    const other = known?.type ?? draft.edges.get(edge.depends_on_id)?.type;
    if (other === edge.type) return;
    const isPart = edge.type === 'parent-child';
    const put = (reason: AsideReason) => draft.aside.push({ ...planned, reason });
    if (edge.depends_on_id === id) {
      if (batch.lenient || retried) put('cycle');
      else problems.push({ line: record.line, reason: `${id} has an edge to itself` });
    } else if (!isDependencyType(edge.type)) put('type');
    else if (!present(edge.depends_on_id)) put('missing');
    else if (other !== undefined) put('pair');
    else if (isPart && parent !== null && parent !== edge.depends_on_id) put('parent');
    else {
      if (isPart) parent = edge.depends_on_id;
      draft.edges.set(edge.depends_on_id, planned);
    }
  };
  for (const edge of record.edges) place(edge, false);
  for (const { reason, ...edge } of record.aside) {
    if (reason === 'missing' && present(edge.depends_on_id)) place(edge, true);
    else if (!isAdding) draft.aside.push({ ...complete(edge), reason });
  }
}

function isSame(one: { depends_on_id: TaskId; type: string }, other: { depends_on_id: TaskId; type: string }): boolean {
  return one.depends_on_id === other.depends_on_id && one.type === other.type;
}

/** Edges of tasks that are not replaced, which were kept aside for a task that comes now. */
function awaitedEdges(world: ImportWorld, drafts: readonly Draft[]): TaskEdge[] {
  const coming = new Map(drafts.map((draft) => [draft.id, draft]));
  const partOf = new Map(world.parents);
  const pairs = new Set<string>();
  return world.awaited.flatMap(({ reason: _reason, ...edge }) => {
    const target = coming.get(edge.depends_on_id);
    const own = coming.get(edge.task_id);
    const pair = `${edge.task_id} ${edge.depends_on_id}`;
    if (target?.kind !== 'created' || own?.kind === 'replaced' || !isDependencyType(edge.type) || pairs.has(pair))
      return [];
    if (edge.type === 'parent-child' && partOf.has(edge.task_id)) return [];
    if (edge.type === 'parent-child') partOf.set(edge.task_id, edge.depends_on_id);
    pairs.add(pair);
    return [{ ...edge, created_at: new Date(edge.created_at).toISOString() }];
  });
}

/**
 * Refuses circles. Where the import is lenient one edge of each is kept aside instead, and so is an edge that was aside before:
 * nobody asked for it now.
 */
function breakCircles(
  batch: ImportBatch,
  world: ImportWorld,
  drafts: readonly Draft[],
  resolved: TaskEdge[],
  problems: LineProblem[],
): void {
  const byId = new Map(drafts.map((draft) => [draft.id, draft]));
  for (let round = 0; ; round += 1) {
    const circles = waitingCycles(graphOf(world, drafts, resolved));
    if (circles.length === 0) return;
    let broken = 0;
    for (const circle of circles) {
      const places = circle.map((id, place) => [id, circle[(place + 1) % circle.length] ?? id] as const);
      const back = resolved.findIndex((edge) => places.some((pair) => isBetween(edge, pair)));
      const owners = places.flatMap(([one, other]) => edgesBetween(byId, one, other));
      // What is a part of what matters more than an order; of several edges the last one that was written goes.
      const isPart = (edge: TaskEdge) => Number(edge.type === 'parent-child');
      const [owner, edge] =
        owners.toSorted(([a, one], [b, other]) => isPart(one) - isPart(other) || b.record.line - a.record.line)[0] ??
        [];
      if (back >= 0) resolved.splice(back, 1);
      else if (owner === undefined || edge === undefined) throw new Error(`a circle of ${circle[0]} was here before`);
      else if (batch.lenient && round < CIRCLE_ROUNDS) {
        owner.edges.delete(edge.depends_on_id);
        owner.aside.push({ ...edge, reason: 'cycle' });
      } else {
        problems.push({ line: owner.record.line, reason: `a circle: ${[...circle, circle[0]].join(' waits for ')}` });
        continue;
      }
      broken += 1;
    }
    if (broken === 0) break;
  }
  problems.sort((one, other) => one.line - other.line);
  throw new TownError('DEPENDENCY_CYCLE', refusal(batch.source, problems).message, {
    hint: 'leave out one edge of each circle; a part waits for what its whole waits for, and a whole for its parts',
    details: { source: batch.source, problems: problems.slice(0, EXCHANGE_LIMITS.problems) },
  });
}

function isBetween(edge: TaskEdge, [one, other]: readonly [TaskId, TaskId]): boolean {
  const isForth = edge.task_id === one && edge.depends_on_id === other;
  return isForth || (edge.type === 'parent-child' && edge.task_id === other && edge.depends_on_id === one);
}

/** Edges of the batch because of which one task waits for another. */
function edgesBetween(byId: ReadonlyMap<TaskId, Draft>, one: TaskId, other: TaskId): (readonly [Draft, TaskEdge])[] {
  return [
    [one, other],
    [other, one],
  ].flatMap(([task = '', target = '']) => {
    const draft = byId.get(task);
    const edge = draft?.edges.get(target);
    return draft === undefined || edge === undefined || !isBetween(edge, [one, other]) ? [] : [[draft, edge] as const];
  });
}

function graphOf(world: ImportWorld, drafts: readonly Draft[], resolved: readonly TaskEdge[]) {
  const gone = new Set(drafts.filter((draft) => draft.kind === 'replaced').map((draft) => draft.id));
  const edges = [...drafts.flatMap((draft) => [...draft.edges.values()]), ...resolved];
  const pair = (edge: TaskEdge) => [edge.task_id, edge.depends_on_id] as const;
  const isHolding = ({ type }: TaskEdge) => isDependencyType(type) && isBlocking(type);
  const stays = ([task]: readonly [TaskId, TaskId]) => !gone.has(task);
  return {
    blocking: [...world.blocking.filter(stays), ...edges.filter(isHolding).map(pair)],
    parents: [...world.parents.filter(stays), ...edges.filter(({ type }) => type === 'parent-child').map(pair)],
  };
}

function plannedTask(
  draft: Draft,
  batch: ImportBatch,
  world: ImportWorld,
  importer: Importer,
  problems: LineProblem[],
): PlannedTask {
  const { before, record, kind } = draft;
  const columns = kind === 'mirrored' && before !== null ? mirroredColumns(before, record) : wholeColumns();
  const labels =
    kind === 'mirrored' ? [...new Set([...(before?.labels ?? []), ...record.labels])].toSorted() : record.labels;
  return {
    ...additionOf(draft),
    columns,
    labels,
    isWhole: kind === 'replaced',
    parent_before: before?.parent_id ?? null,
    change: before === null ? { after: madeOf(columns, labels) } : changeOf(before, columns, labels),
  };

  function wholeColumns(): TaskColumns {
    const isAgent = record.assignee !== null && world.agents.has(record.assignee);
    const progress = before !== null && isAtWork(before) ? progressOf(before) : {};
    const parent = [...draft.edges.values()].find((edge) => edge.type === 'parent-child')?.depends_on_id ?? null;
    return {
      id: draft.id,
      rig_id: rigOf(draft, batch, world, problems),
      title: record.title,
      description: record.description,
      type: record.type,
      status: record.status,
      priority: record.priority,
      assigned_agent_id: isAgent ? record.assignee : null,
      parent_id: parent,
      acceptance: record.acceptance,
      design: record.design,
      owner: record.owner,
      spec_id: record.spec_id,
      external_ref: record.external_ref,
      source_system: record.source_system,
      estimated_minutes: record.estimated_minutes,
      due_at: record.due_at,
      defer_until: record.defer_until,
      pinned: record.pinned,
      metadata:
        record.assignee === null || isAgent
          ? record.metadata
          : withImported(record.metadata, { assignee: record.assignee }),
      outcome: record.outcome,
      close_reason: record.close_reason,
      created_by: record.created_by ?? before?.created_by ?? importer.actor,
      created_at: record.created_at ?? before?.created_at.toISOString() ?? record.updated_at ?? importer.now,
      updated_at: record.updated_at ?? importer.now,
      started_at: record.started_at,
      completed_at: record.status === 'closed' ? (record.completed_at ?? importer.now) : null,
      ...progress,
    };
  }
}

/** Title, text and end are the source's; everything else is ours. What is over here stays over. */
function mirroredColumns(before: KnownTask, record: TaskRecord): TaskColumns {
  const ends = record.status === 'closed' && before.status !== 'closed' && !isAtWork(before);
  const updated_at = before.updated_at.toISOString();
  return {
    ...columnsOf(before),
    title: record.title,
    description: record.description,
    metadata: { ...before.metadata, ...record.metadata },
    updated_at: record.updated_at !== null && record.updated_at > updated_at ? record.updated_at : updated_at,
    ...(ends
      ? {
          status: 'closed',
          outcome: record.outcome,
          close_reason: record.close_reason,
          completed_at: record.completed_at,
          defer_until: null,
        }
      : {}),
  };
}

/** A molecule of this town works on it: whatever a copy says, how far it is is known here. */
function isAtWork(task: KnownTask): boolean {
  return task.molecule_id !== null && isHeld(task.status);
}

function progressOf(task: KnownTask): Partial<TaskColumns> {
  const { status, assigned_agent_id, outcome, close_reason, defer_until, started_at, completed_at } = columnsOf(task);
  return { status, assigned_agent_id, outcome, close_reason, defer_until, started_at, completed_at };
}

function columnsOf(task: KnownTask): TaskColumns {
  const row: Readonly<Record<string, unknown>> = { ...task };
  const entries = TASK_COLUMNS.map((name) => {
    const value = row[name];
    return [name, value instanceof Date ? value.toISOString() : value];
  });
  return Object.fromEntries(entries) as TaskColumns; // the same columns, times as text
}

function rigOf(
  { id, record, before }: Draft,
  batch: ImportBatch,
  world: ImportWorld,
  problems: LineProblem[],
): string | null {
  if (before !== null && (batch.rig_id !== undefined || record.rig_id === undefined)) return before.rig_id;
  if (batch.rig_id !== undefined) return batch.rig_id;
  if (record.rig_id === undefined) return world.rigs.get(id.slice(0, id.lastIndexOf('-'))) ?? null;
  if (record.rig_id === null || [...world.rigs.values()].includes(record.rig_id)) return record.rig_id;
  problems.push({ line: record.line, reason: `${id}: there is no rig ${record.rig_id} here; --rig names another one` });
  return null;
}

function additionOf({ id, edges, aside, record }: Draft): PlannedAddition {
  return { id, edges: [...edges.values()], aside, comments: record.comments, notes: record.notes };
}

function listed({ task_id, depends_on_id, type, reason }: PlannedAside): ImportReport['aside'][number] {
  return { task_id, depends_on_id, type, reason };
}

function madeOf({ title, type, status, priority, parent_id }: TaskColumns, labels: readonly string[]): JsonObject {
  return { title, type, status, priority, parent_id, labels };
}

function changeOf(before: KnownTask, after: TaskColumns, labels: readonly string[]) {
  // Objects are compared as text.
  const plain = (columns: TaskColumns, its: readonly string[]): JsonObject => ({
    ...columns,
    metadata: canonicalJson(columns.metadata),
    labels: its.toSorted().join(' '),
  });
  return changes(plain(columnsOf(before), before.labels), plain(after, labels));
}

/** So that a row's parent is there before it. */
function wholesFirst(tasks: readonly PlannedTask[]): PlannedTask[] {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  const sorted = new Set<PlannedTask>();
  for (const task of tasks) {
    const path: PlannedTask[] = [];
    for (let at: PlannedTask | undefined = task; at !== undefined && !sorted.has(at);) {
      path.push(at);
      at = at.columns.parent_id === null ? undefined : byId.get(at.columns.parent_id);
    }
    for (const each of path.toReversed()) sorted.add(each);
  }
  return [...sorted];
}
