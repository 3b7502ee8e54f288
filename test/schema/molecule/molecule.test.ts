import { applyEvent } from '../../../schema/molecule/apply';
import { awaitsGrant, awaitsSlot, LANES_MAX } from '../../../schema/molecule/lanes';
import {
  attentionOf,
  hasOpenStep,
  type Lane,
  liveLanes,
  type Molecule,
  positionOf,
  resumePointer,
} from '../../../schema/molecule/molecule';
import { type MoleculeCommand, nextCommands } from '../../../schema/molecule/next';
import { changedSteps, eventOfRow, moleculeRow, runEventOf, stepRow } from '../../../schema/molecule/rows';
import { DEFAULT_TIMINGS } from '../../../schema/timings';
import {
  AMBER,
  asked,
  BASALT,
  chain,
  closed,
  granted,
  hooked,
  inputOf,
  lost,
  opened,
  play,
  queued,
  refused,
  released,
  revoked,
  slotted,
  START,
  step,
} from '../../support/play';

const rig = { target: { kind: 'rig', id: 'acme' } } as const;
const one = inputOf([step('a')]);
const pair = inputOf(chain('a', 'b'));
const { askAgainMs, askAgainMaxMs, graceMs, backoffMs, backoffMaxMs, attemptsMax } = DEFAULT_TIMINGS;

const statuses = (molecule: Molecule): string[] => molecule.steps.map(({ state }) => state.status);
const keys = (commands: readonly MoleculeCommand[]): string[] => commands.map(({ key }) => key);
const kinds = (molecule: Molecule, now = START): string[] =>
  nextCommands(molecule, now).commands.map(({ kind }) => kind);
const laneOf = (molecule: Molecule, number = 0) => molecule.lanes.find((lane) => lane.number === number);
const record = (before: Molecule | null, event: Parameters<typeof play>[1], at = START) =>
  applyEvent(before, { seq: (before?.seq ?? 0) + 1, at, event: event as never });

describe('pouring', () => {
  it('makes steps without needs ready and the others waiting', () => {
    expect(statuses(play(pair))).toEqual(['ready', 'waiting']);
    expect(play(pair)).toMatchObject({ version: 1, status: 'running', reason: '', seq: 1 });
  });

  it('opens lane 0, which knows its agent when the target is one', () => {
    expect(play(one).lanes).toEqual([{ number: 0, status: 'asking', agent: AMBER, since: START }]);
    expect(play(inputOf([step('a')], rig)).lanes[0]!.agent).toBeNull();
  });

  it('shuts gated steps, also those whose needs are not met yet', () => {
    const gate = { kind: 'human', prompt: 'ship?', timeoutMs: null } as const;
    const molecule = play(inputOf([step('a', { gate }), step('b', { needs: ['a'], gate })]));
    expect(molecule.steps[0]!.state).toEqual({ status: 'gated', since: START });
    expect(statuses(molecule)).toEqual(['gated', 'waiting']);
  });

  it('lets the first dependant inherit, and a sequential one its first need', () => {
    const molecule = play(
      inputOf([
        step('a'),
        step('b', { needs: ['a'] }),
        step('c', { needs: ['a'] }),
        step('d', { needs: ['a'], parallel: false }),
        step('e', { needs: ['c', 'b'] }),
      ]),
    );
    expect(molecule.steps.map(({ heirOf }) => heirOf)).toEqual([null, 0, null, 0, 2]);
  });

  it('finishes at once when there is no step', () => {
    expect(nextCommands(play(inputOf([])), START)).toEqual({
      commands: [{ kind: 'finish', key: 'finish', outcome: 'done' }],
      wakeAt: null,
    });
  });

  it.each<[string, () => unknown, string]>([
    ['a need that does not exist', () => play(inputOf([step('a', { needs: ['z'] })])), 'step a needs z'],
    ['another first event', () => record(null, granted()), 'first event of a molecule is lane_granted'],
    ['a step that does not exist', () => play(one, closed(7)), 'has no step 7'],
    ['an unknown event', () => play(one, { type: 'sung' } as never), 'unexpected'],
  ])('a bug is thrown: %s', (_name, act, message) => {
    expect(act).toThrow(message);
  });
});

