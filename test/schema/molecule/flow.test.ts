import type { FanOut, RunCondition, StepFlow } from '../../../schema/formula/flow';
import type { Json } from '../../../schema/json';
import type { LeanStep } from '../../../schema/ledger';
import { endStep, reopenProblem } from '../../../schema/molecule/ends';
import { bondProblem } from '../../../schema/molecule/groups';
import { STEPS_MAX } from '../../../schema/formula/recipe';
import { attentionOf, type End, type Molecule, type MoleculeEvent, restored } from '../../../schema/molecule/molecule';
import { eventOf, type MoleculeCommand, nextCommands } from '../../../schema/molecule/next';
import { eventOfRow, moleculeRow, runEventOf, stepRow } from '../../../schema/molecule/rows';
import { standingsOf } from '../../../schema/molecule/standing';
import { applyEvent } from '../../../schema/molecule/apply';
import type { Facts } from '../../../schema/runs';
import { DEFAULT_TIMINGS } from '../../../schema/timings';
import { AMBER, BASALT, chain, granted, hooked, inputOf, lost, Play, slotted, START, step } from '../../support/play';

const isDone = (name: string): RunCondition => ({
  op: 'compare',
  left: { of: 'status', step: name },
  is: '==',
  right: 'complete',
});
const says = (name: string, key: string, right: Json): RunCondition => ({
  op: 'compare',
  left: { of: 'output', step: name, path: [key] },
  is: '==',
  right,
});
const flowed = (id: string, flow: StepFlow, changes: Partial<LeanStep> = {}) => step(id, { ...changes, flow });
const looping = (until: RunCondition, max = 3): StepFlow => ({ loop: { group: 'body', until, max } });
const fanning = (changes: Partial<FanOut> = {}): StepFlow => ({
  fanOut: { group: 'body', path: ['list'], vars: {}, mode: 'parallel', itemsMax: 10, ...changes },
});
const retrying = (attemptsMax: number, backoffMs: number, last: 'fail' | 'skip'): NonNullable<StepFlow['retry']> => ({
  attemptsMax,
  backoffMs,
  // eslint-disable-next-line unicorn/no-thenable -- the formula's word
  exhausted: last,
});
const pour = (steps: readonly LeanStep[], groups: Record<string, readonly LeanStep[]> = {}): Play =>
  new Play(inputOf(steps, { groups, performance: 3 }));
const noteOf = (play: Play, name: string): string => {
  const { state } = play.step(name);
  return state.status === 'closed' ? state.note : state.status;
};
const finish = (outcome: 'done' | 'failed') => [{ kind: 'finish', key: 'finish', outcome }];

describe('a condition', () => {
  const steps = [
    step('a'),
    flowed('b', { when: says('a', 'go', true) }, { needs: ['a'] }),
    step('c', { needs: ['b'] }),
  ];

  it('that holds lets the step go on', () => {
    const play = pour(steps).ends('a', { output: { go: true } });
    expect(play.shown()).toEqual({ a: 'done', b: 'ready', c: 'waiting' });
    expect(play.step('b').held).toBe(true);
  });

  it('that does not hold closes it as skipped, which counts as met', () => {
    const play = pour(steps).ends('a', { output: { go: false } });
    expect(play.shown()).toEqual({ a: 'done', b: 'skipped', c: 'ready' });
    expect(noteOf(play, 'b')).toBe('Its condition does not hold.');
    expect(play.ends('c').due()).toEqual(finish('done'));
  });

  it('is evaluated once: what changes later does not matter', () => {
    const watching = flowed(
      'b',
      { when: isDone('x') },
      { needs: ['a'], gate: { kind: 'human', prompt: '', timeoutMs: null } },
    );
    const play = pour([step('a'), step('x'), watching])
      .ends('x')
      .ends('a');
    expect(play.shown()).toMatchObject({ b: 'gated' });
    expect(play.record({ type: 'gate_opened', step: 2, by: 'ada', reason: '' }).shown()).toMatchObject({ b: 'ready' });
  });

  it('is not asked before the needs are met, nor of what never starts', () => {
    expect(pour(steps).shown()).toMatchObject({ b: 'waiting' });
    const play = pour(steps).fails('a');
    expect(play.shown()).toEqual({ a: 'failed', b: 'waiting', c: 'waiting' });
    expect(play.due()).toEqual(finish('failed'));
  });

  it('sees the facts of the need that was closed last', () => {
    const when: RunCondition = { op: 'compare', left: { of: 'file', path: 'go' }, is: '==', right: true };
    const both = [step('a'), step('b'), flowed('c', { when }, { needs: ['a', 'b'] })];
    const yes = { files: { go: true }, env: {} };
    const no = { files: { go: false }, env: {} };
    expect(pour(both).ends('a', { facts: no }).ends('b', { facts: yes }).shown()).toMatchObject({ c: 'ready' });
    expect(pour(both).ends('b', { facts: yes }).ends('a', { facts: no }).shown()).toMatchObject({ c: 'skipped' });
  });
});

