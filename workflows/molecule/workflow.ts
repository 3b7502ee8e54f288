import {
  ActivityCancellationType,
  ActivityFailure,
  allHandlersFinished,
  ApplicationFailure,
  CancellationScope,
  condition,
  continueAsNew,
  isCancellation,
  proxyActivities,
  setHandler,
  TimeoutFailure,
  workflowInfo,
} from '@temporalio/workflow';
import type { HookActivities, TownActivities } from '../../schema/activities';
import { hookQueue, runId } from '../../schema/ids';
import { endStep, reopenProblem } from '../../schema/molecule/ends';
import { describeGate } from '../../schema/formula/flow-text';
import { bondProblem } from '../../schema/molecule/groups';
import { awaitsGrant, awaitsSlot } from '../../schema/molecule/lanes';
import {
  hasOpenStep,
  type Lane,
  liveLanes,
  type Molecule,
  performs,
  positionOf,
  restored,
} from '../../schema/molecule/molecule';
import { eventOf, type MoleculeCommand, nextCommands } from '../../schema/molecule/next';
import { unreachable } from '../../schema/errors';
import type { GateSpec } from '../../schema/formula/flow';
import type { Facts, GateState, MoleculeInput } from '../../schema/runs';
import { PROJECTION, TOWN } from '../activity-options';
import { now } from '../clock';
import { Inbox } from '../run-log';
import { MoleculeLog } from './log';
import { bond, cancel, granted, openGate, pause, resolveStep, resume, retryStep, revoked } from './messages';

/** What one run hands to the next when it continues as new. */
export interface Carried {
  readonly molecule: Molecule;
  readonly last_n: number;
}

const { project } = proxyActivities<TownActivities>(PROJECTION);
const town = proxyActivities<TownActivities>(TOWN);

/** Events after which no further step is scheduled until the run has continued as new. */
const HISTORY_MAX = 20_000;
/** Losses that are no fault of the session or its work. All others count towards the cap, so that nothing fails for ever without a pause. */
const UNCOUNTED = new Set(['HOST_LOST', 'HOST_RESTARTED', 'HOST_DETACHED', 'STEP_RESOLVED', 'CANCELLED']);

/**
 * Runs one poured formula to its end: records what happens, performs what `nextCommands` says is due, publishes its events.
 * Steps are activities on hook queues, one attempt at a time. Ends when every lane is given back and every event is published.
 */
