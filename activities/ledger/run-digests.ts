import { sql, type Kysely, type RawBuilder, type Selectable, type Transaction } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import type { MoleculeId } from '../../schema/ids';
import type { JsonObject } from '../../schema/json';
import type { Ledger } from '../../schema/ledger';
import { isOver } from '../../schema/molecule/shown';
import type { RunDigestView } from '../../schema/views';
import { command, type Store, type Unit } from './command';
import { randomId } from './digest';
import * as input from './input';
import { having, mapPage, newestFirst } from './pages';
import { checkIds, deleteWisps, findOfMolecule, lockWithParts, noWisp, refuseRunning, type WispRow } from './wisps';

type DigestRow = Selectable<Database['run_digests']>;
type RunDigestCommands = Pick<Ledger, 'squashWisps' | 'squashMolecule' | 'getRunDigest' | 'listRunDigests'>;

/** So that what is left of a run stays small: its further steps or wisps are only counted. */
const ENTRIES_MAX = 500;
const NOTE_MAX = 500;

/** Squashing: the digest is the record, so it makes no event besides. */
export function runDigestCommands(store: Store): RunDigestCommands {
  return {
    squashWisps(ask, ids, { title, summary }) {
      if (title !== undefined) input.line(title, 'title', input.LIMITS.title);
      if (summary !== undefined) input.text(summary, 'summary', input.LIMITS.noteBytes);
      return command(store, ask, 'squashWisps', { ids, title, summary }, async (unit) => {
        const wisps = await lockWithParts(unit.trx, checkIds(ids));
        for (const id of ids) if (!wisps.some((wisp) => wisp.id === id)) noWisp(id);
        await refuseRunning(unit.trx, wisps);
        const [root] = wisps;
        if (root === undefined) throw new TownError('INVALID_INPUT', 'no wisp is named');
        const digest = await insertDigest(unit, {
          molecule_id: root.molecule_id,
          root_id: root.id,
          rig_id: root.rig_id,
          formula: formulaOf(root),
          title: title ?? root.title,
          summary: summary ?? countOutcomes(wisps),
          outcome: root.outcome,
          steps_total: wisps.length,
          steps_closed: wisps.filter((wisp) => wisp.status === 'closed').length,
          squashed: wisps.map((wisp) => wisp.id),
          content: { wisps: wisps.slice(0, ENTRIES_MAX).map(entryOf) },
          started_at: root.started_at ?? root.created_at,
          ended_at: root.completed_at,
        });
        await deleteWisps(unit.trx, wisps);
        return digest;
      });
    },
    squashMolecule(ask, id, { summary }) {
      if (summary !== undefined) input.text(summary, 'summary', input.LIMITS.noteBytes);
      return command(store, ask, 'squashMolecule', { id, summary }, (unit) => squash(unit, id, summary));
    },
    async getRunDigest(id) {
      const row = (await selectDigests(store.db, sql`where id = ${id}`))[0];
      if (row !== undefined) return digestView(row);
      throw new TownError('NOT_FOUND', `there is no run digest ${id}`, { hint: 'see: town digest list' });
    },
    async listRunDigests({ rig_id, molecule_id, ...page }) {
      const select = (tail: RawBuilder<unknown>) => selectDigests(store.db, tail);
      return mapPage(await newestFirst(page, 'created_at', having({ rig_id, molecule_id }), select), digestView);
    },
  };
}

interface EndedMolecule {
  readonly status: string;
  readonly root_task_id: string | null;
  readonly rig_id: string | null;
  readonly formula: string;
  readonly outcome: string;
  readonly steps_total: number;
  readonly steps_closed: number;
  readonly updated_at: Date;
  readonly title: string | null;
  readonly started_at: Date | null;
}

async function squash(unit: Unit, id: MoleculeId, summary: string | undefined): Promise<RunDigestView> {
  // Two who squash the same molecule come one after the other.
  await sql`select pg_advisory_xact_lock(hashtextextended(${`squash ${id}`}, 0))`.execute(unit.trx);
  const earlier = (await selectDigests(unit.trx, sql`where molecule_id = ${id} order by created_at limit 1`))[0];
  if (earlier !== undefined) return digestView(earlier);
  const wisp = await findOfMolecule(unit.trx, id);
  const wisps = wisp === null ? [] : await lockWithParts(unit.trx, [wisp.id]);
  await refuseRunning(unit.trx, wisps);
  const molecule = await endedMolecule(unit.trx, id, wisp);
  const steps = await stepsOf(unit.trx, id);
  const digest = await insertDigest(unit, {
    molecule_id: id,
    root_id: molecule.root_task_id ?? wisp?.id ?? null,
    rig_id: molecule.rig_id,
    formula: molecule.formula,
    title: molecule.title ?? molecule.formula,
    summary:
      summary ??
      `${molecule.formula} ended ${molecule.outcome}: ${molecule.steps_closed} of ${molecule.steps_total} steps closed`,
    outcome: molecule.outcome,
    steps_total: molecule.steps_total,
    steps_closed: molecule.steps_closed,
    squashed: wisps.map((each) => each.id),
    content: { steps },
    started_at: molecule.started_at,
    ended_at: wisp?.completed_at ?? molecule.updated_at,
  });
  await deleteWisps(unit.trx, wisps);
  return digest;
}

