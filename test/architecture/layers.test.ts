import { filesBelow, type Import, importsOf, LAYERS, read } from './sources';

interface Rule {
  /** Folders of our own, or single files without ending. */
  readonly own: readonly string[];
  readonly packages: readonly string[];
  /** Also every `node:` module. */
  readonly node: boolean;
}

const CONTRACT = [
  'workflows/molecule/messages',
  'workflows/agent/messages',
  'workflows/dispatcher/messages',
  'workflows/convoy/messages',
];

/** Who may import what: the table of the architecture. A layer may always import itself. */
const TABLE: Readonly<Record<(typeof LAYERS)[number], Rule>> = {
  schema: { own: [], packages: ['zod'], node: false },
  workflows: { own: ['schema'], packages: ['@temporalio/workflow'], node: false },
  activities: {
    own: ['schema', ...CONTRACT],
    packages: [
      '@temporalio/activity',
      '@temporalio/client',
      '@temporalio/common',
      'pg',
      'kysely',
      'octokit',
      'execa',
      '@open-policy-agent/opa-wasm',
    ],
    node: true,
  },
  cli: {
    own: ['schema', ...CONTRACT, 'activities/ledger', 'activities/policy'],
    packages: ['@temporalio/client', '@oclif/core', 'hono', '@hono/node-server', '@hono/zod-openapi', 'zod'],
    node: true,
  },
  workers: {
    own: ['schema', 'activities', 'cli/server'],
    packages: ['@temporalio/client', '@temporalio/worker', 'kysely', 'pino'],
    node: true,
  },
};

/** What single places may import beside the table, and why. */
const EXCEPTIONS: readonly { readonly from: string; readonly to: string; readonly reason: string }[] = [
  { from: 'schema/formula/document.ts', to: 'smol-toml', reason: 'the edge at which a formula is read' },
  { from: 'schema/config.ts', to: 'smol-toml', reason: 'the edge at which town.toml is read' },
  { from: 'schema/db/', to: 'kysely', reason: 'types of rows, and the migrations, which are written with it' },
  { from: 'workers/', to: 'cli/client/', reason: 'the service makes the client that its sockets and its feeder use' },
  { from: 'workers/', to: 'cli/ask', reason: 'the service speaks the protocol of its socket' },
  {
    from: 'cli/commands/local.ts',
    to: 'activities/provision/',
    reason: 'up, down, status and doctor work without a service',
  },
];

const everyImport: readonly Import[] = LAYERS.flatMap((layer) => filesBelow(layer, '.ts')).flatMap(importsOf);

describe('layers', () => {
  it('the sources are found', () => {
    for (const layer of LAYERS) expect(filesBelow(layer, '.ts').length).toBeGreaterThan(0);
    expect(everyImport.length).toBeGreaterThan(200);
    expect(everyImport.some((found) => found.typeOnly)).toBe(true);
  });

  it('each imports only what the table allows', () => {
    expect(everyImport.filter((found) => !isAllowed(found)).map(describeImport)).toEqual([]);
  });

  it('no exception is left over', () => {
    const unused = EXCEPTIONS.filter(
      ({ from, to }) => !everyImport.some((found) => found.from.startsWith(from) && found.to.startsWith(to)),
    );
    expect(unused.filter(({ to }) => !to.startsWith('cli/ask'))).toEqual([]);
  });

  it('production code imports no test', () => {
    expect(everyImport.filter((found) => found.isOwn && found.to.startsWith('test/')).map(describeImport)).toEqual([]);
  });

  it('commands ask the client, never the ledger', () => {
    const reaching = everyImport.filter(
      ({ from, to }) =>
        from.startsWith('cli/commands/') && (to.startsWith('activities/ledger') || to === 'pg' || to === 'kysely'),
    );
    expect(reaching.map(describeImport)).toEqual([]);
  });
});

describe('cycles', () => {
  it('no file imports a value of one that imports its values', () => {
    expect(cyclesOf(everyImport.filter((found) => found.isOwn && !found.typeOnly))).toEqual([]);
  });

  it('finds one where there is one', () => {
    const edge = (from: string, to: string): Import => ({ from, to, isOwn: true, typeOnly: false });
    expect(cyclesOf([edge('a', 'b'), edge('b', 'c'), edge('c', 'b')])).toEqual(['b → c → b']);
  });
});

describe('the workflow bundle', () => {
  it('holds only workflows, pure decisions and the Temporal workflow package', () => {
    const reached = new Set(['workflows/index.ts']);
    const packages = new Set<string>();
    for (const file of reached) {
      for (const { to, isOwn, typeOnly } of importsOf(file)) {
        if (typeOnly) continue;
        if (isOwn) reached.add(to);
        else packages.add(to);
      }
    }
    expect([...packages]).toEqual(['@temporalio/workflow']);
    expect([...reached].filter((file) => !/^(workflows|schema)\//.test(file) || file.startsWith('schema/db/'))).toEqual(
      [],
    );
    expect(reached).toContain('schema/molecule/molecule.ts');
  });

  it('reads no clock and no chance but through workflows/clock.ts', () => {
    const pure = [...filesBelow('schema', '.ts'), ...filesBelow('workflows', '.ts')];
    const impure = /\bDate\.now\(|\bnew Date\(\s*\)|\bMath\.random\(|\bprocess\.|\bsetInterval\(/;
    expect(pure.filter((file) => file !== 'workflows/clock.ts' && impure.test(withoutComments(file)))).toEqual([]);
  });
});

function isAllowed({ from, to, isOwn }: Import): boolean {
  const layer = LAYERS.find((candidate) => from.startsWith(`${candidate}/`))!;
  const rule = TABLE[layer];
  if (EXCEPTIONS.some((exception) => from.startsWith(exception.from) && to.startsWith(exception.to))) return true;
  if (!isOwn) return to.startsWith('node:') ? rule.node : rule.packages.includes(to);
  return [layer, ...rule.own].some((allowed) => to.startsWith(`${allowed}/`) || to === `${allowed}.ts`);
}

function describeImport({ from, to }: Import): string {
  return `${from} → ${to}`;
}

function withoutComments(file: string): string {
  return read(file).replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
}

/** Each cycle once, as a path that ends where it begins. */
function cyclesOf(edges: readonly Import[]): string[] {
  const targets = Map.groupBy(edges, (edge) => edge.from);
  const finished = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) {
      cycles.push([...path.slice(path.indexOf(file)), file].join(' → '));
      return;
    }
    if (finished.has(file)) return;
    for (const { to } of targets.get(file) ?? []) visit(to, [...path, file]);
    finished.add(file);
  };
  for (const file of targets.keys()) visit(file, []);
  return cycles;
}
