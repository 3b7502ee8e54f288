import { canonicalJson } from '../canonical';
import { TownError } from '../errors';
import type { TaskId } from '../ids';
import type { Json, JsonObject } from '../json';
import { listed } from '../text';
import type { TaskOutcome, TaskStatus } from './status';

/*
 * Tasks as lines of JSON: the form in which they leave a town and come back, and in which Beads keeps them. One line is one task with
 * its edges, labels, comments and notes; what Beads has no field for stands under `town`. docs/exchange.md explains each field.
 *
 * Reading is strict about what would be lost or wrong (a line, a field and a reason for each) and bounded in time and memory.
 */

/** A task that was read, with what was left out filled in. Times are ISO 8601 in UTC with milliseconds. */
export interface TaskRecord {
  /** Where it was read, for errors; 0 when it was not read from a file. */
  readonly line: number;
  /** Null: named by `external_ref` alone. */
  readonly id: TaskId | null;
  readonly title: string;
  readonly description: string;
  readonly type: string;
  readonly status: TaskStatus;
  readonly priority: number;
  /** Null: of no rig; absent: nobody said. */
  readonly rig_id?: string | null;
  /** An agent's address, or whatever another tracker calls the one who works on it. */
  readonly assignee: string | null;
  readonly owner: string | null;
  readonly acceptance: string | null;
  readonly design: string | null;
  readonly spec_id: string | null;
  readonly external_ref: string | null;
  readonly source_system: string | null;
  readonly estimated_minutes: number | null;
  readonly due_at: string | null;
  readonly defer_until: string | null;
  readonly pinned: boolean;
  readonly outcome: TaskOutcome | null;
  readonly close_reason: string | null;
  readonly labels: readonly string[];
  readonly metadata: JsonObject;
  /** Null: nobody said. */
  readonly created_by: string | null;
  readonly created_at: string | null;
  readonly updated_at: string | null;
  readonly started_at: string | null;
  readonly completed_at: string | null;
  readonly edges: readonly EdgeRecord[];
  /** Edges that were kept aside where the line was written. */
  readonly aside: readonly AsideRecord[];
  readonly comments: readonly CommentRecord[];
  readonly notes: readonly NoteRecord[];
}
export interface EdgeRecord {
  readonly depends_on_id: TaskId;
  /** Any word; what is none of ours is kept aside. */
  readonly type: string;
  readonly metadata: JsonObject;
  readonly thread_id: string | null;
  readonly created_by: string | null;
  readonly created_at: string | null;
}

/** Why an edge is not among the edges of its task. */
export const ASIDE_REASONS = {
  missing: 'the other task is not there',
  type: 'the type of the edge is not known',
  pair: 'the two have another edge already',
  parent: 'the task is a part of another one already',
  cycle: 'it would close a circle',
} as const satisfies Record<string, string>;
export type AsideReason = keyof typeof ASIDE_REASONS;
export interface AsideRecord extends EdgeRecord {
  readonly reason: AsideReason;
}
export interface CommentRecord {
  /** Null, or not a UUID: one is made of the rest. */
  readonly id: string | null;
  readonly author: string;
  readonly body: string;
  readonly created_at: string;
}
export interface NoteRecord {
  readonly author: string;
  readonly body: string;
  readonly created_at: string;
}

/** What is wrong with a line; the number of the first is 1. */
export interface LineProblem {
  readonly line: number;
  readonly reason: string;
}

export const EXCHANGE_LIMITS = {
  lineBytes: 16 * 1024 * 1024,
  fileBytes: 256 * 1024 * 1024,
  lines: 1_000_000,
  tasks: 200_000,
  edges: 1_000_000,
  /** Of one list in a line. */
  entries: 100_000,
  /** After so many the reading ends. */
  problems: 100,
  textBytes: 256 * 1024,
  metadataBytes: 64 * 1024,
} as const;

export interface ReadOptions {
  /** sha256 as hex, for ids that are none of ours. */
  readonly digestOf: (text: string) => string;
  /** Words for statuses of another tracker, beside the known ones. */
  readonly statuses?: ReadonlyMap<string, TaskStatus>;
}

export interface TasksRead {
  readonly records: readonly TaskRecord[];
  /** Lines that are no tasks, by what they are. */
  readonly skipped: Readonly<Record<SkippedKind, number>>;
  /** Ids that had to be changed, from old to new. */
  readonly renamed: ReadonlyMap<string, TaskId>;
}
export type SkippedKind = 'schema' | 'memory' | 'tombstone' | 'wisp';

/** What one line is. */
export type LineRead =
  | { readonly kind: 'task'; readonly record: TaskRecord; readonly foreignIds: readonly string[] }
  | { readonly kind: SkippedKind }
  | { readonly kind: 'wrong'; readonly reasons: readonly string[] };

