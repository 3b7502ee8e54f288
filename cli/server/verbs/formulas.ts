import { TownError } from '../../../schema/errors';
import type { MoleculeView, StepView } from '../../../schema/views';
import { facts, printable, table } from '../print';
import { defineVerb, type Verb } from '../verb';
import { given, more, readVariables } from './shared';

const variables = { kind: 'list', summary: 'variable as name=value; may be repeated' } as const;
const rig = { kind: 'text', summary: 'look also into the formulas of this rig' } as const;

export const formulaVerbs: readonly Verb[] = [
  defineVerb({
    words: ['formula', 'list'],
    summary: 'list formulas',
    args: {},
    flags: { rig },
    examples: ['town formula list --rig acme'],
    async run(town, { flags }) {
      const entries = town.formulas.list(await town.rigPath(flags.rig));
      const rows = entries.map(({ name, source, path }) => [name, source, path]);
      return { data: entries, text: (tty) => table(tty, ['formula', 'source', 'file'], rows, 'no formulas') };
    },
  }),
  defineVerb({
    words: ['formula', 'show'],
    summary: 'show the text of a formula',
    args: { formula: { summary: 'name of the formula', required: true } },
    flags: { rig },
    examples: ['town formula show review'],
    async run(town, { args, flags }) {
      const { entry, text } = town.formulas.read(args.formula, await town.rigPath(flags.rig));
      return { data: { ...entry, text }, text: () => (text.endsWith('\n') ? printable(text) : `${printable(text)}\n`) };
    },
  }),
  defineVerb({
    words: ['formula', 'cook'],
    summary: 'check a formula and show the steps it makes; changes nothing',
    args: { formula: { summary: 'name of the formula', required: true } },
    flags: { var: variables, rig },
    examples: ['town formula cook review --var issue=42'],
    async run(town, { args, flags }) {
      const { recipe, warnings } = town.formulas.cook(
        args.formula,
        readVariables(flags.var),
        await town.rigPath(flags.rig),
      );
      const rows = recipe.steps.map(({ id, title, needs, parallel }) => [
        id,
        needs.join(' '),
        parallel ? 'yes' : 'no',
        title,
      ]);
      return {
        data: recipe,
        text: (tty) => table(tty, ['step', 'needs', 'parallel', 'title'], rows, 'no steps'),
        talk: warnings.map(({ file, line, message }) => `${file}:${line}: warning: ${message}\n`).join(''),
      };
    },
  }),
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
    args: { molecule: { summary: 'id of the molecule', required: true } },
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
      status: { kind: 'text', summary: 'with this status' },
      task: { kind: 'text', summary: 'of this task' },
      limit: { kind: 'number', min: 1, max: 1000, summary: 'at most this many' },
      cursor: { kind: 'text', summary: 'where the page before ended' },
    },
    examples: ['town molecule list --rig acme'],
    async run(town, { flags }) {
      const { items, next_cursor } = await town.listMolecules(
        given({
          rig_id: flags.rig,
          status: flags.status,
          root_task_id: flags.task,
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
    args: { molecule: { summary: 'id of the molecule', required: true } },
    flags: {},
    examples: ['town molecule next acme-k3f9a-m1'],
    async run(town, { args }) {
      const steps = await town.nextSteps(args.molecule);
      return { data: steps, text: (tty) => stepTable(steps, tty, 'no step is due') };
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
  const rows = steps.map(({ step, status, attempt, agent_id, outcome, title }) => [
    step,
    status,
    attempt,
    agent_id,
    outcome,
    title,
  ]);
  return table(tty, ['step', 'status', 'attempt', 'agent', 'outcome', 'title'], rows, none);
}
