import { canonicalJson } from '../canonical';
import { isTaskId } from '../ids';
import { isDeeper, JSON_LEVELS_MAX, type Json, type JsonObject } from '../json';
import { quote } from '../text';
import { isWaitGate } from './dependency';
import {
  ASIDE_REASONS,
  EXCHANGE_LIMITS,
  foreignId,
  type AsideReason,
  type AsideRecord,
  type CommentRecord,
  type EdgeRecord,
  type LineRead,
  type NoteRecord,
  type ReadOptions,
} from './interchange';
import { isOutcome, statusOf, type TaskOutcome, type TaskStatus } from './status';

/*
 * One line's object as a task. A field that is there with another type than it should have is a problem; a field that is not known is
 * kept under `metadata.imported`, so that nothing of another tracker is lost.
 */

/** Takes the fields it knows; what is left at the end is foreign. Gathers problems. */
class FieldReader {
  readonly problems: string[] = [];
  private readonly fields: JsonObject;
  private readonly taken: string[] = [];
  private readonly where: string;

  constructor(fields: JsonObject, where = '') {
    this.fields = fields;
    this.where = where;
  }

  take(name: string): unknown {
    this.taken.push(name);
    const value = Object.hasOwn(this.fields, name) ? this.fields[name] : null;
    // Go writes an absent value as null.
    return value === null ? undefined : value;
  }

  text(name: string, bytesMax: number = EXCHANGE_LIMITS.textBytes): string | null {
    const value = this.take(name);
    if (value === undefined || value === '') return null;
    if (typeof value !== 'string') return this.wrong(name, 'is not text');
    // A character has at most three bytes for each of its code units.
    if (value.length > bytesMax || (value.length * 3 > bytesMax && new TextEncoder().encode(value).length > bytesMax)) {
      return this.wrong(name, `is larger than ${bytesMax} bytes`);
    }
    return value;
  }

  /** Not only blanks, at most `max` characters. */
  line(name: string, max = 500): string | null {
    const value = this.text(name);
    if (value === null || value.trim() === '') return null;
    return value.length > max ? this.wrong(name, `is longer than ${max} characters`) : value;
  }

  /** A line that must be there; empty text when it is not. */
  needed(name: string): string {
    const known = this.problems.length;
    const value = this.line(name);
    if (value === null && this.problems.length === known) this.wrong(name, 'is missing');
    return value ?? '';
  }

  time(name: string): string | null {
    const value = this.line(name);
    if (value === null) return null;
    const at = TIME.test(value) ? new Date(value) : null;
    if (at === null || Number.isNaN(at.getTime())) {
      return this.wrong(name, `${quote(value)} is not a time such as 2026-05-01T15:00:00Z`);
    }
    // Go's way to say "never".
    return value.startsWith('0001-01-01') ? null : at.toISOString();
  }

  isTrue(name: string): boolean {
    const value = this.take(name);
    if (value === undefined || typeof value === 'boolean') return value === true;
    this.wrong(name, 'is not true or false');
    return false;
  }

  list(name: string): readonly unknown[] {
    const value = this.take(name);
    if (value === undefined) return [];
    if (!Array.isArray(value)) this.wrong(name, 'is not a list');
    // Before any entry is looked at: each may be a problem of its own.
    else if (value.length > EXCHANGE_LIMITS.entries)
      this.wrong(name, `has more than ${EXCHANGE_LIMITS.entries} entries`);
    else return value as readonly unknown[];
    return [];
  }

  object(name: string): JsonObject | null {
    const value = this.take(name);
    if (value === undefined) return null;
    return isObject(value) ? value : this.wrong(name, 'is not an object');
  }

  wrong(name: string, reason: string): null {
    this.problems.push(`${this.where}${name} ${reason}`);
    return null;
  }

  /** What nobody took. */
  rest(): JsonObject {
    const isLeft = ([name, value]: readonly [string, Json]) => value !== null && !this.taken.includes(name);
    return Object.fromEntries(Object.entries(this.fields).filter(isLeft));
  }
}

const TIME = /^\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+-]\d{2}:?\d{2}))?$/i;
/** Counted by whoever reads. */
const DERIVED = ['_type', 'dependency_count', 'dependent_count', 'comment_count'];

