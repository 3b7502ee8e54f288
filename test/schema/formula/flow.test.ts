import { codes, cook, needsOf, places, recipeOf, stepOf } from './cooking';

const ids = (recipe: { readonly steps: readonly { readonly id: string }[] }): string[] =>
  recipe.steps.map(({ id }) => id);
const steps = (...lines: readonly string[]): string => `formula="f"\nsteps=[\n${lines.join(',\n')}\n]`;

describe('loops', () => {
  it('unrolls a range with its variable, the bounds from variables', () => {
    const text = `formula="hanoi"
[vars]
disks = "3"
[[steps]]
id = "moves"
needs = ["setup"]
labels = ["hanoi"]
priority = 1
assignee = "monk"
gate = { type = "timer", duration = "1m" }
check = "done-moving"
[steps.loop]
range = "1..2^{disks}-1"
var = "n"
body = [{ id = "move", title = "Move {n} of {disks}" }]
[[steps]]
id = "setup"
[[steps]]
id = "verify"
needs = ["moves"]
`;
    const recipe = recipeOf(text, { vars: { disks: '2' } });
    expect(needsOf(recipe)).toEqual({
      setup: [],
      'moves.iter1.move': ['setup'],
      'moves.iter2.move': ['moves.iter1.move'],
      'moves.iter3.move': ['moves.iter2.move'],
      verify: ['moves.iter3.move'],
    });
    expect(stepOf(recipe, 'moves.iter2.move')).toMatchObject({
      title: 'Move 2 of {disks}',
      gate: null,
      checks: [],
      labels: ['hanoi'],
      priority: 1,
      assignee: 'monk',
    });
    expect(stepOf(recipe, 'moves.iter1.move').gate).toEqual({ kind: 'timer', durationMs: 60_000 });
    expect(stepOf(recipe, 'moves.iter3.move').checks).toEqual([{ run: 'done-moving', timeoutMs: 600_000 }]);
    expect(recipeOf(text).steps).toHaveLength(9);
    expect(codes(cook(text, { vars: { disks: 'many' } }))).toEqual(
      ['FORMULA_VALUE', 'FORMULA_UNKNOWN_NEED'].slice(0, 1),
    );
  });

  it('unrolls loops in loops, inner bounds by outer variables, and takes a count from a variable', () => {
    const nested = steps(
      '{id="o",loop={range="1..2",var="i",body=[{id="in",loop={range="1..{i}",body=[{id="x"}]}},{id="y",waits_for="children-of(in)"}]}}',
    );
    expect(ids(recipeOf(nested))).toEqual([
      'o.iter1.in.iter1.x',
      'o.iter1.y',
      'o.iter2.in.iter1.x',
      'o.iter2.in.iter2.x',
      'o.iter2.y',
    ]);
    const counted = `${steps('{id="l",loop={count="{n}",body=[{id="x"}]}}')}\n[vars]\nn="2"`;
    expect(ids(recipeOf(counted))).toEqual(['l.iter1.x', 'l.iter2.x']);
  });

  it('repeats a group until a condition holds', () => {
    const recipe = recipeOf(
      steps(
        '{id="plan"}',
        '{id="rounds",needs=["plan"],labels=["r"],priority=0,loop={until="review.output.approved == true and steps.complete > 1",max=4,body=[{id="work",needs=["tools"]},{id="review",needs=["work"]}]}}',
        '{id="tools"}',
        '{id="ship",needs=["rounds"],waits_for="all-children"}',
      ),
    );
    expect(stepOf(recipe, 'rounds')).toMatchObject({
      needs: ['plan', 'tools'],
      flow: { loop: { group: 'rounds', max: 4, until: { op: 'and' } } },
    });
    expect(recipe.groups?.['rounds']?.map(({ id, needs, labels, priority }) => [id, needs, labels, priority])).toEqual([
      ['work', [], ['r'], 0],
      ['review', ['work'], ['r'], 0],
    ]);
    expect(stepOf(recipe, 'ship')).toMatchObject({
      needs: ['rounds'],
      flow: { waitsFor: { of: 'rounds', mode: 'all' } },
    });
    const any = recipeOf(
      steps(
        '{id="l",loop={until="step.status == done",max=2,body=[{id="x"}]}}',
        '{id="n",needs=["l"],waits_for="any-children"}',
      ),
    );
    expect(stepOf(any, 'l').flow?.loop?.until).toMatchObject({ left: { step: 'x' } });
    expect(stepOf(any, 'n')).toMatchObject({ needs: [], flow: { waitsFor: { of: 'l', mode: 'any' } } });
  });

  it('keeps loops within loops apart, and takes a condition of variables alone', () => {
    const recipe = recipeOf(
      `${steps('{id="a",loop={until="{{go}}",max=2,body=[{id="a",loop={until="!{{go}}",max=2,body=[{id="x"}]}}]}}')}\n[vars]\ngo="yes"`,
    );
    expect(Object.keys(recipe.groups ?? {})).toEqual(['a', 'a.a']);
    expect(stepOf(recipe, 'a').flow?.loop?.until).toEqual({ op: 'and', of: [] });
    expect(recipe.groups?.['a']?.[0]?.flow?.loop?.until).toEqual({ op: 'or', of: [] });
  });

  it.each([
    ['loop={count=2,until="x.status == done",max=1,body=[{id="b"}]}', 'FORMULA_VALUE'],
    ['loop={body=[{id="b"}]}', 'FORMULA_VALUE'],
    ['loop={count=1000000,body=[{id="b"}]}', 'FORMULA_VALUE'],
    ['loop={count="many",body=[{id="b"}]}', 'FORMULA_VALUE'],
    ['loop={range="1..1000000",body=[{id="b"}]}', 'FORMULA_TOO_BIG'],
    ['loop={range="1..1000000000",body=[{}]}', 'FORMULA_MISSING_ID'],
    ['loop={range="1..1000000",var="i",body=[{id="b"}]}', 'FORMULA_TOO_BIG'],
    ['loop={range="1..3000",var="i",body=[{id="b"},{id="c"}]}', 'FORMULA_TOO_BIG'],
    ['loop={range="3..1",body=[{id="b"}]}', 'FORMULA_VALUE'],
    ['loop={range="1..2",var="x y",body=[{id="b"}]}', 'FORMULA_VALUE'],
    ['loop={range=3,body=[{id="b"}]}', 'FORMULA_TYPE'],
    ['loop={until="b.status == done",body=[{id="b"}]}', 'FORMULA_VALUE'],
    ['loop={until="b.status == done",max=1000000,body=[{id="b"}]}', 'FORMULA_VALUE'],
    ['loop={until="soon",max=2,body=[{id="b"}]}', 'FORMULA_CONDITION'],
    ['loop={until=3,max=2,body=[{id="b"}]}', 'FORMULA_TYPE'],
    ['loop={until="step.status == done",max=2,body=[{id="b"},{id="c"}]}', 'FORMULA_CONDITION'],
    ['loop={until="gone.status == done",max=2,body=[{id="b"}]}', 'FORMULA_UNKNOWN_STEP'],
    ['loop={until="b.status == done",max=2,body=[{id="b",needs=["b"]}]}', 'FORMULA_CYCLE'],
    ['check="x",loop={until="b.status == done",max=2,body=[{id="b"}]}', 'FORMULA_CONFLICT'],
    [
      'retry=2,on_complete={for_each="output.x",bond="y"},loop={until="b.status == done",max=2,body=[{id="b"}]}',
      'FORMULA_CONFLICT',
    ],
    ['children=[{id="c"}],loop={count=2,body=[{id="b"}]}', 'FORMULA_CONFLICT'],
    ['loop={until="b.status == done",max=2,body=[{id="b",condition="{{v}}"}]}', 'FORMULA_NO_STEPS'],
  ])('refuses %s', (line, code) => {
    const result = cook(`${steps(`{id="a",${line}}`)}\n[vars]\nv=""`);
    expect(result.recipe).toBeNull();
    expect(codes(result)).toContain(code);
  });

  it('counts the steps of groups towards the limit', () => {
    const text = steps('{id="a",loop={until="b.status == done",max=2,body=[{id="b"},{id="c"}]}}');
    expect(codes(cook(text, { limits: { steps: 2 } }))).toContain('FORMULA_TOO_BIG');
  });
});

