import fc from 'fast-check';
import { diffRecipes, diffText } from '../../../schema/formula/diff';
import { parseOverlay, type Overlay } from '../../../schema/formula/overlay';
import type { GateSpec } from '../../../schema/formula/flow';
import { describeGate } from '../../../schema/formula/flow-text';
import { recipeDot, recipeText } from '../../../schema/formula/picture';
import { newFormula, TEMPLATES, type TemplateName } from '../../../schema/formula/templates';
import { codes, cook, needsOf, recipeOf, stepOf, type Kitchen } from './cooking';

function overlaid(text: string, overlay: string, kitchen: Kitchen = {}): ReturnType<typeof cook> {
  const { overlay: found, problems } = parseOverlay(overlay, 'o.toml');
  if (found === null) throw new Error(JSON.stringify(problems));
  return cook(text, { ...kitchen, overlay: (name): Overlay | null => (name === 'f' ? found : null) });
}

describe('overlays', () => {
  const F = `formula = "f"
[vars]
size = "s"
[[steps]]
id = "a"
description = "First {{size}}."
labels = ["x"]
check = "one"
[[steps]]
id = "b"
needs = ["a"]
[[steps]]
id = "c"
needs = ["b"]
children = [{ id = "d" }]
`;

  it('replaces, appends to and skips steps, and changes defaults', () => {
    const { recipe, problems } = overlaid(
      F,
      `[vars]
size = "m"
[[step-overrides]]
step_id = "a"
mode = "append"
description = "And again."
labels = ["y"]
checks = ["two"]
acceptance = "Both."
[[step-overrides]]
step_id = "b"
mode = "skip"
[[step-overrides]]
id = "d"
title = "Dee"
checks = ["three"]
priority = 1
gate = "human"
needs = ["a"]
assignee = "ann"
`,
    );
    expect(problems).toEqual([]);
    if (recipe === null) return;
    expect(stepOf(recipe, 'a')).toMatchObject({
      instructions: 'First m.\nAnd again.',
      labels: ['x', 'y'],
      checks: [{ run: 'one' }, { run: 'two' }],
      acceptance: 'Both.',
    });
    expect(needsOf(recipe)).toEqual({ a: [], d: ['a'], c: ['a', 'd'] });
    expect(stepOf(recipe, 'd')).toMatchObject({
      title: 'Dee',
      checks: [{ run: 'three' }],
      priority: 1,
      gate: { kind: 'human' },
      assignee: 'ann',
    });
  });

  it('reaches inherited steps, templates and legs', () => {
    const others = { p: F.replace('"f"', '"p"') };
    const changed = overlaid('formula="f"\nextends="p"', '[[step-overrides]]\nstep_id="b"\ntitle="Bee"', { others });
    expect(changed.recipe?.steps[1]?.title).toBe('Bee');
    const legs = 'formula="f"\nlegs=[{id="a",description="A"},{id="b"}]\nsynthesis={}';
    const { recipe } = overlaid(
      legs,
      '[[step-overrides]]\nstep_id="a"\nmode="append"\ndescription="more"\n[[step-overrides]]\nstep_id="b"\ntitle="Bee"',
    );
    expect(recipe?.steps.map(({ title, instructions }) => [title, instructions])).toEqual([
      ['a', 'A\nmore'],
      ['Bee', ''],
      ['Synthesis', ''],
    ]);
    expect(overlaid(legs, '[[step-overrides]]\nstep_id="b"\nmode="skip"').recipe?.steps.map(({ id }) => id)).toEqual([
      'a',
      'synthesis',
    ]);
    expect(
      overlaid(legs, '[[step-overrides]]\nstep_id="b"\nmode="append"\ndescription="B"').recipe?.steps[1]?.instructions,
    ).toBe('B');
  });

  it('refuses steps and variables that are not there, and what cannot be read', () => {
    expect(codes(overlaid(F, '[vars]\ncolour="red"\n[[step-overrides]]\nstep_id="z"\ntitle="Z"'))).toEqual([
      'FORMULA_UNKNOWN_VARIABLE',
      'FORMULA_UNKNOWN_STEP',
    ]);
    expect(codes(overlaid('formula="f"\nsteps=[{id="a"}]', '[vars]\ncolour="red"'))).toEqual([
      'FORMULA_UNKNOWN_VARIABLE',
    ]);
    const bad = parseOverlay('steps=1\n[[step-overrides]]\nmode="explode"\ncolour="red"', 'o.toml');
    expect(bad.overlay).toBeNull();
    expect(bad.problems.map((p) => p.code)).toEqual([
      'FORMULA_UNKNOWN_KEY',
      'FORMULA_UNKNOWN_KEY',
      'FORMULA_VALUE',
      'FORMULA_VALUE',
    ]);
    expect(parseOverlay('x', 'o.toml').overlay).toBeNull();
  });
});

