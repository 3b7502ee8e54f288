import fc from 'fast-check';
import { isDeepStrictEqual } from 'node:util';
import type { LeanStep } from '../../../schema/ledger';
import { applyEvent } from '../../../schema/molecule/apply';
import { attentionOf, liveLanes, type Molecule, type MoleculeEvent } from '../../../schema/molecule/molecule';
import { type MoleculeCommand, nextCommands } from '../../../schema/molecule/next';
import { eventOfRow, runEventOf } from '../../../schema/molecule/rows';
import type { JsonObject } from '../../../schema/json';
import type { MoleculeInput } from '../../../schema/runs';
import { DEFAULT_TIMINGS } from '../../../schema/timings';
import { AMBER, chain, inputOf, START, step } from '../../support/play';

type Hook = Extract<MoleculeCommand, { kind: 'hook_step' }>;

/**
 * Performs a molecule as its workflow does: facts that a command establishes are recorded when it begins, what an activity answers
 * when it ends. Checks after every event what must always hold.
 */
class Performance {
  molecule: Molecule;
  now = START;
  readonly underWay = new Map<string, MoleculeCommand>();
  readonly history: { seq: number; at: number; payload: JsonObject }[] = [];
  readonly hooks: Hook[] = [];
  finishes = 0;

  constructor(input: MoleculeInput) {
    this.molecule = this.applied(null, { type: 'molecule_poured', input });
    this.pump();
  }

  /** Performs what is due until nothing new is. */
  pump(): void {
    for (let round = 0; ; round += 1) {
      if (round > 500) throw new Error('nextCommands asks for ever without an answer');
      const { commands } = nextCommands(this.molecule, this.now);
      expect(new Set(commands.map((command) => command.key)).size).toBe(commands.length);
      const fresh = commands.filter((command) => !this.underWay.has(command.key));
      for (const command of fresh) this.begin(command);
      if (fresh.every((command) => command.kind.startsWith('ask_'))) break;
    }
    this.checkNotDead();
  }

  record(event: MoleculeEvent): void {
    this.molecule = this.applied(this.molecule, event);
  }

  answer(command: MoleculeCommand, luck: number): void {
    this.underWay.delete(command.key);
    if (command.kind === 'ask_slot') this.answerSlot(command.lane, command.wait, luck);
    if (command.kind === 'ask_grant') this.answerGrant(command.lane, command.agent, luck);
    if (command.kind === 'hook_step') this.endAttempt(command, luck);
    this.pump();
  }

  status(lane: number): string {
    return this.molecule.lanes.find((one) => one.number === lane)?.status ?? 'released';
  }

  isCurrent({ step: position, dispatch }: Hook): boolean {
    const found = this.molecule.steps[position]!;
    return found.state.status === 'hooked' && found.dispatches === dispatch && this.molecule.status === 'running';
  }

  resolve(position: number, outcome: 'done' | 'failed' | 'skipped'): void {
    if (this.molecule.status !== 'running' || this.molecule.steps[position]!.state.status === 'closed') return;
    this.record({ type: 'step_closed', step: position, outcome, agent: null, note: '', commit_id: null, by: 'ada' });
    this.pump();
  }

  revoke(lane: number): void {
    if (this.status(lane) !== 'granted' || this.molecule.status !== 'running') return;
    this.record({ type: 'lane_revoked', lane, reason: 'requeued' });
    this.pump();
  }

  /** From here on everything goes well: every answer is the best one, gates open, time passes only when nothing else is left. */
  drain(): void {
    for (let round = 0; this.molecule.status === 'running'; round += 1) {
      if (round > 2_000) throw new Error(`does not end: ${JSON.stringify(this.molecule)}`);
      const [next] = this.underWay.values();
      if (next !== undefined) {
        this.answer(next, 0);
        continue;
      }
      const shut = this.molecule.steps.findIndex((one) => one.state.status === 'gated' && one.gate?.kind === 'human');
      const stuck = this.molecule.steps.findIndex((one) => one.state.status === 'ready' && one.state.stuck);
      const { wakeAt } = nextCommands(this.molecule, this.now);
      if (stuck !== -1) this.resolve(stuck, 'done');
      else if (shut !== -1) {
        this.record({ type: 'gate_opened', step: shut, by: 'ada', reason: '' });
        this.pump();
      } else if (wakeAt !== null) {
        this.now = Math.max(this.now, wakeAt);
        this.pump();
      } else throw new Error(`dead: ${JSON.stringify(this.molecule)}`);
    }
  }