describe('conditions of steps', () => {
  const text = `${steps(
    '{id="a"}',
    '{id="b",needs=["a"],condition="{{mode}} == full",children=[{id="b1"}]}',
    '{id="c",needs=["b","b1"],condition="{{mode}} == full"}',
    '{id="d",needs=["c"],waits_for="children-of(b)"}',
  )}\n[vars]\nmode="full"`;

  it('drops what variables rule out, and passes its needs on', () => {
    expect(needsOf(recipeOf(text))).toEqual({ a: [], b1: ['a'], b: ['a', 'b1'], c: ['b', 'b1'], d: ['c', 'b'] });
    const short = recipeOf(text, { vars: { mode: 'short' } });
    expect(needsOf(short)).toEqual({ a: [], d: ['a'] });
    expect(stepOf(short, 'd').flow).toBeUndefined();
  });

  it('leaves a cycle among dropped steps out, and refuses a formula of which nothing is left', () => {
    const all = `${steps('{id="a",condition="{{v}}"}')}\n[vars]\nv="0"`;
    expect(places(cook(all))).toEqual(['2 FORMULA_NO_STEPS']);
    const part = `${steps('{id="p",children=[{id="x",condition="{{v}}"},{id="y"}]}')}\n[vars]\nv="0"`;
    expect(stepOf(recipeOf(part), 'p').flow?.contains).toEqual(['y']);
  });

  it('keeps what the run decides, and waits for the steps it asks about', () => {
    const recipe = recipeOf(
      `${steps(
        '{id="review"}',
        '{id="x"}',
        '{id="fix",condition="review.output.ok == false and {{deep}}"}',
        '{id="late",waits_for="children-of(x)",condition="children(x).any(status == failed)"}',
      )}\n[vars]\ndeep="true"`,
    );
    expect(stepOf(recipe, 'fix')).toMatchObject({
      needs: ['review'],
      flow: { when: { op: 'compare', left: { of: 'output', step: 'review', path: ['ok'] }, is: '==', right: false } },
    });
    expect(stepOf(recipe, 'late')).toMatchObject({
      needs: ['x'],
      flow: { when: { op: 'any', step: 'x', deep: false } },
    });
    const both = recipeOf(
      steps('{id="a"}', '{id="p",condition="a.output.x",children=[{id="c",condition="a.output.y"}]}'),
    );
    expect(stepOf(both, 'c').flow?.when).toMatchObject({ op: 'and', of: [{ op: 'compare' }, { op: 'compare' }] });
  });

  it.each([
    ['condition="soon"', ['3 FORMULA_CONDITION']],
    ['condition="gone.status == done"', ['3 FORMULA_UNKNOWN_STEP']],
    ['condition="step.status == done"', ['3 FORMULA_CONDITION']],
    ['condition="a.status == done"', ['3 FORMULA_CYCLE']],
    ['condition=3', ['3 FORMULA_TYPE']],
  ])('refuses %s', (line, wanted) => {
    expect(places(cook(steps(`{id="a",${line}}`)))).toEqual(wanted);
  });
});

