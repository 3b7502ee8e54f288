import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'; // prettier-ignore
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { sql } from 'kysely';
import { createGithubIssues } from '../../activities/forge/github-issues';
import type { KeyedRequest } from '../../cli/ask';
import { createTownClient, type TownClient } from '../../cli/client/client';
import { answerRequest } from '../../cli/server/answer';
import { startSocketServer } from '../../cli/server/socket';
import { requestOf } from '../support/client';
import { startFakeGithub, type FakeGithub } from '../support/github-server';
import { testDatabase, type TestDatabase } from '../support/database';

let db: TestDatabase;
let root: string;
let repository: string;
let github: FakeGithub;
let town: TownClient;

beforeEach(async () => {
  [db, github] = await Promise.all([testDatabase(), startFakeGithub('secret')]);
  root = mkdtempSync(join(tmpdir(), 'town-'));
  repository = join(root, 'acme');
  for (const folder of ['acme', '.town', 'here']) mkdirSync(join(root, folder));
  await db.ledger.addRig({ actor: 'person:ann' }, {
    id: 'acme', prefix: 'ac', path: repository, default_branch: 'main', workers_max: 1, runtime: { preset: 'external' },
  }); // prettier-ignore
  town = clientOf(root);
});
afterEach(async () => {
  await Promise.all([db.drop(), github.close()]);
  rmSync(root, { recursive: true });
});

const clientOf = (folder: string): TownClient => createTownClient(partsOf(folder));

function partsOf(folder: string): Parameters<typeof createTownClient>[0] {
  return {
    ledger: db.ledger,
    policy: { decide: () => Promise.reject(new Error('nothing is decided here')) } as never,
    desk: {
      authenticate: () =>
        Promise.resolve({ agent: 'acme/polecats/amber', session_id: 's', incarnation: 1, worktree: repository }),
    } as never,
    features: {} as never,
    root: folder,
    builtInFormulas: join(root, 'none'),
    rebuild: null,
    issues: createGithubIssues({ baseUrl: github.url, token: 'secret' }),
  };
}

async function ask(words: string, extra: Partial<KeyedRequest> = {}, client = town) {
  const request = requestOf(words.split(' '), { cwd: join(root, 'here'), forge_token: null, ...extra });
  return await answerRequest(client, request);
}
async function done(words: string, client = town): Promise<string> {
  const { code, stdout, stderr } = await ask(words, {}, client);
  if (code !== 0) throw new Error(stderr);
  return stdout;
}
const make = async (title: string) => (await done(`task create ${title} --rig acme`)).trim();
const here = (...names: string[]) => join(root, 'here', ...names);

async function clear(): Promise<void> {
  for (const table of ['labels', 'task_dependencies', 'tasks'])
    await sql`delete from ${sql.table(table)}`.execute(db.db);
}

it('prints lines, writes files where the caller is, and takes them back', async () => {
  const [first, second] = [await make('one'), await make('two')];
  await done(`dep add ${second} ${first}`);
  const lines = await done('export --rig acme');
  expect(lines.split('\n').map((line) => (line === '' ? '' : (JSON.parse(line) as { id: string }).id))).toEqual([
    ...[first, second].toSorted(),
    '',
  ]);
  expect(JSON.parse(await done('export --json'))).toHaveLength(2);
  expect(await done('export --out tasks.jsonl')).toContain(here('tasks.jsonl'));
  expect(readFileSync(here('tasks.jsonl'), 'utf8')).toBe(lines);
  await clear();
  expect(await done('import tasks.jsonl --dry-run')).toMatch(/created: 2[\s\S]*dry run/);
  expect(await done('import tasks.jsonl')).toMatch(/created: 2\nupdated: 0\nunchanged: 0\nedges: 1/);
  expect(await done('export')).toBe(lines);
  expect(readdirSync(here())).toEqual(['tasks.jsonl']);
});

