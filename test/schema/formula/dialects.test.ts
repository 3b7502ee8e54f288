import { codes, cook, needsOf, parsed, places, recipeOf, stepOf } from './cooking';
import { parseFormula } from '../../../schema/formula/parse';
import { cpuMs } from '../../support/cpu';

describe('how strictly a file is read', () => {
  const odd = 'formula="f"\nsteps=[{id="a",colour="red"}]';

  it.each([
    [odd, undefined, 'error'],
    [`dialect="steeltown"\n${odd}`, 'compatible', 'error'],
    [`dialect="beads"\n${odd}`, 'strict', 'warning'],
    [`dialect="gascity"\n${odd}`, undefined, 'warning'],
    [`contract="graph.v2"\n${odd}`, undefined, 'warning'],
    [`pour=true\n${odd}`, undefined, 'warning'],
    [odd, 'compatible', 'warning'],
  ] as const)('is what it says of itself, or where it lies: %#', (text, mode, severity) => {
    const { problems } = parseFormula(text, 'f.toml', mode === undefined ? {} : { mode });
    expect(problems.map((p) => [p.code, p.severity])).toEqual([['FORMULA_UNKNOWN_KEY', severity]]);
  });

  it('takes a dialect nobody knows for that of another tool, with a warning', () => {
    expect(parseFormula(`dialect="klingon"\n${odd}`, 'f.toml').problems.map((p) => p.code)).toEqual([
      'FORMULA_VALUE',
      'FORMULA_UNKNOWN_KEY',
    ]);
  });

  it('goes on, in compatible mode, after what can only mean one thing', () => {
    const { recipe, problems } = cook(
      `formula = "f"
version = "1.2.0"
type = "patrol"
phase = "gas"
[vars.pick-me]
description = "no text can name it"
[vars.code]
pattern = '^(?=x)'
default = "b"
[vars.size]
enum = ["s"]
default = "xl"
type = "path"
[[steps]]
id = 1
priority = "P2"
parallel = "false"
acceptance = ["one", "two"]
timeout = "soon"
[[steps]]
id = "b"
parallel = "no"
[steps.on_complete]
run = "make"
`,
      { read: 'compatible' },
    );
    expect(problems.filter((p) => p.severity === 'error').map((p) => p.path)).toEqual(['steps[1].parallel']);
    expect(recipe).toBeNull();
    const fixed = cook(
      'formula="f"\nversion="2"\nsteps=[{id=1,priority="P2",parallel="false",acceptance=["one","two"]}]',
      { read: 'compatible' },
    );
    expect(fixed.recipe).toMatchObject({
      version: 2,
      steps: [{ id: '1', priority: 2, parallel: false, acceptance: 'one\ntwo' }],
    });
    expect(codes(fixed)).toEqual(['FORMULA_VALUE', 'FORMULA_VALUE', 'FORMULA_VALUE']);
  });

  it('finds a hidden timeout of a step without checks odd, and a text that is not a number wrong', () => {
    expect(codes(cook('formula="f"\nsteps=[{id="a",timeout="5m"}]', { read: 'compatible' }))).toEqual([
      'FORMULA_VALUE',
    ]);
    expect(cook('formula="f"\nsteps=[{id="a",priority="high"}]', { read: 'compatible' }).recipe).toBeNull();
  });
});