describe('lane events', () => {
  it.each<[string, Parameters<typeof play>[1][], { status: string; agent: string | null }]>([
    ['queued', [queued()], { status: 'queued', agent: null }],
    ['slotted', [slotted()], { status: 'slotted', agent: AMBER }],
    ['granted', [slotted(), granted()], { status: 'granted', agent: AMBER }],
    ['refused', [refused(0)], { status: 'refused', agent: null }],
    ['revoked', [slotted(), granted(), revoked()], { status: 'queued', agent: AMBER }],
    ['released', [slotted(), granted(), released()], { status: 'released', agent: AMBER }],
  ])('%s', (_name, events, expected) => {
    expect(laneOf(play(inputOf([step('a')], rig), ...events, 5))).toEqual({ number: 0, since: START, ...expected });
  });

  it.each<[Lane['status'], string | null, boolean, boolean]>([
    ['asking', null, true, true],
    ['asking', AMBER, false, true],
    ['queued', null, true, true],
    ['queued', AMBER, false, true],
    ['slotted', AMBER, false, true],
    ['granted', AMBER, false, false],
    ['refused', null, false, false],
    ['refused', AMBER, false, false],
    ['released', null, false, false],
    ['released', AMBER, false, false],
  ])('of a lane that is %s with agent %s: a slot is news: %s, a grant: %s', (status, agent, slot, grant) => {
    const lane: Lane = { number: 0, status, agent, since: START };
    expect([awaitsSlot(lane), awaitsGrant(lane)]).toEqual([slot, grant]);
    const molecule = { ...play(inputOf([step('a')], { ...rig, performance: 3 })), lanes: [lane] };
    const asks = nextCommands(molecule, START + askAgainMs).commands.some(({ kind }) => kind.startsWith('ask_'));
    expect(asks).toBe(grant);
  });

  it('an asked lane starts without agent in a rig, with the agent of an agent', () => {
    expect(laneOf(play(inputOf([step('a')], rig), 5, asked(1)), 1)).toEqual({
      number: 1,
      status: 'asking',
      agent: null,
      since: START + 5,
    });
    expect(laneOf(play(one, released(), asked(1)), 1)!.agent).toBe(AMBER);
  });

  it('an asked lane drops what was refused before, and nothing else', () => {
    const molecule = play(inputOf([step('a')], rig), asked(1), refused(1), asked(2), released(0), asked(3));
    expect(molecule.lanes.map(({ number }) => number)).toEqual([0, 2, 3]);
  });

  it('an event of a lane that is not there changes nothing', () => {
    const before = play(one, granted());
    expect(record(before, granted(9))).toEqual({ ...before, seq: before.seq + 1 });
  });

  it('revoking gives the hooked step of that lane back, uncounted, and no other', () => {
    const molecule = play(
      inputOf([step('a'), step('b')], rig),
      slotted(),
      granted(),
      asked(1),
      slotted(1, BASALT),
      granted(1, BASALT),
      hooked(0),
      hooked(1, { lane: 1, agent: BASALT }),
      revoked(0),
    );
    expect(statuses(molecule)).toEqual(['ready', 'hooked']);
    expect(molecule.steps[0]).toMatchObject({ losses: 0, lostReason: 'requeued', lane: 0 });
  });
});