  private begin(command: MoleculeCommand): void {
    switch (command.kind) {
      case 'hook_step':
        this.checkHook(command);
        this.hooks.push(command);
        this.underWay.set(command.key, command);
        this.record({ ...fieldsOf(command), type: 'step_hooked' });
        return;
      case 'ask_slot':
        expect(this.molecule.target.kind).toBe('rig');
        this.underWay.set(command.key, command);
        return;
      case 'ask_grant':
        this.underWay.set(command.key, command);
        return;
      case 'release_lane':
        return this.record({ type: 'lane_released', lane: command.lane, reason: command.reason });
      case 'open_lane':
        expect(this.molecule.lanes.map((lane) => lane.number)).not.toContain(command.lane);
        return this.record({ type: 'lane_asked', lane: command.lane });
      case 'open_gate':
        return this.record({ type: 'gate_opened', step: command.step, by: 'timer', reason: '' });
      case 'finish':
        this.finishes += 1;
        return this.record({ type: 'molecule_finished', outcome: command.outcome });
    }
  }

  private answerSlot(lane: number, wait: boolean, luck: number): void {
    const found = this.molecule.lanes.find((one) => one.number === lane);
    if (found === undefined || (found.status !== 'asking' && (found.status !== 'queued' || found.agent !== null)))
      return;
    if (luck < 5) {
      const agent = `acme/polecats/w${lane}`;
      this.record({ type: 'lane_slotted', lane, agent });
    } else this.record(wait ? { type: 'lane_queued', lane } : { type: 'lane_refused', lane, reason: 'no slot' });
  }

  private answerGrant(lane: number, agent: string, luck: number): void {
    const status = this.status(lane);
    if (status !== 'asking' && status !== 'slotted' && status !== 'queued') return;
    if (luck < 6) this.record({ type: 'lane_granted', lane, agent });
    else if (luck < 9) this.record({ type: 'lane_queued', lane });
    else if (lane !== 0) this.record({ type: 'lane_refused', lane, reason: 'agent is retired' });
  }

  private endAttempt(command: Hook, luck: number): void {
    if (!this.isCurrent(command)) return;
    const { step: position, dispatch, agent } = command;
    const lose = (reason: string, counted: boolean): void =>
      this.record({ type: 'step_lost', step: position, dispatch, reason, counted, detail: '' });
    if (luck === 9) lose('HOST_LOST', false);
    else if (luck >= 7) lose('SESSION_LOST', true);
    else {
      const outcome = luck === 6 ? 'failed' : 'done';
      this.record({ type: 'step_closed', step: position, outcome, agent, note: '', commit_id: 'c1', by: agent });
    }
  }

  private applied(before: Molecule | null, event: MoleculeEvent): Molecule {
    const recorded = { seq: (before?.seq ?? 0) + 1, at: this.now, event };
    const after = applyEvent(before, recorded);
    // expect(…).toEqual costs most of the run's time here.
    if (!isDeepStrictEqual(JSON.parse(JSON.stringify(after)), after)) throw new Error('the state is not plain JSON');
    this.history.push(runEventOf(recorded, after));
    const busy = after.steps.flatMap((one) => (one.state.status === 'hooked' ? [one.state.lane] : []));
    expect(new Set(busy).size).toBe(busy.length);
    return after;
  }