describe('a loop', () => {
  const body = [step('fix'), step('check', { needs: ['fix'] })];
  const recipe = [
    step('a'),
    flowed('l', looping(says('check', 'ok', true)), { needs: ['a'] }),
    step('z', { needs: ['l'] }),
  ];

  it('begins when its needs are met, and nobody works on the step itself', () => {
    const play = pour(recipe, { body });
    expect(play.shown()).toEqual({ a: 'ready', l: 'waiting', z: 'waiting' });
    play.ends('a');
    expect(play.shown()).toEqual({
      a: 'done',
      l: 'running',
      z: 'waiting',
      'l.iter1.fix': 'ready',
      'l.iter1.check': 'waiting',
    });
    expect(stepRow(play.molecule, 1).status).toBe('waiting');
  });

  it('goes round until its condition holds, then what needs it starts from the last commit in the last lane', () => {
    const play = new Play(inputOf(recipe, { groups: { body } })).record(granted()).ends('a');
    play.record(hooked(play.at('l.iter1.fix'))).ends('l.iter1.fix', { commit_id: 'c1' });
    play.ends('l.iter1.check', { output: { ok: false } });
    expect(play.shown()).toMatchObject({ l: 'running', 'l.iter2.fix': 'ready', 'l.iter2.check': 'waiting' });
    play.record(hooked(play.at('l.iter2.fix'))).ends('l.iter2.fix', { commit_id: 'c2' });
    play.ends('l.iter2.check', { output: { ok: true } });
    expect(play.shown()).toMatchObject({ l: 'done', z: 'ready' });
    expect(play.step('l')).toMatchObject({
      lane: 0,
      state: { commit_id: 'c2', note: 'Its condition holds after round 2.' },
    });
    expect(play.due()).toMatchObject([{ kind: 'hook_step', step: 2, lane: 0, baseCommit: 'c2' }]);
    expect(play.ends('z').due()).toEqual(finish('done'));
  });

  it('fails after its last round', () => {
    const play = pour(recipe, { body }).ends('a');
    for (const round of [1, 2, 3]) play.ends(`l.iter${round}.fix`).ends(`l.iter${round}.check`);
    expect(play.shown()).toMatchObject({ l: 'failed', z: 'waiting' });
    expect(noteOf(play, 'l')).toBe('Its condition does not hold after 3 rounds.');
    expect(play.due()).toEqual(finish('failed'));
  });

  it('fails with a round that fails, and leaves nothing of it open', () => {
    const play = pour(recipe, { body }).ends('a').fails('l.iter1.fix');
    expect(play.shown()).toMatchObject({ l: 'failed', 'l.iter1.check': 'skipped' });
    expect(noteOf(play, 'l')).toBe('Round 1: step l.iter1.fix failed.');
    expect(noteOf(play, 'l.iter1.check')).toBe('Step l, which it belongs to, is closed.');
  });

  it('that may fail answers for its rounds: the molecule ends as done', () => {
    const [a, l, z] = recipe;
    const lenient = [a!, { ...l!, flow: { ...l!.flow, onFailure: { kind: 'skip' } } as const }, z!];
    const play = pour(lenient, { body }).ends('a').fails('l.iter1.fix').ends('z');
    expect(play.shown()).toMatchObject({ l: 'skipped', 'l.iter1.fix': 'failed' });
    expect(play.due()).toEqual(finish('done'));
  });

  it('does not begin what there is no room or no group for', () => {
    expect(noteOf(pour(recipe).ends('a'), 'l')).toBe('Round 1 could not begin: its formula has no group body.');
    const large = Array.from({ length: STEPS_MAX - 2 }, (_, index) => step(`s${index}`));
    expect(noteOf(pour(recipe, { body: large }).ends('a'), 'l')).toContain('would make more than 5000');
    const taken = [...recipe, step('l.iter1.fix')];
    expect(noteOf(pour(taken, { body }).ends('a'), 'l')).toContain('the name l.iter1.fix is taken or too long');
    const long = [step('x'.repeat(200)), step('y'.repeat(900))];
    expect(noteOf(pour(recipe, { body: long }).ends('a'), 'l')).toContain('is taken or too long');
  });

  it('without steps in its group is over at once', () => {
    expect(pour(recipe, { body: [] }).ends('a').shown()).toMatchObject({ l: 'failed' });
    const holdsAlways = flowed('l', looping({ op: 'not', of: isDone('l') }));
    expect(pour([holdsAlways], { body: [] }).shown()).toEqual({ l: 'done' });
  });

  it('may be in a loop: names are those of the inner round first', () => {
    const inner = flowed('in', { loop: { group: 'deep', until: isDone('try'), max: 2 } });
    const outer = flowed('out', { loop: { group: 'body', until: says('say', 'ok', 1), max: 2 } });
    const play = pour([outer], { body: [inner, step('say', { needs: ['in'] })], deep: [step('try')] });
    play.ends('out.iter1.in.iter1.try').ends('out.iter1.say');
    play.ends('out.iter2.in.iter1.try').ends('out.iter2.say', { output: { ok: 1 } });
    expect(play.shown()).toEqual({
      out: 'done',
      'out.iter1.in': 'done',
      'out.iter1.say': 'done',
      'out.iter1.in.iter1.try': 'done',
      'out.iter2.in': 'done',
      'out.iter2.say': 'done',
      'out.iter2.in.iter1.try': 'done',
    });
  });

  it('that a person closes takes along what is open in it', () => {
    const play = pour(recipe, { body }).ends('a').ends('l', { outcome: 'skipped', agent: null, by: 'ada' });
    expect(play.shown()).toEqual({
      a: 'done',
      l: 'skipped',
      z: 'ready',
      'l.iter1.fix': 'skipped',
      'l.iter1.check': 'skipped',
    });
  });
});

