import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createTownClient, type TownClient } from '../../cli/client/client';
import { answerRequest } from '../../cli/server/answer';
import type { Ask, Ledger, OutboxMessage } from '../../schema/ledger';
import type { EventView, GateView, MoleculeView, StepView } from '../../schema/views';
import { requestOf } from '../support/client';

const AMBER = 'acme/polecats/amber';
const person: Ask = { actor: 'person:ann' };

const step = (name: string, changes: Partial<StepView> = {}): StepView => ({
  id: `acme-k3f9a.${name}`,
  step: name,
  title: `do ${name}`,
  status: 'waiting',
  attempt: 0,
  agent_id: null,
  needs: [],
  outcome: null,
  note: null,
  commit_id: null,
  round: 1,
  output: null,
  waits_for: null,
  ...changes,
});
const closed = (outcome: string): Partial<StepView> => ({ status: 'closed', outcome });
const STEPS = [
  step('scan', closed('done')),
  step('ship', { needs: ['scan'], status: 'gated', waits_for: 'lead' }),
  step('bad', closed('failed')),
  step('stuck', { status: 'ready', attempt: 5 }),
  step('scan.0.fix', { status: 'hooked', agent_id: AMBER }),
  step('scan.0.prove', { needs: ['scan.0.fix'] }),
];
const gate = (changes: Partial<GateView> = {}): GateView => ({
  molecule_id: 'mol-1',
  step: 'ship',
  title: 'do ship',
  rig_id: 'acme',
  root_task_id: 'acme-k3f9a',
  kind: 'human',
  waits_for: 'lead',
  prompt: 'ship it?',
  approvers: ['lead'],
  since: '2026-01-01T00:00:00.000Z',
  escalated: null,
  trouble: null,
  ...changes,
});
const event = (seq: number, type: string, payload: EventView['payload']): EventView => ({
  id: seq,
  seq,
  type,
  actor: 'molecule.mol-1',
  task_id: null,
  molecule_id: 'mol-1',
  convoy_id: null,
  agent_id: null,
  payload,
  at: '2026-01-01T00:00:00.000Z',
});

const root = mkdtempSync(join(tmpdir(), 'town test '));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A town whose ledger knows one molecule, and what it was asked to do. */
function town(changes: { status?: string; type?: string; root?: string | null; gate?: GateView } = {}) {
  const asked: unknown[] = [];
  const molecule: MoleculeView = {
    id: 'mol-1',
    formula: 'flow',
    status: changes.status ?? 'running',
    root_task_id: changes.root === undefined ? 'acme-k3f9a' : changes.root,
    rig_id: 'acme',
    agent_id: AMBER,
    resume_step_id: 'scan.0.fix',
    steps_total: STEPS.length,
    steps_closed: 2,
    outcome: null,
    attention: null,
    updated_at: '2026-01-01T00:00:00.000Z',
    steps: STEPS,
  };
  const ledger: Partial<Ledger> = {
    getMolecule: () => Promise.resolve(molecule),
    listGates: () => Promise.resolve([changes.gate ?? gate()]),
    getAgent: (id) => Promise.resolve({ id, role: id === AMBER ? 'lead' : 'polecat' } as never),
    getRig: (id) => Promise.resolve({ id, path: root } as never),
    getTask: (id) => Promise.resolve({ id, type: changes.type ?? 'molecule' } as never),
    tellRun(_ask, target, message: OutboxMessage) {
      asked.push([
        target,
        message.kind === 'update' ? message.name : 'start',
        message.kind === 'update' ? message.args : {},
      ]);
      return Promise.resolve(7);
    },
    giveOutput(_ask, given) {
      asked.push(['giveOutput', given]);
      return Promise.resolve();
    },
    closeTask(_ask, id, close) {
      asked.push(['closeTask', id, close]);
      return Promise.resolve({ id, status: 'closed' } as never);
    },
    unassignTask(_ask, id, reason) {
      asked.push(['unassignTask', id, reason]);
      return Promise.resolve({ id, status: 'open' } as never);
    },
    bondRecipe(_ask, { molecule_id, recipe, ref, mode }) {
      asked.push(['bond', molecule_id, recipe.formula, ref, mode]);
      return Promise.resolve();
    },
    listEvents: () =>
      Promise.resolve({
        items: [
          event(1, 'condition_found', { step: 'ship', holds: true }),
          event(2, 'step_closed', { step: 'scan', outcome: 'done', note: 'looked', by: AMBER }),
          event(3, 'molecule_paused', { reason: 'wait', by: 'person:ann' }),
        ],
        next_cursor: '3',
      }),
  };
  mkdirSync(join(root, 'formulas'), { recursive: true });
  writeFileSync(join(root, 'formulas', 'more.formula.toml'), 'formula = "more"\n[[steps]]\nid = "x"\ntitle = "x"\n');
  const client: TownClient = createTownClient({
    // Whatever else is asked of it is a mistake of the test.
    ledger: new Proxy(ledger, {
      get: (known, name) => Reflect.get(known, name) ?? (() => Promise.reject(new Error(`asked for ${String(name)}`))),
    }) as Ledger,
    policy: { decide: () => Promise.reject(new Error('nobody asks')) } as never,
    desk: null,
    features: {} as never,
    root,
    builtInFormulas: join(root, 'none'),
    userFormulas: join(root, 'none'),
    rebuild: null,
  } as never);
  const ask = (...argv: string[]) => answerRequest(client, requestOf(argv));
  return { client, asked, ask };
}

