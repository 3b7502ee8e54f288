import { resolve as resolvePath } from 'node:path';
import { TownError } from '../../../schema/errors';
import { parseTaskId } from '../../../schema/ids';
import type { SlingTarget } from '../../../schema/ledger';
import type { HookView } from '../../../schema/views';
import type { Slung, TownClient } from '../../client/client';
import { closingCommands, describePrime, describeStep } from '../brief';
import { facts, table } from '../print';
import { defineVerb, type Caller, type Verb, type VerbAnswer } from '../verb';
import { given, meantAgent, more, readMetadata, readVariables } from './shared';
import { LIMIT } from './task-conditions';
import { CURSOR } from './task-lists';

/** Getting, doing and closing work. An agent asks the desk of its host; a person asks the ledger. */

const NOTE_MAX = 8_000;
const recipeFlags = {
  formula: { kind: 'text', summary: "formula of the work; the rig's default when absent" },
  var: { kind: 'list', summary: 'variable as name=value; may be repeated' },
  bare: { kind: 'switch', summary: 'a single step, without any formula' },
} as const;
const resume = { kind: 'switch', summary: 'take over a task that is in progress' } as const;
const agentArg = { summary: 'address of the agent; in a session: oneself' } as const;

const showHook = {
  attaches: true,
  args: { agent: agentArg },
  flags: {
    wait: {
      kind: 'number',
      min: 0,
      max: 3600,
      bare: 300,
      summary: 'wait this many seconds for work; 300 without a number',
    },
  },
} as const;

