import { sql } from 'kysely';
import { TownError } from '../../schema/errors';
import type { RecipeStep } from '../../schema/formula/recipe';
import type { MoleculeId } from '../../schema/ids';
import type { JsonObject } from '../../schema/json';
import type { Ledger } from '../../schema/ledger';
import { dig } from '../../schema/molecule/output';
import { fillText, type OutputOf, outputsNamed } from '../../schema/molecule/texts';
import type { Level, StepBindings, StepTemplate } from '../../schema/runs';
import type { HookView, StepBrief } from '../../schema/views';
import type { Store } from './command';
import { findRecipe } from './recipes';
import { notesOf } from './remarks';

const BRIEF_NOTES = 20;

export function hookReads(store: Store): Pick<Ledger, 'hook' | 'brief'> {
  return {
    async hook(agent) {
      const { rows } = await sql<{
        status: string;
        incarnation: number;
        molecule_id: string | null;
        step: string | null;
      }>`
        select coalesce(h.status, a.status) as status, a.incarnation, s.molecule_id, s.step
        from agents a left join hooks h on h.agent_id = a.id
        left join lateral (
          select molecule_id, step from steps
          where molecule_id = h.granted_molecule_id and agent_id = a.id and status = 'hooked' order by position limit 1
        ) s on true
        where a.id = ${agent}`.execute(store.db);
      const hook = rows[0];
      if (hook === undefined)
        throw new TownError('NOT_FOUND', `there is no agent ${agent}`, { hint: 'see: town agent list' });
      const current =
        hook.molecule_id === null || hook.step === null ? null : await brief(store, hook.molecule_id, hook.step);
      return {
        agent_id: agent,
        status: hook.status,
        incarnation: hook.incarnation,
        items: await itemsOf(store, agent),
        current,
      };
    },
    brief: (molecule_id, step) => brief(store, molecule_id, step),
  };
}

async function itemsOf(store: Store, agent: string): Promise<HookView['items']> {
  const { rows } = await sql<Omit<HookView['items'][number], 'since'> & { since: Date }>`
    select i.molecule_id, t.id as task_id, coalesce(t.title, m.formula, i.molecule_id) as title, i.priority, i.state, i.since
    from hook_items i left join molecules m on m.id = i.molecule_id
    left join tasks t on t.id = coalesce(m.root_task_id, (select e.task_id from events e
      where e.molecule_id = i.molecule_id and e.type = 'task_slung' limit 1))
    where i.agent_id = ${agent} order by i.position, i.lane`.execute(store.db);
  return rows.map((row) => ({ ...row, since: row.since.toISOString() }));
}

interface BriefRow {
  recipe_digest: string;
  rig_id: string | null;
  task_id: string | null;
  task_title: string | null;
  task_description: string | null;
  steps_closed: number;
  attempt: number;
  step_id: string | null;
  steps_total: number | null;
  template: StepTemplate | null;
  bindings: StepBindings | null;
  worktree: string | null;
  sessions: number;
}

/** Recipe and rig come from the sling's event, or from the wisp, as long as the molecule is not projected. */
async function selectBrief(store: Store, molecule_id: MoleculeId, step: string): Promise<BriefRow | undefined> {
  const { rows } = await sql<BriefRow>`
    select coalesce(m.recipe_digest, e.payload->>'recipe_digest', w.metadata->>'recipe_digest') as recipe_digest,
      coalesce(m.rig_id, e.payload->>'rig_id', w.rig_id) as rig_id,
      t.id as task_id, t.title as task_title, t.description as task_description,
      greatest(coalesce(m.steps_closed, 0),
        (select count(*) from step_receipts r where r.molecule_id = ${molecule_id}))::int as steps_closed,
      coalesce(s.attempt, 1) as attempt, s.id as step_id, m.steps_total, s.template, s.bindings, a.worktree,
      (select count(*) from sessions x where x.molecule_id = ${molecule_id})::int as sessions
    from (select 1) one
    left join molecules m on m.id = ${molecule_id}
    left join lateral (select task_id, payload from events
      where molecule_id = ${molecule_id} and type = 'task_slung' order by id desc limit 1) e on true
    left join wisps w on w.molecule_id = ${molecule_id}
    left join tasks t on t.id = coalesce(m.root_task_id, e.task_id)
    left join steps s on s.molecule_id = ${molecule_id} and s.step = ${step}
    left join agents a on a.id = coalesce(s.agent_id, m.agent_id, t.assigned_agent_id)
    where m.id is not null or e.payload is not null or w.id is not null`.execute(store.db);
  return rows[0];
}

/** What a needed step left behind: its row, or its receipt while the row is late. */
async function selectNeeds(
  store: Store,
  molecule_id: MoleculeId,
  needs: readonly string[],
): Promise<StepBrief['needs']> {
  const { rows } = await sql<StepBrief['needs'][number]>`
    select need.step, coalesce(s.outcome, r.outcome) as outcome, coalesce(s.note, r.note) as note,
      coalesce(s.commit_id, r.commit_id) as commit_id, coalesce(s.agent_id, r.agent_id) as agent_id
    from unnest(${[...needs]}::text[]) with ordinality as need (step, place)
    left join steps s on s.molecule_id = ${molecule_id} and s.step = need.step
    left join step_receipts r on r.molecule_id = ${molecule_id} and r.step = need.step and r.round = coalesce(s.round, 1)
    order by need.place`.execute(store.db);
  return rows;
}

