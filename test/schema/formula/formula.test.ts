import fc from 'fast-check';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { canonicalJson } from '../../../schema/canonical';
import { joinParents } from '../../../schema/formula/assemble';
import { compileFormula, type CompiledFormula, type CompileOptions } from '../../../schema/formula/compile';
import { parseDurationMs } from '../../../schema/formula/duration';
import type { Formula } from '../../../schema/formula/formula';
import { orderSteps } from '../../../schema/formula/order';
import { decodeFormula, parseFormula } from '../../../schema/formula/parse';
import { ProblemList } from '../../../schema/formula/problems';
import { compilePattern } from '../../../schema/formula/pattern';
import type { Recipe } from '../../../schema/formula/recipe';
import { formulaVariables } from '../../../schema/formula/variables';
import { cpuMs } from '../../support/cpu';

const digestOf = (text: string): string => createHash('sha256').update(text).digest('hex');
const codes = (result: { readonly problems: readonly { readonly code: string }[] }): string[] =>
  result.problems.map((p) => p.code);
const places = (result: CompiledFormula): string[] => result.problems.map((p) => `${p.line} ${p.code}`);

function parsed(text: string, file = 'f.toml'): Formula {
  const { formula, problems } = parseFormula(text, file);
  if (formula === null) throw new Error(JSON.stringify(problems));
  return formula;
}

function compile(
  text: string,
  vars: Record<string, string> = {},
  others: Record<string, string> = {},
): CompiledFormula {
  const resolve: CompileOptions['resolve'] = (name) =>
    others[name] === undefined ? null : parsed(others[name], `${name}.toml`);
  const { formula, problems } = parseFormula(text, 'f.toml');
  return formula === null ? { recipe: null, problems } : compileFormula(formula, { vars, digestOf, resolve });
}

function recipeOf(...args: Parameters<typeof compile>): Recipe {
  const { recipe, problems } = compile(...args);
  if (recipe === null) throw new Error(JSON.stringify(problems));
  return recipe;
}

const needsOf = (recipe: Recipe): Record<string, readonly string[]> =>
  Object.fromEntries(recipe.steps.map((step) => [step.id, step.needs]));

const FULL = `
formula = "release"
title = "Release {{version}}"
description = "Ships {{version}}, see {{undeclared}}"
[vars]
channel = "stable"
[vars.version]
required = true
pattern = '^\\d+\\.\\d+$'
[[steps]]
id = "ship"
needs = ["build"]
gate = { type = "human", prompt = "Ship {{version}}?", timeout = "2h" }
assignee = "{{channel}}-team"
labels = ["v:{{version}}"]
metadata = { note = "for {{channel}}", deep = ["{{version}}", 1, true] }
[[steps]]
id = "build"
title = "Build {{ version }}"
description = "Build it."
instructions = "Use make."
acceptance = "{{version}} is built"
parallel = false
priority = 1
checks = ["make test", { run = "make check V={{version}}", timeout = "90s" }]
[[steps]]
id = "wait"
gate = { type = "timer", duration = "1m" }
`;