describe('Gas City', () => {
  const BASE = `formula = "build-base"
version = 1
target_required = true
internal = true
[requires]
formula_compiler = ">=2.0.0"
[metadata.gc.methodology]
modes = ["a"]
[vars]
[vars.policy]
default = "separate"
[[steps]]
id = "prepare"
description_file = "../assets/prepare.md"
metadata = { "gc.run_target" = "{{policy}}-runner" }
[[steps]]
id = "implement"
needs = ["prepare"]
condition = "{{policy}} == separate"
[steps.drain]
context = "separate"
formula = "do-work"
member_access = "exclusive"
[[steps]]
id = "implement-same"
needs = ["prepare"]
condition = "{{policy}} == same-session"
[steps.drain]
context = "shared"
formula = "do-work"
on_item_failure = "skip_remaining"
[steps.drain.item]
single_lane = true
[[steps]]
id = "sum"
needs = ["implement", "implement-same"]
[steps.check]
max_attempts = 3
[steps.check.check]
mode = "exec"
path = "../assets/check.sh"
timeout = "5m"
[[steps]]
id = "review"
needs = ["sum"]
`;
  const REVIEW = `formula = "review"
type = "expansion"
contract = "graph.v2"
[[template]]
id = "{target}.loop"
[template.check]
max_attempts = 6
[template.check.check]
mode = "exec"
path = ".gc/approved.sh"
[[template.children]]
id = "{target}.look"
[[template.children]]
id = "{target}.fix"
needs = ["{target}.look"]
[[template]]
id = "{target}"
needs = ["{target}.loop"]
`;
  const text =
    'formula="build"\ncontract="graph.v2"\nextends=["build-base"]\n[catalog]\nname="build"\n[[steps]]\nid="review"\nneeds=["sum"]\nexpand="review"';
  const others = {
    'build-base': BASE,
    review: REVIEW,
    'do-work': 'formula="do-work"\nsteps=[{id="w",title="{{issue}}"}]',
  };

  it('compiles with drains, checks, files and expansions', () => {
    const readText = (file: string, path: string): string | null =>
      file === 'build-base.toml' && path === '../assets/prepare.md' ? 'Prepare {{policy}}.' : null;
    const { recipe, problems } = cook(text, { others, readText });
    expect(problems).toEqual([]);
    expect(recipe && needsOf(recipe)).toEqual({
      prepare: [],
      implement: ['prepare'],
      sum: ['implement', 'prepare'],
      'review.loop': ['sum'],
      review: ['review.loop'],
    });
    expect(recipe && stepOf(recipe, 'prepare')).toMatchObject({
      instructions: 'Prepare separate.',
      metadata: { 'gc.run_target': 'separate-runner' },
    });
    expect(recipe?.groups?.['review.loop']?.map(({ id }) => id)).toEqual([
      'review.look',
      'review.fix',
      'review.loop.check',
    ]);
    expect(recipe?.groups?.['implement.each']?.[0]?.title).toBe('{{issue}}');
  });

  it('goes on with a warning where a file cannot be had', () => {
    const { recipe, problems } = cook(text, { others });
    expect(problems.map((p) => [p.file, p.line, p.code, p.severity])).toEqual([
      ['build-base.toml', 14, 'FORMULA_UNKNOWN_FILE', 'warning'],
    ]);
    expect(recipe?.steps[0]?.instructions).toBe('See the file ../assets/prepare.md.');
  });

  it('tells once that a parent is missing', () => {
    expect(places(cook('formula="f"\nextends=["gone"]\nsteps=[{id="a",needs=["b"]}]'))).toEqual([
      '2 FORMULA_UNKNOWN_FORMULA',
    ]);
  });
});