it('takes in a file that is larger than what is read of it at once', async () => {
  const description = 'a long story '.repeat(300);
  const lines = Array.from({ length: 250 }, (_, n) =>
    JSON.stringify({ id: `ac-${1_000 + n}`, title: `t${n}`, description }),
  );
  const text = `${lines.join('\n')}\n`;
  expect(text.length).toBeGreaterThan(900_000);
  writeFileSync(here('large.jsonl'), text);
  expect(await done('import large.jsonl')).toContain('created: 250\n');
  const [last] = (await town.listTasks({ limit: 1, sort: 'id', reverse: true })).items;
  expect(last).toMatchObject({ id: 'ac-1249', title: 't249', description });
});

it('names each line that is wrong, and imports nothing then', async () => {
  writeFileSync(
    here('bad.jsonl'),
    '{"id":"ac-aaa","title":"x"}\r\n{"id":"ac-bbb"}\r\n{"id":"ac-aaa","title":"y"}\r\nnonsense\r\n',
  );
  const refused = await ask('import bad.jsonl');
  expect(refused.code).toBe(2);
  expect(refused.stderr).toMatch(
    /line 2: ac-bbb: title is missing; line 3: ac-aaa is already on line 1; line 4: not JSON/,
  );
  expect(await done('export')).toBe('');
});

const good = '{"id":"ac-aaa","title":"x"}';
const edge = (id: string, target: string, type = 'blocks') =>
  `{"id":"${id}","title":"x","dependencies":[{"depends_on_id":"${target}","type":"${type}"}]}`;
const deep = `{"id":"ac-bbb","title":"x","metadata":${'{"a":'.repeat(9_000)}1${'}'.repeat(9_000)}}`;

