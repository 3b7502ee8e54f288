import { createHash } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { TownError } from '../../schema/errors';
import type { RigId } from '../../schema/ids';
import type { Ask, ImportReport, Ledger } from '../../schema/ledger';
import { createTaskReader } from '../../schema/task/interchange-reader';
import type { TasksRead } from '../../schema/task/interchange';
import { issueRecord } from '../../schema/task/issue-record';
import type { IssueSource } from '../../schema/task/issue-source';
import type { TaskStatus } from '../../schema/task/status';
import {
  draftFile,
  expectInside,
  expectSigned,
  exportKey,
  factsOf,
  MANIFEST_FILE,
  manifestText,
  publicKeyText,
  readManifest,
  readPieces,
  TASKS_FILE,
  type Draft,
} from './copy-files';

/** Tasks that leave the town and come in, as files or from a code host. docs/exchange.md */
export interface Exchange {
  /** The key that this town signs with. */
  publicKey(): string;
  /** All lines at once. @throws INPUT_TOO_LARGE above 32 MB: write a file then */
  text(rig: RigId | undefined): Promise<{ readonly text: string; readonly tasks: number; readonly edges: number }>;
  /** A file; signed: a folder with the file and its manifest. */
  write(ask: Ask, wish: ExportWish): Promise<WrittenCopy>;
  /** Brings the copy in each rig's working tree up to date, or in that of one rig. */
  sync(ask: Ask, wish: { readonly rig?: RigId; readonly force: boolean }): Promise<WrittenCopy[]>;
  /** A file of lines, a folder with a copy, or a folder of Beads. @throws INVALID_INPUT with each line, CHECKS_FAILED */
  read(ask: Ask, wish: ImportWish): Promise<Imported>;
  /**
   * Issues of a code host. What has not changed since the last time is not asked for again. `token` is of who asks, and goes to the code
   * host alone; null: the service asks with its own.
   */
  readIssues(ask: Ask, wish: IssuesWish, token: string | null): Promise<Imported>;
}
export interface ExportWish {
  /** Absolute. */
  readonly path: string;
  readonly rig: RigId | undefined;
  readonly sign: boolean;
  /** The path must lie in this folder; null: anywhere. */
  readonly within: string | null;
}
export interface WrittenCopy {
  readonly rig: RigId | null;
  readonly path: string;
  readonly tasks: number;
  readonly edges: number;
  readonly sha256: string;
  readonly signed_by: string | null;
  /** False: it was there like this. */
  readonly written: boolean;
}
export interface ImportWish {
  /** Absolute. */
  readonly path: string;
  readonly kind: 'copy' | 'beads';
  readonly rig: RigId | undefined;
  readonly dry_run: boolean;
  readonly lenient: boolean;
  readonly statuses: ReadonlyMap<string, TaskStatus>;
  /** The public key that must have signed it; `own`: this town's; null: no matter who. */
  readonly signed_by: string | null;
}
export interface IssuesWish {
  readonly repository: string;
  readonly state: 'open' | 'closed' | 'all';
  readonly labels: readonly string[];
  readonly comments: boolean;
  readonly rig: RigId | undefined;
  readonly dry_run: boolean;
}
export interface Imported extends ImportReport {
  readonly source: string;
  readonly skipped: TasksRead['skipped'];
  /** Ids that are none of ours, and what they became; at most 1,000. */
  readonly renamed: Readonly<Record<string, string>>;
}

const TEXT_MAX = 32 * 1024 * 1024;
/** Folder of the copy in a working tree. */
const COPY_FOLDER = '.town-tasks';
const NOT_TASKS =
  /^(?:interactions|deletions|events|routes|memories|audit|sync_base|.*\.(?:base|left|right|tmp))\.jsonl$/;
const NOTHING_SKIPPED = { schema: 0, memory: 0, tombstone: 0, wisp: 0 };