describe('waiting for children', () => {
  it('names the first need as the one whose children are meant', () => {
    const recipe = recipeOf(
      steps(
        '{id="p",children=[{id="x"},{id="y"}]}',
        '{id="q",needs=["p"],waits_for="any-children"}',
        '{id="r",waits_for="any-children-of(p)"}',
        '{id="s",waits_for="children-of(p)"}',
      ),
    );
    expect(stepOf(recipe, 'p')).toMatchObject({ needs: ['x', 'y'], flow: { contains: ['x', 'y'] } });
    expect(stepOf(recipe, 'q')).toMatchObject({ needs: [], flow: { waitsFor: { of: 'p', mode: 'any' } } });
    expect(stepOf(recipe, 'r').flow?.waitsFor).toEqual({ of: 'p', mode: 'any' });
    expect(stepOf(recipe, 's')).toMatchObject({ needs: ['p'], flow: { waitsFor: { of: 'p', mode: 'all' } } });
  });

  it.each([
    ['waits_for="all-children"', ['3 FORMULA_WAITS_FOR']],
    ['waits_for="some"', ['3 FORMULA_WAITS_FOR']],
    ['waits_for="children"', ['3 FORMULA_WAITS_FOR']],
    ['waits_for=1', ['3 FORMULA_TYPE']],
    ['waits_for="children-of(gone)"', ['3 FORMULA_UNKNOWN_NEED']],
  ])('refuses %s', (line, wanted) => {
    expect(places(cook(steps(`{id="a",${line}}`)))).toEqual(wanted);
  });

  it('waits for the last steps of what was unrolled or expanded', () => {
    const text = steps('{id="l",loop={count=2,body=[{id="x"}]}}', '{id="z",waits_for="children-of(l)"}');
    expect(stepOf(recipeOf(text), 'z').needs).toEqual(['l.iter2.x']);
  });
});

