import { sql } from 'kysely';
import { resultOf } from '../../activities/session/facts';
import { canonicalJson } from '../../schema/canonical';
import type { GateSpec, RunCondition } from '../../schema/formula/flow';
import type { Recipe, RecipeStep } from '../../schema/formula/recipe';
import { runId, type MoleculeId } from '../../schema/ids';
import type { Json, JsonObject } from '../../schema/json';
import type { Ledger } from '../../schema/ledger';
import type { PerformStep } from '../../schema/runs';
import type { MoleculeView, StepBrief } from '../../schema/views';
import { sha256 } from './database';
import type { Script, TestTown } from './town';

/**
 * Agents that play any molecule to its end on a test town: they read what a step tells them, close it with a receipt as a session does,
 * and a person beside them opens gates. What a script does not say is done, with an output that lets fan-outs find items and conditions
 * come true; a loop has two rounds.
 */

/** How a step ends. Absent: done, with the output that fits. */
export interface Ending {
  readonly outcome?: 'done' | 'failed';
  /** Instead of the one that fits. */
  readonly output?: JsonObject;
}
/** What is done in a step, by its name in the formula; the request says which round, item and attempt it is. */
export type AgentScript = Readonly<Record<string, Ending | ((request: PerformStep) => Ending)>>;

export interface Play {
  readonly recipe: Recipe;
  readonly script?: AgentScript;
}
export interface Played {
  readonly formula: string;
  readonly molecule: MoleculeView;
  /** What agents were told, in the order in which they began. */
  readonly briefs: readonly StepBrief[];
  /** Gates that a person or a message opened. */
  readonly opened: readonly { readonly step: string; readonly kind: GateSpec['kind'] }[];
}

export interface Crew {
  /** Pours all of them onto the rig at once and waits until each has ended. */
  play(plays: readonly Play[], patienceMs?: number): Promise<Played[]>;
}

/** Names of the rig's workers, in the order in which the dispatcher calls them. */
const NAMES = ['amber', 'basalt', 'cobalt', 'dolomite', 'ember', 'flint', 'garnet', 'hematite'];
const PERSON = { actor: 'person:test' };
const ITEMS = 2;
const TIMER_MS = 20;

/** A crew for every worker that the rig may have; at most as many as there are names. */
export async function startCrew(town: TestTown): Promise<Crew> {
  const parts = new Map<MoleculeId, Part>();
  /** By agent: incarnation of its one session. */
  const sessions = new Map<string, number>();

  async function sessionOf(agent: string): Promise<number> {
    const open = sessions.get(agent);
    if (open !== undefined) return open;
    const { incarnation } = await town.ledger.openSession(PERSON, {
      agent,
      preset: 'external',
      token_hash: sha256(agent),
      host_id: 'crew',
      worktree: '/w',
      molecule_id: null,
    });
    sessions.set(agent, incarnation);
    return incarnation;
  }

  const perform: Script = async (request) => {
    const { molecule_id, step, agent, attempt, round = 1 } = request;
    const part = await town.until(`the script for ${molecule_id}`, () => Promise.resolve(parts.get(molecule_id)));
    const brief = await town.until(`the brief of ${step}`, () => briefOf(town.ledger, molecule_id, step));
    part.briefs.push(brief);
    const incarnation = await sessionOf(agent);
    const { outcome = 'done', output = null } = part.endingOf(request);
    const { receipt } = await town.ledger.writeReceipt(
      { actor: agent, session: { agent, incarnation } },
      {
        molecule_id,
        step,
        attempt,
        round,
        session_id: null,
        outcome,
        note: `${step} is ${outcome}`,
        commit_id: null,
        output,
      },
    );
    return resultOf(receipt, request.wants, null);
  };
  for (const name of NAMES.slice(0, town.rig.workers_max)) await town.serve(`${town.rig.id}/polecats/${name}`, perform);

  async function pour({ recipe, script = {} }: Play): Promise<Part> {
    const { molecule_id } = await town.sling(town.rig.id, shortened(recipe));
    const part = new Part(molecule_id, recipe, script);
    parts.set(molecule_id, part);
    return part;
  }

  return {
    async play(plays, patienceMs) {
      const mine: Part[] = [];
      for (const each of plays) mine.push(await pour(each));
      const ids = mine.map(({ id }) => id);
      const ended = town.until(
        `the end of ${plays.length} molecules`,
        async () => {
          const { ended, gated } = await standing(town, ids);
          for (const { molecule_id, step } of gated) {
            const part = parts.get(molecule_id);
            if (part !== undefined) await openGate(town, part, step);
          }
          return ended === ids.length;
        },
        patienceMs,
      );
      await ended.catch(async (error: unknown) => {
        throw new Error(`they have not ended: ${(await unfinished(town, ids)).join('; ')}`, { cause: error });
      });
      return await Promise.all(
        mine.map(async ({ id, recipe, briefs, opened }) => ({
          formula: recipe.formula,
          molecule: await town.ledger.getMolecule(id),
          briefs,
          opened,
        })),
      );
    },
  };
}

