import { sql } from 'kysely';
import { TownError } from '../../schema/errors';
import type { Recipe } from '../../schema/formula/recipe';
import { runId, type MoleculeId, type RigId, type TaskId } from '../../schema/ids';
import type { JsonObject } from '../../schema/json';
import type { Ask, Ledger, PourRequest, SlingRequest, SlingTarget } from '../../schema/ledger';
import type { MoleculeInput } from '../../schema/runs';
import { isHeld, statusAt } from '../../schema/task/status';
import type { TaskView } from '../../schema/views';
import { expectActive } from './agents';
import { refuseBlocked } from './blockage';
import { command, record, tell, type Store, type Unit } from './command';
import { base36Of, sha256Hex } from './digest';
import * as input from './input';
import { leanGroups, leanStep } from '../../schema/formula/lean';
import { moveTask } from './move';
import { checkTask, insertTask } from './new-task';
import { IS_READY, readyOf } from './ready';
import { keepRecipe } from './recipes';
import { findRig } from './rigs';
import { lockTask, viewTask, type TaskRow } from './task-rows';
import { checkWisp, insertWispMolecule } from './wisps';

/** Ready tasks that are read beyond those wanted, since others claim at the same time. */
const CLAIM_SPARE = 50;

type WorkCommands = Pick<Ledger, 'pour' | 'sling' | 'unassignTask' | 'recordHolder' | 'claimReady'>;

/** Commands that give work to somebody or take it back. */
export function workCommands(store: Store): WorkCommands {
  return {
    pour(ask, request) {
      const { recipe, rig_id, target, decision_id } = request;
      if (request.wisp === true) return pourWisp(store, ask, request);
      const root = checkTask({
        title: request.title ?? recipe.title,
        description: recipe.description,
        type: 'molecule',
        rig_id,
        ...(request.priority === undefined ? {} : { priority: request.priority }),
        ...(request.convoy_id === undefined ? {} : { convoy_id: request.convoy_id }),
        metadata: { formula: recipe.formula, recipe_digest: recipe.digest },
      });
      if (target !== null && decision_id === null) throw new Error('a molecule is slung only with a decision');
      const { decision_id: _, ...wish } = request;
      return command(store, ask, 'pour', wish, async (unit) => {
        await keepRecipe(store, unit.trx, recipe);
        const task = await insertTask(unit, root, 0);
        if (target === null || decision_id === null) return { task, molecule_id: null };
        return sling(unit, { task_id: task.id, target, recipe, decision_id });
      });
    },
    sling(ask, request) {
      // Asking again means another policy decision, but the same wish.
      const { decision_id: _, ...wish } = request;
      return command(store, ask, 'sling', wish, async (unit) => {
        await keepRecipe(store, unit.trx, request.recipe);
        return sling(unit, request);
      });
    },
    unassignTask(ask, id, reason) {
      input.text(reason, 'reason', input.LIMITS.noteBytes);
      return command(store, ask, 'unassignTask', { id, reason }, (unit) => unassign(unit, id, reason));
    },
    recordHolder(ask, id, agent) {
      return command(store, ask, 'recordHolder', { id, agent }, async (unit) => {
        const task = await lockTask(unit.trx, id);
        if (task.status !== 'in_progress' || isForeign(unit, task) || task.assigned_agent_id === agent) return;
        await sql`update tasks set assigned_agent_id = ${agent}, updated_at = clock_timestamp() where id = ${id}`.execute(
          unit.trx,
        );
        record(
          unit,
          'task_held',
          { task_id: id, agent_id: agent, molecule_id: task.molecule_id, rig_id: task.rig_id },
          { before: { assigned_agent_id: task.assigned_agent_id }, after: { assigned_agent_id: agent } },
        );
      });
    },
    claimReady(ask, claim) {
      const count = input.limit(claim.count, 1);
      return command(store, ask, 'claimReady', claim, async (unit) => {
        await expectActive(unit.trx, claim.agent);
        const claimed: TaskView[] = [];
        for (const task of await lockReady(unit, claim.rig_id, count)) {
          const move = { to: 'in_progress', event: 'task_claimed', assigned_agent_id: claim.agent } as const;
          claimed.push(await moveTask(unit, task, move));
        }
        return claimed;
      });
    },
  };
}