  private checkHook({ step: position, dispatch, lane, agent, attempt }: Hook): void {
    const found = this.molecule.steps[position]!;
    expect(found.state.status).toBe('ready');
    expect(dispatch).toBe(found.dispatches + 1);
    expect(attempt).toBe(found.losses + 1);
    expect(this.molecule.lanes.find((one) => one.number === lane)).toMatchObject({ status: 'granted', agent });
    for (const need of found.needs) {
      expect(this.molecule.steps[need]!.state).toMatchObject({ status: 'closed' });
      expect(this.molecule.steps[need]!.state).not.toMatchObject({ outcome: 'failed' });
    }
  }

  /** A running molecule is waiting for an answer, for the clock, or for a person; never for nothing. */
  private checkNotDead(): void {
    if (this.molecule.status !== 'running' || this.underWay.size > 0) return;
    const { commands, wakeAt } = nextCommands(this.molecule, this.now);
    if (commands.length > 0 || wakeAt !== null) return;
    const waitsForPerson =
      attentionOf(this.molecule) !== null ||
      this.molecule.steps.some((one) => one.state.status === 'gated' && one.gate?.kind === 'human');
    expect(waitsForPerson).toBe(true);
  }
}

function fieldsOf({ step: position, lane, agent, attempt, dispatch }: Hook) {
  return { step: position, lane, agent, attempt, dispatch };
}

const gate: fc.Arbitrary<LeanStep['gate']> = fc.oneof(
  { weight: 6, arbitrary: fc.constant(null) },
  { weight: 1, arbitrary: fc.constant({ kind: 'human', prompt: '', timeoutMs: null } as const) },
  { weight: 1, arbitrary: fc.nat(9_000).map((durationMs) => ({ kind: 'timer', durationMs }) as const) },
);

const recipe: fc.Arbitrary<LeanStep[]> = fc
  .array(
    fc.record({
      needs: fc.array(fc.nat(), { maxLength: 3 }),
      parallel: fc.boolean(),
      priority: fc.option(fc.nat(4)),
      gate,
    }),
    { minLength: 1, maxLength: 9 },
  )
  .map((parts) =>
    parts.map(({ needs, ...rest }, index) =>
      step(`s${index}`, {
        ...rest,
        needs: index === 0 ? [] : [...new Set(needs.map((need) => `s${need % index}`))],
      }),
    ),
  );

type Move =
  | { readonly kind: 'answer'; readonly which: number; readonly luck: number }
  | { readonly kind: 'wait'; readonly ms: number }
  | { readonly kind: 'revoke'; readonly lane: number }
  | { readonly kind: 'resolve'; readonly step: number; readonly outcome: 'done' | 'failed' | 'skipped' };

const answer: fc.Arbitrary<Move> = fc.record({ kind: fc.constant('answer'), which: fc.nat(), luck: fc.nat(9) });
const wait: fc.Arbitrary<Move> = fc.record({ kind: fc.constant('wait'), ms: fc.nat(20_000) });
const revoke: fc.Arbitrary<Move> = fc.record({ kind: fc.constant('revoke'), lane: fc.nat(4) });
const resolve: fc.Arbitrary<Move> = fc.record({
  kind: fc.constant('resolve'),
  step: fc.nat(8),
  outcome: fc.constantFrom('done', 'failed', 'skipped'),
});
const moves = fc.array(
  fc.oneof(
    { weight: 12, arbitrary: answer },
    { weight: 3, arbitrary: wait },
    { weight: 2, arbitrary: revoke },
    { weight: 1, arbitrary: resolve },
  ),
  { maxLength: 60 },
);
const kindly = fc.array(
  fc.oneof(
    {
      weight: 8,
      arbitrary: answer.map((move) => (move.kind === 'answer' && move.luck === 6 ? { ...move, luck: 8 } : move)),
    },
    { weight: 3, arbitrary: wait },
    { weight: 2, arbitrary: revoke },
  ),
  { maxLength: 60 },
);
/** To an agent and to a rig, by runs of the first builds and of this one. */
const changes: fc.Arbitrary<Partial<MoleculeInput>> = fc
  .tuple(fc.constantFrom({ kind: 'agent', id: AMBER } as const, { kind: 'rig', id: 'acme' } as const), fc.boolean())
  .map(([target, isOld]) => (isOld ? { target } : { target, performance: 3 }));

