import {
  within,
  dotOf,
  graphText,
  layersOf,
  treeOf,
  treeText,
  type GraphEdge,
  type GraphNode,
  type GraphView,
} from '../../../schema/task/graph';

const node = (id: string, more: Partial<GraphNode> = {}): GraphNode => ({
  id,
  title: id.toUpperCase(),
  status: 'open',
  type: 'task',
  priority: 2,
  assigned_agent_id: null,
  blocked: false,
  ...more,
});
const edge = (
  task_id: string,
  depends_on_id: string,
  type: GraphEdge['type'] = 'blocks',
  holds = false,
): GraphEdge => ({
  task_id,
  depends_on_id,
  type,
  holds,
});
const graphOf = (ids: string, ...edges: GraphEdge[]): GraphView => ({
  nodes: ids.split('').map((id) => node(id)),
  edges,
  truncated: false,
});
const layers = (graph: GraphView) => layersOf(graph).map((layer) => layer.map(({ id }) => id).join(''));

describe('a tree', () => {
  it('shows what hangs from a shared task where it is nearest to the root', () => {
    const graph = graphOf('abcde', edge('a', 'b'), edge('b', 'c'), edge('c', 'd'), edge('a', 'd'), edge('d', 'e'));
    const rows = treeOf(graph, 'a', 'down');
    expect(treeText(rows)).toBe(
      [
        '├─ b open P2 B [blocks]\n',
        '│  └─ c open P2 C [blocks]\n',
        '│     └─ d open P2 D [blocks] (shown elsewhere)\n',
        '└─ d open P2 D [blocks]\n',
        '   └─ e open P2 E [blocks]\n',
      ].join(''),
    );
    expect(rows.map(({ depth, parent_id }) => `${depth}${parent_id}`)).toEqual(['1a', '2b', '3c', '1a', '2d']);
  });

  it('turns the edge between part and whole round, and puts first what holds', () => {
    const graph = graphOf('abc', edge('b', 'a', 'parent-child'), edge('a', 'c', 'blocks', true));
    expect(treeOf(graph, 'a', 'down').map(({ id, holds }) => [id, holds])).toEqual([
      ['c', true],
      ['b', false],
    ]);
    expect(treeOf(graph, 'b', 'up').map(({ id }) => id)).toEqual(['a']);
    expect(treeOf(graph, 'c', 'up').map(({ id }) => id)).toEqual(['a']);
    expect(treeText(treeOf(graph, 'c', 'up'))).toBe('└─ a open P2 A [blocks, holds]\n');
  });

  it('ends where edges that mean nothing for the work go in circles, and where nodes were not read', () => {
    const graph = graphOf('ab', edge('a', 'b', 'relates-to'), edge('b', 'a', 'relates-to'), edge('a', 'z'));
    expect(treeOf(graph, 'a', 'down').map(({ id, repeated }) => [id, repeated])).toEqual([
      ['b', false],
      ['a', true],
    ]);
    const twice = graphOf('abc', edge('b', 'a', 'parent-child'), edge('a', 'b', 'related'), edge('b', 'c'));
    expect(treeOf(twice, 'a', 'down').map(({ id, repeated }) => [id, repeated])).toEqual([
      ['b', false],
      ['c', false],
      ['b', true],
    ]);
  });

  it('writes a title of several lines in one', () => {
    const graph = { ...graphOf('a', edge('a', 'b')), nodes: [node('a'), node('b', { title: 'x\ny' })] };
    expect(treeText(treeOf(graph, 'a', 'down'))).toBe('└─ b open P2 x y [blocks]\n');
  });
});

it('within so many edges', () => {
  const edges = [edge('a', 'b'), edge('b', 'c'), edge('a', 'c'), edge('c', 'd'), edge('e', 'a', 'parent-child')];
  const near = (depth: number, direction: 'down' | 'up' = 'down', root = 'a') =>
    [...within(edges, [root], direction, depth)].toSorted().join('');
  expect([near(1), near(2), near(9)]).toEqual(['abce', 'abcde', 'abcde']);
  expect([near(1, 'up', 'd'), near(9, 'up', 'e')]).toEqual(['cd', 'ae']);
});