describe('compiling a formula', () => {
  it('fills variables in everywhere and puts each step after its needs', () => {
    const recipe = recipeOf(FULL, { version: '1.2' });
    expect(recipe).toMatchObject({
      formula: 'release',
      title: 'Release 1.2',
      description: 'Ships 1.2, see {{undeclared}}',
      vars: { channel: 'stable', version: '1.2' },
      type: 'workflow',
    });
    expect(recipe.steps.map((step) => step.id)).toEqual(['build', 'ship', 'wait']);
    expect(recipe.steps[0]).toMatchObject({
      title: 'Build 1.2',
      instructions: 'Build it.\n\nUse make.',
      acceptance: '1.2 is built',
      parallel: false,
      priority: 1,
      checks: [
        { run: 'make test', timeoutMs: 600_000 },
        { run: 'make check V=1.2', timeoutMs: 90_000 },
      ],
    });
    expect(recipe.steps[1]).toMatchObject({
      title: 'ship',
      gate: { kind: 'human', prompt: 'Ship 1.2?', timeoutMs: 7_200_000 },
      assignee: 'stable-team',
      labels: ['v:1.2'],
      metadata: { note: 'for stable', deep: ['1.2', 1, true] },
    });
    expect(recipe.steps[2]?.gate).toEqual({ kind: 'timer', durationMs: 60_000 });
  });

  it('gives the same digest for the same input and another for another', () => {
    const { digest, ...body } = recipeOf(FULL, { version: '1.2' });
    expect(digest).toBe(digestOf(canonicalJson(JSON.parse(JSON.stringify(body)))));
    expect(recipeOf(FULL.replaceAll('\n', '\r\n'), { version: '1.2' }).digest).toBe(digest);
    expect(recipeOf(FULL, { version: '1.3' }).digest).not.toBe(digest);
  });

  it.each<[Record<string, string>, string]>([
    [{}, 'FORMULA_MISSING_VARIABLE'],
    [{ version: '' }, 'FORMULA_MISSING_VARIABLE'],
    [{ version: 'x' }, 'FORMULA_PATTERN'],
    [{ version: '1'.repeat(1_001) }, 'FORMULA_PATTERN'],
    [{ version: '1.2', colour: 'red' }, 'FORMULA_UNKNOWN_VARIABLE'],
    [{ version: '1.2', constructor: 'red' }, 'FORMULA_UNKNOWN_VARIABLE'],
    [{ version: '1.2', channel: 'x'.repeat(32_001) }, 'FORMULA_TOO_BIG'],
  ])('refuses the variables %#', (vars, code) => {
    const result = compile(FULL, vars);
    expect([result.recipe, ...codes(result)]).toEqual([null, code]);
  });

  it('checks the enum and the type of a given value', () => {
    const text = 'formula="f"\nsteps=[{id="a"}]\n[vars]\nsize={default="s",enum=["s","m"]}\ncount={type="int"}';
    expect(codes(compile(text, { size: 'x', count: '1.5' }))).toEqual(['FORMULA_ENUM', 'FORMULA_VARIABLE_TYPE']);
    expect(recipeOf(text, { size: 'm', count: '3' }).vars).toEqual({ size: 'm', count: '3' });
  });

  it('takes an undeclared value with a warning in compatible mode', () => {
    const result = compileFormula(parsed('formula="f"\nsteps=[{id="a"}]'), {
      vars: { x: '1' },
      digestOf,
      resolve: () => null,
      mode: 'compatible',
    });
    expect(result.recipe?.vars).toEqual({});
    expect(result.problems[0]).toMatchObject({ code: 'FORMULA_UNKNOWN_VARIABLE', severity: 'warning' });
  });

  it('refuses a recipe that its variables make too large', () => {
    const text = `formula="f"\nvars={x="1"}\n[[steps]]\nid="a"\ndescription="${'{{x}} '.repeat(20_000)}"`;
    expect(codes(compile(text, { x: 'y'.repeat(30_000) }))).toEqual(['FORMULA_TOO_BIG']);
  });

  it('checks durations and ids that only variables and macros complete', () => {
    const text = 'formula="f"\nvars={t="1m"}\nsteps=[{id="a",gate={type="timer",timeout="{{t}}"}}]';
    expect(recipeOf(text, { t: '2m' }).steps[0]?.gate).toEqual({ kind: 'timer', durationMs: 120_000 });
    expect(codes(compile(text, { t: 'soon' }))).toEqual(['FORMULA_VALUE']);
    expect(codes(compile('formula="f"\nsteps=[{id="a{target}"}]'))).toEqual(['FORMULA_VALUE']);
  });

  it('makes up to 5,000 steps', () => {
    const rounds = (count: number): string => `formula="f"\nsteps=[{id="l",loop={count=${count},body=[{id="x"}]}}]`;
    expect(recipeOf(rounds(5_000)).steps).toHaveLength(5_000);
    expect(codes(compile(rounds(5_001)))).toEqual(['FORMULA_VALUE']);
  });

  it('lists the variables of a formula', () => {
    expect(formulaVariables(parsed(FULL)).map((v) => [v.name, v.required, v.default])).toEqual([
      ['channel', false, 'stable'],
      ['version', true, null],
    ]);
  });
});

