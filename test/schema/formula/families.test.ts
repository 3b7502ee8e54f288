import { parseOverlay } from '../../../schema/formula/overlay';
import { codes, cook, needsOf, places, recipeOf, stepOf, type Kitchen } from './cooking';

/* Formulas in the manner of each tool, with what they put together that no shipped file does. */

const TDD = `formula = "tdd"
type = "expansion"
[vars]
level = "unit"
[[template]]
id = "{target}.red"
title = "{level} test for {target.title}"
[[template]]
id = "{target}.green"
title = "Make it pass"
needs = ["{target}.red"]
`;

type Case = readonly [name: string, text: string, kitchen: Kitchen, needs: Readonly<Record<string, readonly string[]>>];

const BEADS: readonly Case[] = [
  [
    'three generations, of which the last replaces a step and an inherited map goes on',
    `formula="leaf"
extends=["mid"]
[vars]
env="prod"
[[steps]]
id="deploy"
title="Deploy {{svc}} to {{env}}"
needs=["build","approve"]
[[steps]]
id="approve"
needs=["build"]
gate={type="human",approvers=["ops"]}`,
    {
      vars: { svc: 'api' },
      others: {
        mid: 'formula="mid"\nextends=["base"]\nsteps=[{id="deploy",needs=["build"]},{id="verify",needs=["deploy"]}]\ncompose={map=[{select="ver*",with="tdd"}]}',
        base: 'formula="base"\nvars={svc={required=true}}\nsteps=[{id="build"}]',
        tdd: TDD,
      },
    },
    {
      build: [],
      approve: ['build'],
      deploy: ['build', 'approve'],
      'verify.red': ['deploy'],
      'verify.green': ['verify.red'],
    },
  ],
  [
    'two parents with one grandparent, whose advice and gate are there once',
    'formula="f"\nextends=["left","right"]\nsteps=[{id="z",needs=["b"]}]',
    {
      others: {
        left: 'formula="left"\nextends=["base"]\nsteps=[{id="l"}]',
        right: 'formula="right"\nextends=["base"]\nsteps=[{id="r"}]',
        base: `formula="base"
steps=[{id="a"},{id="b",needs=["a"]}]
advice=[{target="a",after={id="{step.id}-post"}}]
[compose]
gate=[{before="b",condition="a.output.ok"}]
expand=[{target="b",with="tdd"}]`,
        tdd: TDD,
      },
    },
    { a: [], 'a-post': ['a'], 'b.red': ['a-post'], 'b.green': ['b.red'], l: [], r: [], z: ['b.green'] },
  ],
  [
    'a loop whose bounds are the variable of the loop around it',
    `formula="grid"
vars={rows="2",cols={default=3,type="int"}}
[[steps]]
id="rows"
[steps.loop]
range="1..{rows}"
var="r"
[[steps.loop.body]]
id="cols"
loop={range="{r}..{cols}",var="c",body=[{id="cell-{r}-{c}"}]}
[[steps]]
id="end"
needs=["rows"]`,
    {},
    {
      'rows.iter1.cols.iter1.cell-1-1': [],
      'rows.iter1.cols.iter2.cell-1-2': ['rows.iter1.cols.iter1.cell-1-1'],
      'rows.iter1.cols.iter3.cell-1-3': ['rows.iter1.cols.iter2.cell-1-2'],
      'rows.iter2.cols.iter1.cell-2-2': ['rows.iter1.cols.iter3.cell-1-3'],
      'rows.iter2.cols.iter2.cell-2-3': ['rows.iter2.cols.iter1.cell-2-2'],
      end: ['rows.iter2.cols.iter2.cell-2-3'],
    },
  ],
  [
    'branch, gate, map and an aspect with pointcuts together',
    `formula="ship"
steps=[{id="design"},{id="impl-api"},{id="impl-ui"},{id="merge"}]
[compose]
aspects=["audit"]
branch=[{from="design",steps=["impl-api","impl-ui"],join="merge"}]
gate=[{before="merge",condition="children(design).all(status == 'complete')"}]
map=[{select="impl-*",with="tdd",vars={level="e2e"}}]`,
    {
      others: {
        tdd: TDD,
        audit:
          'formula="audit"\ntype="aspect"\npointcuts=[{glob="impl-*"}]\nadvice=[{target="*.green",around={after=[{id="{step.id}-scan"}]}}]',
      },
    },
    {
      design: [],
      'impl-api.red': ['design'],
      'impl-api.green': ['impl-api.red'],
      'impl-api.green-scan': ['impl-api.green'],
      'impl-ui.red': ['design'],
      'impl-ui.green': ['impl-ui.red'],
      'impl-ui.green-scan': ['impl-ui.green'],
      merge: ['impl-api.green-scan', 'impl-ui.green-scan'],
    },
  ],
  [
    'a branch and gates that name a loop and a parent',
    `formula="b"
steps=[{id="start"},{id="loop",loop={count=2,body=[{id="x"}]}},{id="kids",children=[{id="k"}]},{id="end"}]
[compose]
branch=[{from="start",steps=["loop","kids"],join="end"}]
gate=[{before="loop",condition="start.output.ok"},{before="kids",condition="start.output.ok"}]`,
    {},
    {
      start: [],
      'loop.iter1.x': ['start'],
      'loop.iter2.x': ['loop.iter1.x'],
      k: ['start'],
      kids: ['start', 'k'],
      end: ['loop.iter2.x', 'kids'],
    },
  ],
  [
    'a gate before a step of a template, and a branch between rounds',
    `formula="b"
steps=[{id="impl"},{id="side"},{id="l",loop={count=2,body=[{id="x"}]}}]
[compose]
expand=[{target="impl",with="tdd"}]
gate=[{before="impl.green",condition="impl.red.output.fails"}]
branch=[{from="l.iter1.x",steps=["side"],join="l.iter2.x"}]`,
    { others: { tdd: TDD } },
    {
      'impl.red': [],
      'impl.green': ['impl.red'],
      'l.iter1.x': [],
      side: ['l.iter1.x'],
      'l.iter2.x': ['l.iter1.x', 'side'],
    },
  ],
  [
    'conditions and gates that ask about a sibling of the same round',
    `formula="b"
[[steps]]
id="l"
[steps.loop]
count=2
body=[
{id="x"},
{id="y",needs=["x"],condition="x.output.ok == true and steps.x.status == 'complete'"},
{id="z",gate={type="condition",condition="children(x).any(output.kind == 'x.status') or x.status == failed"}}]`,
    {},
    {
      'l.iter1.x': [],
      'l.iter1.y': ['l.iter1.x'],
      'l.iter1.z': [],
      'l.iter2.x': ['l.iter1.y', 'l.iter1.z'],
      'l.iter2.y': ['l.iter2.x'],
      'l.iter2.z': ['l.iter1.y', 'l.iter1.z'],
    },
  ],
  [
    'conditions about a step that is expanded, a counted loop, and one of an attached formula',
    `formula="w"
steps=[{id="impl",labels=["q"]},{id="ship",condition="impl.status == 'complete'"},{id="l",loop={count=2,body=[{id="k"}]}},
{id="until",loop={until="impl.output.ok or t.output.ok",max=2,body=[{id="t"},{id="v",needs=["t"],condition="l.status == 'complete'"}]}}]
[compose]
expand=[{target="impl",with="tdd"}]
hooks=[{trigger="label:q",attach="page"}]`,
    {
      others: {
        tdd: TDD,
        page: 'formula="page"\nsteps=[{id="a"},{id="b",condition="a.output.ok"}]',
      },
    },
    {
      'impl.red': [],
      'impl.green': ['impl.red'],
      ship: ['impl.green'],
      'l.iter1.k': [],
      'l.iter2.k': ['l.iter1.k'],
      until: [],
      'page.a': ['impl.green', 'ship', 'l.iter2.k', 'until'],
      'page.b': ['impl.green', 'ship', 'l.iter2.k', 'until', 'page.a'],
    },
  ],
  [
    'a counted loop among children, and a parent in a round, needed from outside',
    `formula="b"
[[steps]]
id="p"
children=[{id="l",loop={range="1..2",var="i",body=[{id="q{i}",children=[{id="r{i}"}]}]}},{id="m",needs=["l"]}]
[[steps]]
id="z"
needs=["l"]
waits_for="children-of(p)"`,
    {},
    {
      'l.iter1.r1': [],
      'l.iter1.q1': ['l.iter1.r1'],
      'l.iter2.r2': ['l.iter1.q1'],
      'l.iter2.q2': ['l.iter2.r2'],
      m: ['l.iter2.q2'],
      p: ['l.iter1.r1', 'l.iter1.q1', 'l.iter2.r2', 'l.iter2.q2', 'm'],
      z: ['l.iter2.q2', 'p'],
    },
  ],
  [
    'an expansion in every round, of a child, and around a step of the same id',
    `formula="e"
steps=[{id="r",loop={count=2,var="i",body=[{id="do",title="Do {i}",expand="tdd",expand_vars={level="{i}"}}]}},{id="p",children=[{id="c1"},{id="c2",needs=["c1"]}]},{id="n",needs=["c1"]},{id="impl"},{id="s",needs=["impl"],condition="impl.status == 'complete'"}]
compose={expand=[{target="c1",with="tdd"},{target="impl",with="wrap"}]}`,
    {
      others: {
        tdd: TDD,
        wrap: 'formula="wrap"\ntype="expansion"\ntemplate=[{id="{target}-pre"},{id="{target}",needs=["{target}-pre"]},{id="{target}-post",needs=["{target}"],condition="{target}-pre.output.ok"}]',
      },
    },
    {
      'r.iter1.do.red': [],
      'r.iter1.do.green': ['r.iter1.do.red'],
      'r.iter2.do.red': ['r.iter1.do.green'],
      'r.iter2.do.green': ['r.iter2.do.red'],
      'c1.red': [],
      'c1.green': ['c1.red'],
      c2: ['c1.green'],
      p: ['c1.green', 'c2', 'c1.red'],
      n: ['c1.green'],
      'impl-pre': [],
      impl: ['impl-pre'],
      'impl-post': ['impl', 'impl-pre'],
      s: ['impl-post', 'impl'],
    },
  ],
  [
    'aspects that build on each other, with advice of one step, of several, and around',
    'formula="w"\nsteps=[{id="implement",type="feature",labels=["risky"]},{id="implement-2",needs=["implement"]}]\ncompose={aspects=["strict"]}',
    {
      others: {
        strict:
          'formula="strict"\ntype="aspect"\nextends=["plain"]\n[[advice]]\ntarget="implement"\n[advice.after]\nid="{step.id}-two"\nargs={deep=["1"]}\noutput={x="y"}',
        plain: 'formula="plain"\ntype="aspect"\nadvice=[{target="implement*",before={id="{step.id}-one"}}]',
      },
    },
    {
      'implement-one': [],
      implement: ['implement-one'],
      'implement-two': ['implement'],
      'implement-2-one': ['implement-two'],
      'implement-2': ['implement-two', 'implement-2-one'],
    },
  ],
  [
    'hooks by type and priority of the task, at a bond point beside the work and at the end',
    `formula="h"
steps=[{id="a"},{id="b",needs=["a"]}]
[compose]
bond_points=[{id="mid",after_step="a",parallel=true,description="beside b"}]
hooks=[{trigger="priority:0-1",attach="page",at="mid",vars={who="ops"}},{trigger="type:bug",attach="mortem"}]`,
    {
      traits: { labels: [], type: 'bug', priority: 0 },
      others: {
        page: 'formula="page"\nvars={who=""}\nsteps=[{id="call",title="Call {{who}}"}]',
        mortem: 'formula="mortem"\nsteps=[{id="write"}]',
      },
    },
    { a: [], 'page.call': ['a'], b: ['a'], 'mortem.write': ['page.call', 'b'] },
  ],
  [
    'every form of waits_for on a fan-out, with a person before one of them',
    `formula="w"
[[steps]]
id="plan"
on_complete={for_each="output.items",bond="item",vars={name="{item.name}",number="{index}"},parallel=true}
[[steps]]
id="join"
waits_for="all-children"
needs=["plan"]
[[steps]]
id="first"
waits_for="any-children"
needs=["plan"]
[[steps]]
id="named"
waits_for="children-of(plan)"
gate={type="human",reason="Look first"}`,
    { others: { item: 'formula="item"\nvars={name="",number=""}\nsteps=[{id="do",title="{{name}} {{number}}"}]' } },
    { plan: [], join: ['plan'], first: ['plan'], named: ['plan'] },
  ],
  [
    'a fan-out within a fan-out, whose items see the values around them',
    'formula="n"\nsteps=[{id="s",on_complete={for_each="output.x",bond="one",vars={a="{item}"},sequential=true}}]',
    {
      others: {
        one: 'formula="one"\nvars={a=""}\nsteps=[{id="p",on_complete={for_each="output.y",bond="two",vars={b="{item.k}",a="{{a}}"}}}]',
        two: 'formula="two"\nvars={a="",b=""}\nsteps=[{id="q",title="{{a}} {{b}}"}]',
      },
    },
    { s: [] },
  ],
  [
    'conditions of both languages in one, where a dropped step hands its needs on',
    `formula="c"
vars={mode="full",skip="off"}
steps=[{id="a",condition="{{mode}} != quick"},{id="b",needs=["a"],condition="!{{skip}}"},{id="c",needs=["b"],condition="{{skip}}"},
{id="d",needs=["c"],condition="{{mode}} == full && a.output.score >= 3 || children(a).count(status == 'complete') > 1"}]`,
    {},
    { a: [], b: ['a'], d: ['b', 'a'] },
  ],
];

