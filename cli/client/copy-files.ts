import { createHash, createPrivateKey, createPublicKey, generateKeyPairSync, randomBytes, sign, verify, type KeyObject } from 'node:crypto'; // prettier-ignore
import { constants, lstatSync, readFileSync, realpathSync, statSync, writeFileSync } from 'node:fs';
import { mkdir, open, rename, rm, type FileHandle } from 'node:fs/promises';
import { dirname, join, sep } from 'node:path';
import { z } from 'zod';
import { canonicalJson } from '../../schema/canonical';
import { TownError } from '../../schema/errors';
import { EXCHANGE_LIMITS } from '../../schema/task/interchange';

/*
 * Copies of tasks as files: a file of lines, and beside it, when it is signed, a manifest with the hash of each file. Files appear whole:
 * they are written under another name and renamed.
 */

export const TASKS_FILE = 'tasks.jsonl';
export const MANIFEST_FILE = 'manifest.json';
const FORMAT = 'steeltown-tasks/1';

const ManifestSchema = z.strictObject({
  format: z.literal(FORMAT),
  /** Null: of the whole town. */
  rig: z.string().nullable(),
  files: z
    .array(
      z.strictObject({
        path: z.literal(TASKS_FILE),
        sha256: z.string().regex(/^[0-9a-f]{64}$/),
        bytes: z.int(),
        tasks: z.int(),
        edges: z.int(),
      }),
    )
    .length(1),
  /** `ed25519:` and the 32 bytes of the public key in base64url. */
  key: z.string(),
  /** Of all the above; base64url. */
  signature: z.string(),
});
type Manifest = z.output<typeof ManifestSchema>;

export interface FileFacts {
  readonly sha256: string;
  readonly bytes: number;
}

/** The town's own key; made when it is first needed, readable by its owner alone. */
export function exportKey(state: string): KeyObject {
  const path = join(state, 'export-key.pem');
  if (statSync(path, { throwIfNoEntry: false }) === undefined) {
    const made = generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' });
    try {
      writeFileSync(path, made, { flag: 'wx', mode: 0o600 });
    } catch (error) {
      if (codeOf(error) !== 'EEXIST') throw error; // made by another request at this moment
    }
  }
  if ((statSync(path).mode & 0o077) !== 0) {
    throw new TownError('FORBIDDEN', `others can read the key ${path}`, {
      hint: `make it yours alone: chmod 600 ${path}`,
    });
  }
  return createPrivateKey(readFileSync(path));
}

export function publicKeyText(key: KeyObject): string {
  const { x = '' } = createPublicKey(key.export({ type: 'pkcs8', format: 'pem' }) as string).export({ format: 'jwk' });
  return `ed25519:${x}`;
}

/** The text of the manifest. The same copy gives the same text: the signature has no chance in it. */
export function manifestText(
  copy: FileFacts & { readonly rig: string | null; readonly tasks: number; readonly edges: number },
  key: KeyObject,
): string {
  const { rig, ...facts } = copy;
  const said = { format: FORMAT, rig, files: [{ path: TASKS_FILE, ...facts }], key: publicKeyText(key) };
  const signature = sign(null, Buffer.from(canonicalJson(said)), key).toString('base64url');
  return `${canonicalJson({ ...said, signature })}\n`;
}

/**
 * Checks the manifest beside a file, by its signature. What the file must be like is answered, for whoever reads it.
 * @throws CHECKS_FAILED naming the file that is not as it was signed
 */
export function readManifest(folder: string, trusted: string): Manifest {
  const path = join(folder, MANIFEST_FILE);
  const text = readSmall(path);
  const wrong = (reason: string, details: object = {}) =>
    new TownError('CHECKS_FAILED', `${path} ${reason}; nothing was imported`, {
      hint: 'get the copy again from where it was made',
      details: { file: MANIFEST_FILE, ...details },
    });
  let parsed: ReturnType<typeof ManifestSchema.safeParse>;
  try {
    parsed = ManifestSchema.safeParse(JSON.parse(text));
  } catch {
    throw wrong('is not JSON');
  }
  if (!parsed.success) throw wrong('is not a manifest of a copy');
  const { signature, ...said } = parsed.data;
  if (said.key !== trusted) throw wrong('is signed with another key', { key: said.key, trusted });
  const isSigned = verify(null, Buffer.from(canonicalJson(said)), keyOf(trusted), Buffer.from(signature, 'base64url'));
  // Also in its spelling: one altered byte is an altered byte.
  if (!isSigned || text !== `${canonicalJson({ ...said, signature })}\n`)
    throw wrong('was altered after it was signed');
  return parsed.data;
}

/** @throws CHECKS_FAILED when the file is not the one that was signed */
export function expectSigned(path: string, { files }: Manifest, facts: FileFacts): void {
  const signed = files[0];
  if (signed?.sha256 === facts.sha256 && signed.bytes === facts.bytes) return;
  throw new TownError(
    'CHECKS_FAILED',
    `${path} was altered after it was signed: it has ${facts.bytes} bytes with sha256 ${facts.sha256}, not ${signed?.bytes} with ${signed?.sha256}; nothing was imported`,
    { hint: 'get the copy again from where it was made', details: { file: TASKS_FILE, ...facts } },
  );
}