describe('steering a molecule', () => {
  it.each<[string[], unknown]>([
    [
      ['molecule', 'pause', 'mol-1', '--reason', 'wait'],
      ['molecule.mol-1', 'pause', { reason: 'wait', actor: 'person:ann' }],
    ],
    [
      ['molecule', 'resume', 'mol-1'],
      ['molecule.mol-1', 'resume', { reason: '', actor: 'person:ann' }],
    ],
    [
      ['molecule', 'retry', 'mol-1', 'bad', '--reason', 'mended'],
      ['molecule.mol-1', 'retryStep', { step: 'bad', reason: 'mended', actor: 'person:ann' }],
    ],
    [
      ['molecule', 'retry', 'mol-1', 'acme-k3f9a.stuck'],
      ['molecule.mol-1', 'retryStep', { step: 'stuck', reason: '', actor: 'person:ann' }],
    ],
    [
      ['molecule', 'skip', 'mol-1', 'ship', '--reason', 'seen'],
      ['molecule.mol-1', 'resolveStep', { step: 'ship', outcome: 'skipped', reason: 'seen', actor: 'person:ann' }],
    ],
    [
      ['molecule', 'bond', 'mol-1', 'more'],
      ['bond', 'mol-1', 'more', 'more', 'sequential'],
    ],
    [
      ['molecule', 'bond', 'mol-1', 'more', '--ref', 'extra', '--parallel'],
      ['bond', 'mol-1', 'more', 'extra', 'parallel'],
    ],
  ])('%j', async (argv, expected) => {
    const { ask, asked } = town();
    expect(await ask(...argv)).toMatchObject({ code: 0, stderr: '' });
    expect(asked).toEqual([expected]);
  });

  it('gives the ledger the output of a step that a person closes, then tells the run', async () => {
    const { ask, asked } = town();
    const argv = ['step', 'close', 'mol-1', 'acme-k3f9a.stuck', '--reason', 'by hand', '--output', '{"n":1}'];
    expect(await ask(...argv)).toMatchObject({ code: 0, stderr: '' });
    const output = { n: 1 };
    expect(asked).toEqual([
      ['giveOutput', { molecule_id: 'mol-1', step: 'stuck', round: 1, output }],
      [
        'molecule.mol-1',
        'resolveStep',
        { step: 'stuck', outcome: 'done', reason: 'by hand', output, actor: 'person:ann' },
      ],
    ]);
  });

  const closing = ['step', 'close', 'mol-1', 'ship', '--reason', 'x', '--output'];
  it.each<[string[], RegExp, number]>([
    [[...closing, '[1]'], /object/, 2],
    [[...closing, '{"n":'], /JSON/, 2],
    [[...closing, JSON.stringify({ n: 'x'.repeat(40_000) })], /more than \d+ bytes/, 2],
    [[...closing, '{"n":1}', '--outcome', 'skipped'], /skipped has no output/, 2],
    [['molecule', 'retry', 'mol-1', 'scan'], /is closed as done: neither ready nor failed/, 4],
    [['molecule', 'retry', 'mol-1', 'scan.0.fix'], /is hooked: neither ready nor failed/, 4],
    [['molecule', 'retry', 'mol-1', 'none'], /has no step none/, 3],
    [['molecule', 'skip', 'mol-1', 'ship'], /skipping a step needs a reason/, 2],
    [['molecule', 'cancel', 'mol-1', '--reason', ' '], /cancelling needs a reason/, 2],
    [['molecule', 'bond', 'mol-1', 'more', '--ref', 'scan'], /has steps under the name scan already/, 4],
    [['molecule', 'bond', 'mol-1', 'more', '--ref', 'A b'], /is not a name/, 2],
    [['gate', 'open', 'mol-1', 'scan'], /is closed: it waits at no gate/, 4],
  ])('%j is refused', async (argv, message, code) => {
    const { ask, asked } = town();
    const answer = await ask(...argv);
    expect(answer.stderr).toMatch(message);
    expect(answer.code).toBe(code);
    expect(asked).toEqual([]);
  });

  it('is refused when it is over', async () => {
    const { ask } = town({ status: 'completed' });
    for (const verb of ['pause', 'resume'])
      expect(await ask('molecule', verb, 'mol-1')).toMatchObject({
        code: 4,
        stderr: expect.stringMatching(/is completed/),
      });
  });

  it('cancelling closes the task that was made for it, opens any other, and tells a run that has none', async () => {
    const cancel = ['molecule', 'cancel', 'mol-1', '--reason', 'no'];
    const poured = town();
    await poured.ask(...cancel);
    expect(poured.asked).toEqual([['closeTask', 'acme-k3f9a', { outcome: 'cancelled', reason: 'no', force: true }]]);
    const slung = town({ type: 'bug' });
    await slung.ask(...cancel);
    expect(slung.asked).toEqual([['unassignTask', 'acme-k3f9a', 'no']]);
    const wisp = town({ root: null });
    await wisp.ask(...cancel);
    expect(wisp.asked).toEqual([['molecule.mol-1', 'cancel', { reason: 'no', actor: 'person:ann' }]]);
  });
});

