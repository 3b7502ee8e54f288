import { applyEvent } from '../../../schema/molecule/apply';
import { reopenProblem } from '../../../schema/molecule/ends';
import type { Molecule, MoleculeEvent } from '../../../schema/molecule/molecule';
import { DEFAULT_TIMINGS } from '../../../schema/timings';
import { chain, closed, granted, hooked, inputOf, lost, play, revoked, START, step } from '../../support/play';

/** Every state that a step can be in: what may happen to it there, and what changes nothing. The step is the last one, `b`. */
const gate = { kind: 'human', prompt: '', timeoutMs: null } as const;
const loop = { group: 'body', until: { op: 'and', of: [] }, max: 1 } as const;
const timings = { ...DEFAULT_TIMINGS, attemptsMax: 1 };
const two = inputOf(chain('a', 'b'));
const free = inputOf([step('a'), step('b')]);
const STATES: Readonly<Record<string, Molecule>> = {
  waiting: play(two),
  gated: play(inputOf([step('a'), step('b', { gate })])),
  ready: play(free),
  'ready, later': play(free, granted(), hooked(1), lost(1), hooked(1, { dispatch: 2 }), lost(1, { dispatch: 2 })),
  stuck: play({ ...free, timings }, granted(), hooked(1), lost(1)),
  hooked: play(free, granted(), hooked(1)),
  running: play(inputOf([step('a'), step('b', { flow: { loop } })], { groups: { body: [step('x')] } })),
  done: play(free, closed(1)),
  skipped: play(free, closed(1, { outcome: 'skipped' })),
  failed: play(free, closed(1, { outcome: 'failed' })),
};

const HAPPENINGS: Readonly<Record<string, MoleculeEvent>> = {
  gate_escalated: { type: 'gate_escalated', step: 1, reason: 'late' },
  gate_doubted: { type: 'gate_doubted', step: 1, trouble: 'no answer' },
  step_lost: lost(1),
  lane_revoked: revoked(),
};

const LEGAL: Readonly<Record<string, readonly string[]>> = {
  gated: ['gate_escalated', 'gate_doubted'],
  ready: ['step_reopened'],
  'ready, later': ['step_reopened'],
  stuck: ['step_reopened'],
  hooked: ['step_lost', 'lane_revoked'],
  failed: ['step_reopened'],
};

const pairs = Object.keys(STATES).flatMap((state) => Object.keys(HAPPENINGS).map((type) => [state, type] as const));

it.each(pairs)('a step that is %s: %s', (state, type) => {
  const before = STATES[state]!;
  const after = applyEvent(before, { seq: before.seq + 1, at: START + 1, event: HAPPENINGS[type]! });
  const changes =
    after.steps[1] !== before.steps[1] && JSON.stringify(after.steps[1]) !== JSON.stringify(before.steps[1]);
  expect(changes).toBe(LEGAL[state]?.includes(type) ?? false);
  expect(after.steps[0]).toEqual(before.steps[0]);
});

it.each(Object.keys(STATES))('a step that is %s may be begun again, or not, and is ready then', (state) => {
  const before = STATES[state]!;
  const may = LEGAL[state]?.includes('step_reopened') ?? false;
  expect(reopenProblem(before, 1) === null).toBe(may);
  if (!may) return;
  const event = { type: 'step_reopened', step: 1, by: 'ada', reason: '' } as const;
  const { state: after, losses } = applyEvent(before, { seq: before.seq + 1, at: START + 9, event }).steps[1]!;
  expect(after).toEqual({ status: 'ready', notBefore: START + 9, stuck: false });
  expect(losses).toBe(0);
});

it.each(Object.keys(STATES).filter((state) => !['done', 'skipped', 'failed'].includes(state)))(
  'a step that is %s may be closed by a person with any outcome',
  (state) => {
    for (const outcome of ['done', 'failed', 'skipped'] as const) {
      const before = STATES[state]!;
      const after = applyEvent(before, { seq: before.seq + 1, at: START, event: closed(1, { outcome, agent: null }) });
      expect(after.steps[1]!.state).toMatchObject({ status: 'closed', outcome, agent: null });
    }
  },
);
