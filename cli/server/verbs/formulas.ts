import { resolve } from 'node:path';
import { TownError } from '../../../schema/errors';
import { diffRecipes, diffText } from '../../../schema/formula/diff';
import { recipeDot, recipeText } from '../../../schema/formula/picture';
import type { FormulaProblem } from '../../../schema/formula/recipe';
import { TEMPLATES, type TemplateName } from '../../../schema/formula/templates';
import type { MoleculeView, StepView } from '../../../schema/views';
import { facts, printable, table } from '../print';
import { defineVerb, type Caller, type Verb } from '../verb';
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
    flags: {
      var: variables,
      rig,
      open: { kind: 'switch', summary: 'leave variables open that are not given, and conditions about them undecided' },
    },
    examples: ['town formula cook review --var issue=42', 'town formula cook review --open'],
    async run(town, { args, flags }) {
      const { recipe, warnings } = town.formulas.cook(
        args.formula,
        readVariables(flags.var),
        await town.rigPath(flags.rig),
        { open: flags.open },
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
        talk: warnings.map(problemLine).join(''),
      };
    },
  }),
  defineVerb({
    words: ['formula', 'lint'],
    summary: 'tell everything that is wrong with formulas; exit code 1 when one cannot be used',
    args: { formulas: { summary: 'names of the formulas; all when none is named', many: true } },
    flags: { rig },
    examples: ['town formula lint', 'town formula lint review --rig acme'],
    async run(town, { args, flags }) {
      const linted = town.formulas.lint(args.formulas ?? [], await town.rigPath(flags.rig));
      const errors = linted.problems.filter(({ severity }) => severity === 'error').length;
      return {
        data: linted,
        text: () => linted.problems.map(problemLine).join(''),
        talk: `${linted.checked.length} looked at: ${errors} errors, ${linted.problems.length - errors} warnings\n`,
        code: errors === 0 ? 0 : 1,
      };
    },
  }),
  defineVerb({
    words: ['formula', 'graph'],
    summary: 'show the order of the steps of a formula, as text or for Graphviz',
    args: { formula: { summary: 'name of the formula', required: true } },
    flags: {
      var: variables,
      rig,
      format: { kind: 'text', choices: ['text', 'dot'], summary: 'text (the default) or dot' },
    },
    examples: ['town formula graph review', 'town formula graph review --format dot'],
    async run(town, { args, flags }) {
      const given = readVariables(flags.var);
      const { recipe } = town.formulas.cook(args.formula, given, await town.rigPath(flags.rig), { open: true });
      const drawn = flags.format === 'dot' ? recipeDot(recipe) : recipeText(recipe);
      return {
        data: { formula: recipe.formula, steps: recipe.steps, groups: recipe.groups ?? {} },
        text: () => printable(drawn),
      };
    },
  }),
  defineVerb({
    words: ['formula', 'diff'],
    summary: 'show step by step in what two formulas differ',
    args: {
      before: { summary: 'name of the one formula', required: true },
      after: { summary: 'name of the other', required: true },
    },
    flags: { var: variables, rig },
    examples: ['town formula diff review review-strict'],
    async run(town, { args, flags }) {
      const [given, path] = [readVariables(flags.var), await town.rigPath(flags.rig)];
      const [before, after] = [args.before, args.after].map((name) => {
        const declared = town.formulas.variables(name, path);
        const own = Object.fromEntries(Object.entries(given).filter(([variable]) => declared.includes(variable)));
        return town.formulas.cook(name, own, path, { open: true }).recipe;
      });
      const changes = before === undefined || after === undefined ? [] : diffRecipes(before, after);
      return {
        data: changes,
        text: (tty) => (changes.length === 0 && tty ? 'no difference\n' : printable(diffText(changes))),
      };
    },
  }),
  defineVerb({
    words: ['formula', 'new'],
    summary: 'put a new formula into the town, to be filled in',
    args: { name: { summary: 'name of the formula', required: true } },
    flags: {
      template: {
        kind: 'text',
        choices: Object.keys(TEMPLATES),
        summary: Object.entries(TEMPLATES)
          .map(([name, { summary }]) => `${name}: ${summary}`)
          .join('; '),
      },
    },
    examples: ['town formula new fix-bug', 'town formula new review --template convoy'],
    run(town, { args, flags, caller }) {
      refuseAgent(caller);
      const template = (flags.template ?? 'workflow') as TemplateName; // among the choices
      const entry = town.formulas.create(args.name, template);
      return Promise.resolve({
        data: entry,
        text: (tty) => (tty ? `${entry.name} is in ${entry.path}\n` : `${entry.path}\n`),
      });
    },
  }),
  defineVerb({
    words: ['formula', 'import'],
    summary: 'copy the formulas of a folder that compile into the town, and say why not for the others',
    args: { folder: { summary: 'folder with formulas', required: true } },
    flags: {},
    examples: ['town formula import ../other/.beads/formulas'],
    run(town, { args, caller }) {
      refuseAgent(caller);
      const imported = town.formulas.importFrom(resolve(caller.cwd, args.folder));
      const rows = imported.map(({ file, name, outcome, problems }) => [
        outcome,
        name,
        file,
        problems.find(({ severity }) => severity === 'error')?.message ?? problems[0]?.message,
      ]);
      const refused = imported.filter(({ outcome }) => outcome === 'refused');
      return Promise.resolve({
        data: imported,
        text: (tty) => table(tty, ['outcome', 'formula', 'file', 'note'], rows, 'no formulas there'),
        talk: refused.flatMap(({ problems }) => problems.map(problemLine)).join(''),
        code: refused.length === 0 ? 0 : 1,
      });
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
      wisps: { kind: 'switch', summary: 'short-lived ones too' },
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
    args: { molecule: { summary: 'id of the molecule', required: true } },
    flags: {},
    examples: ['town molecule next acme-k3f9a-m1'],
    async run(town, { args }) {
      const steps = await town.nextSteps(args.molecule);
      return { data: steps, text: (tty) => stepTable(steps, tty, 'no step is due') };
    },
  }),
];

/** `file:line: error CODE: message. fix` */
function problemLine({ file, line, severity, code, message, fix }: FormulaProblem): string {
  return printable(`${file}:${line}: ${severity} ${code}: ${message}. ${fix}\n`);
}

/** What lies in the town's folder is what agents are told to do, so people put it there. @throws FORBIDDEN */
function refuseAgent(caller: Caller): void {
  if (caller.session === null) return;
  throw new TownError('FORBIDDEN', 'the formulas of the town are kept by people', {
    hint: 'leave the file in the repository and tell a person where it is',
  });
}

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