/** `text` is what `value` was parsed from. */
export function recordOf(value: unknown, line: number, text: string, options: ReadOptions): LineRead {
  if (!isObject(value)) return { kind: 'wrong', reasons: ['not a JSON object'] };
  if (isDeeper(value, JSON_LEVELS_MAX + 4)) return { kind: 'wrong', reasons: ['nested too deeply'] };
  const fields = new FieldReader(value);
  const kind = Object.hasOwn(value, '_type') ? value['_type'] : 'issue';
  if (Object.hasOwn(value, '_schema')) return { kind: 'schema' };
  if (kind === 'memory') return { kind: 'memory' };
  if (kind !== 'issue') return { kind: 'wrong', reasons: [`_type ${quoteValue(kind)} is not issue or memory`] };
  if (value['status'] === 'tombstone') return { kind: 'tombstone' };
  if (value['ephemeral'] === true || value['wisp'] === true) return { kind: 'wisp' };
  const unclean = hasEscapes(text) ? uncleanText(value) : null;
  if (unclean !== null) return { kind: 'wrong', reasons: [unclean] };
  DERIVED.forEach((name) => fields.take(name));
  return readTask(fields, line, options);
}

function readTask(fields: FieldReader, line: number, options: ReadOptions): LineRead {
  const foreign: Record<string, Json> = {};
  const foreignIds: string[] = [];
  const ours = fields.object('town') ?? {};
  const town = new FieldReader(ours, 'town.');
  const rig_id = town.line('rig', 40);

  const ids: IdReader = (id) => {
    if (isTaskId(id)) return id;
    foreignIds.push(id);
    return foreignId(id, options.digestOf);
  };
  const givenId = fields.line('id', 200);
  const id = givenId === null ? null : ids(givenId);
  if (givenId !== null && id !== givenId) foreign['id'] = givenId;
  const external_ref = fields.line('external_ref');
  if (id === null && external_ref === null) fields.wrong('id', 'is missing');
  const title = fields.needed('title');

  const { status, pinned } = readStatus(fields, options, foreign);
  const times = {
    created_at: fields.time('created_at'),
    updated_at: fields.time('updated_at'),
    started_at: fields.time('started_at'),
    closed_at: fields.time('closed_at'),
    due_at: fields.time('due_at'),
    defer_until: fields.time('defer_until'),
  };
  const created_by = fields.line('created_by', 200);
  const owner = fields.line('owner');
  const close_reason = fields.text('close_reason');
  const said = town.line('outcome');
  if (said !== null && !isOutcome(said)) town.wrong('outcome', `${quote(said)} is not an outcome`);
  const outcome = said !== null && isOutcome(said) ? said : outcomeOf(close_reason);
  const known_at = times.updated_at ?? times.created_at;

  const edges = readEdges(fields.list('dependencies'), givenId, ids, fields);
  const aside = readAside(town.list('aside'), givenId, ids, town);
  const labels = readLabels(fields, foreign);
  const metadata = fields.object('metadata') ?? {};
  const record = {
    line,
    id,
    title,
    description: fields.text('description') ?? '',
    type: fields.line('issue_type', 40) ?? 'task',
    status,
    priority: readPriority(fields),
    ...(Object.hasOwn(ours, 'rig') ? { rig_id } : {}),
    assignee: fields.line('assignee', 200),
    owner,
    acceptance: fields.text('acceptance_criteria'),
    design: fields.text('design'),
    spec_id: fields.line('spec_id'),
    external_ref,
    source_system: fields.line('source_system'),
    estimated_minutes: readMinutes(fields),
    due_at: times.due_at,
    defer_until: times.defer_until,
    pinned,
    outcome: status === 'closed' ? outcome : null,
    close_reason: status === 'closed' ? close_reason : null,
    labels,
    created_by,
    created_at: times.created_at,
    updated_at: known_at,
    started_at: times.started_at,
    completed_at: status === 'closed' ? (times.closed_at ?? known_at) : null,
    edges,
    aside,
    comments: readComments(fields, times.created_at),
    notes: [
      ...readForeignNotes(fields, created_by ?? owner ?? 'imported', known_at),
      ...readNotes(town.list('notes'), town),
    ],
  };
  const kept = withImported(metadata, { ...foreign, ...fields.rest() });
  if (isDeeper(kept, JSON_LEVELS_MAX)) fields.wrong('metadata', 'with unknown fields is nested too deeply');
  else if (canonicalJson(kept).length > EXCHANGE_LIMITS.metadataBytes) {
    fields.wrong('metadata', `with unknown fields is larger than ${EXCHANGE_LIMITS.metadataBytes} bytes`);
  }
  const reasons = [...fields.problems, ...town.problems];
  const named = givenId === null ? '' : `${givenId.slice(0, 60)}: `;
  if (reasons.length > 0) return { kind: 'wrong', reasons: reasons.map((reason) => `${named}${reason}`) };
  return { kind: 'task', record: { ...record, metadata: kept }, foreignIds };
}

type IdReader = (id: string) => string;