describe('joining formulas', () => {
  const BASE = 'formula="base"\nvars={x="1",y="2"}\nsteps=[{id="a"},{id="b",needs=["a"]}]';
  const TDD =
    'formula="tdd"\nvars={how="fast"}\ntemplate=[{id="{target}.red",title="{how} {target.title}"},{id="{target}.green",needs=["{target}.red"]}]';

  it('takes variables and steps of its parents first and replaces them in place', () => {
    const recipe = recipeOf(
      'formula="f"\nextends="base"\nvars={y="3"}\nsteps=[{id="c",needs=["b"]},{id="a",title="Mine"}]',
      {},
      { base: BASE },
    );
    expect(recipe.vars).toEqual({ x: '1', y: '3' });
    expect(recipe.steps.map((step) => step.title)).toEqual(['Mine', 'b', 'c']);
  });

  it('refuses parents that are missing or go round', () => {
    expect(places(compile('formula="f"\nextends=["gone"]\nsteps=[{id="a"}]'))).toEqual(['2 FORMULA_UNKNOWN_FORMULA']);
    expect(
      codes(
        compile('formula="f"\nextends="g"\nsteps=[{id="a"}]', {}, { g: 'formula="g"\nextends="f"\nsteps=[{id="b"}]' }),
      ),
    ).toEqual(['FORMULA_EXTENDS_CYCLE']);
  });

  it('puts advice around its targets', () => {
    const aspect =
      'formula="s"\n[[advice]]\ntarget="b*"\n[advice.around]\nbefore=[{id="{step.id}-pre"}]\nafter=[{id="{step.id}-post"}]';
    const text = 'formula="f"\nsteps=[{id="a"},{id="b",needs=["a"]},{id="b2",needs=["b"]}]\ncompose={aspects=["s"]}';
    expect(needsOf(recipeOf(text, {}, { s: aspect }))).toEqual({
      a: [],
      'b-pre': ['a'],
      b: ['a', 'b-pre'],
      'b-post': ['b'],
      'b2-pre': ['b-post'],
      b2: ['b-post', 'b2-pre'],
      'b2-post': ['b2'],
    });
  });

  it('puts an expansion in place of a step, inline or by compose', () => {
    const wanted = { a: [], 'b.red': ['a'], 'b.green': ['b.red'], c: ['b.green'] };
    const inline = 'formula="f"\nsteps=[{id="a"},{id="b",title="B",needs=["a"],expand="tdd"},{id="c",needs=["b"]}]';
    const composed = `${inline.replace(',expand="tdd"', '')}\ncompose={expand=[{target="b",with="tdd",vars={how="slow"}}]}`;
    expect(needsOf(recipeOf(inline, {}, { tdd: TDD }))).toEqual(wanted);
    expect(recipeOf(inline, {}, { tdd: TDD }).steps[1]?.title).toBe('fast B');
    expect(needsOf(recipeOf(composed, {}, { tdd: TDD }))).toEqual(wanted);
    expect(recipeOf(composed, {}, { tdd: TDD }).steps[1]?.title).toBe('slow B');
    expect(codes(compile(composed))).toEqual(['FORMULA_UNKNOWN_FORMULA']);
  });

  it('stops expansions that contain themselves', () => {
    const self = 'formula="x"\ntemplate=[{id="{target}.1",expand="x"},{id="{target}.2",expand="x"}]';
    expect(codes(compile('formula="f"\nsteps=[{id="a",expand="x"}]', {}, { x: self }))).toContain('FORMULA_VALUE');
  });

  it('unrolls loops and lifts children out', () => {
    const loop =
      'formula="f"\nsteps=[{id="a"},{id="l",needs=["a"],loop={count=2,body=[{id="x"},{id="y",needs=["x"]}]}},{id="z",needs=["l"]}]';
    expect(needsOf(recipeOf(loop))).toEqual({
      a: [],
      'l.iter1.x': ['a'],
      'l.iter1.y': ['l.iter1.x'],
      'l.iter2.x': ['l.iter1.y'],
      'l.iter2.y': ['l.iter2.x'],
      z: ['l.iter2.y'],
    });
    const group = 'formula="f"\nsteps=[{id="a"},{id="g",needs=["a"],children=[{id="x"},{id="y"}]}]';
    expect(needsOf(recipeOf(group))).toEqual({ a: [], x: ['a'], y: ['a'], g: ['a', 'x', 'y'] });
  });

  it('refuses loops in loops before they fill the memory', () => {
    const body = (inner: string): string => `{id="l",loop={count=5000,body=[${inner}]}}`;
    expect(codes(compile(`formula="f"\nsteps=[${body(body(body('{id="x"}')))}]`))).toEqual(['FORMULA_TOO_BIG']);
  });

  it('refuses more steps than the limit, aspects that are missing, targets that match nothing and parts run alone', () => {
    const options = { vars: {}, digestOf, resolve: () => null };
    const two = parsed('formula="f"\nsteps=[{id="a"},{id="b"}]');
    expect(codes(compileFormula(two, { ...options, limits: { steps: 1 } }))).toEqual(['FORMULA_TOO_BIG']);
    expect(codes(compile('formula="f"\nsteps=[{id="a"}]\ncompose={aspects=["gone"]}'))).toEqual([
      'FORMULA_UNKNOWN_FORMULA',
    ]);
    const nowhere = 'formula="f"\nsteps=[{id="a"}]\ncompose={map=[{select="z*",with="tdd"}]}';
    expect(codes(compile(nowhere, {}, { tdd: TDD }))).toEqual(['FORMULA_UNKNOWN_STEP']);
    expect(codes(compile(TDD))).toEqual(['FORMULA_PART']);
    expect(codes(compile('formula="f"\nextends="tdd"', {}, { tdd: TDD }))).toEqual(['FORMULA_NO_STEPS']);
  });

  it('applies a map to every step its glob matches', () => {
    const text =
      'formula="f"\nsteps=[{id="x-a"},{id="x-b-y",needs=["x-a"]},{id="z"}]\ncompose={map=[{select="x*-*",with="tdd"}]}';
    expect(Object.keys(needsOf(recipeOf(text, {}, { tdd: TDD })))).toEqual([
      'x-a.red',
      'x-a.green',
      'x-b-y.red',
      'x-b-y.green',
      'z',
    ]);
  });

  it('makes a step of each leg of a convoy, and the synthesis', () => {
    const recipe = recipeOf(
      `formula="c"\ninputs={problem={required=true}}\noutput={directory="out",leg_pattern="{{.leg.id}}.md"}
prompts={base="{{.leg.focus}} of {{.problem}} to {{.output_path}}: {{.leg.description}}"}
legs=[{id="api",focus="API",description="Look."},{id="ux"}]\nsynthesis={title="Join"}`,
      { problem: 'P' },
    );
    expect(needsOf(recipe)).toEqual({ api: [], ux: [], synthesis: ['api', 'ux'] });
    expect(recipe.steps[0]).toMatchObject({ parallel: true, instructions: 'API of P to out/api.md: Look.' });
    expect(recipe.type).toBe('convoy');
  });
});