/**
 * What was not as it should be: a step that began before one that it needs was closed, was closed more than once or not at all (one
 * whose condition does not hold is closed by that), or has not one receipt for each round of work.
 */
export async function playFaults(town: TestTown, { molecule, briefs }: Played): Promise<string[]> {
  const { rows: events } = await sql<{ type: string; step: string; place: string }>`
    select type, payload->>'step' as step, run_seq as place from events
    where molecule_id = ${molecule.id} and (type in ('step_hooked', 'step_closed')
      or (type = 'condition_found' and payload->>'holds' = 'false')) order by run_seq`.execute(town.db);
  const began = new Map<string, number>();
  const closed = new Map<string, number>();
  const faults: string[] = [];
  for (const { type, step, place } of events) {
    if (type === 'step_hooked') began.set(step, began.get(step) ?? Number(place));
    else if (closed.has(step)) faults.push(`${step} was closed twice`);
    else closed.set(step, Number(place));
  }
  for (const { step, needs, status } of molecule.steps) {
    if (molecule.status === 'completed' && !closed.has(step)) faults.push(`${step} is ${status}`);
    for (const need of needs) {
      const [before, after] = [closed.get(need) ?? Infinity, began.get(step)];
      if (after !== undefined && before > after) faults.push(`${step} began before ${need} was closed`);
    }
  }
  const receipts = await town.db
    .selectFrom('step_receipts')
    .select('step')
    .where('molecule_id', '=', molecule.id)
    .execute();
  if (receipts.length !== briefs.length)
    faults.push(`${briefs.length} times somebody worked, and there are ${receipts.length} receipts`);
  return faults;
}

/** One molecule, its script, and what was seen of it. */
class Part {
  readonly id: MoleculeId;
  readonly recipe: Recipe;
  readonly briefs: StepBrief[] = [];
  readonly opened: { step: string; kind: GateSpec['kind'] }[] = [];
  readonly #script: AgentScript;
  readonly #steps: readonly RecipeStep[];
  readonly #wishes: readonly Wish[];

  constructor(id: MoleculeId, recipe: Recipe, script: AgentScript) {
    this.id = id;
    this.recipe = recipe;
    this.#script = script;
    this.#steps = [...recipe.steps, ...Object.values(recipe.groups ?? {}).flat()];
    this.#wishes = this.#steps.flatMap(wishesOf);
  }

  /** The step of the formula that a step of the molecule comes from: the longest name that its own ends with. */
  origin(step: string): RecipeStep {
    const fits = this.#steps.filter(({ id }) => step === id || step.endsWith(`.${id}`));
    const [longest] = fits.toSorted((a, b) => b.id.length - a.id.length);
    if (longest === undefined) throw new Error(`${this.recipe.formula} has no step ${step}`);
    return longest;
  }