describe('a fan-out', () => {
  const body = [step('one', { title: 'look at {item.name} ({index}, {{what}})' }), step('two', { needs: ['one'] })];
  const gather = (mode: 'all' | 'any'): LeanStep => flowed('g', { waitsFor: { of: 'f', mode } }, { needs: ['f'] });
  const recipe = (mode: 'all' | 'any' = 'all', changes: Partial<FanOut> = {}) => [
    flowed('f', fanning({ vars: { what: '<{item.name}>' }, ...changes })),
    gather(mode),
  ];
  const three = { output: { list: [{ name: 'a' }, { name: 'b' }, { name: 'c' }] } };
  const both = (play: Play, item: number) => play.ends(`f.${item}.one`).ends(`f.${item}.two`);

  it('brings one instance for each item, with its texts filled', () => {
    const play = pour(recipe(), { body }).ends('f', three);
    expect(play.shown()).toEqual({
      f: 'done',
      g: 'waiting',
      'f.0.one': 'ready',
      'f.0.two': 'waiting',
      'f.1.one': 'ready',
      'f.1.two': 'waiting',
      'f.2.one': 'ready',
      'f.2.two': 'waiting',
    });
    expect(play.step('f.1.one').title).toBe('look at b (1, <b>)');
    expect(play.molecule.instances).toHaveLength(3);
    expect(stepRow(play.molecule, play.at('f.1.two'))).toMatchObject({
      template: { recipe_digest: 'd1', group: 'body', step: 'two' },
      bindings: { scopes: ['f.1.', ''], levels: [{ index: 1, item: { name: 'b' }, vars: { what: '<b>' } }] },
      round: 1,
    });
    expect(stepRow(play.molecule, 0)).toMatchObject({ template: null, bindings: null, gate: null });
  });

  it('waits for all of them', () => {
    const play = both(both(pour(recipe(), { body }).ends('f', three), 0), 2);
    expect(play.shown()['g']).toBe('waiting');
    expect(both(play, 1).shown()['g']).toBe('ready');
  });

  it('waits for any of them', () => {
    const play = pour(recipe('any'), { body }).ends('f', three).ends('f.1.one');
    expect(play.shown()['g']).toBe('waiting');
    expect(play.ends('f.1.two').shown()['g']).toBe('ready');
  });

  it.each(['all', 'any'] as const)('of no items is met at once: %s', (mode) => {
    expect(
      pour(recipe(mode), { body })
        .ends('f', { output: { list: [] } })
        .shown(),
    ).toEqual({ f: 'done', g: 'ready' });
    expect(pour(recipe(mode), { body }).ends('f', { outcome: 'skipped' }).shown()).toEqual({
      f: 'skipped',
      g: 'ready',
    });
  });

  it('with an item that fails never meets all, and meets any as long as another is left', () => {
    const all = pour(recipe(), { body }).ends('f', three).fails('f.0.one');
    expect(both(both(all, 1), 2).due()).toEqual(finish('failed'));
    const any = pour(recipe('any'), { body }).ends('f', three).fails('f.0.one').fails('f.1.one');
    expect(any.shown()['g']).toBe('waiting');
    expect(both(any, 2).shown()['g']).toBe('ready');
    const none = pour(recipe('any'), { body }).ends('f', three).fails('f.0.one').fails('f.1.one').fails('f.2.one');
    expect(none.due()).toEqual(finish('failed'));
  });

  it.each<[string, Json | undefined, string]>([
    ['no output', undefined, 'there is no list at output.list'],
    ['no list', { list: { length: 2 } }, 'there is no list at output.list'],
    ['too many items', { list: Array.from({ length: 11 }, () => 1) }, '11 items, and at most 10 are allowed'],
  ])('fails with a reason: %s', (_name, output, reason) => {
    const end = output === undefined ? {} : { output: output as never };
    const play = pour(recipe(), { body }).ends('f', { note: 'Looked.', ...end });
    expect(play.shown()).toEqual({ f: 'failed', g: 'waiting' });
    expect(noteOf(play, 'f')).toBe(`Looked. Its fan-out failed: ${reason}.`);
  });

  it('in sequence begins each item after the one before, and stops at one that fails', () => {
    const play = pour(recipe('all', { mode: 'sequential' }), { body }).ends('f', three);
    expect(play.shown()).toMatchObject({ 'f.0.one': 'ready', 'f.1.one': 'waiting', 'f.2.one': 'waiting' });
    both(play, 0);
    expect(play.shown()).toMatchObject({ 'f.1.one': 'ready', 'f.2.one': 'waiting' });
    expect(play.fails('f.1.one').due()).toEqual(finish('failed'));
  });

  it('in sequence goes on after one that fails where the formula says so', () => {
    const play = pour(recipe('all', { mode: 'sequential', onItemFailure: 'continue' }), { body }).ends('f', three);
    expect(play.fails('f.0.one').shown()).toMatchObject({ 'f.1.one': 'ready' });
    expect(both(both(play, 1), 2).shown()).toMatchObject({ 'f.0.one': 'failed', 'f.0.two': 'waiting', g: 'ready' });
    expect(play.ends('g').due()).toEqual(finish('done'));
  });

  describe('whose items may fail', () => {
    const may = fanning({ onItemFailure: 'continue' });
    const one = [step('one')];
    const two: Partial<End> = { output: { list: [0, 1] } };
    const half = (play: Play, name = 'f') => play.ends(name, two).fails(`${name}.0.one`).ends(`${name}.1.one`);

    it('ends well with items that failed', () => {
      expect(half(pour([flowed('f', may)], { body: one })).due()).toEqual(finish('done'));
      const none = pour([flowed('f', may)], { body: one })
        .ends('f', two)
        .fails('f.0.one')
        .fails('f.1.one');
      expect(none.due()).toEqual(finish('done'));
      expect(none.shown()).toEqual({ f: 'done', 'f.0.one': 'failed', 'f.1.one': 'failed' });
    });

    it('waits for all of them to be over, and for any to end well', () => {
      const waiting = (mode: 'all' | 'any') => [flowed('f', may), flowed('g', { waitsFor: { of: 'f', mode } })];
      const all = pour(waiting('all'), { body: one }).ends('f', two).fails('f.0.one');
      expect(all.shown()['g']).toBe('waiting');
      expect(all.fails('f.1.one').shown()['g']).toBe('ready');
      const any = pour(waiting('any'), { body: one }).ends('f', two).fails('f.0.one');
      expect(any.shown()['g']).toBe('waiting');
      expect(any.fails('f.1.one').due()).toEqual(finish('failed'));
    });

    it('forgives what an item brings, too, and its compensation', () => {
      const inner = flowed('in', fanning({ group: 'deep' }));
      const groups = {
        body: [inner],
        deep: [flowed('x', { onFailure: { kind: 'compensate', group: 'undo' } })],
        undo: one,
      };
      const play = pour([flowed('f', may)], groups).ends('f', { output: { list: [0] } });
      play.ends('f.0.in', { output: { list: [0] } }).fails('f.0.in.0.x');
      expect(play.due()).not.toEqual(finish('done'));
      expect(play.fails('f.0.in.0.x.undo.one').due()).toEqual(finish('done'));
    });

    it('does not forgive the fan-out itself, and no items of others', () => {
      expect(
        pour([flowed('f', may)], { body: one })
          .fails('f')
          .due(),
      ).toEqual(finish('failed'));
      const other = pour([flowed('f', may), flowed('o', fanning())], { body: one });
      expect(half(half(other), 'o').due()).toEqual(finish('failed'));
    });

    it('lets its container, its round and what was bonded go on', () => {
      const contained = [flowed('f', may), flowed('p', { contains: ['f'] }, { needs: ['f'] })];
      expect(half(pour(contained, { body: one })).shown()['p']).toBe('done');
      const round = flowed('l', { loop: { group: 'round', until: isDone('f'), max: 1 } });
      const looped = pour([round], { round: [flowed('f', may)], body: one });
      expect(half(looped, 'l.iter1.f').shown()['l']).toBe('done');
      const bonded = pour([flowed('f', may)], { body: one }).record({
        type: 'molecule_bonded',
        by: 'ada',
        ref: 'more',
        formula: 'more',
        recipe_digest: 'd2',
        mode: 'sequential',
        steps: [step('m')],
      });
      expect(bonded.ends('f', two).fails('f.0.one').shown()['more.m']).toBe('waiting');
      expect(bonded.ends('f.1.one').shown()['more.m']).toBe('ready');
    });

    it('fails with them where an older build has begun it', () => {
      const play = new Play(inputOf([flowed('f', may)], { groups: { body: one }, performance: 2 }));
      expect(half(play).due()).toEqual(finish('failed'));
    });
  });

  it('skips what has not begun when an item fails and it is to stop', () => {
    const play = pour(recipe('all', { onItemFailure: 'stop' }), { body }).ends('f', three);
    play
      .record(granted())
      .record(hooked(play.at('f.1.one')))
      .fails('f.0.one');
    expect(play.shown()).toMatchObject({
      'f.0.two': 'waiting',
      'f.1.one': 'hooked',
      'f.2.one': 'skipped',
      'f.2.two': 'skipped',
    });
    expect(noteOf(play, 'f.2.one')).toBe('Another item of f failed.');
  });

  it('keeps only small items; where the others are is said in the row', () => {
    const large = 'x'.repeat(600);
    const play = pour(recipe(), { body }).ends('f', { output: { list: [large, 'small'] } });
    expect(play.molecule.instances).toMatchObject([{ number: 0 }, { number: 1, item: 'small' }]);
    expect(play.molecule.instances![0]).not.toHaveProperty('item');
    expect(stepRow(play.molecule, play.at('f.0.one')).bindings!.levels).toEqual([
      { index: 0, vars: { what: '<{item.name}>' }, itemAt: { step: 'f', round: 1, path: ['list', '0'] } },
    ]);
  });

  it('may be in a round and in an item: the molecule waits for the innermost', () => {
    const inner = flowed('in', fanning({ group: 'deep', vars: { both: '{{what}}/{item}' } }));
    const outer = [
      flowed('f', fanning({ vars: { what: '{item}' } })),
      flowed('g', { waitsFor: { of: 'f', mode: 'all' } }),
    ];
    const play = pour(outer, { body: [inner], deep: [step('x', { title: '{{both}} {index}' })] });
    play.ends('f', { output: { list: ['p', 'q'] } }).ends('f.0.in', { output: { list: [1, 2] } });
    play.ends('f.1.in', { output: { list: [] } }).ends('f.0.in.0.x');
    expect(play.step('f.0.in.1.x').title).toBe('p/2 1');
    expect(play.shown()['g']).toBe('waiting');
    expect(play.ends('f.0.in.1.x').shown()['g']).toBe('ready');
  });

  it('keeps a chain of items in the lane of its first', () => {
    const play = pour(recipe('all', { mode: 'sequential' }), { body }).record(granted());
    play.record(hooked(0)).ends('f', { ...three, commit_id: 'c1' });
    expect(play.due()).toMatchObject([{ step: play.at('f.0.one'), lane: 0, baseCommit: 'c1' }]);
    play
      .record(hooked(play.at('f.0.one')))
      .ends('f.0.one')
      .record(hooked(play.at('f.0.two')));
    play.ends('f.0.two', { commit_id: 'c2' });
    expect(play.due()).toMatchObject([{ step: play.at('f.1.one'), lane: 0, baseCommit: 'c2' }]);
  });
});