/**
 * Reads ready work and locks what nobody else has locked meanwhile, in its order, until there is enough or no more. What was found may
 * have changed before it was locked, so it is asked once more.
 */
async function lockReady(unit: Unit, rig_id: string, count: number): Promise<TaskRow[]> {
  const locked: TaskRow[] = [];
  for (let size = count + CLAIM_SPARE, seen = 0; ; size *= 4) {
    const found = await sql<{ id: string }>`select id from (${readyOf({ rig_id }, size)}) ready`.execute(unit.trx);
    const fresh = found.rows.slice(seen).map((row) => row.id);
    const { rows } = await sql<TaskRow>`
      select tasks.* from tasks join unnest(${fresh}::text[]) with ordinality as found (found_id, place) on found_id = id
      where ${IS_READY} and rig_id = ${rig_id} order by place limit ${count - locked.length}
      for no key update of tasks skip locked`.execute(unit.trx);
    locked.push(...rows);
    if (locked.length >= count || found.rows.length < size) return locked;
    seen = found.rows.length;
  }
}

async function sling(unit: Unit, request: SlingRequest): Promise<{ task: TaskView; molecule_id: MoleculeId }> {
  const { target, recipe } = request;
  const agent = target.kind === 'agent' ? await expectActive(unit.trx, target.id) : null;
  if (target.kind === 'rig') await findRig(unit.trx, target.id);
  const task = await lockTask(unit.trx, request.task_id);
  await refuseUnready(unit, task, request);

  const rig_id = task.rig_id ?? (target.kind === 'rig' ? target.id : (agent?.rig_id ?? null));
  if (rig_id === null) {
    throw new TownError('NOT_FOUND', `${task.id} belongs to no rig, and neither does ${target.id}`, {
      hint: `sling it to a rig: town sling ${task.id} <rig>`,
    });
  }
  const molecule_id = await newMoleculeId(unit, task.id);
  const slung = await moveTask(unit, task, {
    to: 'in_progress',
    event: 'task_slung',
    assigned_agent_id: target.kind === 'agent' ? target.id : null,
    molecule_id,
    reason: null,
    // `brief` reads recipe and rig from here until the molecule is projected.
    payload: {
      target: { ...target },
      formula: recipe.formula,
      recipe_digest: recipe.digest,
      rig_id,
      decision_id: request.decision_id,
    },
  });
  startMolecule(unit, { ...request, id: molecule_id, root_task_id: task.id, rig_id, priority: task.priority });
  return { task: slung, molecule_id };
}

interface MoleculeWork {
  readonly id: MoleculeId;
  /** Null: a short-lived molecule. */
  readonly root_task_id: TaskId | null;
  readonly rig_id: RigId;
  readonly priority: number;
  readonly recipe: Recipe;
  readonly target: SlingTarget;
  readonly decision_id: string;
}

/** The message that starts the run. */
function startMolecule(unit: Unit, work: MoleculeWork): void {
  const start: MoleculeInput = {
    version: 1,
    id: work.id,
    performance: 3,
    epoch: 1,
    root_task_id: work.root_task_id,
    rig_id: work.rig_id,
    formula: work.recipe.formula,
    recipe_digest: work.recipe.digest,
    priority: work.priority,
    steps: work.recipe.steps.map(leanStep),
    ...leanGroups(work.recipe),
    target: work.target,
    decision_id: work.decision_id,
    timings: unit.store.timings,
    namespace: unit.store.namespace,
    n: 0, // the outbox writes its number here
  };
  // Plain JSON; interfaces only lack the index signature.
  tell(unit, runId.molecule(work.id), {
    kind: 'start',
    workflow: 'molecule',
    input: start as unknown as JsonObject,
  });
}

