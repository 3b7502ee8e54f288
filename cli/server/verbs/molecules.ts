import { TownError } from '../../../schema/errors';
import type { EventView, MoleculeView, StepView } from '../../../schema/views';
import { facts, printable, table } from '../print';
import { defineVerb, type Verb } from '../verb';
import { given, more, readVariables } from './shared';
import { LIMIT } from './task-conditions';
import { CURSOR } from './task-lists';

/** Molecules: making, watching and steering them, and the gates their steps wait at. */

const variables = { kind: 'list', summary: 'variable as name=value; may be repeated' } as const;
const moleculeArg = { summary: 'id of the molecule', required: true } as const;
const stepArg = { summary: 'name of the step', required: true } as const;
const reason = { kind: 'text', summary: 'why' } as const;

export const moleculeVerbs: readonly Verb[] = [
  defineVerb({
    words: ['molecule', 'pour'],
    summary: 'make the work of a formula; with --on it is started at once',
    args: { formula: { summary: 'name of the formula', required: true } },
    flags: {
      rig: { kind: 'text', summary: 'rig it belongs to; needed unless --on names one' },
      var: variables,
      title: { kind: 'text', summary: 'title of its root task' },
      priority: { kind: 'number', min: 0, max: 4, summary: '0 (most urgent) to 4' },
      on: { kind: 'text', summary: 'agent or rig that does it now' },
    },
    examples: [
      'town molecule pour review --rig acme --var issue=42',
      'town molecule pour review --on acme/polecats/amber',
    ],
    async run(town, { args, flags, caller }) {
      const target = flags.on === undefined ? null : town.readTarget(flags.on);
      const poured = await town.pour(caller.ask, {
        formula: args.formula,
        vars: readVariables(flags.var),
        rig_id: flags.rig ?? flags.on?.split('/')[0] ?? missingRig(),
        title: flags.title,
        priority: flags.priority,
        target,
      });
      const { task, molecule_id } = poured;
      return {
        data: poured,
        text: (tty) =>
          tty
            ? `${task.id} made${molecule_id === null ? '' : `, molecule ${molecule_id} goes to ${flags.on}`}\n`
            : `${task.id}\t${molecule_id ?? ''}\n`,
      };
    },
  }),
  defineVerb({
    words: ['molecule', 'show'],
    summary: 'show a molecule and its steps',
    args: { molecule: moleculeArg },
    flags: {},
    examples: ['town molecule show acme-k3f9a-m1'],
    async run(town, { args }) {
      const molecule = await town.getMolecule(args.molecule);
      return { data: molecule, text: (tty) => describeMolecule(molecule, tty) };
    },
  }),
  defineVerb({
    words: ['molecule', 'list'],
    summary: 'list molecules',
    args: {},
    flags: {
      rig: { kind: 'text', summary: 'of this rig' },
      status: {
        kind: 'text',
        choices: ['running', 'paused', 'completed', 'failed', 'cancelled'],
        summary: 'with this status',
      },
      task: { kind: 'text', summary: 'of this task' },
      wisps: { kind: 'switch', summary: 'short-lived ones too' },
      limit: LIMIT,
      cursor: CURSOR,
    },
    examples: ['town molecule list --rig acme'],
    async run(town, { flags }) {
      const { items, next_cursor } = await town.listMolecules(
        given({
          rig_id: flags.rig,
          status: flags.status,
          root_task_id: flags.task,
          wisps: flags.wisps || undefined,
          limit: flags.limit,
          cursor: flags.cursor,
        }),
      );
      const rows = items.map((each) => [
        each.id,
        each.status,
        `${each.steps_closed}/${each.steps_total}`,
        each.agent_id,
        each.resume_step_id,
        each.formula,
      ]);
      return {
        data: items,
        text: (tty) => table(tty, ['molecule', 'status', 'steps', 'agent', 'at', 'formula'], rows, 'no molecules'),
        ...more(next_cursor),
      };
    },
  }),
  defineVerb({
    words: ['molecule', 'next'],
    summary: 'show the steps that are due or being worked on',
    args: { molecule: moleculeArg },
    flags: {},
    examples: ['town molecule next acme-k3f9a-m1'],
    async run(town, { args }) {
      const steps = await town.nextSteps(args.molecule);
      return { data: steps, text: (tty) => stepTable(steps, tty, 'no step is due') };
    },
  }),
  defineVerb({
    words: ['molecule', 'graph'],
    summary: 'show what needs what, as text or for Graphviz',
    args: { molecule: moleculeArg },
    flags: { format: { kind: 'text', choices: ['text', 'dot'], summary: 'text when absent' } },
    examples: ['town molecule graph mol-k3f9a2b1', 'town molecule graph mol-k3f9a2b1 --format dot'],
    async run(town, { args, flags }) {
      const molecule = await town.getMolecule(args.molecule);
      const edges = edgesOf(molecule.steps);
      return {
        data: {
          molecule_id: molecule.id,
          steps: molecule.steps.map(({ step, status, outcome }) => ({ step, status, outcome })),
          edges,
        },
        text: () => (flags.format === 'dot' ? drawDot(molecule, edges) : drawText(molecule.steps, edges)),
      };
    },
  }),
  defineVerb({
    words: ['molecule', 'log'],
    summary: 'show what happened in a molecule, oldest first',
    args: { molecule: moleculeArg },
    flags: {
      after: { kind: 'number', summary: 'only events after this number' },
      limit: { kind: 'number', min: 1, max: 1000, summary: 'at most this many; 100 when absent' },
    },
    examples: ['town molecule log mol-k3f9a2b1', 'town molecule log mol-k3f9a2b1 --after 120'],
    async run(town, { args, flags }) {
      await town.getMolecule(args.molecule);
      const { items, next_cursor } = await town.listEvents(
        given({ molecule_id: args.molecule, after: flags.after, limit: flags.limit }),
      );
      const rows = items.map((event) => [event.seq, event.at, event.type, placeOf(event), wordsOf(event)]);
      return {
        data: items,
        text: (tty) => table(tty, ['seq', 'at', 'event', 'step', 'what'], rows, 'nothing has happened yet'),
        ...(next_cursor === null ? {} : { talk: `more follows: --after ${next_cursor}\n` }),
      };
    },
  }),
  defineVerb({
    words: ['molecule', 'pause'],
    summary: 'dispatch no more steps; what is being worked on goes on',
    args: { molecule: moleculeArg },
    flags: { reason },
    examples: ['town molecule pause mol-k3f9a2b1 --reason "the plan is being changed"'],
    async run(town, { args, flags, caller }) {
      const { n } = await town.pauseMolecule(caller.ask, args.molecule, flags.reason ?? '');
      return { data: { molecule_id: args.molecule, n }, text: () => `${args.molecule} is being paused\n` };
    },
  }),
  defineVerb({
    words: ['molecule', 'resume'],
    summary: 'go on with a paused molecule',
    args: { molecule: moleculeArg },
    flags: { reason },
    examples: ['town molecule resume mol-k3f9a2b1'],
    async run(town, { args, flags, caller }) {
      const { n } = await town.resumeMolecule(caller.ask, args.molecule, flags.reason ?? '');
      return { data: { molecule_id: args.molecule, n }, text: () => `${args.molecule} goes on\n` };
    },
  }),
  defineVerb({
    words: ['molecule', 'cancel'],
    summary: 'end a molecule; the task it was slung from is open again, one that was poured for it is closed',
    args: { molecule: moleculeArg },
    flags: { reason: { kind: 'text', summary: 'why; needed' } },
    examples: ['town molecule cancel mol-k3f9a2b1 --reason "not wanted any more"'],
    async run(town, { args, flags, caller }) {
      const { task } = await town.cancelMolecule(caller.ask, args.molecule, needed(flags.reason, 'cancelling'));
      return {
        data: { molecule_id: args.molecule, task },
        text: () => `${args.molecule} is being cancelled${task === null ? '' : `; ${task.id} is ${task.status}`}\n`,
      };
    },
  }),
  defineVerb({
    words: ['molecule', 'retry'],
    summary: 'give a step that failed, is stuck or waits for its next attempt new ones, at once',
    args: { molecule: moleculeArg, step: stepArg },
    flags: { reason },
    examples: ['town molecule retry mol-k3f9a2b1 run-tests --reason "the database is back"'],
    async run(town, { args, flags, caller }) {
      const { n } = await town.retryStep(caller.ask, args.molecule, { step: args.step, reason: flags.reason ?? '' });
      return {
        data: { molecule_id: args.molecule, step: args.step, n },
        text: () => `${args.step} of ${args.molecule} is begun again\n`,
      };
    },
  }),
  defineVerb({
    words: ['molecule', 'skip'],
    summary: 'close a step as skipped; what needs it goes on',
    args: { molecule: moleculeArg, step: stepArg },
    flags: { reason: { kind: 'text', summary: 'why; needed' } },
    examples: ['town molecule skip mol-k3f9a2b1 review --reason "seen in the call"'],
    async run(town, { args, flags, caller }) {
      const wish = { step: args.step, outcome: 'skipped', reason: needed(flags.reason, 'skipping a step') } as const;
      const { n } = await town.resolveStep(caller.ask, args.molecule, wish);
      return {
        data: { molecule_id: args.molecule, ...wish, n },
        text: () => `${args.step} of ${args.molecule} is being skipped\n`,
      };
    },
  }),
  defineVerb({
    words: ['molecule', 'bond'],
    summary: 'append the steps of another formula to a running molecule',
    args: { molecule: moleculeArg, formula: { summary: 'name of the formula', required: true } },
    flags: {
      var: variables,
      ref: { kind: 'text', summary: "what the names of its steps begin with; the formula's name when absent" },
      parallel: { kind: 'switch', summary: 'begin now; otherwise after all that the molecule has by now' },
    },
    examples: [
      'town molecule bond mol-k3f9a2b1 security-review --ref extra',
      'town molecule bond mol-k3f9a2b1 docs --parallel',
    ],
    async run(town, { args, flags, caller }) {
      const bonded = await town.bond(caller.ask, args.molecule, {
        formula: args.formula,
        vars: readVariables(flags.var),
        ref: flags.ref,
        mode: flags.parallel ? 'parallel' : 'sequential',
      });
      return {
        data: { molecule_id: args.molecule, ...bonded },
        text: () => `${args.molecule} gets ${bonded.steps} steps of ${bonded.formula} as ${bonded.ref}.…\n`,
      };
    },
  }),
  defineVerb({
    words: ['gate', 'list'],
    summary: 'list steps that wait at a gate, longest first',
    args: {},
    flags: {
      rig: { kind: 'text', summary: 'of this rig' },
      molecule: { kind: 'text', summary: 'of this molecule' },
    },
    examples: ['town gate list --rig acme'],
    async run(town, { flags }) {
      const gates = await town.listGates(given({ rig_id: flags.rig, molecule_id: flags.molecule }));
      const rows = gates.map((gate) => [
        gate.molecule_id,
        gate.step,
        gate.waits_for,
        gate.since,
        gate.escalated ?? gate.trouble,
        gate.prompt ?? gate.title,
      ]);
      return {
        data: gates,
        text: (tty) =>
          table(tty, ['molecule', 'step', 'waits for', 'since', 'trouble', 'what'], rows, 'no step waits at a gate'),
      };
    },
  }),
  defineVerb({
    words: ['gate', 'open'],
    summary: 'open the gate that a step waits at',
    args: { molecule: moleculeArg, step: stepArg },
    flags: { reason },
    examples: ['town gate open mol-k3f9a2b1 deploy --reason "approved in the call"'],
    async run(town, { args, flags, caller }) {
      const { n } = await town.openGate(caller.ask, args.molecule, { step: args.step, reason: flags.reason ?? '' });
      return {
        data: { molecule_id: args.molecule, step: args.step, n },
        text: () => `the gate of ${args.step} in ${args.molecule} is being opened\n`,
      };
    },
  }),
];