const GAS_TOWN: readonly Case[] = [
  [
    'a convoy that builds on another: its legs join, prompt, output and synthesis stay',
    'formula="deep"\nextends=["review"]\n[[legs]]\nid="perf"\nfocus="speed"\n[[legs]]\nid="safety"\nfocus="more safety"\n[presets.fast]\nlegs=["perf","style"]',
    {
      vars: { pr: '5' },
      others: {
        review:
          'formula="review"\ntype="convoy"\n[inputs.pr]\nrequired=true\ntype="number"\n[prompts]\nbase="PR {{.pr}}: {{.leg.focus}} to {{.output_path}}"\n[output]\ndirectory="out"\nleg_pattern="{{.leg.id}}.md"\n[[legs]]\nid="safety"\nfocus="safety"\n[[legs]]\nid="style"\n[presets.slow]\nlegs=["safety"]\n[synthesis]\ntitle="Join"\ndepends_on=["safety"]',
      },
    },
    { safety: [], style: [], perf: [], synthesis: ['safety'] },
  ],
  [
    'a convoy that changes the synthesis alone, by a leg of its parent, and takes a preset of it',
    'formula="deep"\nextends=["review"]\n[synthesis]\ntitle="Mine"\nneeds=["style"]\n[presets.fast]\nlegs=["style"]',
    {
      vars: { preset: 'slow' },
      others: {
        review: 'formula="review"\nlegs=[{id="safety"},{id="style"}]\npresets={slow={legs=["safety","style"]}}',
      },
    },
    { safety: [], style: [], synthesis: ['style'] },
  ],
  [
    'children of children, one of which is needed from outside',
    `formula="boot"
phase="vapor"
[[steps]]
id="epic"
needs=["pre"]
[[steps.children]]
id="one"
[[steps.children.children]]
id="one-a"
[[steps.children.children]]
id="one-b"
needs=["one-a"]
[[steps.children]]
id="two"
needs=["one"]
[[steps]]
id="pre"
[[steps]]
id="mid"
needs=["one-b"]
[squash]
trigger="on_complete"
template_type="patrol"`,
    {},
    {
      pre: [],
      'one-a': ['pre'],
      'one-b': ['one-a'],
      one: ['one-a', 'one-b'],
      two: ['one'],
      epic: ['pre', 'one-a', 'one-b', 'one', 'two'],
      mid: ['one-b'],
    },
  ],
];

