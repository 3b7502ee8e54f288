import fc from 'fast-check';
import { TownError } from '../../../schema/errors';
import { parseQuery, QUERY_FIELDS, QUERY_LIMITS, type QueryField } from '../../../schema/task/query';

const compare = (field: QueryField, operator: string, value: object) => ({ kind: 'compare', field, operator, value });

describe('a query', () => {
  it.each([
    ['status=open', compare('status', '=', { kind: 'status', status: 'open' })],
    ['Status = wip', compare('status', '=', { kind: 'status', status: 'in_progress' })],
    ['priority<=P1', compare('priority', '<=', { kind: 'number', number: 1 })],
    ['type!=bug', compare('type', '!=', { kind: 'text', text: 'bug' })],
    ['issue_type==bug', compare('type', '=', { kind: 'text', text: 'bug' })],
    ['label=team:*', compare('label', '=', { kind: 'glob', pattern: 'team:*' })],
    ['label="team:*"', compare('label', '=', { kind: 'text', text: 'team:*' })],
    ["title='it\\'s (not) so'", compare('title', '=', { kind: 'text', text: "it's (not) so" })],
    ['owner=none', compare('owner', '=', { kind: 'none' })],
    ['owner="none"', compare('owner', '=', { kind: 'text', text: 'none' })],
    ['estimate>30', compare('estimate', '>', { kind: 'number', number: 30 })],
    ['estimate!=none', compare('estimate', '!=', { kind: 'none' })],
    ['closed=none', compare('closed', '=', { kind: 'none' })],
    ['created<+1h', compare('created', '<', { kind: 'offset', ms: 3_600_000 })],
    ['pinned=yes', compare('pinned', '=', { kind: 'is', is: true })],
    ['blocked=FALSE', compare('blocked', '=', { kind: 'is', is: false })],
    ['updated>7d', compare('updated', '>', { kind: 'offset', ms: -7 * 86_400_000 })],
    ['updated>-7d', compare('updated', '>', { kind: 'offset', ms: -7 * 86_400_000 })],
    ['due<=2w', compare('due', '<=', { kind: 'offset', ms: 14 * 86_400_000 })],
    ['wake<-30m', compare('wake', '<', { kind: 'offset', ms: -1_800_000 })],
    ['created>0h', compare('created', '>', { kind: 'offset', ms: 0 })],
    ['due<now', compare('due', '<', { kind: 'offset', ms: 0 })],
    ['closed=today', compare('closed', '=', { kind: 'day', day: 0 })],
    ['due=tomorrow', compare('due', '=', { kind: 'day', day: 1 })],
    ['created>=2026-05-01', compare('created', '>=', { kind: 'day', day: '2026-05-01' })],
    [
      'started<"2026-05-01T15:00:00+02:00"',
      compare('started', '<', { kind: 'moment', at: '2026-05-01T13:00:00.000Z' }),
    ],
    ['metadata.team!=core', { kind: 'metadata', key: 'team', operator: '!=', value: { kind: 'text', text: 'core' } }],
  ])('%s is read', (text, query) => {
    expect(parseQuery(text)).toEqual(query);
  });

  it('binds NOT before AND before OR, whatever the case of the words', () => {
    const [a, b, c] = ['a', 'b', 'c'].map((text) => compare('type', '=', { kind: 'text', text }));
    expect(parseQuery('type=a or type=b AND not type=c')).toEqual({
      kind: 'or',
      parts: [a, { kind: 'and', parts: [b, { kind: 'not', part: c }] }],
    });
    expect(parseQuery('NOT (type=a OR type=b) and type=c')).toEqual({
      kind: 'and',
      parts: [{ kind: 'not', part: { kind: 'or', parts: [a, b] } }, c],
    });
    expect(parseQuery('((type=a))')).toEqual(a);
    expect(parseQuery('type=a AND type=b AND type=c')).toEqual({ kind: 'and', parts: [a, b, c] });
  });

  it.each([
    ['', 1, 'a field, NOT or ('],
    ['   ', 4, 'a field, NOT or ('],
    ['colour=red', 1, 'a field (id'],
    ['constructor=x', 1, 'a field (id'],
    ['status', 7, '= != after status'],
    ['status=', 8, 'a value after ='],
    ['status>open', 7, '= != after status'],
    ['status=great', 8, 'a status (open'],
    ['priority=5', 10, 'a priority from 0'],
    ['pinned=1', 8, 'true or false'],
    ['estimate=many', 10, 'a whole number'],
    ['created=7d', 9, 'a day, a time or none'],
    ['created>soon', 9, 'how long ago'],
    ['due>2026-02-30', 5, 'how far away'],
    ['due>999999w', 5, 'how far away'],
    ['due>none', 5, '= or != before none'],
    ['status=open type=bug', 13, 'AND, OR or the end'],
    ['status=open AND', 16, 'a field, NOT or ('],
    ['AND status=open', 1, 'a field, NOT or ('],
    ['(status=open', 13, 'AND, OR or )'],
    ['status=open)', 12, 'AND, OR or the end'],
    ['()', 2, 'a field, NOT or ('],
    ['title="open', 12, 'the closing "'],
    ['title=!x', 7, '!= or NOT'],
    ['"status"=open', 1, 'a field, NOT or ('],
    ['metadata.=x', 1, 'metadata.<key>'],
    ['metadata.a>3', 11, '= != after metadata.a'],
    ['title=\u{0}', 7, 'a value of at most'],
    [`title=${'x'.repeat(501)}`, 7, 'a value of at most'],
    ['title=\ud800', 7, 'a value of at most'],
    [`${'('.repeat(40)}type=a${')'.repeat(40)}`, 32, 'at most 30 levels'],
    [`${'NOT '.repeat(40)}type=a`, 125, 'at most 30 levels'],
    [Array.from({ length: 101 }, () => 'type=a').join(' OR '), 1001, 'at most 100 comparisons'],
  ])('%j is refused at column %i', (text, column, expected) => {
    const refused = refusalOf(text);
    expect(refused.code).toBe('INVALID_INPUT');
    expect(refused.details).toMatchObject({ column, expected: expect.stringContaining(expected) });
    expect(refused.message).toContain(`column ${column}:`);
  });

  it('has at most so many characters', () => {
    expect(refusalOf(`title="${'x'.repeat(QUERY_LIMITS.characters)}"`).code).toBe('INPUT_TOO_LARGE');
  });

  it('of any text is read or refused, never anything else', () => {
    const words = [
      ...Object.keys(QUERY_FIELDS),
      '=',
      '!=',
      '>',
      'AND',
      'OR',
      'NOT',
      '(',
      ')',
      '7d',
      '"a b"',
      'none',
      'x*',
    ];
    const text = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.array(fc.constantFrom(...words)).map((all) => all.join(' ')),
    );
    fc.assert(
      fc.property(text, (query) => {
        try {
          parseQuery(query);
        } catch (error) {
          expect(error).toBeInstanceOf(TownError);
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

function refusalOf(text: string): TownError {
  try {
    parseQuery(text);
  } catch (error) {
    if (error instanceof TownError) return error;
    throw error;
  }
  throw new Error(`${text} was read`);
}
