import { sql } from 'kysely';
import { TownError } from '../../schema/errors';
import type { TaskId } from '../../schema/ids';
import type { Ledger } from '../../schema/ledger';
import { isHeld } from '../../schema/task/status';
import { command, record, type Store } from './command';
import { wakeConvoysOf } from './convoy-members';
import * as input from './input';
import { findRig } from './rigs';
import { noTask, selectTasks, taskView, type TaskRow } from './task-rows';

/** Tasks that one move takes along, with all their parts. */
const MOVED_MAX = 10_000;

/**
 * A task keeps its id wherever it goes: the prefix says where it was made, `rig_id` where it is. So everything that names it (edges,
 * parents, convoys, molecules, notes, commits) goes on naming it. See docs/decisions/0011-moved-tasks-keep-their-ids.md.
 */
export function rigMoveCommands(store: Store): Pick<Ledger, 'moveTasks'> {
  return {
    moveTasks(ask, ids, rig_id) {
      if (ids.length > input.LIMITS.page) {
        throw new TownError('INPUT_TOO_LARGE', `${ids.length} tasks at once; at most ${input.LIMITS.page}`);
      }
      return command(store, ask, 'moveTasks', { ids, rig_id }, async (unit) => {
        if (rig_id !== null) await findRig(unit.trx, rig_id);
        const { rows } = await sql<TaskRow>`
          select * from tasks where id = any(array(
            with recursive below (id) as (
              select id from tasks where id = any(${[...ids]}::text[])
              union select c.id from below b join tasks c on c.parent_id = b.id
            ) select id from below limit ${MOVED_MAX + 1}
          )) order by id for no key update`.execute(unit.trx);
        if (rows.length > MOVED_MAX) {
          throw new TownError('INPUT_TOO_LARGE', `with all their parts these are more than ${MOVED_MAX} tasks`);
        }
        for (const id of ids) if (!rows.some((row) => row.id === id)) noTask(id);
        const moving = rows.filter((row) => row.rig_id !== rig_id);
        refuseHeld(moving);
        const moved = moving.map((row) => row.id);
        await sql`update tasks set rig_id = ${rig_id}, updated_at = clock_timestamp() where id = any(${moved}::text[])`.execute(
          unit.trx,
        );
        for (const task of moving) {
          record(
            unit,
            'task_moved',
            { task_id: task.id, rig_id },
            { before: { rig_id: task.rig_id }, after: { rig_id } },
          );
        }
        // A convoy without a rig of its own feeds its members to theirs.
        await wakeConvoysOf(unit, moved);
        const views = await selectTasks(
          unit.trx,
          sql`where id = any(${rows.map((row) => row.id)}::text[]) order by id`,
        );
        return views.map(taskView);
      });
    },
  };
}

/** Work that has begun lies in the repository of its rig. */
function refuseHeld(tasks: readonly TaskRow[]): void {
  const held = tasks.filter((task) => isHeld(task.status)).map((task): TaskId => task.id);
  if (held.length === 0) return;
  throw new TownError(
    'WRONG_STATE',
    `${held.slice(0, 20).join(', ')}: work on it has begun in the repository of its rig`,
    {
      hint: 'move it when that is over; see: town task show <task>',
      details: { held: held.slice(0, 100) },
    },
  );
}