describe('what follows a step', () => {
  const ARM =
    'formula="arm"\n[vars.who]\nrequired=true\n[vars.how]\ndefault="fast"\n[vars.where]\n[[steps]]\nid="go"\ntitle="{{who}} {{how}} {{where}}"';

  it('does a formula for each item of an output', () => {
    const text = `formula="survey"
[vars]
where = "here"
fast = "very {item.speed}"
[[steps]]
id = "look"
instructions = "Look."
on_complete = { for_each = "output.found.items", bond = "{{arm}}", vars = { who = "{item.name} {index}", how = "{{fast}}" }, sequential = true, max_items = 5, on_item_failure = "skip_remaining" }
[[steps]]
id = "join"
needs = ["look"]
waits_for = "all-children"
[vars.arm]
default = "arm"
`;
    const recipe = recipeOf(text, { others: { arm: ARM } });
    expect(stepOf(recipe, 'look').flow?.fanOut).toEqual({
      group: 'look.each',
      path: ['found', 'items'],
      vars: { who: '{item.name} {index}', how: 'very {item.speed}' },
      mode: 'sequential',
      itemsMax: 5,
      onItemFailure: 'stop',
    });
    expect(stepOf(recipe, 'look').instructions).toContain('output whose found.items is a list');
    expect(stepOf(recipe, 'go').title).toBe('{{who}} {{how}} here');
    expect(stepOf(recipe, 'join').flow?.waitsFor).toEqual({ of: 'look', mode: 'all' });
    const plain = recipeOf(
      steps('{id="a",on_complete={for_each="output.x",bond="arm",vars={who="{item}",where="x"}}}'),
      { others: { arm: ARM } },
    );
    expect(stepOf(plain, 'a').flow?.fanOut).toMatchObject({ mode: 'parallel', itemsMax: 100 });
    expect(stepOf(plain, 'a').flow?.fanOut?.onItemFailure).toBeUndefined();
  });

  it.each([
    ['on_complete={for_each="output.x"}', ['FORMULA_VALUE']],
    ['on_complete={bond="arm"}', ['FORMULA_VALUE']],
    ['on_complete={bond=1,for_each="output.x"}', ['FORMULA_TYPE']],
    ['on_complete={}', ['FORMULA_VALUE']],
    ['on_complete={for_each="items",bond="arm"}', ['FORMULA_VALUE']],
    ['on_complete={for_each="output.x",bond="arm",parallel=true,sequential=true}', ['FORMULA_VALUE']],
    ['on_complete={for_each="output.x",bond="arm",max_items=5000}', ['FORMULA_VALUE']],
    ['on_complete={for_each="output.x",bond="gone"}', ['FORMULA_UNKNOWN_FORMULA']],
    ['on_complete={for_each="output.x",bond="arm"}', ['FORMULA_MISSING_VARIABLE', 'FORMULA_MISSING_VARIABLE']],
    ['on_complete={for_each="output.x",bond="arm",vars={who="1",where="2",why="3"}}', ['FORMULA_UNKNOWN_VARIABLE']],
    ['on_complete={for_each="output.x",bond="self"}', ['FORMULA_VALUE']],
    ['on_complete={for_each="output.x",bond="choosy",vars={v="{item}"}}', ['FORMULA_CONDITION']],
    ['on_complete={for_each="output.x",bond="arm"},drain={formula="arm"}', ['FORMULA_CONFLICT']],
    ['drain={}', ['FORMULA_VALUE']],
    ['drain={formula=1}', ['FORMULA_TYPE']],
    ['drain={formula="arm",max_units=1000}', ['FORMULA_VALUE']],
    ['retry={}', ['FORMULA_VALUE']],
    ['retry={max_attempts=0}', ['FORMULA_VALUE']],
    ['retry=1000', ['FORMULA_VALUE']],
    ['retry="yes"', ['FORMULA_TYPE']],
    ['retry={max_attempts=2,on_exhausted="banana"}', ['FORMULA_VALUE']],
    ['on_failure="explode"', ['FORMULA_VALUE']],
    ['on_failure={}', ['FORMULA_VALUE']],
    ['on_failure={compensate=1}', ['FORMULA_TYPE']],
    ['on_failure={compensate="gone"}', ['FORMULA_UNKNOWN_FORMULA']],
    ['timeout="5m"', ['FORMULA_VALUE']],
    ['description_file="gone.md"', ['FORMULA_UNKNOWN_FILE']],
    ['check={max_attempts=2,check={mode="inference",path="x"}}', ['FORMULA_VALUE']],
    ['check={max_attempts=2,check={mode="exec",path=" "}}', ['FORMULA_VALUE']],
  ])('refuses %s', (line, wanted) => {
    const others = {
      arm: ARM,
      self: 'formula="self"\nsteps=[{id="s",on_complete={for_each="output.x",bond="self"}}]',
      choosy: 'formula="choosy"\n[vars.v]\n[[steps]]\nid="c"\ncondition="{{v}}"',
    };
    const result = cook(steps(`{id="a",${line}}`), { others });
    expect(result.recipe).toBeNull();
    expect([...new Set(codes(result))]).toEqual([...new Set(wanted)]);
  });

  it('drains a convoy: the members are what the agent names', () => {
    const item = 'formula="item"\n[[steps]]\nid="do"\ntitle="Do {{convoy_id}} and {{bead_id}}"';
    const text = (extra: string): string => steps(`{id="d",title="Drain",drain={formula="item"${extra}}}`);
    const recipe = recipeOf(text(''), { others: { item } });
    expect(stepOf(recipe, 'd').flow?.fanOut).toEqual({
      group: 'd.each',
      path: ['members'],
      vars: { convoy_id: '{item}', bead_id: '{item}' },
      mode: 'parallel',
      itemsMax: 100,
      onItemFailure: 'continue',
    });
    expect(stepOf(recipe, 'd').instructions).toContain('ids of the tasks of your convoy');
    const shared = text(',context="shared",member_access="exclusive",max_units=7,item={single_lane=true}');
    expect(stepOf(recipeOf(shared, { others: { item } }), 'd').flow?.fanOut).toMatchObject({
      mode: 'sequential',
      itemsMax: 7,
      onItemFailure: 'stop',
    });
    const declared = 'formula="item"\n[vars.issue]\nrequired=true\n[[steps]]\nid="do"\ntitle="{{issue}}"';
    expect(stepOf(recipeOf(text(''), { others: { item: declared } }), 'd').flow?.fanOut?.vars).toEqual({
      issue: '{item}',
    });
  });

  it('retries, skips and undoes', () => {
    const recipe = recipeOf(
      steps(
        '{id="a",retry=3}',
        '{id="b",retry={max_attempts=2,on_exhausted="soft_fail",backoff="1m"}}',
        '{id="c",on_failure="skip"}',
        '{id="d",on_failure={compensate="undo",vars={what="d"}}}',
        '{id="e",on_failure="fail"}',
      ),
      { others: { undo: 'formula="undo"\n[vars.what]\nrequired=true\n[[steps]]\nid="u"\ntitle="Undo {{what}}"' } },
    );
    expect(stepOf(recipe, 'a').flow).toEqual({ retry: { attemptsMax: 3, backoffMs: 10_000, exhausted: 'fail' } });
    expect(stepOf(recipe, 'b').flow).toEqual({ retry: { attemptsMax: 2, backoffMs: 60_000, exhausted: 'skip' } });
    expect(stepOf(recipe, 'c').flow).toEqual({ onFailure: { kind: 'skip' } });
    expect(stepOf(recipe, 'd').flow).toEqual({ onFailure: { kind: 'compensate', group: 'd.undo' } });
    expect(stepOf(recipe, 'u').title).toBe('Undo d');
    expect(stepOf(recipe, 'e').flow).toBeUndefined();
  });

  it('checks a step again until its attempts are used up, and repeats checked children', () => {
    const recipe = recipeOf(
      steps(
        '{id="a",timeout="2m",ralph={max_attempts=3,check={mode="exec",path="ok.sh"}}}',
        '{id="b",check={max_attempts=2,check={path="./it\'s ok.sh",timeout="5m"}}}',
        '{id="c",check={run="make x",max_attempts=1}}',
        '{id="p",title="Review",description="All of it.",instructions="Read.",check={max_attempts=6,check={mode="exec",path=".gc/approved.sh"}},children=[{id="x"},{id="y",needs=["x"]}]}',
        '{id="z",needs=["p"]}',
      ),
    );
    expect(stepOf(recipe, 'a')).toMatchObject({
      checks: [{ run: './ok.sh', timeoutMs: 120_000 }],
      flow: { retry: { attemptsMax: 3, backoffMs: 0, exhausted: 'fail' } },
    });
    expect(stepOf(recipe, 'b').checks).toEqual([{ run: "'./it'\\''s ok.sh'", timeoutMs: 300_000 }]);
    expect(stepOf(recipe, 'c').checks).toEqual([{ run: 'make x', timeoutMs: 600_000 }]);
    expect(stepOf(recipe, 'p')).toMatchObject({
      checks: [],
      flow: { loop: { group: 'p', max: 6, until: { left: { of: 'status', step: 'p.check' }, right: 'complete' } } },
    });
    expect(recipe.groups?.['p']?.map(({ id, needs }) => [id, needs])).toEqual([
      ['x', []],
      ['y', ['x']],
      ['p.check', ['y']],
    ]);
    expect(stepOf(recipe, 'p.check')).toMatchObject({
      checks: [{ run: '.gc/approved.sh', timeoutMs: 600_000 }],
      flow: { onFailure: { kind: 'skip' } },
    });
    expect(stepOf(recipe, 'p.check').instructions).toMatch(/^All of it\.\n\nRead\.\n\nClose this step as done/);
    const plain = recipeOf(steps('{id="p",retry=2,check="true",children=[{id="x"}]}'));
    expect(stepOf(plain, 'p.check').instructions).toMatch(/^Close this step/);
  });

  it('hands what is said of a parent to its children', () => {
    const recipe = recipeOf(
      steps(
        '{id="s"}',
        '{id="p",needs=["s"],labels=["l"],on_failure="skip",retry=2,check="true",timeout="1m",waits_for="all-children",gate={type="human"},loop={count=1,body=[{id="x",gate={type="condition",condition="s.output.a"}},{id="y",needs=["x"],retry=5}]}}',
      ).replace('gate={type="human"}', 'gate={type="condition",condition="s.output.b",timeout="1h"}'),
    );
    expect(stepOf(recipe, 'p.iter1.x')).toMatchObject({
      labels: ['l'],
      checks: [],
      gate: { kind: 'condition', when: { op: 'and' } },
      flow: { waitsFor: { of: 's' }, retry: { attemptsMax: 2 }, onFailure: { kind: 'skip' } },
    });
    expect(stepOf(recipe, 'p.iter1.y')).toMatchObject({
      checks: [{ run: 'true' }],
      flow: { retry: { attemptsMax: 5 } },
    });
    expect(stepOf(recipe, 'p.iter1.y').flow?.waitsFor).toBeUndefined();
  });

  it.each([
    ['gate={type="human"},children=[{id="x",gate={type="human"}}]', 'FORMULA_CONFLICT'],
    ['on_failure={compensate="arm"},children=[{id="x"}]', 'FORMULA_CONFLICT'],
    ['on_complete={for_each="output.x",bond="arm"},children=[{id="x"},{id="y"}]', 'FORMULA_CONFLICT'],
  ])('refuses to guess with %s', (line, code) => {
    expect(codes(cook(steps(`{id="a",${line}}`), { others: { arm: ARM } }))).toContain(code);
  });
});