describe('step events', () => {
  it('hooked: counts the dispatch and names lane and agent', () => {
    const molecule = play(one, granted(), 7, hooked(0, { dispatch: 3 }));
    expect(molecule.steps[0]).toMatchObject({
      dispatches: 3,
      lane: 0,
      state: { status: 'hooked', lane: 0, agent: AMBER, since: START + 7 },
    });
    expect(laneOf(molecule)!.since).toBe(START + 7);
    expect(hasOpenStep(molecule)).toBe(true);
    expect(hasOpenStep(play(one))).toBe(false);
  });

  it('lost, uncounted: ready at once, as the same attempt', () => {
    const molecule = play(one, granted(), hooked(0), lost(0, { counted: false, reason: 'HOST_LOST' }));
    expect(molecule.steps[0]).toMatchObject({ losses: 0, lostReason: 'HOST_LOST', dispatches: 1 });
    expect(molecule.steps[0]!.state).toEqual({ status: 'ready', notBefore: START, stuck: false });
  });

  it('lost, counted: at once the first time, then with doubled back-off up to its maximum, then stuck', () => {
    const timings = { ...DEFAULT_TIMINGS, backoffMaxMs: 3 * backoffMs };
    const waits: number[] = [];
    const beats: Parameters<typeof play>[1][] = [granted()];
    for (let dispatch = 1; dispatch <= attemptsMax; dispatch += 1) {
      beats.push(hooked(0, { dispatch }), lost(0, { dispatch }));
      const { state } = play(inputOf([step('a')], { timings }), ...beats).steps[0]!;
      if (state.status !== 'ready') throw new Error(state.status);
      expect(state.stuck).toBe(dispatch === attemptsMax);
      waits.push(state.notBefore - START);
    }
    expect(waits).toEqual([0, backoffMs, 2 * backoffMs, 3 * backoffMs, 3 * backoffMs]);
    expect(backoffMaxMs).toBeGreaterThan(3 * backoffMs);
    const stuck = play(inputOf([step('a')], { timings }), ...beats);
    expect(attentionOf(stuck)).toBe('step a was lost 5 times, last by SESSION_LOST');
    expect(attentionOf(play(one))).toBeNull();
    expect(nextCommands(stuck, START + 10 ** 9).commands.map(({ kind }) => kind)).toEqual(['release_lane']);
  });

  it.each<[string, Parameters<typeof play>[1][]]>([
    ['of an older dispatch', [granted(), hooked(0, { dispatch: 2 }), lost(0, { dispatch: 1 })]],
    ['of a step that is not hooked', [granted(), lost(0)]],
    ['of a closed step', [granted(), hooked(0), closed(0), lost(0)]],
  ])('a loss %s changes no step', (_name, events) => {
    expect(play(one, ...events).steps).toEqual(play(one, ...events.slice(0, -1)).steps);
  });

  it.each([
    ['done', ['closed', 'ready']],
    ['skipped', ['closed', 'ready']],
    ['failed', ['closed', 'waiting']],
  ] as const)('closed as %s: dependants become %j', (outcome, expected) => {
    expect(statuses(play(pair, granted(), hooked(0), closed(0, { outcome })))).toEqual(expected);
  });

  it('a dependant waits for all its needs', () => {
    const join = inputOf([step('a'), step('b'), step('c', { needs: ['a', 'b'] })]);
    expect(statuses(play(join, closed(0)))).toEqual(['closed', 'ready', 'waiting']);
    expect(statuses(play(join, closed(0), closed(1)))).toEqual(['closed', 'closed', 'ready']);
  });

  it('an operator may close a step that never ran', () => {
    expect(statuses(play(pair, closed(1, { agent: null, outcome: 'skipped' })))).toEqual(['ready', 'closed']);
  });

  it('a gate opens before or after the needs are met', () => {
    const gate = { kind: 'human', prompt: '', timeoutMs: null } as const;
    const gated = inputOf([step('a'), step('b', { needs: ['a'], gate })]);
    expect(statuses(play(gated, opened(1)))).toEqual(['ready', 'waiting']);
    expect(statuses(play(gated, opened(1), closed(0)))).toEqual(['closed', 'ready']);
    expect(statuses(play(gated, closed(0)))).toEqual(['closed', 'gated']);
    expect(statuses(play(gated, closed(0), opened(1)))).toEqual(['closed', 'ready']);
  });

  it('a gated step stays gated, since the same time, when others move', () => {
    const gate = { kind: 'timer', durationMs: 50 } as const;
    const molecule = play(inputOf([step('a', { gate }), step('b')]), 9, closed(1));
    expect(molecule.steps[0]!.state).toEqual({ status: 'gated', since: START });
  });
});

describe('ends', () => {
  it.each([
    [{ type: 'molecule_cancelled', reason: 'not wanted', by: 'ada' }, 'cancelled', 'not wanted'],
    [{ type: 'molecule_refused', reason: 'retired' }, 'refused', 'retired'],
    [{ type: 'molecule_finished', outcome: 'done' }, 'completed', ''],
    [{ type: 'molecule_finished', outcome: 'failed' }, 'failed', ''],
  ] as const)('%j', (event, status, reason) => {
    const ended = play(one, granted(), event);
    expect(ended).toMatchObject({ status, reason });
    expect(nextCommands(ended, START)).toEqual({
      commands: [{ kind: 'release_lane', key: 'release:0', lane: 0, agent: AMBER, reason: status }],
      wakeAt: null,
    });
    expect(nextCommands(record(ended, released()), START)).toEqual({ commands: [], wakeAt: null });
  });

  it('done when all are closed without failure', () => {
    expect(nextCommands(play(one, closed(0, { outcome: 'skipped' })), START).commands).toEqual([
      { kind: 'finish', key: 'finish', outcome: 'done' },
    ]);
  });

  it('failed when what is left waits for a failed step, but not before the others are through', () => {
    const fork = inputOf([step('a'), step('b', { needs: ['a'] }), step('c')]);
    const failing = play(fork, granted(), closed(0, { outcome: 'failed' }));
    expect(kinds(failing)).toEqual(['hook_step']);
    expect(nextCommands(record(failing, closed(2)), START).commands).toEqual([
      { kind: 'finish', key: 'finish', outcome: 'failed' },
    ]);
  });

  it('gives a lane back that never got an answer, naming the agent that may have it queued', () => {
    const cancelled = play(one, granted(), released(), asked(1), {
      type: 'molecule_cancelled',
      reason: '',
      by: 'ada',
    });
    expect(nextCommands(cancelled, START).commands).toMatchObject([{ kind: 'release_lane', lane: 1, agent: AMBER }]);
  });
});