/** As far as the script goes. */
function played(input: MoleculeInput, script: readonly Move[]): Performance {
  const performance = new Performance(input);
  for (const move of script) {
    if (performance.molecule.status !== 'running') return performance;
    const open = [...performance.underWay.values()];
    if (move.kind === 'answer' && open.length > 0) performance.answer(open[move.which % open.length]!, move.luck);
    if (move.kind === 'revoke') performance.revoke(move.lane);
    if (move.kind === 'resolve' && move.step < performance.molecule.steps.length)
      performance.resolve(move.step, move.outcome);
    if (move.kind === 'wait') {
      performance.now += move.ms;
      performance.pump();
    }
  }
  return performance;
}

/** A soak that asks more of the other model asks as much more here. */
const RUNS = Math.ceil(Number(process.env['TOWN_MODEL_COMMANDS'] ?? 200_000) / 1_000);

describe('a molecule under any order of answers', () => {
  it('comes to an end, hooks only what is due, one step a lane, each dispatch once', () => {
    fc.assert(
      fc.property(recipe, changes, moves, (steps, to, script) => {
        const performance = played(inputOf(steps, to), script);
        performance.drain();
        expect(performance.finishes).toBe(1);
        performance.pump();
        expect(liveLanes(performance.molecule)).toEqual([]);
        const keys = performance.hooks.map((hook) => `${hook.step}:${hook.dispatch}`);
        expect(new Set(keys).size).toBe(keys.length);
      }),
      { numRuns: RUNS },
    );
  });

  it('ends as done when every step ends well at last', () => {
    fc.assert(
      fc.property(recipe, changes, kindly, (steps, to, script) => {
        const performance = played(inputOf(steps, to), script);
        performance.drain();
        expect(performance.molecule.status).toBe('completed');
        expect(performance.molecule.steps.every((one) => one.state.status === 'closed')).toBe(true);
      }),
      { numRuns: RUNS },
    );
  });

  it('is the same when it is folded again from its stored events', () => {
    fc.assert(
      fc.property(recipe, changes, moves, (steps, to, script) => {
        const performance = played(inputOf(steps, to), script);
        let again: Molecule | null = null;
        for (const row of performance.history) again = applyEvent(again, eventOfRow(JSON.parse(JSON.stringify(row))));
        expect(again).toEqual(performance.molecule);
      }),
      { numRuns: Math.ceil(RUNS / 4) },
    );
  });

  it('keeps a chain in one lane, whatever is lost on the way', () => {
    const losing = fc.array(
      fc.oneof(
        { weight: 5, arbitrary: answer },
        { weight: 1, arbitrary: revoke.map(() => ({ kind: 'revoke', lane: 0 }) as const) },
      ),
      { maxLength: 60 },
    );
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 12 }), changes, losing, (length, to, script) => {
        const timings = { ...DEFAULT_TIMINGS, graceMs: 10 ** 9 };
        const names = Array.from({ length }, (_, index) => `s${index}`);
        const performance = played(inputOf(chain(...names), { ...to, timings }), script);
        performance.drain();
        expect(new Set(performance.hooks.map((hook) => hook.lane)).size).toBeLessThanOrEqual(1);
      }),
      { numRuns: Math.ceil(RUNS / 2) },
    );
  });

  it('never grows with the times it is refused', () => {
    const performance = new Performance(
      inputOf([step('a'), step('b'), step('c')], { target: { kind: 'rig', id: 'acme' } }),
    );
    const first = [...performance.underWay.values()].find((command) => 'lane' in command && command.lane === 0)!;
    performance.answer(first, 0);
    performance.answer(
      [...performance.underWay.values()].find((c) => c.kind === 'ask_grant')!,
      0,
    );
    for (let round = 0; round < 200; round += 1) {
      for (const ask of [...performance.underWay.values()].filter((c) => c.kind === 'ask_slot'))
        performance.answer(ask, 9);
      performance.now += DEFAULT_TIMINGS.askAgainMs;
      performance.pump();
    }
    expect(performance.molecule.lanes.length).toBeLessThan(5);
  });
});
