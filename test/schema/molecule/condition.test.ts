import type { Comparison, Operand, RunCondition } from '../../../schema/formula/flow';
import type { Json } from '../../../schema/json';
import { type ConditionView, holds, type SeenStep } from '../../../schema/molecule/condition';
import { dig, pick } from '../../../schema/molecule/output';
import { fillGate, fillText, outputsNamed } from '../../../schema/molecule/texts';

const seen: Record<string, SeenStep> = {
  done: { status: 'complete', output: { n: 5, text: 'abc', deep: { list: [1, 2] }, yes: true, none: null } },
  bad: { status: 'failed', output: null },
  left: { status: 'skipped', output: null },
  open: { status: 'open', output: null },
};
const view: ConditionView = {
  step: (name) => seen[name] ?? null,
  under: (name, deep) => (name === 'all' ? Object.values(seen).slice(0, deep ? 4 : 2) : []),
  closed: 3,
  file: (path) => (path === 'asked' ? true : null),
  env: (name) => (name === 'TOWN_VAR_MODE' ? 'fast' : null),
};
const status = (step: string): Operand => ({ of: 'status', step });
const output = (step: string, ...path: string[]): Operand => ({ of: 'output', step, path });
const is = (left: Operand, comparison: Comparison, right: Json): RunCondition => ({
  op: 'compare',
  left,
  is: comparison,
  right,
});

describe('a comparison', () => {
  it.each<[Operand, Comparison, Json, boolean]>([
    [status('done'), '==', 'complete', true],
    [status('bad'), '==', 'failed', true],
    [status('left'), '==', 'skipped', true],
    [status('open'), '==', 'open', true],
    [status('nobody'), '==', 'complete', false],
    [status('nobody'), '!=', 'complete', true],
    [status('nobody'), '==', null, false],
    [status('nobody'), '!=', null, false],
    [output('done', 'n'), '>', 4, true],
    [output('done', 'n'), '>', 5, false],
    [output('done', 'n'), '>=', 5, true],
    [output('done', 'n'), '<', 5, false],
    [output('done', 'n'), '<=', 5, true],
    [output('done', 'n'), '<=', 4, false],
    [output('done', 'n'), '==', '5', true],
    [output('done', 'n'), '<', '10', true],
    [output('done', 'yes'), '==', 'true', true],
    [output('done', 'yes'), '<', 2, false],
    [output('done', 'text'), '<', 'abd', true],
    [output('done', 'text'), '>', 'abb', true],
    [output('done', 'text'), '>=', 'abc', true],
    [output('done', 'text'), '<', 3, false],
    [output('done', 'deep', 'list'), '==', [1, 2], true],
    [output('done', 'deep', 'list'), '!=', [1, 2], false],
    [output('done', 'deep', 'list'), '<', [1, 2], false],
    [output('done', 'deep', 'list', 'length'), '==', 2, true],
    [output('done', 'deep', 'list', '1'), '==', 2, true],
    [output('done', 'deep', 'nothing'), '>', 0, false],
    [output('done', 'none'), '<=', 0, false],
    [output('done', 'none'), '!=', 0, true],
    [output('done', 'n'), '>', null, false],
    [output('done', 'toString'), '!=', null, false],
    [output('bad', 'n'), '==', 5, false],
    [{ of: 'complete' }, '>=', 3, true],
    [{ of: 'file', path: 'asked' }, '==', true, true],
    [{ of: 'file', path: 'unknown' }, '==', true, false],
    [{ of: 'env', name: 'TOWN_VAR_MODE' }, '==', 'fast', true],
    [{ of: 'env', name: 'TOWN_VAR_NONE' }, '==', 'fast', false],
  ])('%j %s %j is %s', (left, comparison, right, expected) => {
    expect(holds(is(left, comparison, right), view)).toBe(expected);
  });
});