/** @throws INVALID_INPUT */
function keyOf(text: string): KeyObject {
  try {
    const x = /^ed25519:([A-Za-z0-9_-]{43})$/.exec(text)?.[1] ?? '';
    return createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x }, format: 'jwk' });
  } catch (error) {
    throw new TownError('INVALID_INPUT', `${JSON.stringify(text.slice(0, 80))} is not a public key`, {
      hint: 'take what the other town answers to: town export --public-key',
      cause: error,
    });
  }
}

/** A file on its way: nothing is at `path` before `place` was called. */
export interface Draft {
  write(text: string): Promise<void>;
  facts(): FileFacts;
  place(): Promise<void>;
  /** After `place` nothing happens. */
  discard(): Promise<void>;
}

/** Makes the folder when it is not there. @throws PATH_OUTSIDE_RIG when there is something else than a file */
export async function draftFile(path: string): Promise<Draft> {
  await mkdir(dirname(path), { recursive: true });
  const there = lstatSync(path, { throwIfNoEntry: false });
  if (there !== undefined && !there.isFile()) {
    throw new TownError('PATH_OUTSIDE_RIG', `${path} is there and is no regular file`, { hint: 'name another file' });
  }
  const temporary = `${path}.${randomBytes(6).toString('hex')}.tmp`;
  let handle: FileHandle | null = await open(temporary, 'wx', 0o644);
  const hash = createHash('sha256');
  let bytes = 0;
  return {
    async write(text) {
      const piece = Buffer.from(text);
      hash.update(piece);
      bytes += piece.length;
      await handle?.writeFile(piece);
    },
    facts: () => ({ sha256: hash.copy().digest('hex'), bytes }),
    async place() {
      await handle?.sync();
      await handle?.close();
      handle = null;
      await rename(temporary, path);
    },
    async discard() {
      await handle?.close();
      handle = null;
      await rm(temporary, { force: true });
    },
  };
}

/** Gives the bytes of a regular file in pieces, each valid until the next. @throws NOT_FOUND, INVALID_INPUT, INPUT_TOO_LARGE */
export async function readPieces(path: string, take: (piece: Buffer) => void): Promise<FileFacts> {
  let handle: FileHandle;
  try {
    // Without waiting for the other end of a pipe.
    handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
  } catch (error) {
    throw unreadable(path, error);
  }
  try {
    const { size } = await expectFile(path, handle);
    if (size > EXCHANGE_LIMITS.fileBytes) throw tooLarge(path, EXCHANGE_LIMITS.fileBytes);
    const hash = createHash('sha256');
    const buffer = Buffer.alloc(256 * 1024);
    for (let bytes = 0; ;) {
      const { bytesRead } = await handle.read(buffer, 0, buffer.length, null);
      if (bytesRead === 0) return { sha256: hash.digest('hex'), bytes };
      bytes += bytesRead;
      const piece = buffer.subarray(0, bytesRead);
      hash.update(piece);
      take(piece);
    }
  } finally {
    await handle.close();
  }
}

/** sha256 and size; null when there is no such file. */
export async function factsOf(path: string): Promise<FileFacts | null> {
  if (lstatSync(path, { throwIfNoEntry: false }) === undefined) return null;
  return await readPieces(path, () => undefined);
}

/** A folder of our own inside another, which is no way out of it. @throws PATH_OUTSIDE_RIG */
export function expectInside(path: string, folder: string): void {
  for (let at = path; ; at = dirname(at)) {
    if (lstatSync(at, { throwIfNoEntry: false }) === undefined && at !== dirname(at)) continue;
    const real = realpathSync(at);
    const inside = realpathSync(folder);
    if (real === inside || real.startsWith(inside.endsWith(sep) ? inside : inside + sep)) return;
    throw new TownError('PATH_OUTSIDE_RIG', `${path} leads out of ${folder}`, { hint: `name a path within ${folder}` });
  }
}

function readSmall(path: string): string {
  try {
    const { size } = statSync(path);
    if (size > 64 * 1024) throw tooLarge(path, 64 * 1024);
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw unreadable(path, error);
  }
}

async function expectFile(path: string, handle: FileHandle) {
  const found = await handle.stat();
  if (found.isFile()) return found;
  throw new TownError('INVALID_INPUT', `${path} is no regular file`, { hint: 'name a file of lines of JSON' });
}

function tooLarge(path: string, max: number): TownError {
  return new TownError('INPUT_TOO_LARGE', `${path} has more than ${max} bytes`, { hint: 'import it in parts' });
}

function unreadable(path: string, error: unknown): unknown {
  const code = codeOf(error);
  if (code === 'ENOENT' || code === 'ENOTDIR')
    return new TownError('NOT_FOUND', `there is no file ${path}`, { cause: error });
  if (code === 'EACCES' || code === 'EPERM')
    return new TownError('FORBIDDEN', `${path} may not be read`, { cause: error });
  if (code === 'EISDIR') return new TownError('INVALID_INPUT', `${path} is a folder`, { cause: error });
  return error;
}

function codeOf(error: unknown): unknown {
  return (error as { code?: unknown } | null)?.code;
}
