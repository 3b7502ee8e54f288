/* Commands to the ledger as plain values, for tests that make them at random: how they look, how they are asked, what they answer. */
import fc from 'fast-check';
import { isDeepStrictEqual } from 'node:util';
import { TownError } from '../../schema/errors';
import { singleStepRecipe } from '../../schema/formula/single-step';
import type { Ask, EdgeInput, Ledger, Outcome, SlingTarget, TaskInput, TaskPatch } from '../../schema/ledger';
import { DEPENDENCY_TYPES, type DependencyType } from '../../schema/task/dependency';
import { OUTCOMES, TASK_STATUSES } from '../../schema/task/status';
import type { TaskView } from '../../schema/views';
import { sha256 } from './database';

export const FUTURE = '2999-01-01T00:00:00.000Z';
export const PAST = '2020-01-01T00:00:00.000Z';
/** Two who take work, one who does not any more, and one who never was. */
export const AGENTS = [
  'models/hands/amber',
  'models/hands/basalt',
  'models/hands/retired',
  'models/hands/nobody',
] as const;
const recipe = singleStepRecipe('Work', 'Do the work', null, sha256);

/** Numbers stand for tasks, in the order in which they were made, over and over; -1 for one that is not there. */
type Nth = number;

export type Command =
  | {
      readonly do: 'create';
      readonly parent: Nth | null;
      readonly depends_on: readonly Nth[];
      readonly edges: readonly { readonly on: Nth; readonly type: DependencyType; readonly gate: string | null }[];
      readonly fields: Pick<TaskInput, 'priority' | 'type' | 'labels' | 'pinned' | 'defer_until' | 'owner'>;
    }
  | { readonly do: 'update'; readonly task: Nth; readonly patch: TaskPatch }
  | {
      readonly do: 'close';
      readonly task: Nth;
      readonly outcome: Outcome;
      readonly force: boolean;
      readonly by: 'person' | 'its molecule' | 'another molecule';
    }
  | { readonly do: 'reopen' | 'undefer' | 'unassign'; readonly task: Nth }
  | { readonly do: 'defer'; readonly task: Nth; readonly until: string | null }
  | { readonly do: 'claim'; readonly task: Nth; readonly agent: string; readonly force: boolean }
  | { readonly do: 'hold'; readonly task: Nth; readonly agent: string }
  | { readonly do: 'claim ready'; readonly agent: string; readonly count: number }
  | {
      readonly do: 'link';
      readonly task: Nth;
      readonly on: Nth;
      readonly type: DependencyType;
      readonly gate: string | null;
    }
  | { readonly do: 'unlink'; readonly task: Nth; readonly on: Nth }
  | { readonly do: 'label'; readonly task: Nth; readonly labels: readonly string[] }
  | { readonly do: 'sling'; readonly task: Nth; readonly to: string; readonly resume: boolean };

/** The command with ids in place of numbers. */
export interface Asked {
  readonly ask: Ask;
  readonly rig_id: string;
  /** Of a task that exists or not. */
  readonly idOf: (nth: Nth) => string;
}

const task: fc.Arbitrary<Nth> = fc.oneof(
  { weight: 60, arbitrary: fc.nat(99) },
  { weight: 1, arbitrary: fc.constant(-1) },
);
const agent: fc.Arbitrary<string> = fc.oneof(
  { weight: 8, arbitrary: fc.constantFrom(AGENTS[0], AGENTS[1]) },
  { weight: 1, arbitrary: fc.constantFrom(...AGENTS) },
);
const type = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.constantFrom<DependencyType>('blocks', 'conditional-blocks', 'waits-for', 'parent-child'),
  },
  { weight: 1, arbitrary: fc.constantFrom<DependencyType>(...DEPENDENCY_TYPES, 'nonsense' as DependencyType) },
);
const gate = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom(null, 'all-children', 'any-children') },
  { weight: 1, arbitrary: fc.constant('some') },
);
const labels = fc.subarray(['a', 'b', 'c:d']);
const deferral = fc.constantFrom(null, FUTURE, PAST);
const priority = fc.oneof({ weight: 20, arbitrary: fc.nat(4) }, { weight: 1, arbitrary: fc.constantFrom(-1, 5, 1.5) });
const taskType = fc.constantFrom('task', 'bug', 'epic', 'gate');
const word = fc.constantFrom(...TASK_STATUSES, 'wip', 'done', 'nonsense');
const absent = { requiredKeys: [] as [] };

const create: fc.Arbitrary<Command> = fc.record({
  do: fc.constant('create'),
  parent: fc.option<Nth, null>(task, { freq: 1 }),
  depends_on: fc.array(task, { maxLength: 2 }),
  edges: fc.array(fc.record({ on: task, type, gate }), { maxLength: 1 }),
  fields: fc.record(
    {
      priority,
      type: taskType,
      labels,
      pinned: fc.boolean(),
      defer_until: deferral,
      owner: fc.constantFrom('ada', null),
    },
    absent,
  ),
});
/** Tasks to begin with, that nothing refuses: commands on an empty graph are refused, one and all. */
export const beginning: fc.Arbitrary<Command[]> = fc.array(
  fc.record({
    do: fc.constant('create'),
    parent: fc.constant(null),
    depends_on: fc.constant([]),
    edges: fc.constant([]),
    fields: fc.record({ priority: fc.nat(4), type: taskType, labels }, absent),
  }),
  { minLength: 3, maxLength: 12, size: 'max' },
);