describe('retry', () => {
  const retry = retrying(3, 50, 'fail');
  const recipe = (flow: StepFlow) => [flowed('a', flow), step('b', { needs: ['a'] })];

  it('tries a failed step again after a pause that doubles, under the next round', () => {
    const play = pour(recipe({ retry })).record(granted()).record(hooked(0)).fails('a');
    expect(play.step('a')).toMatchObject({
      round: 2,
      spent: 1,
      losses: 0,
      state: { status: 'ready', notBefore: play.now + 50, stuck: false },
    });
    expect(play.due()).toEqual([]);
    expect(nextCommands(play.molecule, play.now + 50).commands).toMatchObject([{ attempt: 2, dispatch: 2, round: 2 }]);
    expect(stepRow(play.molecule, 0)).toMatchObject({ attempt: 1, round: 2, status: 'ready' });
    play
      .record(hooked(0, { dispatch: 2, attempt: 2 }))
      .record(lost(0, { dispatch: 2 }))
      .fails('a');
    expect(play.step('a')).toMatchObject({ round: 3, spent: 3, state: { notBefore: play.now + 100 } });
    expect(play.fails('a').shown()).toEqual({ a: 'failed', b: 'waiting' });
  });

  it('never pauses longer than the author or the town says, whichever is longer', () => {
    const timings = { ...DEFAULT_TIMINGS, backoffMaxMs: 60 };
    const play = new Play(inputOf(recipe({ retry }), { timings })).fails('a').fails('a');
    expect(play.step('a').state).toMatchObject({ notBefore: play.now + 60 });
    const slow = new Play(inputOf(recipe({ retry: { ...retry, backoffMs: 70 } }), { timings })).fails('a').fails('a');
    expect(slow.step('a').state).toMatchObject({ notBefore: slow.now + 70 });
  });

  it('skips the step at last where the formula says so', () => {
    const play = pour(recipe({ retry: retrying(1, 50, 'skip') })).ends('a', {
      outcome: 'failed',
      note: 'No.',
    });
    expect(play.shown()).toEqual({ a: 'skipped', b: 'ready' });
    expect(noteOf(play, 'a')).toBe('Failed, and skipped as the formula says. No.');
  });

  it('does not speak against a person', () => {
    expect(pour(recipe({ retry })).ends('a', { outcome: 'failed', agent: null, by: 'ada' }).shown()).toMatchObject({
      a: 'failed',
    });
  });

  it('also tries a fan-out again that had no list', () => {
    const play = pour([flowed('a', { retry, ...fanning() })], { body: [step('x')] }).ends('a');
    expect(play.shown()).toEqual({ a: 'ready' });
    expect(play.ends('a', { output: { list: [1] } }).shown()).toEqual({ a: 'done', 'a.0.x': 'ready' });
  });
});

describe('a failure', () => {
  it('is skipped where the formula says so', () => {
    const play = pour([flowed('a', { onFailure: { kind: 'skip' } }), step('b', { needs: ['a'] })])
      .fails('a')
      .ends('b');
    expect(play.shown()).toEqual({ a: 'skipped', b: 'done' });
    expect(play.due()).toEqual(finish('done'));
  });

  it('is compensated: the group is worked on, then the molecule ends as failed', () => {
    const compensate = { onFailure: { kind: 'compensate', group: 'undo' } } as const;
    const play = pour([flowed('a', compensate), step('b', { needs: ['a'] })], {
      undo: [step('back'), step('tell', { needs: ['back'] })],
    });
    play.fails('a');
    expect(play.shown()).toEqual({ a: 'failed', b: 'waiting', 'a.undo.back': 'ready', 'a.undo.tell': 'waiting' });
    play.ends('a.undo.back').ends('a.undo.tell');
    expect(play.due()).toEqual(finish('failed'));
    expect(stepRow(play.molecule, 2).bindings).toEqual({ scopes: ['a.undo.', ''], levels: [] });
  });

  it('says when its compensation cannot begin', () => {
    const play = pour([flowed('a', { onFailure: { kind: 'compensate', group: 'nothing' } })]).fails('a');
    expect(noteOf(play, 'a')).toBe('Its compensation could not begin: its formula has no group nothing.');
  });

  it('of a loop can be compensated too', () => {
    const loop = flowed('l', { ...looping(isDone('x'), 1), onFailure: { kind: 'compensate', group: 'undo' } });
    const play = pour([loop], { body: [step('x')], undo: [step('back')] }).fails('l.iter1.x');
    expect(play.shown()).toEqual({ l: 'failed', 'l.iter1.x': 'failed', 'l.undo.back': 'ready' });
  });
});

