/* The desk of an agent host: where the server's attempts (performStep) meet the sessions' calls (hook, step close).
 *
 * An attempt waits here until its step has a receipt. A close joins the one job of (molecule, step, attempt): checks, receipt.
 * The receipt is the truth: whoever finds one, answers it. So a host, a server or an answer may get lost at any point, and
 * the step is still closed exactly once. */
import { join } from 'node:path';
import { ApplicationFailure } from '@temporalio/common';
import type { CloseAnswer, CloseStep, DeskCaller, HookDesk } from '../../schema/desk';
import { ERROR_CODES, TownError, type ErrorCode } from '../../schema/errors';
import type { AgentAddress, MoleculeId } from '../../schema/ids';
import type { Ledger, Receipt } from '../../schema/ledger';
import { isOver } from '../../schema/molecule/shown';
import type { PerformStep, StepResult } from '../../schema/runs';
import type { Timings } from '../../schema/timings';
import type { StepBrief } from '../../schema/views';
import type { Worktrees } from '../worktree/git-worktree';
import { createBell } from './bell';
import { runChecks } from './checks';
import { resultOf } from './facts';
import { hashToken, plainEnv, type LiveSession, type SessionEnd, type Sessions } from './sessions';
import type { StepState, StepStates } from './step-states';
import type { AttemptTokens } from './tokens';

export interface Desk extends HookDesk {
  /** One attempt at a step; settles with its receipt or fails with a reason that the molecule knows.
   *  @throws ApplicationFailure SESSION_LOST, ENDED_EARLY, SESSION_UNSTARTABLE (counted), STEP_RESOLVED, HOST_DETACHED */
  performStep(request: PerformStep, activity: Attempt): Promise<StepResult>;
  /** Fails the attempts of these agents (null: all) with HOST_DETACHED; their sessions go on. */
  detach(agents: readonly AgentAddress[] | null, why: string): void;
}
/** What the desk needs of the activity that carries an attempt. */
export interface Attempt {
  readonly taskToken: Uint8Array;
  readonly signal: AbortSignal;
  heartbeat(): void;
  /** Whether the run itself asked for the end (and not the worker's shutdown or a server that lost the attempt). */
  cancelRequested(): boolean;
}
export interface DeskOptions {
  readonly ledger: Pick<
    Ledger,
    'getReceipt' | 'writeReceipt' | 'brief' | 'sessionByToken' | 'seen' | 'getAgent' | 'getRig'
  >;
  readonly sessions: Sessions;
  readonly worktrees: Worktrees;
  readonly states: StepStates;
  readonly tokens: AttemptTokens;
  readonly held: () => readonly AgentAddress[];
  /** Tries to get the lease of agents that nobody serves. */
  readonly refreshHeld: () => Promise<void>;
  readonly timings: Timings;
  /** Folder for `<molecule>.<step>.<attempt>.log` of acceptance checks. */
  readonly checkLogs: string;
  readonly log: (line: string) => void;
  /** How long a close waits for an attempt that is not here yet (the host was just started again). */
  readonly attemptWaitMs?: number;
  readonly projectionWaitMs?: number;
  /** An attempt at a step of the molecule ends. */
  readonly onStepOver?: (molecule: MoleculeId) => void;
}

/** An attempt in flight. */
interface Work {
  readonly request: PerformStep;
  readonly activity: Attempt;
  readonly outcome: PromiseWithResolvers<StepResult>;
  over: boolean;
  /** Somebody else has resolved the step; the session is being stopped for that. */
  resolved: boolean;
  session: LiveSession | null;
  brief: StepBrief | null;
  /** The session has been given the brief. */
  delivered: boolean;
  job: Promise<Receipt> | null;
  /** Pending look at the projection. */
  look: NodeJS.Timeout | null;
}

/** How often a wait looks by itself, should a notification get lost. */
const POLL_MS = 1_000;
/** A step usually ends within 20 ms of a change of its molecule: only what lasts longer is worth a query. */
const LOOK_AFTER_MS = 50;
const SEEN_EVERY_MS = 5_000;

