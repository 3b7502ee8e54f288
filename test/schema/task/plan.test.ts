import fc from 'fast-check';
import { TownError } from '../../../schema/errors';
import { checkPlan, PLAN_LIMITS, type TaskPlan } from '../../../schema/task/plan';
import { readJsonPlan } from '../../../schema/task/plan-json';
import { keyOfTitle } from '../../../schema/task/plan-keys';
import { readMarkdownPlan } from '../../../schema/task/plan-markdown';

const json = (plan: object) => readJsonPlan(JSON.stringify(plan));
const nodes = (...titles: string[]) => titles.map((title) => ({ key: title, title }));
const edge = (from_key: string, to_key: string, more: object = {}) => ({ from_key, to_key, ...more });

describe('a Markdown plan', () => {
  const page = [
    '\uFEFF# The login\r',
    'Words about the whole are not a task.\r',
    '',
    '## Fix the tokenizer',
    '- key: tok',
    '* priority: P0',
    '**Labels:** api, core',
    'needs: Write tests, ac-1a2b3, related: ac-4c5d6',
    '',
    'It drops `#`.',
    '```',
    '## not a task',
    '```',
    '- note: this is text',
    '',
    '### Acceptance Criteria',
    'All green.',
    '### Find the line ###',
    'estimate: 30 min',
    '',
    '#### Design',
    'Look.',
    '',
    'Twice.',
    '### Dependencies',
    '## Write tests',
    '### Priority',
    '1',
    '### Type',
    'chore',
    '### Description',
    'What for.',
    '### Assignee',
    'acme/polecats/amber',
    '### Labels',
    '- a',
    '- b',
    '## Überprüfen',
    'due: 2026-05-01',
    'pinned: yes',
  ].join('\n');

  it('has a task for every heading from level two on, with fields, parts and needs', () => {
    // The empty section of needs belongs to the task above, which had the field already.
    const plan = readMarkdownPlan(page.replace('### Dependencies\n', ''));
    const [tok, line, tests, last] = plan.nodes;
    expect(plan.nodes.map(({ key, at, parent }) => [key, at, parent])).toEqual([
      ['tok', 'line 4', null],
      ['find-the-line', 'line 18', { key: 'tok' }],
      ['write-tests', 'line 25', null],
      ['u-berpru-fen', 'line 37', null],
    ]);
    expect(tok).toMatchObject({
      title: 'Fix the tokenizer',
      priority: 0,
      labels: ['api', 'core'],
      acceptance: 'All green.',
    });
    expect(tok?.description).toBe('It drops `#`.\n```\n## not a task\n```\n- note: this is text');
    expect(line).toMatchObject({
      title: 'Find the line',
      estimated_minutes: 30,
      design: 'Look.\n\nTwice.',
      description: '',
    });
    expect(tests).toMatchObject({
      priority: 1,
      type: 'chore',
      description: 'What for.',
      assignee: 'acme/polecats/amber',
      labels: ['a', 'b'],
    });
    expect(last).toMatchObject({ due_at: '2026-05-01', pinned: true });
    expect(plan.edges.map(({ from, to, type }) => [from, to, type])).toEqual([
      [{ key: 'tok' }, { key: 'write-tests' }, 'blocks'],
      [{ key: 'tok' }, { id: 'ac-1a2b3' }, 'blocks'],
      [{ key: 'tok' }, { id: 'ac-4c5d6' }, 'related'],
    ]);
    expect(checkPlan(plan)).toHaveLength(4);
  });

  it.each([
    ['## \ntext', 'line 1: the heading has no title'],
    ['a\n##\ntext', 'line 2: the heading has no title'],
    ['## a\npriority: 9', 'line 1: the priority is one of 0 to 4'],
    ['## a\nestimate: long', 'line 1: the estimate is a number of minutes'],
    ['## a\npinned: perhaps', 'line 1: pinned is true or false'],
    ['## a\nkey: my key', 'line 1: a key has letters'],
    ['## a\nkey: __proto__', 'line 1: a key has letters'],
    ['## a\n- key: x\n- colour: red', 'line 3: "colour" is none of the fields'],
    ['## a\nkey: x\nkey: y', 'line 3: the task has this field already (line 2)'],
    ['## a\n### b\nparent: c', 'line 2: it stands below another heading'],
    ['## a\npriority: 9\n## b\nestimate: x', /line 1: .*; line 3: /],
  ])('%j is refused', (source, message) => {
    expect(() => readMarkdownPlan(source)).toThrow(message);
  });

  it('names a parent that is elsewhere, and leaves unknown words alone', () => {
    const plan = readMarkdownPlan('## a\nparent: ac-1a2b3\n\n### b\nFor example: x\nowner: not a field here\n');
    expect(plan.nodes[0]?.parent).toEqual({ id: 'ac-1a2b3' });
    expect(plan.nodes[1]?.description).toBe('For example: x\nowner: not a field here');
  });

  it('has nothing to make of a page without headings', () => {
    expect(() => checkPlan(readMarkdownPlan('# only a name\ntext'))).toThrow('the file has no task');
  });
});

