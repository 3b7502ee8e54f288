import { TownError } from '../../../schema/errors';
import { parseTaskId } from '../../../schema/ids';
import type { Outcome, TaskInput } from '../../../schema/ledger';
import { OUTCOMES } from '../../../schema/task/status';
import { WISP_TYPES } from '../../../schema/task/wisp';
import type { RunDigestView, WispView } from '../../../schema/views';
import type { TownClient } from '../../client/client';
import { facts, printable, table } from '../print';
import { defineVerb, type Caller, type FlagSpec, type Verb, type VerbAnswer } from '../verb';
import { given, more, readVariables } from './shared';
import { LIMIT } from './task-conditions';
import { CURSOR } from './task-lists';

/** Short-lived tasks and molecules, and what is left of them. */

const wisp = { summary: 'id of the wisp', required: true } as const;
const wisps = { summary: 'ids of the wisps', required: true, many: true } as const;
const molecule = { summary: 'id of the molecule', required: true } as const;
const summary = { kind: 'text', summary: 'what to say of it; counted when absent' } as const;
const type = { kind: 'text', choices: WISP_TYPES, summary: 'decides how long it lives' } as const;
const ttl = { kind: 'text', summary: 'how long it lives, as 90m, 12h or 3d; as its type says when absent' } as const;

/** Of `task create`. */
export const WISP_FLAGS = {
  wisp: { kind: 'switch', summary: 'short-lived: in no list, no trail and no copy' },
  'wisp-type': type,
  ttl,
} as const satisfies Readonly<Record<string, FlagSpec>>;

/** @throws USAGE for what a wisp does not have */
export async function createWisp(
  town: TownClient,
  caller: Caller,
  task: TaskInput,
  flags: { readonly 'wisp-type': string | undefined; readonly ttl: string | undefined },
): Promise<VerbAnswer> {
  const { convoy_id, pinned, spec_id, external_ref, source_system, estimated_minutes, dependencies, ...fields } = task;
  const surplus = { convoy_id, pinned, spec_id, external_ref, source_system, estimated_minutes, dependencies };
  const named = Object.entries(surplus).flatMap(([name, value]) => (value === undefined ? [] : [name]));
  if (named.length > 0) throw new TownError('USAGE', `a wisp has no ${named.join(', ')}`);
  const made = await town.createWisp(caller.ask, {
    ...fields,
    ...given({ wisp_type: flags['wisp-type'], ttl_ms: readTtl(flags.ttl) }),
  });
  return {
    data: made,
    text: (tty) => (tty ? `${made.id} made, until ${made.expires_at}: ${printable(made.title)}\n` : `${made.id}\n`),
  };
}