describe('layers', () => {
  it('a whole comes after its parts, a part after what its whole waits for', () => {
    expect(layers(graphOf('abc', edge('b', 'a', 'parent-child'), edge('a', 'c')))).toEqual(['c', 'b', 'a']);
    expect(
      layers(graphOf('abcd', edge('c', 'b', 'parent-child'), edge('b', 'a', 'parent-child'), edge('a', 'd'))),
    ).toEqual(['d', 'c', 'b', 'a']);
  });

  it('urgent first, then by number; what holds nothing back counts for nothing', () => {
    const graph = {
      nodes: [node('x.10'), node('x.2'), node('x.1', { priority: 4 })],
      edges: [edge('x.2', 'x.10', 'related'), edge('x.2', 'gone')],
      truncated: true,
    };
    expect(layersOf({ ...graph, edges: graph.edges.slice(0, 1) }).map((layer) => layer.map(({ id }) => id))).toEqual([
      ['x.2', 'x.10', 'x.1'],
    ]);
    expect(graphText({ ...graph, edges: graph.edges.slice(0, 1) })).toBe(
      '1   x.2 open P2 X.2 <- x.10 (related)\n    x.10 open P2 X.10\n    x.1 open P4 X.1\n',
    );
  });

  it('shows a circle rather than nothing', () => {
    expect(layers(graphOf('abc', edge('a', 'b'), edge('b', 'a')))).toEqual(['c', 'ab']);
    expect(layers(graphOf('ab', edge('a', 'b', 'parent-child'), edge('b', 'a', 'parent-child')))).toEqual(['ab']);
    expect(layers(graphOf('a', edge('z', 'a'), edge('y', 'z', 'parent-child')))).toEqual(['a']);
  });

  it('text names what each needs', () => {
    expect(graphText(graphOf('abc', edge('a', 'c'), edge('a', 'b', 'waits-for')))).toBe(
      '1   b open P2 B\n    c open P2 C\n2   a open P2 A <- b (waits-for), c\n',
    );
  });
});

describe('DOT', () => {
  it('draws each kind of edge, and the state of each task', () => {
    const graph = {
      nodes: [
        node('a', { blocked: true }),
        node('b', { status: 'closed' }),
        node('c', { status: 'in_progress' }),
        node('d'),
      ],
      edges: [
        edge('a', 'c', 'blocks', true),
        edge('a', 'b', 'waits-for'),
        edge('c', 'd', 'parent-child'),
        edge('d', 'a', 'related'),
        edge('b', 'a'),
      ],
      truncated: false,
    };
    const lines = dotOf(graph).split('\n');
    expect(lines.slice(3, 7)).toEqual([
      '  "a" [label="a\\nA\\nopen P2", fillcolor="mistyrose"];',
      '  "b" [label="b\\nB\\nclosed P2", fillcolor="palegreen"];',
      '  "c" [label="c\\nC\\nin_progress P2", fillcolor="lightyellow"];',
      '  "d" [label="d\\nD\\nopen P2", fillcolor="white"];',
    ]);
    expect(lines.slice(7, 12)).toEqual([
      '  "a" -> "b" [style=solid, color="gray40"];',
      '  "a" -> "d" [label="related", style=dotted, color="gray40"];',
      '  "b" -> "a" [label="waits-for", style=solid, color="gray40"];',
      '  "c" -> "a" [style=solid, color="red"];',
      '  "c" -> "d" [style=dashed, arrowhead=odiamond, color="gray40"];',
    ]);
  });

  it('lets no title out of its quotes', () => {
    const title = 'a"];\n evil [x="\\" \\N <b>\u0007\u202e end';
    const dot = dotOf({ nodes: [node('a', { title })], edges: [], truncated: false });
    expect(dot.split('\n')[3]).toBe(
      '  "a" [label="a\\na\\"];  evil [x=\\"\\\\\\" \\\\N <b>  end\\nopen P2", fillcolor="white"];',
    );
    const long = dotOf({ nodes: [node('a', { title: '𝒙'.repeat(70) })], edges: [], truncated: false });
    expect(long).toContain(`${'𝒙'.repeat(59)}…\\n`);
  });
});