describe('refusing a formula', () => {
  it('reports twelve mistakes at once, each with its line', () => {
    const text = `formula = "bad name"
verison = 2
version = "one"
[vars.size]
default = "x"
enum = ["s", "m"]
[vars.code]
pattern = "(?=x)"
[[steps]]
title = "no id"
[[steps]]
id = "a"
needs = [
  "nowhere",
]
[[steps]]
id = "a"
[[steps]]
id = "b"
needs = ["c"]
[[steps]]
id = "c"
needs = ["b"]
priority = 9
[steps.gate]
type = "timer"
timeout = "soon"
[[steps]]
id = "d"
labels = { x = 1 }
`;
    const { formula, problems } = parseFormula(text, 'f.toml');
    expect(formula).toBeNull();
    expect(problems.map((p) => `${p.line} ${p.code} ${p.path}`)).toEqual([
      '1 FORMULA_VALUE formula',
      '2 FORMULA_UNKNOWN_KEY verison',
      '3 FORMULA_TYPE version',
      '5 FORMULA_ENUM vars.size.default',
      '8 FORMULA_PATTERN vars.code.pattern',
      '9 FORMULA_MISSING_ID steps[0]',
      '13 FORMULA_UNKNOWN_NEED steps[1].needs',
      '17 FORMULA_DUPLICATE_STEP steps[2].id',
      '20 FORMULA_CYCLE steps[3].needs',
      '24 FORMULA_VALUE steps[4].priority',
      '27 FORMULA_VALUE steps[4].gate.timeout',
      '30 FORMULA_TYPE steps[5].labels',
    ]);
    expect(problems.every((p) => p.file === 'f.toml' && p.fix !== '' && p.severity === 'error')).toBe(true);
    expect(problems[1]?.fix).toBe('Write version.');
    expect(problems[8]?.message).toContain('b → c → b');
  });

  it.each([
    ['', 'FORMULA_MISSING_NAME'],
    ['formula = "f"', 'FORMULA_NO_STEPS'],
    ['formula = "f"\nsteps = 3', 'FORMULA_TYPE'],
    ['formula = "f"\n__proto__ = 1\nsteps=[{id="a"}]', 'FORMULA_FORBIDDEN_KEY'],
    ['formula = "f"\nsteps=[{id="a",metadata={constructor=1}}]', 'FORMULA_FORBIDDEN_KEY'],
    ['formula = "f"\nsteps=[{id="a b"}]', 'FORMULA_VALUE'],
    ['formula = "f"\nsteps=[{id="a",needs=["a"]}]', 'FORMULA_CYCLE'],
    ['formula = "f"\nsteps=[{id="a",check={run=""}}]', 'FORMULA_VALUE'],
    ['formula = "f"\nsteps=[{id="a",check=3}]', 'FORMULA_VALUE'],
    ['formula = "f"\nsteps=[{id="a",parallel="no"}]', 'FORMULA_TYPE'],
    ['formula = "f"\nsteps=[{id="a",metadata=1}]', 'FORMULA_TYPE'],
    ['formula = "f"\nsteps=[{id="a",metadata={x=inf}}]', 'FORMULA_VALUE'],
    ['formula = "f"\nsteps=[{id=3}]', 'FORMULA_TYPE'],
    ['formula = "f"\nsteps=[{id="a",gate={type="timer"}}]', 'FORMULA_VALUE'],
    ['formula = "f"\nsteps=[{id="a",gate={timeout="1m"}}]', 'FORMULA_GATE'],
    ['formula = "f"\nsteps=[{id="a",loop={body=[]}}]', 'FORMULA_VALUE'],
    ['formula = "f"\nsteps=[{id="a",loop={body=[{id="b"}]}}]', 'FORMULA_VALUE'],
    ['formula = "f"\ntype = "other"\nsteps=[{id="a"}]', 'FORMULA_VALUE'],
    ['formula = "f"\nsteps=[{id="a"}]\nvars={x={enum=[]}}', 'FORMULA_VALUE'],
    ['formula = "f"\nsteps=[{id="a"}]\nvars={"x y"="1"}', 'FORMULA_VALUE'],
    ['formula = "f"\nsteps=[{id="a"}]\nvars={x=[1]}', 'FORMULA_TYPE'],
    ['formula = "f"\nadvice=[{before={id="b"}}]', 'FORMULA_VALUE'],
    ['formula = "f"\nsteps=[{id="a"}]\ncompose={expand=[{target="a"}]}', 'FORMULA_VALUE'],
    ['formula = "f\0"', 'FORMULA_NOT_TEXT'],
    ['formula = ', 'FORMULA_SYNTAX'],
    ['x'.repeat(10_000_000), 'FORMULA_TOO_BIG'],
  ])('refuses text %#', (text, code) => {
    const result = parseFormula(text, 'f.toml');
    expect(result.formula).toBeNull();
    expect(codes(result)).toContain(code);
  });

  it('refuses bytes that are too many or not UTF-8, and takes a byte order mark', () => {
    expect(codes(decodeFormula(new Uint8Array(10_000_000), 'f.toml'))).toEqual(['FORMULA_TOO_BIG']);
    expect(codes(decodeFormula(new Uint8Array([0x66, 0xff]), 'f.toml'))).toEqual(['FORMULA_NOT_TEXT']);
    expect(decodeFormula(new TextEncoder().encode('\uFEFFformula="f"\nsteps=[{id="a"}]'), 'f.toml').formula?.name).toBe(
      'f',
    );
  });

  it('names the line of a syntax error', () => {
    expect(parseFormula('formula = "f"\n\n[[steps]\n', 'f.toml').problems[0]).toMatchObject({
      code: 'FORMULA_SYNTAX',
      line: 3,
    });
    expect(parseFormula('{\n "formula": "f",\n x }', 'f.json').problems[0]).toMatchObject({
      code: 'FORMULA_SYNTAX',
      line: 3,
    });
    expect(codes(parseFormula('[1]', 'f.json'))).toEqual(['FORMULA_SYNTAX']);
    expect(codes(parseFormula(`{"a":${'['.repeat(100_000)}${']'.repeat(100_000)}}`, 'f.json'))).toContain(
      'FORMULA_TOO_BIG',
    );
  });

  it('finds lines in JSON, inline tables and long strings', () => {
    const json = '{\n "formula": "f",\n "steps": [\n  {"id": "a"},\n  {"id": "b",\n   "needs": ["x"]}\n ]\n}';
    expect(parseFormula(json, 'f.json').problems[0]).toMatchObject({ code: 'FORMULA_UNKNOWN_NEED', line: 6 });
    const toml =
      'formula = "f" # [[steps]]\ndescription = """\n[[steps]]\nid = "no" \\""""\nsteps = [\n  { id = "a" },\n  { id = "b", needs = ["x"] },\n]';
    expect(parseFormula(toml, 'f.toml').problems[0]).toMatchObject({ code: 'FORMULA_UNKNOWN_NEED', line: 7 });
  });

  it('warns only, in compatible mode, of keys it does not know', () => {
    const text = 'formula="f"\nzzz=1\nsteps=[{id="a"}]\nvars={x={required=true,default="1"}}';
    const result = parseFormula(text, 'f.toml', { mode: 'compatible' });
    expect(result.formula?.name).toBe('f');
    expect(result.problems.map((p) => [p.severity, p.code])).toEqual([
      ['warning', 'FORMULA_UNKNOWN_KEY'],
      ['warning', 'FORMULA_REQUIRED_DEFAULT'],
    ]);
    expect(codes(parseFormula(text, 'f.toml')).length).toBe(2);
    expect(parseFormula(text, 'f.toml').formula).toBeNull();
  });
});

