import type { ConvoyFeeder } from '../activities/town';
import type { TownClient } from '../cli/client/client';
import { TownError } from '../schema/errors';
import { runId } from '../schema/ids';

/** How many ready members one wake-up hands out; the next wake-up goes on. */
const FEED_MAX = 200;

/**
 * Slings a convoy's ready members in the name of the convoy: each passes policy like anybody else's. What policy, a flag or a race
 * with another dispatcher holds back stays where it is and is asked for again later. Idempotent by (convoy, task, molecule before).
 */
export function createConvoyFeeder(town: TownClient): ConvoyFeeder {
  return {
    async feed(convoy_id) {
      const convoy = await town.getConvoy(convoy_id);
      const { items } = await town.listTasks({ convoy_id, status: ['open'], limit: FEED_MAX });
      const ready = items.filter(
        (task) => task.open_blockers === 0 && !task.parent_blocked && task.assigned_agent_id === null,
      );
      let fed = 0;
      for (const task of ready) {
        const rig = task.rig_id ?? convoy.rig_id;
        if (rig === null) continue;
        const actor = runId.convoy(convoy_id);
        try {
          await town.sling(
            { actor, key: `${actor}:${task.id}:${task.molecule_id ?? 'first'}` },
            { task_id: task.id, target: { kind: 'rig', id: rig }, formula: null, vars: {}, bare: false, resume: false },
          );
          fed += 1;
        } catch (error) {
          // A refusal is an answer: this member waits. Trouble with the database is not, and the activity is tried again.
          if (!(error instanceof TownError) || error.code === 'POSTGRES_UNAVAILABLE') throw error;
        }
      }
      return { fed, held: ready.length - fed };
    },
  };
}
