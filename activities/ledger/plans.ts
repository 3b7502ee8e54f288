import { sql } from 'kysely';
import { parseAgentAddress, type TaskId } from '../../schema/ids';
import type { Ledger, TaskInput, TaskPatch } from '../../schema/ledger';
import { checkPlan, type PlanNode, type PlanRef } from '../../schema/task/plan';
import { command, takeLock, type Store, type Unit } from './command';
import { addEdge, checkEdge } from './edges';
import { withPlace } from './failures';
import { checkTask, insertTask } from './new-task';
import { selectTasks, taskView } from './task-rows';
import { checkPatch, updateTask } from './tasks';

export function planCommands(store: Store): Pick<Ledger, 'createPlan'> {
  return {
    createPlan(ask, plan, defaults) {
      const nodes = checkPlan(plan).map((node) => ({ node, ...checkNode(node, defaults) }));
      const edges = plan.edges.map(({ at, from, to, type, metadata }) => {
        // The ends are not known yet; only the rest is looked at here.
        const checked = placed(at, () => checkEdge({ task_id: '', depends_on_id: '', type, metadata }));
        return { at, from, to, checked };
      });
      return command(store, ask, 'createPlan', { plan, defaults }, async (unit) => {
        // First, as every command that writes edges does.
        await takeLock(unit.trx, 'edges');
        const ids = new Map<string, TaskId>();
        const idOf = (ref: PlanRef): TaskId => ('id' in ref ? ref.id : (ids.get(ref.key) ?? ''));
        for (const [nth, { node, task, parent }] of nodes.entries()) {
          const parent_id = parent === null ? null : idOf(parent);
          ids.set(node.key, (await refusedAt(node.at, insertTask(unit, { ...task, parent_id }, nth))).id);
        }
        for (const { node, patch } of nodes) await refusedAt(node.at, finish(unit, node, patch, ids));
        for (const { at, from, to, checked } of edges) {
          await refusedAt(at, addEdge(unit, { ...checked, task_id: idOf(from), depends_on_id: idOf(to) }));
        }
        const rows = await selectTasks(unit.trx, sql`where id = any(${[...ids.values()]}::text[])`);
        const byId = new Map(rows.map((row) => [row.id, row]));
        return {
          ids: Object.fromEntries(plan.nodes.map(({ key }) => [key, ids.get(key) ?? ''])),
          tasks: plan.nodes.flatMap(({ key }) => {
            const row = byId.get(ids.get(key) ?? '');
            return row === undefined ? [] : [taskView(row)];
          }),
        };
      });
    },
  };
}

/** @throws INVALID_INPUT, INPUT_TOO_LARGE with the place of the task */
function checkNode(node: PlanNode, defaults: { rig_id?: string | null; parent_id?: TaskId | null }) {
  const input: TaskInput = {
    title: node.title,
    description: node.description,
    rig_id: defaults.rig_id ?? null,
    labels: node.labels,
    metadata: node.metadata,
    acceptance: node.acceptance,
    design: node.design,
    owner: node.owner,
    spec_id: node.spec_id,
    external_ref: node.external_ref,
    estimated_minutes: node.estimated_minutes,
    due_at: node.due_at,
    defer_until: node.defer_until,
    pinned: node.pinned,
    ...(node.type === null ? {} : { type: node.type }),
    ...(node.priority === null ? {} : { priority: node.priority }),
  };
  return placed(node.at, () => {
    const patch: TaskPatch = node.assignee === null ? {} : { assigned_agent_id: parseAgentAddress(node.assignee) };
    const parent = node.parent ?? (defaults.parent_id == null ? null : { id: defaults.parent_id });
    return { task: checkTask(input), parent, patch };
  });
}

/** What can only be said when all tasks have their ids. */
async function finish(unit: Unit, node: PlanNode, patch: TaskPatch, ids: ReadonlyMap<string, TaskId>): Promise<void> {
  const id = ids.get(node.key) ?? '';
  const refs = Object.entries(node.metadata_refs).map(([name, key]) => [name, ids.get(key) ?? ''] as const);
  const whole: TaskPatch = refs.length === 0 ? patch : { ...patch, set_metadata: Object.fromEntries(refs) };
  if (Object.keys(whole).length > 0) await updateTask(unit, id, whole, checkPatch(whole));
}

function placed<T>(at: string, check: () => T): T {
  try {
    return check();
  } catch (error) {
    throw withPlace(error, at, { at });
  }
}

async function refusedAt<T>(at: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (error) {
    throw withPlace(error, at, { at });
  }
}