describe('gates', () => {
  it.each([
    ['"human"', { kind: 'human', prompt: 'Go', timeoutMs: null }],
    [
      '{type="approval",prompt="Ok?",approvers=["ann"],roles=["mayor"],timeout="1h"}',
      { kind: 'human', prompt: 'Ok?', timeoutMs: 3_600_000, approvers: ['ann', 'mayor'] },
    ],
    ['{kind="timer",timeout="5m"}', { kind: 'timer', durationMs: 300_000 }],
    ['{type="timer",id="5m"}', { kind: 'timer', durationMs: 300_000 }],
    ['{type="bead",await_id="acme:acme-k3f9a"}', { kind: 'task', task_id: 'acme-k3f9a', timeoutMs: null }],
    [
      '{type="molecule",molecule="acme-m1",timeout="1d"}',
      { kind: 'molecule', molecule_id: 'acme-m1', timeoutMs: 86_400_000 },
    ],
    ['{type="gh:run",id="release.yml",timeout="30m"}', { kind: 'ci_run', run: 'release.yml', timeoutMs: 1_800_000 }],
    ['{type="gh:run",id=42}', { kind: 'ci_run', run: '42', timeoutMs: null }],
    ['{type="gh:pr",number="{{pr}}"}', { kind: 'pull_request', number: '7', timeoutMs: null }],
    ['{type="mail",address="mayor/"}', { kind: 'mail', address: 'mayor/', timeoutMs: null }],
    [
      '{type="condition",condition="a.output.ok == {{pr}}"}',
      {
        kind: 'condition',
        when: { op: 'compare', left: { of: 'output', step: 'a', path: ['ok'] }, is: '==', right: 7 },
        timeoutMs: null,
      },
    ],
  ])('reads %s', (gate, wanted) => {
    const text = `${steps('{id="a"}', `{id="g",title="Go",gate=${gate}}`)}\n[vars]\npr="7"`;
    expect(stepOf(recipeOf(text), 'g').gate).toEqual(wanted);
  });

  it.each([
    ['{type="github",event="check_suite"}', 'FORMULA_UNKNOWN_KEY'],
    ['{type="github"}', 'FORMULA_GATE'],
    ['{kind="__proto__x"}', 'FORMULA_GATE'],
    ['{type="gh:run"}', 'FORMULA_GATE'],
    ['{type="gh:pr",id=""}', 'FORMULA_GATE'],
    ['{type="timer"}', 'FORMULA_VALUE'],
    ['{type="timer",id="later"}', 'FORMULA_VALUE'],
    ['{type="condition"}', 'FORMULA_VALUE'],
    ['{type="conditional",condition="no_response"}', 'FORMULA_CONDITION'],
    ['{type="condition",condition="step.status == done"}', 'FORMULA_CONDITION'],
    ['{type="condition",condition="gone.status == done"}', 'FORMULA_UNKNOWN_STEP'],
    ['{type="human",timeout="soon"}', 'FORMULA_VALUE'],
    ['3', 'FORMULA_TYPE'],
  ])('refuses %s', (gate, code) => {
    const result = cook(steps(`{id="g",gate=${gate}}`));
    expect(result.recipe).toBeNull();
    expect(codes(result)).toContain(code);
  });

  it.each([
    ['{type="github",event="check_suite"}', 'Open this when the github gate holds'],
    ['{type="gh:run",reason="CI"}', 'CI'],
    ['{type="gh:run"}', 'Open this when the gh:run is done'],
    ['{type="conditional",condition="no_response_1"}', 'Open this when it holds: no_response_1'],
    ['{condition="no_response_1",reason="Late"}', 'Late (no_response_1)'],
    ['{}', 'g'],
  ])('lets a person open what cannot be run of another tool: %s', (gate, prompt) => {
    const { recipe, problems } = cook(steps(`{id="g",gate=${gate}}`), { read: 'compatible' });
    expect(recipe?.steps[0]?.gate).toEqual({ kind: 'human', prompt, timeoutMs: null });
    expect(problems.length).toBeGreaterThan(0);
    expect(problems.every(({ severity }) => severity === 'warning')).toBe(true);
  });

  it('takes a gate of another tool for what its keys say', () => {
    const { recipe } = cook(steps('{id="g",gate={duration="1m"}}', '{id="h",gate={timeout="tomorrow",type="human"}}'), {
      read: 'compatible',
    });
    expect(recipe?.steps.map(({ gate }) => gate)).toEqual([
      { kind: 'timer', durationMs: 60_000 },
      { kind: 'human', prompt: 'h', timeoutMs: null },
    ]);
  });
});

