import { createWriteStream, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { SocketAnswer } from '../../schema/desk';
import { TownError, type ErrorCode } from '../../schema/errors';
import { ask, findSocket, requestOf, SocketLost, WENT_AWAY, WENT_AWAY_HINT, type KeyedRequest } from '../ask';
import type { EventView } from '../../schema/views';
import { EXCHANGE_LIMITS } from '../../schema/task/interchange';
import { decodeText, TEXT_BYTES_MAX } from '../server/given-text';
import { parseVerb, type Verb } from '../server/verb';

const FOLLOW_POLL_MS = 500;
const AWAY: ReadonlySet<ErrorCode> = new Set(['TOWN_DOWN', 'UNAVAILABLE']);

/** A verb of the table from the full command set: asks the service after all, when it listens.
 *  @throws USAGE before anything is asked, TOWN_DOWN */
export async function runVerb(verb: Verb, argv: readonly string[]): Promise<void> {
  const parsed = parseVerb(verb, argv);
  const socket = findSocket(process.cwd(), process.env);
  if (socket === null) {
    const named = process.env['TOWN_ROOT'];
    const where = named === undefined || named === '' ? `${process.cwd()} or above it` : `${named} (TOWN_ROOT)`;
    throw new TownError('TOWN_NOT_FOUND', `no town has been started in ${where}`, {
      hint: 'go to the folder of a town and start it with: town up; make one with: town install <folder>',
    });
  }
  if ((verb.localWith ?? []).includes('follow') && parsed.flags['follow'] === true)
    return await follow(socket, verb, argv, parsed.json);
  const wanted = verb.readsStdin?.(parsed) ?? null;
  const stdin = wanted === 'text' ? await readStdin() : undefined;
  const piped = wanted === 'file' ? await keepPiped() : null;
  const words = piped === null ? argv : argv.map((word) => (word === '-' ? piped.file : word));
  const request = {
    ...requestOf(socket, [...verb.words, ...words], process.stdout.isTTY === true),
    ...(stdin === undefined ? {} : { stdin }),
    ...(verb.readsForgeToken?.(parsed) === true ? { forge_token: process.env['GITHUB_TOKEN']?.trim() || null } : {}),
  };
  const answer = await askService(socket, request).finally(() => piped?.discard());
  if (answer.unknown === true) {
    throw new TownError('CONFLICT', 'the running service does not know this command; it is of another version', {
      hint: 'restart the town with: town down, then: town up',
    });
  }
  process.exitCode = answer.code;
  process.stderr.write(answer.stderr);
  process.stdout.write(answer.stdout);
}

/** Asks for what came after the last event seen, again and again, until it is interrupted. */
async function follow(socket: string, verb: Verb, argv: readonly string[], json: boolean): Promise<void> {
  const kept = withoutFlags(argv, ['--follow', '--json'], ['--after']);
  let after = Number(parseVerb(verb, argv).flags['after'] ?? 0);
  let missed = 0;
  for (;;) {
    let events: EventView[] = [];
    try {
      const asked = [...verb.words, `--after=${after}`, ...kept];
      const answer = await askService(socket, requestOf(socket, [...asked, '--json'], false));
      if (answer.code !== 0) {
        // The text belongs to the caller, whatever form was asked for inside.
        process.stderr.write(answer.stderr);
        process.exitCode = answer.code;
        return;
      }
      missed = 0;
      events = JSON.parse(answer.stdout) as EventView[];
    } catch (error) {
      // The service may be restarting: a follower outlives that.
      if (!(error instanceof TownError) || !AWAY.has(error.code) || ++missed * FOLLOW_POLL_MS > 60_000) throw error;
    }
    for (const event of events) {
      after = event.seq ?? after;
      process.stdout.write(json ? `${JSON.stringify(event)}\n` : lineOf(event));
    }
    if (events.length === 0) await new Promise((wake) => setTimeout(wake, FOLLOW_POLL_MS));
  }
}

/** @throws USAGE at a terminal, INPUT_TOO_LARGE, INVALID_INPUT when it is no text */
async function readStdin(): Promise<string> {
  if (process.stdin.isTTY) {
    throw new TownError('USAGE', 'nothing is piped into the command', {
      hint: 'name a file, or pipe one in: town batch < changes.txt',
    });
  }
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > TEXT_BYTES_MAX) {
      throw new TownError('INPUT_TOO_LARGE', `what is piped in is larger than ${TEXT_BYTES_MAX} bytes`, {
        hint: 'send it in several parts',
      });
    }
    chunks.push(chunk);
  }
  return decodeText(Buffer.concat(chunks), 'what is piped in');
}

/** What is piped in, as a file that only this user can read: the service reads it from there. */
async function keepPiped(): Promise<{ readonly file: string; discard(): void }> {
  const folder = mkdtempSync(join(tmpdir(), 'town-'));
  const discard = () => rmSync(folder, { recursive: true, force: true });
  const file = join(folder, 'standard-input.jsonl');
  let bytes = 0;
  try {
    await pipeline(
      process.stdin,
      async function* (pieces: AsyncIterable<Buffer>) {
        for await (const piece of pieces) {
          bytes += piece.length;
          if (bytes > EXCHANGE_LIMITS.fileBytes) {
            throw new TownError('INPUT_TOO_LARGE', `more than ${EXCHANGE_LIMITS.fileBytes} bytes were piped in`);
          }
          yield piece;
        }
      },
      createWriteStream(file, { mode: 0o600 }),
    );
  } catch (error) {
    discard();
    throw error;
  }
  return { file, discard };
}

async function askService(socket: string, request: KeyedRequest): Promise<SocketAnswer> {
  try {
    return await ask(socket, request);
  } catch (error) {
    if (!(error instanceof SocketLost)) throw error;
    if (error.sent) throw new TownError('UNAVAILABLE', WENT_AWAY, { hint: WENT_AWAY_HINT, cause: error });
    throw new TownError('TOWN_DOWN', 'the town is not running', {
      hint: 'start it with: town up; look at it with: town status',
      cause: error,
    });
  }
}

function lineOf(event: EventView): string {
  const about = event.task_id ?? event.molecule_id ?? event.convoy_id ?? event.agent_id ?? '';
  return `${[event.seq ?? '', event.at, event.type, event.actor, about, JSON.stringify(event.payload).slice(0, 200)].join('\t')}\n`;
}

/** Without these switches, and without these flags and their values. */
function withoutFlags(argv: readonly string[], switches: readonly string[], valued: readonly string[]): string[] {
  return argv.filter(
    (word, index) =>
      !switches.includes(word) &&
      !valued.some((flag) => word === flag || word.startsWith(`${flag}=`) || argv[index - 1] === flag),
  );
}