export function createDesk(options: DeskOptions): Desk {
  const { ledger, sessions, states, tokens, log, timings } = options;
  const works = new Map<AgentAddress, Work>();
  const lastSeen = new Map<AgentAddress, number>();
  const bell = createBell();

  states.onChange((molecules) => {
    for (const work of works.values()) {
      if (molecules.length === 0 || molecules.includes(work.request.molecule_id)) lookSoon(work);
    }
  });

  // ---- attempts

  function settle(work: Work, result: StepResult | ApplicationFailure): void {
    if (work.over) return;
    work.over = true;
    if (work.look !== null) clearTimeout(work.look);
    if (works.get(work.request.agent) === work) works.delete(work.request.agent);
    options.onStepOver?.(work.request.molecule_id);
    if (result instanceof ApplicationFailure) work.outcome.reject(result);
    else work.outcome.resolve(result);
  }

  function receiptFor({ molecule_id, step, round = 1 }: PerformStep): Promise<Receipt | null> {
    return ledger.getReceipt(molecule_id, step, round);
  }

  function received(work: Work, receipt: Receipt, worktree = work.session?.worktree ?? null): void {
    settle(work, resultOf(receipt, work.request.wants, worktree));
  }

  async function perform(work: Work): Promise<void> {
    const { request } = work;
    const [receipt, brief] = await Promise.all([
      persist(work, () => receiptFor(request)),
      persist(work, () => ledger.brief(request.molecule_id, request.step), ['NOT_FOUND']), // its rows are written while it starts
    ]);
    if (brief === GONE) return;
    if (receipt !== null && receipt !== GONE) return received(work, receipt, brief.worktree);
    for (;;) {
      const found = await sessionFor(work);
      if (found === GONE || work.over) return;
      const { session, fresh } = found;
      work.session = session;
      work.delivered = false;
      work.brief = {
        ...brief,
        attempt: request.attempt,
        dispatch: request.dispatch,
        worktree: session.worktree,
        branch: session.branch,
        resumed: brief.resumed || request.attempt > 1 || (fresh && session.resumed),
      };
      bell.ring();
      if (fresh) work.activity.heartbeat();
      const end = await endOf(session, work);
      if (end === GONE || work.resolved) return;
      await work.job?.catch(() => undefined);
      const written = await persist(work, () => receiptFor(request));
      if (written === GONE) return;
      if (written !== null) return received(work, written);
      // A session that was there before and ended well without having seen the step had simply run out of work.
      if (end.kind === 'replaced' || (end.kind === 'exited' && end.code === 0 && !fresh && !work.delivered)) continue;
      if (end.kind === 'exited' || end.kind === 'lapsed') {
        const released = await persist(work, () => states.isReleased(request.agent));
        if (released === GONE) return;
        if (released) continue; // it was allowed to stop: the work waits on its hook
      }
      return settle(work, lossOf(session, end));
    }
  }

  /** The session for the attempt; where the town may start none, it waits for one to be attached, or for the hook to be resumed. */
  async function sessionFor(work: Work): Promise<{ session: LiveSession; fresh: boolean } | typeof GONE> {
    for (;;) {
      const { agent } = work.request;
      const changed = Promise.withResolvers<void>();
      const offs = [
        sessions.onAttached((who) => who === agent && changed.resolve()),
        states.onChange((ids) => (ids.length === 0 || ids.includes(agent)) && changed.resolve()),
      ];
      void work.outcome.promise.catch(() => undefined).then(() => changed.resolve());
      try {
        const found = await persist(work, () => sessions.ensure(work.request));
        if (found !== null) return found;
        await changed.promise;
      } finally {
        for (const off of offs) off();
      }
      if (work.over) return GONE;
    }
  }

  function endOf(session: LiveSession, work: Work): Promise<SessionEnd | typeof GONE> {
    return new Promise((done) => {
      const off = session.onEnd(done);
      const leave = () => {
        off();
        done(GONE);
      };
      work.outcome.promise.then(leave, leave);
    });
  }

  /** Repeats what fails for reasons that pass (database away, rows not projected yet) while the attempt lasts. */
  async function persist<Result>(
    work: Work,
    ask: () => Promise<Result>,
    also: readonly ErrorCode[] = [],
  ): Promise<Result | typeof GONE> {
    for (let pauseMs = 20; !work.over; pauseMs = Math.min(2 * pauseMs, 2_000)) {
      try {
        return await ask();
      } catch (error) {
        const code = codeOf(error);
        if (code === null || !(passes(code) || also.includes(code))) throw error;
        if (pauseMs > 300) log(`${work.request.agent}: step ${work.request.step} waits: ${String(error)}`);
        await Promise.race([bell.wait(pauseMs), work.outcome.promise.catch(() => undefined)]);
      }
    }
    return GONE;
  }

  /** The run may have been told by a person that the step is done, or that all is cancelled. */
  function lookSoon(work: Work): void {
    if (work.over || work.look !== null) return;
    work.look = setTimeout(() => {
      work.look = null;
      void stopIfResolved(work).catch((error: unknown) => log(`${work.request.agent}: ${String(error)}`));
    }, LOOK_AFTER_MS);
    work.look.unref();
  }

  async function stopIfResolved(work: Work): Promise<boolean> {
    const { molecule_id, step, agent } = work.request;
    const state = await states.read(molecule_id, step);
    if (work.over) return true;
    if (state === null || !(state.step_status === 'closed' || isOver(state.molecule_status))) return false;
    const receipt = await receiptFor(work.request);
    if (receipt !== null) {
      received(work, receipt);
      return true;
    }
    if (work.over) return true;
    // The session goes first: the molecule's next step must not find it.
    work.resolved = true;
    await sessions.stop(agent, `step ${step} of ${molecule_id} was resolved by somebody else`);
    settle(work, failure('STEP_RESOLVED', `step ${step} was resolved by somebody else`));
    return true;
  }

  async function cancelled(work: Work): Promise<void> {
    const until = Date.now() + 1_000;
    do {
      if (await stopIfResolved(work).catch(() => false)) return;
      if (!work.activity.cancelRequested()) break; // shutdown, or the server does not know the attempt: leave the session alone
      await bell.wait(LOOK_AFTER_MS);
    } while (Date.now() < until);
    settle(work, failure('HOST_DETACHED', 'the attempt was withdrawn; the session goes on'));
  }

  // ---- calls of sessions

  /** What the agent works on, once its session may know. */
  function briefFor(caller: DeskCaller): StepBrief | null {
    const work = works.get(caller.agent);
    if (work?.brief == null || work.session?.incarnation !== caller.incarnation) return null;
    return work.brief;
  }

  function deliver(caller: DeskCaller, brief: StepBrief | null): StepBrief | null {
    const work = works.get(caller.agent);
    if (brief !== null && work?.brief === brief) work.delivered = true;
    return brief;
  }

  /** The attempt that a close is about, or the receipt that is there already. */
  async function workFor(caller: DeskCaller, close: CloseStep): Promise<Work | Receipt> {
    refuseStale(caller);
    const ready = match(caller, close);
    if (ready !== null) return (await formerOf(ready, caller, close)) ?? ready;
    const molecule_id = close.molecule_id ?? sessions.live(caller.agent)?.molecule_id ?? null;
    // A step's name may look like its id: the name as it was said goes first.
    for (const step of new Set(close.step === null ? [] : [close.step, stepName(close.step)])) {
      if (molecule_id === null) break;
      const receipt = await ledger.getReceipt(molecule_id, step);
      if (receipt !== null) return receipt;
      refuseForeign(caller, molecule_id, step, await states.read(molecule_id, step));
    }
    const other = works.get(caller.agent);
    if (other?.brief != null && other.session?.incarnation === caller.incarnation)
      throw notOnHook(caller, close, other);
    // The host was just started again, or the step is on its way.
    const work = await bell.until(() => match(caller, close), options.attemptWaitMs ?? 15_000);
    if (work !== null) return work;
    refuseStale(caller);
    throw notOnHook(caller, close, works.get(caller.agent) ?? null);
  }

  /**
   * A step that failed and is tried again stays with its session. When the answer to its close was lost, the session asks again, and
   * that must not fail the next round, which it has not been told of yet.
   */
  async function formerOf({ request, delivered }: Work, caller: DeskCaller, close: CloseStep): Promise<Receipt | null> {
    const { molecule_id, step, round = 1 } = request;
    if (round === 1 || delivered || close.outcome !== 'failed') return null;
    const former = await ledger.getReceipt(molecule_id, step, round - 1);
    return former?.session_id === caller.session_id && former.note === close.note ? former : null;
  }

  function refuseStale(caller: DeskCaller): void {
    const live = sessions.live(caller.agent);
    if (live !== null && live.incarnation > caller.incarnation)
      throw staleSession(caller, 'a later session has taken over');
  }

  function match(caller: DeskCaller, close: CloseStep): Work | null {
    const work = works.get(caller.agent);
    if (work?.brief == null || work.session?.incarnation !== caller.incarnation) return null;
    const { molecule_id, step } = work.request;
    if (close.molecule_id !== null && close.molecule_id !== molecule_id) return null;
    if (close.step !== null && close.step !== step && close.step !== work.brief.step_id) return null;
    return work;
  }

  function job(work: Work, caller: DeskCaller, close: CloseStep): Promise<Receipt> {
    work.job ??= closeOnce(work, caller, close).catch((error: unknown) => {
      work.job = null; // refused: it can be asked for again
      throw error;
    });
    return work.job;
  }

  async function closeOnce(work: Work, caller: DeskCaller, close: CloseStep): Promise<Receipt> {
    const { molecule_id, step, attempt } = work.request;
    const worktree = work.session?.worktree ?? null;
    const commit_id = worktree === null ? close.commit_id : await commitOf(worktree, close.commit_id);
    const checks = work.brief?.checks ?? [];
    if (close.outcome === 'done' && checks.length > 0) {
      if (worktree === null || commit_id === null) {
        throw new TownError(
          'CHECKS_FAILED',
          `step ${step} has acceptance checks, and there is no commit to run them on`,
          {
            hint: 'commit the work in the worktree, then close the step again',
          },
        );
      }
      await runChecks(options.worktrees, {
        checks,
        worktree,
        commit: commit_id,
        logFile: join(options.checkLogs, `${encodeURIComponent(`${molecule_id}.${step}.${attempt}`)}.log`),
        env: plainEnv(),
      });
    }
    const { agent, incarnation, session_id } = caller;
    const { receipt } = await ledger.writeReceipt(
      { actor: agent, session: { agent, incarnation } },
      {
        molecule_id,
        step,
        attempt,
        ...(work.request.round === undefined ? {} : { round: work.request.round }),
        session_id,
        outcome: close.outcome,
        note: close.note,
        commit_id,
        output: close.output,
      },
    );
    received(work, receipt);
    return receipt;
  }

  function commitOf(worktree: string, commit: string | null): Promise<string | null> {
    return commit === null ? options.worktrees.head(worktree) : options.worktrees.resolveCommit(worktree, commit);
  }

  /** After the receipt: until the projection shows the close, and until the next step is there. One wait for both. */
  async function afterClose(
    caller: DeskCaller,
    receipt: Receipt,
    already: boolean,
    nextWaitMs: number,
  ): Promise<{ projected: boolean; next: StepBrief | null }> {
    const { molecule_id, step, round } = receipt;
    const start = Date.now();
    const projectionUntil = start + (options.projectionWaitMs ?? 10_000);
    const nextUntil = start + nextWaitMs;
    const external = sessions.live(caller.agent)?.preset === 'external';
    const nextBrief = (): StepBrief | null => {
      const brief = briefFor(caller);
      const isSame = brief?.molecule_id === molecule_id && brief.step === step && roundOf(caller.agent) === round;
      if (brief === null || isSame) return null;
      return external || brief.molecule_id === molecule_id ? brief : null;
    };
    let projected = false;
    let over = false;
    let stale = already; // right after the receipt there is nothing to be seen yet
    const off = states.onChange((molecules) => {
      if (molecules.length > 0 && !molecules.includes(molecule_id)) return;
      stale = true;
      bell.ring();
    });
    try {
      for (;;) {
        const next = nextBrief();
        if (stale && !(projected && (next !== null || over))) {
          stale = false;
          const state = await states.read(molecule_id, step);
          projected ||= state?.step_status === 'closed' || (state?.round ?? 1) > round;
          over = state !== null && isOver(state.molecule_status);
          continue;
        }
        const now = Date.now();
        const waits = [projected ? 0 : projectionUntil - now, next !== null || over ? 0 : nextUntil - now];
        const left = Math.max(...waits);
        if (left <= 0) return { projected, next: deliver(caller, next) };
        const wait = () => bell.wait(Math.min(left, POLL_MS));
        if (!(await (projected ? resting(caller, wait) : wait()))) stale = true;
      }
    } finally {
      off();
    }
  }

  /** While the session waits for its next step. Of a stale caller nothing is noted: the agent's session is another. */
  async function resting<Answer>(caller: DeskCaller, wait: () => Promise<Answer>): Promise<Answer> {
    const isLive = sessions.live(caller.agent)?.id === caller.session_id;
    const goesOn = isLive ? sessions.rests(caller.agent) : () => undefined;
    try {
      return await wait();
    } finally {
      goesOn();
    }
  }

  function roundOf(agent: AgentAddress): number {
    return works.get(agent)?.request.round ?? 1;
  }

  function called(agent: AgentAddress): void {
    sessions.touch(agent);
    const now = Date.now();
    if (now - (lastSeen.get(agent) ?? 0) < SEEN_EVERY_MS) return;
    lastSeen.set(agent, now);
    void ledger.seen(agent).catch((error: unknown) => log(`${agent}: ${String(error)}`));
  }

  return {
    async performStep(request, activity) {
      const { agent } = request;
      const work: Work = {
        request,
        activity,
        outcome: Promise.withResolvers<StepResult>(),
        over: false,
        resolved: false,
        session: null,
        brief: null,
        delivered: false,
        job: null,
        look: null,
      };
      const former = works.get(agent);
      if (former !== undefined) settle(former, failure('HOST_DETACHED', 'a later attempt has come'));
      works.set(agent, work);
      tokens.save(agent, activity.taskToken, request);
      const beat = setInterval(
        () => {
          if (!work.over) activity.heartbeat();
        },
        Math.max(20, Math.min(1_000, timings.heartbeatTimeoutMs / 5)),
      );
      const onAbort = () => void cancelled(work);
      activity.signal.addEventListener('abort', onAbort, { once: true });
      if (activity.signal.aborted) onAbort();
      perform(work).catch((error: unknown) => settle(work, refusalOf(error)));
      try {
        return await work.outcome.promise;
      } finally {
        clearInterval(beat);
        activity.signal.removeEventListener('abort', onAbort);
      }
    },

    detach(agents, why) {
      for (const work of works.values()) {
        if (agents === null || agents.includes(work.request.agent)) settle(work, failure('HOST_DETACHED', why));
      }
    },

    async authenticate(token) {
      const token_hash = hashToken(token);
      const live = sessions.byToken(token_hash); // no round trip: the ledger compares the incarnation with every write
      if (live !== null) {
        called(live.agent);
        return { agent: live.agent, session_id: live.id, incarnation: live.incarnation, worktree: live.worktree };
      }
      const row = await ledger.sessionByToken(token_hash);
      if (row === null) {
        throw new TownError('UNAUTHORIZED', 'this session token is not known here', { hint: 'see: town session list' });
      }
      if (row.status === 'ended') {
        throw staleSession({ agent: row.agent_id, incarnation: row.incarnation }, row.end_reason);
      }
      called(row.agent_id);
      return {
        agent: row.agent_id,
        session_id: row.id,
        incarnation: row.incarnation,
        worktree: row.worktree,
      };
    },

    async current(caller, wait_ms) {
      const found = briefFor(caller) ?? (await resting(caller, () => bell.until(() => briefFor(caller), wait_ms)));
      return deliver(caller, found);
    },

    async closeStep(caller, close): Promise<CloseAnswer> {
      const found = await workFor(caller, close);
      const already = !('request' in found);
      if (already && found.agent_id !== caller.agent) throw notHolder(caller, found.molecule_id, found.agent_id);
      const receipt = already ? found : await job(found, caller, close);
      const { molecule_id, step, outcome } = receipt;
      const { projected, next } = await afterClose(caller, receipt, already, close.next_wait_ms);
      return { molecule_id, step, outcome, projected, already, next };
    },

    held: () => options.held(),

    placeIn: (rig_id, path) => sessions.placeIn(rig_id, path),

    async attach(agent, worktree, actor) {
      if (!options.held().includes(agent)) await options.refreshHeld();
      if (!options.held().includes(agent)) {
        throw new TownError('UNAVAILABLE', `the hook of ${agent} is served by another host, or not at all`, {
          hint: `see: town agent show ${agent}`,
        });
      }
      return sessions.attach(agent, worktree, actor);
    },
  };
}

