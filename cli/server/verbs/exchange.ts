import { resolve } from 'node:path';
import { TownError } from '../../../schema/errors';
import { statusOf, TASK_STATUSES, type TaskStatus } from '../../../schema/task/status';
import type { Imported, WrittenCopy } from '../../client/exchange';
import { facts, table } from '../print';
import { defineVerb, type Caller, type Verb, type VerbAnswer } from '../verb';
import { readVariables } from './shared';

/** Tasks as files and from elsewhere. */

const rig = { kind: 'text', summary: 'of this rig' } as const;

export const exchangeVerbs: readonly Verb[] = [
  defineVerb({
    words: ['export'],
    summary: 'write tasks as lines of JSON; without --out they are printed',
    args: {},
    flags: {
      rig,
      out: { kind: 'text', summary: 'file to write; with --sign a folder' },
      sign: { kind: 'switch', summary: 'write a folder with the lines and a signed manifest' },
      'public-key': { kind: 'switch', summary: 'print the key that this town signs with' },
    },
    examples: [
      'town export --rig acme --out tasks.jsonl',
      'town export --sign --out backup',
      'town export --public-key',
    ],
    async run(town, { flags, caller }) {
      const { exchange } = town;
      if (flags['public-key']) {
        const key = exchange.publicKey();
        return { data: { public_key: key }, text: () => `${key}\n` };
      }
      if (flags.out !== undefined) {
        const path = resolve(caller.cwd, flags.out);
        const within = caller.session === null ? null : worktreeOf(caller);
        return answerCopies([await exchange.write(caller.ask, { path, rig: flags.rig, sign: flags.sign, within })]);
      }
      if (flags.sign)
        throw new TownError('USAGE', '--sign writes a folder', { hint: 'town export --sign --out <folder>' });
      const { text } = await exchange.text(flags.rig);
      const lines = text.split('\n').slice(0, -1);
      // Lines for programs, so they are printed as they are.
      return { data: lines.map((line) => JSON.parse(line) as unknown), text: () => text };
    },
  }),
  defineVerb({
    words: ['import'],
    summary: 'take tasks in: a file of lines, a folder with a copy, a Beads folder, or issues of GitHub',
    args: { source: { summary: 'file or folder; - reads what is piped in' } },
    readsStdin: ({ args }) => (args['source'] === '-' ? 'file' : null),
    readsForgeToken: ({ flags }) => flags['github'] !== undefined,
    flags: {
      beads: { kind: 'text', summary: 'folder of Beads, or the one that has its .beads' },
      github: { kind: 'text', summary: 'repository as <owner>/<name>' },
      state: {
        kind: 'text',
        choices: ['open', 'closed', 'all'],
        summary: 'issues of GitHub that are so; all when absent',
      },
      label: { kind: 'list', summary: 'issues of GitHub with this label; may be repeated' },
      comments: { kind: 'switch', summary: 'also the comments on the issues of GitHub' },
      rig: { kind: 'text', summary: 'rig that new tasks belong to' },
      status: { kind: 'list', summary: 'what a word for a status means here: word=open; may be repeated' },
      lenient: { kind: 'switch', summary: 'keep edges that close a circle aside instead of refusing' },
      verify: { kind: 'switch', summary: 'only when it is signed, with this town’s key or that of --trust' },
      trust: { kind: 'text', summary: 'public key of another town' },
      'dry-run': { kind: 'switch', summary: 'say what would be done, and do nothing' },
    },
    examples: [
      'town import tasks.jsonl',
      'town import backup --verify',
      'town import --beads ../project --rig acme',
      'town import --github acme/web --state open --label bug --rig web',
    ],
    async run(town, { args, flags, caller }) {
      const sources = [args.source, flags.beads, flags.github].filter((each) => each !== undefined);
      if (sources.length !== 1) {
        throw new TownError('USAGE', 'name one thing to import: a file or folder, --beads or --github', {
          hint: 'town import <file or folder>',
        });
      }
      const common = { rig: flags.rig, dry_run: flags['dry-run'] };
      if (flags.github !== undefined) {
        const state = (flags.state ?? 'all') as 'open' | 'closed' | 'all'; // one of the choices
        const wish = { repository: flags.github, state, labels: flags.label, comments: flags.comments, ...common };
        return answerImport(await town.exchange.readIssues(caller.ask, wish, caller.forgeToken));
      }
      const imported = await town.exchange.read(caller.ask, {
        ...common,
        path: resolve(caller.cwd, flags.beads ?? args.source ?? ''),
        kind: flags.beads === undefined ? 'copy' : 'beads',
        lenient: flags.lenient,
        statuses: readStatuses(flags.status),
        signed_by: flags.trust ?? (flags.verify ? 'own' : null),
      });
      return answerImport(imported);
    },
  }),
  defineVerb({
    words: ['sync'],
    summary: 'bring the signed copy of the tasks in the working tree of each rig up to date',
    args: {},
    flags: {
      rig: { kind: 'text', summary: 'only of this rig' },
      force: { kind: 'switch', summary: 'write over changes that were not imported' },
    },
    examples: ['town sync', 'town sync --rig acme'],
    async run(town, { flags, caller }) {
      const wish = { ...(flags.rig === undefined ? {} : { rig: flags.rig }), force: flags.force };
      return answerCopies(await town.exchange.sync(caller.ask, wish));
    },
  }),
];

