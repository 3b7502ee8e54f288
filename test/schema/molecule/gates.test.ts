import type { GateSpec } from '../../../schema/formula/flow';
import { gateCommands, lookDue } from '../../../schema/molecule/gates';
import { attentionOf } from '../../../schema/molecule/molecule';
import { nextCommands } from '../../../schema/molecule/next';
import { stepRow } from '../../../schema/molecule/rows';
import { standingsOf } from '../../../schema/molecule/standing';
import { DEFAULT_TIMINGS } from '../../../schema/timings';
import { inputOf, Play, START, step } from '../../support/play';

const MINUTE = 60_000;
const gated = (gate: GateSpec): Play => new Play(inputOf([step('a'), step('b', { gate })]));
const task: GateSpec = { kind: 'task', task_id: 'acme-1', timeoutMs: 30 * MINUTE };
const ofGates = (play: Play, ms: number) =>
  nextCommands(play.molecule, START + ms).commands.filter(({ kind }) => /gate/.test(kind));

describe('looking at a gate', () => {
  it('is due at once, then after pauses that double up to the longest', () => {
    const timings = { gatePollMs: 10, gatePollMaxMs: 40 };
    const dues = Array.from({ length: 151 }, (_, at) => lookDue(1_000, 1_000 + at, timings));
    const changes = dues.flatMap(({ look }, at) => (at === 0 || dues[at - 1]!.look !== look ? [at] : []));
    expect(changes).toEqual([0, 10, 30, 70, 110, 150]);
    for (const [at, { nextAt }] of dues.entries())
      expect(nextAt - 1_000).toBe(changes.find((change) => change > at) ?? 190);
  });

  it('has one pause only when the first is the longest', () => {
    const timings = { gatePollMs: 10, gatePollMaxMs: 10 };
    expect([0, 9, 10, 25].map((at) => lookDue(0, at, timings))).toEqual([
      { look: 0, nextAt: 10 },
      { look: 0, nextAt: 10 },
      { look: 1, nextAt: 20 },
      { look: 2, nextAt: 30 },
    ]);
    expect(lookDue(5, 0, timings)).toEqual({ look: 0, nextAt: 15 });
  });

  it.each<GateSpec>([
    task,
    { kind: 'molecule', molecule_id: 'm-2', timeoutMs: null },
    { kind: 'ci_run', run: 'build', timeoutMs: null },
    { kind: 'pull_request', number: '7', timeoutMs: null },
    { kind: 'mail', address: 'ada', timeoutMs: null },
  ])('is asked for, each look under its own key: $kind', (gate) => {
    expect(ofGates(gated(gate), 0)).toEqual([{ kind: 'look_at_gate', key: 'look:b:0', step: 1, gate, since: START }]);
    expect(ofGates(gated(gate), MINUTE)).toMatchObject([{ key: 'look:b:1' }]);
    expect(nextCommands(gated(gate).molecule, START, true)).toEqual({ commands: [], wakeAt: null });
  });
});

describe('a gate', () => {
  it('by time and one by condition need nobody', () => {
    expect(ofGates(gated({ kind: 'timer', durationMs: 5 }), 4)).toEqual([]);
    expect(ofGates(gated({ kind: 'timer', durationMs: 5 }), 5)).toMatchObject([{ kind: 'open_gate', by: 'timer' }]);
    const when = { op: 'compare', left: { of: 'status', step: 'a' }, is: '==', right: 'complete' } as const;
    const play = gated({ kind: 'condition', when, timeoutMs: MINUTE });
    expect(ofGates(play, 0)).toEqual([]);
    expect(nextCommands(play.molecule, START).wakeAt).toBe(START + DEFAULT_TIMINGS.askAgainMs);
    const [open] = ofGates(play.ends('a'), 1);
    expect(open).toMatchObject({ kind: 'open_gate', step: 1, by: 'condition', reason: 'its condition holds' });
  });

  it('that is late is escalated once, and stays closed', () => {
    for (const gate of [task, { kind: 'human', prompt: '', timeoutMs: 30 * MINUTE } as const]) {
      const play = gated(gate);
      expect(ofGates(play, 30 * MINUTE - 1).map(({ kind }) => kind)).not.toContain('escalate_gate');
      const late = ofGates(play, 30 * MINUTE)[0]!;
      expect(late).toMatchObject({ kind: 'escalate_gate', key: 'escalate:b', step: 1 });
      play.record({ type: 'gate_escalated', step: 1, reason: 'waited' });
      expect(ofGates(play, 31 * MINUTE).map(({ kind }) => kind)).not.toContain('escalate_gate');
      expect(attentionOf(play.molecule)).toBe('the gate of step b stays closed: waited');
      expect(play.shown()['b']).toBe('gated');
    }
  });

  it('wakes the molecule when it will be late', () => {
    const play = new Play(inputOf([step('b', { gate: { kind: 'human', prompt: '', timeoutMs: 7 } })]));
    expect(nextCommands(play.molecule, START)).toEqual({ commands: [], wakeAt: START + 7 });
    expect(nextCommands(play.molecule, START + 7).commands).toEqual([
      { kind: 'escalate_gate', key: 'escalate:b', step: 0, reason: 'waited 7 ms for a person' },
    ]);
  });

  it('that nobody can look at raises attention until somebody can', () => {
    const play = gated(task).record({ type: 'gate_doubted', step: 1, trouble: 'no token' });
    expect(attentionOf(play.molecule)).toBe('nobody can tell whether the gate of step b opens: no token');
    expect(stepRow(play.molecule, 1).gate).toEqual({ spec: task, since: START, escalated: null, trouble: 'no token' });
    play.record({ type: 'gate_doubted', step: 1, trouble: null });
    expect(attentionOf(play.molecule)).toBeNull();
    play.record({ type: 'gate_escalated', step: 1, reason: 'late' });
    expect(stepRow(play.molecule, 1).gate).toMatchObject({ escalated: 'late', trouble: null });
  });

  it('that is open has nothing to be said about', () => {
    const play = gated(task).record({ type: 'gate_opened', step: 1, by: 'ada', reason: '' });
    const before = play.molecule.steps[1];
    play
      .record({ type: 'gate_doubted', step: 1, trouble: 'x' })
      .record({ type: 'gate_escalated', step: 1, reason: 'x' });
    expect(play.molecule.steps[1]).toEqual(before);
    expect(stepRow(play.molecule, 1).gate).toBeNull();
    const idle = gateCommands(play.molecule, standingsOf(play.molecule), 1, START, false);
    expect(idle).toEqual({ commands: [], wakeAt: null });
  });
});
