import fc from 'fast-check';
import { sql } from 'kysely';
import type { ImportBatch, ImportReport } from '../../../schema/ledger';
import { waitingCycles } from '../../../schema/task/cycles';
import { isBlocking, isDependencyType } from '../../../schema/task/dependency';
import { createTaskReader } from '../../../schema/task/interchange-reader';
import { issueRecord } from '../../../schema/task/issue-record';
import type { ForgeIssue } from '../../../schema/task/issue-source';
import { sealAll, sha256, testDatabase, type TestDatabase } from '../../support/database';
import { AGENT, as, openSession, person, recipe, withRig } from './scene';

let town: TestDatabase;
beforeEach(async () => {
  town = await testDatabase();
  await withRig(town.ledger);
});
afterEach(() => town.drop());

type Line = Readonly<Record<string, unknown>>;
const at = (minute: number) => new Date(Date.UTC(2026, 3, 1, 0, minute)).toISOString();

function line(id: string, more: Line = {}): Line {
  return {
    _type: 'issue',
    id,
    title: `Task ${id}`,
    status: 'open',
    priority: 2,
    created_at: at(0),
    updated_at: at(0),
    ...more,
  };
}
function edge(task: string, target: string, type = 'blocks', more: Line = {}): Line {
  return { issue_id: task, depends_on_id: target, type, created_at: at(0), created_by: 'kim', metadata: '{}', ...more };
}

function read(text: string) {
  const reader = createTaskReader('tasks.jsonl', { digestOf: sha256 });
  reader.push(Buffer.from(text));
  return reader.end().records;
}

function batchOf(text: string, more: Partial<ImportBatch> = {}): ImportBatch {
  return {
    source_system: 'jsonl', source: 'tasks.jsonl', digest: sha256(text), records: read(text), mode: 'copy',
    lenient: false, cursor: null, dry_run: false, ...more,
  }; // prettier-ignore
}

async function bring(lines: readonly Line[], more: Partial<ImportBatch> = {}): Promise<ImportReport> {
  return await town.ledger.importTasks(person, batchOf(lines.map((each) => JSON.stringify(each)).join('\n'), more));
}

async function exported(filter: { rig_id?: string | null } = {}): Promise<string> {
  let text = '';
  await town.ledger.exportTasks(filter, (lines) => void (text += lines));
  return text;
}

async function clear(): Promise<void> {
  for (const table of ['labels', 'task_comments', 'task_notes', 'dependencies_aside', 'task_dependencies', 'tasks']) {
    await sql`delete from ${sql.table(table)}`.execute(town.db);
  }
}

interface Node {
  readonly id: string;
  readonly parent_id: string | null;
  readonly status: string;
  readonly outcome: string | null;
  readonly open_blockers: number;
  readonly parent_blocked: boolean;
  readonly open_children: number;
  readonly closed_children: number;
}

/** What the ledger keeps of waiting, against the same computed from its rows alone. */
async function expectSettled(): Promise<void> {
  const { rows: tasks } = await sql<Node>`select * from tasks`.execute(town.db);
  const { rows: edges } = await sql<{
    task_id: string;
    depends_on_id: string;
    type: string;
    gate: string;
    holds: boolean;
  }>`
    select *, metadata->>'gate' as gate from task_dependencies`.execute(town.db);
  const byId = new Map(tasks.map((task) => [task.id, task]));
  const parts = Map.groupBy(tasks, (task) => task.parent_id);
  const closedPartsOf = (id: string) => (parts.get(id) ?? []).filter((part) => part.status === 'closed').length;
  const open = new Map<string, number>();
  const wrong: string[] = [];
  for (const { task_id, depends_on_id, type, gate, holds } of edges) {
    const other = byId.get(depends_on_id)!;
    const [all, closed] = [parts.get(depends_on_id)?.length ?? 0, closedPartsOf(depends_on_id)];
    const isOpen = other.status !== 'closed';
    const waits =
      type === 'blocks' ? isOpen
      : type === 'conditional-blocks' ? isOpen || !['failed', 'cancelled', 'escalated'].includes(other.outcome ?? '')
      : type !== 'waits-for' ? false
      : all === 0 ? isOpen
      : gate === 'any-children' ? closed === 0
      : closed < all; // prettier-ignore
    if (waits) open.set(task_id, (open.get(task_id) ?? 0) + 1);
    if (waits !== holds) wrong.push(`edge ${task_id} ${depends_on_id}`);
    if (type === 'parent-child' && byId.get(task_id)?.parent_id !== depends_on_id) wrong.push(`parent of ${task_id}`);
  }
  const isHeldAbove = (task: Node): boolean => {
    const parent = task.parent_id === null ? undefined : byId.get(task.parent_id);
    return (
      parent !== undefined && ((parent.status !== 'closed' && (open.get(parent.id) ?? 0) > 0) || isHeldAbove(parent))
    );
  };
  for (const task of tasks) {
    const closed = closedPartsOf(task.id);
    const counts = [open.get(task.id) ?? 0, (parts.get(task.id)?.length ?? 0) - closed, closed, isHeldAbove(task)];
    const kept = [task.open_blockers, task.open_children, task.closed_children, task.parent_blocked];
    if (counts.join() !== kept.join()) wrong.push(`${task.id}: ${kept.join()} instead of ${counts.join()}`);
  }
  expect(wrong.slice(0, 10)).toEqual([]);
}

