import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { KeyedRequest } from '../../cli/ask';
import type { TownClient } from '../../cli/client/client';
import { answerRequest } from '../../cli/server/answer';
import type { SocketAnswer } from '../../schema/desk';
import type { TaskView } from '../../schema/views';
import { clientOf, requestOf } from '../support/client';
import { testDatabase, type TestDatabase } from '../support/database';

const folder = mkdtempSync(join(tmpdir(), 'task-verbs-'));
let database: TestDatabase;
let town: TownClient;

beforeAll(async () => {
  database = await testDatabase({ max: 5 });
  const { ledger } = database;
  const person = { actor: 'person:ada' };
  const runtime = { preset: 'external' as const };
  const rig = { id: 'acme', path: '/repo', default_branch: 'main', workers_max: 2, runtime };
  await ledger.addRig(person, rig);
  await ledger.addRig(person, { ...rig, id: 'docs' });
  await ledger.addAgent(person, { id: 'acme/polecats/amber', role: 'polecat', rig_id: 'acme', runtime });
  town = await clientOf(ledger);
});
afterAll(async () => {
  rmSync(folder, { recursive: true });
  await database.drop();
});

const ask = (argv: readonly string[], extra: Partial<KeyedRequest> = {}): Promise<SocketAnswer> =>
  answerRequest(town, requestOf(argv, { cwd: folder, user: 'ada', ...extra }));
async function run(...argv: string[]): Promise<string> {
  const { code, stdout, stderr } = await ask(argv);
  expect([code, code === 0 ? '' : stderr]).toEqual([0, '']);
  return stdout;
}
// The verb says what its JSON is; the test names it.
const read = async <T>(...argv: string[]): Promise<T> => JSON.parse(await run(...argv, '--json')) as T;
const make = async (title: string, ...more: string[]) =>
  (await run('task', 'create', title, '--rig', 'acme', ...more)).trim();

test('query, search and saved filters', async () => {
  const id = await make('Findable needle', '--label', 'hay', '--priority', '0');
  expect(await run('query', 'label=hay AND priority=0')).toContain(`${id}\topen\tP0`);
  expect(await run('search', 'NEEDLE', '--rig', 'acme')).toBe(`${id}\topen\tP0\ttitle\tFindable needle\n`);
  await run('filter', 'save', 'hay', '--query', 'label=hay', '--sort', 'priority');
  expect(await run('task', 'list', '--saved', 'hay')).toContain(id);
  expect(await run('task', 'list', '--saved', 'hay', '--status', 'closed')).toBe('');
  expect(await run('filter', 'list')).toContain('"query":"label=hay"');
  const refused = await ask(['query', 'label=hay ADN priority=0', '--json']);
  expect(refused.code).toBe(2);
  expect(JSON.parse(refused.stderr)).toMatchObject({ error: { code: 'INVALID_INPUT', details: { column: 11 } } });
  expect((await ask(['filter', 'save', 'empty'])).code).toBe(2);
  await run('filter', 'remove', 'hay');
  expect((await ask(['task', 'list', '--saved', 'hay'])).code).toBe(3);
  const first = await ask(['ready', '--limit', '1', '--label', 'hay']);
  expect(first.stderr).toBe('');
});

test('several ids at once, and the small verbs', async () => {
  const [a, b] = [await make('a'), await make('b')];
  expect(await read<TaskView[]>('task', 'update', a, b, '--priority', '1')).toMatchObject([
    { id: a, priority: 1 },
    { id: b },
  ]);
  expect(await run('task', 'close', b, a, '--reason', 'both')).toBe(`${b} closed as done\n${a} closed as done\n`);
  expect(await read<TaskView>('task', 'reopen', a)).toMatchObject({ id: a, status: 'open' });
  expect(await read<TaskView>('task', 'defer', a, '--until', '3d')).toMatchObject({ status: 'deferred' });
  expect(await read<TaskView>('task', 'undefer', a)).toMatchObject({ status: 'open', defer_until: null });
  expect(await read<TaskView>('task', 'pin', a)).toMatchObject({ pinned: true });
  expect(await read<TaskView>('task', 'unpin', a)).toMatchObject({ pinned: false });
  expect(await run('task', 'assign', a, 'acme/polecats/amber')).toBe(`${a} is acme/polecats/amber's\n`);
  expect(await run('task', 'assign', a, 'none')).toBe(`${a} is nobody's\n`);
  await run('label', 'add', a, b, 'x1');
  expect(await run('label', 'list', a)).toBe('x1\n');
  expect(await run('label', 'list-all')).toContain('x1\t2\n');
  await run('label', 'remove', a, 'x1');
  expect((await ask(['label', 'add', 'x1'])).code).toBe(2);
  await run('comment', 'add', a, 'is it so?');
  expect(await run('comment', 'list', a)).toContain('person:ada: is it so?\n');
  await run('note', 'add', a, 'mind the gap');
  expect(await read<{ notes: object[] }>('task', 'show', a)).toMatchObject({ notes: [{ body: 'mind the gap' }] });
  const both = await ask(['task', 'close', a, 'acme-zzzzz']);
  expect(both.code).toBe(3);
  expect(await read<TaskView>('task', 'show', a)).toMatchObject({ status: 'open' });
  const [moved] = await read<TaskView[]>('task', 'move', a, '--rig', 'docs');
  expect(moved).toMatchObject({ id: a, rig_id: 'docs' });
  expect((await ask(['task', 'move', a])).code).toBe(2);
});