const GAS_CITY: readonly Case[] = [
  [
    'checks that are tried again, a loop of rounds with rounds in it, and a drain with values around it',
    `formula="scoped"
version=2
contract="graph.v2"
[requires]
formula_compiler=">=2.0.0"
[vars.issue]
required=true
[[steps]]
id="body"
metadata={"gc.kind"="scope","gc.name"="{{issue}}"}
[[steps]]
id="implement"
needs=["body"]
tags=["gc:x"]
ralph={max_attempts=3,check={mode="exec",path=".gc/check.sh",timeout="2m"}}
[[steps]]
id="refine"
needs=["implement"]
[steps.loop]
until="step.status == 'complete'"
max=3
[[steps.loop.body]]
id="look"
gate={type="cooldown",duration="5m"}
[[steps.loop.body]]
id="fix"
needs=["look"]
loop={count="{{rounds}}",body=[{id="k"}]}
[[steps]]
id="each"
needs=["refine"]
drain={formula="item",context="shared",max_units=5,on_item_failure="skip_remaining"}
[[steps]]
id="end"
needs=["each"]
waits_for="all-children"
retry={max_attempts=4,on_exhausted="soft_fail"}
[vars.rounds]
default=2`,
    {
      vars: { issue: '7' },
      others: {
        item: 'formula="item"\ncontract="graph.v2"\nvars={convoy_id="",issue=""}\nsteps=[{id="w",title="{{convoy_id}} {issue}"}]',
      },
    },
    { body: [], implement: ['body'], refine: ['implement'], each: ['refine'], end: ['each'] },
  ],
];