describe('a JSON plan', () => {
  it('has nodes and edges, with all their fields', () => {
    const plan = json({
      commit_message: 'x',
      nodes: [
        {
          key: 'a',
          title: 'A',
          type: 'epic',
          description: 'd',
          assignee: 'mayor',
          assign_after_create: true,
          priority: 0,
          labels: ['l'],
          acceptance_criteria: 'c',
          metadata: { x: { y: 1 } },
          metadata_refs: { next: 'B' },
          parent_id: 'ac-1a2b3',
          estimate: 5,
        },
        { key: 'B', title: 'B', parent_key: 'a', needs: ['ac-9z9z9'], deps: [{ target: 'third', type: 'related' }] },
        { title: 'Third' },
      ],
      edges: [
        { from_key: 'third', to_key: 'a', type: 'waits-for', gate: 'any-children' },
        { from_key: 'B', to_id: 'ac-4c5d6' },
      ],
    });
    expect(plan.nodes[0]).toMatchObject({
      key: 'a',
      at: 'nodes[0]',
      parent: { id: 'ac-1a2b3' },
      acceptance: 'c',
      estimated_minutes: 5,
      metadata: { x: { y: 1 } },
      metadata_refs: { next: 'B' },
    });
    expect(plan.nodes.map(({ key }) => key)).toEqual(['a', 'B', 'third']);
    expect(plan.edges.map(({ from, to, type, metadata }) => [from, to, type, metadata])).toEqual([
      [{ key: 'B' }, { id: 'ac-9z9z9' }, 'blocks', {}],
      [{ key: 'B' }, { key: 'third' }, 'related', {}],
      [{ key: 'third' }, { key: 'a' }, 'waits-for', { gate: 'any-children' }],
      [{ key: 'B' }, { id: 'ac-4c5d6' }, 'blocks', {}],
    ]);
    expect(checkPlan(plan).map(({ key }) => key)).toEqual(['a', 'B', 'third']);
  });

  it.each([
    ['{', 'the file is not JSON'],
    ['[]', 'the file: '],
    ['{"nodes":[{"title":"a","colour":"red"}]}', 'nodes[0]: Unrecognized key: "colour"'],
    ['{"nodes":[{"title":" "}]}', 'nodes[0].title'],
    ['{"nodes":[{"title":"a","priority":7}]}', 'nodes[0].priority'],
    ['{"nodes":[{"title":"a","key":"a b"}]}', 'nodes[0].key'],
    ['{"nodes":[{"title":"a","metadata":{"__proto__":1}}]}', '__proto__'],
    ['{"nodes":[{"title":"a","parent_id":"A b"}]}', 'nodes[0].parent: "A b" is not the id'],
    ['{"nodes":[{"title":"a","parent_id":"ac-1a2b3","parent_key":"b"}]}', 'exclude each other'],
    ['{"nodes":[{"title":"a"}],"edges":[{"from_key":"a"}]}', 'edges[0].to: a key or an id is missing'],
    ['{"nodes":[{"title":"a"}],"edges":[{"from_key":"a","to_key":"a","type":"loves"}]}', 'edges[0].type'],
    [
      `{"nodes":[{"title":"a","metadata":{"a":${'['.repeat(32)}1${']'.repeat(32)}}}]}`,
      'nodes[0].metadata: more than 32 levels deep',
    ],
    [`{"nodes":${'['.repeat(200_000)}`, 'the file is not JSON'],
    [`{"nodes":${'['.repeat(200_000)}${']'.repeat(200_000)}}`, /nested too deeply|nodes/],
  ])('%.60s is refused', (source, message) => {
    expect(() => readJsonPlan(source)).toThrow(message);
  });
});

