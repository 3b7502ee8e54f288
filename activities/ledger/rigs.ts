import { sql, type Kysely, type RawBuilder, type Selectable } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { TownError } from '../../schema/errors';
import { parseName, type RigId } from '../../schema/ids';
import type { Ledger, RigInput } from '../../schema/ledger';
import { checkPrefix, prefixOfName } from '../../schema/prefix';
import type { RigView } from '../../schema/views';
import { command, record, takeLock, type Store, type Unit } from './command';
import { json, line } from './input';
import { byName, mapPage } from './pages';

type RigRow = Selectable<Database['rigs']>;
/** The prefix of tasks that belong to no rig. */
export const TOWN_PREFIX = 'hq';

export function rigCommands(store: Store): Pick<Ledger, 'addRig' | 'listRigs' | 'rigPage' | 'getRig'> {
  return {
    addRig(ask, rig) {
      parseName(rig.id, 'rig');
      line(rig.path, 'path', 4_096);
      line(rig.default_branch, 'default branch', 200);
      if (!Number.isInteger(rig.workers_max) || rig.workers_max < 0 || rig.workers_max > 10_000) {
        throw new TownError('INVALID_INPUT', `workers_max ${rig.workers_max} is not a whole number from 0 to 10000`);
      }
      const runtime = json({ ...rig.runtime }, 'runtime');
      return command(store, ask, 'addRig', rig, async (unit) => {
        // One after the other: which prefixes are free depends on all rigs.
        await takeLock(unit.trx, 'rigs');
        const known = await sql<{ id: string; prefix: string }>`select id, prefix from rigs`.execute(unit.trx);
        if (known.rows.some((each) => each.id === rig.id)) {
          throw new TownError('ALREADY_EXISTS', `a rig ${rig.id} exists`, { hint: 'see: town rig list' });
        }
        const prefix = choosePrefix(
          rig,
          known.rows.map((each) => each.prefix),
        );
        const { rows } = await sql<RigRow>`
          insert into rigs (id, prefix, path, default_branch, workers_max, runtime, default_formula)
          values (${rig.id}, ${prefix}, ${rig.path}, ${rig.default_branch}, ${rig.workers_max}, ${runtime}::jsonb,
            ${rig.default_formula ?? null})
          returning *`.execute(unit.trx);
        const added = rows[0];
        if (added === undefined) throw new Error(`the rig ${rig.id} was not written`);
        const view = rigView(added);
        record(unit, 'rig_added', { rig_id: rig.id }, { after: { ...view } });
        return view;
      });
    },
    listRigs: async () => (await selectRigs(store.db, sql`order by id`)).map(rigView),
    async rigPage(page) {
      return mapPage(await byName(page, 'id', [], (tail) => selectRigs(store.db, tail)), rigView);
    },
    getRig: async (id) => rigView(await findRig(store.db, id)),
  };
}

/** @throws INVALID_INPUT, ALREADY_EXISTS with one that is free */
function choosePrefix({ id, prefix }: RigInput, taken: readonly string[]): string {
  if (prefix !== undefined) return checkPrefix(prefix, id, taken);
  const made = prefixOfName(id, taken);
  if (made !== null) return made;
  throw new TownError('ALREADY_EXISTS', `no prefix that could be made from ${id} is free`, {
    hint: 'name one with --prefix; those in use: town rig list',
  });
}

/** @throws NOT_FOUND */
export async function findRig(db: Kysely<Database>, id: RigId): Promise<RigRow> {
  const [rig] = await selectRigs(db, sql`where id = ${id}`);
  if (rig === undefined) throw new TownError('NOT_FOUND', `there is no rig ${id}`, { hint: 'see: town rig list' });
  return rig;
}

async function selectRigs(db: Kysely<Database>, tail: RawBuilder<unknown>): Promise<RigRow[]> {
  return (await sql<RigRow>`select * from rigs ${tail}`.execute(db)).rows;
}

/** @throws NOT_FOUND */
export async function prefixOf({ store, trx }: Unit, rig: RigId | null): Promise<string> {
  if (rig === null) return TOWN_PREFIX;
  const known = store.prefixes.get(rig) ?? (await findRig(trx, rig)).prefix;
  store.prefixes.set(rig, known);
  return known;
}

function rigView(row: RigRow): RigView {
  return {
    id: row.id,
    prefix: row.prefix,
    path: row.path,
    default_branch: row.default_branch,
    workers_max: row.workers_max,
    runtime: row.runtime,
    default_formula: row.default_formula,
    created_at: row.created_at.toISOString(),
  };
}
