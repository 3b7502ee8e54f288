import { createHash } from 'node:crypto';
import fc from 'fast-check';
import { TownError } from '../../../schema/errors';
import { isTaskId } from '../../../schema/ids';
import { waitingCycles } from '../../../schema/task/cycles';
import { EXCHANGE_LIMITS, taskLine, type TaskRecord } from '../../../schema/task/interchange';
import { createTaskReader } from '../../../schema/task/interchange-reader';
import { issueRecord } from '../../../schema/task/issue-record';
import type { ForgeIssue } from '../../../schema/task/issue-source';
import type { TaskStatus } from '../../../schema/task/status';

const digestOf = (text: string) => createHash('sha256').update(text).digest('hex');

function read(input: string | Uint8Array, statuses = new Map<string, TaskStatus>()) {
  const reader = createTaskReader('tasks.jsonl', { digestOf, statuses });
  reader.push(typeof input === 'string' ? new TextEncoder().encode(input) : input);
  return reader.end();
}

type Line = Readonly<Record<string, unknown>>;
const line = (more: Line = {}) => JSON.stringify({ id: 'acme-8d8e', title: 'Rotate', priority: 1, ...more });
const one = (more: Line = {}): TaskRecord => read(line(more)).records[0]!;

function problemsOf(input: string | Uint8Array): { readonly line: number; readonly reason: string }[] {
  try {
    read(input);
  } catch (error) {
    if (error instanceof TownError && error.code === 'INVALID_INPUT') return error.details!['problems'] as never;
    throw error;
  }
  return [];
}