describe('a plan is refused', () => {
  it('with everything that is wrong', () => {
    const plan = json({
      nodes: [...nodes('a', 'b', 'a'), { key: 'c', title: 'c', parent_key: 'nowhere', metadata_refs: { x: 'gone' } }],
      edges: [edge('a', 'b'), edge('a', 'b'), edge('b', 'b'), edge('b', 'lost')],
    });
    const refused = refusalOf(plan);
    expect(refused.code).toBe('INVALID_INPUT');
    for (const message of [
      'nodes[2]: the key "a" is that of nodes[0]',
      'nodes[3]: the parent "nowhere"',
      'nodes[3]: the reference to "gone"',
      'edges[3]: the end "lost"',
      'edges[1]: "a" and "b" have an edge already (edges[0])',
      'edges[2]: "b" cannot wait for itself',
    ]) {
      expect(refused.message).toContain(message);
    }
  });

  it.each([
    [[edge('a', 'b'), edge('b', 'c'), edge('c', 'a', { type: 'conditional-blocks' })], [], ['a', 'b', 'c', 'a']],
    [
      [],
      [
        ['a', 'b'],
        ['b', 'c'],
        ['c', 'a'],
      ],
      null,
    ],
    [[edge('b', 'a')], [['b', 'a']], null],
    [[edge('a', 'b', { type: 'waits-for' })], [['b', 'a']], null],
    [[edge('a', 'c'), edge('c', 'b')], [['b', 'a']], null],
    [[edge('a', 'b'), edge('b', 'a', { type: 'parent-child' })], [], null],
    [[edge('a', 'b', { type: 'related' }), edge('b', 'a', { type: 'related' })], [], 'fine'],
  ] as const)('for a cycle: %j with parts %j', (edges, parents, path) => {
    const plan = json({
      nodes: nodes('a', 'b', 'c').map((node) => {
        const parent = (parents as readonly (readonly [string, string])[]).find(([child]) => child === node.key)?.[1];
        return parent === undefined ? node : { ...node, parent_key: parent };
      }),
      edges,
    });
    if (path === 'fine') {
      expect(checkPlan(plan)).toHaveLength(3);
      return;
    }
    const refused = refusalOf(plan);
    expect(refused.code).toBe('DEPENDENCY_CYCLE');
    if (path !== null) expect(refused.details).toEqual({ path });
  });

  it('for every cycle that it has', () => {
    const pairs = [edge('a', 'b'), edge('b', 'a'), edge('c', 'd'), edge('d', 'c')];
    const refused = refusalOf(json({ nodes: nodes('a', 'b', 'c', 'd'), edges: pairs }));
    expect(refused.message).toMatch(/^the file has a cycle: (?:a waits for b waits for a|b waits for a waits for b); /);
    expect(refused.message).toMatch(/(?:c waits for d waits for c|d waits for c waits for d)$/);
  });

  it('when it is too big, too deep, or empty', () => {
    const many = json({
      nodes: Array.from({ length: PLAN_LIMITS.nodes + 1 }, (_, n) => ({ key: `k${n}`, title: 'x' })),
    });
    expect(refusalOf(many).code).toBe('INPUT_TOO_LARGE');
    const chain = Array.from({ length: 8 }, (_, n) => ({
      key: `k${n}`,
      title: 'x',
      ...(n === 0 ? {} : { parent_key: `k${n - 1}` }),
    }));
    expect(refusalOf(json({ nodes: chain })).message).toContain('6 levels deep');
    expect(checkPlan(json({ nodes: chain.slice(0, 7).toReversed() })).map(({ key }) => key)[0]).toBe('k0');
    expect(refusalOf({ nodes: [], edges: [] }).message).toContain('no task');
    const wrong = json({ nodes: nodes(...Array.from({ length: 20 }, () => 'same')) });
    expect(refusalOf(wrong).message).toContain('and 7 more');
  });

  it('or read, whatever the text', () => {
    const line = fc.constantFrom(
      '# a',
      '## a',
      '### b',
      '#### key',
      'key: x',
      '- needs: a, b',
      '```',
      '',
      'text',
      '### needs',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(line).map((all) => all.join('\n')),
        ),
        (text) => {
          for (const read of [readMarkdownPlan, readJsonPlan]) {
            try {
              checkPlan(read(text));
            } catch (error) {
              expect(error).toBeInstanceOf(TownError);
            }
          }
        },
      ),
      { numRuns: 1_000 },
    );
  });
});

it('makes keys of titles', () => {
  expect(['Fix it, now!', '  ', '日本', 'x'.repeat(99)].map(keyOfTitle)).toEqual([
    'fix-it-now',
    'task-2',
    'task-3',
    'x'.repeat(60),
  ]);
});

function refusalOf(plan: TaskPlan): TownError {
  try {
    checkPlan(plan);
  } catch (error) {
    if (error instanceof TownError) return error;
    throw error;
  }
  throw new Error('the plan was accepted');
}