describe('a container', () => {
  const parts = [step('p.a'), step('p.b', { needs: ['p.a'] })];
  const parent = flowed('p', { contains: ['p.a', 'p.b'] }, { needs: ['p.a', 'p.b'] });
  const recipe = [...parts, parent, step('z', { needs: ['p'] })];

  it('closes by itself when its contents are closed, with their last commit', () => {
    const play = pour(recipe);
    expect(play.shown()).toEqual({ 'p.a': 'ready', 'p.b': 'waiting', p: 'running', z: 'waiting' });
    play.ends('p.a', { commit_id: 'c1' }).ends('p.b');
    expect(play.shown()).toMatchObject({ p: 'done', z: 'ready' });
    expect(play.step('p').state).toMatchObject({ commit_id: 'c1' });
  });

  it('fails with its contents, also with those that never start', () => {
    const play = pour(recipe).fails('p.a');
    expect(play.shown()).toEqual({ 'p.a': 'failed', 'p.b': 'skipped', p: 'failed', z: 'waiting' });
    expect(noteOf(play, 'p')).toBe('step p.a failed.');
    const outside = [step('x'), step('c', { needs: ['x'] }), flowed('p', { contains: ['c'] }, { needs: ['c'] })];
    expect(pour(outside).fails('x').shown()).toEqual({ x: 'failed', c: 'skipped', p: 'failed' });
  });

  it('waits for what its contents bring, and fails with it', () => {
    const fan = [flowed('c', fanning()), flowed('p', { contains: ['c'] }, { needs: ['c'] })];
    const play = pour(fan, { body: [step('x')] })
      .ends('c', { output: { list: [1, 2] } })
      .ends('c.0.x');
    expect(play.shown()['p']).toBe('running');
    expect(play.fails('c.1.x').shown()['p']).toBe('failed');
    expect(noteOf(play, 'p')).toBe('something it brought failed.');
  });

  it('that may fail answers for its contents', () => {
    const lenient = [...parts, { ...parent, flow: { ...parent.flow, onFailure: { kind: 'skip' } } as const }];
    expect(pour(lenient).fails('p.a').due()).toEqual(finish('done'));
    const inFan = [
      flowed('c', fanning()),
      flowed('p', { contains: ['c'], onFailure: { kind: 'skip' } }, { needs: ['c'] }),
    ];
    const play = pour(inFan, { body: [step('x')] })
      .ends('c', { output: { list: [1] } })
      .fails('c.0.x');
    expect(play.due()).toEqual(finish('done'));
  });

  it('is met for those who wait for any of its contents as soon as one is closed', () => {
    const play = pour([...recipe, flowed('w', { waitsFor: { of: 'p', mode: 'any' } })]);
    expect(play.shown()['w']).toBe('waiting');
    expect(play.ends('p.a').shown()['w']).toBe('ready');
  });

  it('closed by its condition takes its contents along', () => {
    const never = flowed('p', { contains: ['p.a', 'p.b'], when: isDone('p.b') }, { needs: ['p.a', 'p.b'] });
    expect(pour([...parts, never]).shown()).toEqual({ 'p.a': 'skipped', 'p.b': 'skipped', p: 'skipped' });
  });
});

describe('waiting for a step', () => {
  it('that never starts means never starting', () => {
    const waits = (mode: 'all' | 'any') => flowed('w', { waitsFor: { of: 'b', mode } });
    for (const mode of ['all', 'any'] as const) {
      const play = pour([step('a'), step('b', { needs: ['a'] }), waits(mode), step('x', { needs: ['w'] })]).fails('a');
      expect(play.due()).toEqual(finish('failed'));
    }
  });

  it('of a group means the steps beside it first', () => {
    const body = [step('b'), flowed('w', { waitsFor: { of: 'b', mode: 'all' } })];
    const play = pour([step('b'), flowed('l', looping(isDone('w'), 1))], { body });
    expect(play.ends('b').shown()).toMatchObject({ 'l.iter1.w': 'waiting' });
    expect(play.ends('l.iter1.b').shown()).toMatchObject({ 'l.iter1.w': 'ready' });
    const outside = [flowed('w', { waitsFor: { of: 'b', mode: 'all' } })];
    expect(pour([step('b'), flowed('l', looping(isDone('w'), 1))], { body: outside }).shown()).toMatchObject({
      'l.iter1.w': 'waiting',
    });
  });

  it.each<[string, LeanStep, string]>([
    ['waits for', flowed('a', { waitsFor: { of: 'z', mode: 'all' } }), 'step a waits for z'],
    ['contains', flowed('a', { contains: ['z'] }), 'step a contains z'],
  ])('a bug is thrown: a recipe that %s what it does not have', (_name, lean, message) => {
    expect(() => pour([lean])).toThrow(message);
  });
});

describe('pausing', () => {
  it('dispatches nothing, lets what is hooked go on, and does not end', () => {
    const play = pour([step('a'), step('b')])
      .record(granted())
      .record(hooked(0));
    play.record({ type: 'molecule_paused', reason: 'wait', by: 'ada' });
    expect(moleculeRow(play.molecule).status).toBe('paused');
    play.ends('a');
    expect(play.due()).toEqual([]);
    play.ends('b', { agent: null, outcome: 'skipped' });
    expect(play.due()).toMatchObject([{ kind: 'release_lane', reason: 'paused' }]);
    play.record({ type: 'molecule_resumed', by: 'ada' });
    expect(play.due()).toEqual(finish('done'));
    expect(moleculeRow(play.molecule).status).toBe('running');
  });

  it('gives an idle lane back, and asks again when it goes on', () => {
    const play = pour([step('a')])
      .record(granted())
      .record({ type: 'molecule_paused', reason: '', by: 'ada' });
    play.now += DEFAULT_TIMINGS.graceMs;
    expect(play.due()).toMatchObject([{ kind: 'release_lane', reason: 'nothing due' }]);
    play.record({ type: 'lane_released', lane: 0, reason: 'nothing due' });
    expect(play.due()).toEqual([]);
    expect(play.record({ type: 'molecule_resumed', by: 'ada' }).due()).toMatchObject([{ kind: 'open_lane', lane: 1 }]);
  });
});

describe('beginning a step again', () => {
  const reopened = (play: Play, name: string) =>
    play.record({ type: 'step_reopened', step: play.at(name), by: 'ada', reason: '' });

  it('gives a stuck step new losses to lose; attempts go on counting', () => {
    const timings = { ...DEFAULT_TIMINGS, attemptsMax: 1 };
    const play = new Play(inputOf([step('a')], { timings })).record(granted()).record(hooked(0)).record(lost(0));
    expect(attentionOf(play.molecule)).not.toBeNull();
    reopened(play, 'a');
    expect(attentionOf(play.molecule)).toBeNull();
    expect(play.step('a')).toMatchObject({ round: 1, spent: 1, losses: 0 });
    expect(play.due()).toMatchObject([{ attempt: 2, dispatch: 2, round: 1 }]);
  });

  it('opens a failed one, under another receipt, and what needs it can start again', () => {
    const play = pour([step('a'), step('b', { needs: ['a'] }), step('c')])
      .record(granted())
      .record(hooked(0))
      .fails('a');
    reopened(play, 'a');
    expect(play.step('a')).toMatchObject({ round: 2, spent: 1, state: { status: 'ready' } });
    expect(play.ends('a').shown()).toEqual({ a: 'done', b: 'ready', c: 'ready' });
    const never = pour([step('a'), step('c')]).ends('a', { outcome: 'failed', agent: null });
    expect(reopened(never, 'a').step('a')).toMatchObject({ round: 1, state: { status: 'ready' } });
  });
});

