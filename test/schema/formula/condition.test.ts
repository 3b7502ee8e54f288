import { readCondition } from '../../../schema/formula/condition';
import { conditionText } from '../../../schema/formula/flow-text';
import { readRange } from '../../../schema/formula/range';

const values = new Map([
  ['mode', 'same session'],
  ['n', '3'],
  ['off', 'No'],
  ['empty', ''],
]);
const read = (text: string, self: string | null = null) => readCondition(text, { values, self });

describe('conditions about variables', () => {
  it.each([
    ['{{mode}}', true],
    ['!{{mode}}', false],
    ['not {{ off }}', true],
    ['{{empty}}', false],
    ['{{missing}}', false],
    ['{{mode}} == same session', true],
    ['{{mode}} != "same session"', false],
    ["{{mode}} == 'same session'", true],
    ['{{n}} == 3', true],
    ['{{n}} >= 3', true],
    ['{{n}} > 3', false],
    ['{{n}} < 4 and {{n}} <= 3', true],
    ['{{n}} < {{mode}}', false],
    ['{{mode}} < 3', false],
    ['({{off}} || {{n}}) && !{{empty}}', true],
    ['{{n}} == 3 and {{mode}} != "a"', true],
    ['{{n}} == {{n}} or {{off}}', true],
    ['!{{n}} == 3', false],
  ])('decides %s', (text, is) => {
    expect(read(text)).toEqual({ ok: true, is });
  });
});

describe('conditions about the run', () => {
  it.each([
    ["review.status == 'complete'", 'review.status == "complete"'],
    ['a-b.c.status != DONE', 'a-b.c.status != "complete"'],
    ['x.status == closed', 'x.status != "open"'],
    ['x.status != closed', 'x.status == "open"'],
    ['steps.x.outcome == failed', 'x.status == "failed"'],
    ['review.output.approved == true', 'review.output.approved == true'],
    ['review.output.approved', 'review.output.approved == true'],
    ['review.output == null', 'review.output == null'],
    ['review.output.score >= {{n}}', 'review.output.score >= 3'],
    ["review.output.who == '{{mode}}'", 'review.output.who == "same session"'],
    ['review.output.who == plain', 'review.output.who == "plain"'],
    ['steps.complete >= 3', 'steps.complete >= 3'],
    ["file.exists('go.mod')", "file.exists('go.mod') == true"],
    ["x.output.who == '{{gone}}'", 'x.output.who == ""'],
    ["env.CI == 'true'", 'env.TOWN_VAR_CI == "true"'],
    ['env.TOWN_VAR_X == 1', 'env.TOWN_VAR_X == 1'],
    ["children(a).all(status == 'complete')", 'children(a).all(status == "complete")'],
    ['descendants(a).any(step.output.ok != false)', 'descendants(a).any(output.ok != false)'],
    ['children(a).count(status == failed) < 2', 'children(a).count(status == "failed") < 2'],
    ['not x.output.a', 'not (x.output.a == true)'],
    ['not (x.output.a or y.output.b)', 'not (x.output.a == true or y.output.b == true)'],
    ['x.output.a and (y.output.b or {{n}} == 4)', 'x.output.a == true and y.output.b == true'],
    ['x.output.a and (y.output.b or z.output.c)', 'x.output.a == true and (y.output.b == true or z.output.c == true)'],
  ])('reads %s', (text, wanted) => {
    const found = read(text);
    if (!found.ok || typeof found.is === 'boolean') throw new Error(JSON.stringify(found));
    expect(conditionText(found.is)).toBe(wanted);
  });

  it('lets variables decide what they can', () => {
    expect(read('x.output.a or {{n}} == 3')).toEqual({ ok: true, is: true });
    expect(read('x.output.a and {{n}} == 4')).toEqual({ ok: true, is: false });
    expect(read('({{off}}) or ({{empty}})')).toEqual({ ok: true, is: false });
  });

  it('knows whom step means, where there is one', () => {
    const found = read('step.status == complete', 'last');
    expect(found.ok && found.is).toMatchObject({ left: { of: 'status', step: 'last' } });
  });

  it.each([
    ['', /empty/],
    ['no_response_1', /is not known: write/],
    ['step.status == complete', /which step/],
    ['output.x == 1', /which step/],
    ['x.status', /compare x.status/],
    ['x.status == purple', /is no status/],
    ['x.status > complete', /== or != only/],
    ['x.output.a ==', /a value is missing/],
    ['x.output.a == )', /a value is missing/],
    ['x.output.a == 1 y', /does not belong/],
    ['(x.output.a', /a "\)" is missing/],
    ['&& x.output.a', /something is missing/],
    ['x.output.a and', /something is missing/],
    ["'a' == 'b'", /something is missing/],
    ['x.output.a # 1', /not known here/],
    ['steps.failed >= 1', /is not known/],
    ['steps.complete >= many', /with a number/],
    ['steps.complete', /compare steps.complete/],
    ['children(a).most(status == complete)', /\.all/],
    ['siblings(a).all(status == complete)', /\.all/],
    ['children(a).all({{n}} == 3)', /must ask about/],
    ['children(a).all(children(b).any(status == complete))', /within another/],
    ['children(a).count(status == complete)', /with a number/],
    ['children(a).count(status == complete) > x', /with a number/],
    ["file.exists('/etc/passwd')", /within the worktree/],
    ["file.exists('../x')", /within the worktree/],
    ["file.exists('')", /within the worktree/],
    ['('.repeat(30), /nested deeper/],
    ['x'.repeat(1_001), /longer than/],
  ])('refuses %s', (text, why) => {
    expect(read(text)).toEqual({ ok: false, why: expect.stringMatching(why) as string });
  });
});

describe('ranges', () => {
  it.each([
    ['1..7', 1, 7],
    ['1..2^{n}', 1, 8],
    ['{n}..(2 * {{ n }} - 1)', 3, 5],
    [' 0 .. 7 / 2 ', 0, 3],
    ['-2..2^3^0', -2, 2],
    ['1+2*3..10-1-1', 7, 8],
  ])('counts %s', (text, first, last) => {
    expect(readRange(text, values)).toEqual({ ok: true, is: { first, last } });
  });

  it.each([
    ['7', /first\.\.last/],
    ['1..2..3', /first\.\.last/],
    ['1..', /a number is missing/],
    ['1..x', /a number is missing/],
    ['1..(2', /"\)" is missing/],
    ['1..2 3', /is not known here/],
    ['1..{mode}', /not a whole number/],
    ['1..{gone}', /not a whole number/],
    ['1..9^9^9', /too large/],
    ['1..10^10', /too large/],
    ['1..1/0', /divided by zero/],
    ['1..0/0', /divided by zero/],
    ['1..9999999999', /too large/],
    [`1..${'('.repeat(300)}`, /longer than/],
  ])('refuses %s', (text, why) => {
    expect(readRange(text, values)).toEqual({ ok: false, why: expect.stringMatching(why) as string });
  });
});
