import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SocketAnswer } from '../../schema/desk';
import { answerRequest } from '../../cli/server/answer';
import { describePrime } from '../../cli/server/brief';
import { table } from '../../cli/server/print';
import { parseVerb } from '../../cli/server/verb';
import { findVerb, VERBS } from '../../cli/server/verbs';
import { createFormulaShelf } from '../../cli/client/formulas';
import type { KeyedRequest } from '../../cli/ask';
import { OLD_TOKEN, TOKEN } from '../support/fakes/desk';
import { fakeTown, step } from '../support/fakes/town';

function request(argv: readonly string[], extra: Partial<KeyedRequest> = {}): KeyedRequest {
  return { v: 1, id: 7, argv, cwd: '/', tty: false, user: 'ann', ...extra };
}
const asking = (town = fakeTown()) => ({
  town,
  ask: async (argv: readonly string[], extra: Partial<KeyedRequest> = {}): Promise<SocketAnswer> =>
    await answerRequest(town.client, request(argv, extra)),
});

describe('the table of verbs', () => {
  it('has every verb once, each with an example that it can read itself', () => {
    const names = VERBS.map(({ words }) => words.join(' '));
    expect(new Set(names).size).toBe(names.length);
    for (const verb of VERBS) {
      expect(verb.examples.length).toBeGreaterThan(0);
      for (const example of verb.examples) {
        const words = (example.match(/"[^"]*"|\S+/g) ?? []).map((word) => word.replaceAll('"', ''));
        if (words[0] !== 'town') continue;
        const found = findVerb(words.slice(1));
        expect(found?.verb.words[0]).toBe(verb.words[0]);
        expect(() => parseVerb(verb, found?.rest ?? [])).not.toThrow();
      }
    }
  });

  it.each([
    [['task', 'create'], /<title> is missing/],
    [['task', 'create', 'x', '--prioritty', '1'], /did you mean --priority\?/],
    [['task', 'create', 'x', '--priority', '9'], /--priority must be a number from 0 to 4/],
    [['task', 'create', 'x', '--priority'], /--priority needs a value/],
    [['task', 'create', 'x', '--description', '--json'], /written --description=/],
    [['task', 'create', 'x', '--metadata', '[1]'], /--metadata must be a JSON object/],
    [['task', 'create', 'x', 'y'], /too many words: "y"/],
    [['task', 'create', 'x', '--type', 'a', '--type', 'b'], /--type is given 2 times/],
    [['task', 'close', 'hq-00001', '--outcome', 'great'], /--outcome must be one of done/],
    [['task', 'create', 'x', '--json=yes'], /--json takes no value/],
    [['task', 'create', 'x\0'], /zero byte/],
    [['task', 'create', 'x', '--__proto__', 'y'], /there is no flag "--__proto__"/],
    [['task', 'show', '../../etc'], /is not a task id/],
    [['task', 'create', 'x', '--metadata', JSON.stringify({ big: 'x'.repeat(40_000) })], /more than 32768 bytes/],
    [['sling', 'hq-00001', 'Acme/../x'], /NOT_FOUND/],
  ])('refuses %j and says why', async (argv, message) => {
    const { ask } = asking();
    const answer = await ask(argv);
    expect(answer.stderr).toMatch(message);
    expect(answer.code).toBe(message.source === 'NOT_FOUND' ? 3 : 2);
    expect(answer.stdout).toBe('');
  });

  it('reads --wait with and without its number', () => {
    const { verb } = findVerb(['hook'])!;
    expect(parseVerb(verb, ['--wait']).flags['wait']).toBe(300);
    expect(parseVerb(verb, ['--wait', '5', 'acme/polecats/amber']).flags['wait']).toBe(5);
    expect(parseVerb(verb, ['--wait', 'acme/polecats/amber']).args['agent']).toBe('acme/polecats/amber');
  });

  it('leaves to the full command set what it does not know, and what follows', async () => {
    const { ask } = asking();
    expect(await ask(['task'])).toMatchObject({ unknown: true });
    expect(await ask([])).toMatchObject({ unknown: true });
    expect(await ask(['event', 'list', '--follow'])).toMatchObject({ unknown: true });
  });
});

describe('answers', () => {
  it('prints the bare object with --json, a row in a pipe, columns on a terminal', async () => {
    const { ask } = asking();
    const made = await ask(['task', 'create', 'One\u001b[31m', '--label', 'a', '--label', 'b', '--json']);
    expect(JSON.parse(made.stdout)).toMatchObject({ id: 'hq-00001', labels: ['a', 'b'], open_blockers: 0 });
    expect((await ask(['ready'])).stdout).toBe('hq-00001\topen\tP2\ttask\t\tOne [31m\n');
    expect((await ask(['ready'], { tty: true })).stdout.split('\n')[0]).toBe(
      'TASK      STATUS  PRIO  TYPE  AGENT  TITLE',
    );
    expect(JSON.parse((await ask(['ready', '--json'])).stdout)).toHaveLength(1);
  });

  it('gives each kind of refusal its exit code, and its body as JSON when JSON was asked for', async () => {
    const { ask, town } = asking();
    await ask(['task', 'create', 'One']);
    expect((await ask(['task', 'show', 'hq-zzzzz'])).code).toBe(3);
    expect((await ask(['ready'], { token: OLD_TOKEN })).code).toBe(4);
    expect((await ask(['sling', 'hq-00001', 'acme/polecats/basil'], { token: TOKEN })).code).toBe(5);
    expect((await ask(['audit', 'verify'])).code).toBe(0);
    town.forge();
    expect((await ask(['audit', 'verify'])).code).toBe(1);
    const refused = await ask(['task', 'show', 'hq-zzzzz', '--json']);
    expect(JSON.parse(refused.stderr)).toMatchObject({ exit: 3, error: { code: 'NOT_FOUND' } });
  });

  it('knows a person by name and an agent by token alone', async () => {
    const { ask, town } = asking();
    await ask(['task', 'create', 'One'], { user: 'ann; rm' });
    await ask(['task', 'create', 'Two', '--key', 'k1'], { token: TOKEN });
    await ask(['task', 'create', 'Two', '--key', 'k1'], { token: TOKEN });
    expect(town.asks[0]).toEqual({ actor: 'person:annrm' });
    expect(town.asks[1]).toEqual({
      actor: 'acme/polecats/amber',
      key: 'k1',
      session: { agent: 'acme/polecats/amber', incarnation: 2 },
    });
    expect(town.tasks).toHaveLength(2);
  });

  it('closes the own step in a session, and asks a person for molecule, step and reason', async () => {
    const { ask, town } = asking();
    const closed = await ask(['step', 'close', '--outcome', 'failed', '--note', 'no network', '--next-wait', '1'], {
      token: TOKEN,
    });
    expect(closed).toMatchObject({ code: 0 });
    expect(town.closed).toEqual([
      {
        molecule_id: null,
        step: null,
        outcome: 'failed',
        note: 'no network',
        commit_id: null,
        output: null,
        next_wait_ms: 1000,
      },
    ]);
    expect((await ask(['step', 'close'])).code).toBe(2);
    expect((await ask(['step', 'close', 'acme-m1', 'work'])).stderr).toMatch(/--reason/);
    expect((await ask(['hook', '--wait', 'acme/polecats/amber'])).code).toBe(2);
  });

  it('turns a bug into INTERNAL, tells it, and goes on', async () => {
    const bugs: unknown[] = [];
    const town = fakeTown();
    const client = { ...town.client, readyTasks: () => Promise.reject(new Error('boom')) };
    const answer = await answerRequest(client, request(['ready']), { onBug: (error) => bugs.push(error) });
    expect(answer).toMatchObject({ code: 1, stdout: '' });
    expect(bugs).toHaveLength(1);
  });
});

describe('prime', () => {
  it('tells identity, rule, step and the exact commands', async () => {
    const { ask } = asking();
    const { stdout } = await ask(['prime'], { token: TOKEN });
    for (const part of [
      'You are acme/polecats/amber, incarnation 2',
      'Run it now',
      'Make the test pass.',
      'node --test',
      'see plan.md',
      'town step close work --outcome done',
    ]) {
      expect(stdout).toContain(part);
    }
  });

  it('stays below 8 kB whatever the step holds', () => {
    const long = '𝒙'.repeat(50_000);
    const notes = Array.from({ length: 20 }, () => ({ author: 'a', body: long, created_at: '' }));
    const current = { ...step, instructions: long, task_description: long, acceptance: long, notes };
    const prime = describePrime({
      agent_id: 'acme/polecats/amber',
      status: 'active',
      incarnation: 1,
      items: [],
      current,
    });
    expect(Buffer.byteLength(prime)).toBeLessThanOrEqual(8192);
    expect(prime).toContain('town step close work --outcome done');
  });
});

describe('formulas', () => {
  const root = mkdtempSync(join(tmpdir(), 'formulas-'));
  const [town, rig] = [join(root, 'formulas'), join(root, 'rig')];
  const shelf = createFormulaShelf({ town, user: join(root, 'user'), builtIn: join(root, 'none') });
  beforeAll(() => {
    mkdirSync(town);
    mkdirSync(join(rig, '.town', 'formulas'), { recursive: true });
    const steps = (id: string) => `formula = "${id}"\nversion = 1\n[[steps]]\nid = "one"\ntitle = "${id}"\n`;
    writeFileSync(join(town, 'fix.formula.toml'), steps('fix'));
    writeFileSync(join(rig, '.town', 'formulas', 'review.toml'), steps('review'));
    writeFileSync(join(root, 'secret.toml'), 'secret = true');
    symlinkSync(join(root, 'secret.toml'), join(rig, '.town', 'formulas', 'leak.toml'));
    writeFileSync(join(town, 'big.toml'), 'x'.repeat(1_000_001));
  });
  afterAll(() => rmSync(root, { recursive: true }));

  it('finds those of the town and of the rig', () => {
    expect(shelf.cook('fix', {}, null).recipe.steps).toHaveLength(1);
    expect(shelf.list(rig).map(({ name, source }) => `${source}:${name}`)).toEqual([
      'town:big',
      'town:fix',
      'rig:leak',
      'rig:review',
    ]);
  });

  it.each([
    ['../secret', 'PATH_OUTSIDE_RIG'],
    ['/etc/passwd', 'PATH_OUTSIDE_RIG'],
    ['..', 'PATH_OUTSIDE_RIG'],
    ['a\\b', 'PATH_OUTSIDE_RIG'],
    ['leak', 'PATH_OUTSIDE_RIG'],
    ['a b', 'INVALID_INPUT'],
    ['', 'INVALID_INPUT'],
    ['big', 'INPUT_TOO_LARGE'],
    ['none', 'FORMULA_NOT_FOUND'],
  ])('refuses %j as %s', (name, code) => {
    expect(() => shelf.cook(name, {}, rig)).toThrow(expect.objectContaining({ code }) as Error);
  });
});

describe('table', () => {
  it('cuts long cells, but never the last one', () => {
    const text = table(true, ['a', 'b'], [['x'.repeat(100), 'y'.repeat(100)]], 'none');
    expect(text).toContain(`${'x'.repeat(59)}…`);
    expect(text).toContain('y'.repeat(100));
  });
});
