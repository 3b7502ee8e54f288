import { isObject, type Json, type JsonObject } from '../json';
import { parse as parseToml, TomlError } from 'smol-toml';
import { sourceOf } from './locate';
import { ProblemList, within, type Place, type ProblemCode, type Source } from './problems';

/** Of the text of one formula, in bytes or characters. */
export const FORMULA_SIZE_MAX = 1_000_000;
const DEPTH_MAX = 64;
const FORBIDDEN_KEYS = ['__proto__', 'constructor', 'prototype'];

/** What a file holds: plain JSON, and where its parts stand. */
export interface FormulaDocument {
  /** Null when it cannot be read at all; `problems` says why. */
  readonly table: JsonObject | null;
  readonly source: Source;
  readonly problems: ProblemList;
}

/** Reads the bytes of a file: refuses what is too big or not UTF-8. */
export function decodeDocument(bytes: Uint8Array, file: string): FormulaDocument {
  if (bytes.byteLength > FORMULA_SIZE_MAX) return tooBig(file, bytes.byteLength);
  const text = decodeUtf8(bytes);
  if (text !== null) return openDocument(text, file);
  return refused(sourceOf(file, ''), 'FORMULA_NOT_TEXT', 'the file is not valid UTF-8', 'Save the file as UTF-8 text.');
}

/** Reads TOML, or JSON when the name of the file ends in `.json`. */
export function openDocument(text: string, file: string): FormulaDocument {
  if (text.length > FORMULA_SIZE_MAX) return tooBig(file, text.length);
  const clean = text.replace(/^\uFEFF/, '');
  const source = sourceOf(file, clean);
  const nul = clean.indexOf('\0');
  if (nul !== -1) {
    const at = { ...source, lineOf: () => lineAt(clean, nul) };
    return refused(
      at,
      'FORMULA_NOT_TEXT',
      'the file holds a NUL byte, so it is not text',
      'Save the file as UTF-8 text.',
    );
  }
  const problems = new ProblemList();
  return { table: readDocument(clean, source, problems), source, problems };
}

/** Null: not valid UTF-8. */
function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}

function tooBig(file: string, size: number): FormulaDocument {
  const message = `the formula has ${size} bytes; at most ${FORMULA_SIZE_MAX} are read`;
  return refused(
    sourceOf(file, ''),
    'FORMULA_TOO_BIG',
    message,
    'Split the formula, or make its steps with loop.count.',
  );
}

function refused(source: Source, code: ProblemCode, message: string, fix: string): FormulaDocument {
  const problems = new ProblemList();
  problems.add({ code, at: { source, path: '' }, message, fix });
  return { table: null, source, problems };
}

function readDocument(text: string, source: Source, problems: ProblemList): JsonObject | null {
  let document: unknown;
  try {
    document = source.file.endsWith('.json') ? JSON.parse(text) : parseToml(text);
  } catch (error) {
    const { message } = error as Error; // both readers throw nothing else
    const line = error instanceof TomlError ? error.line : lineOfJsonError(message, text);
    problems.add({
      code: 'FORMULA_SYNTAX',
      at: { source: { ...source, lineOf: () => line }, path: '' },
      message: message.replace(/^Invalid TOML document: /, '').replace(/\n.*/s, ''),
      fix: `Correct the ${source.file.endsWith('.json') ? 'JSON' : 'TOML'} at this line.`,
    });
    return null;
  }
  const json = toJson(document, { at: { source, path: '' }, depth: 0, problems });
  if (isObject(json)) return json;
  problems.add({
    code: 'FORMULA_SYNTAX',
    at: { source, path: '' },
    message: 'the document is not a table',
    fix: 'Begin with formula = "name".',
  });
  return null;
}

function lineOfJsonError(message: string, text: string): number {
  const position = /position (\d+)/.exec(message)?.[1];
  return lineAt(text, position === undefined ? text.length : Number(position));
}

function lineAt(text: string, offset: number): number {
  return text.slice(0, offset).split('\n').length;
}

/** Plain JSON from what a reader made: dates become text; keys that could reach a prototype are noted and left out. */
function toJson(
  value: unknown,
  where: { readonly at: Place; readonly depth: number; readonly problems: ProblemList },
): Json {
  const { at, depth, problems } = where;
  if (depth > DEPTH_MAX) {
    problems.add({ code: 'FORMULA_TOO_BIG', at, message: `nested deeper than ${DEPTH_MAX}`, fix: 'Make it flatter.' });
    return null;
  }
  if (value instanceof Date) return value.toISOString();
  if (Array.isArray(value)) {
    const entryAt = (index: number): Place => ({ source: at.source, path: `${at.path}[${index}]` });
    return value.map((entry: unknown, index) => toJson(entry, { at: entryAt(index), depth: depth + 1, problems }));
  }
  if (typeof value === 'number' && !Number.isFinite(value)) {
    problems.add({ code: 'FORMULA_VALUE', at, message: 'not a finite number', fix: 'Write a finite number.' });
    return null;
  }
  if (typeof value !== 'object' || value === null) return value as Json;
  const fields: [string, Json][] = [];
  for (const [key, part] of Object.entries(value)) {
    const partAt = within(at, key);
    if (FORBIDDEN_KEYS.includes(key)) {
      problems.add({
        code: 'FORMULA_FORBIDDEN_KEY',
        at: partAt,
        message: `the key ${key} is refused`,
        fix: 'Use another name.',
      });
    } else {
      fields.push([key, toJson(part, { at: partAt, depth: depth + 1, problems })]);
    }
  }
  return Object.fromEntries(fields);
}