describe('order', () => {
  const dag = fc.array(fc.array(fc.nat(1_000), { maxLength: 5 }), { maxLength: 60 }).chain((rows) =>
    fc
      .shuffledSubarray(
        rows.map((_, i) => i),
        { minLength: rows.length },
      )
      .map((names) =>
        rows.map((row, i) => ({ id: `s${names[i]}`, needs: i === 0 ? [] : row.map((n) => `s${names[n % i]}`) })),
      ),
  );

  it('puts any acyclic steps after what they need, and keeps an order that is right already', () => {
    fc.assert(
      fc.property(dag, (steps) => {
        expect(orderSteps(steps).order).toEqual(steps);
        const { order, cycles } = orderSteps(steps.toReversed());
        expect(cycles).toEqual([]);
        expect(order).toHaveLength(steps.length);
        const at = new Map(order.map((step, index) => [step.id, index]));
        for (const step of order)
          for (const need of step.needs) expect(at.get(need)).toBeLessThan(at.get(step.id) ?? -1);
      }),
    );
  });

  it('always finds a cycle, and the path it names is one', () => {
    fc.assert(
      fc.property(dag, fc.integer({ min: 1, max: 8 }), (steps, length) => {
        const ring = Array.from({ length }, (_, i) => ({
          id: `r${i}`,
          needs: [...(steps[i]?.needs ?? []), `r${(i + 1) % length}`],
        }));
        const all = [...steps, ...ring];
        const { order, cycles } = orderSteps(all);
        expect(order).toHaveLength(steps.length);
        expect(cycles).toHaveLength(1);
        const cycle = cycles.flatMap(({ ids }) => ids);
        expect([cycle[0], cycle.at(-1)]).toEqual([cycles[0]?.first.id, cycles[0]?.first.id]);
        cycle.slice(1).forEach((id, i) => expect(all.find((step) => step.id === cycle[i])?.needs).toContain(id));
      }),
    );
  });

  it('compiles 1,023 steps in a chain', () => {
    const steps = Array.from(
      { length: 1_023 },
      (_, i) => `[[steps]]\nid = "m${i}"\n${i === 0 ? '' : `needs = ["m${i - 1}"]`}`,
    );
    const text = `formula = "hanoi"\n${steps.toReversed().join('\n')}`;
    const recipe = recipeOf(text);
    expect(recipe.steps.map((step) => step.id)).toEqual(steps.map((_, i) => `m${i}`));
  });
});