describe('compose', () => {
  const text = (compose: string, more = ''): string =>
    `${steps('{id="a",labels=["x"]}', '{id="b",priority=1}', '{id="c"}', '{id="d"}')}\n${more}[compose]\n${compose}`;

  it('makes branches, and gates before steps', () => {
    const recipe = recipeOf(
      text('branch=[{from="a",steps=["b","c"],join="d"}]\ngate=[{before="d",condition="b.output.ok"}]'),
    );
    expect(needsOf(recipe)).toEqual({ a: [], b: ['a'], c: ['a'], d: ['b', 'c'] });
    expect(stepOf(recipe, 'd').gate).toMatchObject({ kind: 'condition' });
    const foreign = cook(text('gate=[{before="d",condition="when it is done"}]'), { read: 'compatible' });
    expect(foreign.recipe?.steps[3]?.gate).toMatchObject({
      kind: 'human',
      prompt: 'Open this when it holds: when it is done',
    });
  });

  it.each([
    [
      'branch=[{from="x",steps=["y"],join="z"}]',
      ['FORMULA_UNKNOWN_STEP', 'FORMULA_UNKNOWN_STEP', 'FORMULA_UNKNOWN_STEP'],
    ],
    [
      'branch=[{}]',
      ['FORMULA_VALUE', 'FORMULA_VALUE', 'FORMULA_VALUE', 'FORMULA_UNKNOWN_STEP', 'FORMULA_UNKNOWN_STEP'],
    ],
    ['gate=[{before="x",condition="a.status == done"}]', ['FORMULA_UNKNOWN_STEP']],
    ['gate=[{before="a"}]', ['FORMULA_VALUE']],
    ['gate=[{before="a",condition="soon"}]', ['FORMULA_CONDITION']],
    ['bond_points=[{id="p"}]', ['FORMULA_VALUE']],
    ['bond_points=[{id="p",after_step="a",before_step="b"}]', ['FORMULA_VALUE']],
    ['bond_points=[{id="p",after_step="x"}]', ['FORMULA_UNKNOWN_STEP']],
    ['hooks=[{}]', ['FORMULA_VALUE', 'FORMULA_VALUE']],
    ['hooks=[{trigger="moon:full",attach="more"}]', ['FORMULA_VALUE']],
    ['hooks=[{trigger="label:x",attach="gone"}]', ['FORMULA_UNKNOWN_FORMULA']],
    ['hooks=[{trigger="label:x",attach="more",at="p",vars={who="me"}}]', ['FORMULA_UNKNOWN_STEP']],
    ['hooks=[{trigger="label:x",attach="self"}]', ['FORMULA_VALUE']],
  ])('refuses %s', (compose, wanted) => {
    const others = {
      more: 'formula="more"\n[vars.who]\nrequired=true\n[[steps]]\nid="m"\ntitle="{{who}}"',
      self: 'formula="self"\nsteps=[{id="s",labels=["x"]}]\ncompose={hooks=[{trigger="label:x",attach="self"}]}',
    };
    const result = cook(text(compose), { others });
    expect(result.recipe).toBeNull();
    expect(codes(result)).toEqual(wanted);
  });

  const MORE =
    'formula="more"\n[vars.who]\nrequired=true\n[vars.team]\ndefault="all"\n[[steps]]\nid="m"\ntitle="{{who}} of {{team}}"\n[[steps]]\nid="n"\nneeds=["m"]\nwaits_for="children-of(m)"';
  const hook = (trigger: string, at = ''): string =>
    `hooks=[{trigger="${trigger}",attach="more",vars={who="{{me}}"}${at}}]`;
  const ME = '[vars]\nme="ann"\n';

  it.each([
    ['', ['a', 'b', 'c', 'd'], { 'more.m': ['a', 'b', 'c', 'd'], 'more.n': ['more.m'] }],
    ['bond_points=[{id="p",after_step="a"}]\n', ['b'], { b: [], 'more.m': ['a'] }],
    ['bond_points=[{id="p",before_step="b"}]\n', ['b'], { b: ['more.n'], 'more.m': [] }],
    ['bond_points=[{id="p",step="b",position="before",parallel=true}]\n', ['b'], { b: [], 'more.m': [] }],
    ['bond_points=[{id="p",step="b",parallel=true}]\n', ['b'], { b: [], 'more.m': ['b'] }],
  ])('attaches a formula that a hook names: %s', (points, _ids, wanted) => {
    const recipe = recipeOf(text(`${points}${hook('label:x', points === '' ? '' : ',at="p"')}`, ME), {
      others: { more: MORE },
    });
    expect(needsOf(recipe)).toMatchObject(wanted);
    expect(stepOf(recipe, 'more.m').title).toBe('ann of all');
    expect(stepOf(recipe, 'more.n').flow?.waitsFor?.of).toBe('more.m');
  });

  it('looks at the labels, types and priorities of the steps, the formula and the task', () => {
    const count = (
      trigger: string,
      traits?: { labels: string[]; type: string | null; priority: number | null },
    ): number =>
      recipeOf(text(hook(trigger), `labels=["f"]\nmetadata={type="bug"}\n${ME}`), {
        others: { more: MORE },
        ...(traits && { traits }),
      }).steps.length;
    expect(
      ['label:x', 'label:f', 'label:no', 'type:bug', 'type:task', 'type:epic', 'priority:0-1', 'priority:3'].map(
        (each) => count(each),
      ),
    ).toEqual([6, 6, 4, 6, 6, 4, 6, 4]);
    const task = { labels: ['urgent'], type: 'epic', priority: 3 };
    expect(['label:urgent', 'type:epic', 'priority:3'].map((each) => count(each, task))).toEqual([6, 6, 6]);
  });

  it('attaches nothing where the formula has no steps, and an aspect as advice', () => {
    const others = {
      more: 'formula="more"\ntype="aspect"\n[[advice]]\ntarget="b"\nbefore={id="{step.id}-pre",args={x="1"},output={y="2"}}',
    };
    const recipe = recipeOf(text('hooks=[{trigger="label:x",attach="more"}]'), { others });
    expect(needsOf(recipe)['b']).toEqual(['b-pre']);
    expect(stepOf(recipe, 'b-pre').metadata).toEqual({ args: { x: '1' }, output: { y: '2' } });
    const none = {
      more: 'formula="more"\ntype="expansion"\ntemplate=[{id="t",condition="x.status == done"}]\nextends=[]',
    };
    expect(codes(cook(text('hooks=[{trigger="label:x",attach="more"}]'), { others: none }))).toEqual([
      'FORMULA_UNKNOWN_STEP',
    ]);
  });

  it('restricts advice by pointcuts, and never advises what it added', () => {
    const aspect = (rest: string): Record<string, string> => ({ s: `formula="s"\n${rest}` });
    const use = (rest: string): Record<string, readonly string[]> =>
      needsOf(recipeOf(text('aspects=["s"]'), { others: aspect(rest) }));
    expect(Object.keys(use('pointcuts=[{label="x"},{glob="d"}]\n[[advice]]\nbefore=[{id="{step.id}-pre"}]'))).toEqual([
      'a-pre',
      'a',
      'b',
      'c',
      'd-pre',
      'd',
    ]);
    expect(
      Object.keys(
        use(
          'pointcuts=[{type="task",glob="b*"}]\n[[advice]]\ntarget="*"\nafter={id="{step.id}-post"}\n[[advice]]\ntarget="*"\nafter={id="{step.id}-post2"}',
        ),
      ),
    ).toEqual(['a', 'b', 'b-post2', 'b-post', 'c', 'd']);
    expect(Object.keys(use('pointcuts=[{type="bug"}]\n[[advice]]\ntarget="a"\nafter={id="z"}'))).toEqual([
      'a',
      'b',
      'c',
      'd',
    ]);
    expect(codes(cook('formula="s"\npointcuts=[{}]\n[[advice]]\ntarget="a"'))).toEqual(['FORMULA_VALUE']);
    expect(codes(cook('formula="s"\n[[advice]]\ntarget="a"\nbefore=3'))).toEqual(['FORMULA_TYPE']);
  });

  it('advises and expands what stands within loops and parents', () => {
    const others = {
      s: 'formula="s"\n[[advice]]\ntarget="x"\n[advice.around]\nbefore=[{id="{step.id}-pre"}]\nafter=[{id="{step.id}-post"}]',
      t: 'formula="t"\ntemplate=[{id="{target}.1"},{id="{target}.2",needs=["{target}.1"]}]',
    };
    const looped = recipeOf(
      `${steps('{id="l",loop={until="y.status == done",max=2,body=[{id="x"},{id="y",needs=["x"]}]}}')}\ncompose={aspects=["s"],map=[{select="y",with="t"}]}`.replace(
        'y.status',
        'y.2.status',
      ),
      { others },
    );
    expect(looped.groups?.['l']?.map(({ id }) => id)).toEqual(['x-pre', 'x', 'x-post', 'y.1', 'y.2']);
    const contained = recipeOf(
      `${steps('{id="p",children=[{id="x"},{id="y",expand="t"}]}')}\ncompose={aspects=["s"]}`,
      { others },
    );
    expect(stepOf(contained, 'p').flow?.contains).toEqual(['x-pre', 'x', 'x-post', 'y.1', 'y.2']);
  });
});

