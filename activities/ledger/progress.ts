import { sql } from 'kysely';
import { TownError } from '../../schema/errors';
import type { AgentAddress, TaskId } from '../../schema/ids';
import type { Ledger, Outcome } from '../../schema/ledger';
import { isBeginning, isOutcome, statusAt, type TaskStatus } from '../../schema/task/status';
import type { TaskView } from '../../schema/views';
import { expectActive } from './agents';
import { command, type Store, type Unit } from './command';
import * as input from './input';
import { moveTask } from './move';
import { lockForClosing, lockTask, viewTask, type LockedTask, type TaskRow } from './task-rows';

type ProgressCommands = Pick<Ledger, 'closeTask' | 'reopenTask' | 'deferTask' | 'undeferTask' | 'claimTask'>;

/** Commands that move one task on, with the guards that hold for every way to do so. */
export function progressCommands(store: Store): ProgressCommands {
  return {
    closeTask(ask, id, close) {
      checkClose(close);
      return command(store, ask, 'closeTask', { id, close }, (unit) => closeTask(unit, id, close));
    },
    reopenTask(ask, id, reason) {
      checkReason(reason);
      return command(store, ask, 'reopenTask', { id, reason }, (unit) => reopenTask(unit, id, reason));
    },
    deferTask(ask, id, { until, reason }) {
      const deferral = checkDeferral({ until, ...(reason === undefined ? {} : { reason }) });
      return command(store, ask, 'deferTask', { id, until, reason }, (unit) => deferTask(unit, id, deferral));
    },
    undeferTask: (ask, id) => command(store, ask, 'undeferTask', { id }, (unit) => undeferTask(unit, id)),
    claimTask: (ask, id, claim) =>
      command(store, ask, 'claimTask', { id, claim }, (unit) => claimTask(unit, id, claim)),
  };
}

const REOPENED = { to: 'open', event: 'task_reopened', assigned_agent_id: null } as const;

/** How a task ends; checked by `checkClose`. */
export interface Close {
  readonly outcome: Outcome;
  readonly reason?: string;
  readonly force?: boolean;
}

/** @throws INVALID_INPUT */
export function checkClose(close: Close): void {
  if (!isOutcome(close.outcome))
    throw new TownError('INVALID_INPUT', `${JSON.stringify(close.outcome)} is not an outcome`);
  checkReason(close.reason);
}

export async function closeTask(unit: Unit, id: TaskId, close: Close): Promise<TaskView> {
  return closeLocked(unit, await lockForClosing(unit.trx, id), close);
}

export async function reopenTask(unit: Unit, id: TaskId, reason: string | undefined): Promise<TaskView> {
  const { task, parent } = await lockForClosing(unit.trx, id);
  if (task.status !== 'closed') return viewTask(unit.trx, id);
  return moveTask(unit, task, { ...REOPENED, payload: { reason: reason ?? null } }, parent);
}

interface Deferral {
  /** Null: until somebody ends it. */
  readonly at: Date | null;
  readonly reason: string | null;
}

/** @throws INVALID_INPUT */
export function checkDeferral({ until, reason }: { until: string | null; reason?: string }): Deferral {
  checkReason(reason);
  return { at: until === null ? null : input.timeOrDelay(until, 'time of deferral'), reason: reason ?? null };
}

export async function deferTask(unit: Unit, id: TaskId, { at, reason }: Deferral): Promise<TaskView> {
  const task = await lockTask(unit.trx, id);
  const isSame = task.status === 'deferred' && task.defer_until?.getTime() === at?.getTime();
  if (isSame && task.assigned_agent_id === null) return viewTask(unit.trx, id);
  const move = { to: 'deferred', event: 'task_deferred', assigned_agent_id: null, defer_until: at } as const;
  return moveTask(unit, task, { ...move, payload: { reason } });
}

export async function undeferTask(unit: Unit, id: TaskId): Promise<TaskView> {
  const task = await lockTask(unit.trx, id);
  const isDeferred = task.status === 'deferred' || (task.status === 'open' && task.defer_until !== null);
  if (!isDeferred) return viewTask(unit.trx, id);
  return moveTask(unit, task, { to: 'open', event: 'task_undeferred' });
}