describe('a line', () => {
  it('is read with every field', () => {
    const at = '2026-04-02T09:15:00Z';
    const record = one({
      _type: 'issue', description: 'Old key', design: 'd', acceptance_criteria: 'a', spec_id: 's', status: 'closed', issue_type: 'bug',
      assignee: 'acme/polecats/opal', owner: 'kim@example.org', estimated_minutes: 30, created_at: at, created_by: 'kim', updated_at: at,
      started_at: at, closed_at: '2026-04-02T10:15:00.123456789+01:00', close_reason: 'Failed: no key', due_at: '2026-05-01', external_ref: 'gh-9',
      source_system: 'github', pinned: true, labels: ['b', 'a', 'b'], metadata: { k: [1] },
      dependencies: [{ issue_id: 'acme-8d8e', depends_on_id: 'acme-bi3', type: 'waits-for', created_at: at, created_by: 'kim', metadata: '{"gate":"any-children"}', thread_id: 't' }],
      comments: [{ id: 7, issue_id: 'acme-8d8e', author: 'opal', text: 'See wiki.', created_at: at }], notes: 'all of it',
      dependency_count: 1, dependent_count: 0, comment_count: 1,
    }); // prettier-ignore
    const iso = '2026-04-02T09:15:00.000Z';
    expect(record).toEqual({
      line: 1, id: 'acme-8d8e', title: 'Rotate', description: 'Old key', design: 'd', acceptance: 'a', spec_id: 's', status: 'closed',
      type: 'bug', priority: 1, assignee: 'acme/polecats/opal', owner: 'kim@example.org', estimated_minutes: 30, created_at: iso,
      created_by: 'kim', updated_at: iso, started_at: iso, completed_at: '2026-04-02T09:15:00.123Z', close_reason: 'Failed: no key',
      outcome: 'failed', due_at: '2026-05-01T00:00:00.000Z', defer_until: null, external_ref: 'gh-9', source_system: 'github',
      pinned: true, labels: ['a', 'b'], metadata: { k: [1] }, aside: [],
      edges: [{ depends_on_id: 'acme-bi3', type: 'waits-for', metadata: { gate: 'any-children' }, thread_id: 't', created_by: 'kim', created_at: iso }],
      comments: [{ id: '7', author: 'opal', body: 'See wiki.', created_at: iso }], notes: [{ author: 'kim', body: 'all of it', created_at: iso }],
    }); // prettier-ignore
  });

  it('needs a title and an id alone; a priority that older exports left out is 0', () => {
    expect(read('{"id":"acme-7","title":"x"}').records[0]).toMatchObject({
      id: 'acme-7', priority: 0, status: 'open', type: 'task', created_at: null, updated_at: null, labels: [], edges: [],
    }); // prettier-ignore
    expect(problemsOf('{"id":"acme-7"}\n{"title":"x"}').map(({ reason }) => reason)).toEqual([
      'acme-7: title is missing',
      'id is missing',
    ]);
  });

  it.each([
    ['hooked', 'in_progress'],
    ['in_review', 'impl_complete'],
    ['done', 'closed'],
    ['deferred', 'deferred'],
    ['awaiting', 'merge_ready'],
  ])('of status %s is %s', (word, status) => {
    expect(read(line({ status: word }), new Map([['awaiting', 'merge_ready']])).records[0]!.status).toBe(status);
  });

  it('keeps marks of other trackers beside what they mean here', () => {
    expect(one({ status: 'blocked' })).toMatchObject({
      status: 'open',
      pinned: false,
      metadata: { imported: { status: 'blocked' } },
    });
    expect(one({ status: 'pinned' })).toMatchObject({
      status: 'open',
      pinned: true,
      metadata: { imported: { status: 'pinned' } },
    });
    expect(one({ is_template: true })).toMatchObject({ pinned: true, metadata: { imported: { is_template: true } } });
    expect(one({ labels: ['good first issue', 'a'] })).toMatchObject({
      labels: ['a', 'good-first-issue'],
      metadata: { imported: { labels: ['good first issue', 'a'] } },
    });
  });

  it('keeps fields that it does not know, also with the names of prototypes', () => {
    const text =
      '{"id":"acme-abc","title":"x","hook_bead":"acme-1","__proto__":{"polluted":true},"constructor":1,"rig":"r","metadata":{"imported":{"old":1}}}';
    const { metadata } = read(text).records[0]!;
    expect(Object.keys(metadata['imported'] as object).toSorted()).toEqual([
      '__proto__',
      'constructor',
      'hook_bead',
      'old',
      'rig',
    ]);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    expect(Object.getPrototypeOf(metadata['imported'])).toBe(Object.prototype);
  });

  it.each([
    [{ close_reason: "won't fix" }, 'cancelled'],
    [{ close_reason: 'Fixed the error in the parser' }, 'done'],
    [{ close_reason: 'timeout' }, 'failed'],
    [{ town: { outcome: 'escalated' }, close_reason: 'x' }, 'escalated'],
    [{}, 'done'],
  ])('closed with %j ended as %s', (more, outcome) => {
    expect(one({ status: 'closed', ...more }).outcome).toBe(outcome);
    expect(one(more).outcome).toBeNull();
  });

  const FIELDS: readonly (readonly [Line, RegExp | null])[] = [
    [{ priority: 9 }, /priority "9" is not one of 0/],
    [{ priority: 'P2' }, null],
    [{ status: 'odd' }, /status "odd" is not known; say what it means: --status odd=open/],
    [{ created_at: 'yesterday' }, /created_at "yesterday" is not a time/],
    [{ created_at: '2026-13-01T00:00:00Z' }, /is not a time/],
    [{ created_at: '0001-01-01T00:00:00Z' }, null],
    [{ labels: Array.from({ length: 1_001 }, (_, nth) => `l${nth}`) }, /labels has more than 1000/],
    [{ description: 'ü'.repeat(EXCHANGE_LIMITS.textBytes / 2) }, null],
    [{ description: `${'ü'.repeat(EXCHANGE_LIMITS.textBytes / 2)}.` }, /description is larger than 262144 bytes/],
    [{ priority: [1] }, /priority "\[1\]" is not one of 0/],
    [{ status: 'x'.repeat(60) }, /status "x{60}" is not known/],
    [{ created_at: 'x'.repeat(61) }, /created_at "x{60}…" is not a time/],
    [{ labels: 'a' }, /labels is not a list/],
    [{ labels: [1] }, /labels has something that is not text/],
    [{ labels: ['x'.repeat(101)] }, /longer than 100/],
    [{ title: 'x'.repeat(501) }, /title is longer than 500/],
    [{ title: 7 }, /title is not text/],
    [{ description: 'x'.repeat(EXCHANGE_LIMITS.textBytes + 1) }, /description is larger than/],
    [{ estimated_minutes: -1 }, /is not a whole number/],
    [{ pinned: 'yes' }, /pinned is not true or false/],
    [{ metadata: [] }, /metadata is not an object/],
    [{ odd: 'x'.repeat(EXCHANGE_LIMITS.metadataBytes) }, /metadata with unknown fields is larger/],
    [{ town: { outcome: 'great' } }, /town.outcome "great" is not an outcome/],
    [
      { dependencies: [{ depends_on_id: 'acme-2', issue_id: 'acme-3' }] },
      /dependencies\[0\].issue_id is "acme-3", another task/,
    ],
    [{ dependencies: [{}] }, /dependencies\[0\].depends_on_id is missing/],
    [{ dependencies: ['x'] }, /dependencies\[0\] is not an object/],
    [
      { dependencies: [{ depends_on_id: 'acme-2', type: 'waits-for', metadata: '{"gate":"none"}' }] },
      /gate "none" is not/,
    ],
    [
      { dependencies: [{ depends_on_id: 'acme-2', metadata: '{"a":"\\u0000"}' }] },
      /metadata has text that cannot be kept/,
    ],
    [
      { dependencies: [{ depends_on_id: 'acme-2', metadata: { a: 'x'.repeat(EXCHANGE_LIMITS.metadataBytes) } }] },
      /dependencies\[0\].metadata is too large/,
    ],
    [{ comments: [{ text: '' }] }, /comments\[0\].text is missing/],
    [{ comments: ['x'] }, /comments\[0\] is not an object/],
    [{ town: { notes: ['x'] } }, /town.notes\[0\] is not an object/],
    [{ town: { notes: [{ created_at: '2026-04-01' }] } }, /town.notes\[0\].body is missing/],
    [{ town: { notes: [{ body: 'x' }] } }, /town.notes\[0\].created_at is missing/],
    [{ town: { aside: ['x'] } }, /town.aside\[0\] is not an object/],
    [{ town: { aside: [{ depends_on_id: 'acme-2' }] } }, /town.aside\[0\].reason "" is not known/],
    [{ town: { aside: [{ depends_on_id: 'acme-2', reason: 'constructor' }] } }, /reason "constructor" is not known/],
    [{ title: 'a\0b' }, /NUL/],
    [{ odd: '\ud800' }, /lone surrogate/],
    [{ _type: 'event' }, /_type "event" is not/],
  ];
  it.each(FIELDS.map(([more, message]) => [JSON.stringify(more).slice(0, 80), more, message] as const))(
    'with %s is taken or refused with the reason',
    (_name, more, message) => {
      const problems = problemsOf(line(more));
      if (message === null) expect(problems).toEqual([]);
      else expect(problems).toEqual([{ line: 1, reason: expect.stringMatching(message) }]);
    },
  );

  it.each([
    ['nope', { text: 'nope' }],
    ['[1]', { text: '[1]' }],
    [[1], { text: '[1]' }],
    [7, { text: '7' }],
    ['', {}],
    [{ gate: 1 }, { gate: 1 }],
  ])('keeps metadata %j of an edge, also when it is no object', (metadata, kept) => {
    expect(one({ dependencies: [{ depends_on_id: 'acme-2', metadata }] }).edges[0]).toMatchObject({
      type: 'blocks',
      metadata: kept,
    });
  });

  it('keeps an edge to what is no task under its name, and what was kept aside with its reason', () => {
    const record = one({
      dependencies: [{ depends_on_id: 'external:Other Project:part' }],
      town: { aside: [{ depends_on_id: 'acme-2', type: 'loves', reason: 'type' }] },
    });
    expect(record.edges).toMatchObject([{ depends_on_id: 'external:Other Project:part' }]);
    expect(record.aside).toMatchObject([{ depends_on_id: 'acme-2', type: 'loves', reason: 'type' }]);
  });

  it('fills in who said something and when, as far as the line tells', () => {
    const at = '2026-04-01T00:00:00.000Z';
    expect(one({ notes: 'n', owner: 'kim', created_at: at }).notes).toEqual([
      { author: 'kim', body: 'n', created_at: at },
    ]);
    const bare = one({
      notes: 'n',
      comments: [{ text: 'c' }],
      town: { notes: [{ body: 't', created_at: at }] },
    });
    const epoch = '1970-01-01T00:00:00.000Z';
    expect(bare.comments).toEqual([{ id: null, author: 'imported', body: 'c', created_at: epoch }]);
    expect(bare.notes).toEqual([
      { author: 'imported', body: 'n', created_at: epoch },
      { author: 'imported', body: 't', created_at: at },
    ]);
  });

  it('keeps what stood where the unknown fields go', () => {
    expect(one({ metadata: { imported: 'x' }, odd: 1 }).metadata).toEqual({ imported: { imported: 'x', odd: 1 } });
  });

  it('gives an id that is none of ours a new one, the same everywhere', () => {
    const { records, renamed } = read(
      `${JSON.stringify({ id: 'My_App-X1', title: 'x', dependencies: [{ depends_on_id: 'acme.mol.step-1' }] })}\n${JSON.stringify({ id: 'acme.mol.step-1', title: 'y' })}`,
    );
    expect(records[0]!.id).toMatch(/^my-app-[a-z0-9]{9}$/);
    expect(records[0]!.metadata).toEqual({ imported: { id: 'My_App-X1' } });
    expect(records[0]!.edges[0]!.depends_on_id).toBe(records[1]!.id);
    expect(renamed.get('My_App-X1')).toBe(records[0]!.id);
    for (const { id } of records) expect(isTaskId(id!)).toBe(true);
  });

  it.each([
    ['Nothing', /^nothing-[a-z0-9]{9}$/],
    ['__', /^x-[a-z0-9]{9}$/],
    ['日本-1', /^x-[a-z0-9]{9}$/],
    [`${'Long'.repeat(20)}-1`, /^(?:long){7}lo-[a-z0-9]{9}$/],
    ['acme-abc.1.2.3.4.5.6.7', /^acme-[a-z0-9]{9}$/],
    ['../../etc-passwd', /^etc-[a-z0-9]{9}$/],
  ])('of the id %j is given one that can be read', (id, given) => {
    const [record] = read(JSON.stringify({ id, title: 'x' })).records;
    expect(record!.id).toMatch(given);
    expect(isTaskId(record!.id!)).toBe(true);
    expect(record!.metadata).toEqual({ imported: { id } });
  });

  it('comes back as the same bytes from what was read of it', () => {
    const time = fc
      .date({ min: new Date(0), max: new Date('2100-01-01'), noInvalidDate: true })
      .map((at) => at.toISOString());
    const text = fc
      .string({ unit: 'grapheme', maxLength: 30 })
      .filter((value) => !value.includes('\0') && value.isWellFormed());
    const word = fc.stringMatching(/^[a-z]{1,8}$/);
    fc.assert(
      fc.property(
        fc.record({
          title: word, description: text, created_at: time, updated_at: time, labels: fc.uniqueArray(word), created_by: word,
          status: fc.constantFrom('open', 'closed', 'merged', 'deferred'), metadata: fc.dictionary(word, fc.jsonValue({ maxDepth: 3 })),
          notes: fc.array(fc.record({ author: word, body: word, created_at: time })),
          comments: fc.array(fc.record({ id: fc.uuid(), author: word, body: word, created_at: time })),
          targets: fc.uniqueArray(fc.stringMatching(/^acme-[a-z]{3,5}$/)),
        }), // prettier-ignore
        ({ targets, ...given }) => {
          const closed = given.status === 'closed';
          const task = {
            ...given, line: 1, id: 'acme-000', type: 'task', priority: 2, rig_id: null, assignee: null, owner: null, acceptance: null,
            design: null, spec_id: null, external_ref: null, source_system: null, estimated_minutes: 0, due_at: null, defer_until: null,
            pinned: false, outcome: closed ? ('done' as const) : null, close_reason: null, started_at: null,
            completed_at: closed ? given.updated_at : null, aside: [], status: given.status as TaskStatus, metadata: JSON.parse(JSON.stringify(given.metadata)),
            edges: targets.map((depends_on_id) => ({ depends_on_id, type: 'blocks', metadata: {}, thread_id: null, created_by: 'kim', created_at: given.created_at })),
          }; // prettier-ignore
          const written = taskLine(task, 0);
          const again = read(written).records[0]!;
          expect(taskLine({ ...again, id: 'acme-000' }, 0)).toBe(written);
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe('a file', () => {
  it('may begin with a mark of its encoding, end its lines with CR LF, and have empty lines', () => {
    const text = `\uFEFF${line()}\r\n\r\n   \n${line({ id: 'acme-222' })}`;
    expect(read(text).records.map((task) => [task.line, task.id])).toEqual([[1, 'acme-8d8e'], [4, 'acme-222']]); // prettier-ignore
  });

  it('counts what is no task', () => {
    const lines = ['{"_schema":"beads-jsonl/1"}', '{"_type":"memory","key":"k","value":"v"}', line({ status: 'tombstone' }), line({ wisp: true }), line({ ephemeral: true })]; // prettier-ignore
    expect(read(lines.join('\n'))).toMatchObject({
      records: [],
      skipped: { schema: 1, memory: 1, tombstone: 1, wisp: 2 },
    });
  });

  it.each([
    ['bytes', (size: number) => new Uint8Array(size)],
    ['a buffer of Node', (size: number) => Buffer.alloc(size)],
  ])('is the same in pieces of any size, given as %s', (_name, make) => {
    const bytes = new TextEncoder().encode(`${line({ title: 'Größe 🚀' })}\n${line({ id: 'acme-222' })}\n`);
    for (const size of [1, 3, 64]) {
      const reader = createTaskReader('x', { digestOf });
      const buffer = make(size);
      for (let from = 0; from < bytes.length; from += size) {
        const piece = bytes.subarray(from, from + size);
        buffer.set(piece); // used again, as a file's buffer is
        reader.push(buffer.subarray(0, piece.length));
      }
      expect(reader.end().records.map((task) => task.title)).toEqual(['Größe 🚀', 'Rotate']);
    }
  });

  it('names every line that is wrong, once each', () => {
    const bad = new Uint8Array([...new TextEncoder().encode(`${line()}\n`), 0xff, 0xfe, 10]);
    expect(problemsOf(bad)).toEqual([{ line: 2, reason: 'not UTF-8' }]);
    const text = `[1]\n${line()}\n{"id":\n${line()}\n"x"`;
    expect(problemsOf(text).map((problem) => [problem.line, problem.reason.slice(0, 34)])).toEqual([
      [1, 'not a JSON object'],
      [3, expect.stringMatching(/^not JSON/)],
      [4, 'acme-8d8e is already on line 2'],
      [5, 'not a JSON object'],
    ]);
  });

  it.each(['priority', '_type', 'estimated_minutes', 'labels', 'metadata', 'town', 'comments', 'dependencies', 'odd'])(
    'may hold deep JSON as %s, which is refused with its line',
    (field) => {
      const lists = '['.repeat(20_000) + ']'.repeat(20_000);
      const objects = `${'{"a":'.repeat(20_000)}1${'}'.repeat(20_000)}`;
      for (const deep of [lists, objects, `[${lists}]`, `{"a":${objects}}`]) {
        const text = `${line()}\n{"id":"acme-222","title":"x",${JSON.stringify(field)}:${deep}}`;
        expect(problemsOf(text)).toEqual([{ line: 2, reason: 'nested too deeply' }]);
      }
    },
  );

  it('names a task that is there twice under its name elsewhere', () => {
    const elsewhere = (more: Line) => JSON.stringify({ external_ref: 'gh-9', title: 'x', ...more });
    const text = [
      elsewhere({}),
      elsewhere({ source_system: 'github' }),
      elsewhere({}),
      elsewhere({ source_system: 'github' }),
    ];
    expect(problemsOf(text.join('\n'))).toEqual([
      { line: 3, reason: 'gh-9 is already on line 1' },
      { line: 4, reason: 'github gh-9 is already on line 2' },
    ]);
  });

  it('may hold metadata of as many levels as a task may have, unknown fields with them', () => {
    const levels = (count: number): unknown => JSON.parse(`${'['.repeat(count)}${']'.repeat(count)}`);
    const reason = 'acme-8d8e: metadata with unknown fields is nested too deeply';
    expect(problemsOf(line({ metadata: { a: levels(31) } }))).toEqual([]);
    expect(problemsOf(line({ metadata: { a: levels(32) } }))).toEqual([{ line: 1, reason }]);
    expect(problemsOf(line({ odd: levels(30) }))).toEqual([]);
    expect(problemsOf(line({ odd: levels(31) }))).toEqual([{ line: 1, reason }]);
    const edge = (metadata: unknown) => line({ dependencies: [{ depends_on_id: 'acme-2', metadata }] });
    expect(problemsOf(edge({ a: levels(31) }))).toEqual([]);
    for (const metadata of [{ a: levels(32) }, JSON.stringify({ a: levels(32) })]) {
      expect(problemsOf(edge(metadata))).toEqual([
        { line: 1, reason: 'acme-8d8e: dependencies[0].metadata is nested too deeply' },
      ]);
    }
  });

  it('with a line without end is bounded, and goes on after it', () => {
    const reader = createTaskReader('x', { digestOf });
    const piece = new Uint8Array(1024 * 1024).fill(120);
    for (let count = 0; count < 40; count += 1) reader.push(piece);
    reader.push(new TextEncoder().encode(`\n${line()}\n`));
    expect(() => reader.end()).toThrow(/1 problem: line 1: longer than/);
  });

  it('of more bytes than a file may have is refused before it is read to its end', () => {
    const reader = createTaskReader('x', { digestOf });
    const piece = new Uint8Array(1024 * 1024).fill(120);
    const push = () => {
      for (let count = 0; count <= 256; count += 1) reader.push(piece);
    };
    expect(push).toThrow(
      expect.objectContaining({
        code: 'INPUT_TOO_LARGE',
        message: 'x has more than 268435456 bytes; nothing was imported',
      }),
    );
  });

  it.each(['dependencies', 'comments', 'labels'])(
    'with half a million entries in a list of %s has one problem',
    (field) => {
      const text = `{"id":"acme-222","title":"x","${field}":[${'{},'.repeat(500_000)}{}]}`;
      expect(problemsOf(text)).toEqual([{ line: 1, reason: `acme-222: ${field} has more than 100000 entries` }]);
    },
  );
});

describe('circles', () => {
  const pairs = (text: string) => text.split(' ').filter(Boolean).map((pair) => pair.split('>') as [string, string]); // prettier-ignore
  const find = (blocking: string, parents = '') =>
    waitingCycles({ blocking: pairs(blocking), parents: pairs(parents) });

  it.each([
    ['a chain', 'a>b b>c', '', 0],
    ['a diamond', 'a>b a>c b>d c>d', '', 0],
    ['two tasks', 'a>b b>a', '', 1],
    ['a task and itself', 'a>a', '', 1],
    ['two circles apart', 'a>b b>a c>d d>c', '', 2],
    ['a part that waits for its whole', 'c>p', 'c>p', 1],
    ['a whole that waits for its part', 'p>c', 'c>p', 1],
    ['parts that wait for each other in a row', 'b>a c>b', 'a>p b>p c>p', 0],
    ['a part that waits for what waits for the whole', 'c>x x>p', 'c>p', 1],
    ['a part of a whole that waits for something else', 'p>x', 'c>p', 0],
    ['what the whole waits for, waiting for the part', 'p>x x>c', 'c>p', 1],
    ['two that wait for a part and its whole', 'x>c x>p', 'c>p', 0],
    ['wholes in a circle', '', 'a>b b>c c>a', 1],
  ])('%s', (_name, blocking, parents, count) => {
    expect(find(blocking, parents)).toHaveLength(count);
  });

  it('are shown as a way back to the first', () => {
    expect(find('a>b b>c c>a c>d')).toEqual([expect.arrayContaining(['a', 'b', 'c'])]);
  });

  it('are found among a million edges without recursion', () => {
    const chain = Array.from({ length: 500_000 }, (_, nth) => [`t${nth}`, `t${nth + 1}`] as const);
    expect(waitingCycles({ blocking: chain, parents: [] })).toEqual([]);
    const circle = waitingCycles({ blocking: [...chain, ['t500000', 't499990']], parents: [] });
    expect(circle[0]).toHaveLength(11);
  });
});

describe('an issue', () => {
  const issue: ForgeIssue = {
    number: 12, title: ' Crash\0 ', body: 'long\0', state: 'closed', state_reason: 'not_planned', labels: ['bug', 'good first issue', 'priority: P1'],
    author: 'kim', assignees: ['ann'], milestone: 'v2', url: 'https://github.test/acme/web/issues/12', created_at: '2026-04-01T00:00:00Z',
    updated_at: '2026-04-02T00:00:00Z', closed_at: '2026-04-02T00:00:00Z', comments: [],
  }; // prettier-ignore

  it('is a task that mirrors it', () => {
    expect(issueRecord(issue, 'acme/web')).toMatchObject({
      id: null, title: 'Crash', description: 'long', type: 'bug', priority: 1, status: 'closed', outcome: 'cancelled', external_ref: 'acme/web#12',
      source_system: 'github', labels: ['bug', 'good-first-issue', 'priority:-P1'], created_by: 'github:kim', completed_at: '2026-04-02T00:00:00.000Z',
      metadata: { mirror: { number: 12, updated_at: '2026-04-02T00:00:00.000Z' } },
    }); // prettier-ignore
    expect(issueRecord({ ...issue, title: '', state: 'open', closed_at: null, labels: [] }, 'acme/web')).toMatchObject({
      title: 'Issue 12', status: 'open', outcome: null, priority: 2, type: 'task', completed_at: null,
    }); // prettier-ignore
  });

  it.each([
    [{ labels: ['Epic'] }, { type: 'epic' }],
    [{ labels: ['Enhancement'] }, { type: 'feature' }],
    [{ labels: ['feature', 'p3'] }, { type: 'feature', priority: 3 }],
    [{ labels: ['Priority/P0', ' , '] }, { priority: 0, labels: ['-', 'Priority/P0'] }],
    [{ state_reason: 'duplicate' }, { outcome: 'cancelled', close_reason: 'closed on GitHub as duplicate' }],
    [{ state_reason: 'completed' }, { outcome: 'done' }],
    [
      { state_reason: null, closed_at: null },
      { outcome: 'done', close_reason: 'closed on GitHub', completed_at: '2026-04-02T00:00:00.000Z' },
    ],
    [{ milestone: null }, { metadata: { mirror: expect.objectContaining({ milestone: null }) } }],
    [{ milestone: 'v\0' }, { metadata: { mirror: expect.objectContaining({ milestone: 'v' }) } }],
    [{ body: 'x'.repeat(300_000) }, { description: 'x'.repeat(87_381) }],
    [
      { comments: [{ id: 'github-1', author: 'ann', body: 'a\ud800', created_at: '2026-04-02T00:00:00Z' }] },
      { comments: [{ id: 'github-1', author: 'github:ann', body: 'a\ufffd', created_at: '2026-04-02T00:00:00.000Z' }] },
    ],
  ] as const)('%#: what it says of itself decides what the task is', (more, expected) => {
    expect(issueRecord({ ...issue, ...more }, 'acme/web')).toMatchObject(expected);
  });
});