describe('Gas Town', () => {
  const REVIEW = `formula = "code-review"
type = "convoy"
[inputs.pr]
type = "number"
required_unless = ["files"]
[inputs.files]
required_unless = ["pr"]
[inputs.note]
[prompts]
base = """
Review {{.leg.title}}.
{{if .pr -}}
PR #{{.pr}}
{{range .changed}}- {{.path}}
{{end -}}
{{else -}}
Files {{.files}}
{{end}}
{{if .unknown}}keep{{else}}this{{end}}{{if .note}}Note: {{.note}}{{end}}{{end}}"""
[output]
directory = ".reviews/{{.review_id}}"
leg_pattern = "{{.leg.id}}.md"
[[legs]]
id = "a"
title = "A"
agent = "codex"
[[legs]]
id = "b"
[presets.gate]
description = "Light"
legs = ["b"]
[synthesis]
title = "Join {{.formula_name}}"
depends_on = ["a", "b"]
`;

  it('pours a convoy with inputs, templates and presets', () => {
    const whole = recipeOf(REVIEW, { vars: { pr: '7' } });
    expect(whole.type).toBe('convoy');
    expect(needsOf(whole)).toEqual({ a: [], b: [], synthesis: ['a', 'b'] });
    expect(stepOf(whole, 'a')).toMatchObject({ metadata: { agent: 'codex' } });
    expect(stepOf(whole, 'a').instructions).toBe(
      'Review A.\nPR #7\n{{range .changed}}- {{.path}}\n{{end -}}\n\n{{if .unknown}}keep{{else}}this{{end}}{{end}}',
    );
    const gate = recipeOf(REVIEW, { vars: { files: 'x', preset: 'gate', note: 'N' } });
    expect(needsOf(gate)).toEqual({ b: [], synthesis: ['b'] });
    expect(gate.steps[0]?.instructions).toContain('Files x');
    expect(gate.steps[0]?.instructions).toContain('Note: N');
    expect(gate.vars['preset']).toBe('gate');
    expect(stepOf(gate, 'synthesis').title).toBe('Join code-review');
  });

  it('requires one of the inputs that stand for each other, and a preset that exists', () => {
    expect(codes(cook(REVIEW))).toEqual(['FORMULA_MISSING_VARIABLE', 'FORMULA_MISSING_VARIABLE']);
    expect(cook(REVIEW).problems[0]?.message).toContain('neither has files');
    expect(codes(cook(REVIEW, { vars: { pr: '1', preset: 'none' } }))).toEqual(['FORMULA_ENUM']);
    expect(codes(cook(REVIEW, { vars: { pr: 'x' } }))).toEqual(['FORMULA_VARIABLE_TYPE']);
  });

  it.each([
    ['presets={x={legs=["c"]}}', 'FORMULA_VALUE'],
    ['presets={x={legs=[]}}', 'FORMULA_VALUE'],
    ['presets={x=3}', 'FORMULA_TYPE'],
    ['synthesis={needs=["c"]}', 'FORMULA_UNKNOWN_NEED'],
    ['synthesis={depends_on=["c"]}', 'FORMULA_UNKNOWN_NEED'],
    ['legs=[{title="x"}]', 'FORMULA_MISSING_ID'],
    ['prompts={base="{{if .x}} never closed"}', null],
  ])('checks its parts: %s', (line, code) => {
    const text = `formula="c"\n${line.startsWith('legs') ? '' : 'legs=[{id="a"},{id="b"}]\n'}${line}\ninputs={x={}}`;
    expect([...new Set(codes(cook(text)))].slice(0, 1)).toEqual(code === null ? [] : [code]);
  });

  it('leaves what was never closed as it stands, and joins a synthesis without needs', () => {
    const recipe = recipeOf(
      'formula="c"\nlegs=[{id="a",focus="F",description="D"}]\nprompts={base="{{if .x}} open"}\ninputs={x={}}\nsynthesis={description="S"}\noutput={leg_pattern="p"}',
    );
    expect(recipe.steps.map((step) => [step.title, step.instructions])).toEqual([
      ['a', '{{if .x}} open'],
      ['Synthesis', 'S'],
    ]);
    expect(recipeOf('formula="c"\nlegs=[{id="a",focus="F",description="D"}]').steps[0]?.instructions).toBe(
      'Focus: F\n\nD',
    );
  });

  it('takes its aspects for legs', () => {
    expect(
      needsOf(recipeOf('formula="a"\ntype="aspect"\n[[aspects]]\nid="x"\nfocus="X"\n[[aspects]]\nid="y"')),
    ).toEqual({ x: [], y: [] });
  });

  it('keeps phase, pour and squash, also of parents', () => {
    const parent =
      'formula="p"\nphase="vapor"\npour=true\nsteps=[{id="a"}]\n[squash]\ntrigger="on_complete"\ntemplate_type="work"\ninclude_metrics=true';
    const squash = { trigger: 'on_complete', template: 'work', metrics: true };
    expect(recipeOf('formula="f"\nextends="p"', { others: { p: parent } })).toMatchObject({
      phase: 'vapor',
      pour: true,
      squash,
    });
    expect(
      recipeOf('formula="f"\nextends="p"\nphase="liquid"\npour=false\nsquash={}', { others: { p: parent } }),
    ).toMatchObject({
      phase: 'liquid',
      pour: false,
      squash: { trigger: null, template: null, metrics: false },
    });
  });
});

describe('Beads', () => {
  it('inherits every part', () => {
    const others = {
      p: 'formula="p"\nlabels=["l"]\n[[steps]]\nid="a"\n[[steps]]\nid="b"\n[[steps]]\nid="c"\n[compose]\nbranch=[{from="a",steps=["b"],join="c"}]\ngate=[{before="c",condition="a.output.ok"}]\nbond_points=[{id="end",after_step="c"}]\nhooks=[{trigger="label:l",attach="h",at="end"}]\naspects=["s"]\nexpand=[{target="b",with="t"}]',
      h: 'formula="h"\nsteps=[{id="x"}]',
      s: 'formula="s"\n[[advice]]\ntarget="a"\nafter={id="post"}',
      t: 'formula="t"\n[[template]]\nid="{target}.1"',
    };
    expect(needsOf(recipeOf('formula="f"\nextends=["p"]\nsteps=[{id="d"}]', { others }))).toEqual({
      a: [],
      post: ['a'],
      'b.1': ['post'],
      c: ['b.1'],
      'h.x': ['c'],
      d: [],
    });
  });

  it('reads JSON formulas as TOML ones', () => {
    const json = JSON.stringify({
      formula: 'j',
      vars: { n: { default: 2, type: 'int' } },
      steps: [{ id: 'l', loop: { range: '1..{n}', var: 'i', body: [{ id: 's{i}', title: 'S{i}' }] } }],
    });
    expect(recipeOf(json, { file: 'j.formula.json' }).steps.map((step) => [step.id, step.title])).toEqual([
      ['l.iter1.s1', 'S1'],
      ['l.iter2.s2', 'S2'],
    ]);
    expect(parsed(json, 'j.json').mode).toBe('strict');
  });
});