describe('files that were made to do harm', () => {
  it.each<[string, string | Buffer, number, RegExp]>([
    ['UTF-16', Buffer.from(`\uFEFF${good}\n`, 'utf16le'), 2, /line 1: not UTF-8/],
    ['Latin-1', Buffer.from(`${good}\n{"id":"ac-bbb","title":"für"}\n`, 'latin1'), 2, /: 1 problem: line 2: not UTF-8/],
    ['half of a character at the end', Buffer.from(`${good}\n"für`).subarray(0, -2), 2, /line 2: not UTF-8/],
    ['a compressed file', Buffer.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 10, 0xff]), 2, /line 1: not UTF-8/],
    ['zero bytes', `${good}\n\0\0\0\n`, 2, /line 2: not JSON/],
    ['a last line that was cut off', `${good}\n{"id":"ac-bbb","tit`, 2, /: 1 problem: line 2: not JSON/],
    ['old line ends', `${good}\r${edge('ac-bbb', 'ac-aaa')}\r`, 2, /line 1: not JSON/],
    ['10 MB in a field', `${good}\n{"id":"ac-bbb","title":"${'x'.repeat(10_000_000)}"}`, 2, /line 2: ac-bbb: title is larger than 262144 bytes/],
    ['10 MB in an unknown field', `${good}\n{"id":"ac-bbb","title":"x","odd":"${'x'.repeat(10_000_000)}"}`, 2, /line 2: ac-bbb: metadata with unknown fields is larger/],
    ['a line of 17 MB', `${good}\n${' '.repeat(17 * 1024 * 1024)}\n[]`, 2, /line 2: longer than 16777216 bytes; line 3: not a JSON object/],
    ['JSON of 9,000 levels', `${good}\n${deep}`, 2, /: 1 problem: line 2: nested too deeply/],
    ['a task twice', `${good}\n${good}`, 2, /line 2: ac-aaa is already on line 1/],
    ['a task that waits for itself', edge('ac-aaa', 'ac-aaa'), 2, /line 1: ac-aaa has an edge to itself/],
    ['tasks in a circle', `${edge('ac-aaa', 'ac-bbb')}\n${edge('ac-bbb', 'ac-aaa')}`, 4, /line 2: a circle: ac-/],
    ['parts in a circle', `${edge('ac-aaa', 'ac-bbb', 'parent-child')}\n${edge('ac-bbb', 'ac-aaa', 'parent-child')}`, 4, /line 2: a circle: ac-/],
    ['a rig that is not here', `${good}\n{"id":"ac-bbb","title":"x","town":{"rig":"__proto__"}}`, 2, /line 2: ac-bbb: there is no rig __proto__ here/],
  ])('%s: the line is named, and nothing is imported', async (_name, content, code, message) => {
    writeFileSync(here('bad.jsonl'), content);
    const refused = await ask('import bad.jsonl');
    expect([refused.code, refused.stdout]).toEqual([code, '']);
    expect(refused.stderr).toMatch(message);
    for (const table of ['tasks', 'task_dependencies', 'labels', 'imports', 'task_comments'])
      expect((await sql`select * from ${sql.table(table)}`.execute(db.db)).rows).toEqual([]);
  }); // prettier-ignore

  it('many lines are the same lines after a file of several pieces', async () => {
    const lines = Array.from({ length: 1_500 }, (_, nth) =>
      JSON.stringify({
        id: `ac-${nth.toString(36).padStart(5, '0')}`,
        title: `Nr. ${nth}`,
        description: `für ${nth} `.repeat(90),
      }),
    );
    writeFileSync(here('many.jsonl'), `${lines.join('\n')}\n`);
    expect(statSync(here('many.jsonl')).size).toBeGreaterThan(1024 * 1024);
    expect(await done('import many.jsonl')).toContain('created: 1500');
    const { rows } = await sql<{ title: string; description: string }>`select title, description from tasks`.execute(
      db.db,
    );
    expect(new Set(rows.map((row) => row.title)).size).toBe(1_500);
    for (const { title, description } of rows) expect(description).toBe(`für ${title.slice(4)} `.repeat(90));
  });

  it.each<[string, string, string | Buffer, number, RegExp]>([
    ['UTF-16', 'bad.md', Buffer.from('\uFEFF## One\n', 'utf16le'), 2, /bad\.md is not text in UTF-8/],
    ['Latin-1', 'bad.json', Buffer.from('{"nodes":[{"title":"für"}]}', 'latin1'), 2, /bad\.json is not text in UTF-8/],
    ['zero bytes', 'bad.md', '## One\n\0\n', 2, /is not text in UTF-8/],
    ['a graph that was cut off', 'bad.json', '{"nodes":[{"title":"One"},\n{"ti', 2, /not JSON: .*line 2/],
    ['10 MB', 'bad.md', `## ${'x'.repeat(10_000_000)}`, 2, /INPUT_TOO_LARGE/],
    ['a long title', 'bad.md', `## One\n## ${'x'.repeat(400_000)}`, 2, /line 2: title is larger than/],
    ['a key twice', 'bad.md', '## One\n\n## One\n', 2, /line 3: the key "one" is that of line 1 already/],
    ['a circle', 'bad.md', '## One\nneeds: Two\n## Two\nneeds: One\n', 4, /one waits for two waits for one/],
    ['a circle of parts', 'bad.json', '{"nodes":[{"title":"a","parent_key":"b"},{"title":"b","parent_key":"a"}]}', 4, /a waits for b waits for a|b waits for a waits for b/],
    ['keys of prototypes', 'bad.json', '{"nodes":[{"title":"a","metadata":{"__proto__":{"polluted":1}}}]}', 2, /__proto__/],
    ['an unknown key of prototypes', 'bad.json', '{"nodes":[{"title":"a","constructor":1}]}', 2, /nodes\[0\]: Unrecognized key: "constructor"/],
    ['deep metadata', 'bad.json', `{"nodes":[{"title":"a","metadata":{"a":${'['.repeat(100)}${']'.repeat(100)}}}]}`, 2, /nodes\[0\]\.metadata: more than 32 levels deep/],
    ['deep nonsense', 'bad.json', '['.repeat(250_000) + ']'.repeat(250_000), 2, /not JSON: it is nested too deeply/],
    ['a task that the ledger refuses', 'bad.md', '## One\n\n## Two\ndue: soon\n', 2, /line 3: due date "soon" is not a time/],
    ['an edge to what is not there', 'bad.md', '## One\n\n## Two\nneeds: ac-zzzzz\n', 3, /line 3: there is no task ac-zzzzz/],
  ])('tasks of a file with %s are refused with the place, and none is made', async (_name, file, content, code, message) => {
    writeFileSync(here(file), content);
    const refused = await ask(`task create --from ${file}`);
    expect([refused.code, refused.stdout]).toEqual([code, '']);
    expect(refused.stderr).toMatch(message);
    expect((await sql`select * from tasks`.execute(db.db)).rows).toEqual([]);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  }); // prettier-ignore

  it('tasks of a file are read with a mark of the encoding and with any line ends', async () => {
    writeFileSync(here('plan.json'), '\uFEFF{"nodes":[{"title":"One"}]}\r\n');
    writeFileSync(here('plan.md'), '\uFEFF## Two\r\npriority: 0\r\n\r\ntext\r\n');
    for (const file of ['plan.json', 'plan.md']) await done(`task create --from ${file} --rig acme`);
    const { rows } = await sql`select title, priority, description from tasks order by title`.execute(db.db);
    expect(rows).toEqual([
      { title: 'One', priority: 2, description: '' },
      { title: 'Two', priority: 0, description: 'text' },
    ]);
  });

  it('keys of prototypes are kept as what they are', async () => {
    writeFileSync(
      here('odd.jsonl'),
      '\uFEFF{"id":"ac-aaa","title":"x","__proto__":{"polluted":1},"constructor":{"prototype":{"polluted":1}},"toString":"x"}\r\n',
    );
    expect(await done('import odd.jsonl')).toContain('created: 1');
    const exported = JSON.parse(await done('export')) as { metadata: { imported: object } };
    expect(Object.keys(exported.metadata.imported).toSorted()).toEqual(['__proto__', 'constructor', 'toString']);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
});

