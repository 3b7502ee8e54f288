import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createFormulaShelf, type FormulaShelf } from '../../cli/client/formulas';
import { playFaults, startCrew, type AgentScript, type Crew, type Played } from '../support/scripted-agent';
import { startTestTown, type TestTown } from '../support/town';

/* Every formula that is shipped runs to its end with agents that follow a script. */

const title = { title: 'Sort by date' };
let it_: TestTown;
let crew: Crew;
let shelf: FormulaShelf;
let folder: string;

beforeAll(async () => {
  it_ = await startTestTown({ workersMax: 4 });
  crew = await startCrew(it_);
  folder = mkdtempSync(join(tmpdir(), 'steeltown-library-'));
  const builtIn = join(__dirname, '..', '..', 'formulas');
  shelf = createFormulaShelf({ town: folder, user: join(folder, 'none'), builtIn });
});
afterAll(async () => {
  await it_.stop();
  rmSync(folder, { recursive: true, force: true });
});

async function played(name: string, vars: Readonly<Record<string, string>>, script: AgentScript = {}): Promise<Played> {
  const { recipe } = shelf.cook(name, vars, null);
  const [one] = await crew.play([{ recipe, script }]);
  if (one === undefined) throw new Error('it was poured');
  expect(await playFaults(it_, one)).toEqual([]);
  return one;
}

/** Steps that somebody worked on, in the order in which they began. */
const worked = ({ briefs }: Played): string[] => briefs.map(({ step }) => step);
const skipped = ({ molecule }: Played): string[] =>
  molecule.steps.filter(({ outcome }) => outcome === 'skipped').map(({ step }) => step);