export const wispVerbs: readonly Verb[] = [
  defineVerb({
    words: ['wisp', 'list'],
    summary: 'list short-lived tasks',
    args: {},
    flags: {
      rig: { kind: 'text', summary: 'of this rig' },
      type: { ...type, summary: 'of this type of wisp' },
      status: { kind: 'list', summary: 'with this status; may be repeated' },
      label: { kind: 'list', summary: 'with this label; repeated: with all of them' },
      limit: LIMIT,
      cursor: CURSOR,
    },
    examples: ['town wisp list --type escalation', 'town wisp list --rig acme --json'],
    async run(town, { flags }) {
      const { items, next_cursor } = await town.listWisps({
        ...given({ rig_id: flags.rig, wisp_type: flags.type, limit: flags.limit, cursor: flags.cursor }),
        ...(flags.status.length === 0 ? {} : { status: flags.status }),
        ...(flags.label.length === 0 ? {} : { labels: flags.label }),
      });
      const rows = items.map((each) => [each.id, each.status, each.wisp_type, each.expires_at, each.title]);
      return {
        data: items,
        text: (tty) => table(tty, ['wisp', 'status', 'type', 'until', 'title'], rows, 'no wisps'),
        ...more(next_cursor),
      };
    },
  }),
  defineVerb({
    words: ['wisp', 'show'],
    summary: 'show a short-lived task',
    args: { wisp },
    flags: {},
    examples: ['town wisp show acme-wisp-k3f9a'],
    run: async (town, { args }) => answerWisp(await town.getWisp(parseTaskId(args.wisp))),
  }),
  defineVerb({
    words: ['wisp', 'close'],
    summary: 'close a short-lived task',
    args: { wisp },
    flags: {
      outcome: { kind: 'text', choices: OUTCOMES, summary: 'how it ended; done when absent' },
      reason: { kind: 'text', summary: 'why' },
    },
    examples: ['town wisp close acme-wisp-k3f9a --reason seen'],
    async run(town, { args, flags, caller }) {
      const closed = await town.closeWisp(caller.ask, parseTaskId(args.wisp), {
        outcome: (flags.outcome ?? 'done') as Outcome, // one of the choices
        ...given({ reason: flags.reason }),
      });
      return { data: closed, text: () => `${closed.id} closed as ${closed.outcome ?? 'done'}\n` };
    },
  }),
  defineVerb({
    words: ['wisp', 'promote'],
    summary: 'make a short-lived task and its parts durable',
    args: { wisp },
    flags: {},
    examples: ['town wisp promote acme-wisp-k3f9a'],
    async run(town, { args, caller }) {
      const promoted = await town.promoteWisp(caller.ask, parseTaskId(args.wisp));
      const rows = Object.entries(promoted.ids);
      return { data: promoted, text: (tty) => table(tty, ['wisp', 'task'], rows, 'nothing was made') };
    },
  }),
  defineVerb({
    words: ['wisp', 'squash'],
    summary: 'write one digest of short-lived tasks, which go away',
    args: { wisps },
    flags: { title: { kind: 'text', summary: 'title of the digest; that of the first wisp when absent' }, summary },
    examples: ['town wisp squash acme-wisp-k3f9a acme-wisp-m20ab --summary "two nudges, both answered"'],
    run: async (town, { args, flags, caller }) =>
      answerDigest(
        await town.squashWisps(
          caller.ask,
          args.wisps.map(parseTaskId),
          given({ title: flags.title, summary: flags.summary }),
        ),
      ),
  }),
  defineVerb({
    words: ['wisp', 'burn'],
    summary: 'delete short-lived tasks and their parts without a trace',
    args: { wisps },
    flags: {},
    examples: ['town wisp burn acme-wisp-k3f9a'],
    async run(town, { args, caller }) {
      const { burned } = await town.burnWisps(caller.ask, args.wisps.map(parseTaskId));
      return { data: { burned }, text: () => burned.map((id) => `${id} is gone\n`).join('') };
    },
  }),
  defineVerb({
    words: ['wisp', 'purge'],
    summary: 'delete the short-lived tasks that have outlived their time, as the town does every hour',
    args: {},
    flags: {},
    examples: ['town wisp purge'],
    async run(town) {
      const purged = await town.purgeWisps();
      return { data: { purged }, text: () => `${purged} purged\n` };
    },
  }),
  defineVerb({
    words: ['molecule', 'wisp'],
    summary: 'start the work of a formula as a short-lived molecule, without a task',
    args: { formula: { summary: 'name of the formula', required: true } },
    flags: {
      on: { kind: 'text', summary: 'agent or rig that does it; needed' },
      rig: { kind: 'text', summary: 'rig it belongs to; that of --on when absent' },
      var: { kind: 'list', summary: 'variable as name=value; may be repeated' },
      title: { kind: 'text', summary: 'what it is listed as' },
      priority: { kind: 'number', min: 0, max: 4, summary: '0 (most urgent) to 4' },
      type,
      ttl,
    },
    examples: [
      'town molecule wisp patrol-round --on acme',
      'town molecule wisp review --on acme/polecats/amber --ttl 12h',
    ],
    async run(town, { args, flags, caller }) {
      const on = flags.on ?? missingTarget();
      const poured = await town.pour(caller.ask, {
        formula: args.formula,
        vars: readVariables(flags.var),
        rig_id: flags.rig ?? on.split('/')[0] ?? on,
        title: flags.title,
        priority: flags.priority,
        target: town.readTarget(on),
        wisp: { type: flags.type ?? null, ttl_ms: readTtl(flags.ttl) ?? null },
      });
      const { task, molecule_id } = poured;
      return {
        data: poured,
        text: (tty) => (tty ? `molecule ${molecule_id} goes to ${on} as ${task.id}\n` : `${task.id}\t${molecule_id}\n`),
      };
    },
  }),
  defineVerb({
    words: ['molecule', 'squash'],
    summary: 'write the digest of a molecule that is over; a short-lived one goes away with it',
    args: { molecule },
    flags: { summary },
    examples: ['town molecule squash mol-k3f9a7b1'],
    run: async (town, { args, flags, caller }) =>
      answerDigest(await town.squashMolecule(caller.ask, args.molecule, given({ summary: flags.summary }))),
  }),
  defineVerb({
    words: ['molecule', 'burn'],
    summary: 'delete a short-lived molecule that is over, without a trace',
    args: { molecule },
    flags: {},
    examples: ['town molecule burn mol-k3f9a7b1'],
    async run(town, { args, caller }) {
      const { burned } = await town.burnMolecule(caller.ask, args.molecule);
      return { data: { burned }, text: () => burned.map((id) => `${id} is gone\n`).join('') };
    },
  }),
  defineVerb({
    words: ['digest', 'list'],
    summary: 'list what is left of squashed runs, newest first',
    args: {},
    flags: {
      rig: { kind: 'text', summary: 'of this rig' },
      molecule: { kind: 'text', summary: 'of this molecule' },
      limit: LIMIT,
      cursor: CURSOR,
    },
    examples: ['town digest list --rig acme'],
    async run(town, { flags }) {
      const { items, next_cursor } = await town.listRunDigests(
        given({ rig_id: flags.rig, molecule_id: flags.molecule, limit: flags.limit, cursor: flags.cursor }),
      );
      const rows = items.map((each) => [each.id, each.created_at, each.outcome, each.title, each.summary]);
      return {
        data: items,
        text: (tty) => table(tty, ['digest', 'at', 'outcome', 'title', 'summary'], rows, 'no digests'),
        ...more(next_cursor),
      };
    },
  }),
  defineVerb({
    words: ['digest', 'show'],
    summary: 'show what is left of a squashed run',
    args: { digest: { summary: 'id of the digest', required: true } },
    flags: {},
    examples: ['town digest show dig-k3f9a7b1c2'],
    run: async (town, { args }) => answerDigest(await town.getRunDigest(args.digest)),
  }),
];

