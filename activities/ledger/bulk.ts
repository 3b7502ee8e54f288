import { sql } from 'kysely';
import { TownError, unreachable } from '../../schema/errors';
import type { TaskId } from '../../schema/ids';
import type { Ledger, TaskOperation } from '../../schema/ledger';
import { command, takeLock, type Store, type Unit } from './command';
import { withPlace } from './failures';
import { addEdge, checkEdge, removeEdge } from './edges';
import * as input from './input';
import { checkTask, insertTask } from './new-task';
import { checkClose, checkDeferral, checkReason, closeTask, deferTask, reopenTask, undeferTask } from './progress';
import { insertComment, insertNote } from './remarks';
import { lockReach, lockTask, selectTasks, taskView } from './task-rows';
import { checkPatch, updateTask } from './tasks';

/** What one operation does in the transaction, after its input was checked; answers the task it was about. */
type Prepared = (unit: Unit, nth: number) => Promise<TaskId>;

export function bulkCommands(store: Store): Pick<Ledger, 'changeTasks'> {
  return {
    changeTasks(ask, operations) {
      if (operations.length > input.LIMITS.page) {
        throw new TownError('INPUT_TOO_LARGE', `${operations.length} changes at once; at most ${input.LIMITS.page}`, {
          hint: 'send them in several calls',
        });
      }
      const prepared = operations.map((operation, nth) => {
        try {
          return prepare(operation);
        } catch (error) {
          throw placed(error, operation, nth);
        }
      });
      return command(store, ask, 'changeTasks', operations, async (unit) => {
        await lockNamed(unit, operations);
        const targets: TaskId[] = [];
        for (const [nth, operation] of operations.entries()) {
          try {
            targets.push((await prepared[nth]?.(unit, nth)) ?? '');
          } catch (error) {
            throw placed(error, operation, nth);
          }
        }
        const rows = await selectTasks(unit.trx, sql`where id = any(${[...new Set(targets)]}::text[]) order by id`);
        return {
          results: operations.map(({ op, line = null }, nth) => ({ op, line, target: targets[nth] ?? '' })),
          tasks: rows.map(taskView),
        };
      });
    },
  };
}

/** @throws INVALID_INPUT, INPUT_TOO_LARGE */
function prepare(operation: TaskOperation): Prepared {
  switch (operation.op) {
    case 'create': {
      const task = checkTask(operation.task);
      return async (unit, nth) => (await insertTask(unit, task, nth)).id;
    }
    case 'update': {
      const { id, patch } = operation;
      const checked = checkPatch(patch);
      return async (unit) => (await updateTask(unit, id, patch, checked)).id;
    }
    case 'close':
      checkClose(operation);
      return async (unit) => (await closeTask(unit, operation.id, operation)).id;
    case 'reopen':
      checkReason(operation.reason);
      return async (unit) => (await reopenTask(unit, operation.id, operation.reason)).id;
    case 'defer': {
      const deferral = checkDeferral(operation);
      return async (unit) => (await deferTask(unit, operation.id, deferral)).id;
    }
    case 'undefer':
      return async (unit) => (await undeferTask(unit, operation.id)).id;
    case 'note':
    case 'comment': {
      const { id, body, op } = operation;
      input.line(body, op, input.LIMITS.noteBytes);
      return async (unit) => {
        const task = await lockTask(unit.trx, id);
        if (op === 'note') await insertNote(unit, task, body);
        else await insertComment(unit, task, body);
        return id;
      };
    }
    case 'dep-add': {
      const edge = checkEdge(operation.edge);
      return async (unit) => {
        await addEdge(unit, edge);
        return edge.task_id;
      };
    }
    case 'dep-remove':
      return async (unit) => {
        await removeEdge(unit, operation);
        return operation.task_id;
      };
    default:
      return unreachable(operation, 'prepare');
  }
}

/**
 * Locks what is named before anything is changed, in the order that all commands keep: the lock on edges, then tasks by id. Two batches
 * over the same tasks then wait for each other instead of being rolled back.
 */
async function lockNamed(unit: Unit, operations: readonly TaskOperation[]): Promise<void> {
  if (operations.some(writesEdges)) await takeLock(unit.trx, 'edges');
  const all = sql`${[...new Set(operations.flatMap(idsOf))]}::text[]`;
  const closing = sql`${[...new Set(operations.filter(mayClose).flatMap(idsOf))]}::text[]`;
  const family = sql`array(select id from tasks where id = any(${closing})
    union select parent_id from tasks where id = any(${closing}) and parent_id is not null)`;
  await lockReach(unit.trx, { tasks: sql`${all} || ${family}`, waitedFor: family, above: sql`array[]::text[]` });
}

/** Or opens it again: what waits is touched. */
function mayClose({ op, ...operation }: TaskOperation): boolean {
  return op === 'close' || op === 'reopen' || ('patch' in operation && operation.patch.status !== undefined);
}

function writesEdges(operation: TaskOperation): boolean {
  if (operation.op === 'create') {
    const { depends_on, dependencies } = operation.task;
    return (depends_on?.length ?? 0) + (dependencies?.length ?? 0) > 0;
  }
  return operation.op === 'dep-add' || operation.op === 'dep-remove';
}

function idsOf(operation: TaskOperation): readonly TaskId[] {
  switch (operation.op) {
    case 'create':
      return operation.task.parent_id == null ? [] : [operation.task.parent_id];
    case 'dep-add':
      return [operation.edge.task_id, operation.edge.depends_on_id];
    case 'dep-remove':
      return [operation.task_id, operation.depends_on_id];
    default:
      return [operation.id];
  }
}

/** A refusal says which of the operations it is about. */
function placed(thrown: unknown, { line }: TaskOperation, nth: number): unknown {
  const details = { operation: nth + 1, ...(line === undefined ? {} : { line }) };
  return withPlace(thrown, line === undefined ? null : `line ${line}`, details);
}