/** An agent writes where it works, whatever the service itself could write. */
function worktreeOf({ session, cwd }: Caller): string {
  if (session?.worktree != null) return session.worktree;
  throw new TownError('FORBIDDEN', `this session has no worktree, so it may not write files in ${cwd}`, {
    hint: 'print the tasks instead: town export',
  });
}

/** @throws USAGE */
function readStatuses(pairs: readonly string[]): Map<string, TaskStatus> {
  return new Map(
    Object.entries(readVariables(pairs)).map(([word, meaning]) => {
      const status = statusOf(meaning);
      if (status !== null) return [word, status];
      throw new TownError('USAGE', `--status ${word}=${meaning.slice(0, 40)} names no status of ours`, {
        hint: `one of ${TASK_STATUSES.join(', ')}`,
      });
    }),
  );
}

function answerImport(found: Imported): VerbAnswer {
  const { created, updated, unchanged, edges, aside, aside_total, resolved, skipped, renamed, dry_run } = found;
  const passed = Object.entries(skipped).filter(([, count]) => count > 0);
  const text = facts({
    source: found.source,
    created,
    updated,
    unchanged,
    edges,
    'edges kept aside': aside_total || null,
    'edges that came back': resolved || null,
    skipped: passed.map(([kind, count]) => `${count} ${kind}`).join(', '),
    'nothing was written': dry_run ? 'this was a dry run' : null,
  });
  const talk = [
    ...aside
      .slice(0, 20)
      .map((edge) => `kept aside: ${edge.task_id} ${edge.type} ${edge.depends_on_id} (${edge.reason})`),
    ...(aside_total > 20 ? [`kept aside: ${aside_total - 20} more; --json lists them`] : []),
    ...Object.entries(renamed).slice(0, 20).map(([from, to]) => `renamed: ${from} is ${to} here`), // prettier-ignore
    ...found.kept_progress.map((id) => `work goes on: the progress of ${id} stayed as it is here`),
    ...found.warnings.map((warning) => `warning: ${warning}`),
  ];
  return { data: found, text: () => text, talk: talk.map((line) => `${line}\n`).join('') };
}

function answerCopies(copies: readonly WrittenCopy[]): VerbAnswer {
  const rows = copies.map((copy) => [
    copy.rig,
    copy.tasks,
    copy.edges,
    copy.written ? 'written' : 'unchanged',
    copy.path,
  ]);
  return {
    data: copies,
    text: (tty) => table(tty, ['rig', 'tasks', 'edges', 'copy', 'file'], rows, 'no tasks to copy'),
  };
}