it.each([...BEADS, ...GAS_TOWN, ...GAS_CITY])('puts in order %s', (_name, text, kitchen, needs) => {
  const { recipe, problems } = cook(text, kitchen);
  expect(problems).toEqual([]);
  expect(recipe && needsOf(recipe)).toEqual(needs);
});

it('means by a name in a condition the step of the same round, formula or template', () => {
  const [siblings = [], replaced = [], expanded = []] = ['sibling', 'is expanded', 'same id'].map((word) =>
    BEADS.filter(([name]) => name.includes(word)),
  );
  const made = [...siblings, ...replaced, ...expanded].map(([, text, kitchen]) => recipeOf(text, kitchen));
  const shown = made.flatMap((recipe) => [...recipe.steps, ...Object.values(recipe.groups ?? {}).flat()]);
  const asked = (id: string): string => JSON.stringify(shown.find((step) => step.id === id) ?? null);
  expect(asked('l.iter2.y')).toContain('"step":"l.iter2.x","path":["ok"]');
  expect(asked('l.iter2.z')).toContain('"right":"x.status"');
  expect(asked('l.iter2.z')).toContain('"step":"l.iter2.x","deep":false');
  expect(asked('ship')).toContain('"step":"impl.green"');
  expect(asked('until')).toMatch(/"step":"impl.green".*"step":"t"/);
  expect(asked('v')).toContain('"step":"l.iter2.k"');
  expect(asked('page.b')).toContain('"step":"page.a"');
  expect(asked('s')).toContain('"step":"impl"');
});