test('a batch from a file, and from what is piped in', async () => {
  const id = await make('in a batch');
  writeFileSync(join(folder, 'changes.txt'), `update ${id} priority=0\ncreate task 2 made by a batch\n`);
  const done = await read<{ results: { target: string }[] }>('batch', 'changes.txt', '--rig', 'acme');
  expect(done).toMatchObject({
    operations: 2,
    status: 'ok',
    results: [{ line: 1, op: 'update', target: id }, { line: 2 }],
  });
  expect(await read<TaskView>('task', 'show', done.results[1]?.target ?? '')).toMatchObject({ rig_id: 'acme' });
  // The full command set reads what is piped in, and asks again.
  expect(await ask(['batch'])).toMatchObject({ unknown: true });
  expect(await ask(['batch', '-'], { stdin: `close ${id}\n` })).toMatchObject({ code: 0, stdout: `1\tclose\t${id}\n` });
  const refused = await ask(['batch', '-'], { stdin: `reopen ${id}\n\nclose ac-zzzzz\nfly ${id}\n` });
  expect(refused.stderr).toContain('line 4: "fly" is none of');
  expect((await ask(['batch', '-'], { stdin: `reopen ${id}\nclose acme-zzzzz\n` })).stderr).toContain(
    'line 2: there is no task',
  );
  expect(await read<TaskView>('task', 'show', id)).toMatchObject({ status: 'closed' });
});

test('tasks from a file', async () => {
  mkdirSync(join(folder, 'plans'));
  writeFileSync(
    join(folder, 'plans', 'plan.md'),
    '# Plan\n\n## One\n\n### Two\n\n## Three\n\nneeds: Two\n'.replace('## Three\n\n', '## Three\n'),
  );
  expect(await run('task', 'create', '--from', 'plans/plan.md', '--dry-run')).toBe(
    'one\t\t\tOne\ntwo\tone\t\tTwo\nthree\t\ttwo\tThree\n',
  );
  expect(await run('query', 'title=three')).toBe('');
  const { ids } = await read<{ ids: Record<string, string> }>(
    'task',
    'create',
    '--from',
    'plans/plan.md',
    '--rig',
    'acme',
  );
  expect(await read<TaskView>('task', 'show', ids['three'] ?? '')).toMatchObject({ open_blockers: 1, rig_id: 'acme' });
  expect(ids['two']).toBe(`${ids['one']}.1`);
  const graph = JSON.stringify({
    nodes: [{ title: 'g1' }, { title: 'g2' }],
    edges: [{ from_key: 'g1', to_key: 'g2' }],
  });
  const piped = await ask(['task', 'create', '--from', '-', '--json'], { stdin: graph });
  expect(Object.keys((JSON.parse(piped.stdout) as { ids: object }).ids)).toEqual(['g1', 'g2']);
  const cyclic = graph.replace(']}', ',{"from_key":"g2","to_key":"g1"}]}');
  expect(await ask(['task', 'create', '--from', '-'], { stdin: cyclic })).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('the file has a cycle: g1 waits for g2 waits for g1'),
  });
  expect((await ask(['task', 'create'])).stderr).toContain('<title> is missing');
  expect((await ask(['task', 'create', 'x', '--from', 'plans/plan.md'])).code).toBe(2);
  expect((await ask(['task', 'create', '--from', 'plans'])).stderr).toContain('is not a file');
  expect((await ask(['task', 'create', '--from', 'nowhere.md'])).code).toBe(3);
  writeFileSync(join(folder, 'binary.md'), Buffer.from([0x23, 0x23, 0x20, 0xff, 0xfe]));
  expect((await ask(['task', 'create', '--from', 'binary.md'])).stderr).toContain('is not text in UTF-8');
  writeFileSync(join(folder, 'big.md'), '#'.repeat(600_000));
  expect((await ask(['task', 'create', '--from', 'big.md'])).stderr).toContain('INPUT_TOO_LARGE');
});