/** @throws NOT_FOUND, WRONG_STATE while it runs. */
async function endedMolecule(trx: Transaction<Database>, id: MoleculeId, wisp: WispRow | null): Promise<EndedMolecule> {
  const { rows } = await sql<EndedMolecule>`
    select m.status, m.root_task_id, m.rig_id, m.formula,
      coalesce(w.outcome, case m.status when 'completed' then 'done' else m.status end) as outcome, m.steps_total, m.steps_closed, m.updated_at,
      coalesce(t.title, w.title) as title, coalesce(t.started_at, w.started_at) as started_at
    from molecules m left join tasks t on t.id = m.root_task_id left join wisps w on w.molecule_id = m.id
    where m.id = ${id}`.execute(trx);
  const molecule = rows[0];
  if (molecule === undefined && wisp === null) {
    throw new TownError('NOT_FOUND', `there is no molecule ${id}`, { hint: 'see: town molecule list --wisps' });
  }
  if (molecule !== undefined && isOver(molecule.status)) return molecule;
  throw new TownError('WRONG_STATE', `${id} is not over yet`, { hint: `see: town molecule show ${id}` });
}

async function stepsOf(trx: Transaction<Database>, id: MoleculeId): Promise<JsonObject[]> {
  const { rows } = await sql<JsonObject>`
    select step, title, status, outcome, attempt, agent_id, left(note, ${NOTE_MAX}::int) as note, commit_id from steps
    where molecule_id = ${id} order by position limit ${ENTRIES_MAX}`.execute(trx);
  return rows;
}

type NewDigest = Omit<RunDigestView, 'id' | 'created_by' | 'created_at' | 'started_at' | 'ended_at'> & {
  readonly started_at: Date | null;
  readonly ended_at: Date | null;
};

async function insertDigest(unit: Unit, digest: NewDigest): Promise<RunDigestView> {
  const { rows } = await sql<DigestRow>`
    insert into run_digests (id, molecule_id, root_id, rig_id, formula, title, summary, outcome, steps_total, steps_closed, squashed,
      content, started_at, ended_at, created_by)
    values (${randomId('dig', 10)}, ${digest.molecule_id}, ${digest.root_id}, ${digest.rig_id}, ${digest.formula}, ${digest.title},
      ${digest.summary}, ${digest.outcome}, ${digest.steps_total}, ${digest.steps_closed}, ${JSON.stringify(digest.squashed)}::jsonb,
      ${JSON.stringify(digest.content)}::jsonb, ${digest.started_at}, ${digest.ended_at}, ${unit.ask.actor})
    returning *`.execute(unit.trx);
  const row = rows[0];
  if (row === undefined) throw new Error('the digest was not written');
  return digestView(row);
}

async function selectDigests(db: Kysely<Database>, tail: RawBuilder<unknown>): Promise<DigestRow[]> {
  return (await sql<DigestRow>`select * from run_digests ${tail}`.execute(db)).rows;
}

function digestView(row: DigestRow): RunDigestView {
  return {
    ...row,
    started_at: row.started_at?.toISOString() ?? null,
    ended_at: row.ended_at?.toISOString() ?? null,
    created_at: row.created_at.toISOString(),
  };
}

/** `3 wisps: 2 done, 1 open` */
function countOutcomes(wisps: readonly WispRow[]): string {
  const counts = new Map<string, number>();
  for (const { outcome, status } of wisps) counts.set(outcome ?? status, (counts.get(outcome ?? status) ?? 0) + 1);
  const parts = [...counts].map(([what, count]) => `${count} ${what}`);
  return `${wisps.length} ${wisps.length === 1 ? 'wisp' : 'wisps'}: ${parts.join(', ')}`;
}

function entryOf(wisp: WispRow): JsonObject {
  const { id, title, type, wisp_type, status, outcome, close_reason, assigned_agent_id } = wisp;
  return {
    id,
    title,
    type,
    wisp_type,
    status,
    outcome,
    close_reason: close_reason?.slice(0, NOTE_MAX) ?? null,
    assigned_agent_id,
    created_at: wisp.created_at.toISOString(),
    completed_at: wisp.completed_at?.toISOString() ?? null,
  };
}

function formulaOf({ metadata }: WispRow): string | null {
  return typeof metadata['formula'] === 'string' ? metadata['formula'] : null;
}