  endingOf(request: PerformStep): Ending {
    const { id, flow } = this.origin(request.step);
    const own = this.#script[id];
    const said = typeof own === 'function' ? own(request) : (own ?? {});
    if (said.output !== undefined) return said;
    const round = Number(/.*\.iter(\d+)\./.exec(`.${request.step}`)?.[1] ?? 1);
    const output: JsonObject = {};
    for (const { step, path, value, from } of this.#wishes)
      if ((step === id || step === '') && round >= from) place(output, path, value);
    if (flow?.fanOut !== undefined) place(output, flow.fanOut.path, itemsFor(flow.fanOut.vars));
    return Object.keys(output).length === 0 ? said : { ...said, output };
  }
}

/** What makes a condition true: a value at a place of the output of a step (`''`: of any), from this round of a loop on. */
interface Wish {
  readonly step: string;
  readonly path: readonly string[];
  readonly value: Json;
  readonly from: number;
}

function wishesOf({ flow, gate }: RecipeStep): Wish[] {
  const { loop, when } = flow ?? {};
  const from = loop === undefined || loop.max === 1 ? 1 : 2;
  return [
    ...(loop === undefined ? [] : wishesFor(loop.until, true).map((wish) => ({ ...wish, from }))),
    ...(when === undefined ? [] : wishesFor(when, true)),
    ...(gate?.kind === 'condition' ? wishesFor(gate.when, true) : []),
  ];
}

function wishesFor(condition: RunCondition, is: boolean): Wish[] {
  switch (condition.op) {
    case 'and':
    case 'or': {
      const parts = condition.of.map((part) => wishesFor(part, is));
      return (condition.op === 'and') === is ? parts.flat() : (parts[0] ?? []);
    }
    case 'not':
      return wishesFor(condition.of, !is);
    case 'compare': {
      const { left, right, is: sign } = condition;
      if (left.of !== 'output') return [];
      return [{ step: left.step, path: left.path, value: valueFor(is ? sign : OPPOSITE[sign], right), from: 1 }];
    }
    default:
      return wishesFor(condition.where, is);
  }
}

const OPPOSITE = { '==': '!=', '!=': '==', '<': '>=', '<=': '>', '>': '<=', '>=': '<' } as const;

function valueFor(sign: keyof typeof OPPOSITE, right: Json): Json {
  if (sign === '==' || sign === '<=' || sign === '>=') return right;
  if (typeof right === 'number') return sign === '<' ? right - 1 : right + 1;
  return typeof right === 'boolean' ? !right : `not ${JSON.stringify(right)}`;
}

/** The first wish for a place is kept: conditions may exclude each other. */
function place(output: JsonObject, path: readonly string[], value: Json): void {
  let at = output as Record<string, Json>;
  for (const key of path.slice(0, -1)) {
    at[key] ??= {};
    const next = at[key];
    if (typeof next !== 'object' || next === null || Array.isArray(next)) return;
    at = next as Record<string, Json>;
  }
  const last = path.at(-1);
  if (last !== undefined) at[last] ??= value;
}

/** Items with every key that the variables of a fan-out ask for. */
function itemsFor(vars: Readonly<Record<string, string>>): Json[] {
  const keys = Object.values(vars).flatMap((text) => [...text.matchAll(/\{item\.([\w-]+)/g)].map((match) => match[1]!));
  return Array.from({ length: ITEMS }, (_, index) =>
    keys.length === 0 ? `item-${index}` : Object.fromEntries(keys.map((key) => [key, `${key}-${index}`])),
  );
}

/** The same recipe with pauses of milliseconds. */
function shortened(recipe: Recipe): Recipe {
  const short = (step: RecipeStep): RecipeStep => {
    const { gate, flow } = step;
    const retry = flow?.retry === undefined ? {} : { retry: { ...flow.retry, backoffMs: 1 } };
    return {
      ...step,
      gate: gate?.kind === 'timer' ? { ...gate, durationMs: Math.min(gate.durationMs, TIMER_MS) } : gate,
      ...(flow === undefined ? {} : { flow: { ...flow, ...retry } }),
    };
  };
  const body: Recipe = {
    ...recipe,
    steps: recipe.steps.map(short),
    ...(recipe.groups === undefined
      ? {}
      : {
          groups: Object.fromEntries(Object.entries(recipe.groups).map(([name, steps]) => [name, steps.map(short)])),
        }),
  };
  // Another recipe needs another digest. A Recipe is plain JSON; interfaces have no index.
  return { ...body, digest: sha256(canonicalJson(body as unknown as JsonObject)) };
}

/** Null as long as the molecule's rows do not have the step yet. */
async function briefOf(ledger: Ledger, molecule: MoleculeId, step: string): Promise<StepBrief | null> {
  return await ledger.brief(molecule, step).catch(() => null);
}

async function standing(
  town: TestTown,
  ids: readonly MoleculeId[],
): Promise<{ ended: number; gated: { molecule_id: MoleculeId; step: string }[] }> {
  const { rows } = await sql<{ molecule_id: MoleculeId; step: string | null; ended: boolean }>`
    select m.id as molecule_id, s.step, m.status <> 'running' as ended from molecules m
    left join steps s on s.molecule_id = m.id and s.status = 'gated'
    where m.id = any(${[...ids]}::text[])`.execute(town.db);
  return {
    ended: new Set(rows.filter(({ ended }) => ended).map(({ molecule_id }) => molecule_id)).size,
    gated: rows.flatMap(({ molecule_id, step, ended }) => (step === null || ended ? [] : [{ molecule_id, step }])),
  };
}

/** Molecules that still run, and where they stand. */
async function unfinished(town: TestTown, ids: readonly MoleculeId[]): Promise<string[]> {
  const molecules = await Promise.all(ids.map((id) => town.ledger.getMolecule(id).catch(() => null)));
  return molecules.flatMap((molecule, index) => {
    if (molecule === null) return `${ids[index]} has not begun`;
    const { formula, status, steps, steps_closed, steps_total } = molecule;
    const at = steps.flatMap((step) =>
      ['ready', 'hooked', 'gated'].includes(step.status) ? [`${step.step} ${step.status}`] : [],
    );
    return status === 'running' ? `${formula} ${steps_closed}/${steps_total} ${at.join(', ')}` : [];
  });
}

/** What a person does about a gate, or the message of a forge: once for each. A timer and a condition open by themselves. */
async function openGate(town: TestTown, part: Part, step: string): Promise<void> {
  const { gate } = part.origin(step);
  if (gate === null || gate.kind === 'timer' || gate.kind === 'condition') return;
  if (part.opened.some((opened) => opened.step === step)) return;
  part.opened.push({ step, kind: gate.kind });
  const args = { step, actor: PERSON.actor, reason: `${gate.kind}, by the script` };
  await town.ledger.tellRun(PERSON, runId.molecule(part.id), { kind: 'update', name: 'openGate', args });
}