const ready = async () => (await town.ledger.readyPage({ limit: 1000 })).items.map((task) => task.id);

describe('a round', () => {
  it('exports, deletes everything, imports and exports the same bytes', async () => {
    const { ledger } = town;
    const make = (title: string, more = {}) => ledger.createTask(person, { title, rig_id: 'acme', ...more });
    const epic = await make('Épic “one”', {
      type: 'epic', labels: ['b', 'a'], metadata: { z: 1, a: { nested: [null, 1.5, 'x'] }, __proto__: { y: 1 } },
      design: 'two\nlines', acceptance: 'it works', owner: 'kim@example.org', spec_id: 'S-1', external_ref: 'gh-9',
      source_system: 'github', estimated_minutes: 0, due_at: '2026-05-01T12:00:00Z',
    }); // prettier-ignore
    const part = await make('part', { parent_id: epic.id, priority: 0 });
    const other = await make('other', {
      dependencies: [{ depends_on_id: epic.id, type: 'waits-for', metadata: { gate: 'any-children' } }],
    });
    const last = await make('last', { depends_on: [part.id, other.id], defer_until: '2027-01-01T00:00:00Z' });
    await ledger.createTask(person, { title: "the town's own", pinned: true });
    await ledger.addDependency(person, {
      task_id: last.id,
      depends_on_id: epic.id,
      type: 'replies-to',
      thread_id: 't1',
    });
    await ledger.addComment(person, part.id, 'first');
    await ledger.addComment(person, part.id, 'second');
    for (const body of ['one', 'two', 'three']) await ledger.addNote(person, epic.id, body);
    await ledger.closeTask(person, part.id, { outcome: 'failed', reason: 'no time' });
    await ledger.claimTask(person, other.id, { agent: AGENT, force: true });
    await bring([line('ac-zzz', { dependencies: [edge('ac-zzz', 'ac-gone'), edge('ac-zzz', last.id, 'odd-word')] })]);
    const before = await exported();
    const waiting =
      await sql`select id, open_blockers, parent_blocked, open_children, closed_children, child_count from tasks order by id`.execute(
        town.db,
      );
    await clear();
    const report = await town.ledger.importTasks(person, batchOf(before));
    expect(report).toMatchObject({ created: 6, updated: 0, unchanged: 0, aside_total: 2 });
    expect(await exported()).toBe(before);
    await expectSettled();
    const again =
      await sql`select id, open_blockers, parent_blocked, open_children, closed_children, child_count from tasks order by id`.execute(
        town.db,
      );
    expect(again.rows).toEqual(waiting.rows);
    expect(await town.ledger.importTasks(person, batchOf(before))).toMatchObject({
      created: 0,
      updated: 0,
      unchanged: 6,
      edges: 0,
    });
    expect(await exported()).toBe(before);
  });
});