export interface TaskReader {
  /** Bytes of the file, in pieces of any size. @throws INPUT_TOO_LARGE, and INVALID_INPUT as soon as there are too many problems */
  push(bytes: Uint8Array): void;
  /** After the last piece. @throws INVALID_INPUT with every problem */
  end(): TasksRead;
}

/** The refusal of a whole import: each problem with its line. */
export function refusal(source: string, problems: readonly LineProblem[]): TownError {
  const named = problems.map(({ line, reason }) => `line ${line}: ${reason}`);
  const many = problems.length >= EXCHANGE_LIMITS.problems ? 'at least ' : '';
  return new TownError(
    'INVALID_INPUT',
    `nothing was imported of ${source}: ${many}${problems.length} ${problems.length === 1 ? 'problem' : 'problems'}: ${listed(named)}`,
    { hint: 'correct these lines and import it again; --json lists all of them', details: { source, problems } },
  );
}

/** The one line, without its end, that stands for the task. */
export function taskLine(task: TaskRecord & { readonly id: TaskId }, dependents: number): string {
  const edgesOf = (edges: readonly EdgeRecord[]) => edges.toSorted(byTarget).map((edge) => edgeObject(task.id, edge));
  const town = {
    outcome: task.outcome,
    notes: task.notes.map((note) => ({ ...note })),
    aside: task.aside
      .toSorted(byTarget)
      .map((edge): JsonObject => ({ ...edgeObject(task.id, edge), reason: edge.reason })),
  };
  return canonicalJson(
    withoutEmpty({
      _type: 'issue',
      id: task.id,
      title: task.title,
      description: task.description,
      design: task.design,
      acceptance_criteria: task.acceptance,
      spec_id: task.spec_id,
      status: task.status,
      priority: task.priority,
      issue_type: task.type,
      assignee: task.assignee,
      owner: task.owner,
      estimated_minutes: task.estimated_minutes,
      created_at: task.created_at,
      created_by: task.created_by,
      updated_at: task.updated_at,
      started_at: task.started_at,
      closed_at: task.completed_at,
      close_reason: task.close_reason,
      due_at: task.due_at,
      defer_until: task.defer_until,
      external_ref: task.external_ref,
      source_system: task.source_system,
      metadata: task.metadata,
      pinned: task.pinned,
      labels: task.labels.toSorted(),
      dependencies: edgesOf(task.edges),
      comments: task.comments.map(({ id, author, body, created_at }) => ({
        id,
        issue_id: task.id,
        author,
        text: body,
        created_at,
      })),
      dependency_count: task.edges.length,
      dependent_count: dependents,
      comment_count: task.comments.length,
      town: { ...withoutEmpty(town), rig: task.rig_id ?? null },
    }),
  );
}

/** Metadata is text, as Beads writes it. */
function edgeObject(task_id: TaskId, edge: EdgeRecord): JsonObject {
  return withoutEmpty({
    issue_id: task_id,
    depends_on_id: edge.depends_on_id,
    type: edge.type,
    created_at: edge.created_at,
    created_by: edge.created_by,
    metadata: canonicalJson(edge.metadata),
    thread_id: edge.thread_id,
  });
}

/** What is null, false, empty text, an empty list or object is left out; zero stays. */
function withoutEmpty(value: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(value).filter(([, field]) => !isEmpty(field)));
}

function isEmpty(value: Json): boolean {
  if (value === null || value === false || value === '') return true;
  return typeof value === 'object' && Object.keys(value).length === 0;
}

function byTarget(one: AsideRecord | EdgeRecord, other: AsideRecord | EdgeRecord): number {
  const [left, right] = [one, other].map((edge) => `${edge.depends_on_id} ${edge.type}`) as [string, string];
  return left < right ? -1 : Number(left > right);
}

/** What a task is called elsewhere, together with where: no two tasks share it. Meant for those that have an external reference. */
export function referenceOf(task: Pick<TaskRecord, 'source_system' | 'external_ref'>): string {
  return [task.source_system, task.external_ref].join(' ');
}

/** An id of ours for one that is none: the same for the same, in every line and every import. */
export function foreignId(id: string, digestOf: (text: string) => string): TaskId {
  const dash = id.lastIndexOf('-');
  const prefix = (dash > 0 ? id.slice(0, dash) : id)
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, '-')
    .replaceAll(/^-+|-+$/g, '')
    .slice(0, 30);
  const number = BigInt(`0x${digestOf(id).slice(0, 16)}`);
  return `${prefix === '' ? 'x' : prefix}-${number.toString(36).padStart(13, '0').slice(-13).slice(0, 9)}`;
}
