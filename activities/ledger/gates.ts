import { sql, type Kysely } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import { runId } from '../../schema/ids';
import type { Ledger } from '../../schema/ledger';
import { describeGate } from '../../schema/formula/flow-text';
import { isOver } from '../../schema/molecule/shown';
import type { GateRow } from '../../schema/runs';
import type { GateView } from '../../schema/views';
import { command, tell, type Store, type Unit } from './command';
import { keepRecipe } from './recipes';
import { leanGroups, leanStep } from '../../schema/formula/lean';

type GateCommands = Pick<Ledger, 'listGates' | 'escalateGate' | 'openGatesOf' | 'bondRecipe'>;

/** Gates of molecules, as far as their runs have published them, and messages to molecules that come from outside of them. */
export function gateCommands(store: Store): GateCommands {
  return {
    async listGates(filter) {
      const { rows } = await sql<Where & { spec: GateRow }>`
        select s.molecule_id, s.step, s.title, m.rig_id, m.root_task_id, s.gate as spec
        from steps s join molecules m on m.id = s.molecule_id
        where s.status = 'gated' and s.gate is not null and m.status in ('running', 'paused')
          and (${filter.rig_id ?? null}::text is null or m.rig_id = ${filter.rig_id ?? null})
          and (${filter.molecule_id ?? null}::text is null or m.id = ${filter.molecule_id ?? null})
        order by (s.gate->>'since')::float8, s.molecule_id, s.position limit 1000`.execute(store.db);
      return rows.map(({ spec, ...row }) => gateView(row, spec));
    },
    /** One mail, however often a run asks. */
    escalateGate(ask, { molecule_id, step, title, waits_for, reason, root_task_id }) {
      return command(store, ask, 'escalateGate', { molecule_id, step, reason }, async (unit) => {
        const task = root_task_id === null ? '' : ` of task ${root_task_id}`;
        const body = [
          `Step "${title}" (${step})${task} in molecule ${molecule_id} waits for ${waits_for}: ${reason}.`,
          `It stays closed until somebody opens it: town gate open ${molecule_id} ${step} --reason "…"`,
        ].join('\n');
        await sql`
          insert into mail (sender, recipient, kind, subject, body, dedupe_key)
          values (${unit.ask.actor}, 'human', 'gate_escalated', ${`The gate of ${step} in ${molecule_id} stays closed`}, ${body},
            ${`gate_escalated:${molecule_id}:${step}`})
          on conflict (dedupe_key) do nothing`.execute(unit.trx);
      });
    },
    openGatesOf(ask, kind, id, reason) {
      return command(store, ask, 'openGatesOf', { kind, id }, (unit) => openGatesOf(unit, kind, id, reason));
    },
    bondRecipe(ask, { molecule_id, recipe, ref, mode }) {
      return command(store, ask, 'bondRecipe', { molecule_id, digest: recipe.digest, ref, mode }, async (unit) => {
        await expectRunning(unit.trx, molecule_id);
        await keepRecipe(store, unit.trx, recipe);
        tell(unit, runId.molecule(molecule_id), {
          kind: 'update',
          name: 'bond',
          // Plain JSON; interfaces only lack the index signature.
          args: JSON.parse(
            JSON.stringify({
              ref,
              formula: recipe.formula,
              recipe_digest: recipe.digest,
              mode,
              steps: recipe.steps.map(leanStep),
              ...leanGroups(recipe),
              actor: ask.actor,
            }),
          ),
        });
      });
    },
  };
}

/** Tells every molecule that waits for this task or molecule. Their own looks stand behind it. */
export async function openGatesOf(unit: Unit, kind: 'task' | 'molecule', id: string, reason: string): Promise<void> {
  const waiting =
    kind === 'task' ? sql`s.gate->'spec'->>'task_id' = ${id}` : sql`s.gate->'spec'->>'molecule_id' = ${id}`;
  const { rows } = await sql<{ molecule_id: string; step: string }>`
    select s.molecule_id, s.step from steps s where s.status = 'gated' and ${waiting}
    order by s.molecule_id, s.position`.execute(unit.trx);
  for (const { molecule_id, step } of rows) {
    const args = { step, actor: unit.ask.actor, reason };
    tell(unit, runId.molecule(molecule_id), { kind: 'update', name: 'openGate', args });
  }
}

async function expectRunning(db: Kysely<Database>, molecule_id: string): Promise<void> {
  const { rows } = await sql<{ status: string }>`select status from molecules where id = ${molecule_id}`.execute(db);
  const status = rows[0]?.status;
  if (status === undefined)
    throw new TownError('NOT_FOUND', `there is no molecule ${molecule_id}`, { hint: 'see: town molecule list' });
  if (!isOver(status)) return;
  throw new TownError('WRONG_STATE', `molecule ${molecule_id} is ${status}`, {
    hint: `see: town molecule show ${molecule_id}`,
  });
}

type Where = Pick<GateView, 'molecule_id' | 'step' | 'title' | 'rig_id' | 'root_task_id'>;

function gateView(row: Where, { spec, since, escalated, trouble }: GateRow): GateView {
  return {
    ...row,
    kind: spec.kind,
    waits_for: describeGate(spec),
    prompt: spec.kind === 'human' ? spec.prompt : null,
    approvers: spec.kind === 'human' && spec.approvers !== undefined ? [...spec.approvers] : null,
    since: new Date(since).toISOString(),
    escalated,
    trouble,
  };
}