describe('asking', () => {
  it('asks the agent for the grant, again after a while', () => {
    const first = nextCommands(play(one), START);
    expect(first.commands).toEqual([{ kind: 'ask_grant', key: `grant:0:${START}:0`, lane: 0, agent: AMBER }]);
    expect(first.wakeAt).toBe(START + askAgainMs);
    expect(keys(nextCommands(play(one), START + askAgainMs).commands)).toEqual([`grant:0:${START}:1`]);
  });

  it('asks nothing while nothing is due', () => {
    const gate = { kind: 'human', prompt: '', timeoutMs: null } as const;
    expect(nextCommands(play(inputOf([step('a', { gate })])), START)).toEqual({ commands: [], wakeAt: null });
  });

  it('asks the rig for a slot, then the slot’s agent for the grant', () => {
    const input = inputOf([step('a')], rig);
    expect(nextCommands(play(input), START).commands).toEqual([
      { kind: 'ask_slot', key: `slot:0:${START}:0`, lane: 0, wait: true },
    ]);
    expect(nextCommands(play(input, slotted()), START)).toEqual({
      commands: [{ kind: 'ask_grant', key: `grant:0:${START}:0`, lane: 0, agent: AMBER }],
      wakeAt: START + askAgainMs,
    });
  });

  it('a queued lane asks again only after a while: for the slot, or for the grant once it has an agent', () => {
    const input = inputOf([step('a')], rig);
    expect(nextCommands(play(input, queued()), START)).toEqual({ commands: [], wakeAt: START + askAgainMs });
    expect(nextCommands(play(input, queued()), START + askAgainMs)).toEqual({
      commands: [{ kind: 'ask_slot', key: `slot:0:${START}:1`, lane: 0, wait: true }],
      wakeAt: START + 2 * askAgainMs,
    });
    expect(kinds(play(input, slotted(), queued()), START + askAgainMs)).toEqual(['ask_grant']);
  });

  describe('patiently', () => {
    const patient = { performance: 3 } as const;
    const waitOf = (molecule: Molecule, now = START) => {
      const { commands, wakeAt } = nextCommands(molecule, now);
      return commands.length === 0 ? wakeAt! - now : null;
    };

    it.each([
      ['the agent', patient, `grant:0:${START}`],
      ['the rig', { ...patient, ...rig }, `slot:0:${START}`],
    ] as const)('asks %s once, however long the answer takes', (_name, changes, key) => {
      const molecule = play(inputOf([step('a')], changes));
      for (const now of [START, START + askAgainMs, START + 10 * askAgainMaxMs])
        expect(nextCommands(molecule, now)).toMatchObject({ commands: [{ key }], wakeAt: null });
    });

    it.each([
      ['for a slot, without leaving the queue', rig, [], { kind: 'ask_slot', wait: true }],
      ['for the grant', {}, [], { kind: 'ask_grant' }],
      ['for the grant of its slot’s agent', rig, [slotted()], { kind: 'ask_grant' }],
    ] as const)('a queued lane asks again %s, in pauses that grow', (_name, target, before, ask) => {
      const input = inputOf([step('a')], { ...patient, ...target });
      const pauses: number[] = [];
      for (let answers = 1; answers <= 7; answers += 1) {
        const molecule = play(input, ...before, ...Array.from({ length: answers }, () => queued()));
        const pause = waitOf(molecule)!;
        pauses.push(pause / askAgainMs);
        expect(nextCommands(molecule, START + pause)).toMatchObject({ commands: [ask], wakeAt: null });
      }
      expect(pauses).toEqual([1, 2, 4, 8, 16, 20, 20]);
      expect(askAgainMaxMs).toBe(20 * askAgainMs);
    });

    it('begins anew with short pauses once it has had an answer', () => {
      const input = inputOf([step('a')], { ...patient, ...rig });
      const long = [queued(), queued(), queued()];
      expect(waitOf(play(input, ...long))).toBe(4 * askAgainMs);
      expect(waitOf(play(input, ...long, slotted(), queued()))).toBe(askAgainMs);
      expect(waitOf(play(input, ...long, slotted(), granted(), revoked()))).toBe(askAgainMs);
    });

    it('never waits longer than the first pause when that is longer than the longest', () => {
      const timings = { ...DEFAULT_TIMINGS, askAgainMs: 100, askAgainMaxMs: 50 };
      expect(waitOf(play(inputOf([step('a')], { ...patient, timings }), queued(), queued()))).toBe(100);
    });
  });

  it('a later lane of an agent’s molecule asks that agent, never the rig', () => {
    const molecule = play(one, granted(), released(), asked(1), queued(1));
    expect(nextCommands(molecule, START + askAgainMs).commands).toMatchObject([
      { kind: 'ask_grant', lane: 1, agent: AMBER },
    ]);
  });

  it('only the first lane that lives waits in the queue; further ones must be free now, also when asked again', () => {
    const three = play(inputOf([step('a'), step('b'), step('c')], rig), asked(1), asked(2));
    const waits = (molecule: Molecule) =>
      nextCommands(molecule, START + askAgainMs).commands.flatMap((command) =>
        command.kind === 'ask_slot' ? [command.wait] : [],
      );
    expect(waits(three)).toEqual([true, false, false]);
    expect(waits(record(three, refused(0)))).toEqual([true, false]);
  });

  it('asks for a further lane for each parallel step, up to the steps that want one', () => {
    const input = inputOf([step('a'), step('b'), step('c')], rig);
    expect(keys(nextCommands(play(input), START).commands)).toEqual([`slot:0:${START}:0`, 'lane:1']);
    expect(keys(nextCommands(play(input, asked(1), asked(2)), START).commands)).toHaveLength(3);
    const working = play(input, slotted(), granted(), asked(1));
    expect(kinds(working)).toEqual(['ask_slot', 'hook_step', 'open_lane']);
  });

  it('never asks for a second lane of an agent', () => {
    expect(kinds(play(inputOf([step('a'), step('b')]), granted()))).toEqual(['hook_step']);
  });

  it('has at most so many lanes', () => {
    const input = inputOf(
      Array.from({ length: LANES_MAX + 4 }, (_, index) => step(`s${index}`)),
      rig,
    );
    const lanes = Array.from({ length: LANES_MAX - 1 }, (_, index) => asked(index + 1));
    expect(kinds(play(input, ...lanes))).not.toContain('open_lane');
    expect(kinds(play(input, ...lanes.slice(1)))).toContain('open_lane');
  });

  it('after a refusal waits before it asks for another lane, and works on meanwhile', () => {
    const input = inputOf([step('a'), step('b')], rig);
    const molecule = play(input, slotted(), granted(), asked(1), refused(1), hooked(0));
    expect(nextCommands(molecule, START)).toEqual({ commands: [], wakeAt: START + askAgainMs });
    expect(keys(nextCommands(molecule, START + askAgainMs).commands)).toEqual(['lane:2']);
  });

  it('does not ask without pause when every lane is refused', () => {
    const molecule = play(one, granted(), released(), asked(1), refused(1));
    expect(nextCommands(molecule, START)).toEqual({ commands: [], wakeAt: START + askAgainMs });
    expect(keys(nextCommands(molecule, START + askAgainMs).commands)).toEqual(['lane:2']);
  });
});