it.each([
  ['import', 2, /name one thing to import/],
  ['import nothing.jsonl', 3, /there is no file/],
  ['import .', 3, /there is no tasks.jsonl/],
  ['import /dev/zero', 2, /no regular file/],
  ['import x --beads y', 2, /name one thing/],
  ['import x --status a=b', 2, /names no status of ours/],
  ['export --sign', 2, /--sign writes a folder/],
  ['export --rig nowhere', 3, /there is no rig/],
  ['export --out /dev/null', 2, /no regular file/],
])('refuses %s', async (words, code, message) => {
  expect(await ask(words)).toMatchObject({ code, stdout: '', stderr: expect.stringMatching(message) });
});

it('finds one altered byte of a signed copy, and names the file', async () => {
  await make('one');
  await done('export --sign --out copy');
  expect(readdirSync(here('copy')).toSorted()).toEqual(['manifest.json', 'tasks.jsonl']);
  expect(statSync(join(root, '.town', 'export-key.pem')).mode & 0o777).toBe(0o600);
  const key = (await done('export --public-key')).trim();
  expect(JSON.parse(readFileSync(here('copy', 'manifest.json'), 'utf8'))).toMatchObject({ key, files: [{ tasks: 1 }] });
  expect(await done('import copy --verify')).toContain('unchanged: 1');
  for (const file of ['tasks.jsonl', 'manifest.json']) {
    const path = here('copy', file);
    const bytes = readFileSync(path);
    for (const place of [0, bytes.length >> 1, bytes.length - 1]) {
      const altered = Buffer.from(bytes);
      altered[place] = altered[place]! ^ 1;
      writeFileSync(path, altered);
      const refused = await ask('import copy --verify');
      expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining(path) });
      expect(refused.stderr).toContain('CHECKS_FAILED');
    }
    writeFileSync(path, bytes);
  }
  mkdirSync(join(root, 'other', '.town'), { recursive: true });
  const other = clientOf(join(root, 'other'));
  expect((await ask('import copy --verify', {}, other)).stderr).toMatch(/signed with another key/);
  expect(await done(`import copy --trust ${key}`, other)).toContain('unchanged: 1');
  chmodSync(join(root, '.town', 'export-key.pem'), 0o644);
  expect((await ask('export --sign --out copy')).stderr).toMatch(/others can read the key/);
});

