import { allHandlersFinished, condition, proxyActivities, workflowInfo } from '@temporalio/workflow';
import type { TownActivities } from '../schema/activities';
import type { AgentAddress, Instant, MoleculeId } from '../schema/ids';
import type { JsonObject } from '../schema/json';
import type { ProjectionBatch, RunEvent, RunRows } from '../schema/runs';
import { PROJECTION } from './activity-options';
import { now } from './clock';

const { project } = proxyActivities<TownActivities>(PROJECTION);

export interface Recorded<Event> {
  readonly seq: number;
  readonly at: Instant;
  readonly event: Event;
}

/** What one kind of run makes of its events. */
export interface RunKind<State, Event> {
  readonly run: string;
  readonly epoch: number;
  /** From the run before this one; null at the first start. */
  readonly carried: State | null;
  apply(before: State | null, recorded: Recorded<Event>): State;
  eventOf(recorded: Recorded<Event>, after: State): RunEvent;
  /** Asked once for each batch. */
  rowsOf(state: State): RunRows;
}

/** A run's state and the events that are not published yet: the one place where the state changes. */
export class RunLog<State extends { readonly seq: number }, Event> {
  /** Rises whenever the run's loop should look again. */
  changes = 0;
  private readonly kind: RunKind<State, Event>;
  private current: State | null;
  private unpublished: RunEvent[] = [];
  private publishing = false;

  constructor(kind: RunKind<State, Event>) {
    this.kind = kind;
    this.current = kind.carried;
  }

  /** Null before the first event. */
  get latest(): State | null {
    return this.current;
  }

  get state(): State {
    if (this.current === null) throw new Error(`${this.kind.run} has no state before its first event`);
    return this.current;
  }

  record(event: Event): void {
    const recorded = { seq: (this.current?.seq ?? 0) + 1, at: now(), event };
    this.current = this.kind.apply(this.current, recorded);
    this.unpublished.push(this.kind.eventOf(recorded, this.current));
    this.changes += 1;
  }

  hasUnpublished(): boolean {
    return this.unpublished.length > 0;
  }

  /** Takes what is unpublished. The caller gives it to an activity that is retried until it succeeds. */
  takeBatch(): ProjectionBatch {
    const { run, epoch } = this.kind;
    const events = this.unpublished;
    this.unpublished = [];
    return { run, epoch, events, rows: this.kind.rowsOf(this.state) };
  }

  /** One publication at a time; it starts in the same workflow task as what follows, so it costs no latency. */
  publish(): void {
    if (this.publishing || !this.hasUnpublished()) return;
    this.publishing = true;
    void project(this.takeBatch()).finally(() => {
      this.publishing = false;
      this.changes += 1;
    });
  }

  isPublished(): boolean {
    return !this.publishing && !this.hasUnpublished();
  }
}

/** An event as it is stored, where it is about one molecule and one agent at most. */
export function storedEvent(
  { seq, at, event }: Recorded<JsonObject & { readonly type: string; readonly molecule_id?: MoleculeId }>,
  agent_id: AgentAddress | null,
): RunEvent {
  const { type, molecule_id = null } = event;
  return { seq, at, type, task_id: null, molecule_id, agent_id, payload: { ...event } };
}

/** Messages of the ledger carry a rising number; one that was applied before, also before continuing as new, is ignored. */
export class Inbox {
  /** Carried to the next run. */
  lastN: number;

  constructor(lastN: number) {
    this.lastN = lastN;
  }

  /** Messages without a number come from other runs, and are never repeats. */
  isRepeat(n: number | undefined): boolean {
    if (this.wasApplied(n)) return true;
    this.lastN = n ?? this.lastN;
    return false;
  }

  /** As `isRepeat`, without taking note of it: for validators, which must change nothing. */
  wasApplied(n: number | undefined): boolean {
    return n !== undefined && n <= this.lastN;
  }
}

/**
 * The life of a run that goes on as long as the thing it owns: publishes, does its turn, waits for a change. It continues as new on
 * the server's hint or after `rolloverMs`, once nothing is under way and its handlers have drained.
 */
export async function live<State extends { readonly seq: number }, Event>(
  log: RunLog<State, Event>,
  life: {
    readonly rolloverMs: number;
    /** Begins what is due; must not wait. */
    turn(): void;
    /** Something of the last turn is still under way. */
    isBusy(): boolean;
    continueAsNew(): Promise<never>;
  },
): Promise<never> {
  const startedAt = now();
  for (;;) {
    const seen = log.changes;
    log.publish();
    life.turn();
    const rollOver = workflowInfo().continueAsNewSuggested || now() - startedAt > life.rolloverMs;
    if (rollOver && log.isPublished() && !life.isBusy()) {
      await condition(allHandlersFinished);
      if (log.changes === seen) await life.continueAsNew();
      continue;
    }
    await condition(() => log.changes !== seen, Math.max(1, startedAt + life.rolloverMs - now() + 1));
  }
}
