import { readFileSync, statSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { PolicyPort } from '../../activities/policy/policy';
import type { Features } from '../../schema/config';
import type { DeskCaller, HookDesk } from '../../schema/desk';
import { TownError } from '../../schema/errors';
import type { Recipe } from '../../schema/formula/recipe';
import { singleStepRecipe } from '../../schema/formula/single-step';
import {
  parseAgentAddress,
  parseName,
  runId,
  type AgentAddress,
  type MoleculeId,
  type RigId,
  type TaskId,
} from '../../schema/ids';
import type { JsonObject } from '../../schema/json';
import type { Ask, ConvoyInput, Ledger, RigInput, SlingTarget } from '../../schema/ledger';
import { isOver, mayBegin } from '../../schema/molecule/shown';
import type { DispatchQuestion } from '../../schema/policy';
import type { IssueSource } from '../../schema/task/issue-source';
import type { AgentView, ConvoyView, GateView, MoleculeView, RigView, StepView, TaskView } from '../../schema/views';
import { createExchange, type Exchange } from './exchange';
import { createJoin } from './join';
import { createFormulaShelf, sha256, type FormulaShelf } from './formulas';

/**
 * Everything a person or an agent can ask of a town. The command line, the socket and the HTTP API are three ways to it.
 * What the ledger answers alone is the ledger's own method; the rest joins formulas, policy and ledger into one request.
 */
export interface TownClient extends Straight {
  /** Folder of the town. */
  readonly root: string;
  readonly formulas: FormulaShelf;
  /** Tasks as files and from code hosts. */
  readonly exchange: Exchange;
  /** Null where no agent host runs in this process. */
  readonly desk: HookDesk | null;

  /** `addRig` with what the repository itself can tell. @throws INVALID_INPUT when `path` is no git repository */
  addRepository(ask: Ask, rig: Omit<RigInput, 'default_branch'> & { default_branch: string | null }): Promise<RigView>;
  /** Path of a rig's repository; null for no rig. */
  rigPath(id: RigId | undefined): Promise<string | null>;
  /** An agent's address or a rig's id. */
  readTarget(text: string): SlingTarget;

  /** Gives a task to an agent or a rig: recipe, policy decision, then one command of the ledger.
   *  @throws POLICY_DENIED with the reasons, FORMULA_INVALID, FORMULA_VARIABLES, WRONG_STATE, OPEN_BLOCKERS */
  sling(ask: Ask, wish: SlingWish): Promise<Slung>;
  /** Makes the root task of a formula; with a target it is slung at once. */
  pour(ask: Ask, wish: PourWish): Promise<{ task: TaskView; molecule_id: MoleculeId | null }>;
  /** Takes up to `count` ready tasks of a rig onto one's own hook. Fewer, also none, is no error. */
  claim(ask: Ask, wish: { agent: AgentAddress; rig_id: RigId; count: number }): Promise<Slung[]>;
  /** A convoy of tasks, or of the one task that a formula is poured into when no tasks are named. */
  openConvoy(ask: Ask, wish: ConvoyInput & { readonly vars: Readonly<Record<string, string>> }): Promise<ConvoyView>;

  /** Back to the queue, the molecule is kept. */
  requeue(ask: Ask, agent: AgentAddress, wish: { molecule_id: MoleculeId; reason: string }): Promise<{ n: number }>;
  /** The agent may stop with work on its hook: no session is started for it, and nothing more is granted to it, until it is resumed.
   *  Answers once that holds. @throws TIMED_OUT when it is recorded, but the run of the hook does not answer */
  release(ask: Ask, agent: AgentAddress, reason: string): Promise<{ n: number }>;
  /** Opens a session of the agent for somebody who started it, and resumes its hook. The token is answered once.
   *  @throws UNAVAILABLE where its hook is not served, CONFLICT while a session that the town started lives, PATH_OUTSIDE_RIG */
  attach(ask: Ask, agent: AgentAddress, worktree: string | null): ReturnType<HookDesk['attach']>;
  /** `addAgent`, with its folder checked. @throws INVALID_INPUT for a folder of an agent that the town starts, PATH_OUTSIDE_RIG */
  registerAgent: Ledger['addAgent'];
  /** The session that the first call in an agent's place opens, and that later calls there join while it lives. `stale`: the caller had
   *  one that is over; it is thrown when a later session lives, which must not be put out. A worktree outside of the rig is none. */
  joinHook(
    ask: Ask,
    agent: AgentAddress,
    wish: { readonly worktree: string | null; readonly stale: TownError | null },
  ): Promise<{ readonly session: DeskCaller; readonly token: string }>;
  /** Takes the permission to stop back. */
  resumeHook(ask: Ask, agent: AgentAddress, reason: string): Promise<{ n: number }>;
  /** An operator ends a step, with an output where one is given. */
  resolveStep(
    ask: Ask,
    molecule_id: MoleculeId,
    wish: { step: string; outcome: 'done' | 'failed' | 'skipped'; reason: string; output?: JsonObject },
  ): Promise<{ n: number }>;
  /** Nothing more is dispatched until it is resumed; what is being worked on goes on. */
  pauseMolecule(ask: Ask, molecule_id: MoleculeId, reason: string): Promise<{ n: number }>;
  resumeMolecule(ask: Ask, molecule_id: MoleculeId, reason: string): Promise<{ n: number }>;
  /** Ends it. A task that was made for it is closed as cancelled, any other is open again. */
  cancelMolecule(ask: Ask, molecule_id: MoleculeId, reason: string): Promise<{ task: TaskView | null }>;
  /** A failed step, or one that waits for its next attempt or is stuck, gets new attempts. */
  retryStep(ask: Ask, molecule_id: MoleculeId, wish: { step: string; reason: string }): Promise<{ n: number }>;
  /** Appends the steps of another formula to a running molecule, as `<ref>.<step>`. */
  bond(ask: Ask, molecule_id: MoleculeId, wish: BondWish): Promise<{ ref: string; formula: string; steps: number }>;
  /** Opens a gate by hand. @throws FORBIDDEN for whom its formula does not name */
  openGate(ask: Ask, molecule_id: MoleculeId, wish: { step: string; reason: string }): Promise<{ n: number }>;
  /** Steps that are due or being worked on. */
  nextSteps(molecule_id: MoleculeId): Promise<StepView[]>;
  /** Builds the projection anew from stored events and compares. @throws UNAVAILABLE outside the service */
  rebuildProjection(): Promise<JsonObject>;
}

/** A message for the run of a hook takes 20 ms when all is well. */
const RELEASE_WAIT_MS = 10_000;

const STRAIGHT = [
  'addRig',
  'listRigs',
  'getRig',
  'createTask',
  'updateTask',
  'closeTask',
  'reopenTask',
  'deferTask',
  'undeferTask',
  'claimTask',
  'addNote',
  'addComment',
  'listComments',
  'setLabels',
  'addDependency',
  'removeDependency',
  'getTask',
  'listTasks',
  'blockedTasks',
  'unassignTask',
  'addToConvoy',
  'setConvoyStatus',
  'getConvoy',
  'listConvoys',
  'addAgent',
  'getAgent',
  'agentsAt',
  'listAgents',
  'listEvents',
  'verifyAudit',
  'getMolecule',
  'listMolecules',
  'listGates',
  'hook',
  'brief',
  'getReceipt',
  'whyTask',
  'staleTasks',
  'duplicateTasks',
  'taskStats',
  'taskHistory',
  'dependencyTree',
  'taskGraph',
  'rigPage',
  'agentPage',
  'sessionPage',
  'readyPage',
  'searchTasks',
  'listLabels',
  'saveFilter',
  'getSavedFilter',
  'listSavedFilters',
  'removeSavedFilter',
  'changeTasks',
  'createPlan',
  'moveTasks',
  'createWisp',
  'getWisp',
  'listWisps',
  'closeWisp',
  'promoteWisp',
  'squashWisps',
  'burnWisps',
  'purgeWisps',
  'squashMolecule',
  'burnMolecule',
  'getRunDigest',
  'listRunDigests',
] as const satisfies readonly (keyof Ledger)[];
type Straight = Pick<Ledger, (typeof STRAIGHT)[number]>;

export interface RecipeWish {
  /** Null: the rig's default formula, or a single step where it has none. */
  readonly formula: string | null;
  readonly vars: Readonly<Record<string, string>>;
  /** A single step, whatever the rig's default is. */
  readonly bare: boolean;
}
export interface SlingWish extends RecipeWish {
  readonly task_id: TaskId;
  readonly target: SlingTarget;
  /** Take over a task that is in progress. */
  readonly resume: boolean;
}
export interface PourWish {
  readonly formula: string;
  readonly vars: Readonly<Record<string, string>>;
  readonly rig_id: RigId;
  readonly title: string | undefined;
  readonly priority: number | undefined;
  readonly target: SlingTarget | null;
  /** A short-lived molecule, of this type and for so long; it needs a target. */
  readonly wisp?: { readonly type: string | null; readonly ttl_ms: number | null };
}
export interface BondWish {
  readonly formula: string;
  readonly vars: Readonly<Record<string, string>>;
  /** What the ids of its steps begin with; the formula's name when absent. */
  readonly ref: string | undefined;
  readonly mode: 'sequential' | 'parallel';
}
export interface Slung {
  readonly task: TaskView;
  readonly molecule_id: MoleculeId;
  readonly target: string;
  readonly formula: string;
  readonly decision_id: string;
}

export interface TownParts {
  readonly ledger: Ledger;
  readonly policy: PolicyPort;
  readonly desk: HookDesk | null;
  readonly features: Features;
  /** Root of the town. */
  readonly root: string;
  /** Folder of formulas shipped with the town. */
  readonly builtInFormulas: string;
  /** Absent: `~/.steeltown/formulas`. */
  readonly userFormulas?: string;
  readonly rebuild: (() => Promise<JsonObject>) | null;
  /** Absent: no code host can be asked. */
  readonly issues?: IssueSource;
}

export function createTownClient(parts: TownParts): TownClient {
  const { ledger, policy, desk, features } = parts;
  const formulas = createFormulaShelf({
    town: join(parts.root, 'formulas'),
    user: parts.userFormulas ?? join(homedir(), '.steeltown', 'formulas'),
    builtIn: parts.builtInFormulas,
  });

  const rigPath = async (id: RigId | undefined) => (id === undefined ? null : (await ledger.getRig(id)).path);

  async function rigOf(target: SlingTarget): Promise<RigView> {
    if (target.kind === 'rig') return await ledger.getRig(target.id);
    const { rig_id } = await ledger.getAgent(target.id);
    if (rig_id !== null) return await ledger.getRig(rig_id);
    throw new TownError('INVALID_INPUT', `${target.id} belongs to no rig, so it has no place to work`, {
      hint: 'name an agent of a rig; see: town agent list',
    });
  }

  async function chooseRecipe(task: TaskView, rig: RigView, { formula, vars, bare }: RecipeWish): Promise<Recipe> {
    // The root of a formula that was poured without a target keeps the recipe it was poured from.
    const poured = task.metadata['recipe_digest'];
    if (!bare && formula === null && typeof poured === 'string') return await ledger.getRecipe(poured);
    const name = bare ? null : (formula ?? rig.default_formula);
    if (name === null) return singleStepRecipe(task.title, task.description, task.acceptance, sha256);
    // What every task can fill in, for formulas that ask for it.
    const known: Record<string, string> = {
      task: task.id,
      issue: task.id,
      title: task.title,
      description: task.description,
    };
    const declared = formulas.variables(name, rig.path);
    const filled = Object.fromEntries(Object.entries(known).filter(([variable]) => declared.includes(variable)));
    return formulas.cook(name, { ...filled, ...vars }, rig.path, { traits: task }).recipe;
  }

  /** Answers the id of the decision. @throws POLICY_DENIED */
  async function decide(ask: Ask, task: DispatchQuestion['task'], target: SlingTarget, rig: RigView): Promise<string> {
    const agents = await ledger.listAgents({ rig_id: rig.id });
    const question: DispatchQuestion = {
      action: 'dispatch',
      actor: { kind: actorKind(ask.actor), name: ask.actor },
      task,
      target: target.id,
      automatic: false,
      features: { automatic_dispatch: features.automatic_dispatch },
      rig: {
        id: rig.id,
        workers_max: rig.workers_max,
        workers_busy: agents.filter((agent: AgentView) => agent.current !== null).length,
      },
    };
    const ruling = await policy.decide(question);
    const id = await ledger.recordDecision({
      action: question.action,
      actor: ask.actor,
      allow: ruling.allow,
      reasons: ruling.reasons,
      question: question as unknown as JsonObject, // plain JSON by its type
      input_digest: ruling.inputDigest,
      policy_hash: ruling.policyHash,
    });
    if (ruling.allow) return id;
    const code = ruling.reasons.some((reason) => reason.startsWith('POLICY_UNAVAILABLE'))
      ? 'POLICY_UNAVAILABLE'
      : 'POLICY_DENIED';
    throw new TownError(code, `${task.id} may not go to ${target.id}: ${ruling.reasons.join('; ')}`, {
      hint: 'ask the person who runs this town; the rules are in its policies folder',
      details: { decision_id: id, reasons: ruling.reasons },
    });
  }

  async function sling(ask: Ask, wish: SlingWish): Promise<Slung> {
    const [task, rig] = await Promise.all([ledger.getTask(wish.task_id), rigOf(wish.target)]);
    const recipe = await chooseRecipe(task, rig, wish);
    const decision_id = await decide(ask, factsOf(task, rig), wish.target, rig);
    const { task: slung, molecule_id } = await ledger.sling(ask, {
      task_id: task.id,
      target: wish.target,
      recipe,
      decision_id,
      ...(wish.resume ? { resume: true } : {}),
    });
    return { task: slung, molecule_id, target: wish.target.id, formula: recipe.formula, decision_id };
  }

  async function pour(ask: Ask, wish: PourWish) {
    const rig = await ledger.getRig(wish.rig_id);
    const { recipe } = formulas.cook(wish.formula, wish.vars, rig.path);
    const named = {
      id: `formula:${recipe.formula}`,
      rig_id: rig.id,
      priority: wish.priority ?? 2,
      type: 'molecule',
      labels: [],
    };
    return await ledger.pour(ask, {
      recipe,
      rig_id: rig.id,
      target: wish.target,
      decision_id: wish.target === null ? null : await decide(ask, named, wish.target, rig),
      ...(wish.title === undefined ? {} : { title: wish.title }),
      ...(wish.priority === undefined ? {} : { priority: wish.priority }),
      ...(wish.wisp === undefined ? {} : { wisp: true, wisp_type: wish.wisp.type, ttl_ms: wish.wisp.ttl_ms }),
    });
  }

  async function expectRunning(molecule_id: MoleculeId): Promise<MoleculeView> {
    const molecule = await ledger.getMolecule(molecule_id);
    if (!isOver(molecule.status)) return molecule;
    throw new TownError('WRONG_STATE', `molecule ${molecule_id} is ${molecule.status}`, {
      hint: `see: town molecule show ${molecule_id}`,
    });
  }

  async function tellMolecule(ask: Ask, molecule_id: MoleculeId, name: string, args: JsonObject) {
    const message = { kind: 'update', name, args: { ...args, actor: ask.actor } } as const;
    return { n: await ledger.tellRun(ask, runId.molecule(molecule_id), message) };
  }

  async function attach(ask: Ask, agent: AgentAddress, worktree: string | null) {
    if (desk === null) {
      throw new TownError('UNAVAILABLE', 'no agent host runs here', { hint: 'start the town with: town up' });
    }
    await ledger.getAgent(parseAgentAddress(agent));
    const opened = await desk.attach(agent, worktree, ask.actor);
    if ((await ledger.hook(agent)).status === 'paused') await tellHook(ask, agent, 'resume', 'a session was attached');
    return opened;
  }

  async function tellHook(ask: Ask, agent: AgentAddress, name: 'pause' | 'resume', reason: string) {
    const { status } = await ledger.getAgent(agent);
    if (status === 'retired') {
      throw new TownError('WRONG_STATE', `${agent} is retired`, { hint: 'see: town agent list' });
    }
    return { n: await ledger.tellRun(ask, runId.agent(agent), { kind: 'update', name, args: { reason } }) };
  }

  /** Any person, where the formula names nobody; an agent only when it, or its role, is named. @throws FORBIDDEN */
  async function expectApprover(ask: Ask, { step, molecule_id, approvers }: GateView): Promise<void> {
    const names = approvers ?? [];
    if (actorKind(ask.actor) === 'person') {
      const name = ask.actor.slice('person:'.length);
      if (approvers === null || names.includes(name) || names.includes(ask.actor)) return;
    } else if (ask.session !== undefined) {
      const { role } = await ledger.getAgent(ask.session.agent);
      if (names.includes(ask.session.agent) || names.includes(role)) return;
    }
    const who = approvers === null ? 'a person' : names.join(' or ');
    throw new TownError('FORBIDDEN', `the gate of ${step} in ${molecule_id} is opened by ${who}, not by ${ask.actor}`, {
      hint: 'ask them: town gate list',
      details: { approvers },
    });
  }

  return {
    ...pick(ledger),
    formulas,
    exchange: createExchange({ ledger, root: parts.root, issues: parts.issues ?? null }),
    root: parts.root,
    desk,
    rigPath,
    sling,
    pour,
    readTarget: (text) =>
      text.includes('/') ? { kind: 'agent', id: parseAgentAddress(text) } : { kind: 'rig', id: text },
    async addRepository(ask, rig) {
      return await ledger.addRig(ask, { ...rig, default_branch: rig.default_branch ?? readBranch(rig.path) });
    },
    async claim(ask, wish) {
      // The claim makes them the agent's; slinging them then needs `resume`, since nobody else may take them any more.
      const claimed = await ledger.claimReady(ask, wish);
      const slung: Slung[] = [];
      for (const task of claimed) {
        const target = { kind: 'agent', id: wish.agent } as const;
        try {
          slung.push(
            await sling(keyed(ask, task.id), {
              task_id: task.id,
              target,
              formula: null,
              vars: {},
              bare: false,
              resume: true,
            }),
          );
        } catch (error) {
          // Not to stay in progress without a molecule.
          await ledger.unassignTask(keyed(ask, `${task.id}.undo`), task.id, 'the claim could not be carried out');
          throw error;
        }
      }
      return slung;
    },
    async openConvoy(ask, { vars, ...convoy }) {
      if (convoy.tasks.length > 0) return await ledger.createConvoy(ask, convoy);
      if (
        convoy.formula === null ||
        convoy.formula === undefined ||
        convoy.rig_id === null ||
        convoy.rig_id === undefined
      ) {
        throw new TownError('USAGE', 'a convoy needs tasks, or a formula and a rig', {
          hint: 'town convoy create <name> <task…>, or: town convoy create <name> --formula <formula> --rig <rig>',
        });
      }
      const { task } = await pour(keyed(ask, 'pour'), {
        formula: convoy.formula,
        vars,
        rig_id: convoy.rig_id,
        title: undefined,
        priority: undefined,
        target: null,
      });
      return await ledger.createConvoy(ask, { ...convoy, tasks: [task.id] });
    },
    async requeue(ask, agent, { molecule_id, reason }) {
      await ledger.getAgent(agent);
      return {
        n: await ledger.tellRun(ask, runId.agent(agent), {
          kind: 'update',
          name: 'requeue',
          args: { molecule_id, reason },
        }),
      };
    },
    async release(ask, agent, reason) {
      const told = await tellHook(ask, agent, 'pause', reason);
      // Who is told that it may stop, stops: a host must know before.
      for (const until = Date.now() + RELEASE_WAIT_MS; Date.now() < until; await sleep(50)) {
        if ((await ledger.hook(agent)).status === 'paused') return told;
      }
      throw new TownError('TIMED_OUT', `the permission for ${agent} is recorded, and not in force yet`, {
        hint: `look whether its hook is paused before it stops: town hook ${agent} --json`,
      });
    },
    resumeHook: (ask, agent, reason) => tellHook(ask, agent, 'resume', reason),
    attach,
    joinHook: createJoin({ ledger, desk, attach }),
    async registerAgent(ask, agent) {
      const { worktree = null, rig_id, runtime } = agent;
      if (worktree !== null && runtime.preset !== 'external') {
        throw new TownError('INVALID_INPUT', 'the town makes the worktrees of the sessions that it starts itself', {
          hint: 'a folder is for an agent with --external',
        });
      }
      if (worktree === null || desk === null) return await ledger.addAgent(ask, agent);
      return await ledger.addAgent(ask, { ...agent, worktree: await desk.placeIn(rig_id, worktree) });
    },
    async resolveStep(ask, molecule_id, wish) {
      const found = stepOf(await ledger.getMolecule(molecule_id), wish.step);
      if (found.status === 'closed') {
        throw new TownError(
          'WRONG_STATE',
          `the step ${found.step} of ${molecule_id} is closed already (${found.outcome ?? 'done'})`,
          {
            hint: `see: town molecule show ${molecule_id}`,
          },
        );
      }
      const { outcome, reason, output } = wish;
      const { step, round } = found;
      if (output === undefined) return await tellMolecule(ask, molecule_id, 'resolveStep', { step, outcome, reason });
      if (outcome === 'skipped')
        throw new TownError('USAGE', 'a step that is skipped has no output', {
          hint: 'close it as done, or as failed',
        });
      await ledger.giveOutput(keyed(ask, 'output'), { molecule_id, step, round, output });
      return await tellMolecule(ask, molecule_id, 'resolveStep', { step, outcome, reason, output });
    },
    async pauseMolecule(ask, molecule_id, reason) {
      await expectRunning(molecule_id);
      return await tellMolecule(ask, molecule_id, 'pause', { reason });
    },
    async resumeMolecule(ask, molecule_id, reason) {
      await expectRunning(molecule_id);
      return await tellMolecule(ask, molecule_id, 'resume', { reason });
    },
    async cancelMolecule(ask, molecule_id, reason) {
      const { root_task_id } = await expectRunning(molecule_id);
      if (root_task_id === null) {
        await tellMolecule(ask, molecule_id, 'cancel', { reason });
        return { task: null };
      }
      const { type } = await ledger.getTask(root_task_id);
      const task =
        type === 'molecule'
          ? await ledger.closeTask(ask, root_task_id, { outcome: 'cancelled', reason, force: true })
          : await ledger.unassignTask(ask, root_task_id, reason);
      return { task };
    },
    async retryStep(ask, molecule_id, { step, reason }) {
      const molecule = await expectRunning(molecule_id);
      const found = stepOf(molecule, step);
      if (!mayBegin(found)) {
        const state = found.status === 'closed' ? `closed as ${found.outcome ?? 'done'}` : found.status;
        throw new TownError(
          'WRONG_STATE',
          `step ${found.step} of ${molecule_id} is ${state}: neither ready nor failed`,
          {
            hint: `see: town molecule show ${molecule_id}`,
          },
        );
      }
      return await tellMolecule(ask, molecule_id, 'retryStep', { step: found.step, reason });
    },
    async bond(ask, molecule_id, { formula, vars, ref, mode }) {
      const { rig_id, steps } = await expectRunning(molecule_id);
      const { recipe } = formulas.cook(formula, vars, await rigPath(rig_id ?? undefined));
      const name = parseName(ref ?? recipe.formula, 'the name of the bond');
      if (steps.some(({ step }) => step === name || step.startsWith(`${name}.`))) {
        throw new TownError('CONFLICT', `${molecule_id} has steps under the name ${name} already`, {
          hint: 'choose another name with --ref',
        });
      }
      await ledger.bondRecipe(ask, { molecule_id, recipe, ref: name, mode });
      return { ref: name, formula: recipe.formula, steps: recipe.steps.length };
    },
    async openGate(ask, molecule_id, { step, reason }) {
      const molecule = await expectRunning(molecule_id);
      const found = stepOf(molecule, step);
      const gate = (await ledger.listGates({ molecule_id })).find((each) => each.step === found.step);
      if (gate === undefined) {
        throw new TownError(
          'WRONG_STATE',
          `step ${found.step} of ${molecule_id} is ${found.status}: it waits at no gate`,
          {
            hint: `see: town gate list --molecule ${molecule_id}`,
          },
        );
      }
      await expectApprover(ask, gate);
      return await tellMolecule(ask, molecule_id, 'openGate', { step: found.step, reason });
    },
    async nextSteps(molecule_id) {
      const { steps } = await ledger.getMolecule(molecule_id);
      return steps.filter(({ status }) => status === 'ready' || status === 'hooked');
    },
    async rebuildProjection() {
      if (parts.rebuild !== null) return await parts.rebuild();
      throw new TownError('UNAVAILABLE', 'the projection is rebuilt by the service, which does not run', {
        hint: 'start it with: town up',
      });
    },
  };
}

/** By its name or its id. @throws NOT_FOUND */
function stepOf({ id: molecule_id, steps }: MoleculeView, wanted: string): StepView {
  const found = steps.find(({ id, step }) => step === wanted || id === wanted);
  if (found !== undefined) return found;
  throw new TownError('NOT_FOUND', `${molecule_id} has no step ${wanted}`, {
    hint: `see: town molecule show ${molecule_id}`,
  });
}

/** A caller's session as the one who asks. */
export function askOfSession({ agent, incarnation }: DeskCaller): Ask {
  return { actor: agent, session: { agent, incarnation } };
}

function pick(ledger: Ledger): Straight {
  // Bound one by one: the ledger may be an object with state of its own.
  return Object.fromEntries(
    STRAIGHT.map((name) => [name, (ledger[name] as (...args: unknown[]) => unknown).bind(ledger)]),
  ) as unknown as Straight;
}

/** One request may make several commands; each has its own key, derived from the request's. */
function keyed(ask: Ask, part: string): Ask {
  return ask.key === undefined ? ask : { ...ask, key: `${ask.key}:${part}` };
}

function factsOf(task: TaskView, rig: RigView): DispatchQuestion['task'] {
  return { id: task.id, rig_id: task.rig_id ?? rig.id, priority: task.priority, type: task.type, labels: task.labels };
}

function actorKind(actor: string): DispatchQuestion['actor']['kind'] {
  if (actor.startsWith('person:')) return 'person';
  if (actor.startsWith('system:')) return 'system';
  return actor.includes('.') ? 'run' : 'agent';
}

/** The branch a repository stands on, read without starting git. */
function readBranch(path: string): string {
  const inside = statSync(join(path, '.git'), { throwIfNoEntry: false });
  const head = inside === undefined ? join(path, 'HEAD') : join(path, '.git', 'HEAD');
  if (inside?.isFile() === true) {
    throw new TownError('INVALID_INPUT', `${path} is a worktree of another repository`, {
      hint: 'name the repository itself, or say which branch with --branch',
    });
  }
  if (statSync(head, { throwIfNoEntry: false })?.isFile() !== true) {
    throw new TownError('INVALID_INPUT', `${path} is not a git repository`, {
      hint: 'name the top folder of a git repository',
    });
  }
  return /^ref: refs\/heads\/(.+)$/m.exec(readFileSync(head, 'utf8'))?.[1]?.trim() ?? 'main';
}