describe('hooking', () => {
  it('hooks the due step on the granted lane, under the next dispatch number and attempt', () => {
    expect(nextCommands(play(one, granted()), START).commands).toEqual([
      {
        kind: 'hook_step',
        key: 'step:0:1',
        step: 0,
        lane: 0,
        agent: AMBER,
        attempt: 1,
        dispatch: 1,
        baseCommit: null,
      },
    ]);
    const again = play(one, granted(), hooked(0), lost(0, { counted: false }), hooked(0, { dispatch: 2 }));
    const counted = record(again, lost(0, { dispatch: 2 }));
    expect(nextCommands(counted, START).commands).toMatchObject([{ key: 'step:0:3', attempt: 2, dispatch: 3 }]);
  });

  it('gives nothing to a busy lane', () => {
    expect(nextCommands(play(inputOf([step('a'), step('b')]), granted(), hooked(0)), START)).toEqual({
      commands: [],
      wakeAt: null,
    });
  });

  it('takes the more urgent step first, then recipe order; a step without priority has the molecule’s', () => {
    const steps = [step('a', { priority: 3 }), step('b'), step('c', { priority: 0 }), step('d')];
    const order: string[] = [];
    let molecule = play(inputOf(steps), granted());
    for (let round = 0; round < 4; round += 1) {
      const [command] = nextCommands(molecule, START).commands;
      if (command?.kind !== 'hook_step') throw new Error(command?.kind);
      order.push(steps[command.step]!.id);
      molecule = record(record(molecule, hooked(command.step)), closed(command.step));
    }
    expect(order).toEqual(['c', 'b', 'd', 'a']);
  });

  it('starts from the commit of the first need that has one', () => {
    const join = inputOf([step('a'), step('b'), step('c', { needs: ['a', 'b'] })]);
    const molecule = play(join, granted(), closed(0), closed(1, { commit: 'c0ffee' }));
    expect(nextCommands(molecule, START).commands).toMatchObject([{ baseCommit: 'c0ffee' }]);
  });

  it('keeps a step in its lane after a loss, and its heir too, even when another lane is idle', () => {
    const input = inputOf([step('a'), step('b'), step('c', { needs: ['b'] })], rig);
    const two = [slotted(), granted(), asked(1), slotted(1, BASALT), granted(1, BASALT)];
    const both = play(input, ...two, hooked(0), hooked(1, { lane: 1, agent: BASALT }));
    const afterLoss = record(both, lost(1));
    expect(nextCommands(afterLoss, START).commands).toMatchObject([{ step: 1, lane: 1, agent: BASALT }]);
    const heir = record(record(both, closed(0)), closed(1));
    expect(nextCommands(heir, START).commands).toMatchObject([{ step: 2, lane: 1 }]);
  });

  it('waits for its lane while that is queued, and takes any lane once that is gone', () => {
    const two = [slotted(), granted(), asked(1), slotted(1, BASALT), granted(1, BASALT)];
    const input = inputOf([step('a')], rig);
    const revokedLane = play(input, ...two, hooked(0), revoked(0));
    expect(kinds(revokedLane)).toEqual([]);
    expect(nextCommands(record(revokedLane, released(0)), START).commands).toMatchObject([{ step: 0, lane: 1 }]);
    expect(nextCommands(record(revokedLane, refused(0)), START).commands).toMatchObject([{ step: 0, lane: 1 }]);
    const dropped = record(record(revokedLane, refused(0)), asked(2));
    expect(nextCommands(dropped, START).commands).toContainEqual(expect.objectContaining({ step: 0, lane: 1 }));
  });

  it('waits for the back-off', () => {
    const molecule = play(one, granted(), hooked(0), lost(0), hooked(0, { dispatch: 2 }), lost(0, { dispatch: 2 }));
    expect(nextCommands(molecule, START)).toEqual({ commands: [], wakeAt: START + backoffMs });
    expect(kinds(molecule, START + backoffMs)).toEqual(['hook_step']);
  });
});