const GONE = Symbol('the attempt is over');

function failure(type: ErrorCode, message: string): ApplicationFailure {
  return ApplicationFailure.create({ type, nonRetryable: true, message });
}

function lossOf(session: LiveSession, end: SessionEnd): ApplicationFailure {
  const who = `session ${session.id} of ${session.agent}`;
  if (end.kind === 'unstartable') return failure('SESSION_UNSTARTABLE', `${who} could not be started: ${end.reason}`);
  if (end.kind === 'stopped') return failure('HOST_DETACHED', `${who} was stopped: ${end.reason}`);
  if (end.code === 0) return failure('ENDED_EARLY', `${who} ended without closing the step`);
  return failure('SESSION_LOST', `${who} was lost: ${end.reason}`);
}

/** What the molecule is told when the attempt could not even begin. */
function refusalOf(error: unknown): ApplicationFailure {
  if (error instanceof ApplicationFailure) return error;
  const message = error instanceof Error ? error.message : String(error);
  return failure('SESSION_UNSTARTABLE', message);
}

function codeOf(error: unknown): ErrorCode | null {
  if (error instanceof TownError) return error.code;
  const isFull = error instanceof Error && 'code' in error && (error.code === 'ENOSPC' || error.code === 'EDQUOT');
  return isFull ? 'DISK_FULL' : null;
}

