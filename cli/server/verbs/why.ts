import { parseTaskId } from '../../../schema/ids';
import { printable, table } from '../print';
import { defineVerb, type Verb } from '../verb';
import { given, more } from './shared';
import { LIMIT } from './task-conditions';
import { CURSOR } from './task-lists';

export const whyVerbs: readonly Verb[] = [
  defineVerb({
    words: ['why'],
    summary: 'say why a task is not done: blockers, holder, gate, queue, last failure',
    args: { task: { summary: 'id of the task', required: true } },
    flags: {},
    examples: ['town why acme-k3f9a', 'town why acme-k3f9a --json'],
    async run(town, { args }) {
      const why = await town.whyTask(parseTaskId(args.task));
      const next = why.next === null ? '' : `next: ${why.next}\n`;
      return { data: why, text: () => `${printable(why.text)}\n${next}` };
    },
  }),
  defineVerb({
    words: ['history'],
    summary: 'show what happened to a task, newest first',
    args: { task: { summary: 'id of the task', required: true } },
    flags: {
      steps: { kind: 'switch', summary: 'also what happened to the steps of its molecules' },
      'oldest-first': { kind: 'switch', summary: 'the other way round' },
      limit: LIMIT,
      cursor: CURSOR,
    },
    examples: ['town history acme-k3f9a', 'town history acme-k3f9a --steps --limit 200'],
    async run(town, { args, flags }) {
      const { items, next_cursor } = await town.taskHistory(parseTaskId(args.task), {
        ...given({ limit: flags.limit, cursor: flags.cursor }),
        ...(flags.steps ? { steps: true } : {}),
        ...(flags['oldest-first'] ? { oldest_first: true } : {}),
      });
      const rows = items.map(({ at, actor, what }) => [at, actor, what]);
      return {
        data: items,
        text: (tty) => table(tty, ['at', 'actor', 'what'], rows, 'nothing happened'),
        ...more(next_cursor),
      };
    },
  }),
];
