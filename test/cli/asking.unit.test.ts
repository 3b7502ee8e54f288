import type { KeyedRequest } from '../../cli/ask';
import type { TownClient } from '../../cli/client/client';
import { answerRequest } from '../../cli/server/answer';
import type { SocketAnswer } from '../../schema/desk';
import type { GraphNode } from '../../schema/task/graph';
import { requestOf } from '../support/client';
import { fakeTown } from '../support/fakes/town';

const AT = '2026-01-01T00:00:00.000Z';
const node = (id: string, title = id): GraphNode => ({
  id,
  title,
  status: 'open',
  type: 'task',
  priority: 2,
  assigned_agent_id: null,
  blocked: false,
});

/** A town that answers with `answers`, and what it was asked. */
function asking(answers: Partial<TownClient>) {
  const asked: unknown[] = [];
  const client = Object.fromEntries(
    Object.entries(answers).map(([name, answer]) => [
      name,
      (...args: unknown[]) => {
        asked.push(args);
        return (answer as (...given: unknown[]) => unknown)(...args);
      },
    ]),
  );
  const ask = async (argv: readonly string[], extra: Partial<KeyedRequest> = {}): Promise<SocketAnswer> =>
    await answerRequest({ ...fakeTown().client, ...client } as TownClient, requestOf(argv, extra));
  return { ask, asked };
}

test('why: a paragraph and the next command; all of it as JSON', async () => {
  const view = {
    task_id: 'hq-00001',
    title: 'a',
    status: 'open',
    done: false,
    causes: [{ kind: 'untaken', since: AT }] as const,
    text: 'hq-00001 "a\u001b[31m" is not done.',
    next: 'town sling hq-00001 acme',
  };
  const { ask } = asking({ whyTask: () => Promise.resolve(view) });
  expect((await ask(['why', 'hq-00001'])).stdout).toBe(
    'hq-00001 "a [31m" is not done.\nnext: town sling hq-00001 acme\n',
  );
  expect(JSON.parse((await ask(['why', 'hq-00001', '--json'])).stdout)).toEqual(view);
  expect((await ask(['why'])).code).toBe(2);
  expect((await ask(['why', '../x'])).code).toBe(2);
  const closed = asking({ whyTask: () => Promise.resolve({ ...view, next: null }) });
  expect((await closed.ask(['why', 'hq-00001'])).stdout).toBe('hq-00001 "a [31m" is not done.\n');
});

test('history: a row for each event, and the cursor on stderr', async () => {
  const item = {
    id: 1,
    seq: 1,
    at: AT,
    actor: 'person:ann',
    type: 'task_created',
    what: 'made: title a',
    before: {},
    after: { title: 'a' },
    molecule_id: null,
    agent_id: null,
    payload: {},
  };
  const { ask, asked } = asking({ taskHistory: () => Promise.resolve({ items: [item], next_cursor: 'c' }) });
  const answer = await ask(['history', 'hq-00001', '--steps', '--oldest-first', '--limit', '1', '--cursor', 'b']);
  expect(answer).toMatchObject({ stdout: `${AT}\tperson:ann\tmade: title a\n`, stderr: 'more follows: --cursor c\n' });
  expect(asked).toEqual([['hq-00001', { steps: true, oldest_first: true, limit: 1, cursor: 'b' }]]);
});

test('dep tree: both directions, or the one that is asked for', async () => {
  const row = { ...node('hq-00002', 'b\u0007'), depth: 1, parent_id: 'hq-00001', edge: 'blocks', holds: true } as const;
  const { ask, asked } = asking({
    dependencyTree: () =>
      Promise.resolve({
        task: node('hq-00001', 'a'),
        down: [{ ...row, repeated: false, last: true }],
        up: [],
        truncated: true,
      }),
  });
  expect(await ask(['dep', 'tree', 'hq-00001'])).toMatchObject({
    stdout: 'hq-00001 open P2 a\nneeds:\n└─ hq-00002 open P2 b  [blocks, holds]\nneeded by: nothing\n',
    stderr: 'there is more: raise --depth or --limit\n',
  });
  await ask(['dep', 'tree', 'hq-00001', '--direction', 'up', '--depth', '2', '--type', 'blocks', '--type', 'related']);
  expect(asked).toEqual([
    ['hq-00001', {}],
    ['hq-00001', { directions: ['up'], depth: 2, types: ['blocks', 'related'] }],
  ]);
  expect((await ask(['dep', 'tree', 'hq-00001', '--type', 'likes'])).code).toBe(2);
  const one = asking({
    dependencyTree: () => Promise.resolve({ task: node('hq-00001', 'a'), down: null, up: [], truncated: false }),
  });
  expect((await one.ask(['dep', 'tree', 'hq-00001'])).stdout).toBe('hq-00001 open P2 a\nneeded by: nothing\n');
});

