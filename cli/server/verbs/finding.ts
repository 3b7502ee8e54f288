import { TownError } from '../../../schema/errors';
import type { TaskFilter } from '../../../schema/ledger';
import type { FoundTaskView, SavedFilterView } from '../../../schema/views';
import { table } from '../print';
import { defineVerb, type Verb, type VerbAnswer } from '../verb';
import { given, more } from './shared';
import { CONDITION_FLAGS, LIMIT, readConditions, tableOfTasks } from './task-conditions';
import { CURSOR, LIST_FLAGS, ORDER_FLAGS, readList, readOrder } from './task-lists';

/** Queries, search, and filters under a name. */
const { wisps: _, ...SEARCH_FLAGS } = CONDITION_FLAGS;

export const findingVerbs: readonly Verb[] = [
  defineVerb({
    words: ['query'],
    summary: 'list the tasks for which a query holds',
    args: { query: { summary: 'such as: status=open AND priority<=1 AND NOT label=docs', required: true } },
    flags: { ...ORDER_FLAGS, wisps: CONDITION_FLAGS.wisps, cursor: CURSOR },
    examples: [
      'town query "status=open AND (label=api OR title=login)"',
      'town query "updated<30d AND NOT status=closed" --sort updated --reverse',
      'town query "due<=2d AND assignee=none" --json',
    ],
    async run(town, { args, flags }) {
      const filter: TaskFilter = {
        query: args.query,
        ...readOrder(flags),
        ...(flags.wisps ? { wisps: true } : {}),
        ...given({ cursor: flags.cursor }),
      };
      const { items, next_cursor } = await town.listTasks(filter);
      return { ...tableOfTasks(items, 'no tasks'), ...more(next_cursor) };
    },
  }),
  defineVerb({
    words: ['search'],
    summary: 'search titles, descriptions, notes and comments',
    args: { words: { summary: 'words that must all be there', required: true, many: true } },
    flags: {
      ...SEARCH_FLAGS,
      status: { kind: 'list', summary: 'with this status; may be repeated' },
      limit: LIMIT,
      cursor: CURSOR,
    },
    examples: ['town search login empty', 'town search timeout --rig acme --status open'],
    async run(town, { args, flags }) {
      const { items, next_cursor } = await town.searchTasks({
        words: args.words.join(' '),
        ...readConditions({ ...flags, wisps: false }),
        ...(flags.status.length === 0 ? {} : { status: flags.status }),
        ...given({ limit: flags.limit, cursor: flags.cursor }),
      });
      return { ...tableOfFound(items), ...more(next_cursor) };
    },
  }),
  defineVerb({
    words: ['filter', 'save'],
    summary: 'keep a filter and an order of task list under a name',
    args: { name: { summary: 'lower-case letters, digits and dashes', required: true } },
    flags: LIST_FLAGS,
    examples: [
      'town filter save urgent --status open --priority-max 1 --sort due',
      'town filter save stale --query "updated<30d AND NOT status=closed"',
    ],
    async run(town, { args, flags, caller }) {
      const filter = readList(flags);
      if (Object.keys(filter).length === 0) {
        throw new TownError('USAGE', 'the filter says nothing', { hint: 'give it flags of: town task list' });
      }
      const saved = await town.saveFilter(caller.ask, args.name, filter);
      return { data: saved, text: () => `${saved.name} saved; use it with: town task list --saved ${saved.name}\n` };
    },
  }),
  defineVerb({
    words: ['filter', 'list'],
    summary: 'list saved filters',
    args: {},
    flags: { limit: LIMIT, cursor: CURSOR },
    examples: ['town filter list'],
    async run(town, { flags }) {
      const { items, next_cursor } = await town.listSavedFilters(given({ limit: flags.limit, cursor: flags.cursor }));
      return { ...tableOfFilters(items), ...more(next_cursor) };
    },
  }),
  defineVerb({
    words: ['filter', 'remove'],
    summary: 'forget a saved filter',
    args: { name: { summary: 'name of the filter', required: true } },
    flags: {},
    examples: ['town filter remove urgent'],
    async run(town, { args, caller }) {
      await town.removeSavedFilter(caller.ask, args.name);
      return { data: { name: args.name, removed: true }, text: () => `${args.name} is forgotten\n` };
    },
  }),
];

function tableOfFound(found: readonly FoundTaskView[]): VerbAnswer {
  const rows = found.map(({ id, status, priority, found_in, title }) => [
    id,
    status,
    `P${priority}`,
    found_in.join(','),
    title,
  ]);
  return {
    data: found,
    text: (tty) => table(tty, ['task', 'status', 'prio', 'found in', 'title'], rows, 'nothing is found'),
  };
}

function tableOfFilters(filters: readonly SavedFilterView[]): VerbAnswer {
  const rows = filters.map(({ name, created_by, filter }) => [name, created_by, JSON.stringify(filter)]);
  return { data: filters, text: (tty) => table(tty, ['filter', 'by', 'conditions'], rows, 'no saved filters') };
}
