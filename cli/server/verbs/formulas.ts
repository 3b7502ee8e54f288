import { resolve } from 'node:path';
import { TownError } from '../../../schema/errors';
import { diffRecipes, diffText } from '../../../schema/formula/diff';
import { recipeDot, recipeText } from '../../../schema/formula/picture';
import type { FormulaProblem } from '../../../schema/formula/recipe';
import { TEMPLATES, type TemplateName } from '../../../schema/formula/templates';
import { printable, table } from '../print';
import { defineVerb, type Caller, type Verb } from '../verb';
import { readVariables } from './shared';

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