describe('10,000 tasks', () => {
  it('with 20,000 edges come in at once, again and newer; the times are printed', async () => {
    const id = (n: number) => `ac-t${n.toString(36).padStart(5, '0')}`;
    const lines = Array.from({ length: 10_000 }, (_, n) => {
      const edges = [1, 7, 11]
        .filter((back) => n >= back)
        .map((back, nth) =>
          n % 10 === 3 && nth === 0
            ? edge(id(n), id(n - 3), 'parent-child')
            : edge(id(n), id(n - back), n % 50 === 7 ? 'waits-for' : 'blocks'),
        );
      const isPart = n % 10 === 3;
      return line(id(n), {
        description: 'x'.repeat(300), labels: ['a', `l${n % 20}`], status: n % 3 === 0 && n < 5000 ? 'closed' : 'open',
        dependencies: isPart ? edges.slice(0, 1) : edges.slice(0, n % 4 === 0 ? 3 : 2),
        comments: n % 5 === 0 ? [{ id: n, author: 'kim', text: 'said', created_at: at(1) }] : [],
      }); // prettier-ignore
    });
    const text = lines.map((each) => JSON.stringify(each)).join('\n');
    await clear();
    const started = performance.now();
    const report = await town.ledger.importTasks(person, batchOf(text));
    const first = performance.now() - started;
    expect(report).toMatchObject({ created: 10_000, aside_total: 0 });
    expect(report.edges).toBeGreaterThan(20_000);
    await expectSettled();
    const once = performance.now();
    expect(await town.ledger.importTasks(person, batchOf(text))).toMatchObject({ unchanged: 10_000, updated: 0 });
    const second = performance.now() - once;
    const newer = text.replaceAll(`"updated_at":"${at(0)}"`, `"updated_at":"${at(5)}"`);
    const twice = performance.now();
    expect(await town.ledger.importTasks(person, batchOf(newer))).toMatchObject({ updated: 10_000 });
    const third = performance.now() - twice;
    await expectSettled();
    const out = performance.now();
    const size = (await exported()).length;
    process.stderr.write(
      `10,000 tasks, ${report.edges} edges: import ${first.toFixed(0)} ms, again ${second.toFixed(0)} ms, newer ${third.toFixed(0)} ms; export ${(performance.now() - out).toFixed(0)} ms, ${size} bytes\n`,
    );
  });
});

