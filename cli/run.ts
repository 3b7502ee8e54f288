import { enableCompileCache } from 'node:module';
import { ask, findSocket, Refused, requestOf, SocketLost, WENT_AWAY, WENT_AWAY_HINT } from './ask';

/**
 * The first thing `town` runs. Asks the town's socket when there is one, and prints what it answers; loads the whole command set
 * only when nobody listens, for help, and for the verbs that start and stop the town.
 */

const LOCAL = new Set(['install', 'up', 'down', 'status', 'doctor', 'serve', 'help', 'version', '--version', '-v']);

async function main(argv: readonly string[]): Promise<void> {
  const socket = goesToSocket(argv) ? findSocket(process.cwd(), process.env) : null;
  if (socket !== null) {
    const request = requestOf(socket, argv, process.stdout.isTTY === true);
    try {
      const answer = await ask(socket, request);
      if (answer.unknown !== true) return print(answer.stdout, answer.stderr, answer.code);
    } catch (error) {
      if (!(error instanceof SocketLost)) throw error;
      if (error.sent) return printLost(argv, 'UNAVAILABLE', WENT_AWAY, WENT_AWAY_HINT);
      if (request.token !== undefined) {
        const message = `the town does not answer on its socket: ${error.message}`;
        return printLost(argv, 'TOWN_DOWN', message, 'look at the town with: town status');
      }
    }
  }
  leaveQuietly(process.stdout);
  leaveQuietly(process.stderr);
  enableCompileCache();
  // The bundle that tools/build.js makes of cli/commands/index.ts.
  const bundle = './commands.js';
  const { runCommands } = require(bundle) as { runCommands: (argv: readonly string[]) => Promise<void> };
  await runCommands(argv);
}

function goesToSocket(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  const words = end < 0 ? argv : argv.slice(0, end);
  return words[0] !== undefined && !LOCAL.has(words[0]) && !words.includes('--help') && !words.includes('-h');
}

/** As the service prints its refusals. */
function printLost(argv: readonly string[], code: 'UNAVAILABLE' | 'TOWN_DOWN', message: string, hint: string): void {
  const text = wantsJson(argv)
    ? `${JSON.stringify({ error: { code, message, hint }, exit: 7 })}\n`
    : `town: ${message} (${code})\nhint: ${hint}\n`;
  print('', text, 7);
}

function wantsJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--');
  return (end < 0 ? argv : argv.slice(0, end)).includes('--json');
}

/** Ends the process once all is written; Node's own end in order takes 3 ms longer. */
function print(stdout: string, stderr: string, code: number): void {
  write('stderr', stderr, () => write('stdout', stdout, () => process.exit(code)));
}

/** Making a stream takes time, too. */
function write(name: 'stdout' | 'stderr', text: string, written: () => void): void {
  if (text === '') return written();
  leaveQuietly(process[name]);
  process[name].write(text, written);
}

/** The reader of a pipe may leave early: `town task list | head -1`. */
function leaveQuietly(stream: NodeJS.WriteStream): void {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}

main(process.argv.slice(2)).catch((error: unknown) => {
  if (error instanceof Refused) return print('', `town: ${error.message} (INVALID_INPUT)\n`, 2);
  print('', `town: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`, 1);
});