/** `blocked` is a mark there and derived here; `pinned` and templates are never ready. The word itself is kept. */
function readStatus(
  fields: FieldReader,
  { statuses }: ReadOptions,
  foreign: Record<string, Json>,
): { readonly status: TaskStatus; readonly pinned: boolean } {
  const word = fields.line('status', 60);
  const isTemplate = fields.isTrue('is_template');
  if (isTemplate) foreign['is_template'] = true;
  const pinned = fields.isTrue('pinned') || isTemplate;
  if (word === null) return { status: 'open', pinned };
  if (word === 'blocked' || word === 'pinned') {
    foreign['status'] = word;
    return { status: 'open', pinned: pinned || word === 'pinned' };
  }
  const ours = statuses?.get(word) ?? statusOf(word);
  if (ours === null) fields.wrong('status', `${quote(word)} is not known; say what it means: --status ${word}=open`);
  return { status: ours ?? 'open', pinned };
}

/** Older exports leave a priority of 0 out. */
function readPriority(fields: FieldReader): number {
  const value = fields.take('priority');
  if (value === undefined) return 0;
  const number = typeof value === 'string' && /^P?[0-4]$/i.test(value) ? Number(value.slice(-1)) : value;
  if (typeof number === 'number' && Number.isInteger(number) && number >= 0 && number <= 4) return number;
  fields.wrong('priority', `${quoteValue(value)} is not one of 0 (most urgent) to 4`);
  return 0;
}

function readMinutes(fields: FieldReader): number | null {
  const value = fields.take('estimated_minutes');
  if (value === undefined) return null;
  if (typeof value === 'number' && Number.isInteger(value) && value >= 0 && value <= 10_000_000) return value;
  return fields.wrong('estimated_minutes', `${quoteValue(value)} is not a whole number from 0`);
}

/** A label has no blanks and commas here; the words as they were are kept when they had. */
function readLabels(fields: FieldReader, foreign: Record<string, Json>): string[] {
  const given = fields.list('labels');
  const labels = given.map((label) => (typeof label === 'string' ? plainLabel(label) : ''));
  if (given.some((label) => typeof label !== 'string')) fields.wrong('labels', 'has something that is not text');
  if (labels.some((label) => label.length > 100)) fields.wrong('labels', 'has one longer than 100 characters');
  if (given.length > 1_000) fields.wrong('labels', 'has more than 1000');
  if (labels.some((label, place) => label !== given[place])) foreign['labels'] = given as readonly Json[];
  return [...new Set(labels.filter((label) => label !== ''))].toSorted();
}

export function plainLabel(label: string): string {
  return label.trim().replaceAll(/[\s,]+/g, '-');
}

function readEdges(list: readonly unknown[], owner: string | null, ids: IdReader, above: FieldReader): EdgeRecord[] {
  return list.flatMap((item, place) => {
    const edge = readEdge(item, `dependencies[${place}].`, owner, ids, above);
    return edge === null ? [] : [edge.edge];
  });
}

function readAside(list: readonly unknown[], owner: string | null, ids: IdReader, above: FieldReader): AsideRecord[] {
  return list.flatMap((item, place) => {
    const read = readEdge(item, `aside[${place}].`, owner, ids, above);
    if (read === null) return [];
    const reason = read.rest.line('reason') ?? '';
    if (isAsideReason(reason)) return [{ ...read.edge, reason }];
    above.wrong(`aside[${place}].reason`, `${quote(reason)} is not known`);
    return [];
  });
}

function isAsideReason(word: string): word is AsideReason {
  return Object.hasOwn(ASIDE_REASONS, word);
}

/** Null when it is wrong. */
function readEdge(
  item: unknown,
  where: string,
  owner: string | null,
  ids: IdReader,
  above: FieldReader,
): { readonly edge: EdgeRecord; readonly rest: FieldReader } | null {
  if (!isObject(item)) return above.wrong(where.slice(0, -1), 'is not an object');
  const fields = new FieldReader(item, where);
  const from = fields.line('issue_id', 200);
  const to = fields.line('depends_on_id', 200);
  const type = fields.line('type', 50) ?? 'blocks';
  const metadata = readEdgeMetadata(fields);
  if (to === null) fields.wrong('depends_on_id', 'is missing');
  if (from !== null && from !== owner) fields.wrong('issue_id', `is ${quote(from)}, another task`);
  const gate = metadata['gate'];
  if (type === 'waits-for' && gate !== undefined && !isWaitGate(gate)) {
    fields.wrong('metadata.gate', `${quoteValue(gate)} is not all-children or any-children`);
  }
  const edge = {
    // `external:<project>:<what>` is no id of a task, and stays what it is.
    depends_on_id: to === null ? '' : to.includes(':') ? to : ids(to),
    type,
    metadata,
    thread_id: fields.line('thread_id', 200),
    created_by: fields.line('created_by', 200),
    created_at: fields.time('created_at'),
  };
  above.problems.push(...fields.problems);
  return fields.problems.length > 0 ? null : { edge, rest: fields };
}