describe('what is newer', () => {
  it('wins, what is older changes nothing, and what is as old only adds what is said beside it', async () => {
    const said = (nth: number) => ({ id: null, author: 'kim', text: `said ${nth}`, created_at: at(nth) });
    await bring([
      line('ac-bbb'),
      line('ac-ccc'),
      line('ac-aaa', {
        labels: ['x', 'y'],
        updated_at: at(10),
        dependencies: [edge('ac-aaa', 'ac-bbb')],
        comments: [said(1)],
      }),
    ]);
    expect(await bring([line('ac-aaa', { title: 'old', updated_at: at(9), comments: [said(2)] })])).toMatchObject({
      unchanged: 1,
    });
    expect(await town.ledger.getTask('ac-aaa')).toMatchObject({
      title: 'Task ac-aaa',
      labels: ['x', 'y'],
      open_blockers: 1,
    });

    const young = edge('ac-aaa', 'ac-ccc', 'blocks', { created_at: at(11) });
    const same = line('ac-aaa', {
      title: 'same',
      updated_at: at(10),
      comments: [said(1), said(2)],
      dependencies: [young],
    });
    expect(await bring([same])).toMatchObject({ updated: 1, edges: 1 });
    expect(await bring([same])).toMatchObject({ updated: 0, unchanged: 1, edges: 0 });
    expect(await town.ledger.getTask('ac-aaa')).toMatchObject({
      title: 'Task ac-aaa', open_blockers: 2, comments: [{ body: 'said 1' }, { body: 'said 2' }],
    }); // prettier-ignore

    expect(
      await bring([
        line('ac-aaa', {
          title: 'new',
          updated_at: at(20),
          labels: ['z'],
          status: 'closed',
          close_reason: 'failed: x',
        }),
      ]),
    ).toMatchObject({ updated: 1 });
    expect(await town.ledger.getTask('ac-aaa')).toMatchObject({
      title: 'new', labels: ['z'], open_blockers: 0, status: 'closed', outcome: 'failed', dependencies: [], updated_at: at(20),
      comments: [{ body: 'said 1' }, { body: 'said 2' }],
    }); // prettier-ignore
    await expectSettled();
    await sealAll(town.ledger);
    const { items } = await town.ledger.listEvents({ task_id: 'ac-aaa', type: 'task_imported' });
    expect(items.map((event) => (event.payload as { after: { title: string } }).after.title)).toEqual([
      'Task ac-aaa',
      'new',
    ]);
  });

  it('leaves alone how far work is that a molecule of this town does', async () => {
    const { ledger } = town;
    await bring([line('ac-aaa')]);
    await ledger.storeRecipe(recipe);
    await ledger.sling(person, { task_id: 'ac-aaa', target: { kind: 'agent', id: AGENT }, recipe, decision_id: 'd1' });
    const report = await bring([
      line('ac-aaa', { title: 'renamed', status: 'closed', updated_at: '2099-01-01T00:00:00Z' }),
    ]);
    expect(report).toMatchObject({ updated: 1, kept_progress: ['ac-aaa'] });
    expect(await ledger.getTask('ac-aaa')).toMatchObject({
      title: 'renamed',
      status: 'in_progress',
      assigned_agent_id: AGENT,
    });
  });

  it('wakes convoys, frees what waited, and moves a part to another whole', async () => {
    await bring([
      line('ac-ppp'), line('ac-qqq', { dependencies: [edge('ac-qqq', 'ac-xxx')] }), line('ac-xxx'),
      line('ac-ccc', { dependencies: [edge('ac-ccc', 'ac-ppp', 'parent-child')] }),
      line('ac-www', { dependencies: [edge('ac-www', 'ac-ppp', 'waits-for')] }),
    ]); // prettier-ignore
    expect((await ready()).toSorted()).toEqual(['ac-ccc', 'ac-ppp', 'ac-xxx']);
    const convoy = await town.ledger.createConvoy(person, { name: 'all', tasks: ['ac-www'], rig_id: 'acme' });
    await bring([line('ac-ccc', { updated_at: at(1), dependencies: [edge('ac-ccc', 'ac-qqq', 'parent-child')] })]);
    expect((await ready()).toSorted()).toEqual(['ac-ppp', 'ac-xxx']);
    await expectSettled();
    const wakings = async () =>
      (await sql`select 1 from outbox where target = ${`convoy.${convoy.id}`}`.execute(town.db)).rows.length;
    const before = await wakings();
    await bring([
      line('ac-xxx', { updated_at: at(1), status: 'closed' }),
      line('ac-ppp', { updated_at: at(1), status: 'closed' }),
    ]);
    expect((await ready()).toSorted()).toEqual(['ac-ccc', 'ac-qqq', 'ac-www']);
    await expectSettled();
    expect(await wakings()).toBe(before + 1);
  });
});

