import { sql } from 'kysely';
import type { ReadySort, TaskInput } from '../../../schema/ledger';
import type { TaskView } from '../../../schema/views';
import { AGENT, person, rigTown, withRig } from './scene';
import { testDatabase, type TestDatabase } from '../../support/database';

const town = rigTown();
const made = new Map<string, TaskView>();
const make = async (title: string, more: Partial<TaskInput> = {}) => {
  const task = await town.make(title, more);
  made.set(title, task);
  return task;
};
const idOf = (title: string) => made.get(title)?.id ?? '';

beforeAll(async () => {
  const login = await make('Login fails', {
    type: 'bug',
    priority: 0,
    labels: ['api', 'team:core'],
    owner: 'bea@example.org',
    due_at: '2026-05-01T12:00:00Z',
    estimated_minutes: 90,
    metadata: { team: 'core', depth: 2 },
    description: 'The 100% certain "reason" is a_b',
  });
  const docs = await make('Write the docs', { labels: ['docs'], priority: 3, depends_on: [login.id], pinned: false });
  await make('Part of docs', { parent_id: docs.id, priority: 4 });
  await make('Later', { defer_until: '2999-01-01T00:00:00Z', due_at: '2999-01-02T00:00:00Z' });
  const done = await make('Old and done', { type: 'chore', external_ref: 'gh-9', source_system: 'github' });
  await town.ledger.closeTask(person, done.id, { outcome: 'done', reason: 'by hand' });
  await sql`update tasks set created_at = now() - interval '40 days', updated_at = now() - interval '40 days' where id = ${done.id}`.execute(
    town.db,
  );
  await town.ledger.updateTask(person, login.id, { assigned_agent_id: AGENT, status: 'in_progress' });
  await town.ledger.addNote(person, login.id, 'It is the tokenizer again');
  await town.ledger.addComment(person, docs.id, 'mention the tokenizer, and login');
});

const found = async (query: string) =>
  (await town.ledger.listTasks({ query, sort: 'title' })).items.map((task) => task.title);

describe('a query finds', () => {
  test.each([
    ['status=open', ['Part of docs', 'Write the docs']],
    ['status!=open', ['Later', 'Login fails', 'Old and done']],
    ['NOT status!=open', ['Part of docs', 'Write the docs']],
    ['status=deferred', ['Later']],
    ['priority<=1', ['Login fails']],
    ['priority>2 AND priority!=P4', ['Write the docs']],
    ['type=bug OR type=chore', ['Login fails', 'Old and done']],
    ['type=b*', ['Login fails']],
    [`assignee=${'acme/polecats/amber'}`, ['Login fails']],
    ['assignee=none AND status!=closed', ['Later', 'Part of docs', 'Write the docs']],
    ['owner!=bea@example.org', ['Later', 'Old and done', 'Part of docs', 'Write the docs']],
    ['owner=*@example.org', ['Login fails']],
    ['label=team:*', ['Login fails']],
    ['label!=api AND label!=none', ['Write the docs']],
    ['label=none', ['Later', 'Old and done', 'Part of docs']],
    ['title=LOGIN', ['Login fails']],
    ['title=*docs', ['Part of docs', 'Write the docs']],
    ['title=write*', ['Write the docs']],
    ['description="100% certain"', ['Login fails']],
    ['description="100_ certain"', []],
    ['description=a?b', []],
    ['description=*a?b', ['Login fails']],
    ['description=none', ['Later', 'Old and done', 'Part of docs', 'Write the docs']],
    ['notes=tokenizer', ['Login fails']],
    ['comments=tokenizer', ['Write the docs']],
    ['notes=none AND comments=none AND blocked=false', ['Later', 'Old and done']],
    ['blocked=true', ['Part of docs', 'Write the docs']],
    ['deferred=true', ['Later']],
    ['overdue=true', ['Login fails']],
    ['due=2026-05-01', ['Login fails']],
    ['due>2026-05-01', ['Later']],
    ['due>=2026-05-01', ['Later', 'Login fails']],
    ['due<2026-05-01', []],
    ['due<=2026-05-01', ['Login fails']],
    ['due<"2026-05-01T12:00:01Z"', ['Login fails']],
    ['due=none', ['Old and done', 'Part of docs', 'Write the docs']],
    ['created>7d', ['Later', 'Login fails', 'Part of docs', 'Write the docs']],
    ['updated<30d', ['Old and done']],
    ['closed=today OR closed=yesterday', ['Old and done']],
    ['started!=none', ['Login fails']],
    ['wake>30d', ['Later']],
    ['estimate>=90', ['Login fails']],
    ['ref=gh-* AND source=github', ['Old and done']],
    ['outcome=done AND reason=hand', ['Old and done']],
    ['metadata.team=core AND metadata.depth=2', ['Login fails']],
    ['metadata.team!=core AND rig=acme AND parent=none AND status!=closed', ['Later', 'Write the docs']],
    ["title='); drop table tasks; --'", []],
    ['creator=person:ada AND NOT (priority<4 OR label=*)', ['Part of docs']],
  ])('%s', async (query, titles) => {
    expect(await found(query)).toEqual(titles);
  });

  test('by id and parent, beside other conditions, and in ready work', async () => {
    expect(await found(`id=${idOf('Later')} OR parent=${idOf('Write the docs')}`)).toEqual(['Later', 'Part of docs']);
    const { items } = await town.ledger.listTasks({ query: 'priority>=2', label: 'docs' });
    expect(items.map((task) => task.title)).toEqual(['Write the docs']);
    expect((await town.ledger.readyPage({ query: 'label=api' })).items).toEqual([]);
    await expect(town.ledger.listTasks({ query: 'status=' })).rejects.toMatchObject({
      code: 'INVALID_INPUT',
      details: { column: 8 },
    });
  });
});