it('keeps an agent to its worktree, and to what it may do', async () => {
  await make('one');
  const agent = 'acme/polecats/amber';
  const ann = { actor: 'person:ann' };
  await db.ledger.addAgent(ann, { id: agent, role: 'polecat', rig_id: 'acme', runtime: { preset: 'external' } });
  await db.ledger.openSession(ann, {
    agent,
    preset: 'external',
    token_hash: 'h',
    host_id: 'h',
    worktree: repository,
    molecule_id: null,
  });
  const token = { token: 't' };
  expect(await ask('export', token)).toMatchObject({ code: 0 });
  expect(await ask(`export --out ${repository}/tasks.jsonl`, token)).toMatchObject({ code: 0 });
  expect(await ask('export --out tasks.jsonl', token)).toMatchObject({
    code: 2,
    stderr: expect.stringContaining('leads out of'),
  });
  symlinkSync(here(), join(repository, 'way-out'));
  expect(await ask(`export --out ${repository}/way-out/new/tasks.jsonl`, token)).toMatchObject({ code: 2 });
  expect(await ask(`import ${repository}/tasks.jsonl`, token)).toMatchObject({
    code: 5,
    stderr: expect.stringContaining('may not import'),
  });
  expect(existsSync(here('new'))).toBe(false);
});

it('syncs a copy into the working tree, only when something changed, and never over what it does not know', async () => {
  expect(await done('sync')).toBe('');
  expect(existsSync(join(repository, '.town-tasks'))).toBe(false);
  await make('one');
  const path = join(repository, '.town-tasks', 'tasks.jsonl');
  expect(await done('sync')).toBe(`acme\t1\t0\twritten\t${path}\n`);
  const stamp = statSync(path).mtimeMs;
  expect(await done('sync --rig acme')).toContain('unchanged');
  expect(statSync(path).mtimeMs).toBe(stamp);
  const first = readFileSync(path);
  await make('two');
  expect(await done('sync')).toContain('written');
  writeFileSync(path, first); // an older commit was checked out
  expect(await done('sync')).toContain('written');
  const line = {
    id: 'ac-elsewhere',
    title: 'made in a branch',
    created_at: '2026-01-01T00:00:00Z',
    updated_at: '2026-01-01T00:00:00Z',
  };
  appendFileSync(path, `${JSON.stringify(line)}\n`);
  expect(await ask('sync')).toMatchObject({
    code: 4,
    stderr: expect.stringMatching(/changes that this town does not know/),
  });
  expect(await done(`import ${path}`)).toContain('created: 1');
  expect(await done('sync')).toBe(`acme\t3\t0\twritten\t${path}\n`);
  expect(await done(`import ${join(repository, '.town-tasks')} --verify`)).toContain('unchanged: 3');
  expect(readdirSync(join(repository, '.town-tasks')).toSorted()).toEqual(['manifest.json', 'tasks.jsonl']);
});

it('does not follow a link out of the repository', async () => {
  await make('one');
  symlinkSync(here(), join(repository, '.town-tasks'));
  expect(await ask('sync')).toMatchObject({ code: 2, stderr: expect.stringContaining('PATH_OUTSIDE_RIG') });
  expect(readdirSync(here())).toEqual([]);
});