describe('patterns', () => {
  it.each([
    ['^[0-9]+$', ['1', '42'], ['', 'a', '1a']],
    ['^[A-Za-z0-9/_.-]+$', ['a/b', 'x.y-z'], ['a b', '']],
    ['^(feat|fix)(-\\w{2,4})?$', ['feat', 'fix-ab'], ['fix-', 'fix-abcde', 'chore']],
    ['b.d', ['abcde'], ['bd']],
    ['^a{2}b*?$|^$', ['aa', 'aabb', ''], ['a', 'aaa']],
    ['^[^#]\\#$', ['a#'], ['##', 'a']],
  ])('matches %s as the language does', (pattern, good, bad) => {
    const match = compilePattern(pattern);
    if (typeof match === 'string') throw new Error(match);
    for (const value of good)
      expect([value, match(value), new RegExp(pattern).test(value)]).toEqual([value, true, true]);
    for (const value of bad)
      expect([value, match(value), new RegExp(pattern).test(value)]).toEqual([value, false, false]);
  });

  it.each(['(a', 'a)', '[a', '*', 'a**', '(?=a)', '\\1', '\\bx', 'a{3,1}', 'a{', '((a{99}){99}){99}', 'x'.repeat(201)])(
    'refuses %s',
    (pattern) => {
      expect(typeof compilePattern(pattern)).toBe('string');
    },
  );

  it.each(['^(a+)+$', '^(a|a)*$', `^${'a*'.repeat(90)}b$`, `^${'a?'.repeat(90)}${'a'.repeat(10)}b$`])(
    'is not stopped by %s',
    (pattern) => {
      const match = compilePattern(pattern);
      if (typeof match === 'string') throw new Error(match);
      const ms = cpuMs(() => expect(match(`${'a'.repeat(999)}!`)).toBe(false));
      expect(ms).toBeLessThan(1_000);
    },
  );
});