test('graph: text or DOT, of some tasks or of a rig', async () => {
  const graph = { nodes: [node('hq-00001', 'say "hi"')], edges: [], truncated: false };
  const { ask, asked } = asking({ taskGraph: () => Promise.resolve(graph) });
  expect((await ask(['graph', 'hq-00001'])).stdout).toBe('1   hq-00001 open P2 say "hi"\n');
  expect((await ask(['graph', '--rig', 'acme', '--format', 'dot'])).stdout).toContain('say \\"hi\\"');
  expect(asked).toEqual([[{ ids: ['hq-00001'] }], [{ rig_id: 'acme' }]]);
  const none = asking({ taskGraph: () => Promise.resolve({ nodes: [], edges: [], truncated: false }) });
  expect((await none.ask(['graph'], { tty: true })).stdout).toBe('no open task has dependencies\n');
  expect((await none.ask(['graph'])).stdout).toBe('');
});

test('blocked: what each task waits for', async () => {
  const { client } = fakeTown();
  const task = await client.createTask({ actor: 'person:ann' }, { title: 'a' });
  const blocker = (id: string, type: string, never = false) => ({ id, type, status: 'open', title: 'b', never });
  const { ask, asked } = asking({
    blockedTasks: () =>
      Promise.resolve({
        items: [
          {
            ...task,
            blocked_by: [
              blocker('hq-2', 'blocks'),
              blocker('hq-3', 'waits-for'),
              blocker('hq-4', 'conditional-blocks', true),
            ],
            blocked_ancestor: 'hq-5',
          },
        ],
        next_cursor: null,
      }),
  });
  expect((await ask(['blocked', '--rig', 'acme', '--limit', '5'])).stdout).toBe(
    'hq-00001\topen\tP2\thq-2, hq-3 (waits-for), hq-4 (conditional-blocks, never met), what holds back hq-5\ta\n',
  );
  expect(asked).toEqual([[{ rig_id: 'acme', limit: 5 }]]);
});

test('stale: why in words', async () => {
  const item = {
    ...node('hq-00001', 'a'),
    rig_id: null,
    molecule_id: null,
    reason: 'no_session',
    touched_at: AT,
  } as const;
  const { ask, asked } = asking({ staleTasks: () => Promise.resolve({ items: [item], next_cursor: null }) });
  expect((await ask(['stale', '--days', '3'])).stdout).toBe(
    `hq-00001\topen\t\t${AT}\tin progress, but its agent has no live session\ta\n`,
  );
  expect(asked).toEqual([[{ days: 3 }]]);
});

test('duplicates: pairs, and whether there may be more', async () => {
  const item = {
    id: 'hq-00002',
    of: 'hq-00001',
    score: 0.8,
    why: 'same title',
    title: 'b',
    status: 'open',
    of_title: 'a',
    of_status: 'open',
  } as const;
  const { ask, asked } = asking({
    duplicateTasks: () => Promise.resolve({ items: [item], compared: 2, truncated: true }),
  });
  expect(await ask(['duplicates', 'hq-00001', '--closed', '--score', '0.5'])).toMatchObject({
    stdout: 'hq-00002\thq-00001\t0.80\tsame title\tb\ta\n',
    stderr: 'there may be more: 2 tasks were compared; raise --limit, or ask about fewer\n',
  });
  expect(asked).toEqual([[{ task_id: 'hq-00001', closed: true, score_min: 0.5 }]]);
});

test('stats: figures that are there', async () => {
  const stats = {
    total: 2,
    by_status: { open: 1, closed: 1 },
    by_type: { task: 2 },
    by_priority: { 0: 1, 2: 1 },
    ready: 1,
    blocked: 0,
    deferred: 0,
    overdue: 0,
    pinned: 0,
    closable: 0,
    lead_hours_average: 1.5,
    lead_hours_median: null,
    closed_last_7_days: 1,
    oldest: { id: 'hq-00001', title: 'a', created_at: AT },
  };
  const { ask } = asking({ taskStats: () => Promise.resolve(stats) });
  const { stdout } = await ask(['stats']);
  expect(stdout).toContain('by status: open 1, closed 1\n');
  expect(stdout).toContain('by priority: P0 1, P2 1\n');
  expect(stdout).toContain('lead time, average: 1.5 h\n');
  expect(stdout).not.toContain('median');
  expect(stdout).toContain(`oldest open: hq-00001 since ${AT}: a\n`);
  const empty = asking({ taskStats: () => Promise.resolve({ ...stats, lead_hours_average: null, oldest: null }) });
  expect((await empty.ask(['stats'])).stdout).not.toContain('oldest');
});