export const workVerbs: readonly Verb[] = [
  defineVerb({
    words: ['sling'],
    summary: 'give a task to an agent or a rig',
    args: {
      task: { summary: 'id of the task', required: true },
      target: { summary: 'address of an agent, or a rig', required: true },
    },
    flags: { ...recipeFlags, resume },
    examples: [
      'town sling acme-k3f9a acme',
      'town sling acme-k3f9a acme/polecats/amber --formula review --var issue=42',
    ],
    async run(town, { args, flags, caller }) {
      return await answerSling(town, caller, args.task, town.readTarget(args.target), flags);
    },
  }),
  ...(['hook', 'hook show'] as const).map((name) =>
    defineVerb({
      words: name.split(' '),
      summary: 'show what is on a hook and the step to work on',
      ...showHook,
      examples: ['town hook', 'town hook --wait 60', 'town hook acme/polecats/amber'],
      run: async (town, { args, flags, caller }) =>
        await answerHook(town, meantAgent(args.agent, caller, 'hook'), flags.wait, caller),
    }),
  ),
  defineVerb({
    words: ['hook', 'assign'],
    summary: 'put a task on the hook of one agent',
    args: {
      agent: { summary: 'address of the agent', required: true },
      task: { summary: 'id of the task', required: true },
    },
    flags: { ...recipeFlags, resume },
    examples: ['town hook assign acme/polecats/amber acme-k3f9a'],
    async run(town, { args, flags, caller }) {
      const target = town.readTarget(args.agent);
      if (target.kind !== 'agent')
        throw new TownError('USAGE', `${args.agent} is not the address of an agent`, {
          hint: 'for a rig: town sling <task> <rig>',
        });
      return await answerSling(town, caller, args.task, target, flags);
    },
  }),
  defineVerb({
    words: ['hook', 'claim'],
    summary: 'take ready tasks of a rig onto a hook',
    args: { agent: agentArg },
    flags: {
      rig: { kind: 'text', summary: "rig to take from; the agent's own when absent" },
      count: { kind: 'number', min: 1, max: 100, summary: 'how many; 1 when absent' },
    },
    examples: ['town hook claim', 'town hook claim acme/polecats/amber --count 3'],
    async run(town, { args, flags, caller }) {
      const agent = meantAgent(args.agent, caller, 'hook claim');
      const rig_id = flags.rig ?? (await town.getAgent(agent)).rig_id;
      if (rig_id === null)
        throw new TownError('USAGE', `${agent} belongs to no rig`, { hint: 'say which rig with --rig' });
      const slung = await town.claim(caller.ask, { agent, rig_id, count: flags.count ?? 1 });
      return { data: slung, text: () => slung.map(describeSlung).join('') || `nothing is ready in ${rig_id}\n` };
    },
  }),
  defineVerb({
    words: ['hook', 'requeue'],
    summary: 'put the work on a hook back to the queue; the molecule is kept',
    args: { agent: agentArg, molecule: { summary: 'molecule; the one being worked on when absent' } },
    flags: { reason: { kind: 'text', summary: 'why' } },
    examples: ['town hook requeue acme/polecats/amber --reason "the other task is urgent"'],
    async run(town, { args, flags, caller }) {
      const agent = meantAgent(args.agent, caller, 'hook requeue');
      const molecule_id = args.molecule ?? (await town.getAgent(agent)).current?.molecule_id;
      if (molecule_id === undefined) {
        throw new TownError('WRONG_STATE', `${agent} works on nothing now`, { hint: `see: town hook ${agent}` });
      }
      const { n } = await town.requeue(caller.ask, agent, { molecule_id, reason: flags.reason ?? 'requeued' });
      return {
        data: { agent_id: agent, molecule_id, n },
        text: () => `${molecule_id} goes back to the queue of ${agent}\n`,
      };
    },
  }),
  defineVerb({
    words: ['hook', 'unassign'],
    summary: 'open a task again and take it off its hook',
    args: { task: { summary: 'id of the task', required: true } },
    flags: { reason: { kind: 'text', summary: 'why' } },
    examples: ['town hook unassign acme-k3f9a --reason "wrong agent"'],
    async run(town, { args, flags, caller }) {
      const task = await town.unassignTask(caller.ask, parseTaskId(args.task), flags.reason ?? 'unassigned');
      return { data: task, text: () => `${task.id} is open again\n` };
    },
  }),
  defineVerb({
    words: ['hook', 'release'],
    summary: 'allow an agent to stop with work on its hook',
    args: { agent: agentArg },
    flags: { reason: { kind: 'text', summary: 'why' } },
    examples: ['town hook release acme/polecats/amber --reason "end of the day"'],
    async run(town, { args, flags, caller }) {
      const agent = meantAgent(args.agent, caller, 'hook release');
      const { n } = await town.release(caller.ask, agent, flags.reason ?? 'released');
      return {
        data: { agent_id: agent, n },
        text: () => `${agent} may stop; its work stays on its hook until: town hook resume ${agent}\n`,
      };
    },
  }),
  defineVerb({
    words: ['hook', 'resume'],
    summary: 'go on with the work of an agent that was allowed to stop',
    args: { agent: agentArg },
    flags: { reason: { kind: 'text', summary: 'why' } },
    examples: ['town hook resume acme/polecats/amber'],
    async run(town, { args, flags, caller }) {
      const agent = meantAgent(args.agent, caller, 'hook resume');
      const { n } = await town.resumeHook(caller.ask, agent, flags.reason ?? 'resumed');
      return { data: { agent_id: agent, n }, text: () => `${agent} goes on with its hook\n` };
    },
  }),
  defineVerb({
    words: ['prime'],
    attaches: true,
    summary: 'what an agent needs to know to work: who it is, the rule, the step, the commands',
    args: { agent: agentArg },
    flags: {},
    examples: ['town prime', 'town prime acme/polecats/amber'],
    async run(town, { args, caller }) {
      const view = await readHook(town, meantAgent(args.agent, caller, 'prime'), 0, caller);
      const data = {
        agent_id: view.agent_id,
        incarnation: view.incarnation,
        waiting: view.items.length,
        current: view.current,
        commands: view.current === null ? ['town hook --wait'] : closingCommands(view.current),
      };
      return { data, text: () => describePrime(view) };
    },
  }),
  defineVerb({
    words: ['step', 'show'],
    summary: 'show a step with its instructions and what came before',
    args: {
      molecule: { summary: 'id of the molecule', required: true },
      step: { summary: 'name of the step', required: true },
    },
    flags: {},
    examples: ['town step show acme-k3f9a-m1 run-tests'],
    async run(town, { args }) {
      const brief = await town.brief(args.molecule, args.step);
      return { data: brief, text: () => describeStep(brief) };
    },
  }),
  defineVerb({
    words: ['step', 'close'],
    summary: 'close the step one works on; a person names molecule and step',
    args: {
      molecule: { summary: 'in a session: the step, or nothing for the current one' },
      step: { summary: 'name of the step' },
    },
    flags: {
      outcome: {
        kind: 'text',
        choices: ['done', 'failed', 'skipped'],
        summary: 'done when absent; skipped is for people',
      },
      note: { kind: 'text', summary: 'what was done, for the next step' },
      reason: { kind: 'text', summary: 'why a person closes it' },
      commit: { kind: 'text', summary: 'commit of the work; the head of the worktree when absent' },
      output: { kind: 'json', summary: 'results for machines, a JSON object' },
      'next-wait': { kind: 'number', min: 0, max: 20, summary: 'seconds to wait for the next step; 20 when absent' },
    },
    examples: [
      'town step close --outcome done --note "added the check and its test"',
      'town step close acme-k3f9a-m1 review --outcome skipped --reason "seen in the call"',
      `town step close acme-k3f9a-m1 survey --reason "done by hand" --output '{"found":["a","b"]}'`,
    ],
    async run(town, { args, flags, caller }) {
      return caller.session === null
        ? await resolve(town, caller, args, flags)
        : await closeOwn(town, caller, args, flags);
    },
  }),
  defineVerb({
    words: ['attach'],
    summary: 'serve an agent whose session you start yourself; answers what its session must be told',
    args: { agent: { summary: 'address of the agent', required: true } },
    flags: { worktree: { kind: 'text', summary: 'folder it works in' } },
    examples: ['eval "$(town attach acme/crew/bea)"'],
    async run(town, { args, flags, caller }) {
      const worktree = flags.worktree === undefined ? null : resolvePath(caller.cwd, flags.worktree);
      const opened = await town.attach(caller.ask, args.agent, worktree);
      return {
        data: { agent_id: args.agent, ...opened },
        text: () =>
          `export TOWN_TOKEN=${opened.token}\nexport TOWN_AGENT=${args.agent}\nexport TOWN_ROOT=${shellWord(town.root)}\n`,
        talk: `${args.agent} is attached as incarnation ${opened.incarnation}\n`,
      };
    },
  }),
  defineVerb({
    words: ['session', 'list'],
    summary: 'list sessions',
    args: {},
    flags: {
      agent: { kind: 'text', summary: 'of this agent' },
      status: { kind: 'text', choices: ['opening', 'running', 'ended'], summary: 'with this status' },
      limit: LIMIT,
      cursor: CURSOR,
    },
    examples: ['town session list --agent acme/polecats/amber'],
    async run(town, { flags }) {
      const { items: sessions, next_cursor } = await town.sessionPage(
        given({ agent_id: flags.agent, status: flags.status, limit: flags.limit, cursor: flags.cursor }),
      );
      const rows = sessions.map((each) => [
        each.id,
        each.agent_id,
        each.incarnation,
        each.status,
        each.pid,
        each.started_at,
        each.end_reason,
      ]);
      return {
        data: sessions,
        text: (tty) => table(tty, ['session', 'agent', 'inc', 'status', 'pid', 'since', 'end'], rows, 'no sessions'),
        ...more(next_cursor),
      };
    },
  }),
];