export function createExchange(parts: {
  readonly ledger: Ledger;
  readonly root: string;
  readonly issues: IssueSource | null;
}): Exchange {
  const { ledger, root, issues } = parts;
  const state = join(root, '.town');
  const publicKey = () => publicKeyText(exportKey(state));

  async function fill(draft: Draft, rig: RigId | null | undefined) {
    const counts = await ledger.exportTasks(rig === undefined ? {} : { rig_id: rig }, (lines) => draft.write(lines));
    return { ...counts, ...draft.facts() };
  }

  async function placeText(path: string, text: string): Promise<void> {
    const draft = await draftFile(path);
    try {
      await draft.write(text);
      await draft.place();
    } finally {
      await draft.discard();
    }
  }

  async function syncInto(
    ask: Ask,
    place: { rig: RigId | null; folder: string },
    force: boolean,
  ): Promise<WrittenCopy | null> {
    const folder = join(place.folder, COPY_FOLDER);
    const path = join(folder, TASKS_FILE);
    expectInside(path, place.folder);
    const before = await factsOf(path);
    // No folder for nothing.
    if (before === null && (await ledger.exportTasks({ rig_id: place.rig }, () => undefined)).tasks === 0) return null;
    const draft = await draftFile(path);
    try {
      const copy = await fill(draft, place.rig);
      const { tasks, edges, sha256 } = copy;
      const key = exportKey(state);
      const manifest = manifestText({ ...copy, rig: place.rig }, key);
      const signed_by = publicKeyText(key);
      const answer = { rig: place.rig, path, tasks, edges, sha256, signed_by };
      const isSame = before?.sha256 === sha256;
      const hash = createHash('sha256').update(manifest).digest('hex');
      if (isSame && (await factsOf(join(folder, MANIFEST_FILE)))?.sha256 === hash) return { ...answer, written: false };
      if (!isSame && before !== null && !force && !(await ledger.isKnownCopy(before.sha256))) {
        throw new TownError('CONFLICT', `${path} has changes that this town does not know`, {
          hint: `take them over first: town import ${path}`,
          details: { path, sha256: before.sha256 },
        });
      }
      if (!isSame) await draft.place();
      await placeText(join(folder, MANIFEST_FILE), manifest);
      await ledger.recordExport(withoutKey(ask), { rig_id: place.rig, path, digest: sha256, tasks, edges, signed_by });
      return { ...answer, written: true };
    } finally {
      await draft.discard();
    }
  }

  async function readFile(path: string, wish: ImportWish) {
    const manifest =
      wish.signed_by === null
        ? null
        : readManifest(dirname(path), wish.signed_by === 'own' ? publicKey() : wish.signed_by);
    const reader = createTaskReader(path, { digestOf: sha256Hex, statuses: wish.statuses });
    // An altered file is reported as that, not as the problem that the alteration makes.
    if (manifest !== null) expectSigned(path, manifest, await readPieces(path, () => undefined));
    const facts = await readPieces(path, (piece) => reader.push(piece));
    if (manifest !== null) expectSigned(path, manifest, facts);
    return { read: reader.end(), sha256: facts.sha256 };
  }

  return {
    publicKey,
    async text(rig) {
      let text = '';
      const counts = await ledger.exportTasks(rig === undefined ? {} : { rig_id: rig }, (lines) => {
        text += lines;
        if (text.length > TEXT_MAX) {
          throw new TownError('INPUT_TOO_LARGE', `the tasks are more than ${TEXT_MAX} bytes of text`, {
            hint: 'write them to a file: town export --out <file>',
          });
        }
      });
      return { text, ...counts };
    },
    async write(ask, { path, rig, sign, within }) {
      if (within !== null) expectInside(path, within);
      const target = sign ? join(path, TASKS_FILE) : path;
      const draft = await draftFile(target);
      try {
        const { tasks, edges, sha256, bytes } = await fill(draft, rig);
        const key = sign ? exportKey(state) : null;
        await draft.place();
        if (key !== null) {
          await placeText(
            join(path, MANIFEST_FILE),
            manifestText({ rig: rig ?? null, tasks, edges, sha256, bytes }, key),
          );
        }
        const signed_by = key === null ? null : publicKeyText(key);
        await ledger.recordExport(withoutKey(ask), {
          rig_id: rig ?? null,
          path: target,
          digest: sha256,
          tasks,
          edges,
          signed_by,
        });
        return { rig: rig ?? null, path: target, tasks, edges, sha256, signed_by, written: true };
      } finally {
        await draft.discard();
      }
    },
    async sync(ask, { rig, force }) {
      const rigs = rig === undefined ? await ledger.listRigs() : [await ledger.getRig(rig)];
      const places = rigs.map((each) => ({ rig: each.id as RigId | null, folder: each.path }));
      if (rig === undefined) places.push({ rig: null, folder: root });
      const written: WrittenCopy[] = [];
      for (const place of places) {
        if (statSync(place.folder, { throwIfNoEntry: false })?.isDirectory() !== true) {
          throw new TownError('NOT_FOUND', `the folder of the rig ${place.rig} is not there: ${place.folder}`, {
            hint: 'see: town rig list',
          });
        }
        const copy = await syncInto(ask, place, force);
        if (copy !== null) written.push(copy);
      }
      return written;
    },
    async read(ask, wish) {
      const found = findSource(wish.path, wish.kind);
      const source = found.path;
      const { read, sha256 } = await readFile(found.path, wish);
      const report = await ledger.importTasks(ask, {
        source_system: found.kind,
        source,
        digest: sha256,
        records: found.kind === 'beads' ? read.records.map(withoutTown) : read.records,
        mode: 'copy',
        lenient: wish.lenient || found.kind === 'beads',
        ...(wish.rig === undefined ? {} : { rig_id: wish.rig }),
        cursor: null,
        dry_run: wish.dry_run,
      });
      const renamed = Object.fromEntries([...read.renamed].slice(0, 1_000));
      return { ...report, source, skipped: read.skipped, renamed };
    },
    async readIssues(ask, { repository, state: wanted, labels, comments, rig, dry_run }, token) {
      if (issues === null) {
        throw new TownError('UNAVAILABLE', 'no code host can be asked from here', {
          hint: 'start the town with: town up',
        });
      }
      const query = { repository, state: wanted, labels: labels.toSorted(), comments };
      const source = `github:${repository}?${new URLSearchParams({ state: wanted, labels: query.labels.join(','), comments: String(comments) }).toString()}`; // prettier-ignore
      const since = await ledger.importCursor('github', source);
      const found = await issues.listIssues({ ...query, since }, token);
      const cursor = found.reduce(
        (latest, issue) => (issue.updated_at > latest ? issue.updated_at : latest),
        since ?? '',
      );
      const report = await ledger.importTasks(ask, {
        source_system: 'github',
        source,
        digest: null,
        records: found.map((issue) => issueRecord(issue, repository)),
        mode: 'mirror',
        lenient: true,
        ...(rig === undefined ? {} : { rig_id: rig }),
        cursor: cursor === '' ? null : cursor,
        dry_run,
      });
      return { ...report, source, skipped: NOTHING_SKIPPED, renamed: {} };
    },
  };
}