describe('a condition of several', () => {
  const yes = is({ of: 'complete' }, '==', 3);
  const no = is({ of: 'complete' }, '==', 4);

  it.each<[RunCondition, boolean]>([
    [{ op: 'and', of: [yes, yes] }, true],
    [{ op: 'and', of: [yes, no] }, false],
    [{ op: 'or', of: [no, yes] }, true],
    [{ op: 'or', of: [no, no] }, false],
    [{ op: 'not', of: no }, true],
  ])('%j is %s', (condition, expected) => {
    expect(holds(condition, view)).toBe(expected);
  });

  it.each<[string, 'all' | 'any', boolean, string, boolean]>([
    ['all', 'all', false, 'complete', false],
    ['all', 'any', false, 'complete', true],
    ['all', 'any', false, 'skipped', false],
    ['all', 'any', true, 'skipped', true],
    ['nothing', 'all', true, 'complete', true],
    ['nothing', 'any', true, 'complete', false],
  ])('under %s: %s (deep: %s) is %s: %s', (step, op, deep, what, expected) => {
    expect(holds({ op, step, deep, where: is(status(''), '==', what) }, view)).toBe(expected);
  });

  it('counts', () => {
    const where: RunCondition = { op: 'or', of: [is(output('', 'n'), '==', 5), is(status('open'), '==', 'complete')] };
    const count = (comparison: Comparison, right: number) =>
      holds({ op: 'count', step: 'all', deep: true, where, is: comparison, right }, view);
    expect(count('==', 1)).toBe(true);
    expect(count('>', 1)).toBe(false);
    expect(holds(is(status(''), '==', 'complete'), view)).toBe(false);
  });
});

describe('places in outputs', () => {
  it('are found by own keys alone', () => {
    expect(dig({ a: [{ b: 1 }] }, ['a', '0', 'b'])).toBe(1);
    expect(dig({ a: 1 }, ['constructor'])).toBeUndefined();
    expect(dig('text', ['length'])).toBeUndefined();
    expect(dig(undefined, [])).toBeUndefined();
  });

  it('are picked out of the rest', () => {
    const output = { a: { b: 1, c: 2 }, list: [{ x: 1, y: 2 }], d: 3, e: 4 };
    expect(pick(output, [['a', 'b'], ['list', '0', 'x'], ['d'], ['none'], ['d', 'deeper']])).toEqual({
      a: { b: 1 },
      list: { 0: { x: 1 } },
      d: 3,
    });
    expect(pick(output, [['e', 'deeper']])).toEqual({});
    expect(pick(output, [['a', 'b'], ['a']])).toEqual({ a: { b: 1, c: 2 } });
    expect(pick(output, [[]])).toBe(output);
    expect(JSON.stringify(pick(JSON.parse('{"__proto__": {"x": 1}}'), [['__proto__', 'x']]))).toBe(
      '{"__proto__":{"x":1}}',
    );
  });
});

describe('texts', () => {
  const levels = [
    { index: 2, item: { name: 'in', list: [1] }, vars: { who: 'me' } },
    { index: 0, item: 'out', vars: { who: 'them', where: 'there' } },
  ];

  it.each([
    ['{item.name} {{item.name}} {{ item.name }}', 'in in in'],
    ['{item.list} {item}', '[1] {"name":"in","list":[1]}'],
    ['{index} {{index}}', '2 2'],
    ['{{who}} {{where}} {{unknown}}', 'me there {{unknown}}'],
    ['{item.nothing} {other} {}', '{item.nothing} {other} {}'],
    ['{{steps.a.output.n}} {{steps.b.c.output}} {{steps.z.output.n}}', '7 {"n":8} {{steps.z.output.n}}'],
  ])('%s is filled as %s', (text, expected) => {
    const outputs: Record<string, Json> = { a: { n: 7 }, 'b.c': { n: 8 } };
    expect(fillText(text, levels, (step, path) => dig(outputs[step], path))).toBe(expected);
  });

  it('without anything to fill them stay', () => {
    expect(fillText('{item} {index} {{x}} {{steps.a.output.b}}', [])).toBe('{item} {index} {{x}} {{steps.a.output.b}}');
    expect(fillText('{item}', [{ index: 0, itemAt: { step: 'a', round: 1, path: [] } }])).toBe('{item}');
  });

  it('name the outputs they need', () => {
    expect(outputsNamed('{{steps.a.output.x.y}} {{who}} {item} {{steps.b.output}}')).toEqual([
      { step: 'a', path: ['x', 'y'] },
      { step: 'b', path: [] },
    ]);
  });

  it('of gates are filled too', () => {
    expect(fillGate({ kind: 'task', task_id: 'acme-{item}', timeoutMs: 5 }, [levels[1]!])).toEqual({
      kind: 'task',
      task_id: 'acme-out',
      timeoutMs: 5,
    });
    expect(
      fillGate({ kind: 'human', prompt: '{{who}}?', timeoutMs: null, approvers: ['{{who}}', 'lead'] }, levels),
    ).toEqual({ kind: 'human', prompt: 'me?', timeoutMs: null, approvers: ['me', 'lead'] });
    const condition = { kind: 'condition', when: is(status('{item}'), '==', 'x'), timeoutMs: null } as const;
    expect(fillGate(condition, levels)).toBe(condition);
  });
});