describe('edges', () => {
  it('to tasks that are not there wait for them, and are exported again', async () => {
    const report = await bring([
      line('ac-aaa', {
        dependencies: [
          edge('ac-aaa', 'ac-bbb'),
          edge('ac-aaa', 'ac-ppp', 'parent-child'),
          edge('ac-aaa', 'x-far', 'blocks'),
        ],
      }),
    ]);
    expect(report).toMatchObject({ created: 1, edges: 0, aside_total: 3 });
    expect(report.aside[0]).toEqual({ task_id: 'ac-aaa', depends_on_id: 'ac-bbb', type: 'blocks', reason: 'missing' });
    expect(JSON.parse(await exported()).town.aside).toHaveLength(3);
    expect(await ready()).toEqual(['ac-aaa']);
    expect(await bring([line('ac-bbb'), line('ac-ppp')])).toMatchObject({ created: 2, resolved: 2, edges: 2 });
    expect(await town.ledger.getTask('ac-aaa')).toMatchObject({ open_blockers: 1, parent_id: 'ac-ppp' });
    await expectSettled();
    expect(JSON.parse((await exported()).split('\n')[0]!)).toMatchObject({
      dependency_count: 2,
      town: { aside: [{ depends_on_id: 'x-far' }] },
    });
  });

  it('in a circle are refused with their lines, or kept aside where the import is lenient', async () => {
    const lines = [
      line('ac-aaa', { dependencies: [edge('ac-aaa', 'ac-bbb')] }), line('ac-bbb', { dependencies: [edge('ac-bbb', 'ac-aaa')] }),
      line('ac-ppp', { dependencies: [edge('ac-ppp', 'ac-ccc')] }), line('ac-ccc', { dependencies: [edge('ac-ccc', 'ac-ppp', 'parent-child')] }),
    ]; // prettier-ignore
    await expect(bring(lines)).rejects.toMatchObject({
      code: 'DEPENDENCY_CYCLE',
      details: {
        problems: [
          { line: 2, reason: expect.stringMatching(/a circle: .*waits for/) },
          { line: 3, reason: expect.any(String) },
        ],
      },
    });
    expect(await exported()).toBe('');
    expect(await bring(lines, { lenient: true })).toMatchObject({ created: 4, edges: 2, aside_total: 2 });
    await expectSettled();
    const before = await exported();
    await clear();
    expect(await town.ledger.importTasks(person, batchOf(before))).toMatchObject({ created: 4, aside_total: 2 });
    expect(await exported()).toBe(before);
  });

  it('that would close a circle with what is here are refused', async () => {
    const made = await town.ledger.createTask(person, { title: 'here', rig_id: 'acme' });
    await bring([line('ac-aaa', { dependencies: [edge('ac-aaa', made.id)] })]);
    await town.ledger.createTask(person, { title: 'waits', rig_id: 'acme', depends_on: ['ac-aaa'] });
    const [waits] = (await town.ledger.listTasks({ text: 'waits' })).items;
    const back = line('ac-new', { dependencies: [edge('ac-new', waits!.id), edge('ac-new', 'ac-new')] });
    await expect(bring([back])).rejects.toMatchObject({
      message: expect.stringContaining('ac-new has an edge to itself'),
    });
    await expect(
      bring([line('ac-aaa', { updated_at: at(1), dependencies: [edge('ac-aaa', waits!.id)] })]),
    ).rejects.toMatchObject({ code: 'DEPENDENCY_CYCLE' });
  });

  it('of two types between two tasks, and to a second whole, are kept aside', async () => {
    const lines = [
      line('ac-aaa'), line('ac-bbb'),
      line('ac-ccc', { dependencies: [edge('ac-ccc', 'ac-aaa', 'parent-child'), edge('ac-ccc', 'ac-aaa', 'related'), edge('ac-ccc', 'ac-bbb', 'parent-child')] }),
    ]; // prettier-ignore
    expect((await bring(lines)).aside.map((each) => each.reason).toSorted()).toEqual(['pair', 'parent']);
    expect(await bring(lines)).toMatchObject({ unchanged: 3 });
    await expectSettled();
  });
});

