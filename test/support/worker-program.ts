/* A session's program without a model: it reads its hook, does what the step's instructions list, and closes the step.
 *
 * The list is the fenced block `work` of the instructions, one action a line:
 *
 *     write <file>        the lines after it that begin with "| " are the file's whole text
 *     append <file>       the same, added to the file once
 *     expect-fail <cmd>   the command must end with another code than 0
 *     expect-pass <cmd>   the command must end with 0
 *     commit <message>    commits everything, once for each step: the commit carries the step's id
 *     record              writes the step's id into the effects file, once for each step
 *     output <json>       closes the step with this output
 *
 * A program that is started again in the same worktree repeats only what it does not find done.
 *
 * Environment, beside what every session gets:
 *     WORKER_EFFECTS  file that gets a JSON line for each effect
 *     WORKER_IDLE_MS  ends with code 0 after this long without work (60,000)
 *     WORKER_THINK_MS pause before each action, as a model would make (0)
 *     WORKER_SOCKET   1: one connection for all calls; otherwise a `town` process for each
 */
import { execFile, spawnSync } from 'node:child_process';
import { appendFileSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CloseAnswer, SocketAnswer, SocketRequest } from '../../schema/desk';
import type { HookView, StepBrief } from '../../schema/views';

/** One line of the effects file. `begin`: an attempt starts; `close`: closed by this call; `found`: an effect of an earlier attempt. */
export interface Effect {
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly kind: 'begin' | 'write' | 'run' | 'commit' | 'record' | 'found' | 'close';
  readonly agent: string;
  readonly incarnation: number;
  readonly pid: number;
  readonly molecule: string;
  readonly step: string;
  readonly attempt: number;
  readonly detail: string;
}

/** Trailer of the commit that a step makes. */
export const STEP_TRAILER = 'Town-Step';

interface Action {
  readonly verb: string;
  readonly rest: string;
  readonly text: string;
}
interface Answer {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}
type Call = (argv: readonly string[]) => Promise<Answer>;

const { env } = process;
const agent = env['TOWN_AGENT'] ?? '';
const incarnation = Number(env['TOWN_INCARNATION'] ?? 0);
const effectsFile = env['WORKER_EFFECTS'] ?? '';
const thinkMs = Number(env['WORKER_THINK_MS'] ?? 0);
const idleMs = Number(env['WORKER_IDLE_MS'] ?? 60_000);
/** How long the town may be away before the program gives up. */
const PATIENCE_MS = 120_000;
const WAIT_S = 5;

async function main(): Promise<number> {
  const call = env['WORKER_SOCKET'] === '1' ? overSocket(env['TOWN_SOCKET'] ?? '') : callProcess;
  const recorded = readRecorded();
  let brief: StepBrief | null = null;
  for (let idleSince = Date.now(); Date.now() - idleSince < idleMs;) {
    brief ??= (await ask<HookView>(call, ['hook', '--wait', String(WAIT_S), '--json']))?.current ?? null;
    if (brief === null) continue;
    const failure = await work(brief, recorded);
    const closed = await close(call, brief, failure);
    brief = closed?.next ?? null;
    idleSince = Date.now();
  }
  return 0;
}

/** Null when all actions were done; otherwise what stood in the way. */
async function work(brief: StepBrief, recorded: Set<string>): Promise<string | null> {
  const note = (kind: Effect['kind'], detail: string) => noteEffect(brief, kind, detail);
  note('begin', '');
  for (const { verb, rest, text } of readActions(brief.instructions)) {
    if (thinkMs > 0) await sleep(thinkMs);
    switch (verb) {
      case 'write':
      case 'append': {
        const path = join(process.cwd(), rest);
        const before = existsSync(path) ? readFileSync(path, 'utf8') : '';
        if (verb === 'write' ? before === text : before.includes(text)) {
          note('found', rest);
          break;
        }
        mkdirSync(dirname(path), { recursive: true });
        writeFileSync(path, verb === 'write' ? text : before + text);
        note('write', rest);
        break;
      }
      case 'expect-fail':
      case 'expect-pass': {
        const { status, stdout, stderr } = run('sh', ['-c', rest]);
        note('run', `${rest} → ${status}`);
        if ((status === 0) !== (verb === 'expect-pass')) {
          return `${rest} ended with ${status}: ${`${stdout}${stderr}`.slice(-500)}`;
        }
        break;
      }
      case 'commit': {
        const made = run('git', [
          'log',
          '-1',
          '--format=%H',
          `--grep=^${STEP_TRAILER}: ${brief.step_id}$`,
        ]).stdout.trim();
        if (made !== '') {
          note('found', made);
          break;
        }
        const message = `${rest}\n\n${STEP_TRAILER}: ${brief.step_id}`;
        const identity = ['-c', `user.name=${agent}`, '-c', `user.email=${agent.replaceAll('/', '.')}@town.invalid`];
        run('git', ['add', '--all']);
        const { status, stderr } = run('git', [...identity, 'commit', '--quiet', '--message', message]);
        if (status !== 0) return `git commit ended with ${status}: ${stderr.slice(-500)}`;
        note('commit', run('git', ['rev-parse', 'HEAD']).stdout.trim());
        break;
      }
      case 'record': {
        const key = `${brief.molecule_id} ${brief.step}`;
        if (!recorded.has(key)) note('record', '');
        recorded.add(key);
        break;
      }
      case 'output':
        break; // goes with the close
      default:
        return `the instructions name the action ${verb}, which is not known`;
    }
  }
  return null;
}

