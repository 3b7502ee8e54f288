import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Args, Command, Config, Flags, run, type Interfaces } from '@oclif/core';
import { exitCodeOf, TownError } from '../../schema/errors';
import { describeError, refusalOf } from '../server/answer';
import { GLOBAL_FLAGS, nearest, type FlagSpec, type Verb } from '../server/verb';
import { VERBS } from '../server/verbs';
import { doctorVerb, downVerb, installVerb, statusVerb, upVerb, type LocalVerb } from './local';
import { runVerb } from './run-verb';

/** The whole command set as oclif's commands, made from the table of verbs: oclif finds and explains, the table parses and runs. */

const LOCAL_VERBS: readonly LocalVerb[] = [installVerb, upVerb, downVerb, statusVerb, doctorVerb];

/** For oclif's explicit strategy: ids with colons, `task:create`. */
export const COMMANDS: Readonly<Record<string, Command.Class>> = Object.fromEntries([
  ...VERBS.map((verb) => [verb.words.join(':'), commandOf(verb, async (argv) => await runVerb(verb, argv))] as const),
  ...LOCAL_VERBS.map((verb) => [verb.words.join(':'), commandOf(verb, verb.perform)] as const),
]);

export async function runCommands(argv: readonly string[]): Promise<void> {
  try {
    const words = argv.filter((word) => !word.startsWith('-'));
    if (
      words.length === 0 &&
      argv.some((word) => word !== '--help' && word !== '-h' && word !== '--version' && word !== '-v')
    ) {
      throw new TownError('USAGE', `a command is missing before ${argv.join(' ').slice(0, 80)}`, {
        hint: 'see: town --help',
      });
    }
    if (words[0] === 'version') return await runOclif(['--version']);
    if (words[0] !== undefined && words[0] !== 'help') checkWords(words);
    await runOclif(words[0] === 'help' ? [...argv.filter((word) => word !== 'help'), '--help'] : [...argv]);
  } catch (error) {
    const exit = (error as { oclif?: { exit?: number } }).oclif?.exit;
    if (!(error instanceof TownError) && exit !== undefined) {
      // oclif's own refusals: an unknown topic's help, a bad flag of help.
      process.exitCode = exit === 0 ? 0 : 2;
      if (exit !== 0) process.stderr.write(`town: ${(error as Error).message}\n`);
      return;
    }
    const refusal = refusalOf(error);
    process.exitCode = exitCodeOf(refusal.code);
    process.stderr.write(describeError(refusal, argv.includes('--json')));
  }
}

async function runOclif(argv: string[]): Promise<void> {
  const root = packageRoot();
  const config = new Config({ root });
  await config.load();
  await run(argv.length === 0 ? ['--help'] : argv, config);
}

/** Knows a word better than oclif would: says which verb is like it. @throws USAGE */
function checkWords(words: readonly string[]): void {
  const ids = Object.keys(COMMANDS).map((id) => id.replace(':', ' '));
  const topics = new Set(ids.map((id) => id.split(' ')[0]));
  const [first = '', second = ''] = words;
  if (ids.includes(first) || ids.includes(`${first} ${second}`) || (topics.has(first) && second === '')) return;
  const asked = topics.has(first) ? `${first} ${second}` : first;
  const near = nearest(asked, topics.has(first) ? ids : [...topics, ...ids].filter((word) => word !== undefined));
  throw new TownError('USAGE', `there is no command town ${asked.slice(0, 80)}`, {
    hint: near === null ? 'see: town --help' : `did you mean: town ${near}?`,
  });
}

function commandOf(verb: Omit<Verb, 'run'>, perform: (argv: string[]) => Promise<void>): Command.Class {
  const specs: Readonly<Record<string, FlagSpec>> = { ...verb.flags, ...GLOBAL_FLAGS };
  const flags = Object.entries(specs).map(([name, spec]) => {
    const options = { description: spec.summary };
    if (spec.kind === 'switch') return [name, Flags.boolean(options)] as const;
    const listed = spec.choices === undefined ? {} : { options: [...spec.choices] };
    return [
      name,
      spec.kind === 'list'
        ? Flags.string({ ...options, ...listed, multiple: true })
        : Flags.string({ ...options, ...listed }),
    ] as const;
  });
  return class extends Command {
    static override readonly summary = verb.summary;
    static override readonly examples = [...verb.examples];
    static override readonly strict = false;
    static override readonly args = Object.fromEntries(
      Object.entries(verb.args).map(([name, { summary, required }]) => [
        name,
        Args.string({ description: summary, required: required === true }),
      ]),
    ) as Interfaces.ArgInput;
    static override readonly flags = Object.fromEntries(flags) as Interfaces.FlagInput;

    async run(): Promise<void> {
      await perform(this.argv);
    }

    protected override async catch(error: Error): Promise<never> {
      throw error; // runCommands prints it
    }
  } as unknown as Command.Class;
}

/** The folder of our package.json. */
function packageRoot(): string {
  for (let folder = __dirname; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'package.json'))) return folder;
    if (folder === dirname(folder)) throw new Error(`no package.json above ${__dirname}`);
  }
}
