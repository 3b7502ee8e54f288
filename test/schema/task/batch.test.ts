import fc from 'fast-check';
import { TownError } from '../../../schema/errors';
import { parseBatch } from '../../../schema/task/batch';

const one = (line: string) => parseBatch(line)[0];

describe('a line of a batch', () => {
  it.each([
    ['close ac-1a2b3', { op: 'close', id: 'ac-1a2b3', outcome: 'done' }],
    ["close ac-1a2b3 don't need it", { op: 'close', id: 'ac-1a2b3', outcome: 'done', reason: "don't need it" }],
    ['close ac-1a2b3 "a \\"b\\" \\\\ c"', { op: 'close', id: 'ac-1a2b3', outcome: 'done', reason: 'a "b" \\ c' }],
    ['close ac-1a2b3 see "x" and "y"', { op: 'close', id: 'ac-1a2b3', outcome: 'done', reason: 'see "x" and "y"' }],
    [
      'update ac-1a2b3 status=open priority=P1 title="New title" assignee=none',
      {
        op: 'update',
        id: 'ac-1a2b3',
        patch: { status: 'open', priority: 1, title: 'New title', assigned_agent_id: null },
      },
    ],
    [
      'update ac-1a2b3.1 assignee=acme/polecats/amber estimate=30 due= pinned=true owner=bea description=a=b',
      {
        op: 'update',
        id: 'ac-1a2b3.1',
        patch: {
          assigned_agent_id: 'acme/polecats/amber',
          estimated_minutes: 30,
          due_at: null,
          pinned: true,
          owner: 'bea',
          description: 'a=b',
        },
      },
    ],
    [
      'update ac-1a2b3 type=bug acceptance=none design=x spec=y external_ref=gh-9 estimate=none',
      {
        op: 'update',
        id: 'ac-1a2b3',
        patch: {
          type: 'bug',
          acceptance: null,
          design: 'x',
          spec_id: 'y',
          external_ref: 'gh-9',
          estimated_minutes: null,
        },
      },
    ],
    ['create bug 1 Login fails', { op: 'create', task: { type: 'bug', priority: 1, title: 'Login fails' } }],
    ['create task P2 "Quoted"', { op: 'create', task: { type: 'task', priority: 2, title: 'Quoted' } }],
    ['reopen ac-1a2b3', { op: 'reopen', id: 'ac-1a2b3' }],
    ['reopen ac-1a2b3 fails again', { op: 'reopen', id: 'ac-1a2b3', reason: 'fails again' }],
    ['defer ac-1a2b3', { op: 'defer', id: 'ac-1a2b3', until: null }],
    ['defer ac-1a2b3 3d', { op: 'defer', id: 'ac-1a2b3', until: '3d' }],
    ['undefer ac-1a2b3', { op: 'undefer', id: 'ac-1a2b3' }],
    ['assign ac-1a2b3 mayor', { op: 'update', id: 'ac-1a2b3', patch: { assigned_agent_id: 'mayor' } }],
    ['pin ac-1a2b3', { op: 'update', id: 'ac-1a2b3', patch: { pinned: true } }],
    ['unpin ac-1a2b3', { op: 'update', id: 'ac-1a2b3', patch: { pinned: false } }],
    ['note ac-1a2b3 see a 5" disk', { op: 'note', id: 'ac-1a2b3', body: 'see a 5" disk' }],
    ['comment ac-1a2b3 "so?"', { op: 'comment', id: 'ac-1a2b3', body: 'so?' }],
    ['label add ac-1a2b3 a b', { op: 'update', id: 'ac-1a2b3', patch: { add_labels: ['a', 'b'] } }],
    ['label remove ac-1a2b3 a', { op: 'update', id: 'ac-1a2b3', patch: { remove_labels: ['a'] } }],
    [
      'dep add ac-1a2b3 ac-4c5d6',
      { op: 'dep-add', edge: { task_id: 'ac-1a2b3', depends_on_id: 'ac-4c5d6', type: 'blocks' } },
    ],
    [
      'dep add ac-1a2b3 ac-4c5d6 related',
      { op: 'dep-add', edge: { task_id: 'ac-1a2b3', depends_on_id: 'ac-4c5d6', type: 'related' } },
    ],
    ['dep remove ac-1a2b3 ac-4c5d6', { op: 'dep-remove', task_id: 'ac-1a2b3', depends_on_id: 'ac-4c5d6' }],
  ])('%s', (line, operation) => {
    expect(one(line)).toEqual({ ...operation, line: 1 });
  });

  it.each([
    ['destroy ac-1a2b3', 'is none of close, update'],
    ['constructor x', 'is none of close, update'],
    ['close', 'the id of a task is missing'],
    ['close nothing', 'is not a task id'],
    ['update ac-1a2b3', 'at least one key=value'],
    ['update ac-1a2b3 priority', 'is no key=value'],
    ['update ac-1a2b3 colour=red', 'is no key=value'],
    ['update ac-1a2b3 toString=x', 'is no key=value'],
    ['update ac-1a2b3 priority=7', 'is not one of 0 to 4'],
    ['update ac-1a2b3 pinned=maybe', 'neither true nor false'],
    ['update ac-1a2b3 estimate=long', 'is not a whole number'],
    ['update ac-1a2b3 title="open', 'a double quote is not closed'],
    ['update ac-1a2b3 assignee=A/b', 'is not an agent address'],
    ['create bug', 'a priority is missing'],
    ['create bug 1', 'a title is missing'],
    ['create bug 1 " "', 'a title is missing'],
    ['defer ac-1a2b3 3d please', '"please" is too much'],
    ['undefer ac-1a2b3 now', '"now" is too much'],
    ['label ac-1a2b3 a', 'is none of add, remove'],
    ['label', 'add or remove is missing'],
    ['label add ac-1a2b3', 'a label is missing'],
    ['dep add ac-1a2b3', 'the id of a task is missing'],
    ['dep add ac-1a2b3 ac-4c5d6 loves', 'is none of blocks'],
  ])('%s is refused', (line, message) => {
    expect(() => one(line)).toThrow('line 1: ');
    expect(() => one(line)).toThrow(message);
  });
});