function missingRig(): never {
  throw new TownError('USAGE', 'a molecule needs a rig', { hint: 'say which with --rig, or name an agent with --on' });
}

function describeMolecule(molecule: MoleculeView, tty: boolean): string {
  const heading = facts({
    molecule: molecule.id,
    formula: molecule.formula,
    status: molecule.status,
    steps: `${molecule.steps_closed} of ${molecule.steps_total} closed`,
    task: molecule.root_task_id,
    rig: molecule.rig_id,
    agent: molecule.agent_id,
    'goes on at': molecule.resume_step_id,
    outcome: molecule.outcome,
    attention: molecule.attention,
  });
  return `${heading}\n${stepTable(molecule.steps, tty, 'no steps')}`;
}

function stepTable(steps: readonly StepView[], tty: boolean, none: string): string {
  const rows = steps.map(({ step, status, attempt, agent_id, outcome, waits_for, title }) => [
    step,
    status,
    attempt,
    agent_id,
    outcome ?? (waits_for === null ? null : `waits for ${waits_for}`),
    title,
  ]);
  return table(tty, ['step', 'status', 'attempt', 'agent', 'outcome', 'title'], rows, none);
}

function needed(why: string | undefined, what: string): string {
  if (why !== undefined && why.trim() !== '') return why;
  throw new TownError('USAGE', `${what} needs a reason`, { hint: 'say why with --reason' });
}