export async function molecule(
  input: MoleculeInput,
  carried: Carried | null = null,
): Promise<{ readonly status: string; readonly seq: number }> {
  const state =
    carried === null ? null : restored({ ...carried.molecule, steps: gatesOf(input, carried.molecule.steps) });
  const log = new MoleculeLog(runId.molecule(input.id), input.epoch, state);
  const performing = new Set<string>();
  const attempts = new Map<number, CancellationScope>();
  const inbox = new Inbox(carried?.last_n ?? input.n);
  /** The last look at each gate, so that none is made twice. */
  const looked = new Map<number, string>();
  let publishing = false;
  let changes = 0;
  let holder: string | null = null;

  const record: MoleculeLog['record'] = (event) => {
    log.record(event);
    changes += 1;
    for (const [position, scope] of attempts)
      if (log.molecule.steps[position]?.state.status === 'closed') scope.cancel();
  };

  if (carried === null) record({ type: 'molecule_poured', input: { ...input, steps: gatesOf(input, input.steps) } });

  setHandler(granted, ({ from, lane: number, agent }) => {
    const lane = laneOf(number);
    if (lane === undefined || log.molecule.status !== 'running') return;
    if (from === 'dispatcher' && awaitsSlot(lane)) record({ type: 'lane_slotted', lane: number, agent });
    if (from === 'agent' && awaitsGrant(lane)) record({ type: 'lane_granted', lane: number, agent });
  });
  setHandler(revoked, (message) => {
    const lane = laneOf(message.lane);
    if (lane === undefined || lane.status !== 'granted' || lane.agent !== message.agent) return;
    const steps = log.molecule.steps.flatMap((step, position) =>
      step.state.status === 'hooked' && step.state.lane === lane.number ? [position] : [],
    );
    record({ type: 'lane_revoked', lane: lane.number, reason: message.reason });
    for (const position of steps) attempts.get(position)?.cancel();
  });
  setHandler(
    resolveStep,
    (message) => {
      if (inbox.isRepeat(message.n)) return { status: 'applied before' };
      const position = positionOf(log.molecule, message.step);
      const step = position === null ? undefined : log.molecule.steps[position];
      if (position === null || step === undefined || step.state.status === 'closed') return { status: 'closed before' };
      const { outcome, reason, actor, output } = message;
      const end = { outcome, agent: null, note: reason, commit_id: null, by: actor };
      record(endStep(log.molecule, position, output === undefined ? end : { ...end, output }));
      return { status: 'closed' };
    },
    {
      validator: (message) => {
        if (inbox.wasApplied(message.n)) return;
        expectStep(message.step);
        expectRunning();
      },
    },
  );
  setHandler(
    retryStep,
    (message) => {
      const position = positionOf(log.molecule, message.step);
      if (inbox.isRepeat(message.n) || position === null) return { status: 'applied before' };
      record({ type: 'step_reopened', step: position, by: message.actor, reason: message.reason });
      return { status: 'ready' };
    },
    {
      validator: (message) => {
        if (inbox.wasApplied(message.n)) return;
        const problem = reopenProblem(log.molecule, expectStep(message.step));
        if (problem !== null) refuse('WRONG_STATE', problem);
      },
    },
  );
  setHandler(
    openGate,
    (message) => {
      if (inbox.isRepeat(message.n)) return { status: 'applied before' };
      const position = positionOf(log.molecule, message.step);
      if (position === null || log.molecule.steps[position]?.gateOpen !== false) return { status: 'open before' };
      record({ type: 'gate_opened', step: position, by: message.actor, reason: message.reason });
      return { status: 'opened' };
    },
    {
      validator: (message) => {
        if (!inbox.wasApplied(message.n)) expectStep(message.step);
      },
    },
  );
  setHandler(
    pause,
    (message) => {
      if (!inbox.isRepeat(message.n) && log.molecule.paused !== true)
        record({ type: 'molecule_paused', reason: message.reason, by: message.actor });
      return { status: 'paused' };
    },
    { validator: (message) => (inbox.wasApplied(message.n) ? undefined : expectRunning()) },
  );
  setHandler(
    resume,
    (message) => {
      if (!inbox.isRepeat(message.n) && log.molecule.paused === true)
        record({ type: 'molecule_resumed', by: message.actor });
      return { status: log.molecule.status };
    },
    { validator: (message) => (inbox.wasApplied(message.n) ? undefined : expectRunning()) },
  );
  setHandler(
    bond,
    ({ actor, n, ...recipe }) => {
      if (!inbox.isRepeat(n)) record({ type: 'molecule_bonded', by: actor, ...recipe });
      return { status: log.molecule.status };
    },
    {
      validator: (message) => {
        if (inbox.wasApplied(message.n)) return;
        expectRunning();
        const problem = bondProblem(log.molecule, message);
        if (problem !== null) refuse('CONFLICT', `${message.formula} cannot be bonded to ${input.id}: ${problem}`);
      },
    },
  );
  setHandler(cancel, (message) => {
    if (!inbox.isRepeat(message.n) && log.molecule.status === 'running') {
      record({ type: 'molecule_cancelled', reason: message.reason, by: message.actor });
      for (const scope of attempts.values()) scope.cancel();
      perform('finish', () => finish('cancelled', message.reason));
    }
    return { status: log.molecule.status };
  });

  for (;;) {
    // A worker that has not seen the run before may be given an update together with what came before it, and the next one apart: only
    // when the answer always goes first do both make the same commands in the same order.
    if (performs(input, 2)) await condition(allHandlersFinished);
    const seen = changes;
    const info = workflowInfo();
    const rollOver = isLong() && (!hasOpenStep(log.molecule) || info.historyLength > HISTORY_MAX);
    const { commands, wakeAt } = nextCommands(log.molecule, now(), rollOver);
    for (const command of commands) perform(command.key, () => run(command), command);
    tellHolder();
    publish();
    const isIdle = performing.size === 0 && !publishing && !log.hasUnpublished();
    if (log.molecule.status !== 'running' && isIdle && changes === seen) break;
    if (rollOver && isIdle && !hasOpenStep(log.molecule) && changes === seen) {
      await condition(allHandlersFinished);
      if (changes === seen)
        await continueAsNew<typeof molecule>(input, { molecule: log.molecule, last_n: inbox.lastN });
      continue;
    }
    if (changes !== seen) continue;
    const changed = () => changes !== seen;
    if (wakeAt === null) await condition(changed);
    else await condition(changed, Math.max(1, wakeAt - now()));
  }
  await condition(allHandlersFinished);
  return { status: log.molecule.status, seq: log.molecule.seq };

  function expectStep(step: string): number {
    return positionOf(log.molecule, step) ?? refuse('NOT_FOUND', `molecule ${input.id} has no step ${step}`);
  }

  function expectRunning(): void {
    if (log.molecule.status !== 'running') refuse('WRONG_STATE', `molecule ${input.id} is ${log.molecule.status}`);
  }

  /** The history is long, by the server's count or by time: the run is to continue as new. */
  function isLong(): boolean {
    if (workflowInfo().continueAsNewSuggested) return true;
    // From the run's first event. `runStartTime` is the time of the first task, which may be another when the history is read again.
    const age = now() - workflowInfo().startTime.getTime();
    // One that has done nothing yet goes on, however late it is begun.
    return performs(input, 2) && changes > 0 && age > log.molecule.timings.rolloverMs;
  }

  /** Begins a command unless it is under way. Facts that the command itself establishes are recorded before anything is awaited. */
  function perform(key: string, body: () => Promise<void>, command?: MoleculeCommand): void {
    if (performing.has(key)) return;
    if (command?.kind === 'look_at_gate') {
      if (looked.get(command.step) === key) return;
      looked.set(command.step, key);
    }
    performing.add(key);
    const event = command === undefined ? null : eventOf(command);
    if (event !== null) record(event);
    void body().finally(() => {
      performing.delete(key);
      changes += 1;
    });
  }

  async function run(command: MoleculeCommand): Promise<void> {
    switch (command.kind) {
      case 'hook_step':
        return performStep(command);
      case 'ask_grant':
        return askGrant(command.lane, command.agent);
      case 'ask_slot':
        return askSlot(command.lane, command.wait);
      case 'release_lane':
        return release(command.lane, command.agent, command.reason);
      case 'finish':
        return finish(command.outcome, '');
      case 'look_at_gate':
        return lookAt(command);
      case 'look_for_facts':
        return lookFor(command);
      case 'escalate_gate':
        return escalate(command.step, command.reason);
      case 'open_lane':
      case 'open_gate':
      case 'decide':
        return;
      default:
        return unreachable(command, 'run');
    }
  }

  /** The ledger names the first lane's agent as the task's holder. */
  function tellHolder(): void {
    const first = liveLanes(log.molecule).find((lane) => lane.status === 'granted');
    const { root_task_id } = input;
    if (root_task_id === null || first === undefined || first.agent === null || first.agent === holder) return;
    const agent = first.agent;
    holder = agent;
    perform(`holder:${agent}`, () => town.recordHolder({ task_id: root_task_id, agent, molecule_id: input.id }));
  }

  async function performStep(command: Extract<MoleculeCommand, { kind: 'hook_step' }>): Promise<void> {
    const { step: position, agent, attempt, dispatch } = command;
    const step = log.molecule.steps[position];
    if (step === undefined) return;
    const { timings } = input;
    const onHook = proxyActivities<HookActivities>({
      taskQueue: hookQueue(agent, input.namespace),
      // The same id twice in one workflow task wedges the run, hence the dispatch number.
      activityId: `step:${step.id}:${dispatch}`,
      startToCloseTimeout: timings.stepTimeoutMs,
      heartbeatTimeout: timings.heartbeatTimeoutMs,
      // This run counts attempts, not the server.
      retry: { maximumAttempts: 1 },
      cancellationType: ActivityCancellationType.TRY_CANCEL,
      priority: { priorityKey: 1 + Math.min(4, Math.max(0, step.priority ?? input.priority)) },
      summary: `${step.id}, attempt ${attempt}`.slice(0, 200),
    });
    const scope = new CancellationScope();
    attempts.set(position, scope);
    try {
      const result = await scope.run(() =>
        onHook.performStep({
          molecule_id: input.id,
          root_task_id: input.root_task_id,
          rig_id: input.rig_id,
          agent,
          step: step.id,
          attempt,
          dispatch,
          base_commit: command.baseCommit,
          decision_id: input.decision_id,
          ...(command.round === undefined ? {} : { round: command.round }),
          ...(command.wants === undefined ? {} : { wants: command.wants }),
        }),
      );
      attempts.delete(position);
      if (isCurrent(position, dispatch)) {
        const { incarnation: _, ...end } = result;
        record(endStep(log.molecule, position, { ...end, by: result.agent }));
      }
    } catch (error) {
      if (!isCurrent(position, dispatch)) return;
      const { reason, detail } = lossOf(error);
      record({
        type: 'step_lost',
        step: position,
        dispatch,
        reason,
        counted: !UNCOUNTED.has(reason),
        detail: detail.slice(0, 500),
      });
    } finally {
      if (attempts.get(position) === scope) attempts.delete(position);
    }
  }

  function isCurrent(position: number, dispatch: number): boolean {
    const step = log.molecule.steps[position];
    return step?.state.status === 'hooked' && step.dispatches === dispatch && log.molecule.status === 'running';
  }

  async function askGrant(lane: number, agent: string): Promise<void> {
    try {
      const answer = await town.askGrant({
        agent,
        molecule_id: input.id,
        lane,
        priority: input.priority,
        decision_id: input.decision_id,
      });
      const asked = laneOf(lane);
      if (asked === undefined || !awaitsGrant(asked)) return;
      record(answer.granted ? { type: 'lane_granted', lane, agent } : { type: 'lane_queued', lane });
    } catch (error) {
      refused(lane, error);
    }
  }

  async function askSlot(lane: number, wait: boolean): Promise<void> {
    try {
      const answer = await town.askSlot({
        rig_id: input.rig_id,
        molecule_id: input.id,
        lane,
        priority: input.priority,
        decision_id: input.decision_id,
        wait,
      });
      const asked = laneOf(lane);
      if (asked === undefined || !awaitsSlot(asked)) return;
      if (answer.kind === 'granted') record({ type: 'lane_slotted', lane, agent: answer.agent });
      else if (answer.kind === 'refused') record({ type: 'lane_refused', lane, reason: 'no free slot in the rig' });
      else record({ type: 'lane_queued', lane });
    } catch (error) {
      refused(lane, error);
    }
  }

  /** A refusal for good: without a first lane there is no holder, so the task goes back to the ledger as open. */
  function refused(lane: number, error: unknown): void {
    if (isCancellation(error)) throw error;
    const reason = lossOf(error).detail;
    if (log.molecule.status !== 'running') return;
    record({ type: 'lane_refused', lane, reason });
    // The others go on with the work; this one's slot, if it has one, is free again.
    if (liveLanes(log.molecule).length > 0)
      return perform(`release:${lane}`, () => release(lane, laneOf(lane)?.agent ?? null, reason));
    record({ type: 'molecule_refused', reason });
    perform('finish', () => finish('refused', reason));
  }

  async function release(lane: number, agent: string | null, reason: string): Promise<void> {
    if (agent !== null) await town.releaseGrant({ agent, molecule_id: input.id, lane, reason });
    if (input.target.kind === 'rig') await town.freeSlot({ rig_id: input.rig_id, molecule_id: input.id, lane });
  }

  /** What stands behind the messages that open a gate. It looks only when the waiting is published: who opens by message finds it there. */
  async function lookAt({ step: position, gate, since }: Extract<MoleculeCommand, { kind: 'look_at_gate' }>) {
    await condition(() => !publishing && !log.hasUnpublished());
    const { id: step } = log.molecule.steps[position] ?? { id: '' };
    const { id: molecule_id, rig_id } = input;
    let found: GateState;
    try {
      found = await town.lookAtGate({ molecule_id, rig_id, step, gate, since });
    } catch (error) {
      if (isCancellation(error)) throw error;
      found = { kind: 'unknown', reason: lossOf(error).detail };
    }
    const state = log.molecule.steps[position]?.state;
    if (state?.status !== 'gated' || log.molecule.status !== 'running') return;
    const trouble = found.kind === 'unknown' ? found.reason : undefined;
    if (found.kind === 'open')
      return record({ type: 'gate_opened', step: position, by: gate.kind, reason: found.reason });
    if (state.trouble !== trouble) record({ type: 'gate_doubted', step: position, trouble: trouble ?? null });
    if (found.kind !== 'refused' || state.escalated !== undefined) return;
    record({ type: 'gate_escalated', step: position, reason: found.reason });
    await escalate(position, found.reason);
  }

  /** What cannot be found out is unknown: in a condition null. */
  async function lookFor({ step, base_commit, files, env }: Extract<MoleculeCommand, { kind: 'look_for_facts' }>) {
    let facts: Facts;
    try {
      facts = await town.lookForFacts({ rig_id: input.rig_id, base_commit, files, env });
    } catch (error) {
      if (isCancellation(error)) throw error;
      facts = { files: {}, env: {} };
    }
    if (log.molecule.status === 'running') record({ type: 'facts_found', step, facts });
  }

  async function escalate(position: number, reason: string): Promise<void> {
    const step = log.molecule.steps[position];
    if (step === undefined || step.gate === null) return;
    await town.escalateGate({
      molecule_id: input.id,
      root_task_id: input.root_task_id,
      step: step.id,
      title: step.title,
      waits_for: describeGate(step.gate),
      reason,
    });
  }

  async function finish(outcome: 'done' | 'failed' | 'cancelled' | 'refused', reason: string): Promise<void> {
    await town.finishMolecule({
      molecule_id: input.id,
      root_task_id: input.root_task_id,
      outcome,
      reason,
      decision_id: input.decision_id,
    });
  }

  /** One publication at a time; it starts in the same workflow task as the next step, so it costs no latency. */
  function publish(): void {
    if (publishing || !log.hasUnpublished()) return;
    publishing = true;
    void project(log.takeBatch()).finally(() => {
      publishing = false;
      if (log.hasUnpublished() || log.molecule.status !== 'running' || isLong()) changes += 1;
    });
  }

  function laneOf(lane: number): Lane | undefined {
    return log.molecule.lanes.find((candidate) => candidate.number === lane);
  }
}

/** A run that an older build has begun knows no time-outs of human gates. */
function gatesOf<Step extends { readonly gate: GateSpec | null }>(
  input: MoleculeInput,
  steps: readonly Step[],
): readonly Step[] {
  if (performs(input, 2)) return steps;
  return steps.map((step) =>
    step.gate?.kind === 'human' && step.gate.timeoutMs !== null
      ? { ...step, gate: { ...step.gate, timeoutMs: null } }
      : step,
  );
}

function refuse(code: string, message: string): never {
  throw ApplicationFailure.create({ type: code, message, nonRetryable: true });
}

/** Why an activity ended without a result, as a code and a sentence. */
function lossOf(error: unknown): { reason: string; detail: string } {
  if (isCancellation(error)) return { reason: 'CANCELLED', detail: 'cancelled' };
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof TimeoutFailure) return { reason: 'HOST_LOST', detail: `no sign of life: ${cause.timeoutType}` };
  if (cause instanceof ApplicationFailure) return { reason: cause.type ?? 'ERROR', detail: cause.message };
  return { reason: 'ERROR', detail: cause instanceof Error ? cause.message : String(cause) };
}