interface CloseFlags {
  readonly outcome: string | undefined;
  readonly note: string | undefined;
  readonly reason: string | undefined;
  readonly commit: string | undefined;
  readonly output: Parameters<typeof readMetadata>[0];
  readonly 'next-wait': number | undefined;
}
interface CloseArgs {
  readonly molecule: string | undefined;
  readonly step: string | undefined;
}

async function closeOwn(town: TownClient, caller: Caller, args: CloseArgs, flags: CloseFlags): Promise<VerbAnswer> {
  const outcome = flags.outcome ?? 'done';
  if (outcome !== 'done' && outcome !== 'failed') {
    throw new TownError('USAGE', 'a session closes its step as done or failed', {
      hint: 'say what stands in the way: --outcome failed --note "…"',
    });
  }
  const note = flags.note ?? flags.reason ?? '';
  if (note.length > NOTE_MAX)
    throw new TownError('INPUT_TOO_LARGE', `the note has ${note.length} characters; at most ${NOTE_MAX} are kept`, {
      hint: 'put details into a file of the repository',
    });
  const closed = await deskOf(town).closeStep(sessionOf(caller), {
    molecule_id: args.step === undefined ? null : (args.molecule ?? null),
    step: args.step ?? args.molecule ?? null,
    outcome,
    note,
    commit_id: flags.commit ?? null,
    output: readMetadata(flags.output) ?? null,
    next_wait_ms: (flags['next-wait'] ?? 20) * 1000,
  });
  const state = `${closed.step} closed as ${closed.outcome}${closed.already ? ' (it was already)' : ''}${closed.projected ? '' : '; recorded, and shown shortly'}\n`;
  const next =
    closed.next === null ? 'No next step yet. Wait for it with: town hook --wait\n' : `\n${describeStep(closed.next)}`;
  return { data: closed, text: () => `${state}${next}` };
}

