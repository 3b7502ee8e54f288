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

  it('refuses an expansion in place of a loop', () => {
    const text = `${steps('{id="l",loop={until="x.status == done",max=2,body=[{id="x"}]}}')}\ncompose={expand=[{target="l",with="t"}]}`;
    expect(places(cook(text, { others: { t: T } }))).toEqual(['5 FORMULA_CONFLICT']);
  });

  it('lets an attached formula need a step around it, and names the bond points there are', () => {
    const text = (at: string): string =>
      `${steps('{id="a",labels=["l"]}', '{id="b",needs=["a"]}')}\n[compose]\nbond_points=[{id="end",after_step="b"}]\nhooks=[{trigger="label:l",attach="m",at="${at}"}]`;
    const others = {
      m: 'formula="m"\nextends=["n"]\nsteps=[{id="x",needs=["a"]}]',
      n: 'formula="n"\nsteps=[{id="y"}]',
    };
    expect(needsOf(recipeOf(text('end'), { others }))).toEqual({ a: [], b: ['a'], 'm.y': ['b'], 'm.x': ['b', 'a'] });
    const odd = cook(text('start'), { others });
    expect(places(odd)).toEqual(['8 FORMULA_UNKNOWN_STEP']);
    expect(odd.problems[0]?.fix).toBe('Use one of: end.');
  });

  it('says where an attached or bonded formula alone is too big', () => {
    const loops = '{id="k",loop={count=3000,body=[{id="x"}]}}';
    const others = { big: `formula="big"\nsteps=[\n${loops},${loops.replace('"k"', '"l"')}]` };
    const hook = `${steps('{id="a",labels=["l"]}')}\ncompose={hooks=[{trigger="label:l",attach="big"}]}`;
    expect(
      cook(hook, { others: { big: `${others.big}\nextends=["n"]`, n: 'formula="n"\nsteps=[{id="y"}]' } }).problems,
    ).toMatchObject([{ file: 'big.toml', line: 2, code: 'FORMULA_TOO_BIG' }]);
    const each = '{id="a",on_complete={for_each="output.x",bond="wild"}}';
    const wild = {
      wild: `formula="wild"\nextends=["n"]\nsteps=[{id="l",loop={count=4000,var="n",body=[{id="x",description="{n}${'y'.repeat(9_000)}"}]}}]`,
      n: 'formula="n"\nsteps=[{id="y"}]',
    };
    expect(places(cook(steps(each, each.replace('"a"', '"b"')), { others: wild }))).toEqual(['3 FORMULA_TOO_BIG']);
  });

  it('tells at the largest step what would not go with a molecule', () => {
    const long = 'y'.repeat(250);
    const text = `formula="f"\n[[steps]]\nid="l"\nloop={count=4900,body=[{id="x",title="${long}"}]}\n[[steps]]\nid="large"\ntitle="${long}${long}"`;
    const { problems } = cook(text);
    expect(problems.map(({ line, code, message }) => [line, code, message.replaceAll(/\d{7}/g, 'n')])).toEqual([
      [
        5,
        'FORMULA_TOO_BIG',
        'the formula cannot be poured: its titles, needs, gates and conditions have n bytes, at most n go with a molecule',
      ],
    ]);
    const longer = text.replaceAll('title=', 'notes=').replaceAll(long, 'ä'.repeat(500));
    expect(cook(longer).problems.map(({ line, message }) => [line, message.replaceAll(/\d{7}/g, 'n')])).toEqual([
      [5, 'the formula cannot be poured: its recipe has n bytes, at most n are kept'],
    ]);
  });

  it.each([
    ['formula="f"\nvars={v={description="D"}}\nsteps=[{id="a",title="{{v}}"}]', '2 FORMULA_MISSING_VARIABLE'],
    ['formula="f"\nvars={v={pattern="[z-a]"}}\nsteps=[{id="a"}]', '2 FORMULA_PATTERN'],
    ['formula="f"\nvars={v={pattern="^x{3,}$",default="xx"}}\nsteps=[{id="a"}]', '2 FORMULA_PATTERN'],
    ['formula="f"\n[compose.expand]\n[[steps]]\nid="a"', '2 FORMULA_TYPE'],
    ['formula="f"\nsteps=[{id="a",expand="t",\nexpand_vars={x=["y"]}}]', '3 FORMULA_TYPE'],
    ['formula="f"\ndescription="""\nSays "no""""\ncolour="red"\nsteps=[{id="a"}]', '4 FORMULA_UNKNOWN_KEY'],
  ])('names the line: %s', (text, place) => {
    expect(places(cook(text, { others: { t: T } }))).toContain(place);
  });

  it('describes a missing variable by its own words', () => {
    const text = 'formula="f"\nvars={v={description="Whom to ask"}}\nsteps=[{id="a",title="{{v}}"}]';
    expect(cook(text).problems[0]?.message).toBe('the variable v (Whom to ask) has no value');
  });

  it('passes needs on from a skipped step beside others, and refuses a default that is no text', () => {
    const found = parseOverlay('[[step-overrides]]\nstep_id="b"\nmode="skip"', 'o.toml').overlay;
    const text = steps('{id="a"}', '{id="b",needs=["a"]}', '{id="c"}', '{id="d",needs=["c","b"]}');
    expect(needsOf(recipeOf(text, { overlay: () => found }))['d']).toEqual(['c', 'a']);
    expect(parseOverlay('[vars]\nx=["y"]', 'o.toml').problems).toMatchObject([{ line: 2, code: 'FORMULA_TYPE' }]);
  });

  it('drops steps that wait for each other when their condition drops them all', () => {
    const ring =
      'formula="p"\nvars={v=""}\nsteps=[{id="a",needs=["b"],condition="{{v}}"},{id="b",needs=["a"],condition="{{v}}"},{id="c",needs=["a"]}]';
    expect(() => recipeOf(ring)).toThrow('FORMULA_CYCLE');
    const parts = {
      p: 'formula="p"\nvars={v=""}\nsteps=[{id="a",condition="{{v}}"},{id="c",needs=["a"]}]',
    };
    const text =
      'formula="f"\nextends=["p"]\nsteps=[{id="a",needs=["b"],condition="{{v}}"},{id="b",needs=["a"],condition="{{v}}"}]';
    expect(needsOf(recipeOf(text, { others: parts }))).toEqual({ c: [] });
    expect(codes(cook(text, { others: parts, vars: { v: 'yes' } }))).toEqual(['FORMULA_CYCLE']);
  });
});
