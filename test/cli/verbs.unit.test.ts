import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import type { SocketAnswer } from '../../schema/desk';
import { answerRequest } from '../../cli/server/answer';
import { describePrime } from '../../cli/server/brief';
import { table } from '../../cli/server/print';
import { parseVerb } from '../../cli/server/verb';
import { findVerb, VERBS } from '../../cli/server/verbs';
import { createFormulaShelf } from '../../cli/client/formulas';
import type { KeyedRequest } from '../../cli/ask';
import { requestOf } from '../support/client';
import { OLD_TOKEN, TOKEN } from '../support/fakes/desk';
import { fakeTown, step } from '../support/fakes/town';

const asking = (town = fakeTown()) => ({
  town,
  ask: async (argv: readonly string[], extra: Partial<KeyedRequest> = {}): Promise<SocketAnswer> =>
    await answerRequest(town.client, requestOf(argv, extra)),
});

describe('the table of verbs', () => {
  it('has every verb once, each with an example that it can read itself', () => {
    const names = VERBS.map(({ words }) => words.join(' '));
    expect(new Set(names).size).toBe(names.length);
    for (const verb of VERBS) {
      expect(verb.examples.length).toBeGreaterThan(0);
      for (const example of verb.examples) {
        const words = (example.match(/'[^']*'|"[^"]*"|\S+/g) ?? []).map((word) =>
          word.startsWith("'") ? word.slice(1, -1) : word.replaceAll('"', ''),
        );
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
    const client = { ...town.client, readyPage: () => Promise.reject(new Error('boom')) };
    const answer = await answerRequest(client, requestOf(['ready']), { onBug: (error) => bugs.push(error) });
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

describe('formula verbs', () => {
  const root = mkdtempSync(join(tmpdir(), 'formula-verbs-'));
  const [folder, rig, other] = [join(root, 'formulas'), join(root, 'rig'), join(root, 'other')];
  const shelf = createFormulaShelf({ town: folder, user: join(root, 'user'), builtIn: join(root, 'none') });
  const town = fakeTown();
  const client = {
    ...town.client,
    formulas: shelf,
    rigPath: (id?: string) => Promise.resolve(id === undefined ? null : rig),
  };
  const ask = async (argv: readonly string[], extra: Partial<KeyedRequest> = {}): Promise<SocketAnswer> =>
    await answerRequest(client, requestOf(['formula', ...argv], extra));
  const put = (path: string, text: string): void => {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, text);
  };
  beforeAll(() => {
    put(
      join(folder, 'review.formula.toml'),
      'formula="review"\n[vars.who]\nrequired=true\n[[steps]]\nid="a"\ntitle="For {{who}}"\n[[steps]]\nid="b"\nneeds=["a"]\n',
    );
    put(
      join(folder, 'review-strict.formula.json'),
      '{"formula":"review-strict","extends":"review","steps":[{"id":"b","needs":["a"],"gate":"human"}]}',
    );
    put(
      join(rig, '.beads', 'formulas', 'odd.toml'),
      'formula="odd"\nzzz=1\nsteps=[{id="a",description_file="../texts/a.md"},{id="b",description_file="../../secret.md"}]',
    );
    put(join(rig, '.beads', 'texts', 'a.md'), 'The text.');
    put(join(rig, 'secret.md'), 'secret');
    put(join(rig, '.town', 'formula-overlays', 'review.toml'), '[[step-overrides]]\nstep_id="a"\ntitle="Overlaid"');
    put(join(root, 'formula-overlays', 'review.toml'), '[vars]\nwho="town"');
  });
  afterAll(() => rmSync(root, { recursive: true }));

  it('cooks with values and with variables left open, and with the overlay of the rig or the town', async () => {
    expect(JSON.parse((await ask(['cook', 'review', '--json'])).stdout)).toMatchObject({
      steps: [{ title: 'For town' }, {}],
    });
    expect((await ask(['cook', 'review', '--rig', 'acme'])).stderr).toMatch(/variable who has no value/);
    expect((await ask(['cook', 'review', '--rig', 'acme', '--var', 'who=me'])).stdout).toContain('Overlaid');
    expect((await ask(['cook', 'review', '--open'])).stdout).toBe('a\t\tyes\tFor {{who}}\nb\ta\tyes\tb\n');
    expect(shelf.variables('review-strict', null)).toEqual(['who']);
  });

  it('reads the files of other tools leniently, and their texts from their own folder only', async () => {
    const answer = await ask(['cook', 'odd', '--rig', 'acme', '--json']);
    expect(answer.code).toBe(0);
    expect(JSON.parse(answer.stdout)).toMatchObject({
      steps: [{ instructions: 'The text.' }, { instructions: 'See the file ../../secret.md.' }],
    });
    expect(answer.stderr).toContain('warning FORMULA_UNKNOWN_FILE');
  });

  it('tells all that is wrong with one or all, and ends with 1 when there is an error', async () => {
    expect(await ask(['lint'])).toMatchObject({
      code: 0,
      stdout: '',
      stderr: expect.stringContaining('2 looked at: 0 errors') as string,
    });
    put(join(folder, 'bad.toml'), 'formula="worse"\n[[steps]]\nid="a"\nneeds=["x"]\ngate={type="moon"}\n');
    const bad = await ask(['lint', 'bad', 'review']);
    expect(bad.code).toBe(1);
    expect(
      bad.stdout.split('\n').map((line) =>
        line
          .split(': ')
          .slice(0, 2)
          .join(' ')
          .replace(/^.*bad.toml:/, ''),
      ),
    ).toEqual(['4 error FORMULA_UNKNOWN_NEED', '5 error FORMULA_GATE', '']);
    put(join(folder, 'bad.toml'), 'formula="worse"\nsteps=[{id="a"}]');
    expect((await ask(['lint', 'bad'])).stdout).toMatch(/warning FORMULA_VALUE: the formula calls itself worse/);
    put(join(root, 'formula-overlays', 'bad.toml'), 'x=1');
    put(join(folder, 'bad.toml'), 'formula="bad"\nsteps=[{id="a"}]');
    put(join(root, 'formula-overlays', 'bad.toml'), 'x=1');
    expect((await ask(['lint', 'bad'])).stdout).toMatch(/formula-overlays\/bad.toml:1: error FORMULA_UNKNOWN_KEY/);
    rmSync(join(folder, 'bad.toml'));
    expect((await ask(['lint', 'gone'])).code).toBe(3);
  });

  it('draws and compares', async () => {
    expect((await ask(['graph', 'review'])).stdout).toBe('review (2 steps)\n  a\n  a → b\n');
    expect((await ask(['graph', 'review', '--format', 'dot'])).stdout).toContain('"a" -> "b";');
    expect(JSON.parse((await ask(['graph', 'review', '--json'])).stdout)).toMatchObject({
      formula: 'review',
      groups: {},
    });
    expect((await ask(['diff', 'review', 'review-strict', '--var', 'who=x'])).stdout).toContain(
      '~ b.gate\n    - null\n    + {"kind":"human"',
    );
    expect((await ask(['diff', 'review', 'review'], { tty: true })).stdout).toBe('no difference\n');
  });

  it('makes a new formula once', async () => {
    expect((await ask(['new', 'mine', '--template', 'loop'])).stdout).toBe(`${join(folder, 'mine.formula.toml')}\n`);
    expect((await ask(['graph', 'mine'])).stdout).toContain('repeats rounds until');
    expect((await ask(['new', 'mine'])).code).toBe(4);
    expect((await ask(['new', '../x'])).code).toBe(2);
    expect((await ask(['new', 'other', '--template', 'none'])).code).toBe(2);
    expect((await ask(['new', 'other'], { token: TOKEN })).code).toBe(5);
    expect((await ask(['new', 'other'], { tty: true })).stdout).toMatch(/^other is in /);
  });

  it('imports what compiles, whole or not at all, and says why not for the rest', async () => {
    put(
      join(other, 'a', 'child.formula.toml'),
      '# theirs\nformula="child"\ninvented=1\nextends="parent"\nsteps=[{id="z"}]\n',
    );
    put(join(other, 'parent.formula.json'), '{"formula":"parent","steps":[{"id":"p"}]}');
    put(join(other, 'said.toml'), 'formula="said"\ndialect="gastown"\nsteps=[{id="p"}]');
    put(join(other, 'lost.toml'), 'formula="lost"\nextends="broken"\n');
    put(join(other, 'broken.toml'), 'formula="broken"\nsteps=[{id="p",needs=["q"]}]');
    put(join(other, 'review.toml'), 'formula="review"\nvars={who="x"}\nsteps=[{id="p"}]');
    put(join(other, 'twice.toml'), 'formula="said"\nsteps=[{id="p"}]');
    put(join(other, 'unnamed.toml'), 'formula=".x"\nsteps=[{id="p"}]');
    put(join(other, 'notes.md'), 'no formula');
    const answer = await ask(['import', 'other', '--json'], { cwd: root });
    const found = JSON.parse(answer.stdout) as { file: string; outcome: string; problems: { code: string }[] }[];
    expect(
      Object.fromEntries(
        found.map(({ file, outcome, problems }) => [
          file.slice(other.length + 1),
          [outcome, ...problems.map(({ code }) => code)].join(' '),
        ]),
      ),
    ).toEqual({
      'a/child.formula.toml': 'copied FORMULA_UNKNOWN_KEY',
      'broken.toml': 'refused FORMULA_UNKNOWN_NEED',
      'lost.toml': 'refused FORMULA_UNKNOWN_FORMULA',
      'parent.formula.json': 'copied',
      'review.toml': 'refused FORMULA_CONFLICT',
      'said.toml': 'copied',
      'twice.toml': 'refused FORMULA_CONFLICT',
      'unnamed.toml': 'refused FORMULA_CONFLICT',
    });
    expect(answer.code).toBe(1);
    expect(readFileSync(join(folder, 'child.formula.toml'), 'utf8')).toMatch(/^dialect = "beads"\n# theirs\n/);
    expect(JSON.parse(readFileSync(join(folder, 'parent.formula.json'), 'utf8'))).toMatchObject({ dialect: 'beads' });
    expect((await ask(['graph', 'child'])).stdout).toBe('child (2 steps)\n  p\n  z\n');
    expect(readdirSync(folder).filter((file) => file.endsWith('.draft'))).toEqual([]);
    const again = await ask(['import', other]);
    expect(again.stdout.match(/^unchanged/gm)).toHaveLength(3);
    expect((await ask(['import', join(root, 'gone')])).code).toBe(3);
    expect((await ask(['import', other], { token: TOKEN })).code).toBe(5);
  });
});

describe('table', () => {
  it('cuts long cells, but never the last one', () => {
    const text = table(true, ['a', 'b'], [['x'.repeat(100), 'y'.repeat(100)]], 'none');
    expect(text).toContain(`${'x'.repeat(59)}…`);
    expect(text).toContain('y'.repeat(100));
  });
});