/** Errors that go away without anybody changing the work. */
function passes(code: ErrorCode): boolean {
  return ERROR_CODES[code].http === 503 || code === 'TIMED_OUT' || code === 'DISK_FULL';
}

/** `acme-k3f9a.run-tests` → `run-tests`; a plain name stays. A step's id names the root task: the molecule is the session's. */
function stepName(step: string): string {
  return /^[a-z0-9-]+-[a-z0-9]+(?:\.[0-9]+)*\.([a-z].*)$/.exec(step)?.[1] ?? step;
}

function refuseForeign(caller: DeskCaller, molecule_id: MoleculeId, step: string, state: StepState | null): void {
  if (state === null) return;
  if (state.step_status === 'closed' || isOver(state.molecule_status)) {
    throw new TownError(
      'WRONG_STATE',
      `step ${step} of ${molecule_id} is closed (${state.outcome ?? state.molecule_status})`,
      {
        hint: 'see the step on your hook: town hook',
      },
    );
  }
  if (state.agent_id !== null && state.agent_id !== caller.agent) throw notHolder(caller, molecule_id, state.agent_id);
}

function staleSession(who: { agent: AgentAddress; incarnation: number }, reason: string | null): TownError {
  return new TownError('STALE_SESSION', `this session of ${who.agent} (incarnation ${who.incarnation}) is over`, {
    hint: 'stop working here: a later session of this agent has the hook now, or its work is finished',
    details: { agent: who.agent, incarnation: who.incarnation, reason },
  });
}

function notHolder(caller: DeskCaller, molecule_id: MoleculeId, holder: AgentAddress): TownError {
  return new TownError('NOT_HOLDER', `${molecule_id} is on the hook of ${holder}, not of ${caller.agent}`, {
    hint: 'see the step on your hook: town hook',
    details: { holder },
  });
}

function notOnHook(caller: DeskCaller, close: CloseStep, work: Work | null): TownError {
  const named = [close.step ?? 'a step', close.molecule_id].filter((part) => part !== null).join(' of ');
  const foreign = close.molecule_id !== null && work !== null && work.request.molecule_id !== close.molecule_id;
  const hook = work === null ? 'nothing is' : `step ${work.request.step} of ${work.request.molecule_id} is`;
  return new TownError(
    foreign ? 'NOT_HOLDER' : 'WRONG_STATE',
    `${named} is not on the hook of ${caller.agent}: ${hook}`,
    { hint: 'see the step on your hook: town hook' },
  );
}
