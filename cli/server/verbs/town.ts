import { isAbsolute, resolve } from 'node:path';
import { parseAgentAddress, parseName, parseTaskId } from '../../../schema/ids';
import type { Runtime } from '../../../schema/ledger';
import type { ConvoyView, EventView } from '../../../schema/views';
import { facts, table } from '../print';
import { defineVerb, type Verb, type VerbAnswer } from '../verb';
import { given, more, readRuntime, readVariables } from './shared';
import { LIMIT } from './task-conditions';
import { CURSOR } from './task-lists';

/** Rigs, agents, convoys, events, and the checks of the town's own books. */

const external = { kind: 'switch', summary: 'somebody else starts the sessions' } as const;
const env = { kind: 'list', summary: 'environment of the program as NAME=value; may be repeated' } as const;
const command = { summary: 'after --: the program that is a session', many: true } as const;

export const townVerbs: readonly Verb[] = [
  defineVerb({
    words: ['rig', 'add'],
    summary: 'add a git repository to the town',
    args: {
      rig: { summary: 'name of the rig', required: true },
      path: { summary: 'folder of the repository', required: true },
      command,
    },
    flags: {
      prefix: { kind: 'text', summary: 'prefix of its task ids; made from its name when absent' },
      branch: { kind: 'text', summary: 'branch that work starts from; the current one when absent' },
      workers: { kind: 'number', min: 1, max: 1000, summary: 'most workers at a time; 3 when absent' },
      formula: { kind: 'text', summary: 'formula for work that names none' },
      external,
      env,
    },
    examples: ['town rig add acme ../acme', 'town rig add acme /src/acme --workers 2 -- ./agent.sh'],
    async run(town, { args, flags, caller }) {
      const rig = await town.addRepository(caller.ask, {
        id: parseName(args.rig, 'the rig'),
        ...given({ prefix: flags.prefix }),
        path: isAbsolute(args.path) ? resolve(args.path) : resolve(caller.cwd, args.path),
        default_branch: flags.branch ?? null,
        workers_max: flags.workers ?? 3,
        runtime: readRuntime(args.command, flags.env, flags.external) ?? { preset: 'external' },
        default_formula: flags.formula ?? null,
      });
      return {
        data: rig,
        text: () => `${rig.id} added: ${rig.path}, branch ${rig.default_branch}, ids ${rig.prefix}-…\n`,
      };
    },
  }),
  defineVerb({
    words: ['rig', 'list'],
    summary: 'list rigs',
    args: {},
    flags: { limit: LIMIT, cursor: CURSOR },
    examples: ['town rig list'],
    async run(town, { flags }) {
      const { items: rigs, next_cursor } = await town.rigPage(given({ limit: flags.limit, cursor: flags.cursor }));
      const rows = rigs.map((rig) => [
        rig.id,
        rig.prefix,
        rig.workers_max,
        rig.default_branch,
        rig.default_formula,
        rig.path,
      ]);
      return {
        data: rigs,
        text: (tty) => table(tty, ['rig', 'prefix', 'workers', 'branch', 'formula', 'path'], rows, 'no rigs'),
        ...more(next_cursor),
      };
    },
  }),
  defineVerb({
    words: ['agent', 'add'],
    summary: 'register an agent',
    args: { agent: { summary: '<rig>/<group>/<name>, or one word for the town', required: true }, command },
    flags: {
      role: { kind: 'text', summary: 'its role; the group when absent' },
      worktree: { kind: 'text', summary: 'with --external: its folder; the first town hook there attaches' },
      external,
      env,
    },
    examples: [
      'town agent add acme/polecats/amber',
      'town agent add acme/crew/bea --external',
      'town agent add acme/crew/bea --external --worktree ../acme-bea',
    ],
    async run(town, { args, flags, caller }) {
      const id = parseAgentAddress(args.agent);
      const [first = id, group] = id.split('/');
      const rig_id = group === undefined ? null : first;
      // Runtime of the rig: it was written by addRig, from a Runtime.
      const inherited = rig_id === null ? null : ((await town.getRig(rig_id)).runtime as unknown as Runtime);
      const agent = await town.registerAgent(caller.ask, {
        id,
        role: flags.role ?? group ?? id,
        rig_id,
        runtime: readRuntime(args.command, flags.env, flags.external) ?? inherited ?? { preset: 'external' },
        ...(flags.worktree === undefined ? {} : { worktree: resolve(caller.cwd, flags.worktree) }),
      });
      return { data: agent, text: () => `${agent.id} added (${agent.role}, ${agent.preset})\n` };
    },
  }),
  defineVerb({
    words: ['agent', 'list'],
    summary: 'list agents and what they work on',
    args: {},
    flags: {
      rig: { kind: 'text', summary: 'of this rig' },
      status: { kind: 'text', choices: ['active', 'paused', 'retired'], summary: 'with this status' },
      limit: LIMIT,
      cursor: CURSOR,
    },
    examples: ['town agent list --rig acme'],
    async run(town, { flags }) {
      const { items: agents, next_cursor } = await town.agentPage(
        given({ rig_id: flags.rig, status: flags.status, limit: flags.limit, cursor: flags.cursor }),
      );
      const rows = agents.map((each) => [
        each.id,
        each.role,
        each.status,
        each.incarnation,
        each.last_seen,
        each.current && `${each.current.molecule_id} ${each.current.step}`,
      ]);
      return {
        data: agents,
        text: (tty) => table(tty, ['agent', 'role', 'status', 'inc', 'last seen', 'works on'], rows, 'no agents'),
        ...more(next_cursor),
      };
    },
  }),
  defineVerb({
    words: ['agent', 'show'],
    summary: 'show an agent',
    args: { agent: { summary: 'address of the agent', required: true } },
    flags: {},
    examples: ['town agent show acme/polecats/amber'],
    async run(town, { args }) {
      const agent = await town.getAgent(parseAgentAddress(args.agent));
      const text = facts({
        agent: agent.id,
        role: agent.role,
        rig: agent.rig_id,
        status: agent.status,
        incarnation: agent.incarnation,
        preset: agent.preset,
        'last seen': agent.last_seen,
        host: agent.host_id,
        'works on': agent.current && `${agent.current.step} of ${agent.current.molecule_id}`,
      });
      return { data: agent, text: () => text };
    },
  }),
  defineVerb({
    words: ['convoy', 'create'],
    summary: 'make a convoy of tasks, or of a formula',
    args: {
      name: { summary: 'name of the convoy', required: true },
      tasks: { summary: 'ids of its tasks', many: true },
    },
    flags: {
      rig: { kind: 'text', summary: 'rig that its tasks are fed to' },
      formula: { kind: 'text', summary: 'formula of the work; without tasks it is poured as the one task' },
      var: { kind: 'list', summary: 'variable of the formula as name=value; may be repeated' },
      notify: { kind: 'list', summary: 'agent to tell when it is complete; may be repeated' },
      human: { kind: 'switch', summary: 'tell the person when it is complete' },
    },
    examples: [
      'town convoy create "release 2" acme-k3f9a acme-m20ab --rig acme --human',
      'town convoy create fixes --formula three-fixes --rig acme',
    ],
    async run(town, { args, flags, caller }) {
      const convoy = await town.openConvoy(caller.ask, {
        name: args.name,
        tasks: args.tasks.map(parseTaskId),
        rig_id: flags.rig ?? null,
        formula: flags.formula ?? null,
        notify: flags.notify,
        human: flags.human,
        vars: readVariables(flags.var),
      });
      return {
        data: convoy,
        text: (tty) => (tty ? `${convoy.id} made with ${convoy.total} tasks\n` : `${convoy.id}\n`),
      };
    },
  }),
  defineVerb({
    words: ['convoy', 'list'],
    summary: 'list convoys',
    args: {},
    flags: {
      status: {
        kind: 'list',
        choices: ['open', 'running', 'stopped', 'completed'],
        summary: 'with this status; may be repeated',
      },
      limit: LIMIT,
      cursor: CURSOR,
    },
    examples: ['town convoy list --status running'],
    async run(town, { flags }) {
      const { items, next_cursor } = await town.listConvoys({
        ...given({ limit: flags.limit, cursor: flags.cursor }),
        ...(flags.status.length === 0 ? {} : { status: flags.status }),
      });
      const rows = items.map((each) => [
        each.id,
        each.status,
        `${each.closed}/${each.total}`,
        `${each.percent}%`,
        each.name,
      ]);
      return {
        data: items,
        text: (tty) => table(tty, ['convoy', 'status', 'closed', 'done', 'name'], rows, 'no convoys'),
        ...more(next_cursor),
      };
    },
  }),
  defineVerb({
    words: ['convoy', 'status'],
    summary: 'show how far a convoy is',
    args: { convoy: { summary: 'id of the convoy', required: true } },
    flags: {},
    examples: ['town convoy status hq-cv-k3f9a'],
    run: async (town, { args }) => answerConvoy(await town.getConvoy(args.convoy)),
  }),
  defineVerb({
    words: ['convoy', 'add'],
    summary: 'add tasks to a convoy',
    args: {
      convoy: { summary: 'id of the convoy', required: true },
      tasks: { summary: 'ids of the tasks', required: true, many: true },
    },
    flags: {},
    examples: ['town convoy add hq-cv-k3f9a acme-m20ab'],
    run: async (town, { args, caller }) =>
      answerConvoy(await town.addToConvoy(caller.ask, args.convoy, args.tasks.map(parseTaskId))),
  }),
  ...(
    [
      ['stop', 'stopped', 'hold back the tasks that are not started yet'],
      ['resume', 'running', 'go on with a stopped convoy'],
    ] as const
  ).map(([word, status, summary]) =>
    defineVerb({
      words: ['convoy', word],
      summary,
      args: { convoy: { summary: 'id of the convoy', required: true } },
      flags: {},
      examples: [`town convoy ${word} hq-cv-k3f9a`],
      run: async (town, { args, caller }) => answerConvoy(await town.setConvoyStatus(caller.ask, args.convoy, status)),
    }),
  ),
  defineVerb({
    words: ['event', 'list'],
    summary: 'list what happened, oldest first',
    args: {},
    flags: {
      after: { kind: 'number', summary: 'only events after this number' },
      type: { kind: 'text', summary: 'of this type' },
      task: { kind: 'text', summary: 'about this task' },
      molecule: { kind: 'text', summary: 'about this molecule' },
      convoy: { kind: 'text', summary: 'about this convoy' },
      limit: LIMIT,
      follow: { kind: 'switch', summary: 'go on as more happens' },
    },
    examples: ['town event list --convoy hq-cv-k3f9a', 'town event list --follow --json'],
    localWith: ['follow'],
    async run(town, { flags }) {
      const { items, next_cursor } = await town.listEvents(
        given({
          after: flags.after,
          type: flags.type,
          task_id: flags.task,
          molecule_id: flags.molecule,
          convoy_id: flags.convoy,
          limit: flags.limit,
        }),
      );
      return {
        data: items,
        text: (tty) => eventTable(items, tty),
        ...(next_cursor === null || items.length === 0 ? {} : { talk: `more follows: --after ${next_cursor}\n` }),
      };
    },
  }),
  defineVerb({
    words: ['audit', 'verify'],
    summary: 'check the hash chain of the audit',
    args: {},
    flags: {},
    examples: ['town audit verify'],
    async run(town) {
      const found = await town.verifyAudit();
      const text = found.ok
        ? `intact: ${found.sealed} events sealed, ${found.unsealed} not sealed yet\n`
        : `broken at event ${found.broken_at ?? '?'}: ${found.problem ?? 'unknown'}\n`;
      return { data: found, text: () => text, code: found.ok ? 0 : 1 };
    },
  }),
  defineVerb({
    words: ['projection', 'rebuild'],
    summary: 'build what lists show anew from stored events, and compare',
    args: {},
    flags: {},
    examples: ['town projection rebuild --json'],
    async run(town) {
      const found = await town.rebuildProjection();
      const text = facts(
        Object.fromEntries(
          Object.entries(found).map(([key, value]) => [
            key,
            typeof value === 'object' ? JSON.stringify(value) : String(value),
          ]),
        ),
      );
      return { data: found, text: () => text };
    },
  }),
];

function answerConvoy(convoy: ConvoyView): VerbAnswer {
  const rows = convoy.tasks.map((task) => [
    task.id,
    task.status,
    task.outcome,
    task.assigned_agent_id,
    task.steps_total === null ? null : `${task.steps_closed ?? 0}/${task.steps_total}`,
    task.resume_step_id,
    task.title,
  ]);
  const heading = facts({
    convoy: convoy.id,
    name: convoy.name,
    status: convoy.status,
    closed: `${convoy.closed} of ${convoy.total} (${convoy.percent}%)`,
  });
  return {
    data: convoy,
    text: (tty) =>
      `${heading}\n${table(tty, ['task', 'status', 'outcome', 'agent', 'steps', 'at', 'title'], rows, 'no tasks')}`,
  };
}

function eventTable(events: readonly EventView[], tty: boolean): string {
  const rows = events.map((each) => [
    each.seq ?? `(${each.id})`,
    each.at,
    each.type,
    each.actor,
    each.task_id ?? each.molecule_id ?? each.convoy_id ?? each.agent_id,
    JSON.stringify(each.payload).slice(0, 200),
  ]);
  return table(tty, ['no', 'at', 'event', 'by', 'about', 'facts'], rows, 'no events');
}