it('keeps what a parent convoy says of prompts, output and presets', () => {
  const found = GAS_TOWN.find(([name]) => name.includes('legs join'));
  const [, text = '', kitchen = {}] = found ?? [];
  expect(stepOf(recipeOf(text, kitchen), 'perf').instructions).toBe('PR 5: speed to out/perf.md');
  expect(stepOf(recipeOf(text, kitchen), 'safety').instructions).toBe('PR 5: more safety to out/safety.md');
  const few = (preset: string): string[] =>
    recipeOf(text, { ...kitchen, vars: { pr: '5', preset } }).steps.map(({ id }) => id);
  expect([few('fast'), few('slow')]).toEqual([
    ['style', 'perf', 'synthesis'],
    ['safety', 'synthesis'],
  ]);
  const odd = cook(`${text}\n[synthesis]\nneeds=["nobody"]`, kitchen);
  expect(places(odd)).toEqual(['12 FORMULA_UNKNOWN_NEED']);
  expect(
    codes(
      cook('formula="x"\nextends=["p"]\n[output]\ndirectory="o"', { others: { p: 'formula="p"\nsteps=[{id="a"}]' } }),
    ),
  ).toEqual([]);
});

it('leaves out a leg that an overlay skips, with all that names it', () => {
  const text =
    'formula="c"\nlegs=[{id="a"},{id="b"},{id="c"}]\nsynthesis={depends_on=["a","b"]}\npresets={few={legs=["a","b"]}}';
  const { overlay } = parseOverlay('[[step-overrides]]\nstep_id="a"\nmode="skip"', 'o.toml');
  const made = (vars: Record<string, string>) => needsOf(recipeOf(text, { vars, overlay: () => overlay }));
  expect(made({})).toEqual({ b: [], c: [], synthesis: ['b'] });
  expect(made({ preset: 'few' })).toEqual({ b: [], synthesis: ['b'] });
  const alone = recipeOf('formula="c"\nlegs=[{id="a"},{id="b"}]', { overlay: () => overlay });
  expect(needsOf(alone)).toEqual({ b: [] });
});