describe('a bond', () => {
  const bond = { type: 'molecule_bonded', by: 'ada', ref: 'x', formula: 'more', recipe_digest: 'd2' } as const;

  it('is worked on at once, or after all that was there', () => {
    const parallel = pour(chain('a', 'b')).record({ ...bond, mode: 'parallel', steps: chain('p', 'q') });
    expect(parallel.shown()).toEqual({ a: 'ready', b: 'waiting', 'x.p': 'ready', 'x.q': 'waiting' });
    const sequential = pour(chain('a', 'b')).record({ ...bond, mode: 'sequential', steps: chain('p', 'q') });
    expect(sequential.shown()).toEqual({ a: 'ready', b: 'waiting', 'x.p': 'waiting', 'x.q': 'waiting' });
    expect(sequential.ends('a').ends('b').shown()).toMatchObject({ 'x.p': 'ready', 'x.q': 'waiting' });
    expect(sequential.ends('x.p').ends('x.q').due()).toEqual(finish('done'));
  });

  it('after what fails never starts', () => {
    const play = pour([step('a')]).record({ ...bond, mode: 'sequential', steps: [step('p')] });
    expect(play.fails('a').due()).toEqual(finish('failed'));
  });

  it('has its own groups and names, and what it watches', () => {
    const steps = [
      step('a'),
      flowed('f', fanning({ group: 'g' }), { needs: ['a'] }),
      flowed('w', { when: says('a', 'n', 1) }, { needs: ['f'] }),
    ];
    const play = pour([step('a')]).record({ ...bond, mode: 'parallel', steps, groups: { g: [step('i')] } });
    play.ends('x.a', { output: { n: 1, m: 2 } }).ends('x.f', { output: { list: [7] } });
    expect(play.shown()).toEqual({ a: 'ready', 'x.a': 'done', 'x.f': 'done', 'x.w': 'ready', 'x.f.0.i': 'ready' });
    expect(play.step('x.a').state).toMatchObject({ output: { n: 1 } });
    expect(stepRow(play.molecule, play.at('x.w'))).toMatchObject({
      template: { recipe_digest: 'd2', group: null, step: 'w' },
      bindings: { scopes: ['x.', ''], levels: [] },
    });
    expect(stepRow(play.molecule, play.at('x.f.0.i'))).toMatchObject({
      template: { recipe_digest: 'd2', group: 'g', step: 'i' },
      bindings: { scopes: ['x.f.0.', 'x.', ''], levels: [{ index: 0, item: 7, vars: {} }] },
    });
  });

  it('comes after earlier bonds, and to a molecule without steps', () => {
    const play = pour([step('a')]).record({ ...bond, mode: 'parallel', steps: [step('p')] });
    play.record({ ...bond, ref: 'y', mode: 'sequential', steps: [step('q')] }).ends('a');
    expect(play.shown()['y.q']).toBe('waiting');
    expect(play.ends('x.p').shown()['y.q']).toBe('ready');
    const empty = applyEvent(null, { seq: 1, at: START, event: { type: 'molecule_poured', input: inputOf([]) } });
    const event = { ...bond, mode: 'sequential', steps: [step('p')] } as const;
    expect(applyEvent(empty, { seq: 2, at: START, event }).steps[0]!.state.status).toBe('ready');
  });

  it('is refused under a name that is taken, or when there would be too many steps', () => {
    const { molecule } = pour([step('a'), step('b.c')]);
    expect(bondProblem(molecule, { ref: 'x', steps: [] })).toBeNull();
    expect(bondProblem(molecule, { ref: 'a', steps: [] })).toBe('the name a is taken');
    expect(bondProblem(molecule, { ref: 'b', steps: [] })).toBe('the name b is taken');
    expect(bondProblem(molecule, { ref: 'x', steps: Array.from({ length: STEPS_MAX }, () => step('s')) })).toContain(
      '5000',
    );
  });
});

describe('what is known of outputs and facts', () => {
  it('is asked for with the dispatch, only where something looks at it', () => {
    const until: RunCondition = {
      op: 'and',
      of: [
        says('b', 'ok', true),
        { op: 'not', of: { op: 'compare', left: { of: 'env', name: 'TOWN_VAR_X' }, is: '==', right: '1' } },
        { op: 'any', step: 'f', deep: true, where: says('', 'bad', true) },
        { op: 'compare', left: { of: 'file', path: 'stop' }, is: '==', right: true },
        { op: 'compare', left: { of: 'complete' }, is: '>', right: 1 },
      ],
    };
    const recipe = [flowed('f', fanning()), flowed('l', looping(until), { needs: ['f'] })];
    const play = pour(recipe, { body: [step('b')] }).record(granted());
    expect(play.due()).toMatchObject([
      { wants: { outputs: [['bad'], ['list']], files: ['stop'], env: ['TOWN_VAR_X'] } },
    ]);
    expect(
      pour([step('a')])
        .record(granted())
        .due()[0],
    ).not.toHaveProperty('wants');
    const other = pour([step('a'), flowed('b', { when: says('z', 'k', 1) })]).record(granted());
    expect(other.due()[0]).not.toHaveProperty('wants');
  });

  it('is kept only when it is small', () => {
    const when: RunCondition = { op: 'or', of: [says('a', 'small', 1), says('a', 'large', 1), says('a', 'none', 1)] };
    const play = pour([step('a'), flowed('b', { when }, { needs: ['a'] })]);
    play.ends('a', { output: { small: 1, large: 'x'.repeat(600), other: 2 } });
    expect(play.step('a').state).toMatchObject({ output: { small: 1 } });
    expect(play.step('a').state).not.toHaveProperty('output.large');
    expect(
      pour([step('a')])
        .ends('a', { output: { x: 1 } })
        .step('a').state,
    ).not.toHaveProperty('output');
  });

  it('grows with what a bond looks at', () => {
    const watching = (id: string, key: string) => flowed(id, { when: says('a', key, 1) });
    const play = pour([step('a'), watching('b', 'n')]);
    const bonded = {
      ref: 'x',
      formula: 'f',
      recipe_digest: 'd',
      mode: 'parallel',
      steps: [watching('c', 'm')],
    } as const;
    play.record({ type: 'molecule_bonded', by: 'ada', ...bonded });
    expect(play.molecule.watch!.outputs).toEqual([
      { step: 'a', path: ['n'] },
      { step: 'a', path: ['m'] },
    ]);
  });
});