test('a session reads files of its worktree only', async () => {
  const worktree = join(folder, 'worktree');
  mkdirSync(worktree);
  writeFileSync(join(worktree, 'own.md'), '## Of the worktree\n');
  writeFileSync(join(folder, 'secret.md'), '## Secret\n');
  symlinkSync(join(folder, 'secret.md'), join(worktree, 'link.md'));
  const agent = 'acme/polecats/amber';
  const opening = { agent, preset: 'external', token_hash: 'h', host_id: 'h', worktree, molecule_id: null };
  const { session_id, incarnation } = await database.ledger.openSession({ actor: 'system:test' }, opening);
  const caller = { agent, session_id, incarnation, worktree };
  const inSession: TownClient = { ...town, desk: { ...noDesk, authenticate: () => Promise.resolve(caller) } };
  const create = (file: string) =>
    answerRequest(inSession, {
      v: 1, id: 1, argv: ['task', 'create', '--from', file], cwd: worktree, tty: false, user: '', token: 't',
    }); // prettier-ignore
  expect(await create('own.md')).toMatchObject({ code: 0 });
  for (const file of ['../secret.md', join(folder, 'secret.md'), 'link.md', '/etc/passwd']) {
    expect((await create(file)).stderr).toContain('PATH_OUTSIDE_RIG');
  }
});

const refuse = () => Promise.reject(new Error('not asked here'));
const noDesk = {
  current: refuse,
  closeStep: refuse,
  attach: refuse,
  placeIn: refuse,
  held: () => [],
  authenticate: refuse,
};

test('wisps and short-lived molecules', async () => {
  const wisp = (
    await run('task', 'create', 'no answer', '--wisp', '--wisp-type', 'ping', '--ttl', '90m', '--rig', 'acme')
  ).trim();
  expect(wisp).toMatch(/^acme-wisp-/);
  expect(await run('task', 'list', '--limit', '1000')).not.toContain(wisp);
  expect(await run('task', 'list', '--wisps', '--limit', '1000')).toContain(wisp);
  expect(await run('wisp', 'list', '--type', 'ping')).toContain(wisp);
  expect(await run('wisp', 'show', wisp)).toContain('type of wisp: ping');
  expect((await ask(['task', 'show', wisp])).stderr).toContain(`town wisp show ${wisp}`);
  await run('wisp', 'close', wisp, '--reason', 'seen');
  expect(await run('wisp', 'squash', wisp, '--summary', 'one ping')).toContain('summary: one ping');
  expect(await run('digest', 'list')).toContain('one ping');
  const other = (await run('task', 'create', 'keep', '--wisp', '--rig', 'acme')).trim();
  expect(await run('wisp', 'promote', other)).toBe(`${other}\t${other.replace('-wisp', '')}\n`);
  expect(await run('wisp', 'burn', other)).toBe('');
  expect(await read<object>('wisp', 'purge')).toEqual({ purged: 0 });
  for (const argv of [
    ['task', 'create', 'x', '--ttl', '3d'],
    ['task', 'create', 'x', '--wisp', '--ttl', 'long'],
    ['task', 'create', 'x', '--wisp', '--spec', 'a.md'],
    ['molecule', 'wisp', 'three-changes'],
  ]) {
    expect((await ask(argv)).code).toBe(2);
  }
  expect((await ask(['molecule', 'burn', 'mol-none'])).code).toBe(0);
  expect((await ask(['molecule', 'squash', 'mol-none'])).code).toBe(3);
});

test('a rig gets a prefix of its own, and lists go on', async () => {
  const { items } = await town.rigPage({ limit: 1 });
  expect(items).toMatchObject([{ id: 'acme', prefix: 'acme' }]);
  const first = await ask(['rig', 'list', '--limit', '1']);
  const cursor = /--cursor (\S+)/.exec(first.stderr)?.[1] ?? '';
  expect(await run('rig', 'list', '--cursor', cursor)).toContain('docs\t');
  expect(await run('agent', 'list', '--limit', '1')).toContain('acme/polecats/amber');
});
