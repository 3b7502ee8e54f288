import type { GateSpec } from '../../../schema/formula/flow';
import { causesOf, explain, type Cause, type Failure, type HoldingEdge, type WhyFacts } from '../../../schema/task/why';
import { sentenceOf } from '../../../schema/task/why-text';

const AT = '2026-05-01T15:00:00.000Z';
const NOW = Date.parse('2026-05-02T00:00:00.000Z');

function factsOf(task: Partial<WhyFacts['task']> = {}, more: Partial<WhyFacts> = {}): WhyFacts {
  return {
    now: NOW,
    task: {
      id: 'a-1',
      title: 'One',
      status: 'open',
      type: 'task',
      rig_id: 'acme',
      assigned_agent_id: null,
      molecule_id: null,
      outcome: null,
      close_reason: null,
      completed_at: null,
      closed_by: null,
      defer_until: null,
      due_at: null,
      pinned: false,
      on_hold: false,
      updated_at: AT,
      free_since: AT,
      ...task,
    },
    held_by: { total: 0, edges: [] },
    above: null,
    dormant_parent: null,
    open_parts: { total: 0, ids: [] },
    convoys: [],
    molecule: null,
    start: null,
    session: null,
    failure: null,
    denial: null,
    ...more,
  };
}

const edge = (more: Partial<HoldingEdge> = {}): HoldingEdge => ({
  id: 'a-2',
  title: 'Two',
  status: 'open',
  agent: null,
  type: 'blocks',
  gate: 'all-children',
  outcome: null,
  open_children: 0,
  closed_children: 0,
  ...more,
});
const held = (...edges: HoldingEdge[]) => ({ total: edges.length, edges });
const molecule = (more: Partial<NonNullable<WhyFacts['molecule']>> = {}): NonNullable<WhyFacts['molecule']> => ({
  id: 'm-1',
  status: 'running',
  attention: null,
  steps_total: 3,
  steps_closed: 1,
  hooked: [],
  gated: [],
  ready: [],
  hook: null,
  dispatch: null,
  ...more,
});
const kinds = (facts: WhyFacts) => causesOf(facts).map(({ kind }) => kind);
const busy = { status: 'in_progress', molecule_id: 'm-1' } as const;
const ready = [{ step: 's', since: AT }];
const hook = { agent: 'x', agent_status: 'active', place: 1, holder: null, since: AT };
const dispatch = { rig_id: 'acme', place: 1, busy: 2, workers_max: 2, since: AT };
const hooked = [{ step: 's', agent: 'x', attempt: 1, since: AT, session: null }];