describe('lanes of steps that were passed over', () => {
  it('what follows a skipped step goes on in the lane and from the commit before it', () => {
    const rig = { target: { kind: 'rig', id: 'acme' } } as const;
    const steps = [
      step('a'),
      flowed('b', { when: isDone('x') }, { needs: ['a'] }),
      step('c', { needs: ['b'] }),
      step('x'),
    ];
    const play = new Play(inputOf(steps, rig)).record(slotted()).record(granted()).record(hooked(0));
    play.record({ type: 'lane_asked', lane: 1 }).record(slotted(1, BASALT)).record(granted(1, BASALT));
    play.ends('a', { commit_id: 'c1' });
    expect(play.due()).toMatchObject([
      { step: 2, lane: 0, agent: AMBER, baseCommit: 'c1' },
      { step: 3, lane: 1 },
    ]);
  });
});

it('the standing of what is not there is a bug', () => {
  expect(() => standingsOf(pour([step('a')]).molecule).of(4)).toThrow('has no step 4');
});

it('a state of an older build gets the durations it does not know', () => {
  const { gatePollMs: _, ...old } = DEFAULT_TIMINGS;
  const carried = { ...pour([step('a')]).molecule, timings: old } as Molecule;
  expect(restored(carried).timings).toEqual(DEFAULT_TIMINGS);
});

describe('what a command establishes by itself', () => {
  const task = { kind: 'task', task_id: 'acme-1', timeoutMs: null } as const;
  const event = { type: 'round_begun', step: 1, round: 2 } as const;

  it.each<[MoleculeCommand, MoleculeEvent | null]>([
    [{ kind: 'decide', key: '', event }, event],
    [
      { kind: 'hook_step', key: 'k', step: 1, lane: 2, agent: AMBER, attempt: 3, dispatch: 4, baseCommit: null },
      { type: 'step_hooked', step: 1, lane: 2, agent: AMBER, attempt: 3, dispatch: 4 },
    ],
    [
      { kind: 'release_lane', key: '', lane: 1, agent: null, reason: 'r' },
      { type: 'lane_released', lane: 1, reason: 'r' },
    ],
    [
      { kind: 'open_lane', key: '', lane: 1 },
      { type: 'lane_asked', lane: 1 },
    ],
    [
      { kind: 'open_gate', key: '', step: 1, by: 'timer', reason: 'r' },
      { type: 'gate_opened', step: 1, by: 'timer', reason: 'r' },
    ],
    [
      { kind: 'escalate_gate', key: '', step: 1, reason: 'r' },
      { type: 'gate_escalated', step: 1, reason: 'r' },
    ],
    [
      { kind: 'finish', key: '', outcome: 'done' },
      { type: 'molecule_finished', outcome: 'done' },
    ],
    [{ kind: 'ask_slot', key: '', lane: 0, wait: true }, null],
    [{ kind: 'ask_grant', key: '', lane: 0, agent: AMBER }, null],
    [{ kind: 'look_at_gate', key: '', step: 1, gate: task, since: 0 }, null],
    [{ kind: 'look_for_facts', key: '', step: 1, base_commit: null, files: ['a'], env: [] }, null],
  ])('%j: %j', (command, expected) => {
    expect(eventOf(command)).toEqual(expected);
  });

  it('a decision comes alone', () => {
    const input = inputOf([step('a'), flowed('l', looping(isDone('x')))], { groups: { body: [step('x')] } });
    const molecule = applyEvent(null, { seq: 1, at: START, event: { type: 'molecule_poured', input } });
    expect(nextCommands(molecule, START)).toEqual({
      commands: [{ kind: 'decide', key: 'decide:1', event: { type: 'round_begun', step: 1, round: 1 } }],
      wakeAt: null,
    });
  });
});

describe('a bug is thrown', () => {
  it.each<[string, MoleculeEvent, string]>([
    ['a round of what is no loop', { type: 'round_begun', step: 0, round: 1 }, 'step a is no loop'],
    ['a round of a group that is not there', { type: 'round_begun', step: 1, round: 1 }, 'has no group body'],
  ])('%s', (_name, event, message) => {
    const input = inputOf([step('a'), flowed('l', looping(isDone('x')), { needs: ['a'] })]);
    expect(() => new Play(input).record(event)).toThrow(message);
  });
});

describe('files and variables that nobody has reported', () => {
  const file: RunCondition = { op: 'compare', left: { of: 'file', path: 'go' }, is: '==', right: true };
  const env: RunCondition = { op: 'compare', left: { of: 'env', name: 'TOWN_VAR_X' }, is: '==', right: 'on' };
  const both: RunCondition = { op: 'and', of: [file, env] };
  const on = { files: { go: true }, env: { TOWN_VAR_X: 'on' } };
  const looks = (play: Play) => play.due().filter(({ kind }) => kind === 'look_for_facts');
  const found = (play: Play, name: string, facts: Facts) =>
    play.record({ type: 'facts_found', step: play.at(name), facts });

  it.each<[string, Facts, string]>([
    ['as it must be', on, 'ready'],
    ['otherwise', { ...on, files: { go: false } }, 'skipped'],
    ['not to be found out', { files: {}, env: {} }, 'skipped'],
  ])('are looked up for a first step: %s', (_name, facts, status) => {
    const play = pour([flowed('a', { when: both }), step('b')]);
    expect(play.shown()).toEqual({ a: 'waiting', b: 'ready' });
    expect(looks(play)).toEqual([
      {
        kind: 'look_for_facts',
        key: 'facts:a',
        step: 0,
        base_commit: null,
        files: ['go'],
        env: ['TOWN_VAR_X'],
      },
    ]);
    expect(nextCommands(play.molecule, play.now, true).commands).toEqual([]);
    expect(found(play, 'a', facts).shown()['a']).toBe(status);
    expect(looks(play)).toEqual([]);
  });

  it('are looked up where the step would begin when who went before has not said them', () => {
    const play = pour([step('a'), step('b', { needs: ['a'] }), flowed('c', { when: file }, { needs: ['b'] })]);
    expect(looks(play)).toEqual([]);
    play.ends('a', { commit_id: 'c1', facts: on });
    expect(looks(play)).toEqual([]);
    expect(looks(play.ends('b', { outcome: 'skipped', agent: null }))).toMatchObject([{ step: 2, base_commit: 'c1' }]);
  });

  it('are not looked up when who went before has said them', () => {
    const play = pour([step('a'), flowed('b', { when: file }, { needs: ['a'] })]).ends('a', { facts: on });
    expect(play.shown()['b']).toBe('ready');
  });

  it('are looked up for the condition of a gate, and both together', () => {
    const gate = { kind: 'condition', when: file, timeoutMs: null } as const;
    const play = pour([step('a', { gate }), flowed('b', { when: env }, { gate })]);
    expect(play.shown()).toEqual({ a: 'gated', b: 'waiting' });
    expect(looks(play)).toMatchObject([
      { step: 0, files: ['go'], env: [] },
      { step: 1, files: ['go'], env: ['TOWN_VAR_X'] },
    ]);
    expect(play.due().map(({ kind }) => kind)).not.toContain('open_gate');
    found(found(play, 'a', on), 'b', on);
    expect(play.shown()).toEqual({ a: 'gated', b: 'gated' });
    expect(play.due()).toMatchObject([
      { kind: 'open_gate', step: 0 },
      { kind: 'open_gate', step: 1 },
    ]);
  });

  it('are null where an older build has begun the molecule', () => {
    const play = new Play(inputOf([flowed('a', { when: file }), step('b')], { performance: 2 }));
    expect(play.shown()['a']).toBe('skipped');
  });
});