describe('a gate', () => {
  const session = (agent: string): Ask => ({ actor: agent, session: { agent, incarnation: 1 } });
  const wish = { step: 'ship', reason: 'yes' };

  it.each<[string, Ask, string[] | null, boolean]>([
    ['any person, where nobody is named', person, null, true],
    ['a person by name', person, ['ann'], true],
    ['a person by actor', person, ['person:ann'], true],
    ['another person', person, ['lead'], false],
    ['an agent by its role', session(AMBER), ['lead'], true],
    ['an agent by its address', session('acme/crew/bea'), ['acme/crew/bea'], true],
    ['another agent', session('acme/crew/bea'), ['lead'], false],
    ['an agent, where nobody is named', session(AMBER), null, false],
    ['a run', { actor: 'molecule.mol-9' }, null, false],
  ])('is opened by %s: %s', async (_who, ask, approvers, opens) => {
    const { client, asked } = town({ gate: gate({ approvers }) });
    const opening = client.openGate(ask, 'mol-1', wish);
    if (opens) await expect(opening).resolves.toEqual({ n: 7 });
    else await expect(opening).rejects.toMatchObject({ code: 'FORBIDDEN' });
    expect(asked).toHaveLength(opens ? 1 : 0);
  });

  it('is listed with what it waits for', async () => {
    const { stdout } = await town({ gate: gate({ trouble: 'no token' }) }).ask('gate', 'list');
    expect(stdout).toBe('mol-1\tship\tlead\t2026-01-01T00:00:00.000Z\tno token\tship it?\n');
  });
});

describe('a molecule shown', () => {
  it('says where it goes on, and what its steps wait for', async () => {
    const { stdout } = await town().ask('molecule', 'show', 'mol-1');
    expect(stdout).toContain('goes on at: scan.0.fix\n');
    expect(stdout).toContain('ship\tgated\t0\t\twaits for lead\tdo ship\n');
  });

  it('as a graph has needs, and what brought each step', async () => {
    expect((await town().ask('molecule', 'graph', 'mol-1')).stdout).toBe(
      [
        'scan [done]',
        'ship [waits for lead] ← scan',
        'bad [failed]',
        'stuck [ready]',
        'scan.0.fix [hooked] (of scan)',
        'scan.0.prove [waiting] ← scan.0.fix',
        '',
      ].join('\n'),
    );
    const { stdout } = await town().ask('molecule', 'graph', 'mol-1', '--format', 'dot');
    expect(stdout).toContain('digraph "mol-1" {');
    expect(stdout).toContain('  "ship" [fillcolor=plum];');
    expect(stdout).toContain('  "scan" -> "ship";');
    expect(stdout).toContain('  "scan" -> "scan.0.fix" [style=dashed];');
  });

  it('as a log tells each event in a line', async () => {
    const answer = await town().ask('molecule', 'log', 'mol-1');
    expect(answer.stdout.split('\n').map((line) => line.split('\t').slice(2))).toEqual([
      ['condition_found', 'ship', 'holds: true'],
      ['step_closed', 'scan', `outcome: done; note: looked; by: ${AMBER}`],
      ['molecule_paused', '', 'reason: wait; by: person:ann'],
      [],
    ]);
    expect(answer.stderr).toBe('more follows: --after 3\n');
  });
});