describe('small parts', () => {
  it.each([
    ['90s', 90_000],
    ['1h30m', 5_400_000],
    ['500ms', 500],
    ['2d', 172_800_000],
    ['0s', null],
    ['31d', null],
    ['5', null],
    ['', null],
  ])('reads the duration %s', (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms);
  });

  it('spells equal values alike', () => {
    expect(canonicalJson({ b: [1, null, 'x'], a: { d: true, c: 2 } })).toBe('{"a":{"c":2,"d":true},"b":[1,null,"x"]}');
  });
});

const corpus = join(__dirname, '..', '..', '..', '..', 'shared', 'corpus');
const files = existsSync(corpus)
  ? readdirSync(join(corpus, 'formulas'), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.toml'))
      .map((entry) => join(entry.parentPath, entry.name))
  : [];

describe('formulas of other projects', () => {
  if (files.length === 0) {
    it('are not on this machine, so nothing is compared', () => {
      process.stdout.write('formulas of other projects: ../shared/corpus is absent, nothing was compared\n');
    });
    return;
  }
  const formulas = new Map(
    files.map((file) => [file, parseFormula(readFileSync(file, 'utf8'), file, { mode: 'compatible' })] as const),
  );
  const resolve = (name: string): Formula | null =>
    [...formulas.values()].find((p) => p.formula?.name === name)?.formula ?? null;

  it.each(files)('reads %s', (file) => {
    expect(formulas.get(file)?.problems.filter((problem) => problem.severity === 'error')).toEqual([]);
  });

  /** Those that name a formula which is not among them. */
  const INCOMPLETE: Readonly<Record<string, string>> = {
    'shiny-enterprise': 'rule-of-five',
    'mol-polecat-commit': 'mol-polecat-base',
  };
  const varsOf = (formula: Formula): Record<string, string> =>
    Object.fromEntries(
      Object.entries(joinParents(formula, { resolve, problems: new ProblemList() }).vars).map(([name, spec]) => [
        name,
        spec.default ?? spec.enum?.[0] ?? '42',
      ]),
    );

  it.each(files)('compiles %s, or says which formula is missing', (file) => {
    const formula = formulas.get(file)?.formula ?? null;
    if (formula === null) throw new Error('not read');
    const { recipe, problems } = compileFormula(formula, { vars: varsOf(formula), digestOf, resolve });
    const missing = INCOMPLETE[formula.name];
    const errors = problems.filter((problem) => problem.severity === 'error');
    expect(errors.map(({ code, message }) => [code, message.includes(missing ?? '')])).toEqual(
      missing === undefined ? [] : [['FORMULA_UNKNOWN_FORMULA', true]],
    );
    expect(recipe === null).toBe(missing !== undefined);
  });

  const compared = files.flatMap((file) => {
    const project = basename(join(file, '..'));
    const expected = join(corpus, 'expected', `${project}.${basename(file)}.expected.json`);
    return existsSync(expected) ? [[file, expected] as const] : [];
  });

  it.each(compared)('agrees with the reference on %s', (file, expectedFile) => {
    const expected = JSON.parse(readFileSync(expectedFile, 'utf8')) as ExpectedFormula;
    const formula = formulas.get(file)?.formula ?? null;
    if (formula === null) throw new Error('not read');
    if (expected.type !== 'workflow') {
      expect([formula.type, formula.template.map((step) => step.id)]).toEqual([
        expected.type,
        expected.template.map((step) => step.id),
      ]);
      return;
    }
    const vars = Object.fromEntries(Object.entries(expected.vars).map(([name, spec]) => [name, valueFor(spec)]));
    const result = compileFormula(formula, { vars, digestOf, resolve });
    for (const { id, gate } of expected.steps) {
      if (gate !== undefined) {
        const ours = result.recipe?.steps.find((step) => step.id === id)?.gate;
        expect(ours).toEqual({ kind: 'ci_run', run: gate.id, timeoutMs: parseDurationMs(gate.timeout) });
      }
    }
    expect(result.problems).toEqual([]);
    const steps = result.recipe?.steps ?? [];
    const wanted = expected.steps.flatMap((step) => [step, ...(step.children ?? [])]);
    expect(steps.map((step) => step.id).toSorted()).toEqual(wanted.map((step) => step.id).toSorted());
    expect(Object.keys(result.recipe?.vars ?? {}).toSorted()).toEqual(Object.keys(expected.vars).toSorted());
    const before = new Map<string, Set<string>>();
    for (const step of steps)
      before.set(step.id, new Set(step.needs.flatMap((need) => [need, ...(before.get(need) ?? [])])));
    for (const step of wanted) for (const need of step.needs ?? []) expect(before.get(step.id)?.has(need)).toBe(true);
  });
});

interface ExpectedStep {
  readonly id: string;
  readonly needs?: readonly string[];
  readonly children?: readonly ExpectedStep[];
  readonly gate?: { readonly type: string; readonly id: string; readonly timeout: string };
}
interface ExpectedFormula {
  readonly type: string;
  readonly steps: readonly ExpectedStep[];
  readonly template: readonly ExpectedStep[];
  readonly vars: Readonly<
    Record<string, { readonly default?: string; readonly enum?: readonly string[]; readonly pattern?: string }>
  >;
}

function valueFor(spec: ExpectedFormula['vars'][string]): string {
  return spec.default ?? spec.enum?.[0] ?? '42';
}