describe('causes', () => {
  it.each<[string, WhyFacts, string[]]>([
    ['closed tells nothing else', factsOf({ status: 'closed', pinned: true }), ['closed']],
    ['what can never be met stands first', factsOf({}, { held_by: held(edge(), edge({ type: 'conditional-blocks', status: 'closed', outcome: 'done' })) }), ['impossible', 'blocked']],
    ['edges that are not named are counted', factsOf({}, { held_by: { total: 5, edges: [edge({ type: 'waits-for' })] } }), ['blocked', 'waits_for_parts']],
    ['work in progress may be blocked as well', factsOf(busy, { held_by: held(edge()), molecule: molecule({ hooked }) }), ['blocked', 'working']],
    ['a parent that is put off does not hold back work in progress', factsOf(busy, { dormant_parent: { id: 'p', until: null }, molecule: molecule({ ready }) }), ['step_ready']],
    ['a record', factsOf({ type: 'message' }), ['record']],
    ['only if another fails', factsOf({}, { held_by: held(edge({ type: 'conditional-blocks' })) }), ['only_if_failed']],
    ['what holds back its whole', factsOf({}, { above: { id: 'p', title: 'P', ...held(edge()) } }), ['inherited']],
    ['a whole that is put off', factsOf({}, { dormant_parent: { id: 'p', until: null } }), ['parent_deferred']],
    ['given but not begun, denied, on hold', factsOf({ assigned_agent_id: 'x', on_hold: true }, { denial: { at: AT, actor: 'c', target: 't', reasons: [] } }), ['on_hold', 'denied', 'assigned']],
    ['a start that failed', factsOf(busy, { start: { since: AT, tries: 3, error: null, failed_at: AT } }), ['start_failed']],
    ['a start that is tried', factsOf(busy, { start: { since: AT, tries: 3, error: null, failed_at: null } }), ['starting']],
    ['remarks', factsOf({ due_at: AT }, { open_parts: { total: 1, ids: ['a-1.1'] }, failure: { what: 'task_failed', at: AT, molecule_id: null, step: null, cause: null, note: '' } }), ['untaken', 'open_parts', 'failure', 'overdue']],
    ['what is forbidden waits for nobody to take it', factsOf({ pinned: true }), ['pinned']],
    ['hook before dispatcher before ready', factsOf(busy, { molecule: molecule({ ready, hook, dispatch }) }), ['hook_queue']],
    ['dispatcher before ready', factsOf(busy, { molecule: molecule({ ready, dispatch }) }), ['dispatch_queue']],
    ['a queue says nothing while somebody works', factsOf(busy, { molecule: molecule({ hooked, hook }) }), ['working']],
    ['a stuck step is not about to be given out', factsOf(busy, { molecule: molecule({ ready, attention: 'stuck' }) }), ['attention']],
    ['a gate beside a working step', factsOf(busy, { molecule: molecule({ hooked, gated: [{ step: 'g', since: AT, gate: null }] }) }), ['working', 'gate']],
    ['nothing under way', factsOf(busy, { molecule: molecule() }), ['molecule']],
    ['a paused molecule', factsOf(busy, { molecule: molecule({ status: 'paused', hook, ready }) }), ['paused']],
    ['a paused molecule with a step at work', factsOf(busy, { molecule: molecule({ status: 'paused', hooked }) }), ['paused', 'working']],
    ['an ended molecule', factsOf(busy, { molecule: molecule({ status: 'failed', attention: 'x' }) }), ['molecule']],
    ['no molecule yet, message delivered', factsOf(busy), ['starting']],
    ['a stopped convoy and one without a rig', factsOf({ rig_id: null }, { convoys: [{ id: 'c-1', status: 'stopped', rig_id: null }, { id: 'c-2', status: 'running', rig_id: null }, { id: 'c-3', status: 'running', rig_id: 'acme' }] }), ['convoy_stopped', 'no_rig', 'untaken']],
    ['a due date that is to come', factsOf({ due_at: '2027-01-01T00:00:00.000Z' }), ['untaken']],
    ['a deferral of a task in progress ended with it', factsOf({ status: 'in_progress', defer_until: '2999-01-01T00:00:00.000Z' }), ['claimed']],
  ])('%s', (_, facts, expected) => {
    expect(kinds(facts)).toEqual(expected);
  }); // prettier-ignore

  it('never answers with nothing', () => {
    for (const status of [
      'open',
      'in_progress',
      'impl_complete',
      'merge_ready',
      'merged',
      'merge_conflict',
      'closed',
      'deferred',
    ] as const) {
      const { causes, text, done } = explain(factsOf({ status }));
      expect(causes.length).toBeGreaterThan(0);
      expect(text).toMatch(/^a-1 "One" is /);
      expect(done).toBe(status === 'closed');
    }
  });

  it('is open again once a deferral is over', () => {
    const over = factsOf({ status: 'deferred', defer_until: AT });
    expect(explain(over)).toMatchObject({ status: 'open', causes: [{ kind: 'untaken' }] });
    const on = factsOf({ status: 'deferred', defer_until: '2999-01-01T00:00:00.000Z' });
    expect(explain(on)).toMatchObject({ status: 'deferred', next: null });
  });

  it('says where to go on', () => {
    const next = (facts: WhyFacts) => explain(facts).next;
    expect(next(factsOf({}, { held_by: { total: 1, edges: [] } }))).toBe('town dep tree a-1');
    expect(next(factsOf({ rig_id: null }))).toBe('town sling a-1 <agent or rig>');
    expect(next(factsOf(busy))).toBe('town status');
    expect(next(factsOf(busy, { molecule: molecule({ status: 'failed' }) }))).toBe('town molecule show m-1');
    expect(next(factsOf({ rig_id: null }, { convoys: [{ id: 'c-2', status: 'running', rig_id: null }] }))).toBe(
      'town convoy status c-2',
    );
    expect(next(factsOf({ status: 'merge_ready' }))).toBeNull();
    expect(next(factsOf({}, { held_by: held(edge()) }))).toBe('town why a-2');
    expect(next(factsOf({}, { held_by: held(edge({ type: 'waits-for' })) }))).toBe('town why a-2');
    const never = edge({ type: 'conditional-blocks', status: 'closed', outcome: 'done' });
    expect(next(factsOf({}, { held_by: held(never) }))).toBe('town dep tree a-1');
    expect(next(factsOf({}, { above: { id: 'p', title: 'P', ...held(edge()) } }))).toBe('town why p');
    const failed = { since: AT, tries: 3, error: null, failed_at: AT };
    expect(next(factsOf(busy, { start: failed }))).toBe('town event list --type delivery_failed');
    expect(next(factsOf(busy, { molecule: molecule({ hooked }) }))).toBe('town molecule show m-1');
    expect(next(factsOf(busy, { molecule: molecule({ hook }) }))).toBe('town hook x');
    const standing = [
      { gated: [{ step: 'g', since: AT, gate: null }] },
      { attention: 'stuck' },
      { ready },
      { dispatch },
    ];
    for (const each of standing)
      expect(next(factsOf(busy, { molecule: molecule(each) }))).toBe('town molecule show m-1');
    expect(next(factsOf({}, { convoys: [{ id: 'c-1', status: 'stopped', rig_id: null }] }))).toBe(
      'town convoy status c-1',
    );
    const parts = { open_parts: { total: 1, ids: ['a-1.1'] }, convoys: [] };
    expect(next(factsOf({ status: 'deferred', defer_until: null }, parts))).toBe('town dep tree a-1 --direction down');
    expect(next(factsOf({ assigned_agent_id: 'x', on_hold: true }))).toBe('town hook x');
    expect(next(factsOf({ pinned: true, on_hold: true }))).toBeNull();
  });
});

