import { TownError } from '../../../schema/errors';
import { parseTaskId } from '../../../schema/ids';
import { checkPlan, type TaskPlan } from '../../../schema/task/plan';
import { readJsonPlan } from '../../../schema/task/plan-json';
import { readMarkdownPlan } from '../../../schema/task/plan-markdown';
import type { TownClient } from '../../client/client';
import { readGivenText } from '../given-text';
import { table } from '../print';
import type { Caller, VerbAnswer } from '../verb';
import { given } from './shared';

/** Flags of `task create` that say something of a single task, which a file says of each of its own. */
const OF_ONE = [
  'title',
  'description',
  'type',
  'needs',
  'label',
  'convoy',
  'metadata',
  'defer',
  'pinned',
  'wisp',
] as const;

/** @throws USAGE, and what reading and checking the file throws */
export async function createFromFile(
  town: TownClient,
  caller: Caller,
  path: string,
  flags: Readonly<Record<string, unknown>>,
): Promise<VerbAnswer> {
  const surplus = OF_ONE.filter((name) => isGiven(flags[name]));
  if (surplus.length > 0) {
    throw new TownError('USAGE', `--from takes the tasks from the file; ${surplus.join(', ')} is for a single task`, {
      hint: 'with --from go: --rig, --parent, --dry-run',
    });
  }
  const plan = readPlan(path, readGivenText(path, caller));
  checkPlan(plan);
  if (flags['dry-run'] === true) return answerPlan(plan);
  const parent = flags['parent'];
  const made = await town.createPlan(
    caller.ask,
    plan,
    given({
      rig_id: flags['rig'] as string | undefined, // a flag of kind text
      parent_id: typeof parent === 'string' ? parseTaskId(parent) : undefined,
    }),
  );
  const rows = made.tasks.map((task, nth) => [plan.nodes[nth]?.key, task.id, task.parent_id, task.title]);
  return {
    data: { ids: made.ids },
    text: (tty) => table(tty, ['key', 'task', 'part of', 'title'], rows, 'no tasks'),
  };
}

/** By the ending of its name; what is piped in is JSON when it begins like that. */
function readPlan(path: string, text: string): TaskPlan {
  if (path.endsWith('.json')) return readJsonPlan(text);
  if (/\.(?:md|markdown)$/.test(path)) return readMarkdownPlan(text);
  return /^\uFEFF?\s*\{/.test(text) ? readJsonPlan(text) : readMarkdownPlan(text);
}

function answerPlan(plan: TaskPlan): VerbAnswer {
  const nameOf = (ref: TaskPlan['edges'][number]['to'] | null) =>
    ref === null ? null : 'id' in ref ? ref.id : ref.key;
  const rows = plan.nodes.map((node) => [
    node.key,
    nameOf(node.parent),
    plan.edges
      .filter(({ from }) => nameOf(from) === node.key)
      .map(({ to }) => nameOf(to))
      .join(' '),
    node.title,
  ]);
  return {
    data: { nodes: plan.nodes, edges: plan.edges },
    text: (tty) => table(tty, ['key', 'part of', 'needs', 'title'], rows, 'no tasks'),
  };
}

function isGiven(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : value !== undefined && value !== false;
}