/** Texts in which something was left open. */
const unfilled = ({ briefs }: Played): string[] =>
  briefs.flatMap(({ step, title: name, instructions, acceptance, checks }) =>
    [name, instructions, acceptance ?? '', ...checks.map(({ run }) => run)].some((text) =>
      /\{\{|\{item|\{target|\{step\./.test(text),
    )
      ? [step]
      : [],
  );

it('is found by its names, and nothing in it is wrong', () => {
  const { checked, problems } = shelf.lint([], null);
  expect(problems).toEqual([]);
  expect(checked).toEqual([
    'bug-triage',
    'conductor-phase',
    'conductor-task',
    'conductor-track',
    'dependency-notice',
    'dependency-propagation',
    'design-implement-review-test-submit',
    'release',
    'release-undo',
    'review-legs',
    'rule-of-five',
    'security',
    'work-loop',
  ]);
});

it('says of every step when it is done', () => {
  const silent = shelf.list(null).flatMap(({ name }) => {
    const { recipe } = shelf.cook(name, {}, null, { open: true });
    const steps = [...recipe.steps, ...Object.values(recipe.groups ?? {}).flat()];
    expect(recipe.description.length).toBeGreaterThan(60);
    // Nobody works on a loop, and what stands in the middle of an aspect alone is no step of it.
    return steps
      .filter(
        ({ acceptance, flow, instructions }) => acceptance === null && flow?.loop === undefined && instructions !== '',
      )
      .map(({ id }) => `${name} ${id}`);
  });
  expect(silent.filter((each) => !/^review-legs |^security .*main$/.test(each))).toEqual([]);
});

describe('work-loop', () => {
  it('goes from the failing test to a clean worktree, with one agent', async () => {
    const run = await played('work-loop', { ...title, description: 'Newest first.' });
    expect(run.molecule.status).toBe('completed');
    expect(worked(run)).toEqual(['failing-test', 'implement', 'refactor', 'commit', 'note', 'close', 'done']);
    expect(new Set(run.molecule.steps.map(({ agent_id }) => agent_id)).size).toBe(1);
    expect(unfilled(run)).toEqual([]);
  });

  it('ends when there is nothing to change', async () => {
    const run = await played('work-loop', title, { 'failing-test': { outcome: 'failed' } });
    expect([run.molecule.status, worked(run)]).toEqual(['failed', ['failing-test']]);
  });
});

describe('design-implement-review-test-submit', () => {
  const name = 'design-implement-review-test-submit';

  it('implements again what the review did not approve', async () => {
    const run = await played(name, title);
    expect(run.molecule.status).toBe('completed');
    expect(worked(run)).toEqual([
      'design',
      'rework.iter1.implement',
      'rework.iter1.review',
      'rework.iter2.implement',
      'rework.iter2.review',
      'test',
      'submit',
    ]);
    expect(unfilled(run)).toEqual([]);
  });

  it('is content with the first round', async () => {
    const run = await played(name, title, { review: { output: { approved: true } } });
    expect(worked(run)).toHaveLength(5);
  });

  it('gives up after four rounds', async () => {
    const run = await played(name, title, { review: { output: { approved: false, findings: ['no'] } } });
    expect([run.molecule.status, worked(run).length]).toEqual(['failed', 9]);
  });
});

describe('review-legs', () => {
  it('lets all legs look, then joins what they found', async () => {
    const run = await played('review-legs', { subject: 'branch dates' });
    expect(run.molecule.status).toBe('completed');
    expect(worked(run).slice(0, -1).toSorted()).toEqual(
      ['clarity', 'correctness', 'failure', 'performance', 'security', 'simplicity', 'tests'].toSorted(),
    );
    expect(worked(run).at(-1)).toBe('synthesis');
    expect(new Set(run.molecule.steps.map(({ agent_id }) => agent_id)).size).toBeGreaterThan(1);
    expect(unfilled(run)).toEqual([]);
  });

  it('takes the legs of a preset', async () => {
    const run = await played('review-legs', { subject: 'branch dates', preset: 'quick' });
    expect(worked(run).toSorted()).toEqual(['correctness', 'simplicity', 'synthesis', 'tests']);
  });
});

describe('release', () => {
  const version = { version: '1.4.0' };

  it('waits for a person, then for time', async () => {
    const run = await played('release', version);
    expect(run.molecule.status).toBe('completed');
    expect(worked(run)).toEqual(['survey', 'prepare', 'rehearse', 'publish', 'verify', 'announce']);
    expect(run.opened).toEqual([{ step: 'publish', kind: 'human' }]);
    expect(unfilled(run)).toEqual([]);
  });

  it('waits for the forge where there is one', async () => {
    const run = await played('release', { ...version, ci_workflow: 'build.yml' });
    expect(run.opened.map(({ kind }) => kind)).toEqual(['ci_run', 'human']);
    expect(worked(run)).toContain('ci');
  });

  it('takes back what was published halfway', async () => {
    const run = await played('release', version, { publish: { outcome: 'failed' } });
    expect(run.molecule.status).toBe('failed');
    expect(worked(run).slice(3)).toEqual(['publish', 'publish.undo.withdraw', 'publish.undo.tell']);
    expect(run.briefs.at(-1)?.title).toBe('Tell who must know that 1.4.0 failed');
  });

  it('takes a version for a version only', () => {
    expect(() => shelf.cook('release', { version: 'soon' }, null)).toThrow('does not match');
  });
});

describe('bug-triage', () => {
  const verdict = (output: Readonly<Record<string, string>>): AgentScript => ({ decide: { output } });
  const named = { ...title, task: 'acme-k3f9a' };

  it('leaves a failing test of a bug', async () => {
    const run = await played('bug-triage', named, verdict({ verdict: 'bug', severity: 'low' }));
    expect(run.molecule.status).toBe('completed');
    expect(worked(run)).toEqual(['gather', 'reproduce', 'decide', 'failing-test', 'cause', 'record']);
    expect(skipped(run)).toEqual(['alarm', 'link', 'ask', 'explain']);
  });

  it('calls a person about a critical one', async () => {
    const run = await played('bug-triage', named, verdict({ verdict: 'bug', severity: 'critical' }));
    expect(skipped(run)).toEqual(['link', 'ask', 'explain']);
  });

  it('links a duplicate to the task that the decision named', async () => {
    const run = await played('bug-triage', named, verdict({ verdict: 'duplicate', severity: 'low', of: 'acme-z1' }));
    expect(worked(run)).toEqual(['gather', 'reproduce', 'decide', 'link', 'record']);
    expect(run.briefs.find(({ step }) => step === 'link')?.instructions).toContain('acme-k3f9a to acme-z1');
  });

  it.each([
    ['unclear', 'ask'],
    ['intended', 'explain'],
  ])('does about one that is %s what it asks for: %s', async (is, step) => {
    const run = await played('bug-triage', named, verdict({ verdict: is, severity: 'low' }));
    expect(worked(run).slice(3)).toEqual([step, 'record']);
  });

  it('decides also what could not be reproduced in three attempts', async () => {
    const script = { ...verdict({ verdict: 'unclear', severity: 'low' }), reproduce: { outcome: 'failed' } } as const;
    const run = await played('bug-triage', named, script);
    expect(worked(run)).toEqual(['gather', 'reproduce', 'reproduce', 'reproduce', 'decide', 'ask', 'record']);
    expect(run.molecule.status).toBe('completed');
  });
});

describe('conductor-track', () => {
  const phases = { phases: [{ name: 'Phase 1: API' }, { name: 'Phase 2: Pages' }] };
  const script: AgentScript = {
    'execute-phases': { output: phases },
    plan: ({ step }) => ({ output: { mode: step.includes('.0.') ? 'parallel' : 'sequential' } }),
  };

  it('does phase after phase, their tasks side by side or in order', async () => {
    const run = await played('conductor-track', { track_id: 'auth_20241226' }, script);
    expect(run.molecule.status).toBe('completed');
    const order = worked(run);
    const at = (step: string) => order.indexOf(`execute-phases.${step}`);
    expect(order.slice(0, 2)).toEqual(['load-context', 'execute-phases']);
    expect(order.at(-1)).toBe('sync-status');
    expect(order).toHaveLength(3 + 2 * (1 + 1 + 2 * 3) + 1 + 2);
    expect(at('0.verify')).toBeLessThan(at('1.plan'));
    for (const task of [0, 1]) {
      expect(at(`0.side-by-side.${task}.commit`)).toBeLessThan(at('0.joined'));
      expect(at(`1.in-order.${task}.commit`)).toBeLessThan(at('1.verify'));
    }
    expect(at('1.in-order.0.commit')).toBeLessThan(at('1.in-order.1.failing-test'));
    expect(unfilled(run)).toEqual([]);
    expect(run.briefs.map(({ title: name }) => name)).toEqual(
      expect.arrayContaining(['Verify Phase 1: API', 'Verify Phase 2: Pages', 'Implement: title-1']),
    );
  });

  it('has nothing to do when every phase is complete', async () => {
    const run = await played('conductor-track', { track_id: 'auth' }, { 'execute-phases': { output: { phases: [] } } });
    expect(worked(run)).toEqual(['load-context', 'execute-phases', 'sync-status']);
  });

  it('does not begin a phase after one that failed', async () => {
    const run = await played('conductor-track', { track_id: 'auth' }, { ...script, verify: { outcome: 'failed' } });
    expect(run.molecule.status).toBe('failed');
    expect(worked(run).filter((step) => step.startsWith('execute-phases.1.'))).toEqual([]);
  });
});

describe('dependency-propagation', () => {
  const dependants = [
    { task: 'web-a1', rig: 'web' },
    { task: 'app-b2', rig: 'app' },
    { task: 'app-c3', rig: 'app' },
  ];

  it('tells each task that waited, unless something else holds it back', async () => {
    const run = await played(
      'dependency-propagation',
      { task: 'acme-k3f9a' },
      {
        survey: { output: { dependants } },
        check: ({ step }) => ({ output: { free: !step.includes('.1.') } }),
      },
    );
    expect(run.molecule.status).toBe('completed');
    expect(skipped(run)).toEqual(['survey.1.tell']);
    expect(worked(run).at(-1)).toBe('report');
    expect(run.briefs.map(({ title: name }) => name)).toEqual(
      expect.arrayContaining(['Tell who works on web-a1', 'Tell who works on app-c3']),
    );
    expect(unfilled(run)).toEqual([]);
  });

  it('reports also when nothing waited', async () => {
    const run = await played('dependency-propagation', { task: 'a-1' }, { survey: { output: { dependants: [] } } });
    expect(worked(run)).toEqual(['survey', 'report']);
  });
});

describe('parts of other formulas', () => {
  const text = `formula = "careful"
[[steps]]
id = "implement"
title = "Sort by date"
description = "Newest first."
expand = "EXPAND"
[[steps]]
id = "submit"
needs = ["implement"]
[compose]
aspects = ["security"]
`;
  const write = (name: string, expand: string) =>
    writeFileSync(
      join(folder, `${name}.formula.toml`),
      text.replace('careful', name).replace(expand === '' ? 'expand = "EXPAND"\n' : 'EXPAND', expand),
    );

  it('rule-of-five puts five passes in place of a step', async () => {
    write('five', 'rule-of-five');
    const run = await played('five', {});
    expect(worked(run)).toEqual([
      'implement.draft-threats',
      'implement.draft',
      'implement.draft-holes',
      'implement.correct-threats',
      'implement.correct',
      'implement.correct-holes',
      'implement.clear-threats',
      'implement.clear',
      'implement.clear-holes',
      'implement.edges-threats',
      'implement.edges',
      'implement.edges-holes',
      'implement.finish-threats',
      'implement.finish',
      'implement.finish-holes',
      'submit-secrets',
      'submit',
    ]);
    expect(run.briefs.find(({ step }) => step === 'implement.draft')?.instructions).toContain('Newest first.');
    expect(unfilled(run)).toEqual([]);
  });

  it('security looks before and after what it stands around', async () => {
    write('safe', '');
    const run = await played('safe', {});
    expect(worked(run)).toEqual(['implement-threats', 'implement', 'implement-holes', 'submit-secrets', 'submit']);
    expect(unfilled(run)).toEqual([]);
  });

  it.each(['rule-of-five', 'security', 'release-undo', 'conductor-phase', 'conductor-task', 'dependency-notice'])(
    '%s also runs by itself',
    async (name) => {
      const given: Readonly<Record<string, string>> = {
        track_id: 'auth',
        phase: 'Phase 1',
        title: 'a title',
        task: 'a-1',
        resolved: 'a-2',
        release: '1.0.0',
      };
      const vars = shelf.variables(name, null).filter((variable) => Object.hasOwn(given, variable));
      const run = await played(name, Object.fromEntries(vars.map((variable) => [variable, given[variable] ?? ''])));
      expect(run.molecule.status).toBe('completed');
    },
  );
});
