import { parseTaskId } from '../../../schema/ids';
import type { JsonObject } from '../../../schema/json';
import type { TaskConditions } from '../../../schema/ledger';
import type { TaskView } from '../../../schema/views';
import { table } from '../print';
import type { FlagSpec, VerbAnswer } from '../verb';
import { given } from './shared';

export const LIMIT = { kind: 'number', min: 1, max: 1000, summary: 'at most this many' } as const;

/** Which tasks: the flags that `list`, `ready` and others like them share. */
export const CONDITION_FLAGS = {
  rig: { kind: 'text', summary: 'of this rig' },
  type: { kind: 'text', summary: 'of this type' },
  'exclude-type': { kind: 'list', summary: 'not of this type; may be repeated' },
  label: { kind: 'list', summary: 'with this label; repeated: with all of them' },
  'label-any': { kind: 'list', summary: 'with this label; repeated: with one of them' },
  'label-pattern': { kind: 'text', summary: 'with a label like this; * is any text, ? one character' },
  'exclude-label': { kind: 'list', summary: 'without this label; may be repeated' },
  owner: { kind: 'text', summary: 'of this owner; none: without one' },
  'priority-min': { kind: 'number', min: 0, max: 4, summary: 'priority from this number' },
  'priority-max': { kind: 'number', min: 0, max: 4, summary: 'priority up to this number' },
  parent: { kind: 'text', summary: 'parts of this task; none: part of nothing' },
  deep: { kind: 'switch', summary: 'with --parent: also parts of parts' },
  convoy: { kind: 'text', summary: 'of this convoy' },
  'created-after': { kind: 'text', summary: 'made after this time' },
  'created-before': { kind: 'text', summary: 'made before this time' },
  'updated-after': { kind: 'text', summary: 'changed after this time' },
  'updated-before': { kind: 'text', summary: 'changed before this time' },
  'due-after': { kind: 'text', summary: 'due after this time' },
  'due-before': { kind: 'text', summary: 'due before this time' },
  'external-ref': { kind: 'text', summary: 'with this name elsewhere; any or none: with or without one' },
  source: { kind: 'text', summary: 'imported from this system' },
  metadata: { kind: 'json', summary: 'with these keys and values, as a JSON object' },
  'has-metadata-key': { kind: 'text', summary: 'with this key in its metadata' },
  text: { kind: 'text', summary: 'with this text in title, description, design, acceptance or id' },
  query: { kind: 'text', summary: 'for which this query holds; see: town query --help' },
  wisps: { kind: 'switch', summary: 'short-lived tasks too' },
} as const satisfies Readonly<Record<string, FlagSpec>>;

type ConditionFlags = {
  readonly [K in keyof typeof CONDITION_FLAGS]: (typeof CONDITION_FLAGS)[K] extends { kind: 'list' }
    ? string[]
    : (typeof CONDITION_FLAGS)[K] extends { kind: 'switch' }
      ? boolean
      : (typeof CONDITION_FLAGS)[K] extends { kind: 'number' }
        ? number | undefined
        : (typeof CONDITION_FLAGS)[K] extends { kind: 'json' }
          ? JsonObject | undefined
          : string | undefined;
};

/** What the flags say; the word `none` stands for nothing. */
export function readConditions(flags: ConditionFlags): TaskConditions {
  const reference = flags['external-ref'];
  return {
    ...given({
      rig_id: flags.rig,
      type: flags.type,
      label_pattern: flags['label-pattern'],
      priority_min: flags['priority-min'],
      priority_max: flags['priority-max'],
      convoy_id: flags.convoy,
      created_after: flags['created-after'],
      created_before: flags['created-before'],
      updated_after: flags['updated-after'],
      updated_before: flags['updated-before'],
      due_after: flags['due-after'],
      due_before: flags['due-before'],
      source_system: flags.source,
      metadata: flags.metadata,
      has_metadata_key: flags['has-metadata-key'],
      text: flags.text,
      query: flags.query,
    }),
    ...someOf('exclude_types', flags['exclude-type']),
    ...someOf('labels', flags.label),
    ...someOf('label_any', flags['label-any']),
    ...someOf('exclude_labels', flags['exclude-label']),
    ...(flags.owner === undefined ? {} : { owner: noneOr(flags.owner) }),
    ...(flags.parent === undefined ? {} : { parent_id: flags.parent === NONE ? null : parseTaskId(flags.parent) }),
    ...(flags.deep ? { deep: true } : {}),
    ...(flags.wisps ? { wisps: true } : {}),
    ...(reference === undefined
      ? {}
      : reference === 'any' || reference === NONE
        ? { has_external_ref: reference === 'any' }
        : { external_ref: reference }),
  };
}

const NONE = 'none';

export function noneOr(word: string): string | null {
  return word === NONE ? null : word;
}

export function tableOfTasks(tasks: readonly TaskView[], none: string): VerbAnswer {
  const rows = tasks.map(({ id, status, priority: p, type, assigned_agent_id, title }) => [
    id,
    status,
    `P${p}`,
    type,
    assigned_agent_id,
    title,
  ]);
  return { data: tasks, text: (tty) => table(tty, ['task', 'status', 'prio', 'type', 'agent', 'title'], rows, none) };
}

/** A list that was not given says nothing. */
function someOf<K extends string>(key: K, values: readonly string[]): { [k in K]?: readonly string[] } {
  return (values.length === 0 ? {} : { [key]: values }) as { [k in K]?: readonly string[] }; // the key is K
}
