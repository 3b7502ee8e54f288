import { parseTaskId } from '../../../schema/ids';
import type { GraphBounds } from '../../../schema/ledger';
import { DEPENDENCY_TYPES, type DependencyType } from '../../../schema/task/dependency';
import { DIRECTIONS, dotOf, graphText, treeText, type Direction, type TreeView } from '../../../schema/task/graph';
import { printable } from '../print';
import { defineVerb, type Verb } from '../verb';
import { given } from './shared';

const BOUND_FLAGS = {
  type: { kind: 'list', choices: DEPENDENCY_TYPES, summary: 'only dependencies of this type; may be repeated' },
  depth: { kind: 'number', min: 1, max: 50, summary: 'how far from the task; 10 when absent' },
  limit: { kind: 'number', min: 1, max: 500, summary: 'at most this many tasks; 200 when absent' },
} as const;

function readBounds(flags: { type: string[]; depth: number | undefined; limit: number | undefined }): GraphBounds {
  return {
    ...given({ depth: flags.depth, limit: flags.limit }),
    ...(flags.type.length === 0 ? {} : { types: flags.type as DependencyType[] }), // each one of the choices
  };
}

export const graphVerbs: readonly Verb[] = [
  defineVerb({
    words: ['dep', 'tree'],
    summary: 'show what a task needs and what needs it, as a tree',
    args: { task: { summary: 'id of the task', required: true } },
    flags: {
      direction: {
        kind: 'text',
        choices: [...DIRECTIONS, 'both'],
        summary: 'down: what it needs; up: what needs it; both when absent',
      },
      ...BOUND_FLAGS,
    },
    examples: ['town dep tree acme-k3f9a', 'town dep tree acme-k3f9a --direction down --depth 3 --type blocks'],
    async run(town, { args, flags }) {
      const isOne = flags.direction !== undefined && flags.direction !== 'both';
      const tree = await town.dependencyTree(parseTaskId(args.task), {
        ...readBounds(flags),
        ...(isOne ? { directions: [flags.direction as Direction] } : {}), // one of the choices
      });
      return { data: tree, text: () => printable(describeTree(tree)), ...more(tree.truncated) };
    },
  }),
  defineVerb({
    words: ['graph'],
    summary: 'show how tasks hang together, in layers of work or as DOT',
    args: { tasks: { summary: 'ids of tasks; all that is open and has dependencies when absent', many: true } },
    flags: {
      rig: { kind: 'text', summary: 'without tasks: of this rig' },
      format: { kind: 'text', choices: ['text', 'dot'], summary: 'text when absent' },
      ...BOUND_FLAGS,
    },
    examples: ['town graph --rig acme', 'town graph acme-k3f9a acme-m20ab --format dot'],
    async run(town, { args, flags }) {
      const graph = await town.taskGraph({
        ...readBounds(flags),
        ...given({ rig_id: flags.rig }),
        ...(args.tasks.length === 0 ? {} : { ids: args.tasks.map(parseTaskId) }),
      });
      const text = (tty: boolean) => {
        if (flags.format === 'dot') return dotOf(graph);
        if (graph.nodes.length === 0) return tty ? 'no open task has dependencies\n' : '';
        return printable(graphText(graph));
      };
      return { data: graph, text, ...more(graph.truncated) };
    },
  }),
];

function describeTree({ task, down, up }: TreeView): string {
  const branch = (title: string, rows: TreeView['down']) => {
    if (rows === null) return '';
    return rows.length === 0 ? `${title}: nothing\n` : `${title}:\n${treeText(rows)}`;
  };
  return [
    `${task.id} ${task.status} P${task.priority} ${task.title}\n`,
    branch('needs', down),
    branch('needed by', up),
  ].join('');
}

function more(truncated: boolean): { readonly talk?: string } {
  return truncated ? { talk: 'there is more: raise --depth or --limit\n' } : {};
}
