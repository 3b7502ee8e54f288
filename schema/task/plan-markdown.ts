import { linesOf } from '../text';
import { isDependencyType, type DependencyType } from './dependency';
import {
  isPlanKey,
  planRefusal,
  type PlanEdge,
  type PlanNode,
  type PlanProblem,
  type PlanRef,
  type TaskPlan,
} from './plan';
import { isTaskIdText, keyOfTitle } from './plan-keys';

/*
 * A plan as a Markdown page. A heading of level two or deeper is a task, and a part of the task whose heading stands above it with a
 * lower level; a heading of level one only names the page. Right below its heading a task may have lines `name: value` (also as a list
 * or in bold); a deeper heading that is the name of a field holds the value of that field until the next heading. The rest is its
 * description. What stands in a code fence is text.
 */

const FIELDS = {
  key: 'key',
  type: 'type',
  priority: 'priority',
  assignee: 'assignee',
  labels: 'labels',
  label: 'labels',
  tags: 'labels',
  description: 'description',
  acceptance: 'acceptance',
  'acceptance criteria': 'acceptance',
  design: 'design',
  owner: 'owner',
  spec: 'spec_id',
  'external ref': 'external_ref',
  ref: 'external_ref',
  estimate: 'estimate',
  due: 'due_at',
  defer: 'defer_until',
  pinned: 'pinned',
  parent: 'parent',
  needs: 'needs',
  dependencies: 'needs',
  'depends on': 'needs',
  'blocked by': 'needs',
} as const;
type Field = (typeof FIELDS)[keyof typeof FIELDS];

interface Draft {
  /** Known when all of the task is read. */
  key: string;
  readonly title: string;
  readonly level: number;
  readonly line: number;
  readonly above: Draft | null;
  readonly body: string[];
  readonly fields: Map<Field, { readonly line: number; text: string }>;
}

/** @throws INVALID_INPUT with all problems, each with its line */
export function readMarkdownPlan(source: string): TaskPlan {
  const problems: PlanProblem[] = [];
  const drafts = draftsOf(source, problems);
  for (const [nth, draft] of drafts.entries()) draft.key = keyOf(draft, nth, problems);
  const refs = new References(new Set(drafts.map((draft) => draft.key)));
  const nodes = drafts.map((draft) => nodeOf(draft, refs, problems));
  const edges = drafts.flatMap((draft) => edgesOf(draft, refs));
  if (problems.length > 0) throw planRefusal(problems);
  return { nodes, edges };
}

/** What the next line belongs to. */
type Reading =
  | { readonly kind: 'nothing' }
  /** Right below a heading: fields may stand here. `seen`: one did, so the lines up to the next empty one are fields. */
  | { readonly kind: 'fields'; readonly of: Draft; readonly seen: boolean }
  | { readonly kind: 'body'; readonly of: Draft }
  | { readonly kind: 'section'; readonly into: { text: string } };

function draftsOf(source: string, problems: PlanProblem[]): Draft[] {
  const drafts: Draft[] = [];
  let open: Draft[] = [];
  let reading: Reading = { kind: 'nothing' };
  let fence: string | null = null;
  for (const [index, text] of linesOf(source).entries()) {
    const line = index + 1;
    const mark: string | null = /^ {0,3}(`{3,}|~{3,})/.exec(text)?.[1] ?? null;
    const isInside: boolean = fence !== null || mark !== null;
    if (fence === null) fence = mark;
    else if (mark !== null && mark[0] === fence[0] && mark.length >= fence.length && /^[\s`~]*$/.test(text))
      fence = null;
    const heading = isInside ? null : /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/.exec(text);
    if (heading === null) {
      reading = readText(text, line, reading, isInside, problems);
      continue;
    }
    const level = heading[1]!.length;
    const title = (heading[2] ?? '').trim();
    const above = open.findLast((draft) => draft.level < level) ?? null;
    const field = fieldOf(title);
    if (level === 1) {
      open = [];
      reading = { kind: 'nothing' };
    } else if (above !== null && field !== null) {
      reading = { kind: 'section', into: setField(above, field, '', line, problems) };
    } else {
      if (title === '') problems.push({ at: `line ${line}`, message: 'the heading has no title' });
      const draft: Draft = { key: '', title, level, line, above, body: [], fields: new Map() };
      drafts.push(draft);
      open = [...open.filter((each) => each.level < level), draft];
      reading = { kind: 'fields', of: draft, seen: false };
    }
  }
  return drafts;
}

function readText(text: string, line: number, reading: Reading, isFenced: boolean, problems: PlanProblem[]): Reading {
  switch (reading.kind) {
    case 'nothing':
      return reading;
    case 'section':
      reading.into.text += `${text}\n`;
      return reading;
    case 'body':
      reading.of.body.push(text);
      return reading;
    case 'fields': {
      const { of, seen } = reading;
      if (text.trim() === '') return seen ? { kind: 'body', of } : reading;
      const pair = isFenced
        ? null
        : /^\s*([-*+]\s+)?(?:\*\*|__)?([A-Za-z][A-Za-z ]{0,30}?)(?:\*\*|__)?\s*:(?:\*\*|__)?\s*(.*)$/.exec(text);
      const field = fieldOf(pair?.[2] ?? '');
      if (pair !== null && field !== null) {
        setField(of, field, pair[3]!.trim(), line, problems);
        return { kind: 'fields', of, seen: true };
      }
      if (pair !== null && seen && pair[1] !== undefined) {
        problems.push({
          at: `line ${line}`,
          message: `${JSON.stringify(pair[2])} is none of the fields ${Object.keys(FIELDS).join(', ')}; text begins after an empty line`,
        });
        return reading;
      }
      of.body.push(text);
      return { kind: 'body', of };
    }
  }
}

