import { sql } from 'kysely';
import { TownError } from '../../schema/errors';
import type { Ask, ImportBatch, ImportReport, Ledger } from '../../schema/ledger';
import { command, record, takeLock, type Store, type Unit } from './command';
import { insertEvents } from './event-rows';
import { planImport, type ImportPlan } from './import-plan';
import { addRemarks, writeAside, writeEdges, writeLabels, writeTasks } from './import-rows';
import { holdingEdges, settleParts, settleWaiting } from './import-settle';
import { readWorld } from './import-world';
import * as input from './input';

/*
 * An import is one transaction: read what is here, decide (`planImport`), write in a few statements for thousands of rows, then bring
 * what holds work back up to date by the rules of `schema/task/dependency.ts`. Edge writes of the town wait for it, as for each other.
 */

const LISTED_MAX = 1_000;
const EVENTS_AT_A_TIME = 2_000;

export function importCommands(store: Store): Pick<Ledger, 'importTasks' | 'importCursor'> {
  return {
    async importTasks(ask, batch) {
      refuseSessions(ask);
      input.line(batch.source, 'source', 4_096);
      const { records, ...request } = batch;
      // A key stands for the content by its digest, and for what a source without one has at the moment by its cursor and size.
      const asked = { ...request, count: records.length };
      try {
        return await command(store, ask, 'importTasks', asked, async (unit) => {
          const report = await importBatch(unit, batch);
          if (batch.dry_run) throw new DryRun(report);
          return report;
        });
      } catch (error) {
        if (error instanceof DryRun) return error.report;
        throw error;
      }
    },
    async importCursor(source_system, source) {
      const { rows } = await sql<{ cursor: string | null }>`select cursor from imports
        where source_system = ${source_system} and source = ${source} order by id desc limit 1`.execute(store.db);
      return rows[0]?.cursor ?? null;
    },
  };
}

/** Takes the transaction back, with what it would have done. */
class DryRun extends Error {
  readonly report: ImportReport;

  constructor(report: ImportReport) {
    super('nothing was written');
    this.report = report;
  }
}

/** An import writes what no command of an agent may: who did what, and when. */
function refuseSessions(ask: Ask): void {
  if (ask.session === undefined) return;
  throw new TownError('FORBIDDEN', 'an agent may not import: it would write in the name of others', {
    hint: 'ask the person who runs this town; an agent makes tasks with: town task create',
  });
}

async function importBatch(unit: Unit, batch: ImportBatch): Promise<ImportReport> {
  await takeLock(unit.trx, 'edges');
  const world = await readWorld(unit, batch);
  const plan = planImport(batch, world, { actor: unit.ask.actor, now: new Date().toISOString() });
  const written = await writePlan(unit, plan);
  const changed = new Set([...plan.created, ...plan.replaced].map((task) => task.id));
  const touched = plan.merged.filter(
    ({ id, edges, aside }) => written.remarked.has(id) || edges.length + aside.length > 0,
  );
  const report: ImportReport = {
    created: plan.created.length,
    updated: plan.replaced.length + touched.length,
    unchanged: batch.records.length - changed.size - touched.length,
    edges: written.edges,
    aside: plan.aside.slice(0, LISTED_MAX),
    aside_total: plan.aside.length,
    resolved: plan.resolved.length,
    kept_progress: plan.kept_progress.slice(0, LISTED_MAX),
    warnings: plan.warnings,
    dry_run: batch.dry_run,
  };
  await recordImport(unit, batch, plan, report);
  return report;
}

async function writePlan(unit: Unit, plan: ImportPlan): Promise<{ edges: number; remarked: ReadonlySet<string> }> {
  const { trx } = unit;
  const whole = [...plan.created, ...plan.replaced];
  const all = [...whole, ...plan.merged];
  await writeTasks(trx, plan);
  await writeLabels(trx, whole);
  const parents = await settleParts(unit, plan);
  const planned = [...all.flatMap((task) => task.edges), ...plan.resolved];
  const edges = await writeEdges(trx, plan, planned, await holdingEdges(unit, planned));
  await writeAside(trx, plan);
  const remarked = await addRemarks(trx, all);
  await settleWaiting(unit, plan, parents);
  return { edges, remarked };
}

/** One event a task, and one for the whole. */
async function recordImport(unit: Unit, batch: ImportBatch, plan: ImportPlan, report: ImportReport): Promise<void> {
  const { source, source_system, digest } = batch;
  const { created, updated, unchanged, aside_total } = report;
  await sql`insert into imports (source_system, source, digest, cursor, created, updated, unchanged, created_by)
    values (${source_system}, ${source}, ${digest}, ${batch.cursor}, ${created}, ${updated}, ${unchanged}, ${unit.ask.actor})`.execute(
    unit.trx,
  );
  if (created + updated + plan.resolved.length === 0) return;
  const events = [...plan.created, ...plan.replaced].map((task) => ({
    type: 'task_imported',
    task_id: task.id,
    rig_id: task.columns.rig_id,
    payload: { source: source_system, ...task.change },
  }));
  for (let from = 0; from < events.length; from += EVENTS_AT_A_TIME) {
    await insertEvents(unit.trx, unit.ask.actor, events.slice(from, from + EVENTS_AT_A_TIME));
  }
  record(
    unit,
    'tasks_imported',
    {},
    { source_system, source, digest, created, updated, unchanged, aside: aside_total },
  );
}