describe('waiting', () => {
  const timer = { kind: 'timer', durationMs: 60_000 } as const;

  it('opens a timer gate at its time', () => {
    const molecule = play(inputOf([step('a', { gate: timer })]));
    expect(nextCommands(molecule, START)).toEqual({ commands: [], wakeAt: START + 60_000 });
    expect(nextCommands(molecule, START + 60_000).commands).toEqual([
      { kind: 'open_gate', key: 'gate:a', step: 0, by: 'timer', reason: 'the time is over' },
    ]);
  });

  it('gives an idle lane back after the grace period, and asks for a new one when work is due again', () => {
    const input = inputOf([step('a'), step('b', { needs: ['a'], gate: timer })]);
    const idle = play(input, granted(), hooked(0), closed(0));
    expect(nextCommands(idle, START)).toEqual({ commands: [], wakeAt: START + graceMs });
    expect(nextCommands(idle, START + graceMs).commands).toEqual([
      { kind: 'release_lane', key: 'release:0', lane: 0, agent: AMBER, reason: 'nothing due' },
    ]);
    const later = record(record(idle, released()), opened(1));
    expect(keys(nextCommands(later, START).commands)).toEqual(['lane:1']);
    expect(keys(nextCommands(record(later, asked(1)), START).commands)).toEqual([`grant:1:${START}:0`]);
  });

  it('on hold opens gates but asks and hooks nothing', () => {
    const molecule = play(inputOf([step('a'), step('b', { gate: timer })]), granted());
    expect(nextCommands(molecule, START, true)).toEqual({ commands: [], wakeAt: START + 60_000 });
    expect(keys(nextCommands(molecule, START + 60_000, true).commands)).toEqual(['gate:b']);
  });
});