describe('sentences', () => {
  const session = { live: false, started_at: AT, ended_at: AT, end_reason: null, exit_code: null };
  const failure = (more: Partial<Failure>): Cause => ({
    kind: 'failure',
    what: 'step_lost',
    at: AT,
    molecule_id: 'm-1',
    step: 's',
    cause: null,
    note: '',
    ...more,
  });
  const gate = (spec: GateSpec | null): Cause => ({
    kind: 'gate',
    molecule_id: 'm-1',
    step: 's',
    since: AT,
    gate: spec,
  });
  const timeoutMs = 3_600_000;

  it.each<[Cause, string]>([
    [{ kind: 'closed', outcome: 'done', at: AT, by: 'person:ada', reason: 'By hand.' }, 'It ended as done by person:ada on 2026-05-01 15:00 UTC: By hand.'],
    [{ kind: 'pinned' }, 'It is pinned: a mark to be read, never ready.'],
    [{ kind: 'record', type: 'gate' }, 'It is a record of type gate and no work, so it is not handed out by itself.'],
    [{ kind: 'blocked', by: [edge({ agent: 'x' }), edge({ id: 'a-3' })], total: 2 }, 'It waits for a-2 "Two" (open, x) and a-3 "Two" (open).'],
    [{ kind: 'waits_for_parts', other: edge(), gate: 'all-children', open: 1, closed: 2 }, 'It waits for all parts of a-2 "Two" (1 of 3 open).'],
    [{ kind: 'waits_for_parts', other: edge(), gate: 'any-children', open: 1, closed: 0 }, 'It waits for one of the 1 part of a-2 "Two" to be closed.'],
    [{ kind: 'waits_for_parts', other: edge(), gate: 'any-children', open: 0, closed: 0 }, 'It waits for a-2 "Two" (open), which has no parts, to be closed.'],
    [{ kind: 'only_if_failed', other: edge() }, 'It is only needed if a-2 "Two" (open) fails, and waits for that.'],
    [{ kind: 'inherited', from: { id: 'p', title: 'P' }, causes: [{ kind: 'blocked', by: [edge()], total: 1 }, { kind: 'only_if_failed', other: edge() }] }, 'It is a part of p "P", which waits for a-2 "Two" (open), and is only needed if a-2 "Two" (open) fails, and waits for that.'],
    [{ kind: 'deferred', until: null }, 'It is put off until somebody ends that.'],
    [{ kind: 'deferred', until: AT }, 'It is put off until 2026-05-01 15:00 UTC.'],
    [{ kind: 'parent_deferred', parent_id: 'p', until: AT }, 'It is a part of p, which is put off until 2026-05-01 15:00 UTC.'],
    [{ kind: 'starting', molecule_id: 'm-1', since: AT, tries: 0, error: null }, 'Molecule m-1 was asked for on 2026-05-01 15:00 UTC and has not begun yet.'],
    [{ kind: 'hook_queue', molecule_id: 'm-1', ...hook }, 'Molecule m-1 is number 1 in the queue of x since 2026-05-01 15:00 UTC.'],
    [{ kind: 'hook_queue', molecule_id: 'm-1', ...hook, agent_status: 'paused', holder: 'm-0' }, 'Molecule m-1 is number 1 in the queue of x, which is paused, since 2026-05-01 15:00 UTC; m-0 has the hook.'],
    [{ kind: 'dispatch_queue', molecule_id: 'm-1', ...dispatch }, 'Molecule m-1 is number 1 in the queue of rig acme since 2026-05-01 15:00 UTC; 2 of 2 workers are busy.'],
    [{ kind: 'step_ready', molecule_id: 'm-1', step: 's', since: AT }, 'Step s of molecule m-1 is ready since 2026-05-01 15:00 UTC and waits for its agent.'],
    [{ kind: 'molecule', id: 'm-1', status: 'failed', steps_total: 2, steps_closed: 1 }, 'Its molecule m-1 is failed with 1 of 2 steps closed, and nothing of it is under way.'],
    [{ kind: 'claimed', agent: 'x', since: AT, session: { ...session, live: true } }, 'x has it since 2026-05-01 15:00 UTC, without a molecule; its session lives since 2026-05-01 15:00 UTC.'],
    [{ kind: 'claimed', agent: 'x', since: AT, session: { ...session, end_reason: 'exited', exit_code: 1 } }, 'x has it since 2026-05-01 15:00 UTC, without a molecule; it has no live session: the last one ended on 2026-05-01 15:00 UTC (exited, exit code 1).'],
    [{ kind: 'merging', status: 'merged' }, 'Its work is merged; only closing it is left.'],
    [{ kind: 'open_parts', total: 1, ids: ['a-1.1'] }, '1 part of it is open: a-1.1.'],
    [{ kind: 'convoy_stopped', convoy_id: 'c-1' }, 'Its convoy c-1 is stopped, so nothing hands it out.'],
    [{ kind: 'on_hold' }, 'It carries the label hold: only a person may hand it out.'],
    [{ kind: 'denied', at: AT, actor: 'convoy.c', target: 'acme', reasons: ['a', 'b'] }, 'Policy denied convoy.c to give it to acme on 2026-05-01 15:00 UTC: a; b.'],
    [{ kind: 'assigned', agent: 'x' }, 'It is given to x, who has not begun it.'],
    [{ kind: 'untaken', since: AT }, 'Nothing holds it back, and nobody has taken it since 2026-05-01 15:00 UTC.'],
    [{ kind: 'overdue', due_at: AT }, 'It was due 2026-05-01 15:00 UTC.'],
    [failure({ what: 'step_failed', cause: 'x' }), 'Last failure: step s of molecule m-1 was ended as failed by x on 2026-05-01 15:00 UTC.'],
    [failure({ what: 'molecule_refused', note: 'retired' }), 'Last failure: molecule m-1 was refused on 2026-05-01 15:00 UTC: retired.'],
    [{ kind: 'closed', outcome: null, at: null, by: null, reason: null }, 'It ended as done.'],
    [{ kind: 'parent_deferred', parent_id: 'p', until: null }, 'It is a part of p, which is put off until somebody ends that.'],
    [{ kind: 'impossible', other: edge(), outcome: null }, 'It can never start: it is only needed if a-2 "Two" fails, and that ended as done.'],
    [{ kind: 'blocked', by: [], total: 2 }, 'It waits for 2 more.'],
    [{ kind: 'start_failed', molecule_id: 'm-1', at: AT, error: null }, 'The message that starts molecule m-1 failed for good on 2026-05-01 15:00 UTC. Nobody works on it.'],
    [{ kind: 'starting', molecule_id: 'm-1', since: AT, tries: 2, error: null }, 'Molecule m-1 was asked for on 2026-05-01 15:00 UTC and has not begun yet (2 tries, last: unknown).'],
    [{ kind: 'working', molecule_id: 'm-1', step: 's', agent: null, attempt: 1, since: AT, session, steps_total: 2, steps_closed: 1 }, 'Somebody works on step s of molecule m-1 (1 of 2 steps closed), attempt 1, since 2026-05-01 15:00 UTC; it has no live session: the last one ended on 2026-05-01 15:00 UTC (unknown).'],
    [{ kind: 'claimed', agent: null, since: AT, session: null }, 'Somebody has it since 2026-05-01 15:00 UTC, without a molecule; no session was opened yet.'],
    [{ kind: 'merging', status: 'in_progress' }, 'It is in_progress.'],
    [{ kind: 'open_parts', total: 3, ids: ['a-1.1', 'a-1.2'] }, '3 parts of it are open: a-1.1, a-1.2 and 1 more.'],
    [{ kind: 'no_rig', convoy_id: 'c-1' }, 'Neither it nor its convoy c-1 belongs to a rig, so the convoy cannot hand it out.'],
    [{ kind: 'attention', molecule_id: 'm-1', why: ` many\n words ${'x'.repeat(400)}` }, `A person must look at molecule m-1: many words ${'x'.repeat(288)}….`],
    [{ kind: 'paused', molecule_id: 'm-1' }, 'Molecule m-1 is paused, so nothing further of it begins.'],
    [gate(null), 'Step s of molecule m-1 waits at a gate since 2026-05-01 15:00 UTC: its condition is not met.'],
    [failure({}), 'Last failure: step s of molecule m-1 was lost on 2026-05-01 15:00 UTC by an unknown cause.'],
    [failure({ what: 'task_failed', cause: 'person:ada', note: 'no.' }), 'Last failure: it was closed as failed by person:ada on 2026-05-01 15:00 UTC: no.'],
  ])('%j', (cause, sentence) => {
    expect(sentenceOf(cause)).toBe(sentence);
  }); // prettier-ignore

  it.each<[GateSpec, string]>([
    [{ kind: 'human', prompt: 'Go?', timeoutMs }, 'a person must open it ("Go?"); a person is asked on 2026-05-01 16:00 UTC.'],
    [{ kind: 'human', prompt: 'Go?', timeoutMs: null, approvers: ['ada', 'lead'] }, 'one of ada, lead must open it ("Go?").'],
    [{ kind: 'timer', durationMs: 60_000 }, 'it opens on 2026-05-01 15:01 UTC.'],
    [{ kind: 'timer', durationMs: Number.MAX_SAFE_INTEGER }, 'it opens on 9999-12-31 23:59 UTC.'],
    [{ kind: 'task', task_id: 'a-9', timeoutMs: null }, 'task a-9 must be closed.'],
    [{ kind: 'molecule', molecule_id: 'm-9', timeoutMs: null }, 'molecule m-9 must end.'],
    [{ kind: 'ci_run', run: 'build', timeoutMs: null }, 'CI run build must succeed.'],
    [{ kind: 'pull_request', number: '7', timeoutMs: null }, 'pull request 7 must be merged.'],
    [{ kind: 'mail', address: 'mayor', timeoutMs: null }, 'mail for mayor must arrive.'],
    [{ kind: 'condition', when: { op: 'and', of: [] }, timeoutMs }, 'a condition on other steps must hold; a person is asked on 2026-05-01 16:00 UTC.'],
  ])('a gate: %j', (spec, phrase) => {
    expect(sentenceOf(gate(spec))).toBe(`Step s of molecule m-1 waits at a gate since 2026-05-01 15:00 UTC: ${phrase}`);
  }); // prettier-ignore

  it('refuses what it does not know', () => {
    expect(() => sentenceOf({ kind: 'x' } as unknown as Cause)).toThrow(/x/);
    expect(() => sentenceOf(failure({ what: 'x' as Failure['what'] }))).toThrow(/x/);
    expect(() => sentenceOf(gate({ kind: 'x', timeoutMs: null } as unknown as GateSpec))).toThrow(/x/);
    const inherited = { kind: 'inherited', from: { id: 'p', title: 'P' }, causes: [{ kind: 'x' }] } as unknown as Cause;
    expect(() => sentenceOf(inherited)).toThrow(/x/);
  });
});