describe('bad input', () => {
  it('names twelve mistakes about what a molecule does, each with its line', () => {
    const text = `formula = "f"
[vars.when]
required_unless = 3
[[steps]]
id = "a"
condition = "soon"
[[steps]]
id = "b"
waits_for = "everyone"
gate = { type = "moon" }
[[steps]]
id = "c"
retry = { on_exhausted = "hard_fail" }
on_failure = "explode"
[[steps]]
id = "d"
[steps.loop]
until = "x.status == purple"
max = 3
body = [{ id = "x" }]
[[steps]]
id = "e"
[steps.loop]
count = 1000000
body = [
  { id = "x", needs = ["x"] },
]
[[steps]]
id = "h"
gate = "human"
[[steps]]
id = "g"
[steps.on_complete]
for_each = "items"
bond = "h"
[compose]
branch = [{ from = "a", steps = ["nowhere"], join = "c" }]
hooks = [{ trigger = "moon:full", attach = "x" }]
bond_points = [{ id = "p", after_step = "c" }]
gate = [{ before = "h", condition = "c.output.x" }]
`;
    expect(parseFormula(text, 'f.toml').problems.map((p) => `${p.line} ${p.code}`)).toEqual([
      '3 FORMULA_TYPE',
      '6 FORMULA_CONDITION',
      '9 FORMULA_WAITS_FOR',
      '10 FORMULA_GATE',
      '13 FORMULA_VALUE',
      '14 FORMULA_VALUE',
      '18 FORMULA_CONDITION',
      '24 FORMULA_VALUE',
      '34 FORMULA_VALUE',
      '37 FORMULA_UNKNOWN_STEP',
      '38 FORMULA_VALUE',
      '40 FORMULA_CONFLICT',
    ]);
  });

  it.each([
    ['YAML', 'formula: f\nsteps:\n  - id: a\n'],
    ['a picture', '\u0089PNG\r\n\u001a\n\u0000\u0000'],
    ['deep lists', `formula="f"\nsteps=[{id="a",metadata={x=${'['.repeat(5_000)}${']'.repeat(5_000)}}}]`],
    ['deep tables', `formula="f"\n[${'a.'.repeat(5_000)}b]\nx=1`],
    ['deep children', `formula="f"\nsteps=[${'{id="a",children=['.repeat(500)}${']}'.repeat(500)}]`],
    ['deep loops', `formula="f"\nsteps=[${'{id="a",loop={count=5000,body=['.repeat(25)}{id="x"}${']}}'.repeat(25)}]`],
    ['a prototype in JSON', '{"formula":"f","__proto__":{"steps":[]},"steps":[{"id":"a"}]}'],
    ['braces without end', `formula="f"\nsteps=[{id="a",description="${'{{'.repeat(200_000)}"}]\n[vars]\nx="1"\n[[[`],
  ])('refuses %s in bounded time', (_name, text) => {
    const ms = cpuMs(() => {
      const result = cook(text, { file: text.startsWith('{') ? 'f.json' : 'f.toml' });
      expect(result.recipe).toBeNull();
      expect(result.problems.length).toBeGreaterThan(0);
    });
    expect(ms).toBeLessThan(2_000);
  });

  it('takes line ends of other systems and a byte order mark, and still knows the lines', () => {
    const text = '\uFEFFformula = "f"\r\n\r\n[[steps]]\r\nid = "a"\r\nneeds = ["x"]\r\n';
    expect(places(cook(text))).toEqual(['5 FORMULA_UNKNOWN_NEED']);
  });

  it('is not held up by texts that look like templates', () => {
    for (const part of ['{{', '{{if ', '{{if .x}}', '{{ end', '   {{-', '{a{a', '{{ x ']) {
      const base = JSON.stringify(part.repeat(Math.floor(300_000 / part.length)));
      const text = `formula="c"\nlegs=[{id="a"}]\nprompts={base=${base}}\ninputs={x={default="1"}}`;
      expect(cpuMs(() => cook(text))).toBeLessThan(2_000);
    }
  });
});
