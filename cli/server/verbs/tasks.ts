import { TownError } from '../../../schema/errors';
import { parseTaskId } from '../../../schema/ids';
import type { Outcome, TaskFields, TaskFilter, TaskInput, TaskPatch } from '../../../schema/ledger';
import { OUTCOMES } from '../../../schema/task/status';
import type { TaskDetail } from '../../../schema/views';
import { facts, printable } from '../print';
import { defineVerb, type Verb } from '../verb';
import { changeEach } from './bulk';
import { createFromFile } from './plans';
import { createWisp, WISP_FLAGS } from './wisps';
import { given, more, readMetadata } from './shared';
import { noneOr, tableOfTasks } from './task-conditions';
import { CURSOR, LIST_FLAGS, readList } from './task-lists';

const priority = { kind: 'number', min: 0, max: 4, summary: '0 (most urgent) to 4' } as const;

/** Fields that `create` and `update` share. */
const FIELD_FLAGS = {
  acceptance: { kind: 'text', summary: 'when it counts as done' },
  design: { kind: 'text', summary: 'how it is to be done' },
  owner: { kind: 'text', summary: 'who answers for it; none: nobody' },
  spec: { kind: 'text', summary: 'document that specifies it' },
  'external-ref': { kind: 'text', summary: 'its name elsewhere, such as gh-9; none: no name' },
  source: { kind: 'text', summary: 'system in which it has that name' },
  estimate: { kind: 'number', min: 0, max: 10_000_000, summary: 'minutes it may take' },
  due: { kind: 'text', summary: 'when it is due, as 2026-05-01 or 2026-05-01T15:00:00Z; none: no date' },
} as const;

interface FieldValues {
  readonly acceptance: string | undefined;
  readonly design: string | undefined;
  readonly owner: string | undefined;
  readonly spec: string | undefined;
  readonly 'external-ref': string | undefined;
  readonly source: string | undefined;
  readonly estimate: number | undefined;
  readonly due: string | undefined;
}

function readFields(flags: FieldValues): TaskFields {
  const nullable = (value: string | undefined) => (value === undefined || value === '' ? undefined : noneOr(value));
  return given({
    acceptance: flags.acceptance,
    design: flags.design,
    owner: nullable(flags.owner),
    spec_id: nullable(flags.spec),
    external_ref: nullable(flags['external-ref']),
    source_system: nullable(flags.source),
    estimated_minutes: flags.estimate,
    due_at: nullable(flags.due),
  });
}

