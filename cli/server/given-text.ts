import { closeSync, constants, fstatSync, openSync, readSync, realpathSync } from 'node:fs';
import { isAbsolute, relative, resolve } from 'node:path';
import { TownError } from '../../schema/errors';
import type { Caller } from './verb';

/** Of a file that is given with a command, or of what is piped into it. */
export const TEXT_BYTES_MAX = 512 * 1024;

/**
 * The text of a file, relative to the caller's folder, or of stdin for `-`. The service reads it in the name of the caller, so the
 * session of an agent gets only what lies in its worktree.
 * @throws NOT_FOUND, PATH_OUTSIDE_RIG, INVALID_INPUT, INPUT_TOO_LARGE
 */
export function readGivenText(path: string, caller: Caller): string {
  if (path === '-') {
    if (caller.stdin === null) throw new TownError('USAGE', 'nothing is piped into the command');
    return caller.stdin;
  }
  const named = resolve(caller.cwd, path);
  const file = realPathOf(named);
  const worktree = caller.session?.worktree ?? null;
  if (worktree !== null && !isWithin(realPathOf(worktree), file)) {
    throw new TownError('PATH_OUTSIDE_RIG', `${named} is not in your worktree`, {
      hint: 'put the file there, or pipe its text into the command, with - in the place of its name',
    });
  }
  // Not to wait for a writer when it is a pipe.
  const descriptor = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile()) throw new TownError('INVALID_INPUT', `${named} is not a file`);
    if (stat.size > TEXT_BYTES_MAX) {
      throw new TownError('INPUT_TOO_LARGE', `${named} has ${stat.size} bytes; at most ${TEXT_BYTES_MAX}`, {
        hint: 'split it into several files',
      });
    }
    const bytes = Buffer.alloc(stat.size);
    return decodeText(bytes.subarray(0, readSync(descriptor, bytes, 0, stat.size, 0)), named);
  } finally {
    closeSync(descriptor);
  }
}

/** @throws INVALID_INPUT when the bytes are not UTF-8, or hold a NUL */
export function decodeText(bytes: Uint8Array, what: string): string {
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    if (!text.includes('\0')) return text;
  } catch {
    // said below
  }
  throw new TownError('INVALID_INPUT', `${what} is not text in UTF-8`);
}

function realPathOf(path: string): string {
  try {
    return realpathSync(path);
  } catch (error) {
    throw new TownError('NOT_FOUND', `there is no file ${path}, or it may not be read`, {
      hint: 'a path is taken from the folder where the command is run',
      cause: error,
    });
  }
}

function isWithin(folder: string, path: string): boolean {
  const way = relative(folder, path);
  return way !== '' && !way.startsWith('..') && !isAbsolute(way);
}