const FULL = recipeOf(
  `formula = "full"
steps = [
  { id = "a", title = 'Say "a"', check = "x" },
  { id = "b", needs = ["a"], parallel = false, condition = "a.output.go", gate = { type = "human", approvers = ["ann"] }, retry = 2 },
  { id = "c", on_failure = { compensate = "undo" }, on_complete = { for_each = "output.x", bond = "undo" } },
  { id = "d", on_failure = "skip", loop = { until = "e.status == done and f.output.n > 1", max = 2, body = [{ id = "e" }, { id = "f" }] } },
  { id = "g", children = [{ id = "h" }] },
  { id = "i", waits_for = "any-children-of(g)" },
]`,
  { others: { undo: 'formula="undo"\nsteps=[{id="u"}]' } },
);

describe('pictures', () => {
  it('draws a recipe as text', () => {
    expect(recipeText(FULL)).toBe(`full (7 steps)
  a  [checks: x]
  a → b  [in sequence | gate: ann | when a.output.go == true | at most 2 attempts, then fail]
  c  [for each of output.x: c.each, parallel | on failure: c.undo]
  d  [repeats d until e.status == "complete" and f.output.n > 1, at most 2 times | skipped on failure]
  h
  h → g  [contains h]
  i  [waits for any of g]
group c.each
  u
group c.undo
  u
group d
  e
  f
`);
    expect(recipeText(recipeOf('formula="f"\nsteps=[{id="a"}]'))).toBe('f (1 step)\n  a\n');
  });

  it('draws it for Graphviz', () => {
    const dot = recipeDot(FULL);
    expect(dot).toContain('"a" [label="a\\nSay \\"a\\""];');
    expect(dot).toContain('"h" -> "g" [style=dotted];');
    expect(dot).toContain('"g" -> "i" [style=dashed];');
    expect(dot).toContain('"b" [label="b",peripheries=2];');
    expect(dot).toContain('"d" -> "d/e" [style=dashed,label="repeats"];');
    expect(dot).toContain('"c" -> "c.undo/u" [style=dashed,label="on failure"];');
    expect(dot).toContain('"c" -> "c.each/u" [style=dashed,label="for each"];');
    expect(dot.match(/\{/g)?.length).toBe(dot.match(/\}/g)?.length);
    const empty = { ...FULL, groups: { d: [] } };
    expect(recipeDot(empty)).not.toContain('repeats');
    expect(recipeDot(recipeOf('formula="f"\nsteps=[{id="a"}]'))).toBe(
      'digraph "f" {\n  rankdir=LR;\n  node [shape=box];\n  "a" [label="a"];\n}\n',
    );
  });

  it.each<[GateSpec, string]>([
    [{ kind: 'human', prompt: '', timeoutMs: null }, 'a person'],
    [{ kind: 'human', prompt: '', timeoutMs: null, approvers: ['lead', 'ada'] }, 'lead or ada'],
    [{ kind: 'timer', durationMs: 5 }, '5ms'],
    [{ kind: 'timer', durationMs: 93_784_005 }, '1d2h3m4s5ms'],
    [{ kind: 'task', task_id: 'acme-1', timeoutMs: null }, 'task acme-1'],
    [{ kind: 'molecule', molecule_id: 'm-2', timeoutMs: null }, 'molecule m-2'],
    [{ kind: 'ci_run', run: '12', timeoutMs: null }, 'CI run 12'],
    [{ kind: 'pull_request', number: '7', timeoutMs: null }, 'pull request 7'],
    [{ kind: 'mail', address: 'ada', timeoutMs: null }, 'mail for ada'],
    [{ kind: 'condition', when: { op: 'or', of: [] }, timeoutMs: null }, 'never'],
    [{ kind: 'condition', when: { op: 'and', of: [] }, timeoutMs: null }, 'always'],
    [
      {
        kind: 'condition',
        when: { op: 'compare', left: { of: 'file', path: 'x' }, is: '==', right: true },
        timeoutMs: null,
      },
      "file.exists('x') == true",
    ],
  ])('%j waits for %s', (gate, words) => {
    expect(describeGate(gate)).toBe(words);
  });
});