export const taskVerbs: readonly Verb[] = [
  defineVerb({
    words: ['task', 'create'],
    summary: 'make a task, or all tasks of a file',
    args: { title: { summary: 'what is to be done, in one line; not with --from' } },
    flags: {
      from: { kind: 'text', summary: 'Markdown or JSON file with tasks; - for what is piped in' },
      'dry-run': { kind: 'switch', summary: 'with --from: check the file and show what it makes' },
      description: { kind: 'text', summary: 'all that is needed to do it' },
      rig: { kind: 'text', summary: 'rig it belongs to' },
      type: { kind: 'text', summary: 'task, bug, feature, …' },
      priority,
      parent: { kind: 'text', summary: 'task it is a part of' },
      label: { kind: 'list', summary: 'label; may be repeated' },
      ...FIELD_FLAGS,
      pinned: { kind: 'switch', summary: 'a mark to be read: never ready' },
      defer: { kind: 'text', summary: 'not ready before this time' },
      needs: { kind: 'list', summary: 'task that blocks it; may be repeated' },
      convoy: { kind: 'text', summary: 'convoy it joins' },
      metadata: { kind: 'json', summary: 'further fields as a JSON object' },
      ...WISP_FLAGS,
    },
    examples: [
      'town task create "Reject empty names" --rig acme --priority 1',
      'town task create "Write the report" --needs acme-k3f9a',
      'town task create --from plan.md --rig acme',
      'town task create "amber does not answer" --wisp --wisp-type escalation',
    ],
    readsStdin: ({ flags }) => (flags['from'] === '-' ? 'text' : null),
    async run(town, { args, flags, caller }) {
      if (flags.from !== undefined) return createFromFile(town, caller, flags.from, { ...flags, title: args.title });
      const task: TaskInput = {
        title: args.title ?? missingTitle(),
        ...given({
          description: flags.description,
          type: flags.type,
          priority: flags.priority,
          rig_id: flags.rig,
          parent_id: flags.parent && parseTaskId(flags.parent),
          convoy_id: flags.convoy,
          metadata: readMetadata(flags.metadata),
          defer_until: flags.defer,
        }),
        ...readFields(flags),
        ...(flags.pinned ? { pinned: true } : {}),
        ...(flags.label.length === 0 ? {} : { labels: flags.label }),
        ...(flags.needs.length === 0 ? {} : { depends_on: flags.needs.map(parseTaskId) }),
      };
      if (flags.wisp) return createWisp(town, caller, task, flags);
      if (flags['wisp-type'] !== undefined || flags.ttl !== undefined) {
        throw new TownError('USAGE', '--wisp-type and --ttl are for a short-lived task', { hint: 'add --wisp' });
      }
      const made = await town.createTask(caller.ask, task);
      return { data: made, text: (tty) => (tty ? `${made.id} made: ${printable(made.title)}\n` : `${made.id}\n`) };
    },
  }),
  defineVerb({
    words: ['task', 'show'],
    summary: 'show a task with its dependencies and notes',
    args: { task: { summary: 'id of the task', required: true } },
    flags: {},
    examples: ['town task show acme-k3f9a'],
    async run(town, { args }) {
      const task = await town.getTask(parseTaskId(args.task));
      return { data: task, text: () => describeTask(task) };
    },
  }),
  defineVerb({
    words: ['task', 'list'],
    summary: 'list tasks',
    args: {},
    flags: {
      ...LIST_FLAGS,
      saved: { kind: 'text', summary: 'a saved filter; what is given besides goes before it' },
      cursor: CURSOR,
    },
    examples: [
      'town task list --rig acme --status open',
      'town task list --json --limit 200',
      'town task list --saved urgent',
    ],
    async run(town, { flags }) {
      const saved = flags.saved === undefined ? {} : (await town.getSavedFilter(flags.saved)).filter;
      const filter: TaskFilter = { ...saved, ...readList(flags), ...given({ cursor: flags.cursor }) };
      const { items, next_cursor } = await town.listTasks(filter);
      return { ...tableOfTasks(items, 'no tasks'), ...more(next_cursor) };
    },
  }),
  defineVerb({
    words: ['task', 'update'],
    summary: 'change tasks, all or none',
    args: { tasks: { summary: 'ids of the tasks', required: true, many: true } },
    flags: {
      title: { kind: 'text', summary: 'new title' },
      description: { kind: 'text', summary: 'new description' },
      type: { kind: 'text', summary: 'new type' },
      priority,
      status: { kind: 'text', summary: 'new status; closing has its own verb' },
      ...FIELD_FLAGS,
      pin: { kind: 'switch', summary: 'make it a mark to be read: never ready' },
      unpin: { kind: 'switch', summary: 'make it work again' },
      'set-metadata': { kind: 'json', summary: 'keys to set as a JSON object; null takes one away' },
      'add-label': { kind: 'list', summary: 'label to add; may be repeated' },
      'remove-label': { kind: 'list', summary: 'label to take away; may be repeated' },
      note: { kind: 'text', summary: 'note to add' },
      force: { kind: 'switch', summary: 'with --status: although it is held back or put off, or parts of it are open' },
    },
    examples: [
      'town task update acme-k3f9a --priority 0 --note "customers wait for it"',
      'town task update acme-k3f9a acme-m20ab --add-label release',
    ],
    async run(town, { args, flags, caller }) {
      const patch: TaskPatch = {
        ...given({
          title: flags.title,
          description: flags.description,
          type: flags.type,
          priority: flags.priority,
          status: flags.status,
          note: flags.note,
          set_metadata: readMetadata(flags['set-metadata']),
        }),
        ...readFields(flags),
        ...(flags.pin || flags.unpin ? { pinned: flags.pin } : {}),
        ...(flags.force ? { force: true } : {}),
        ...(flags['add-label'].length === 0 ? {} : { add_labels: flags['add-label'] }),
        ...(flags['remove-label'].length === 0 ? {} : { remove_labels: flags['remove-label'] }),
      };
      if (args.tasks.length > 1) {
        return changeEach(town, caller, args.tasks, 'updated', (id) => ({ op: 'update', id, patch }));
      }
      const task = await town.updateTask(caller.ask, parseTaskId(args.tasks[0] ?? ''), patch);
      return { data: task, text: () => `${task.id} updated\n` };
    },
  }),
  defineVerb({
    words: ['task', 'close'],
    summary: 'close tasks, all or none',
    args: { tasks: { summary: 'ids of the tasks', required: true, many: true } },
    flags: {
      outcome: { kind: 'text', choices: OUTCOMES, summary: 'how it ended; done when absent' },
      reason: { kind: 'text', summary: 'why' },
      force: { kind: 'switch', summary: 'close it although it is blocked, or parts of it are open' },
    },
    examples: ['town task close acme-k3f9a --reason "fixed by hand"', 'town task close acme-k3f9a acme-m20ab'],
    async run(town, { args, flags, caller }) {
      const close = {
        outcome: (flags.outcome ?? 'done') as Outcome, // one of the choices
        ...given({ reason: flags.reason }),
        ...(flags.force ? { force: true } : {}),
      };
      if (args.tasks.length > 1) {
        const what = `closed as ${close.outcome}`;
        return changeEach(town, caller, args.tasks, what, (id) => ({ op: 'close', id, ...close }));
      }
      const task = await town.closeTask(caller.ask, parseTaskId(args.tasks[0] ?? ''), close);
      return { data: task, text: () => `${task.id} closed as ${task.outcome ?? 'done'}\n` };
    },
  }),
];

