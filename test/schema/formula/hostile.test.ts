import { decodeFormula, parseFormula } from '../../../schema/formula/parse';
import { Work } from '../../../schema/formula/budget';
import { attempt, Refusal } from '../../../schema/formula/refusal';
import { cook, recipeOf } from './cooking';

/* Files from strangers: whatever they ask for, the answer is a problem at its line, soon and without filling the memory. */

/** Of the processor, so that a busy machine does not matter. Each takes about two seconds at most. */
const PATIENCE_MS = 15_000;

function many(count: number, entry: (index: number) => string): string {
  return Array.from({ length: count }, (_, index) => entry(index)).join(',');
}

const loop = (count: number, body: string, more = ''): string =>
  `formula="f"\n[[steps]]\nid="l"\n[steps.loop]\ncount=${count}\n${more}\nbody=[${body}]`;
const broad = (rest: string): string =>
  `formula="f"\nsteps=[{id="l",loop={count=4900,body=[{id="x"}]}},{id="a"},{id="b"}]\n${rest}`;
const TEXT = 'y'.repeat(900_000);
const T = 'formula="t"\n[[template]]\nid="{target}"';

it.each<[string, string, string, Readonly<Record<string, string>>?]>([
  ['a text in every round', loop(5_000, `{id="x",description="${TEXT}"}`), '7 FORMULA_TOO_BIG'],
  ['a text made anew in every round', loop(5_000, `{id="x",description="{n}${TEXT}"}`, 'var="n"'), '2 FORMULA_TOO_BIG'],
  ['metadata in every round', loop(5_000, `{id="x",metadata={a=[${'1,'.repeat(20_000)}]}}`), '7 FORMULA_TOO_BIG'],
  [
    'a text that multiplies itself',
    `formula="f"\ncompose={expand=[{target="a",with="t"}]}\n[[steps]]\nid="a"\ndescription="${TEXT}"`,
    '3 FORMULA_TOO_BIG',
    { t: `${T}\ndescription="${'{target.description}'.repeat(40_000)}"` },
  ],
  [
    'rounds that all need all',
    loop(
      2,
      many(2_500, (i) => `{id="x${i}"}`),
    ),
    '2 FORMULA_TOO_BIG',
  ],
  [
    'steps that all need what others become',
    `formula="f"\nsteps=[{id="l",loop={count=1,body=[${many(2_400, (i) => `{id="x${i}"}`)}]}},\n${many(2_400, (i) => `{id="y${i}",needs=["l"]}`)}]`,
    '2 FORMULA_TOO_BIG',
  ],
  [
    'branches',
    broad(`compose={branch=[${many(20_000, () => '{from="l.iter1.x",steps=["b"],join="b"}')}]}`),
    '2 FORMULA_TOO_BIG',
  ],
  ['advice', broad(`advice=[${many(20_000, () => '{target="*q*q",after={id="z"}}')}]`), '2 FORMULA_TOO_BIG'],
  [
    'pointcuts',
    broad(`pointcuts=[${many(2_000, () => '{glob="*q*q"}')}]\nadvice=[${many(100, () => '{after={id="z"}}')}]`),
    '2 FORMULA_TOO_BIG',
  ],
  [
    'expansions',
    broad(`compose={expand=[${many(20_000, () => '{target="l.iter1.x",with="t"}')}]}`),
    '2 FORMULA_TOO_BIG',
    { t: T },
  ],
  [
    'a prompt for thousands of legs',
    `formula="f"\nlegs=[${many(4_000, (i) => `{id="a${i}"}`)}]\nprompts={base="${'{{.leg.id}}'.repeat(60_000)}"}`,
    '1 FORMULA_TOO_BIG',
  ],
  ['more legs than steps', `formula="f"\nlegs=[${many(6_000, (i) => `{id="a${i}"}`)}]`, '1 FORMULA_TOO_BIG'],
  [
    'conditions that are longer than all else',
    loop(4_900, `{id="x",condition="${'o.output.b or '.repeat(70)}o.output.b"}`).replace('[[', '[[steps]]\nid="o"\n[['),
    '9 FORMULA_TOO_BIG',
  ],
  [
    'conditions that every expansion goes through',
    broad(`compose={expand=[${many(50, () => '{target="b",with="t"}')}]}`).replace(
      '{id="x"}',
      `{id="x",condition="${'a.output.b or '.repeat(60)}a.output.b"}`,
    ),
    '2 FORMULA_TOO_BIG',
    { t: T },
  ],
  ['a million rounds', 'formula="f"\nsteps=[{id="l",loop={count=1000000,body=[{id="x"}]}}]', '2 FORMULA_VALUE'],
  ['a range of a million', 'formula="f"\nsteps=[{id="l",loop={range="1..10^6",body=[{id="x"}]}}]', '2 FORMULA_TOO_BIG'],
  [
    'rounds within rounds',
    `formula="f"\nsteps=[${'{id="l",loop={count=90,body=['.repeat(9)}{id="x"}${']}}'.repeat(9)}]`,
    '2 FORMULA_TOO_BIG',
  ],
  ['lists within lists', `formula="f"\nx=${'['.repeat(100_000)}${']'.repeat(100_000)}`, '2 FORMULA_SYNTAX'],
  ['a key of ten thousand parts', `formula="f"\n${'a.'.repeat(10_000)}a=1`, '2 FORMULA_TOO_BIG'],
  [
    'parents of parents by ever more ways',
    `formula="f"\nextends=[${many(9, (i) => `"p0${i}"`)}]\nsteps=[{id="a",needs=["z"]}]`,
    '3 FORMULA_UNKNOWN_NEED',
    Object.fromEntries(
      Array.from({ length: 90 }, (_, i) => {
        const next = Math.floor(i / 9) + 1;
        const parents = next > 8 ? '' : `extends=[${many(9, (k) => `"p${next}${k}"`)}]`;
        return [`p${Math.floor(i / 9)}${i % 9}`, `formula="p"\nsteps=[{id="s"}]\n${parents}`];
      }),
    ),
  ],
])('is told of %s', (_name, text, place, others = {}) => {
  const before = process.cpuUsage();
  const { recipe, problems } = cook(text, { others });
  expect((process.cpuUsage(before).user + process.cpuUsage(before).system) / 1_000).toBeLessThan(PATIENCE_MS);
  expect(recipe).toBeNull();
  expect(problems.map(({ line, code }) => `${line} ${code}`)).toContain(place);
});