/** A row of `wisps` and the message that starts its molecule; no task, and no event. */
function pourWisp(store: Store, ask: Ask, request: PourRequest): Promise<{ task: TaskView; molecule_id: MoleculeId }> {
  const { recipe, rig_id, target, decision_id } = request;
  if (target === null || decision_id === null) {
    throw new TownError('INVALID_INPUT', 'a short-lived molecule is given to somebody at once', {
      hint: 'name an agent or a rig with --on',
    });
  }
  const wisp = checkWisp({
    title: request.title ?? recipe.title,
    description: recipe.description,
    type: 'molecule',
    rig_id,
    metadata: { formula: recipe.formula, recipe_digest: recipe.digest },
    wisp_type: request.wisp_type ?? null,
    ttl_ms: request.ttl_ms ?? null,
    ...(request.priority === undefined ? {} : { priority: request.priority }),
  });
  const { decision_id: _, ...wish } = request;
  return command(store, ask, 'pour', wish, async (unit) => {
    await keepRecipe(store, unit.trx, recipe);
    if (target.kind === 'agent') await expectActive(unit.trx, target.id);
    else await findRig(unit.trx, target.id);
    const { task, molecule_id } = await insertWispMolecule(unit, wisp, target.kind === 'agent' ? target.id : null);
    startMolecule(unit, {
      id: molecule_id,
      root_task_id: null,
      rig_id,
      priority: task.priority,
      recipe,
      target,
      decision_id,
    });
    return { task, molecule_id };
  });
}

/** Open; or in progress when it is taken over, or when the target itself has claimed it. */
async function refuseUnready(unit: Unit, task: TaskRow, request: SlingRequest): Promise<void> {
  const claimed = task.molecule_id === null && task.assigned_agent_id === request.target.id;
  const status = statusAt(task, new Date());
  if (status !== 'open' && !(status === 'in_progress' && (request.resume === true || claimed))) {
    throw new TownError('WRONG_STATE', `${task.id} is ${status}: only an open task can be slung`, {
      hint: `see: town task show ${task.id}`,
      details: { status, assigned_agent_id: task.assigned_agent_id },
    });
  }
  await refuseBlocked(unit.trx, task, 'see: town ready');
}

/** From the task and how often it was slung; longer when taken. The task must be locked. */
async function newMoleculeId(unit: Unit, task: TaskId): Promise<MoleculeId> {
  const { rows } = await sql<{ slung: number }>`
    select count(*) as slung from events where task_id = ${task} and type = 'task_slung'`.execute(unit.trx);
  const digest = sha256Hex(`${task}\n${(rows[0]?.slung ?? 0) + 1}`);
  for (let length = 8; length <= 13; length++) {
    const id = `mol-${base36Of(digest, length)}`;
    const taken = await sql`select 1 from events where molecule_id = ${id} limit 1`.execute(unit.trx);
    if (taken.rows.length === 0) return id;
  }
  throw new Error(`no free molecule id for ${task}`);
}

async function unassign(unit: Unit, id: TaskId, reason: string): Promise<TaskView> {
  const task = await lockTask(unit.trx, id);
  if (task.status === 'closed') {
    throw new TownError('WRONG_STATE', `${id} is closed: nobody holds it`, { hint: `see: town task show ${id}` });
  }
  const isFree = !isHeld(task.status) && task.assigned_agent_id === null;
  if (!isFree && !isForeign(unit, task)) {
    // Put off meanwhile: it stays so, and until the same time.
    const to =
      task.status === 'deferred' ? { to: task.status, defer_until: task.defer_until } : { to: 'open' as const };
    await moveTask(unit, task, { ...to, event: 'task_unassigned', assigned_agent_id: null, payload: { reason } });
  }
  return viewTask(unit.trx, id);
}

/** Asked by a molecule that is no longer the task's: a late word, which changes nothing. */
function isForeign(unit: Unit, task: TaskRow): boolean {
  const { actor } = unit.ask;
  return actor.startsWith('molecule.') && (task.molecule_id === null || actor !== runId.molecule(task.molecule_id));
}