describe('an import', () => {
  it('writes nothing when anything is wrong', async () => {
    const lines = [
      line('ac-aaa'),
      line('ac-bbb', { town: { rig: 'nowhere' } }),
      line('ac-ccc', { town: { rig: 'elsewhere' } }),
    ];
    await expect(bring(lines)).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      details: {
        problems: [
          { line: 2, reason: expect.stringContaining('no rig nowhere') },
          { line: 3, reason: expect.any(String) },
        ],
      },
    });
    expect(await exported()).toBe('');
    expect(await bring(lines, { rig_id: 'acme' })).toMatchObject({ created: 3 });
  });

  it('says what it would do, and does not', async () => {
    expect(await bring([line('ac-aaa')], { dry_run: true })).toMatchObject({ created: 1, dry_run: true });
    expect(await exported()).toBe('');
    const rows = await sql`select 1 from imports union all select 1 from events where type = 'tasks_imported'`.execute(
      town.db,
    );
    expect(rows.rows).toEqual([]);
  });

  it('is for people', async () => {
    const { incarnation } = await openSession(town.ledger);
    await expect(
      town.ledger.importTasks(as(incarnation), batchOf(JSON.stringify(line('ac-aaa')))),
    ).rejects.toMatchObject({ code: 'FORBIDDEN' });
  });

  it('puts tasks into the rig of their prefix, and numbers new parts after those that came', async () => {
    await bring([
      line('ac-aaa'),
      line('ac-aaa.7', { dependencies: [edge('ac-aaa.7', 'ac-aaa', 'parent-child')] }),
      line('zz-aaa'),
    ]);
    expect(await town.ledger.getTask('ac-aaa')).toMatchObject({ rig_id: 'acme' });
    expect(await town.ledger.getTask('zz-aaa')).toMatchObject({ rig_id: null });
    expect((await town.ledger.createTask(person, { title: 'next', parent_id: 'ac-aaa' })).id).toBe('ac-aaa.8');
  });

  it('keeps whoever is no agent here beside the task', async () => {
    await bring([
      line('ac-aaa', { assignee: 'kim', status: 'in_progress' }),
      line('ac-bbb', { assignee: AGENT, status: 'hooked' }),
    ]);
    expect(await town.ledger.getTask('ac-aaa')).toMatchObject({
      assigned_agent_id: null,
      metadata: { imported: { assignee: 'kim' } },
    });
    expect(await town.ledger.getTask('ac-bbb')).toMatchObject({ assigned_agent_id: AGENT, status: 'in_progress' });
  });

  it('gives an external reference to one task', async () => {
    await town.ledger.createTask(person, { title: 'has it', external_ref: 'gh-9' });
    const lines = [
      line('ac-aaa', { external_ref: 'gh-9' }),
      line('ac-bbb', { external_ref: 'gh-8' }),
      line('ac-ccc', { external_ref: 'gh-8' }),
    ];
    await expect(bring(lines)).rejects.toMatchObject({ details: { problems: [{ line: 1 }, { line: 3 }] } });
    expect(await bring(lines, { lenient: true })).toMatchObject({
      created: 3,
      warnings: [expect.any(String), expect.any(String)],
    });
    expect(await town.ledger.getTask('ac-aaa')).toMatchObject({
      external_ref: null,
      metadata: { imported: { external_ref: 'gh-9' } },
    });
  });

  it('meets others who write edges and close tasks at the same time', async () => {
    const ids = Array.from({ length: 60 }, (_, n) => `ac-t${n.toString(36).padStart(3, '0')}`);
    const chain = (minute: number) =>
      ids.map((id, n) =>
        line(id, {
          updated_at: at(minute),
          dependencies:
            n === 0 ? [] : [edge(id, ids[n - 1]!), ...(n % 5 === 0 ? [edge(id, 'ac-whole', 'parent-child')] : [])],
        }),
      );
    await bring([line('ac-whole'), ...chain(0)]);
    const made = await town.ledger.createTask(person, { title: 'beside', rig_id: 'acme' });
    await Promise.all([
      bring(chain(1)),
      bring(chain(2)),
      ...ids.slice(30, 50).map((id) => town.ledger.closeTask(person, id, { outcome: 'skipped' })),
      ...ids
        .slice(50)
        .map((id) => town.ledger.addDependency(person, { task_id: made.id, depends_on_id: id, type: 'blocks' })),
    ]);
    await expectSettled();
  });
});

describe('a mirror', () => {
  const issue = (number: number, more: Partial<ForgeIssue> = {}): ForgeIssue => ({
    number, title: `Issue ${number}`, body: 'b', state: 'open', state_reason: null, labels: ['bug'], author: 'kim', assignees: [], milestone: null,
    url: 'u', created_at: at(0), updated_at: at(1), closed_at: null, comments: [], ...more,
  }); // prettier-ignore
  const mirror = async (...issues: ForgeIssue[]) =>
    await town.ledger.importTasks(person, {
      source_system: 'github', source: 'github:acme/web', digest: null, records: issues.map((each) => issueRecord(each, 'acme/web')),
      mode: 'mirror', lenient: true, rig_id: 'acme', cursor: at(1), dry_run: false,
    }); // prettier-ignore

  it('follows its source by the reference, and keeps what belongs to the town', async () => {
    expect(await mirror(issue(1), issue(2))).toMatchObject({ created: 2 });
    expect(await mirror(issue(1), issue(2))).toMatchObject({ created: 0, updated: 0, unchanged: 2 });
    const find = async () => (await town.ledger.listTasks({ external_ref: 'acme/web#1' })).items[0]!;
    const task = await find();
    expect(task).toMatchObject({
      rig_id: 'acme',
      type: 'bug',
      created_by: 'github:kim',
      id: expect.stringMatching(/^ac-/),
    });
    await town.ledger.updateTask(person, task.id, { priority: 0, add_labels: ['mine'], type: 'task' });
    const blocker = await town.ledger.createTask(person, { title: 'first', rig_id: 'acme' });
    await town.ledger.addDependency(person, { task_id: task.id, depends_on_id: blocker.id, type: 'blocks' });
    const comments = [{ id: 'github-7', author: 'ann', body: 'me too', created_at: at(3) }];
    expect(await mirror(issue(1, { title: 'Better', labels: ['p3'], updated_at: at(2), comments }))).toMatchObject({
      updated: 1,
    });
    expect(await find()).toMatchObject({
      title: 'Better',
      priority: 0,
      type: 'task',
      labels: ['bug', 'mine', 'p3'],
      open_blockers: 1,
    });
    expect((await town.ledger.getTask(task.id)).comments).toMatchObject([{ author: 'github:ann', body: 'me too' }]);
    await mirror(
      issue(1, { title: 'Better', state: 'closed', state_reason: 'not_planned', updated_at: at(4), closed_at: at(4) }),
    );
    expect(await find()).toMatchObject({ status: 'closed', outcome: 'cancelled' });
    await mirror(issue(1, { title: 'Again', updated_at: at(5) }));
    expect(await find()).toMatchObject({ title: 'Again', status: 'closed' });
    expect(await town.ledger.importCursor('github', 'github:acme/web')).toBe(at(1));
    await expectSettled();
  });
});