function missingTitle(): never {
  throw new TownError('USAGE', '<title> is missing', {
    hint: 'town task create <title>, or: town task create --from <file>',
  });
}

function describeTask(task: TaskDetail): string {
  const linked = (title: string, edges: TaskDetail['dependencies']) =>
    edges.length === 0
      ? ''
      : `${title}:\n${edges.map((edge) => `  ${edge.id} (${edge.type}, ${edge.status}) ${printable(edge.title)}\n`).join('')}`;
  return [
    facts({
      task: task.id,
      title: task.title,
      status: task.status,
      priority: `P${task.priority}`,
      type: task.type,
      rig: task.rig_id,
      agent: task.assigned_agent_id,
      molecule: task.molecule_id,
      convoy: task.convoy_id,
      parent: task.parent_id,
      'open blockers': task.open_blockers,
      'held back with its parent': task.parent_blocked ? 'yes' : null,
      owner: task.owner,
      due: task.due_at,
      'put off until': task.defer_until,
      pinned: task.pinned ? 'yes' : null,
      reference: task.external_ref,
      labels: task.labels.join(', '),
      acceptance: task.acceptance,
      outcome: task.outcome,
      reason: task.close_reason,
      estimate: task.estimated_minutes === null ? null : `${task.estimated_minutes} min`,
      made: `${task.created_at} by ${task.created_by}`,
      closed: task.completed_at,
    }),
    task.description === '' ? '' : `\n${printable(task.description)}\n`,
    task.design === null ? '' : `\ndesign:\n${printable(task.design)}\n`,
    linked('\nneeds', task.dependencies),
    linked('\nneeded by', task.dependents),
    task.notes.length === 0 ? '' : '\nnotes:\n',
    ...task.notes.map(({ author, body, created_at }) => `  ${created_at} ${author}: ${printable(body)}\n`),
    task.comments.length === 0 ? '' : '\ncomments:\n',
    ...task.comments.map(({ author, body, created_at }) => `  ${created_at} ${author}: ${printable(body)}\n`),
  ].join('');
}