async function resolve(town: TownClient, caller: Caller, args: CloseArgs, flags: CloseFlags): Promise<VerbAnswer> {
  if (args.molecule === undefined || args.step === undefined) {
    throw new TownError('USAGE', 'a person names the molecule and the step', {
      hint: 'town step close <molecule> <step> --outcome done --reason "…"',
    });
  }
  const wish = {
    step: args.step,
    outcome: (flags.outcome ?? 'done') as 'done' | 'failed' | 'skipped', // one of the choices
    reason: flags.reason ?? flags.note ?? '',
  };
  const output = readMetadata(flags.output);
  if (wish.reason === '')
    throw new TownError('USAGE', 'closing the step of somebody else needs a reason', { hint: 'say why with --reason' });
  const { n } = await town.resolveStep(caller.ask, args.molecule, output === undefined ? wish : { ...wish, output });
  const data = { molecule_id: args.molecule, ...wish, n };
  return { data, text: () => `${wish.step} of ${data.molecule_id} is being closed as ${wish.outcome}\n` };
}

/** For the agent's own session the desk answers: it also waits. */
async function readHook(town: TownClient, agent: string, waitMs: number, caller: Caller): Promise<HookView> {
  const own = caller.session?.agent === agent ? caller.session : null;
  if (own === null || town.desk === null) return await town.hook(agent);
  const current = await town.desk.current(own, waitMs);
  return { ...(await town.hook(agent)), current };
}

async function answerHook(
  town: TownClient,
  agent: string,
  waitS: number | undefined,
  caller: Caller,
): Promise<VerbAnswer> {
  if (waitS !== undefined && caller.session?.agent !== agent) {
    throw new TownError('USAGE', 'only the session of the agent itself can wait at its hook', {
      hint: `without --wait: town hook ${agent}`,
    });
  }
  const view = await readHook(town, agent, (waitS ?? 0) * 1000, caller);
  const rows = view.items.map(({ molecule_id, state, priority, since, title }) => [
    molecule_id,
    state,
    `P${priority}`,
    since,
    title,
  ]);
  const text = (tty: boolean) =>
    caller.session?.agent === agent
      ? view.current === null
        ? 'Nothing is on your hook. Wait for work with: town hook --wait\n'
        : describeStep(view.current)
      : `${tty ? `${facts({ agent, status: view.status, incarnation: view.incarnation, step: view.current && `${view.current.step} of ${view.current.molecule_id}` })}\n` : ''}${table(tty, ['molecule', 'state', 'prio', 'since', 'title'], rows, 'the hook is empty')}`;
  return { data: view, text };
}

async function answerSling(
  town: TownClient,
  caller: Caller,
  task: string,
  target: SlingTarget,
  flags: { formula: string | undefined; var: string[]; bare: boolean; resume: boolean },
): Promise<VerbAnswer> {
  const slung = await town.sling(caller.ask, {
    task_id: parseTaskId(task),
    target,
    formula: flags.formula ?? null,
    vars: readVariables(flags.var),
    bare: flags.bare,
    resume: flags.resume,
  });
  return { data: slung, text: () => describeSlung(slung) };
}

function shellWord(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function describeSlung({ task, molecule_id, target, formula }: Slung): string {
  return `${task.id} goes to ${target} as ${molecule_id} (${formula})\n`;
}

function deskOf(town: TownClient): NonNullable<TownClient['desk']> {
  if (town.desk !== null) return town.desk;
  throw new TownError('UNAVAILABLE', 'no agent host runs here', { hint: 'start the town with: town up' });
}

function sessionOf(caller: Caller): NonNullable<Caller['session']> {
  if (caller.session !== null) return caller.session;
  throw new Error('asked for the session of a person');
}
