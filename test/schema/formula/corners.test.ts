import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readCondition, stepsOf } from '../../../schema/formula/condition';
import { parseOverlay } from '../../../schema/formula/overlay';
import { PROBLEM_CODES } from '../../../schema/formula/problems';
import { matchesGlob } from '../../../schema/formula/step-list';
import { codes, cook, needsOf, places, recipeOf, stepOf } from './cooking';

const steps = (...lines: readonly string[]): string => `formula="f"\nsteps=[\n${lines.join(',\n')}\n]`;

describe('the reference for authors', () => {
  const page = readFileSync(join(__dirname, '..', '..', '..', 'docs', 'formula.md'), 'utf8');
  const examples = [...page.matchAll(/^```toml\n([\s\S]*?)^```$/gm)].map((match) => match[1] ?? '');

  it('explains every code of a problem, and no other', () => {
    const explained = [...page.matchAll(/^\| `(FORMULA_[A-Z_]+)`/gm)].map((match) => match[1]);
    expect(explained).toHaveLength(PROBLEM_CODES.length);
    expect(new Set(explained)).toEqual(new Set(PROBLEM_CODES));
  });

  it('shows formulas that compile, and parts that are read', () => {
    const whole = examples.filter((text) => text.startsWith('formula ='));
    expect(whole).toHaveLength(3);
    const others = {
      'fix-bug': whole.find((text) => text.includes('"fix-bug"')) ?? '',
      'security-audit': 'formula="security-audit"\n[[advice]]\ntarget="green"\nafter={id="scan"}',
      'page-someone': 'formula="page-someone"\nsteps=[{id="x"}]',
      'fix-item': 'formula="fix-item"\nvars={name="",number=""}\nsteps=[{id="x"}]',
      'undo-release': 'formula="undo-release"\nsteps=[{id="x"}]',
    };
    for (const text of whole) expect(codes(cook(text, { open: true, others }))).toEqual([]);
    const parts = examples.filter((text) => !text.startsWith('formula ='));
    expect(parts).toHaveLength(4);
    for (const text of parts) {
      if (text.includes('step-overrides')) expect(parseOverlay(text, 'o.toml').problems).toEqual([]);
      else if (text.startsWith('[[steps]]')) expect(codes(cook(`formula="f"\n${text}`, { others }))).toEqual([]);
      else expect(codes(cook(`formula="f"\nvars={mode="full"}\n[[steps]]\nid="a"\n${text}`, { others }))).toEqual([]);
    }
  });
});