describe('expansions', () => {
  const TWO =
    'formula="two"\n[vars.how]\nrequired=true\n[vars.size]\nenum=["s","m"]\ndefault="s"\n[[template]]\nid="{target}.1"\ntitle="{how} {{how}} {size} {{outer}}"\nmetadata={who="{{how}}"}\n[[template]]\nid="{target}"\nneeds=["{target}.1"]';
  const use = (vars: string): string =>
    `${steps(`{id="a",title="A",labels=["l"],condition="{{go}}",retry=2,expand="two",expand_vars={${vars}}}`, '{id="b",needs=["a"]}')}\n[vars]\nouter="O"\ngo="1"`;

  it('fills its own variables by either brace, and keeps what was said of the step', () => {
    const recipe = recipeOf(use('how="{{outer}}!"'), { others: { two: TWO } });
    expect(stepOf(recipe, 'a.1')).toMatchObject({
      title: 'O! O! s O',
      metadata: { who: 'O!' },
      labels: ['l'],
      flow: { retry: { attemptsMax: 2 } },
    });
    expect(needsOf(recipe)).toEqual({ 'a.1': [], a: ['a.1'], b: ['a'] });
    expect(Object.keys(needsOf(recipeOf(use('how="x"'), { others: { two: TWO }, vars: { go: 'no' } })))).toEqual(['b']);
  });

  it.each([
    ['', ['FORMULA_MISSING_VARIABLE']],
    ['how="x",size="xl"', ['FORMULA_ENUM']],
    ['how="x",colour="red"', ['FORMULA_UNKNOWN_VARIABLE']],
  ])('checks what it is given: %s', (vars, wanted) => {
    expect(codes(cook(use(vars), { others: { two: TWO } }))).toEqual(wanted);
  });

  it('stands for a step main when it is run by itself, and an aspect around stand-ins', () => {
    const two = cook(TWO, { vars: { how: 'H' } });
    expect(two.recipe?.steps.map(({ id, title }) => [id, title])).toEqual([
      ['main.1', 'H H s {{outer}}'],
      ['main', 'main'],
    ]);
    expect(codes(two)).toEqual(['FORMULA_PART']);
    const aspect = cook(
      'formula="s"\npointcuts=[{glob="*"}]\nadvice=[{target="im*",before={id="{step.id}-pre"}},{after={id="{step.id}-post"}}]',
    );
    expect(aspect.recipe?.steps.map(({ id }) => id)).toEqual([
      'immain-pre',
      'immain',
      'immain-post',
      'main',
      'main-post',
    ]);
    expect(codes(cook('formula="s"\ntype="aspect"'))).toEqual(['FORMULA_NO_STEPS']);
  });

  it('can name the expansion by a variable', () => {
    const text = `${steps('{id="a",expand="{{which}}",expand_vars={how="x"}}')}\n[vars]\nwhich="two"`;
    expect(ids(recipeOf(text, { others: { two: TWO } }))).toEqual(['a.1', 'a']);
    expect(ids(recipeOf(text, { others: { two: TWO }, open: true }))).toEqual(['a']);
  });
});