async function brief(store: Store, molecule_id: MoleculeId, step: string): Promise<StepBrief> {
  const row = await selectBrief(store, molecule_id, step);
  if (row === undefined) {
    throw new TownError('NOT_FOUND', `there is no molecule ${molecule_id}`, { hint: 'see: town molecule list' });
  }
  const { recipe, what, scopes, levels } = await describedStep(store, row, molecule_id, step);
  // What a container contains is no need; nobody works on containers, but their briefs can be read.
  const needed = what.needs.map((need) => `${scopes[0] ?? ''}${need}`);
  const [needs, notes, fill] = await Promise.all([
    selectNeeds(store, molecule_id, needed),
    row.task_id === null ? [] : notesOf(store, row.task_id, BRIEF_NOTES),
    fillerOf(store, molecule_id, what, scopes, levels),
  ]);
  return {
    molecule_id,
    step,
    step_id: row.step_id ?? `${row.task_id ?? molecule_id}.${step}`,
    attempt: row.attempt,
    // The projection counts attempts only; the host knows the dispatch it serves and puts it here.
    dispatch: row.attempt,
    title: fill(what.title),
    instructions: fill(what.instructions),
    acceptance: what.acceptance === null ? null : fill(what.acceptance),
    checks: what.checks.map(({ run, timeoutMs }) => ({ run: fill(run, shellWord), timeout_ms: timeoutMs })),
    task_id: row.task_id,
    task_title: row.task_title,
    task_description: row.task_description,
    formula: recipe.formula,
    rig_id: row.rig_id,
    worktree: row.worktree,
    // Known to the worktree alone; the host fills it in.
    branch: null,
    steps_total: row.steps_total ?? recipe.steps.length,
    steps_closed: row.steps_closed,
    needs,
    notes,
    resumed: row.attempt > 1 || row.sessions > 1,
  };
}

/** Where the step is described, and what its texts are filled with. @throws NOT_FOUND */
async function describedStep(store: Store, row: BriefRow, molecule_id: MoleculeId, step: string) {
  const { template, bindings } = row;
  const recipe = await findRecipe(store.db, template?.recipe_digest ?? row.recipe_digest);
  const group = template?.group ?? null;
  const steps = group === null ? recipe.steps : (recipe.groups?.[group] ?? []);
  const what = steps.find((candidate) => candidate.id === (template?.step ?? step));
  if (what === undefined) {
    throw new TownError('NOT_FOUND', `${molecule_id} has no step ${step}`, {
      hint: `see: town molecule show ${molecule_id}`,
    });
  }
  return { recipe, what, scopes: bindings?.scopes ?? [''], levels: bindings?.levels ?? [] };
}

/** Fills texts with what the items and rounds around the step give, and with what other steps closed with. */
async function fillerOf(
  store: Store,
  molecule_id: MoleculeId,
  what: RecipeStep,
  scopes: readonly string[],
  levels: readonly Level[],
): Promise<(text: string, spell?: (value: string) => string) => string> {
  const checks = what.checks.map((check) => check.run);
  const names = [what.title, what.instructions, what.acceptance ?? '', ...checks].flatMap(outputsNamed);
  const far = levels.flatMap(({ itemAt }) => (itemAt === undefined ? [] : [itemAt.step]));
  const wanted = [...names.flatMap(({ step }) => scopes.map((scope) => scope + step)), ...far];
  const outputs = wanted.length === 0 ? new Map<string, JsonObject>() : await selectOutputs(store, molecule_id, wanted);
  const near = levels.map((level) => {
    const item = level.itemAt === undefined ? level.item : dig(outputs.get(level.itemAt.step), level.itemAt.path);
    return item === undefined ? level : { ...level, item };
  });
  const outputOf: OutputOf = (step, path) => {
    const scope = scopes.find((candidate) => outputs.has(candidate + step));
    return scope === undefined ? undefined : dig(outputs.get(scope + step), path);
  };
  return (text, spell) => fillText(text, near, outputOf, spell);
}

/** Of each step that has one, its last output: its agent's, or that of the person who closed it. */
async function selectOutputs(
  store: Store,
  molecule_id: MoleculeId,
  steps: readonly string[],
): Promise<Map<string, JsonObject>> {
  const { rows } = await sql<{ step: string; output: JsonObject }>`
    select distinct on (step) step, output from (
      select step, round, output, 1 as place from step_receipts
      where molecule_id = ${molecule_id} and step = any(${[...steps]}::text[]) and output is not null
      union all
      select step, round, output, 2 from given_outputs g
      where molecule_id = ${molecule_id} and step = any(${[...steps]}::text[])
        and exists (select 1 from steps s where s.molecule_id = g.molecule_id and s.step = g.step and s.status = 'closed')
    ) said
    order by step, round desc, place`.execute(store.db);
  return new Map(rows.map(({ step, output }) => [step, output]));
}

/** What comes out of an agent's output is data in a check, never part of the command. */
function shellWord(value: string): string {
  return `'${value.replaceAll("'", `'\\''`)}'`;
}