interface Edge {
  readonly from: string;
  readonly to: string;
  /** `brings`: a round, an item or a compensation of it. */
  readonly kind: 'needs' | 'brings';
}

function edgesOf(steps: readonly StepView[]): Edge[] {
  const names = new Set(steps.map(({ step }) => step));
  return steps.flatMap(({ step, needs }): Edge[] => {
    const parts = step.split('.');
    // The nearest step of which the name is the beginning brought it, or contains it.
    const above = parts.map((_, index) => parts.slice(0, index).join('.')).findLast((name) => names.has(name));
    return [
      ...needs.map((need): Edge => ({ from: need, to: step, kind: 'needs' })),
      ...(above === undefined || needs.length > 0 ? [] : [{ from: above, to: step, kind: 'brings' } as const]),
    ];
  });
}

function drawText(steps: readonly StepView[], edges: readonly Edge[]): string {
  if (steps.length === 0) return 'no steps\n';
  return steps
    .map(({ step, status, outcome, waits_for }) => {
      const from = (kind: Edge['kind']) =>
        edges.flatMap((edge) => (edge.to === step && edge.kind === kind ? edge.from : []));
      const [needs, by] = [from('needs'), from('brings')];
      const state = outcome ?? (waits_for === null ? status : `waits for ${waits_for}`);
      return `${step} [${state}]${needs.length === 0 ? '' : ` ← ${needs.join(', ')}`}${by.length === 0 ? '' : ` (of ${by.join(', ')})`}\n`;
    })
    .map(printable)
    .join('');
}