it('takes over a folder of Beads', async () => {
  const beads = here('project', '.beads');
  mkdirSync(beads, { recursive: true });
  const times = { created_at: '2026-04-01T08:00:00Z', updated_at: '2026-04-01T11:30:05Z' };
  const lines = [
    { _schema: 'beads-jsonl/1' },
    { _type: 'issue', id: 'bd-8d8e', title: 'Rotate', status: 'blocked', priority: 1, issue_type: 'task', ...times, labels: ['security'], hook_bead: 'x',
      dependencies: [{ issue_id: 'bd-8d8e', depends_on_id: 'bd-bi3', type: 'blocks', created_at: times.created_at, created_by: 'kim', metadata: '{}' },
        { issue_id: 'bd-8d8e', depends_on_id: 'external:web:login', type: 'blocks' }] },
    { _type: 'issue', id: 'bd-bi3', title: 'Epic', status: 'open', priority: 2, issue_type: 'epic', ...times,
      dependencies: [{ issue_id: 'bd-bi3', depends_on_id: 'bd-bi3.2', type: 'blocks' }] },
    { _type: 'issue', id: 'bd-bi3.2', title: 'Runbook', status: 'closed', priority: 2, assignee: 'opal', close_reason: 'Published', ...times,
      dependencies: [{ issue_id: 'bd-bi3.2', depends_on_id: 'bd-bi3', type: 'parent-child', created_at: times.created_at }],
      comments: [{ id: '01962f3a-5c1e-7b2a-9d10-2f6b7c8d9e0f', issue_id: 'bd-bi3.2', author: 'opal', text: 'See wiki.', created_at: times.created_at }] },
    { _type: 'memory', key: 'deploy-window', value: 'before 15:00' },
    { _type: 'issue', id: 'bd-old', title: 'gone', status: 'tombstone', ...times },
  ]; // prettier-ignore
  writeFileSync(join(beads, 'issues.jsonl'), lines.map((line) => JSON.stringify(line)).join('\n'));
  writeFileSync(join(beads, 'interactions.jsonl'), '{"kind":"llm_call"}\n');
  const { stdout, stderr } = await ask('import --beads project --rig acme');
  expect(stdout).toMatch(/created: 3[\s\S]*edges: 2\nedges kept aside: 2\nskipped: 1 schema, 1 memory, 1 tombstone/);
  expect(stderr).toMatch(/kept aside: bd-bi3 blocks bd-bi3\.2 \(cycle\)/);
  expect(stderr).toMatch(/kept aside: bd-8d8e blocks external:web:login \(missing\)/);
  expect(await done('import --beads project/.beads --rig acme')).toContain('unchanged: 3');
  expect(JSON.parse(await done('task show bd-8d8e --json'))).toMatchObject({
    rig_id: 'acme', status: 'open', open_blockers: 1, labels: ['security'], metadata: { imported: { status: 'blocked', hook_bead: 'x' } },
  }); // prettier-ignore
});

it('mirrors the issues of a repository, and asks only for what is new', async () => {
  for (let number = 1; number <= 130; number += 1) {
    github.issues.push({
      number,
      title: `Issue ${number}`,
      labels: ['good first issue'],
      at: '2026-04-02T00:00:00Z',
      ...(number === 3 ? { isPull: true as const } : {}),
    });
  }
  expect(await done('import --github acme/web --rig acme --comments')).toContain('created: 129');
  const asked = github.requests.length;
  github.issues.push({ number: 131, title: 'New', at: '2026-04-05T00:00:00Z' });
  github.issues[0] = { number: 1, title: 'Renamed', state: 'closed', at: '2026-04-05T00:00:00Z' };
  expect(await done('import --github acme/web --rig acme --comments')).toMatch(/created: 1\nupdated: 1/);
  expect(github.requests.slice(asked)[0]).toContain('since=2026-04-02T00%3A00%3A00Z');
  const [task] = JSON.parse(await done('task list --external-ref acme/web#1 --status closed --json')) as object[];
  expect(task).toMatchObject({
    title: 'Renamed',
    status: 'closed',
    labels: ['good-first-issue'],
    source_system: 'github',
  });
  expect(await ask('import --github acme/none')).toMatchObject({ code: 3 });
});