it('takes every gate of other tools: what cannot be run waits for a person', () => {
  const gates: readonly (readonly [string, unknown])[] = [
    ['{type="gh:run",id="ci.yml",timeout="30m",repo="a/b"}', { kind: 'ci_run', run: 'ci.yml', timeoutMs: 1_800_000 }],
    ['{type="gh:pr",await_id="{{pr}}"}', { kind: 'pull_request', number: '12', timeoutMs: null }],
    ['{type="timer",id="60s",timeout="1h"}', { kind: 'timer', durationMs: 3_600_000 }],
    ['{type="timer",id="60s"}', { kind: 'timer', durationMs: 60_000 }],
    ['{type="bead",await_id="rig:gt-1"}', { kind: 'task', task_id: 'gt-1', timeoutMs: null }],
    ['{type="mail",await_id="mayor/"}', { kind: 'mail', address: 'mayor/', timeoutMs: null }],
    ['{type="human",reason="Look",timeout="{{t}}"}', { kind: 'human', prompt: 'Look', timeoutMs: 7_200_000 }],
    [
      '{type="conditional",condition="no_response_1"}',
      { kind: 'human', prompt: 'Open this when it holds: no_response_1' },
    ],
    ['{type="gh:run"}', { kind: 'human', prompt: 'Open this when the gh:run is done' }],
    ['{type="github",repo="a/b"}', { kind: 'human', prompt: 'Open this when the github gate holds' }],
    ['{type="timer"}', { kind: 'human', prompt: 'Open this when the time has come' }],
    ['{type="condition"}', { kind: 'human', prompt: 'a' }],
  ];
  for (const [gate, wanted] of gates) {
    const text = `formula="g"\nvars={pr="12",t="2h"}\nsteps=[{id="a",gate=${gate}}]`;
    expect(stepOf(recipeOf(text, { read: 'compatible' }), 'a').gate).toMatchObject(wanted as object);
  }
});

it('takes variables in every form, and leaves out what is of the wrong type where no order hangs on it', () => {
  const text = `formula="v"
[vars]
a="x"
b=3
c=true
d={description="D"}
e={enum=["x","y"],default="x"}
f={required=true,default=""}
g={default=["x"]}
h={pattern="^[a-z]+$",required=true}
i={type="int",default=5}
[[steps]]
id="s"
title="{{a}} {{b}} {{c}} {{e}}{{f}} {{h}} {{i}} {{nope}} {{else}}"
timeout=300
retry="3"
check=false
metadata="x"
assignee=["a"]
`;
  const { recipe, problems } = cook(text, { read: 'compatible', vars: { h: 'abc' } });
  expect(recipe?.steps[0]).toMatchObject({
    title: 'x 3 true x abc 5 {{nope}} {{else}}',
    checks: [],
    metadata: {},
    assignee: null,
  });
  expect(problems.map(({ line, code, severity }) => `${line} ${code} ${severity}`)).toEqual([
    '8 FORMULA_REQUIRED_DEFAULT warning',
    '9 FORMULA_TYPE warning',
    '15 FORMULA_TYPE warning',
    '16 FORMULA_TYPE warning',
    '17 FORMULA_VALUE warning',
    '18 FORMULA_TYPE warning',
    '19 FORMULA_TYPE warning',
  ]);
  expect(cook(text, { vars: { h: 'abc' } }).recipe).toBeNull();
});

it('lets a glob of another tool match nothing', () => {
  const text = 'formula="m"\nsteps=[{id="a"}]\ncompose={map=[{select="zz*",with="tdd"}]}';
  expect(codes(cook(text, { read: 'compatible', others: { tdd: TDD } }))).toEqual(['FORMULA_UNKNOWN_STEP']);
  expect(cook(text, { read: 'compatible', others: { tdd: TDD } }).recipe).not.toBeNull();
  expect(cook(text, { others: { tdd: TDD } }).recipe).toBeNull();
});

it('reads a JSON formula with children, gates and variables of both forms', () => {
  const json = JSON.stringify({
    formula: 'j',
    vars: { desc: { default: 'D' }, n: { type: 'int', default: 2 } },
    steps: [
      { id: 'a', type: 'epic', children: [{ id: 'a1' }, { id: 'a2', depends_on: ['a1'], labels: ['l'], priority: 0 }] },
      {
        id: 'b',
        title: '{{desc}}',
        depends_on: ['a'],
        gate: { type: 'gh:run', await_id: 'release.yml', timeout: '30m' },
      },
    ],
  });
  const recipe = recipeOf(json, { file: 'j.formula.json' });
  expect(needsOf(recipe)).toEqual({ a1: [], a2: ['a1'], a: ['a1', 'a2'], b: ['a'] });
  expect(recipe.steps[1]).toMatchObject({ priority: 0, labels: ['l'] });
});
