import { parseTaskId } from '../../../schema/ids';
import type { DependencyType, Outcome, TaskFilter, TaskInput, TaskPatch } from '../../../schema/ledger';
import type { TaskDetail, TaskView } from '../../../schema/views';
import { facts, printable, table } from '../print';
import { defineVerb, type Verb, type VerbAnswer } from '../verb';
import { given, more, readMetadata } from './shared';

const OUTCOMES = [
  'done',
  'failed',
  'skipped',
  'cancelled',
  'merged',
  'deferred',
  'escalated',
] as const satisfies readonly Outcome[];
const DEPENDENCIES = ['blocks', 'parent-child', 'tracks', 'related'] as const satisfies readonly DependencyType[];
const priority = { kind: 'number', min: 0, max: 4, summary: '0 (most urgent) to 4' } as const;
const limit = { kind: 'number', min: 1, max: 1000, summary: 'at most this many' } as const;

export const taskVerbs: readonly Verb[] = [
  defineVerb({
    words: ['task', 'create'],
    summary: 'make a task',
    args: { title: { summary: 'what is to be done, in one line', required: true } },
    flags: {
      description: { kind: 'text', summary: 'all that is needed to do it' },
      rig: { kind: 'text', summary: 'rig it belongs to' },
      type: { kind: 'text', summary: 'task, bug, feature, …' },
      priority,
      parent: { kind: 'text', summary: 'task it is a part of' },
      label: { kind: 'list', summary: 'label; may be repeated' },
      acceptance: { kind: 'text', summary: 'when it counts as done' },
      needs: { kind: 'list', summary: 'task that blocks it; may be repeated' },
      convoy: { kind: 'text', summary: 'convoy it joins' },
      metadata: { kind: 'json', summary: 'further fields as a JSON object' },
    },
    examples: [
      'town task create "Reject empty names" --rig acme --priority 1',
      'town task create "Write the report" --needs acme-k3f9a',
    ],
    async run(town, { args, flags, caller }) {
      const task: TaskInput = {
        title: args.title,
        ...given({
          description: flags.description,
          type: flags.type,
          priority: flags.priority,
          rig_id: flags.rig,
          parent_id: flags.parent && parseTaskId(flags.parent),
          acceptance: flags.acceptance,
          convoy_id: flags.convoy,
          metadata: readMetadata(flags.metadata),
        }),
        ...(flags.label.length === 0 ? {} : { labels: flags.label }),
        ...(flags.needs.length === 0 ? {} : { depends_on: flags.needs.map(parseTaskId) }),
      };
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
      rig: { kind: 'text', summary: 'of this rig' },
      status: { kind: 'list', summary: 'with this status; may be repeated' },
      type: { kind: 'text', summary: 'of this type' },
      label: { kind: 'text', summary: 'with this label' },
      assignee: { kind: 'text', summary: 'of this agent' },
      convoy: { kind: 'text', summary: 'of this convoy' },
      parent: { kind: 'text', summary: 'parts of this task' },
      limit,
      cursor: { kind: 'text', summary: 'where the page before ended' },
    },
    examples: ['town task list --rig acme --status open', 'town task list --json --limit 200'],
    async run(town, { flags }) {
      const filter: TaskFilter = {
        ...given({
          rig_id: flags.rig,
          type: flags.type,
          label: flags.label,
          assigned_agent_id: flags.assignee,
          convoy_id: flags.convoy,
          parent_id: flags.parent,
          limit: flags.limit,
          cursor: flags.cursor,
        }),
        ...(flags.status.length === 0 ? {} : { status: flags.status }),
      };
      const { items, next_cursor } = await town.listTasks(filter);
      return { ...listTasks(items, 'no tasks'), ...more(next_cursor) };
    },
  }),
  defineVerb({
    words: ['task', 'update'],
    summary: 'change a task',
    args: { task: { summary: 'id of the task', required: true } },
    flags: {
      title: { kind: 'text', summary: 'new title' },
      description: { kind: 'text', summary: 'new description' },
      type: { kind: 'text', summary: 'new type' },
      priority,
      status: { kind: 'text', summary: 'new status; closing has its own verb' },
      acceptance: { kind: 'text', summary: 'when it counts as done' },
      'add-label': { kind: 'list', summary: 'label to add; may be repeated' },
      'remove-label': { kind: 'list', summary: 'label to take away; may be repeated' },
      note: { kind: 'text', summary: 'note to add' },
    },
    examples: ['town task update acme-k3f9a --priority 0 --note "customers wait for it"'],
    async run(town, { args, flags, caller }) {
      const patch: TaskPatch = {
        ...given({
          title: flags.title,
          description: flags.description,
          type: flags.type,
          priority: flags.priority,
          status: flags.status,
          acceptance: flags.acceptance,
          note: flags.note,
        }),
        ...(flags['add-label'].length === 0 ? {} : { add_labels: flags['add-label'] }),
        ...(flags['remove-label'].length === 0 ? {} : { remove_labels: flags['remove-label'] }),
      };
      const task = await town.updateTask(caller.ask, parseTaskId(args.task), patch);
      return { data: task, text: () => `${task.id} updated\n` };
    },
  }),
  defineVerb({
    words: ['task', 'close'],
    summary: 'close a task',
    args: { task: { summary: 'id of the task', required: true } },
    flags: {
      outcome: { kind: 'text', choices: OUTCOMES, summary: 'how it ended; done when absent' },
      reason: { kind: 'text', summary: 'why' },
      force: { kind: 'switch', summary: 'close it although it is blocked' },
    },
    examples: ['town task close acme-k3f9a --reason "fixed by hand"'],
    async run(town, { args, flags, caller }) {
      const task = await town.closeTask(caller.ask, parseTaskId(args.task), {
        outcome: (flags.outcome ?? 'done') as Outcome, // one of the choices
        ...given({ reason: flags.reason }),
        ...(flags.force ? { force: true } : {}),
      });
      return { data: task, text: () => `${task.id} closed as ${task.outcome ?? 'done'}\n` };
    },
  }),
  defineVerb({
    words: ['dep', 'add'],
    summary: 'say that a task needs another one',
    args: {
      task: { summary: 'the task that waits', required: true },
      needs: { summary: 'the task it waits for', required: true },
    },
    flags: { type: { kind: 'text', choices: DEPENDENCIES, summary: 'blocks when absent' } },
    examples: ['town dep add acme-k3f9a acme-m20ab'],
    async run(town, { args, flags, caller }) {
      const edge = {
        task_id: parseTaskId(args.task),
        depends_on_id: parseTaskId(args.needs),
        type: (flags.type ?? 'blocks') as DependencyType, // one of the choices
      };
      await town.addDependency(caller.ask, edge);
      return { data: edge, text: () => `${edge.task_id} needs ${edge.depends_on_id}\n` };
    },
  }),
  defineVerb({
    words: ['dep', 'remove'],
    summary: 'take a dependency away',
    args: {
      task: { summary: 'the task that waits', required: true },
      needs: { summary: 'the task it waits for', required: true },
    },
    flags: {},
    examples: ['town dep remove acme-k3f9a acme-m20ab'],
    async run(town, { args, caller }) {
      const edge = { task_id: parseTaskId(args.task), depends_on_id: parseTaskId(args.needs) };
      await town.removeDependency(caller.ask, edge);
      return { data: edge, text: () => `${edge.task_id} does not need ${edge.depends_on_id} any more\n` };
    },
  }),
  defineVerb({
    words: ['ready'],
    summary: 'list work that can be started now',
    args: {},
    flags: {
      rig: { kind: 'text', summary: 'of this rig' },
      label: { kind: 'text', summary: 'with this label' },
      type: { kind: 'text', summary: 'of this type' },
      limit,
    },
    examples: ['town ready --rig acme', 'town ready --json --limit 50'],
    async run(town, { flags }) {
      const tasks = await town.readyTasks(
        given({ rig_id: flags.rig, label: flags.label, type: flags.type, limit: flags.limit }),
      );
      return listTasks(tasks, 'nothing is ready');
    },
  }),
];

function listTasks(tasks: readonly TaskView[], none: string): VerbAnswer {
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
      labels: task.labels.join(', '),
      acceptance: task.acceptance,
      outcome: task.outcome,
      reason: task.close_reason,
      made: `${task.created_at} by ${task.created_by}`,
      closed: task.completed_at,
    }),
    task.description === '' ? '' : `\n${printable(task.description)}\n`,
    linked('\nneeds', task.dependencies),
    linked('\nneeded by', task.dependents),
    task.notes.length === 0 ? '' : '\nnotes:\n',
    ...task.notes.map(({ author, body, created_at }) => `  ${created_at} ${author}: ${printable(body)}\n`),
  ].join('');
}