const update: fc.Arbitrary<Command> = fc.record({
  do: fc.constant('update'),
  task,
  patch: fc.record(
    {
      priority,
      type: taskType,
      pinned: fc.boolean(),
      owner: fc.constantFrom('ada', null),
      add_labels: labels,
      remove_labels: labels,
      assigned_agent_id: fc.option(agent),
      status: word,
      force: fc.boolean(),
      set_metadata: fc.constantFrom({ a: 1 }, { a: null, b: 2 }),
    },
    absent,
  ),
});

/** Any command, those that shape the graph more often. */
export const command: fc.Arbitrary<Command> = fc.oneof(
  { weight: 4, arbitrary: create },
  { weight: 4, arbitrary: update },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('close'),
      task,
      outcome: fc.constantFrom(...OUTCOMES, 'won' as Outcome),
      force: fc.boolean(),
      by: fc.constantFrom('person', 'person', 'person', 'its molecule', 'another molecule'),
    }),
  },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom('reopen', 'undefer', 'unassign'), task }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('defer'), task, until: deferral }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('claim'), task, agent, force: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('hold'), task, agent: fc.constantFrom(AGENTS[0], AGENTS[1]) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('claim ready'), agent, count: fc.integer({ min: 1, max: 2 }) }) },
  { weight: 9, arbitrary: fc.record({ do: fc.constant('link'), task, on: task, type, gate }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('unlink'), task, on: task }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('label'), task, labels }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant('sling'),
      task,
      to: fc.oneof(agent, fc.constantFrom('rig', 'no-rig')),
      resume: fc.boolean(),
    }),
  },
);

/** What an answer comes to: the tasks that it names, or the code of the refusal. Anything else is thrown: a bug. */
export type Answer = { readonly tasks: readonly TaskView[] } | { readonly code: string };

export async function perform(ledger: Ledger, asked: Asked, given: Command): Promise<Answer> {
  try {
    return { tasks: await ask(ledger, asked, given) };
  } catch (error) {
    if (error instanceof TownError) return { code: error.code };
    throw error;
  }
}

async function ask(ledger: Ledger, asked: Asked, given: Command): Promise<readonly TaskView[]> {
  const { ask: by, idOf, rig_id } = asked;
  switch (given.do) {
    case 'create':
      return [await ledger.createTask(by, inputOf(asked, given))];
    case 'update':
      return [await ledger.updateTask(by, idOf(given.task), given.patch)];
    case 'close':
      return [await ledger.closeTask(by, idOf(given.task), { outcome: given.outcome, force: given.force })];
    case 'reopen':
      return [await ledger.reopenTask(by, idOf(given.task))];
    case 'undefer':
      return [await ledger.undeferTask(by, idOf(given.task))];
    case 'unassign':
      return [await ledger.unassignTask(by, idOf(given.task), 'a test')];
    case 'defer':
      return [await ledger.deferTask(by, idOf(given.task), { until: given.until })];
    case 'claim':
      return [await ledger.claimTask(by, idOf(given.task), { agent: given.agent, force: given.force })];
    case 'hold':
      await ledger.recordHolder(by, idOf(given.task), given.agent);
      return [];
    case 'claim ready':
      return ledger.claimReady(by, { agent: given.agent, rig_id, count: given.count });
    case 'link':
      await ledger.addDependency(by, edgeOf(asked, given.task, given));
      return [];
    case 'unlink':
      await ledger.removeDependency(by, { task_id: idOf(given.task), depends_on_id: idOf(given.on) });
      return [];
    case 'label':
      return [await ledger.setLabels(by, idOf(given.task), given.labels)];
    case 'sling': {
      const target = targetOf(rig_id, given.to);
      const request = { task_id: idOf(given.task), target, recipe, decision_id: 'decision', resume: given.resume };
      return [(await ledger.sling(by, request)).task];
    }
  }
}

export function inputOf(asked: Asked, given: Extract<Command, { do: 'create' }>): TaskInput {
  return {
    title: 'A task',
    rig_id: asked.rig_id,
    parent_id: given.parent === null ? null : asked.idOf(given.parent),
    depends_on: given.depends_on.map(asked.idOf),
    dependencies: given.edges.map((edge) => edgeOf(asked, 0, edge)),
    ...given.fields,
  };
}

export function edgeOf(
  { idOf }: Asked,
  from: Nth,
  edge: { readonly on: Nth; readonly type: DependencyType; readonly gate: string | null },
): EdgeInput {
  const metadata = edge.gate === null ? {} : { gate: edge.gate };
  return { task_id: idOf(from), depends_on_id: idOf(edge.on), type: edge.type, metadata };
}

export function targetOf(rig_id: string, to: string): SlingTarget {
  if (to === 'rig') return { kind: 'rig', id: rig_id };
  return to === 'no-rig' ? { kind: 'rig', id: to } : { kind: 'agent', id: to };
}

/** Faster than `expect(…).toEqual` by far; that is for the words of a difference. */
export function expectSame(actual: unknown, expected: unknown, about: string): void {
  if (isDeepStrictEqual(actual, expected)) return;
  expect({ [about]: actual }).toEqual({ [about]: expected });
  throw new Error(`${about}: ${JSON.stringify(actual)} instead of ${JSON.stringify(expected)}`);
}