/** The file that is meant by a path. @throws NOT_FOUND */
function findSource(
  path: string,
  kind: ImportWish['kind'],
): { readonly path: string; readonly kind: 'jsonl' | 'beads' } {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) throw new TownError('NOT_FOUND', `there is no file or folder ${path}`);
  if (!found.isDirectory()) return { path, kind: kind === 'beads' ? 'beads' : 'jsonl' };
  const own = join(path, TASKS_FILE);
  if (kind === 'copy' && statSync(own, { throwIfNoEntry: false }) !== undefined) return { path: own, kind: 'jsonl' };
  const inner = join(path, '.beads');
  const folder =
    basename(path) !== '.beads' && statSync(inner, { throwIfNoEntry: false })?.isDirectory() ? inner : path;
  const names = readdirSync(folder).filter((name) => name.endsWith('.jsonl') && !NOT_TASKS.test(name));
  const file =
    ['issues.jsonl', 'beads.jsonl'].find((name) => names.includes(name)) ?? (names.length === 1 ? names[0] : undefined);
  if (file !== undefined) return { path: join(folder, file), kind: 'beads' };
  throw new TownError('NOT_FOUND', `there is no ${TASKS_FILE} in ${path}, and no issues.jsonl in ${folder}`, {
    hint:
      names.length === 0
        ? 'name the file itself; Beads writes one with: bd export'
        : `name one of: ${names.slice(0, 10).join(', ')}`,
  });
}

/** Beads says nothing of rigs. */
function withoutTown<T extends { readonly rig_id?: string | null }>(record: T): T {
  const { rig_id: _rig, ...rest } = record;
  return rest as T;
}

/** A request with a key may write several copies. */
function withoutKey({ key: _key, ...ask }: Ask): Ask {
  return ask;
}

function sha256Hex(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