/** JSON in text, as Beads has it, or an object. Text that is neither is kept as `text`. */
function readEdgeMetadata(fields: FieldReader): JsonObject {
  const value = fields.take('metadata');
  if (value === undefined || value === '') return {};
  let found: unknown = value;
  if (typeof value === 'string') {
    try {
      found = JSON.parse(value);
    } catch {
      found = { text: value };
    }
  }
  if (!isObject(found)) found = { text: typeof value === 'string' ? value : JSON.stringify(value) };
  const metadata = found as JsonObject;
  if (isDeeper(metadata, JSON_LEVELS_MAX)) fields.wrong('metadata', 'is nested too deeply');
  else if (uncleanText(metadata) !== null) fields.wrong('metadata', 'has text that cannot be kept');
  else if (canonicalJson(metadata).length > EXCHANGE_LIMITS.metadataBytes) fields.wrong('metadata', 'is too large');
  else return metadata;
  return {};
}

function readComments(above: FieldReader, created_at: string | null): CommentRecord[] {
  return above.list('comments').flatMap((item, place) => {
    if (!isObject(item)) return above.wrong(`comments[${place}]`, 'is not an object') ?? [];
    const fields = new FieldReader(item, `comments[${place}].`);
    const id = fields.take('id');
    const body = fields.text('text');
    if (body === null) fields.wrong('text', 'is missing');
    const comment = {
      id: typeof id === 'string' || typeof id === 'number' ? String(id).slice(0, 200) : null,
      author: fields.line('author', 200) ?? 'imported',
      body: body ?? '',
      created_at: fields.time('created_at') ?? created_at ?? EPOCH,
    };
    above.problems.push(...fields.problems);
    return [comment];
  });
}

const EPOCH = '1970-01-01T00:00:00.000Z';

function readNotes(list: readonly unknown[], above: FieldReader): NoteRecord[] {
  return list.flatMap((item, place) => {
    if (!isObject(item)) return above.wrong(`notes[${place}]`, 'is not an object') ?? [];
    const fields = new FieldReader(item, `town.notes[${place}].`);
    const body = fields.text('body');
    const created_at = fields.time('created_at');
    if (body === null) fields.wrong('body', 'is missing');
    if (created_at === null) fields.wrong('created_at', 'is missing');
    const note = {
      author: fields.line('author', 200) ?? 'imported',
      body: body ?? '',
      created_at: created_at ?? EPOCH,
    };
    above.problems.push(...fields.problems);
    return [note];
  });
}

/** Beads has one text for all notes: one note here. */
function readForeignNotes(fields: FieldReader, author: string, at: string | null): NoteRecord[] {
  const body = fields.text('notes');
  return body === null ? [] : [{ author, body, created_at: at ?? EPOCH }];
}

/** What another tracker's reason says about how it ended. */
function outcomeOf(reason: string | null): TaskOutcome {
  const said = reason?.trim().toLowerCase() ?? '';
  if (/^(?:cancell?ed|abandoned|rejected|won'?t ?fix|wontfix|not planned)\b/.test(said)) return 'cancelled';
  return /^(?:failed|failure|error|timeout|timed out|aborted)\b/.test(said) ? 'failed' : 'done';
}

/** The metadata with facts of another tracker that have no place of their own here. */
export function withImported(metadata: JsonObject, facts: JsonObject): JsonObject {
  if (Object.keys(facts).length === 0) return metadata;
  const before = metadata['imported'];
  const kept = before === undefined ? {} : isObject(before) ? before : { imported: before };
  return { ...metadata, imported: { ...kept, ...facts } };
}

/** Only such a line can have text that Postgres would refuse: raw characters of that kind are no JSON. */
function hasEscapes(text: string): boolean {
  return /\\u(?:0000|d[89a-f])/i.test(text);
}

/** Says what is wrong with a text somewhere inside, keys too. */
function uncleanText(value: unknown): string | null {
  if (typeof value === 'string') {
    if (value.includes('\0')) return 'a text contains a NUL character';
    return value.isWellFormed() ? null : 'a text is not valid Unicode (a lone surrogate)';
  }
  if (typeof value !== 'object' || value === null) return null;
  for (const [key, item] of Object.entries(value)) {
    const found = uncleanText(key) ?? uncleanText(item);
    if (found !== null) return found;
  }
  return null;
}

function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function quoteValue(value: unknown): string {
  return quote(typeof value === 'string' ? value : JSON.stringify(value));
}