describe('what others read', () => {
  it('finds steps and the place where work goes on', () => {
    expect(positionOf(play(pair), 'b')).toBe(1);
    expect(positionOf(play(pair), 'z')).toBeNull();
    expect(resumePointer(play(pair))!.id).toBe('a');
    expect(resumePointer(play(inputOf([step('a'), step('b')]), granted(), hooked(1)))!.id).toBe('b');
    expect(resumePointer(play(one, closed(0)))).toBeNull();
    expect(liveLanes(play(one, released()))).toEqual([]);
  });

  it('a row of the molecule', () => {
    expect(moleculeRow(play(pair, granted(), hooked(0)))).toMatchObject({
      status: 'running',
      agent_id: AMBER,
      resume_step_id: 'a',
      steps_total: 2,
      steps_closed: 0,
      outcome: null,
      attention: null,
    });
    expect(moleculeRow(play(one, closed(0), { type: 'molecule_finished', outcome: 'done' }))).toMatchObject({
      status: 'completed',
      resume_step_id: null,
      steps_closed: 1,
      outcome: 'completed',
    });
    expect(moleculeRow(play(one, { type: 'molecule_refused', reason: 'retired' })).attention).toBe('retired');
    expect(moleculeRow({ ...play(one), lanes: [] }).agent_id).toBeNull();
  });

  it('rows of steps', () => {
    const beats = [granted(), hooked(0), lost(0), hooked(0, { attempt: 2, dispatch: 2 })];
    expect(stepRow(play(pair), 1)).toMatchObject({ id: 'acme-k3f9a.b', needs: ['a'], status: 'waiting', attempt: 0 });
    expect(stepRow(play(pair, ...beats.slice(0, 3)), 0)).toMatchObject({ status: 'ready', attempt: 1 });
    expect(stepRow(play(pair, ...beats), 0)).toMatchObject({
      status: 'hooked',
      attempt: 2,
      agent_id: AMBER,
      lost_reason: 'SESSION_LOST',
      outcome: null,
      note: null,
      commit_id: null,
    });
    expect(stepRow(play(pair, ...beats, closed(0, { commit: 'c1' })), 0)).toMatchObject({
      status: 'closed',
      outcome: 'done',
      agent_id: AMBER,
      note: '',
      commit_id: 'c1',
    });
    expect(stepRow(play(inputOf([step('a')], { root_task_id: null })), 0).id).toBe('m-1.a');
    expect(() => stepRow(play(one), 4)).toThrow('has no step 4');
  });

  it('names only the steps that an event changed', () => {
    const before = play(pair);
    expect(changedSteps(null, before)).toEqual([0, 1]);
    expect(changedSteps(before, record(before, granted()))).toEqual([]);
    expect(changedSteps(before, record(before, closed(0)))).toEqual([0, 1]);
  });

  it('an event is stored with the step’s name and read back as it was', () => {
    const after = play(pair, granted(), hooked(0));
    const recorded = { seq: 3, at: START, event: hooked(0) as never };
    const row = runEventOf(recorded, after);
    expect(row).toMatchObject({ type: 'step_hooked', agent_id: AMBER, task_id: 'acme-k3f9a', molecule_id: 'm-1' });
    expect(row.payload).toMatchObject({ step: 'a', position: 0 });
    expect(applyEvent(play(pair, granted()), eventOfRow(row))).toEqual(after);
    expect(
      runEventOf({ seq: 1, at: START, event: { type: 'molecule_refused', reason: '' } }, after).agent_id,
    ).toBeNull();
  });
});