describe('who may be begun again', () => {
  it.each<[string, Play, string, string | null]>([
    [
      'nobody of a molecule that is over',
      pour([step('a')]).record({ type: 'molecule_refused', reason: '' }),
      'a',
      'molecule m-1 is refused',
    ],
    ['no loop', pour([flowed('l', looping(isDone('x')))], { body: [step('x')] }), 'l', 'nobody works on step l itself'],
    [
      'nothing that is under way',
      pour([step('a')])
        .record(granted())
        .record(hooked(0)),
      'a',
      'step a is neither ready nor failed',
    ],
    [
      'nothing that was skipped',
      pour([step('a'), step('b')]).ends('a', { outcome: 'skipped' }),
      'a',
      'neither ready nor failed',
    ],
    ['what failed', pour([step('a'), step('b')]).fails('a'), 'a', null],
    [
      'nothing that is compensated',
      pour([flowed('a', { onFailure: { kind: 'compensate', group: 'g' } })], { g: [step('x')] }).fails('a'),
      'a',
      'the compensation of step a has begun',
    ],
    [
      'nothing of a round that is over',
      pour([flowed('l', looping(isDone('x'))), step('b')], { body: [step('x')] }).fails('l.iter1.x'),
      'l.iter1.x',
      'step l, which it belongs to, is closed',
    ],
    [
      'an item, whose fan-out goes on',
      pour([flowed('f', fanning())], { body: [step('x')] })
        .ends('f', { output: { list: [1, 2] } })
        .fails('f.0.x'),
      'f.0.x',
      null,
    ],
  ])('%s', (_name, play, name, problem) => {
    const found = reopenProblem(play.molecule, play.at(name));
    if (problem === null) expect(found).toBeNull();
    else expect(found).toContain(problem);
  });

  it('a step that waits for its next attempt: at once, with new attempts, under the same round', () => {
    const play = new Play(inputOf([step('a')])).record(granted());
    for (const dispatch of [1, 2]) play.record(hooked(0, { dispatch })).record(lost(0, { dispatch }));
    expect(play.due()).toEqual([]);
    expect(reopenProblem(play.molecule, 0)).toBeNull();
    play.record({ type: 'step_reopened', step: 0, by: 'ada', reason: '' });
    expect(play.step('a')).toMatchObject({ losses: 0, round: 1, state: { status: 'ready', stuck: false } });
    expect(play.due()).toMatchObject([{ kind: 'hook_step', attempt: 3, dispatch: 3, round: 1 }]);
  });

  it('a stuck step', () => {
    const timings = { ...DEFAULT_TIMINGS, attemptsMax: 1 };
    const play = new Play(inputOf([step('a')], { timings })).record(granted()).record(hooked(0)).record(lost(0));
    expect(reopenProblem(play.molecule, 0)).toBeNull();
  });
});

describe('conditions on what a step brings', () => {
  const many = (op: 'all' | 'any', deep: boolean, name = 'f'): RunCondition => ({
    op,
    step: name,
    deep,
    where: says('', 'ok', 1),
  });
  const body = [flowed('x', { onFailure: { kind: 'compensate', group: 'undo' } })];

  it.each<[RunCondition, string]>([
    [many('any', false), 'ready'],
    [many('all', false), 'skipped'],
    [many('all', false, 'nothing'), 'ready'],
    [{ op: 'compare', left: { of: 'env', name: 'TOWN_VAR_A' }, is: '==', right: 'b' }, 'ready'],
    [{ op: 'compare', left: { of: 'env', name: 'TOWN_VAR_Z' }, is: '==', right: 'b' }, 'skipped'],
    [{ op: 'compare', left: { of: 'status', step: 'nothing' }, is: '==', right: 'complete' }, 'skipped'],
    [{ op: 'compare', left: { of: 'complete' }, is: '==', right: 3 }, 'ready'],
  ])('%j', (when, expected) => {
    const steps = [flowed('f', fanning()), flowed('w', { when, waitsFor: { of: 'f', mode: 'all' } })];
    const play = pour(steps, { body, undo: [step('u')] }).ends('f', { output: { list: [1, 2] } });
    play
      .ends('f.0.x', { output: { ok: 1 } })
      .ends('f.1.x', { output: { ok: 2 }, facts: { files: {}, env: { TOWN_VAR_A: 'b' } } });
    expect(play.shown()['w']).toBe(expected);
  });

  it('do not count compensations', () => {
    const when: RunCondition = { op: 'count', step: 'f', deep: true, where: { op: 'and', of: [] }, is: '==', right: 2 };
    const steps = [flowed('f', fanning()), flowed('w', { when, waitsFor: { of: 'f', mode: 'any' } })];
    const play = pour(steps, { body, undo: [step('u')] })
      .ends('f', { output: { list: [1, 2] } })
      .fails('f.0.x');
    expect(play.ends('f.1.x').shown()).toMatchObject({ w: 'ready', 'f.0.x.undo.u': 'ready' });
  });
});

it('every new event folds the same from its row', () => {
  const when = says('a', 'n', 1);
  const flow: StepFlow = { ...fanning(), retry: retrying(2, 1, 'fail') };
  const input = inputOf([flowed('a', flow), flowed('b', { when }, { needs: ['a'] })], {
    groups: { body: [step('x')] },
  });
  const play = new Play(input);
  const events = [
    endStep(play.molecule, 0, { outcome: 'failed', agent: AMBER, note: 'n', commit_id: null, by: AMBER }),
    endStep(play.molecule, 0, {
      outcome: 'done',
      agent: AMBER,
      note: '',
      commit_id: 'c',
      by: AMBER,
      output: { n: 1, list: [1] },
      facts: { files: {}, env: {} },
    }),
    { type: 'condition_found', step: 1, holds: true },
    { type: 'molecule_paused', reason: '', by: 'ada' },
  ] as const;
  let live = play.molecule;
  let folded: Molecule = play.molecule;
  for (const event of events) {
    const recorded = { seq: live.seq + 1, at: START, event };
    live = applyEvent(live, recorded);
    folded = applyEvent(folded, eventOfRow(JSON.parse(JSON.stringify(runEventOf(recorded, live)))));
  }
  expect(folded).toEqual(live);
});