describe('differences', () => {
  const before =
    'formula="f"\ntitle="T"\nsteps=[{id="a",description="one\\ntwo"},{id="b"},{id="l",loop={until="x.status == done",max=1,body=[{id="x"}]}}]';

  it('are told by step', () => {
    const after = before
      .replace('title="T"', 'title="U"')
      .replace('one\\ntwo', 'one')
      .replace('{id="b"}', '{id="c",gate="human"}')
      .replace('[{id="x"}]', '[{id="x"},{id="y"}]');
    expect(diffText(diffRecipes(recipeOf(before), recipeOf(after)))).toBe(`~ title
    - T
    + U
- b
+ c
+ l/y
~ a.instructions
    - one
    - two
    + one
`);
    expect(diffText(diffRecipes(recipeOf(before), recipeOf(before.replace('max=1', 'max=2'))))).toContain(
      '~ l.flow\n    - {"loop"',
    );
    expect(
      diffRecipes(recipeOf('formula="f"\nsteps=[{id="a"}]'), recipeOf('formula="f"\nsteps=[{id="a",retry=2}]')),
    ).toMatchObject([{ field: 'flow', before: null }]);
  });

  it('are none between equals, and an order where nothing else is', () => {
    expect(diffRecipes(recipeOf(before), recipeOf(before))).toEqual([]);
    const turned = recipeOf('formula="f"\nsteps=[{id="b"},{id="a"}]');
    expect(diffText(diffRecipes(recipeOf('formula="f"\nsteps=[{id="a"},{id="b"}]'), turned))).toBe(
      '~ b: place 2 → 1\n~ a: place 1 → 2\n',
    );
  });
});

describe('templates', () => {
  it.each(Object.keys(TEMPLATES) as TemplateName[])('compile as they stand: %s', (name) => {
    const { recipe, problems } = cook(newFormula('my-work', name), { open: true });
    expect(problems.filter((p) => p.code !== 'FORMULA_PART')).toEqual([]);
    expect(recipe?.formula).toBe('my-work');
  });
});

interface Drawn {
  readonly [key: string]: unknown;
}

/** Steps that only use what is there: each needs some of those before it, and every part has a meaning. */
function valid(prefix: string, depth: number): fc.Arbitrary<Drawn[]> {
  const feature = (earlier: readonly string[], id: string): fc.Arbitrary<Drawn> => {
    const one = earlier[0];
    const about =
      one === undefined
        ? []
        : [
            fc.constant({ condition: `${one}.output.ok == true` }),
            fc.constant({ needs: [one], waits_for: 'all-children' }),
            fc.constant({ waits_for: `any-children-of(${one})` }),
            fc.constant({ gate: { type: 'condition', condition: `${one}.status == complete` } }),
          ];
    const inner =
      depth === 0
        ? []
        : [
            valid(`${id}c`, depth - 1).map((children) => ({ children })),
            valid(`${id}k`, depth - 1).map((children) => ({ children, check: { max_attempts: 2, path: './ok' } })),
            fc
              .tuple(valid(`${id}l`, depth - 1), fc.constantFrom({ count: 2 }, { range: '1..{v}' }))
              .map(([body, how]) => ({ loop: { ...how, body } })),
            valid(`${id}u`, depth - 1).map((body) => ({ loop: { until: 'steps.complete > 3', max: 2, body } })),
          ];
    return fc.oneof(
      fc.constantFrom<Drawn>(
        {},
        { condition: '{{v}} == 2' },
        { condition: '!{{v}}' },
        { retry: 2 },
        { on_failure: 'skip' },
        { check: 'true' },
        { expand: 'x' },
      ),
      fc.constantFrom<Drawn>(
        { on_complete: { for_each: 'output.a.b', bond: 'x' } },
        { on_failure: { compensate: 'x' } },
        { gate: 'human' },
      ),
      ...about,
      ...inner,
    );
  };
  return fc.integer({ min: 1, max: 4 }).chain((count) =>
    fc.tuple(
      ...Array.from({ length: count }, (_, index) => {
        const id = `${prefix}${index}`;
        const earlier = Array.from({ length: index }, (_each, before) => `${prefix}${before}`);
        return fc.tuple(feature(earlier, id), fc.subarray(earlier)).map(([more, needs]) => ({ id, needs, ...more }));
      }),
    ),
  );
}