describe('a recipe with open variables', () => {
  const text = `formula="f"
[vars.who]
required = true
pattern = "^[a-z]+$"
[vars.wait]
[vars.more]
[[steps]]
id = "a"
title = "For {{who}}"
gate = { type = "timer", duration = "{{wait}}" }
[[steps]]
id = "b"
condition = "{{more}} == yes and a.output.x"
loop = { range = "1..{n}", body = [{ id = "x" }] }
[[steps]]
id = "c"
on_complete = { for_each = "output.x", bond = "{{who}}" }
[[steps]]
id = "d"
on_complete = { for_each = "output.x", bond = "arm", vars = { } }
[vars.n]
`;
  it('needs no values and decides nothing about them', () => {
    const recipe = recipeOf(text, {
      open: true,
      others: { arm: 'formula="arm"\n[vars.who]\nrequired=true\n[[steps]]\nid="x"\ntitle="{{who}}"' },
    });
    expect(recipe.vars).toEqual({});
    expect(ids(recipe)).toEqual(['a', 'b.iter1.x', 'c', 'd']);
    expect(stepOf(recipe, 'a')).toMatchObject({ title: 'For {{who}}', gate: { durationMs: 0 } });
    expect(stepOf(recipe, 'b.iter1.x').flow?.when).toBeUndefined();
    expect(
      recipeOf(text.replace('bond = "{{who}}"', 'bond = "arm"'), {
        open: true,
        vars: { who: 'ann' },
        others: { arm: 'formula="arm"\nsteps=[{id="x"}]' },
      }).steps[0]?.title,
    ).toBe('For ann');
    expect(codes(cook(text, { open: true, vars: { who: 'A1' }, others: {} }))).toContain('FORMULA_PATTERN');
  });
});