async function close(call: Call, brief: StepBrief, failure: string | null): Promise<CloseAnswer | null> {
  const outcome = failure === null ? 'done' : 'failed';
  const note = failure ?? `did the step ${brief.step}`;
  const output = readActions(brief.instructions).find(({ verb }) => verb === 'output');
  const closed = await ask<CloseAnswer>(call, [
    'step',
    'close',
    brief.molecule_id,
    brief.step,
    '--outcome',
    outcome,
    `--note=${note}`,
    ...(output === undefined || failure !== null ? [] : [`--output=${output.rest}`]),
    '--json',
  ]);
  if (closed !== null) noteEffect(brief, closed.already ? 'found' : 'close', outcome);
  return closed;
}

/** Null when the step is not ours any more: the hook says what is. Ends the program when the whole session is not. */
async function ask<T>(call: Call, argv: readonly string[]): Promise<T | null> {
  for (const until = Date.now() + PATIENCE_MS; ;) {
    const { code, stdout, stderr } = await call(argv);
    if (code === 0) return JSON.parse(stdout) as T; // the town's own JSON
    process.stderr.write(`town ${argv.slice(0, 4).join(' ')} ended with ${code}: ${stderr}`);
    if (stderr.includes('STALE_SESSION') || stderr.includes('UNAUTHORIZED')) process.exit(4);
    if (code === 4) return null;
    if (code !== 7 || Date.now() > until) throw new Error(`town ${argv[0]} ended with ${code}`);
    await sleep(200);
  }
}

function readActions(instructions: string): Action[] {
  const block = /^```work\n([\s\S]*?)^```/m.exec(instructions)?.[1] ?? '';
  const actions: { verb: string; rest: string; text: string }[] = [];
  for (const line of block.split('\n')) {
    const last = actions.at(-1);
    if (line === '|' || line.startsWith('| ')) {
      if (last !== undefined) last.text += `${line.slice(2)}\n`;
    } else if (line.trim() !== '') {
      const [verb = '', ...rest] = line.trim().split(' ');
      actions.push({ verb, rest: rest.join(' '), text: '' });
    }
  }
  return actions;
}

function noteEffect(brief: StepBrief, kind: Effect['kind'], detail: string): void {
  if (effectsFile === '') return;
  const { molecule_id: molecule, step, attempt } = brief;
  const effect: Effect = {
    at: Date.now(),
    kind,
    agent,
    incarnation,
    pid: process.pid,
    molecule,
    step,
    attempt,
    detail,
  };
  appendFileSync(effectsFile, `${JSON.stringify(effect)}\n`);
}

function readRecorded(): Set<string> {
  if (!existsSync(effectsFile)) return new Set();
  const lines = readFileSync(effectsFile, 'utf8').split('\n').filter(Boolean);
  const effects = lines.map((line) => JSON.parse(line) as Effect); // written by this program
  return new Set(effects.filter(({ kind }) => kind === 'record').map(({ molecule, step }) => `${molecule} ${step}`));
}

function run(command: string, args: readonly string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(command, args, { cwd: process.cwd(), encoding: 'utf8' });
}

function callProcess(argv: readonly string[]): Promise<Answer> {
  return new Promise((resolve) => {
    execFile('town', [...argv], { maxBuffer: 16 * 1024 * 1024 }, (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : typeof error.code === 'number' ? error.code : 1, stdout, stderr });
    });
  });
}

/** Calls over one connection, made again when it is lost; a close that was sent is simply asked for again. */
function overSocket(path: string): Call {
  let socket: Socket | null = null;
  let received = '';
  let settle: ((answer: Answer | null) => void) | null = null;
  let id = 0;

  function open(): Socket {
    const made = connect(path);
    received = '';
    made.setEncoding('utf8');
    made.on('data', (chunk: string) => {
      received += chunk;
      const end = received.indexOf('\n');
      if (end < 0) return;
      const line = received.slice(0, end);
      received = received.slice(end + 1);
      settle?.(JSON.parse(line) as SocketAnswer); // the town's own JSON
    });
    made.on('error', () => undefined); // "close" follows
    made.on('close', () => {
      if (socket === made) socket = null;
      settle?.(null);
    });
    return made;
  }

  return async (argv) => {
    id += 1;
    const request: SocketRequest = {
      v: 1,
      id,
      argv,
      cwd: process.cwd(),
      tty: false,
      token: env['TOWN_TOKEN'] ?? '',
      user: agent,
    };
    for (const until = Date.now() + PATIENCE_MS; Date.now() < until; await sleep(50)) {
      const answer = await new Promise<Answer | null>((resolve) => {
        settle = resolve;
        socket ??= open();
        socket.write(`${JSON.stringify(request)}\n`);
      });
      settle = null;
      if (answer !== null) return answer;
    }
    return { code: 7, stdout: '', stderr: 'the socket does not answer' };
  };
}

if (require.main === module) {
  main().then(
    (code) => process.exit(code),
    (error: unknown) => {
      process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
      process.exit(1);
    },
  );
}