describe('any formula', () => {
  const X = 'formula="x"\ntemplate=[{id="{target}.t"},{id="{target}",needs=["{target}.t"]}]\nsteps=[{id="s"}]';
  /** What a random formula may rightly be refused for: a question about a step that became several, or had nothing left. */
  const REFUSALS = [
    'FORMULA_UNKNOWN_STEP',
    'FORMULA_UNKNOWN_NEED',
    'FORMULA_NO_STEPS',
    'FORMULA_CONFLICT',
    'FORMULA_WAITS_FOR',
  ];

  it('becomes a whole recipe', () => {
    let compiled = 0;
    fc.assert(
      fc.property(valid('s', 2), (steps) => {
        const json = JSON.stringify({ formula: 'f', vars: { v: '2' }, steps });
        const { recipe, problems } = cook(json, { file: 'f.json', others: { x: X } });
        if (recipe === null) {
          for (const { code } of problems) expect(REFUSALS).toContain(code);
          return;
        }
        compiled += 1;
        for (const list of [recipe.steps, ...Object.values(recipe.groups ?? {})]) {
          const ids = new Set<string>();
          for (const { id, needs, flow } of list) {
            const before = [
              ...needs,
              ...(flow?.contains ?? []),
              ...(flow?.waitsFor === undefined ? [] : [flow.waitsFor.of]),
            ];
            for (const need of before) expect(ids).toContain(need);
            const undo = flow?.onFailure?.kind === 'compensate' ? flow.onFailure.group : undefined;
            for (const group of [flow?.loop?.group, flow?.fanOut?.group, undo]) {
              if (group !== undefined) expect(recipe.groups?.[group]?.length).toBeGreaterThan(0);
            }
            expect(ids).not.toContain(id);
            ids.add(id);
          }
        }
        expect(cook(json, { file: 'f.json', others: { x: X } }).recipe?.digest).toBe(recipe.digest);
      }),
      { numRuns: 300 },
    );
    expect(compiled).toBeGreaterThan(100);
  });

  const name = fc.constantFrom('a', 'b', '{x}', '__proto__', 'a b', '');
  const text = fc.constantFrom(
    'a.status == done',
    '{{v}}',
    '1..{v}',
    'output.x',
    'human',
    'children-of(a)',
    'f',
    '5m',
    '{{',
    '',
    3,
    null,
    [],
    {},
  );
  const keys =
    'id needs condition waits_for gate retry on_failure on_complete drain expand loop children check ralph checks timeout title priority metadata labels parallel description_file'.split(
      ' ',
    );

  it('is refused with reasons when it is made of rubbish', () => {
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { depthSize: 'small' },
        text,
        name,
        fc.array(tie('value'), { maxLength: 2 }),
        fc.dictionary(
          fc.constantFrom(...keys, 'type', 'body', 'count', 'until', 'max', 'for_each', 'bond', 'vars'),
          tie('value'),
          { maxKeys: 5 },
        ),
      ),
    }));
    fc.assert(
      fc.property(
        fc.array(fc.dictionary(fc.constantFrom(...keys), value, { maxKeys: 6 }), { maxLength: 3 }),
        fc.constantFrom('strict' as const, 'compatible' as const),
        value,
        (steps, read, compose) => {
          const json = JSON.stringify({
            formula: 'f',
            vars: { v: '2', w: compose },
            steps,
            compose,
            legs: compose,
            presets: compose,
            advice: steps,
          });
          const { recipe, problems } = cook(json, { file: 'f.json', read });
          expect(recipe !== null || problems.some((p) => p.severity === 'error' && p.fix !== '')).toBe(true);
        },
      ),
      { numRuns: 500 },
    );
  });
});