/** A change of status that somebody asked for by its word: what has a command of its own has that command's guards and event. */
export async function changeStatus(
  unit: Unit,
  { task, parent }: LockedTask,
  to: TaskStatus,
  how: { readonly force: boolean; readonly keepAssignee: boolean },
): Promise<void> {
  const assignee = how.keepAssignee ? {} : { assigned_agent_id: null };
  if (to === 'closed') {
    await closeLocked(unit, { task, parent }, { outcome: 'done', force: how.force });
  } else if (to === 'deferred') {
    await moveTask(unit, task, { to, event: 'task_deferred', ...assignee });
  } else if (task.status === 'closed') {
    await moveTask(unit, task, { to, event: 'task_reopened', ...assignee }, parent);
  } else {
    const move = { to, event: 'task_status_changed', force: how.force } as const;
    await moveTask(unit, task, { ...move, ...(to === 'open' ? assignee : {}) });
  }
}

async function closeLocked(unit: Unit, { task, parent }: LockedTask, close: Close): Promise<TaskView> {
  refuseForeignMolecule(unit, task);
  if (task.status === 'closed') {
    if (task.outcome === close.outcome) return viewTask(unit.trx, task.id);
    throw new TownError('WRONG_STATE', `${task.id} is closed as ${task.outcome} already`, {
      hint: `see: town task show ${task.id}`,
    });
  }
  if (close.force !== true) {
    await refuseOpenChildren(unit, task);
    await refuseOpenGates(unit, task);
  }
  const { outcome, reason = null, force = false } = close;
  return moveTask(unit, task, { to: 'closed', event: 'task_closed', outcome, reason, force }, parent);
}

/** A molecule that lost its task (taken over, slung again) may not end it. */
function refuseForeignMolecule(unit: Unit, task: TaskRow): void {
  const { actor } = unit.ask;
  if (!actor.startsWith('molecule.') || actor === `molecule.${task.molecule_id}`) return;
  throw new TownError(
    'WRONG_STATE',
    `${task.id} is the work of ${task.molecule_id ?? 'no molecule'} now, not of ${actor}`,
    {
      details: { molecule_id: task.molecule_id },
    },
  );
}

async function refuseOpenChildren(unit: Unit, task: TaskRow): Promise<void> {
  if (task.open_children === 0) return;
  const { rows } = await sql<{ id: string }>`
    select id from tasks where parent_id = ${task.id} and status <> 'closed' order by id limit 20`.execute(unit.trx);
  const children = rows.map((row) => row.id);
  throw new TownError('WRONG_STATE', `${task.id} has open children: ${children.join(', ')}`, {
    hint: 'close them first',
    details: { children },
  });
}

/** Closing a task ends its molecule: not while that waits at a gate for an answer. Its own molecule closes it when all is done. */
async function refuseOpenGates(unit: Unit, task: TaskRow): Promise<void> {
  if (task.molecule_id === null || unit.ask.actor === `molecule.${task.molecule_id}`) return;
  const { rows } = await sql<{ step: string }>`
    select s.step from molecules m join steps s on s.molecule_id = m.id
    where m.id = ${task.molecule_id} and m.status in ('running', 'paused') and s.status = 'gated'
    order by s.position limit 20`.execute(unit.trx);
  if (rows.length === 0) return;
  const gates = rows.map((row) => row.step);
  throw new TownError('WRONG_STATE', `the molecule of ${task.id} waits at a gate: ${gates.join(', ')}`, {
    hint: `see: town molecule show ${task.molecule_id}`,
    details: { gates, molecule_id: task.molecule_id },
  });
}

async function claimTask(
  unit: Unit,
  id: TaskId,
  { agent, force = false }: { agent: AgentAddress; force?: boolean },
): Promise<TaskView> {
  await expectActive(unit.trx, agent);
  const task = await lockTask(unit.trx, id);
  const holder = task.assigned_agent_id;
  if (task.status === 'in_progress' && holder === agent) return viewTask(unit.trx, id);
  const status = statusAt(task, new Date());
  if (holder !== null && holder !== agent && status !== 'closed') {
    throw new TownError('ALREADY_CLAIMED', `${id} is ${holder}'s`, {
      hint: 'take other work: town ready',
      details: { holder, status },
    });
  }
  if (!isBeginning(task.status, 'in_progress')) {
    throw new TownError('WRONG_STATE', `${id} is ${status}: only an open task can be claimed`, {
      hint: `see: town task show ${id}`,
      details: { status },
    });
  }
  return moveTask(unit, task, { to: 'in_progress', event: 'task_claimed', assigned_agent_id: agent, force });
}

export function checkReason(reason: string | undefined): void {
  if (reason !== undefined) input.text(reason, 'reason', input.LIMITS.noteBytes);
}
