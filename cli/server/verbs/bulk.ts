import { TownError } from '../../../schema/errors';
import { parseAgentAddress, parseTaskId } from '../../../schema/ids';
import type { TaskOperation } from '../../../schema/ledger';
import { parseBatch } from '../../../schema/task/batch';
import type { CommentView, TaskView } from '../../../schema/views';
import type { TownClient } from '../../client/client';
import { readGivenText } from '../given-text';
import { printable, table } from '../print';
import { defineVerb, type Caller, type Verb, type VerbAnswer } from '../verb';
import { given, more } from './shared';
import { LIMIT, noneOr } from './task-conditions';
import { CURSOR } from './task-lists';

/** Many changes at once, and the small changes that have a verb of their own. */

const tasks = { summary: 'ids of the tasks', required: true, many: true } as const;
const task = { summary: 'id of the task', required: true } as const;
const reason = { kind: 'text', summary: 'why' } as const;

export const bulkVerbs: readonly Verb[] = [
  defineVerb({
    words: ['batch'],
    summary: 'do many changes at once, all or none',
    args: { file: { summary: 'file with a change a line; - or nothing: what is piped in' } },
    flags: { rig: { kind: 'text', summary: 'rig of the tasks that are made' } },
    examples: ['town batch changes.txt', 'town batch - --rig acme'],
    readsStdin: ({ args }) => (args['file'] === undefined || args['file'] === '-' ? 'text' : null),
    async run(town, { args, flags, caller }) {
      const operations = parseBatch(readGivenText(args.file ?? '-', caller), given({ rig_id: flags.rig }));
      const { results } = await town.changeTasks(caller.ask, operations);
      const rows = results.map(({ line, op, target }) => [line, op, target]);
      return {
        data: { operations: results.length, status: 'ok', results },
        text: (tty) => table(tty, ['line', 'change', 'task'], rows, 'nothing was done'),
      };
    },
  }),
  defineVerb({
    words: ['task', 'reopen'],
    summary: 'open closed tasks again',
    args: { tasks },
    flags: { reason },
    examples: ['town task reopen acme-k3f9a --reason "it fails again"'],
    run: async (town, { args, flags, caller }) =>
      changeEach(town, caller, args.tasks, 'open again', (id) => ({
        op: 'reopen',
        id,
        ...given({ reason: flags.reason }),
      })),
  }),
  defineVerb({
    words: ['task', 'defer'],
    summary: 'put tasks off, until a time or until somebody ends it',
    args: { tasks },
    flags: {
      until: { kind: 'text', summary: 'time, or how far away: 3d, 12h, 2w' },
      reason,
    },
    examples: ['town task defer acme-k3f9a --until 2027-01-02', 'town task defer acme-k3f9a acme-m20ab --until 3d'],
    run: async (town, { args, flags, caller }) =>
      changeEach(town, caller, args.tasks, 'put off', (id) => ({
        op: 'defer',
        id,
        until: flags.until ?? null,
        ...given({ reason: flags.reason }),
      })),
  }),
  defineVerb({
    words: ['task', 'undefer'],
    summary: 'end the deferral of tasks',
    args: { tasks },
    flags: {},
    examples: ['town task undefer acme-k3f9a'],
    run: async (town, { args, caller }) =>
      changeEach(town, caller, args.tasks, 'open', (id) => ({ op: 'undefer', id })),
  }),
  ...(
    [
      ['pin', true, 'make tasks marks to be read: never ready'],
      ['unpin', false, 'make pinned tasks work again'],
    ] as const
  ).map(([word, pinned, summary]) =>
    defineVerb({
      words: ['task', word],
      summary,
      args: { tasks },
      flags: {},
      examples: [`town task ${word} acme-k3f9a`],
      run: async (town, { args, caller }) =>
        changeEach(town, caller, args.tasks, `${word}ned`, (id) => ({ op: 'update', id, patch: { pinned } })),
    }),
  ),
  defineVerb({
    words: ['task', 'assign'],
    summary: 'say whose a task is, without starting it',
    args: { task, agent: { summary: "address of the agent; none: nobody's", required: true } },
    flags: {},
    examples: ['town task assign acme-k3f9a acme/polecats/amber', 'town task assign acme-k3f9a none'],
    async run(town, { args, caller }) {
      const agent = noneOr(args.agent);
      const assigned_agent_id = agent === null ? null : parseAgentAddress(agent);
      const changed = await town.updateTask(caller.ask, parseTaskId(args.task), { assigned_agent_id });
      return { data: changed, text: () => `${changed.id} is ${changed.assigned_agent_id ?? 'nobody'}'s\n` };
    },
  }),
  defineVerb({
    words: ['task', 'move'],
    summary: 'move tasks with their parts to another rig; their ids stay as they are',
    args: { tasks },
    flags: { rig: { kind: 'text', summary: 'the rig; none: the town itself' } },
    examples: ['town task move acme-k3f9a --rig docs', 'town task move acme-k3f9a acme-m20ab --rig none'],
    async run(town, { args, flags, caller }) {
      if (flags.rig === undefined) {
        throw new TownError('USAGE', '--rig says where they go', { hint: 'see: town rig list' });
      }
      const moved = await town.moveTasks(caller.ask, args.tasks.map(parseTaskId), noneOr(flags.rig));
      return {
        data: moved,
        text: () => moved.map(({ id, rig_id }) => `${id} belongs to ${rig_id ?? 'the town'}\n`).join(''),
      };
    },
  }),
  ...(
    [
      ['add', 'add_labels', 'give tasks a label'],
      ['remove', 'remove_labels', 'take a label away from tasks'],
    ] as const
  ).map(([word, key, summary]) =>
    defineVerb({
      words: ['label', word],
      summary,
      args: { words: { summary: 'ids of the tasks, then the label', required: true, many: true } },
      flags: {},
      examples: [`town label ${word} acme-k3f9a acme-m20ab api`],
      async run(town, { args, caller }) {
        const ids = args.words.slice(0, -1);
        const label = args.words.at(-1) ?? '';
        if (ids.length === 0) {
          throw new TownError('USAGE', 'a task and a label are needed', {
            hint: `town label ${word} <task…> <label>`,
          });
        }
        return changeEach(town, caller, ids, `labelled: ${label}`, (id) => ({
          op: 'update',
          id,
          patch: { [key]: [label] },
        }));
      },
    }),
  ),
  defineVerb({
    words: ['label', 'list'],
    summary: 'list the labels of a task',
    args: { task },
    flags: {},
    examples: ['town label list acme-k3f9a'],
    async run(town, { args }) {
      const { labels } = await town.getTask(parseTaskId(args.task));
      return {
        data: labels,
        text: (tty) =>
          table(
            tty,
            ['label'],
            labels.map((label) => [label]),
            'no labels',
          ),
      };
    },
  }),
  defineVerb({
    words: ['label', 'list-all'],
    summary: 'list the labels in use, with how many tasks have them',
    args: {},
    flags: { limit: LIMIT, cursor: CURSOR },
    examples: ['town label list-all'],
    async run(town, { flags }) {
      const { items, next_cursor } = await town.listLabels(given({ limit: flags.limit, cursor: flags.cursor }));
      const rows = items.map((each) => [each.label, each.tasks]);
      return {
        data: items,
        text: (tty) => table(tty, ['label', 'tasks'], rows, 'no labels'),
        ...more(next_cursor),
      };
    },
  }),
  defineVerb({
    words: ['comment', 'add'],
    summary: 'say something about a task',
    args: { task, text: { summary: 'the comment', required: true } },
    flags: {},
    examples: ['town comment add acme-k3f9a "is this still so?"'],
    async run(town, { args, caller }) {
      const comment = await town.addComment(caller.ask, parseTaskId(args.task), args.text);
      return { data: comment, text: () => `said about ${args.task}\n` };
    },
  }),
  defineVerb({
    words: ['comment', 'list'],
    summary: 'list what was said about a task, oldest first',
    args: { task },
    flags: { limit: LIMIT, cursor: CURSOR },
    examples: ['town comment list acme-k3f9a'],
    async run(town, { args, flags }) {
      const { items, next_cursor } = await town.listComments(
        parseTaskId(args.task),
        given({ limit: flags.limit, cursor: flags.cursor }),
      );
      return { data: items, text: () => describeComments(items), ...more(next_cursor) };
    },
  }),
  defineVerb({
    words: ['note', 'add'],
    summary: 'leave a note on a task for whoever works on it next',
    args: { task, text: { summary: 'the note', required: true } },
    flags: {},
    examples: ['town note add acme-k3f9a "the fixture is in test/data"'],
    async run(town, { args, caller }) {
      await town.addNote(caller.ask, parseTaskId(args.task), args.text);
      return { data: { task_id: args.task, noted: true }, text: () => `noted on ${args.task}\n` };
    },
  }),
];

/** The same change of each task, all or none. One task is answered as an object, several as a list. */
export async function changeEach(
  town: TownClient,
  caller: Caller,
  ids: readonly string[],
  what: string,
  operationOf: (id: string) => TaskOperation,
): Promise<VerbAnswer> {
  const named = [...new Set(ids.map(parseTaskId))];
  const changed = await town.changeTasks(caller.ask, named.map(operationOf));
  return answerChanged(changed.tasks, named, what);
}

/** In the order in which they were named. */
export function answerChanged(changed: readonly TaskView[], named: readonly string[], what: string): VerbAnswer {
  const byId = new Map(changed.map((each) => [each.id, each]));
  const list = named.flatMap((id) => byId.get(id) ?? []);
  return {
    data: named.length === 1 ? list[0] : list,
    text: () => named.map((id) => `${id} ${what}\n`).join(''),
  };
}

function describeComments(comments: readonly CommentView[]): string {
  return comments.map(({ author, body, created_at }) => `${created_at} ${author}: ${printable(body)}\n`).join('');
}