describe('a batch', () => {
  it('passes over comments, empty lines, a byte order mark and foreign line ends', () => {
    const operations = parseBatch('\uFEFF# a plan\r\n\r\n  pin ac-1a2b3  \rcreate task 2 x\n', { rig_id: 'acme' });
    expect(operations.map(({ op, line }) => [op, line])).toEqual([
      ['update', 3],
      ['create', 4],
    ]);
    expect(operations[1]).toMatchObject({ task: { rig_id: 'acme' } });
  });

  it('names every wrong line at once', () => {
    const wrong = Array.from({ length: 20 }, () => 'close').join('\n');
    expect(() => parseBatch(`pin ac-1a2b3\n${wrong}`)).toThrow(/line 2: .*line 13: .*and 8 more/s);
  });

  it('has at least one and at most so many changes', () => {
    expect(() => parseBatch('# nothing\n')).toThrow('no line');
    expect(() => parseBatch('pin ac-1a2b3\n'.repeat(1_001))).toThrow('1001 changes at once');
    expect(() => parseBatch('#'.repeat(600_000))).toThrow('at most');
  });

  it('does not take a bug for a mistake of the line', () => {
    const defaults = {
      get rig_id(): string {
        throw new RangeError('a bug');
      },
    };
    expect(() => parseBatch('create bug 1 x', defaults)).toThrow(RangeError);
  });

  it('of any text is read or refused, never anything else', () => {
    const word = fc.constantFrom(
      'close',
      'update',
      'dep',
      'add',
      'ac-1a2b3',
      'a="',
      'title=x',
      '"',
      '\\',
      '\n',
      '#',
      '',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(word).map((all) => all.join(' ')),
        ),
        (text) => {
          try {
            parseBatch(text);
          } catch (error) {
            expect(error).toBeInstanceOf(TownError);
          }
        },
      ),
      { numRuns: 1_000 },
    );
  });
});