describe('corners', () => {
  const T =
    'formula="t"\n[vars.a]\ndefault="1"\n[[template]]\nid="{target}.1"\n[[template]]\nid="{target}.2"\nneeds=["{target}.1"]';
  const BARE = 'formula="t"\ntemplate=[{id="{target}.1"}]';

  it('says what is wrong with an expansion where it is used', () => {
    const use = (entry: string): string => `${steps('{id="a"}')}\ncompose={expand=[${entry}]}`;
    expect(codes(cook(use('{target="z",with="t"}'), { others: { t: T } }))).toEqual(['FORMULA_UNKNOWN_STEP']);
    expect(codes(cook(use('{target="a",with="t"}'), { others: { t: 'formula="t"\nsteps=[{id="x"}]' } }))).toEqual([
      'FORMULA_VALUE',
    ]);
    const odd = cook(use('{target="a",with="t",vars={zzz="1"}}'), { others: { t: T }, read: 'compatible' });
    expect([odd.recipe === null, ...codes(odd)]).toEqual([false, 'FORMULA_UNKNOWN_VARIABLE']);
    expect(cook(use('{target="a",with="t",vars={zzz="1"}}'), { others: { t: BARE } }).problems[0]?.fix).toBe(
      'Use one of: none.',
    );
  });

  it('stops where expansions, advice, hooks and fan-outs would make too many steps', () => {
    const many = `formula="f"\nsteps=[{id="l",loop={count=2600,body=[{id="x"}]}}]`;
    const others = {
      t: T,
      s: 'formula="s"\n[[advice]]\ntarget="*"\nafter={id="{step.id}-z"}',
      big: 'formula="big"\nsteps=[{id="l",loop={count=2600,body=[{id="x",labels=["y"]}]}}]',
    };
    expect(codes(cook(`${many}\ncompose={map=[{select="*",with="t"}]}`, { others }))).toContain('FORMULA_TOO_BIG');
    expect(codes(cook(`${many}\ncompose={aspects=["s"]}`, { others }))).toContain('FORMULA_TOO_BIG');
    expect(
      codes(cook(`${many}\nlabels=["y"]\ncompose={hooks=[{trigger="label:y",attach="big"}]}`, { others })),
    ).toContain('FORMULA_TOO_BIG');
    const each = '{id="a",on_complete={for_each="output.x",bond="big"}}';
    expect(codes(cook(steps(each, each.replace('"a"', '"b"')), { others }))).toContain('FORMULA_TOO_BIG');
    expect(codes(cook(steps(each), { others, limits: { steps: 5 } }))).toContain('FORMULA_TOO_BIG');
    expect(codes(cook(steps('{id="a"}'), { limits: { recipeBytes: 10 } }))).toEqual(['FORMULA_TOO_BIG']);
  });

  it('gives an attached formula its own names, and the values of the hook before those around it', () => {
    const more = 'formula="m"\nvars={who="m",team="m"}\nsteps=[{id="x",title="{{who}} {{team}}"},{id="y",needs=["x"]}]';
    const text = `${steps('{id="a",labels=["l"]}')}\nvars={who="f",team="f"}\ncompose={hooks=[{trigger="label:l",attach="m",vars={who="h"}}]}`;
    const recipe = recipeOf(text, { others: { m: more } });
    expect(stepOf(recipe, 'm.x').title).toBe('h f');
    expect(needsOf(recipe)['m.y']).toEqual(['m.x']);
    const empty = cook(text, { others: { m: 'formula="m"\nextends="n"', n: 'formula="n"\nadvice=[{target="a"}]' } });
    expect(codes(empty)).toContain('FORMULA_UNKNOWN_VARIABLE');
  });

  it('reads what another formula lets through leniently when that one was', () => {
    const others = { t: 'formula="t"\nsteps=[{id="x",title="{it}"}]' };
    const each = steps(
      '{id="a",assignee="",design="D",notes="N",on_complete={for_each="output.x",bond="t",vars={it="{item}"}}}',
    );
    const lenient = cook(each, { others, read: 'compatible' });
    expect(codes(lenient)).toEqual(['FORMULA_UNKNOWN_VARIABLE']);
    expect(lenient.recipe && stepOf(lenient.recipe, 'x').title).toBe('{{it}}');
    expect(lenient.recipe?.steps[0]).toMatchObject({
      assignee: null,
      instructions: expect.stringMatching(/^Design:\nD\n\nNotes:\nN\n\nClose/) as string,
    });
    expect(cook(each, { others }).problems[0]?.fix).toBe('Use one of: none.');
  });

  it('fills macros in gates, loops and waits of what is unrolled', () => {
    const recipe = recipeOf(
      steps(
        '{id="o",loop={count=2,var="i",body=[{id="s{i}",gate={type="condition",condition="s{i}x.output.a"}},{id="s{i}x",waits_for="children-of(u{i})"},{id="u{i}",loop={until="v{i}.status == done",max=2,body=[{id="v{i}",on_failure={compensate="t"}}]}}]}}',
      ).replace('s{i}x.output.a', 'steps.complete > {i}'),
      { others: { t: 'formula="t"\nsteps=[{id="x"}]' } },
    );
    expect(stepOf(recipe, 'o.iter2.s2').gate).toMatchObject({ when: { right: 2 } });
    expect(stepOf(recipe, 'o.iter2.s2x').flow?.waitsFor?.of).toBe('o.iter2.u2');
    expect(stepOf(recipe, 'o.iter2.u2').flow?.loop).toMatchObject({
      group: 'o.iter2.u2',
      until: { left: { step: 'v2' } },
    });
    expect(stepOf(recipe, 'v2').flow?.onFailure).toEqual({ kind: 'compensate', group: 'o.iter2.u2.v2.undo' });
  });

  it('waits for what a step inside a loop waits for outside it', () => {
    const recipe = recipeOf(steps('{id="o"}', '{id="l",loop={count=2,body=[{id="x",needs=["o"]}]}}'));
    expect(needsOf(recipe)).toEqual({ o: [], 'l.iter1.x': ['o'], 'l.iter2.x': ['l.iter1.x', 'o'] });
  });

  it('asks the same condition once, and knows the steps of negated ones', () => {
    const once = recipeOf(
      steps('{id="a"}', '{id="p",condition="a.output.x",children=[{id="c",condition="a.output.x"}]}'),
    );
    expect(stepOf(once, 'c').flow?.when).toMatchObject({ op: 'compare' });
    const read = readCondition('not (a.output.x or children(b).any(status == failed)) and steps.complete > 1', {
      values: new Map(),
      self: null,
    });
    expect(read.ok && typeof read.is !== 'boolean' && stepsOf(read.is)).toEqual(['a', 'b']);
  });

  it('forgets to wait for the children of a step that is not there', () => {
    const text = `${steps('{id="a",condition="{{v}}"}', '{id="b",needs=["a"],waits_for="all-children"}')}\nvars={v=""}`;
    expect(stepOf(recipeOf(text), 'b')).toMatchObject({ needs: [] });
    expect(stepOf(recipeOf(text), 'b').flow).toBeUndefined();
  });

  it('passes needs on through steps dropped one after the other', () => {
    const count = 4_000;
    const chain = Array.from(
      { length: count },
      (_, i) =>
        `{id="s${i}"${i === 0 ? '' : `,needs=["s${i - 1}"]`}${i === 0 || i === count - 1 ? '' : ',condition="{{v}}"'}}`,
    );
    expect(needsOf(recipeOf(`${steps(...chain)}\nvars={v=""}`))).toEqual({ s0: [], [`s${count - 1}`]: ['s0'] });
    const ring = `${steps('{id="a",needs=["b"],condition="{{v}}"}', '{id="b",needs=["a"],condition="{{v}}"}', '{id="c",needs=["a"]}')}\nvars={v=""}`;
    expect(places(cook(ring))).toEqual(['3 FORMULA_CYCLE']);
  });

  it('matches globs without going back', () => {
    expect(['a*b*c', 'a*c', '*b*', 'a**c', 'abc', '*'].map((glob) => matchesGlob(glob, 'a-b-c'))).toEqual([
      true,
      true,
      true,
      true,
      false,
      true,
    ]);
    expect(['a*x*c', 'a*b*b*c', 'a*-b-c*-c', 'ab*bc'].map((glob) => matchesGlob(glob, 'a-b-c'))).toEqual([
      false,
      false,
      false,
      false,
    ]);
    expect(matchesGlob('aa*aa', 'aaa')).toBe(false);
  });

  it('puts several steps of an advice one after the other', () => {
    const others = { s: 'formula="s"\n[[advice]]\ntarget="a"\nbefore=[{id="x"},{id="y"}]\nafter=[{id="z"}]' };
    expect(
      needsOf(recipeOf(`${steps('{id="a"}', '{id="b",needs=["a"]}')}\ncompose={aspects=["s"]}`, { others })),
    ).toEqual({
      x: [],
      y: ['x'],
      a: ['y'],
      z: ['a'],
      b: ['z'],
    });
  });

  it('trims where a template says so, and reads dates as texts', () => {
    const recipe = recipeOf(
      'formula="c"\nlegs=[{id="a"}]\nmetadata={day=2024-01-02T03:04:05Z}\nprompts={base="A  {{- if .x }} B {{- else }} C {{- end -}}  D {{end}} {{else}} {{ if .y}}E{{end}}"}\ninputs={x={default="1"},y={default=""}}',
    );
    expect(recipe.steps[0]?.instructions).toBe('A BD {{end}} {{else}} ');
    expect(codes(cook('{"formula": "f"', { file: 'f.json' }))).toEqual(['FORMULA_SYNTAX']);
    expect(codes(cook('', { file: 'f.json' }))).toEqual(['FORMULA_SYNTAX']);
  });
});