it('reads parents that are shared by many ways once', () => {
  const others: Record<string, string> = {
    p18: 'formula="p18"\nsteps=[{id="s"}]',
    q18: 'formula="q18"\nsteps=[{id="t"}]',
  };
  for (let i = 0; i < 18; i += 1) {
    for (const name of ['p', 'q']) others[`${name}${i}`] = `formula="${name}${i}"\nextends=["p${i + 1}","q${i + 1}"]`;
  }
  const recipe = recipeOf('formula="f"\nextends=["p0"]\nsteps=[{id="a",needs=["s"]}]', { others });
  expect(recipe.steps.map(({ id }) => id)).toEqual(['s', 't', 'a']);
});

it('tells a thousand problems and no more, and always that one of them is an error', () => {
  const odd = `formula="f"\nsteps=[{id="a",${many(3_000, (i) => `k${i}=1`)}}]`;
  expect(parseFormula(odd, 'f.toml', { mode: 'compatible' }).formula?.name).toBe('f');
  expect(cook(odd, { read: 'compatible' }).problems).toHaveLength(1_000);
  const wrong = parseFormula(
    `${odd}\nname="f"\n[[steps]]\ntitle="no id"`.replace('steps=[', 'steps=[{id=""},'),
    'f.toml',
    {
      mode: 'compatible',
    },
  );
  expect(wrong.formula).toBeNull();
  expect(wrong.problems.filter(({ severity }) => severity === 'error').length).toBeGreaterThan(0);
});

it('lists some of many choices', () => {
  const { problems } = cook(`formula="f"\nlegs=[${many(30, (i) => `{id="a${i}"}`)}]\npresets={p={legs=["z"]}}`);
  expect(problems[0]?.fix).toMatch(/^Name some of: a0, a1, .*a19, …\.$/);
});

it.each([
  ['an archive', Uint8Array.from([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3]), 'FORMULA_NOT_TEXT'],
  ['zeros', new Uint8Array(1_000), 'FORMULA_NOT_TEXT'],
  ['UTF-16', Uint8Array.from([0xff, 0xfe, 0x66, 0]), 'FORMULA_NOT_TEXT'],
  ['ten million bytes', new Uint8Array(10_000_000), 'FORMULA_TOO_BIG'],
  ['YAML', new TextEncoder().encode('formula: f\nsteps:\n  - id: a\n'), 'FORMULA_SYNTAX'],
])('is not moved by %s', (_name, bytes, code) => {
  expect(decodeFormula(bytes, 'f.toml').problems.map((problem) => problem.code)).toEqual([code]);
});

it('reads JSON strictly: comments are told with their line', () => {
  const { problems } = parseFormula('{\n  "formula": "f",\n  // a remark\n  "steps": []\n}', 'f.formula.json');
  expect(problems.map(({ code, line }) => `${line} ${code}`)).toEqual(['3 FORMULA_SYNTAX']);
});

describe('work', () => {
  it('leaves a text as it is once it is spent', () => {
    const work = new Work(20);
    const values = new Map([['a', 'x'.repeat(5)]]);
    expect(work.fill('{a}{b}', /\{(\w)\}/g, values)).toBe('xxxxx{b}');
    expect(work.fill('{a}{a}', /\{(\w)\}/g, values)).toBe('{a}{a}');
    expect(work.spent).toBe(true);
    expect(work.fill('{a}', /\{(\w)\}/g, values)).toBe('{a}');
  });
});

it('lets a bug through that is no refusal', () => {
  expect(attempt(() => 1)).toEqual({ ok: true, is: 1 });
  const refuse = (error: Error) => () =>
    attempt(() => {
      throw error;
    });
  expect(refuse(new Refusal('no'))()).toEqual({ ok: false, why: 'no' });
  expect(refuse(new Error('bug'))).toThrow('bug');
});