const COLOURS: Readonly<Record<string, string>> = {
  done: 'palegreen',
  failed: 'salmon',
  skipped: 'lightgrey',
  hooked: 'gold',
  ready: 'lightblue',
  gated: 'plum',
};

function drawDot({ id, steps }: MoleculeView, edges: readonly Edge[]): string {
  const name = (text: string) => `"${text.replaceAll(/["\\]/g, '\\$&')}"`;
  return [
    `digraph ${name(id)} {`,
    '  rankdir=LR; node [shape=box, style=filled, fillcolor=white];',
    ...steps.map(({ step, status, outcome }) => {
      const colour = COLOURS[outcome ?? status];
      return `  ${name(step)}${colour === undefined ? '' : ` [fillcolor=${colour}]`};`;
    }),
    ...edges.map(
      ({ from, to, kind }) => `  ${name(from)} -> ${name(to)}${kind === 'brings' ? ' [style=dashed]' : ''};`,
    ),
    '}\n',
  ].join('\n');
}

/** The step that an event is about. */
function placeOf({ payload }: EventView): string | null {
  const step = fieldOf(payload, 'step');
  return typeof step === 'string' ? step : null;
}

/** What an event says beside its name, in a few words. */
function wordsOf({ payload, agent_id }: EventView): string {
  const words = ['outcome', 'holds', 'round', 'reason', 'note', 'ref', 'by'].flatMap((key) => {
    const value = fieldOf(payload, key);
    return value === undefined || value === null || value === ''
      ? []
      : [`${key}: ${typeof value === 'string' ? value.slice(0, 200) : JSON.stringify(value)}`];
  });
  return [...(agent_id === null ? [] : [agent_id]), ...words].join('; ');
}

function fieldOf(payload: EventView['payload'], key: string): unknown {
  return typeof payload === 'object' && payload !== null && Object.hasOwn(payload, key)
    ? (payload as Readonly<Record<string, unknown>>)[key]
    : undefined;
}