/** The command itself, against this town over a socket. */
async function command(words: readonly string[], env: NodeJS.ProcessEnv, piped = '') {
  const path = join(root, 'town.sock');
  const asked: KeyedRequest[] = [];
  const server = await startSocketServer({
    path,
    handle: async (request) => {
      asked.push(request);
      return await answerRequest(town, request);
    },
  });
  const run = join(__dirname, '..', '..', 'dist', 'cli', 'run.js');
  const child = spawn(process.execPath, [run, ...words], {
    env: { ...process.env, TOWN_SOCKET: path, ...env },
    cwd: here(),
  });
  child.stdin.end(piped);
  const [stdout, stderr, [code]] = await Promise.all([
    child.stdout.setEncoding('utf8').toArray(),
    child.stderr.setEncoding('utf8').toArray(),
    once(child, 'close'),
  ]);
  await server.close();
  return { code: code as number, stdout: stdout.join(''), stderr: stderr.join(''), asked };
}

it('takes what is piped in', async () => {
  expect(await ask('import -')).toMatchObject({ unknown: true });
  const { code, stdout } = await command(['import', '-'], {}, '{"id":"ac-piped","title":"x"}\n');
  expect([code, stdout]).toEqual([0, expect.stringMatching(/standard-input\.jsonl\ncreated: 1/)]);
  expect(existsSync(/source: (.*)/.exec(stdout)![1]!)).toBe(false);
});

it('knows an agent by its token also when something is piped in', async () => {
  writeFileSync(here('token'), 'its-token\n');
  for (const env of [{ TOWN_TOKEN: 'its-token' }, { TOWN_TOKEN: '', TOWN_TOKEN_FILE: here('token') }]) {
    const { code, stderr, asked } = await command(['import', '-'], env, '{"id":"ac-piped","title":"x"}\n');
    expect([code, stderr]).toEqual([5, expect.stringContaining('an agent may not import')]);
    expect(asked.map(({ token }) => token)).toEqual(['its-token', 'its-token']);
  }
});

it('asks GitHub with the token of who asks, which is kept nowhere', async () => {
  github.issues.push({ number: 1, title: 'One', at: '2026-04-02T00:00:00Z' });
  town = createTownClient({ ...partsOf(root), issues: createGithubIssues({ baseUrl: github.url, token: null }) });
  const words = ['import', '--github', 'acme/web', '--rig', 'acme'];
  const refused = await command(words, { GITHUB_TOKEN: '' });
  expect([refused.code, refused.stderr]).toEqual([3, expect.stringContaining('set GITHUB_TOKEN where you run')]);
  const taken = await command(words, { GITHUB_TOKEN: ' secret\n' });
  expect([taken.code, taken.stdout]).toEqual([0, expect.stringContaining('created: 1')]);
  // Asked for only when it is needed: the first request of a command never has it.
  expect([...refused.asked, ...taken.asked].map(({ forge_token }) => forge_token)).toEqual([
    undefined,
    null,
    undefined,
    'secret',
  ]);
  const { stdout } = await command(['task', 'list', '--json'], { GITHUB_TOKEN: 'secret' });
  const tables = ['events', 'imports', 'idempotency_keys', 'tasks', 'outbox'];
  const rows = await Promise.all(tables.map((table) => sql`select * from ${sql.table(table)}`.execute(db.db)));
  expect(JSON.stringify([rows.map((found) => found.rows), taken.stdout, taken.stderr, stdout])).not.toContain('secret');
});

it('refuses a token that could not be a header, without repeating it', async () => {
  const { code, stderr } = await command(['import', '--github', 'acme/web'], { GITHUB_TOKEN: 'sec\nret' });
  expect([code, stderr]).toEqual([2, expect.stringContaining('the request is not understood: forge_token')]);
  expect(stderr).not.toMatch(/sec|ret/);
});
