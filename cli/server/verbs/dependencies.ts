import { TownError } from '../../../schema/errors';
import { parseTaskId } from '../../../schema/ids';
import type { JsonObject } from '../../../schema/json';
import type { EdgeInput } from '../../../schema/ledger';
import { DEPENDENCY_TYPES, isBlocking, WAIT_GATES, type DependencyType } from '../../../schema/task/dependency';
import { defineVerb, type Verb } from '../verb';
import { readMetadata } from './shared';

export const dependencyVerbs: readonly Verb[] = [
  defineVerb({
    words: ['dep', 'add'],
    summary: 'say that a task needs another one',
    args: {
      task: { summary: 'the task that waits', required: true },
      needs: { summary: 'the task it waits for', required: true },
    },
    flags: {
      type: { kind: 'text', choices: DEPENDENCY_TYPES, summary: 'blocks when absent' },
      gate: { kind: 'text', choices: WAIT_GATES, summary: 'of waits-for: which children; all when absent' },
      metadata: { kind: 'json', summary: 'further fields of the dependency as a JSON object' },
    },
    examples: [
      'town dep add acme-k3f9a acme-m20ab',
      'town dep add acme-k3f9a acme-m20ab --type waits-for --gate any-children',
    ],
    async run(town, { args, flags, caller }) {
      const edge = {
        task_id: parseTaskId(args.task),
        depends_on_id: parseTaskId(args.needs),
        type: (flags.type ?? 'blocks') as DependencyType, // one of the choices
        ...readEdgeMetadata(flags.gate, flags.metadata),
      };
      await town.addDependency(caller.ask, edge);
      return { data: edge, text: () => describeEdge(edge) };
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
];

function readEdgeMetadata(gate: string | undefined, metadata: JsonObject | undefined): { metadata?: JsonObject } {
  const checked = readMetadata(metadata);
  if (gate === undefined) return checked === undefined ? {} : { metadata: checked };
  if (checked !== undefined && checked['gate'] !== undefined && checked['gate'] !== gate) {
    throw new TownError('USAGE', '--gate and the gate in --metadata differ');
  }
  return { metadata: { ...checked, gate } };
}

function describeEdge(edge: EdgeInput): string {
  if (isBlocking(edge.type)) return `${edge.task_id} needs ${edge.depends_on_id}\n`;
  return `${edge.task_id} ${edge.type} ${edge.depends_on_id}\n`;
}