describe('random graphs', () => {
  const ids = Array.from({ length: 14 }, (_, n) => `ac-t${n.toString(36).padStart(3, '0')}`);
  const type = fc.constantFrom(
    'blocks',
    'blocks',
    'conditional-blocks',
    'waits-for',
    'parent-child',
    'parent-child',
    'related',
  );
  const link = fc.record({
    from: fc.nat(13), to: fc.nat(13), type, gate: fc.constantFrom('all-children', 'any-children'),
  }); // prettier-ignore
  const closed = fc.constantFrom('', '', 'done', 'failed');
  const round = fc.record({ links: fc.array(link, { maxLength: 22 }), closed: fc.array(closed, { minLength: 14, maxLength: 14 }), count: fc.integer({ min: 5, max: 14 }) }); // prettier-ignore

  it('hold back what the rules say, whatever replaces what', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(round, { minLength: 1, maxLength: 3 }), async (rounds) => {
        await clear();
        for (const [nth, { links, closed: ends, count }] of rounds.entries()) {
          const lines = ids.slice(0, count).map((id, n) =>
            line(id, {
              updated_at: at(nth), status: ends[n] === '' ? 'open' : 'closed', town: { outcome: ends[n] === '' ? null : ends[n] },
              dependencies: links.filter((each) => each.from === n).map((each) => edge(id, ids[each.to]!, each.type, { metadata: JSON.stringify({ gate: each.gate }) })),
            }),
          ); // prettier-ignore
          await bring(lines, { lenient: true });
          await expectSettled();
        }
        const before = await exported();
        await clear();
        await town.ledger.importTasks(person, batchOf(before));
        await expectSettled();
        expect(await exported()).toBe(before);
      }),
      { numRuns: 25 },
    );
  });

  it('have a circle where the ledger refuses an edge, and only there', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(link, { minLength: 4, maxLength: 20 }), async (links) => {
        await clear();
        await bring(ids.map((id) => line(id)));
        const blocking: [string, string][] = [];
        const parents: [string, string][] = [];
        for (const { from, to, type: word, gate } of links) {
          if (from === to || !isDependencyType(word)) continue;
          const [task_id, depends_on_id] = [ids[from]!, ids[to]!];
          const pair: [string, string] = [task_id, depends_on_id];
          const isPart = word === 'parent-child';
          const circles = waitingCycles({
            blocking: isBlocking(word) ? [...blocking, pair] : blocking,
            parents: isPart ? [...parents, pair] : parents,
          });
          const refused = await town.ledger
            .addDependency(person, { task_id, depends_on_id, type: word, metadata: { gate } })
            .then(
              () => null,
              (error: { code: string }) => error.code,
            );
          if (refused === 'CONFLICT') continue;
          expect([refused, circles.length > 0]).toEqual(refused === null ? [null, false] : ['DEPENDENCY_CYCLE', true]);
          if (refused === null && isPart) parents.push(pair);
          if (refused === null && isBlocking(word)) blocking.push(pair);
        }
      }),
      { numRuns: 25 },
    );
  });
});