describe('search', () => {
  test('needs all words, and puts titles before notes and comments', async () => {
    const all = await town.ledger.searchTasks({ words: 'login' });
    expect(all.items.map(({ title, found_in }) => [title, found_in])).toEqual([
      ['Login fails', ['title']],
      ['Write the docs', ['comments']],
    ]);
    const both = await town.ledger.searchTasks({ words: 'tokenizer DOCS' });
    expect(both.items).toMatchObject([{ title: 'Write the docs', found_in: ['title', 'comments'] }]);
    expect((await town.ledger.searchTasks({ words: '100%' })).items).toHaveLength(1);
    expect((await town.ledger.searchTasks({ words: 'login', status: ['closed'] })).items).toEqual([]);
    const own = await town.ledger.searchTasks({ words: idOf('Later') });
    expect(own.items).toMatchObject([{ title: 'Later', found_in: ['id'] }]);
  });

  test('goes on where its page ended, and is bounded', async () => {
    const whole = await town.ledger.searchTasks({ words: 'o' });
    const titles: string[] = [];
    for (let cursor: string | null = null; ;) {
      const page = await town.ledger.searchTasks({ words: 'o', limit: 1, ...(cursor === null ? {} : { cursor }) });
      titles.push(...page.items.map((task) => task.title));
      cursor = page.next_cursor;
      if (cursor === null) break;
    }
    expect(titles).toEqual(whole.items.map((task) => task.title));
    expect(titles.length).toBeGreaterThan(2);
    for (const words of ['', ' ', 'a b c d e f g h i', 'x'.repeat(101)]) {
      await expect(town.ledger.searchTasks({ words })).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    }
  });
});

describe('search among many tasks', () => {
  const titles = async ({ ledger }: TestDatabase, words: string) =>
    (await ledger.searchTasks({ words, limit: 1_000 })).items.map((task) => task.title);

  test('finds what is rare in all, and of what is common the newest', async () => {
    const other = await testDatabase({ max: 1 });
    try {
      await withRig(other.ledger);
      await sql`insert into tasks (id, digest, rig_id, title, description, type, status, priority, created_by, updated_at)
        select 'ac-' || n, '', 'acme', 'common ' || n, '', 'task', 'open', 2, 'x', now() - n * interval '1 minute'
        from generate_series(1, 6000) n`.execute(other.db);
      const task = await other.ledger.createTask(person, {
        title: 'One',
        rig_id: 'acme',
        description: 'src/hay-needle_one.ts',
      });
      expect(await titles(other, 'needle')).toEqual(['One']);
      expect(await titles(other, 'common 5999')).toEqual(['common 5999']);
      expect(await titles(other, 'nowhere common')).toEqual([]);
      const newest = await titles(other, 'common');
      expect([newest.length, newest[0], newest.at(-1)]).toEqual([500, 'common 1', 'common 500']);
      expect(await titles(other, 'NEEDLE_o')).toEqual(['One']);
      // Nothing to look up, so in the order of the last change.
      expect(await titles(other, '_')).toEqual(['One']);

      await other.ledger.updateTask(person, task.id, { description: 'straw', title: 'Two' });
      expect(await titles(other, 'needle')).toEqual([]);
      expect(await titles(other, 'straw')).toEqual(['Two']);
      await other.ledger.addNote(person, task.id, 'the needle is in fineNote 登录失败');
      for (const words of ['needle straw', 'note', 'finenote', '录失']) {
        expect(await titles(other, words)).toEqual(['Two']);
      }
    } finally {
      await other.drop();
    }
  });
});

