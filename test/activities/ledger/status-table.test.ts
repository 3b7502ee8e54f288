import { isDeepStrictEqual } from 'node:util';
import type { Ledger } from '../../../schema/ledger';
import { TownError } from '../../../schema/errors';
import { TASK_STATUSES, type TaskStatus } from '../../../schema/task/status';
import type { TaskView } from '../../../schema/views';
import { AGENT, person, recipe, rigTown } from './scene';

const town = rigTown({ max: 4 });

/** The way from a new task to each status, by words of `update`. */
const WAY: Readonly<Record<TaskStatus, readonly TaskStatus[]>> = {
  open: [],
  in_progress: ['in_progress'],
  impl_complete: ['in_progress', 'impl_complete'],
  merge_ready: ['in_progress', 'merge_ready'],
  merged: ['in_progress', 'merge_ready', 'merged'],
  merge_conflict: ['in_progress', 'merge_ready', 'merge_conflict'],
  closed: ['closed'],
  deferred: ['deferred'],
};

type Ask = (ledger: Ledger, id: string) => Promise<{ status: string } | { task: { status: string } }>;

const to =
  (status: TaskStatus): Ask =>
  (ledger, id) =>
    ledger.updateTask(person, id, { status });
const COMMANDS = {
  close: (ledger, id) => ledger.closeTask(person, id, { outcome: 'done' }),
  'close as failed': (ledger, id) => ledger.closeTask(person, id, { outcome: 'failed' }),
  reopen: (ledger, id) => ledger.reopenTask(person, id),
  defer: (ledger, id) => ledger.deferTask(person, id, { until: '2999-01-01T00:00:00Z' }),
  undefer: (ledger, id) => ledger.undeferTask(person, id),
  claim: (ledger, id) => ledger.claimTask(person, id, { agent: AGENT }),
  'claim by force': (ledger, id) => ledger.claimTask(person, id, { agent: AGENT, force: true }),
  unassign: (ledger, id) => ledger.unassignTask(person, id, 'a test'),
  sling: (ledger, id) => sling(ledger, id, false),
  'take over': (ledger, id) => sling(ledger, id, true),
  'to open': to('open'),
  'to in_progress': to('in_progress'),
  'to in_progress by force': (ledger, id) => ledger.updateTask(person, id, { status: 'in_progress', force: true }),
  'to impl_complete': to('impl_complete'),
  'to merge_ready': to('merge_ready'),
  'to merged': to('merged'),
  'to merge_conflict': to('merge_conflict'),
  'to closed': to('closed'),
  'to deferred': to('deferred'),
} as const satisfies Record<string, Ask>;

function sling(ledger: Ledger, task_id: string, resume: boolean) {
  const target = { kind: 'agent', id: AGENT } as const;
  return ledger.sling(person, { task_id, target, recipe, decision_id: 'd', resume });
}

const NO = 'WRONG_STATE';
/** What each command makes of each status, or the code of its refusal. In the order of COLUMNS. */
const COLUMNS = ['open', 'in_progress', 'impl_complete', 'merge_ready', 'merged', 'merge_conflict', 'closed', 'deferred'] as const; // prettier-ignore
const EXPECTED: Readonly<Record<keyof typeof COMMANDS, readonly string[]>> = {
  close:              ['closed', 'closed', 'closed', 'closed', 'closed', 'closed', 'closed', 'closed'],
  'close as failed':  ['closed', 'closed', 'closed', 'closed', 'closed', 'closed', NO, 'closed'],
  reopen:             ['open', 'in_progress', 'impl_complete', 'merge_ready', 'merged', 'merge_conflict', 'open', 'deferred'],
  defer:              ['deferred', 'deferred', NO, NO, NO, NO, NO, 'deferred'],
  undefer:            ['open', 'in_progress', 'impl_complete', 'merge_ready', 'merged', 'merge_conflict', 'closed', 'open'],
  claim:              ['in_progress', NO, NO, NO, NO, NO, NO, NO],
  'claim by force':   ['in_progress', NO, NO, NO, NO, NO, NO, 'in_progress'],
  unassign:           ['open', 'open', 'open', 'open', NO, 'open', NO, 'deferred'],
  sling:              ['in_progress', NO, NO, NO, NO, NO, NO, NO],
  'take over':        ['in_progress', 'in_progress', NO, NO, NO, NO, NO, NO],
  'to open':          ['open', 'open', 'open', 'open', NO, 'open', 'open', 'open'],
  'to in_progress':   ['in_progress', 'in_progress', 'in_progress', 'in_progress', NO, 'in_progress', NO, NO],
  'to in_progress by force': ['in_progress', 'in_progress', 'in_progress', 'in_progress', NO, 'in_progress', NO, 'in_progress'],
  'to impl_complete': [NO, 'impl_complete', 'impl_complete', NO, NO, NO, NO, NO],
  'to merge_ready':   [NO, 'merge_ready', 'merge_ready', 'merge_ready', NO, 'merge_ready', NO, NO],
  'to merged':        [NO, NO, NO, 'merged', 'merged', NO, NO, NO],
  'to merge_conflict': [NO, NO, NO, 'merge_conflict', NO, 'merge_conflict', NO, NO],
  'to closed':        ['closed', 'closed', 'closed', 'closed', 'closed', 'closed', 'closed', 'closed'],
  'to deferred':      ['deferred', 'deferred', NO, NO, NO, NO, NO, 'deferred'],
}; // prettier-ignore

test('the table has every status and every command', () => {
  expect(COLUMNS.toSorted()).toEqual(TASK_STATUSES.toSorted());
  for (const row of Object.values(EXPECTED)) expect(row).toHaveLength(COLUMNS.length);
});

describe.each(Object.entries(COMMANDS))('%s', (name, ask) => {
  test('does with each status what the table says, and a refusal changes nothing', async () => {
    const answers: string[] = [];
    for (const status of COLUMNS) {
      const task = await taskWith(status);
      const before = await town.ledger.getTask(task.id);
      const answer = await outcomeOf(ask(town.ledger, task.id));
      const after = await town.ledger.getTask(task.id);
      answers.push(answer);
      if (answer !== after.status) expect(after).toEqual(before);
      else if (answer === status && !isDeepStrictEqual(after, before)) expect(repeated(name, status)).toBe(true);
    }
    expect(answers).toEqual(EXPECTED[name as keyof typeof COMMANDS]);
  });
});

/** Of what leaves the status as it is, this alone does something: another date, another molecule. */
function repeated(name: string, status: TaskStatus): boolean {
  return (name === 'defer' && status === 'deferred') || (name === 'take over' && status === 'in_progress');
}

async function taskWith(status: TaskStatus): Promise<TaskView> {
  let task = await town.ledger.createTask(person, { title: status, rig_id: 'acme' });
  for (const next of WAY[status]) task = await town.ledger.updateTask(person, task.id, { status: next });
  expect(task.status).toBe(status);
  return task;
}

async function outcomeOf(work: ReturnType<Ask>): Promise<string> {
  try {
    const answer = await work;
    return 'task' in answer ? answer.task.status : answer.status;
  } catch (error) {
    if (error instanceof TownError) return error.code;
    throw error;
  }
}
