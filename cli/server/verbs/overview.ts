import { parseTaskId } from '../../../schema/ids';
import type { BlockedTaskView } from '../../../schema/views';
import { STALE_REASONS, type TaskStatsView } from '../../../schema/task/overview';
import { facts, table } from '../print';
import { defineVerb, type Verb } from '../verb';
import { given, more } from './shared';
import { CONDITION_FLAGS, LIMIT, readConditions } from './task-conditions';
import { CURSOR } from './task-lists';

export const overviewVerbs: readonly Verb[] = [
  defineVerb({
    words: ['blocked'],
    summary: 'list tasks that are held back, and by what',
    args: {},
    flags: { ...CONDITION_FLAGS, limit: LIMIT, cursor: CURSOR },
    examples: ['town blocked --rig acme', 'town blocked --json --limit 200'],
    async run(town, { flags }) {
      const { items, next_cursor } = await town.blockedTasks({
        ...readConditions(flags),
        ...given({ limit: flags.limit, cursor: flags.cursor }),
      });
      const rows = items.map((task) => [task.id, task.status, `P${task.priority}`, describeBlockers(task), task.title]);
      return {
        data: items,
        text: (tty) => table(tty, ['task', 'status', 'prio', 'waits for', 'title'], rows, 'nothing is blocked'),
        ...more(next_cursor),
      };
    },
  }),
  defineVerb({
    words: ['stale'],
    summary: 'list tasks that are left alone: untouched for long, or in progress with nobody at work',
    args: {},
    flags: {
      ...CONDITION_FLAGS,
      days: { kind: 'number', min: 0, max: 36_500, summary: 'untouched for so many days; 14 when absent' },
      limit: LIMIT,
      cursor: CURSOR,
    },
    examples: ['town stale --rig acme', 'town stale --days 30'],
    async run(town, { flags }) {
      const { items, next_cursor } = await town.staleTasks({
        ...readConditions(flags),
        ...given({ days: flags.days, limit: flags.limit, cursor: flags.cursor }),
      });
      const rows = items.map((task) => [
        task.id,
        task.status,
        task.assigned_agent_id,
        task.touched_at,
        STALE_REASONS[task.reason],
        task.title,
      ]);
      return {
        data: items,
        text: (tty) => table(tty, ['task', 'status', 'agent', 'touched', 'why', 'title'], rows, 'nothing is stale'),
        ...more(next_cursor),
      };
    },
  }),
  defineVerb({
    words: ['duplicates'],
    summary: 'list tasks that are likely the same',
    args: { task: { summary: 'only what is like this task' } },
    flags: {
      ...CONDITION_FLAGS,
      closed: { kind: 'switch', summary: 'also among closed tasks' },
      score: { kind: 'number', min: 0.3, max: 1, summary: 'least likeness, up to 1; 0.6 when absent' },
      limit: LIMIT,
    },
    examples: ['town duplicates --rig acme', 'town duplicates acme-k3f9a --closed --score 0.5'],
    async run(town, { args, flags }) {
      const found = await town.duplicateTasks({
        ...readConditions(flags),
        ...given({ score_min: flags.score, limit: flags.limit, task_id: args.task && parseTaskId(args.task) }),
        ...(flags.closed ? { closed: true } : {}),
      });
      const rows = found.items.map(({ id, of, score, why, title, of_title }) => [
        id,
        of,
        score.toFixed(2),
        why,
        title,
        of_title,
      ]);
      return {
        data: found,
        text: (tty) =>
          table(tty, ['task', 'like', 'score', 'why', 'title', 'title of the older'], rows, 'no duplicates'),
        ...(found.truncated
          ? { talk: `there may be more: ${found.compared} tasks were compared; raise --limit, or ask about fewer\n` }
          : {}),
      };
    },
  }),
  defineVerb({
    words: ['stats'],
    summary: 'count tasks by status, type and priority, with lead time and what is oldest',
    args: {},
    flags: CONDITION_FLAGS,
    examples: ['town stats', 'town stats --rig acme --json'],
    async run(town, { flags }) {
      const stats = await town.taskStats(readConditions(flags));
      return { data: stats, text: () => describeStats(stats) };
    },
  }),
];

function describeBlockers({ blocked_by, blocked_ancestor }: BlockedTaskView): string {
  return [
    ...blocked_by.map(
      ({ id, type, never }) => `${id}${type === 'blocks' ? '' : ` (${type}${never ? ', never met' : ''})`}`,
    ),
    ...(blocked_ancestor === null ? [] : [`what holds back ${blocked_ancestor}`]),
  ].join(', ');
}

function describeStats(stats: TaskStatsView): string {
  const counts = (by: Readonly<Record<string, number>>, prefix = '') =>
    Object.entries(by)
      .map(([key, count]) => `${prefix}${key} ${count}`)
      .join(', ');
  const hours = (value: number | null) => (value === null ? null : `${value} h`);
  return facts({
    tasks: stats.total,
    'by status': counts(stats.by_status),
    'by type': counts(stats.by_type),
    'by priority': counts(stats.by_priority, 'P'),
    ready: stats.ready,
    blocked: stats.blocked,
    'put off': stats.deferred,
    overdue: stats.overdue,
    pinned: stats.pinned,
    'open with all parts closed': stats.closable,
    'closed in 7 days': stats.closed_last_7_days,
    'lead time, average': hours(stats.lead_hours_average),
    'lead time, median': hours(stats.lead_hours_median),
    'oldest open': stats.oldest && `${stats.oldest.id} since ${stats.oldest.created_at}: ${stats.oldest.title}`,
  });
}