describe('lists by pages', () => {
  test.each(['priority', 'oldest', 'hybrid'] as ReadySort[])('ready work by %s', async (sort) => {
    const other = await testDatabase();
    try {
      await withRig(other.ledger);
      for (let n = 0; n < 12; n += 1) {
        const task = await other.ledger.createTask(person, { title: `t${n}`, rig_id: 'acme', priority: n % 3 });
        if (n % 2 === 0)
          await sql`update tasks set created_at = now() - make_interval(days => ${n + 3}) where id = ${task.id}`.execute(
            other.db,
          );
      }
      const whole = (await other.ledger.readyPage({ sort })).items.map((task) => task.title);
      const paged: string[] = [];
      for (let cursor: string | null = null; ;) {
        const page = await other.ledger.readyPage({ sort, limit: 5, ...(cursor === null ? {} : { cursor }) });
        paged.push(...page.items.map((task) => task.title));
        cursor = page.next_cursor;
        if (cursor === null) break;
      }
      expect(paged).toEqual(whole);
      expect(paged).toHaveLength(12);
      const first = await other.ledger.readyPage({ sort: 'hybrid', limit: 1 });
      await expect(other.ledger.readyPage({ sort: 'oldest', cursor: first.next_cursor ?? '' })).rejects.toMatchObject({
        code: 'INVALID_INPUT',
      });
    } finally {
      await other.drop();
    }
  });

  test('labels in use', async () => {
    const first = await town.ledger.listLabels({ limit: 2 });
    expect(first.items).toEqual([
      { label: 'api', tasks: 1 },
      { label: 'docs', tasks: 1 },
    ]);
    const rest = await town.ledger.listLabels({ cursor: first.next_cursor ?? '' });
    expect(rest).toEqual({ items: [{ label: 'team:core', tasks: 1 }], next_cursor: null });
  });
});

describe('a saved filter', () => {
  test('is kept, replaced, listed and forgotten', async () => {
    await town.ledger.saveFilter(person, 'urgent', { query: 'priority<=1', sort: 'due' });
    const saved = await town.ledger.saveFilter(person, 'urgent', { query: 'priority<=2', reverse: true, limit: 5 });
    expect(saved).toMatchObject({ name: 'urgent', created_by: 'person:ada' });
    expect((await town.ledger.getSavedFilter('urgent')).filter).toEqual({
      query: 'priority<=2',
      reverse: true,
      limit: 5,
    });
    await town.ledger.saveFilter(person, 'bugs', { type: 'bug' });
    const first = await town.ledger.listSavedFilters({ limit: 1 });
    expect(first.items.map((each) => each.name)).toEqual(['bugs']);
    const rest = await town.ledger.listSavedFilters({ cursor: first.next_cursor ?? '' });
    expect(rest.items.map((each) => each.name)).toEqual(['urgent']);
    await town.ledger.removeSavedFilter(person, 'urgent');
    await town.ledger.removeSavedFilter(person, 'urgent');
    await expect(town.ledger.getSavedFilter('urgent')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });

  test('must be one that can be asked', async () => {
    for (const filter of [{ query: 'colour=red' }, { cursor: 'x' }, { limit: 0 }, { created_after: 'soon' }]) {
      await expect(town.ledger.saveFilter(person, 'bad', filter)).rejects.toMatchObject({ code: 'INVALID_INPUT' });
    }
    await expect(town.ledger.saveFilter(person, 'No Name', {})).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  });
});