function fieldOf(name: string): Field | null {
  const plain = name.trim().toLowerCase().replaceAll(/\s+/g, ' ').replace(/:$/, '');
  return Object.hasOwn(FIELDS, plain) ? FIELDS[plain as keyof typeof FIELDS] : null; // it is one of its keys
}

function setField(draft: Draft, field: Field, text: string, line: number, problems: PlanProblem[]): { text: string } {
  const other = draft.fields.get(field);
  if (other !== undefined) {
    problems.push({ at: `line ${line}`, message: `the task has this field already (line ${other.line})` });
  }
  const entry = { line, text };
  draft.fields.set(field, entry);
  return entry;
}

function keyOf(draft: Draft, nth: number, problems: PlanProblem[]): string {
  const given = valueOf(draft, 'key');
  if (given === null) return keyOfTitle(draft.title, nth);
  if (!isPlanKey(given)) {
    problems.push({ at: `line ${draft.line}`, message: 'a key has letters, digits and _ . : - only, at most 100' });
  }
  return given;
}

function nodeOf(draft: Draft, refs: References, problems: PlanProblem[]): PlanNode {
  const at = `line ${draft.line}`;
  const refuse = (message: string): null => {
    problems.push({ at, message });
    return null;
  };
  const priority = valueOf(draft, 'priority');
  const digit =
    priority === null ? null : (/^[Pp]?([0-4])$/.exec(priority)?.[1] ?? refuse('the priority is one of 0 to 4'));
  const estimate = valueOf(draft, 'estimate');
  const minutes =
    estimate === null
      ? null
      : (/^(\d{1,8})(?: ?m(?:in)?)?$/.exec(estimate)?.[1] ?? refuse('the estimate is a number of minutes'));
  const pinned = valueOf(draft, 'pinned');
  if (pinned !== null && !['true', 'false', 'yes', 'no'].includes(pinned)) refuse('pinned is true or false');
  const parent = valueOf(draft, 'parent');
  const whole = draft.above === null ? null : { key: draft.above.key };
  if (parent !== null && whole !== null) refuse('it stands below another heading, and names a parent besides');
  const description = [draft.body.join('\n'), draft.fields.get('description')?.text ?? ''];
  return {
    key: draft.key,
    at,
    title: draft.title,
    description: description
      .map((part) => part.trim())
      .filter((part) => part !== '')
      .join('\n\n'),
    type: valueOf(draft, 'type'),
    priority: digit === null ? null : Number(digit),
    assignee: valueOf(draft, 'assignee'),
    labels: listOf(draft, 'labels'),
    acceptance: valueOf(draft, 'acceptance'),
    design: valueOf(draft, 'design'),
    owner: valueOf(draft, 'owner'),
    spec_id: valueOf(draft, 'spec_id'),
    external_ref: valueOf(draft, 'external_ref'),
    estimated_minutes: minutes === null ? null : Number(minutes),
    due_at: valueOf(draft, 'due_at'),
    defer_until: valueOf(draft, 'defer_until'),
    pinned: pinned === 'true' || pinned === 'yes',
    metadata: {},
    metadata_refs: {},
    parent: whole ?? (parent === null ? null : refs.find(parent)),
  };
}

/** Entries of `needs`: a key, the title of another task, or an id; `type: …` before it when it is not `blocks`. */
function edgesOf(draft: Draft, refs: References): PlanEdge[] {
  return listOf(draft, 'needs').map((entry) => {
    const [, word = '', rest = ''] = /^([a-z-]+):\s*(.+)$/.exec(entry) ?? [];
    const typed = isDependencyType(word) && !refs.has(entry);
    const type: DependencyType = typed ? word : 'blocks';
    return {
      at: `line ${draft.line}`,
      from: { key: draft.key },
      to: refs.find(typed ? rest : entry),
      type,
      metadata: {},
    };
  });
}

class References {
  readonly #keys: ReadonlySet<string>;

  constructor(keys: ReadonlySet<string>) {
    this.#keys = keys;
  }

  has(text: string): boolean {
    return this.#keys.has(text);
  }

  /** What leads nowhere is found by `checkPlan`. */
  find(text: string): PlanRef {
    if (this.#keys.has(text)) return { key: text };
    if (isTaskIdText(text)) return { id: text };
    const slug = keyOfTitle(text, 0);
    return { key: this.#keys.has(slug) ? slug : text };
  }
}

function valueOf(draft: Draft, field: Field): string | null {
  const text = draft.fields.get(field)?.text.trim() ?? '';
  return text === '' ? null : text;
}

/** Divided by commas or lines; a line may be an entry of a list. */
function listOf(draft: Draft, field: Field): string[] {
  return (valueOf(draft, field) ?? '')
    .split(/[\n,]/)
    .map((entry) => entry.replace(/^\s*[-*+]\s+/, '').trim())
    .filter((entry) => entry !== '');
}