const UNITS_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000, w: 604_800_000 };

/** @throws USAGE */
function readTtl(text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const [, count = '', unit = ''] = /^(\d{1,6})([smhdw])$/.exec(text) ?? [];
  if (count !== '') return Number(count) * (UNITS_MS[unit] ?? 0);
  throw new TownError('USAGE', `--ttl says how long, as 90m, 12h or 3d, not ${JSON.stringify(text.slice(0, 40))}`);
}

function missingTarget(): never {
  throw new TownError('USAGE', 'a short-lived molecule is given to somebody at once', {
    hint: 'name an agent or a rig with --on; see: town agent list',
  });
}

function answerWisp(view: WispView): VerbAnswer {
  const heading = facts({
    wisp: view.id,
    title: view.title,
    status: view.status,
    priority: `P${view.priority}`,
    type: view.type,
    'type of wisp': view.wisp_type,
    until: view.expires_at,
    rig: view.rig_id,
    agent: view.assigned_agent_id,
    molecule: view.molecule_id,
    parent: view.parent_id,
    'open blockers': view.open_blockers === 0 ? null : view.open_blockers,
    labels: view.labels.join(', '),
    outcome: view.outcome,
    reason: view.close_reason,
    made: `${view.created_at} by ${view.created_by}`,
  });
  return { data: view, text: () => heading + (view.description === '' ? '' : `\n${printable(view.description)}\n`) };
}

function answerDigest(digest: RunDigestView): VerbAnswer {
  const text = facts({
    digest: digest.id,
    title: digest.title,
    summary: digest.summary,
    outcome: digest.outcome,
    formula: digest.formula,
    molecule: digest.molecule_id,
    of: digest.root_id,
    rig: digest.rig_id,
    closed: `${digest.steps_closed} of ${digest.steps_total}`,
    squashed: digest.squashed.join(', '),
    began: digest.started_at,
    ended: digest.ended_at,
    written: `${digest.created_at} by ${digest.created_by}`,
  });
  return { data: digest, text: () => text };
}
