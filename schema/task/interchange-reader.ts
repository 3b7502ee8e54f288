import { TownError } from '../errors';
import type { TaskId } from '../ids';
import {
  EXCHANGE_LIMITS,
  foreignId,
  referenceOf,
  refusal,
  type LineProblem,
  type ReadOptions,
  type SkippedKind,
  type TaskReader,
  type TaskRecord,
} from './interchange';
import { recordOf } from './interchange-record';

const NEWLINE = 10;

/** Reads lines of JSON. `source` is named in errors. */
export function createTaskReader(source: string, options: ReadOptions): TaskReader {
  const decoder = new TextDecoder('utf-8', { fatal: true });
  const records: TaskRecord[] = [];
  const lineOfId = new Map<string, number>();
  const renamed = new Map<string, TaskId>();
  const skipped: Record<SkippedKind, number> = { schema: 0, memory: 0, tombstone: 0, wisp: 0 };
  const problems: LineProblem[] = [];
  let pieces: Uint8Array[] = [];
  let size = 0;
  let read = 0;
  let line = 0;
  let edges = 0;

  function push(bytes: Uint8Array): void {
    read += bytes.length;
    if (read > EXCHANGE_LIMITS.fileBytes) throw tooLarge(`more than ${EXCHANGE_LIMITS.fileBytes} bytes`);
    let from = 0;
    for (let at = bytes.indexOf(NEWLINE); at >= 0; at = bytes.indexOf(NEWLINE, from)) {
      hold(bytes.subarray(from, at));
      endLine();
      from = at + 1;
    }
    // A copy: the caller may use its buffer again. Not by slice, which answers the same memory where the bytes are a Buffer of Node.
    hold(new Uint8Array(bytes.subarray(from)));
  }

  /** Of a line that is too long nothing more is kept. */
  function hold(piece: Uint8Array): void {
    size += piece.length;
    if (size > EXCHANGE_LIMITS.lineBytes) pieces = [];
    else if (piece.length > 0) pieces.push(piece);
  }

  function endLine(): void {
    line += 1;
    if (line > EXCHANGE_LIMITS.lines) throw tooLarge(`more than ${EXCHANGE_LIMITS.lines} lines`);
    const [bytes, length] = [pieces, size];
    [pieces, size] = [[], 0];
    if (length > EXCHANGE_LIMITS.lineBytes) return wrong(`longer than ${EXCHANGE_LIMITS.lineBytes} bytes`);
    if (length > 0) takeLine(bytes.length === 1 && bytes[0] !== undefined ? bytes[0] : joined(bytes, length));
  }

  function takeLine(bytes: Uint8Array): void {
    let text: string;
    try {
      text = decoder.decode(bytes);
    } catch {
      return wrong('not UTF-8');
    }
    if (text.trim() === '') return;
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      return wrong(`not JSON: ${(error as Error).message.slice(0, 120)}`);
    }
    const found = recordOf(value, line, text, options);
    if (found.kind === 'wrong') found.reasons.forEach(wrong);
    else if (found.kind === 'task') takeRecord(found.record, found.foreignIds);
    else skipped[found.kind] += 1;
  }

  function takeRecord(record: TaskRecord, foreignIds: readonly string[]): void {
    for (const id of foreignIds) renamed.set(id, foreignId(id, options.digestOf));
    const name = record.id ?? referenceOf(record);
    const before = lineOfId.get(name);
    if (before !== undefined) return wrong(`${name.trim()} is already on line ${before}`);
    lineOfId.set(name, line);
    records.push(record);
    edges += record.edges.length + record.aside.length;
    if (records.length > EXCHANGE_LIMITS.tasks) throw tooLarge(`more than ${EXCHANGE_LIMITS.tasks} tasks`);
    if (edges > EXCHANGE_LIMITS.edges) throw tooLarge(`more than ${EXCHANGE_LIMITS.edges} edges`);
  }

  function wrong(reason: string): void {
    problems.push({ line, reason });
    if (problems.length >= EXCHANGE_LIMITS.problems) throw refusal(source, problems);
  }

  function tooLarge(what: string): TownError {
    return new TownError('INPUT_TOO_LARGE', `${source} has ${what}; nothing was imported`, {
      hint: 'import it in parts; an edge to a task that comes later is kept until that is there',
    });
  }

  return {
    push,
    end() {
      if (size > 0) endLine();
      if (problems.length > 0) throw refusal(source, problems);
      return { records, skipped, renamed };
    },
  };
}

function joined(pieces: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
