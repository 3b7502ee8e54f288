import type { ReadyFilter, ReadySort } from '../../../schema/ledger';
import { READY_SORTS } from '../../../schema/ledger';
import { defineVerb, type Verb } from '../verb';
import { given, more } from './shared';
import { CONDITION_FLAGS, LIMIT, readConditions, tableOfTasks } from './task-conditions';
import { CURSOR } from './task-lists';

export const readyVerbs: readonly Verb[] = [
  defineVerb({
    words: ['ready'],
    summary: 'list work that can be started now',
    args: {},
    flags: {
      ...CONDITION_FLAGS,
      assignee: { kind: 'text', summary: "given to this agent; nobody's when absent" },
      'include-deferred': { kind: 'switch', summary: 'also what is put off until later' },
      sort: { kind: 'text', choices: READY_SORTS, summary: 'priority when absent' },
      limit: LIMIT,
      cursor: CURSOR,
    },
    examples: ['town ready --rig acme', 'town ready --json --limit 50', 'town ready --label-any api --label-any docs'],
    async run(town, { flags }) {
      const filter: ReadyFilter = {
        ...readConditions(flags),
        ...given({
          assigned_agent_id: flags.assignee,
          sort: flags.sort as ReadySort | undefined, // one of the choices
          limit: flags.limit,
          cursor: flags.cursor,
        }),
        ...(flags['include-deferred'] ? { include_deferred: true } : {}),
      };
      const { items, next_cursor } = await town.readyPage(filter);
      return { ...tableOfTasks(items, 'nothing is ready'), ...more(next_cursor) };
    },
  }),
];
