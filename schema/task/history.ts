import type { Json, JsonObject } from '../json';

/** One entry of `town history`. */
export interface HistoryView {
  readonly id: number;
  /** Its place in the sealed trail; null for a moment. */
  readonly seq: number | null;
  readonly at: string;
  readonly actor: string;
  readonly type: string;
  /** In words. */
  readonly what: string;
  /** Of what changed; empty when the event is no change of fields. */
  readonly before: JsonObject;
  readonly after: JsonObject;
  readonly molecule_id: string | null;
  readonly agent_id: string | null;
  /** As the trail has it. */
  readonly payload: JsonObject;
}

const WORDS: Readonly<Record<string, string>> = {
  task_created: 'made',
  task_updated: 'changed',
  task_noted: 'noted',
  task_commented: 'commented on',
  task_closed: 'closed',
  task_reopened: 'opened again',
  task_deferred: 'put off',
  task_undeferred: 'no longer put off',
  task_claimed: 'claimed',
  task_slung: 'slung',
  task_unassigned: 'taken back',
  task_held: 'held by another agent',
  task_status_changed: 'moved on',
  dependency_added: 'dependency added',
  dependency_updated: 'dependency changed',
  dependency_removed: 'dependency removed',
};

/** Said in other words, or of no use to a reader. */
const LEFT_OUT = new Set([
  'before',
  'after',
  'type',
  'recipe_digest',
  'decision_id',
  'input',
  'size',
  'position',
  'key',
]);
/** What a reader looks for first; the trail does not keep the order of fields. */
const FIRST = ['title', 'status', 'outcome', 'assigned_agent_id'];
const VALUE_MAX = 80;

/** What happened, in one line: the kind of event, each field that changed, and what else the event says. */
export function describeEvent(type: string, payload: JsonObject): string {
  const { before, after } = changeOf(payload);
  const changed = Object.keys({ ...before, ...after })
    .filter((field) => !isEmpty(before[field]) || !isEmpty(after[field]))
    .toSorted((a, b) => placeOf(a) - placeOf(b))
    .map((field) => fieldText(field, before[field], after[field]));
  const said = Object.entries(payload)
    // Events of older builds have the number of a step beside its name.
    .filter(([key, value]) => !LEFT_OUT.has(key) && !isEmpty(value) && !(key === 'step' && typeof value === 'number'))
    .map(([key, value]) => `${plain(key)} ${valueText(value)}`);
  // The edge itself is what such an event is about.
  const edge = type.startsWith('dependency_') ? ` (${valueText(payload['type'])})` : '';
  const details = [...changed, ...said].join(', ');
  return `${Object.hasOwn(WORDS, type) ? WORDS[type] : plain(type)}${edge}${details === '' ? '' : `: ${details}`}`;
}

/** What an event says about fields before and after it; nothing for one that changes none. */
export function changeOf(payload: JsonObject): { readonly before: JsonObject; readonly after: JsonObject } {
  return { before: objectOf(payload['before']), after: objectOf(payload['after']) };
}

function fieldText(field: string, before: Json | undefined, after: Json | undefined): string {
  if (isEmpty(before)) return `${plain(field)} ${valueText(after)}`;
  return `${plain(field)} ${valueText(before)} → ${isEmpty(after) ? 'none' : valueText(after)}`;
}

function placeOf(field: string): number {
  const place = FIRST.indexOf(field);
  return place === -1 ? FIRST.length : place;
}

function isEmpty(value: Json | undefined): boolean {
  return value === undefined || value === null || value === '' || (Array.isArray(value) && value.length === 0);
}

function valueText(value: Json | undefined): string {
  if (typeof value === 'string') return clip(value);
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return clip(value.join(' '));
  return clip(JSON.stringify(value ?? null));
}

function clip(text: string): string {
  const line = text.replaceAll(/\s+/g, ' ').trim();
  return line.length <= VALUE_MAX ? line : `${line.slice(0, VALUE_MAX - 1)}… (${text.length} characters)`;
}

function plain(word: string): string {
  return word.replace(/_(?:agent_)?id$/, '').replaceAll('_', ' ');
}

function objectOf(value: Json | undefined): JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as JsonObject) : {};
}
