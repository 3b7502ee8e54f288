/* A town in a folder of its own, driven only by `town` commands, and killed by process id. */
import { execFile, spawn } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { AgentView, EventView, MoleculeView, SessionView } from '../../schema/views';
import { until } from '../support/until';
import type { Effect } from '../support/worker-program';

/** Top of the package, from the sources as from dist. */
export const PACKAGE =
  [join(__dirname, '..', '..'), join(__dirname, '..', '..', '..')].find((folder) =>
    existsSync(join(folder, 'package.json')),
  ) ?? '';
export const TOWN = join(PACKAGE, 'bin', 'town');
export const WORKER_PROGRAM = join(PACKAGE, 'dist', 'test', 'support', 'worker-program.js');
/** Absolute path of the Node that package.json pins. */
export const NODE = (require(join(PACKAGE, 'tools', 'node.js')) as { pinnedNode(): string }).pinnedNode();

/** Far above what anything here takes, also on a busy machine. */
const PATIENCE_MS = 60_000;

export interface CommandEnd {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class DrivenTown {
  readonly root: string;
  readonly effectsFile: string;
  /** Every process of the town that was ever seen: pid → start time. */
  readonly seen = new Map<number, string>();

  constructor(root: string) {
    this.root = root;
    this.effectsFile = join(root, 'effects.jsonl');
  }

  /** Runs `town …`; answers also when it fails. */
  run(...words: string[]): Promise<CommandEnd> {
    return new Promise((resolve) => {
      const options = { cwd: this.root, env: plainEnv(), maxBuffer: 256 * 1024 * 1024 };
      execFile(TOWN, words, options, (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : 1;
        resolve({ code, stdout, stderr });
      });
    });
  }

  /** What `town … --json` prints. @throws Error when the command fails */
  async json<T>(...words: string[]): Promise<T> {
    const end = words.indexOf('--');
    const asked = end < 0 ? [...words, '--json'] : [...words.slice(0, end), '--json', ...words.slice(end)];
    const { code, stdout, stderr } = await this.run(...asked);
    if (code !== 0) throw new Error(`town ${words.join(' ')} ended with ${code}: ${stderr.trim()}`);
    return JSON.parse(stdout) as T; // the town's own JSON, of the shape that schema/views.ts says
  }

  /** `town up`, its progress handed on line by line. */
  up(onLine: (line: string) => void = () => undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const child = spawn(TOWN, ['up'], { cwd: this.root, env: plainEnv(), stdio: ['ignore', 'ignore', 'pipe'] });
      let said = '';
      child.stderr.setEncoding('utf8');
      child.stderr.on('data', (chunk: string) => {
        const lines = (said + chunk).split('\n');
        said = lines.pop() ?? '';
        for (const line of lines) onLine(line);
      });
      child.on('error', reject);
      child.on('close', (code) => {
        this.processes();
        if (code === 0) resolve();
        else reject(new Error(`town up ended with ${code}: ${said}`));
      });
    });
  }

  events(...filter: string[]): Promise<EventView[]> {
    return this.pages(filter);
  }
  /** All events of a molecule that comes to its end, once that is sealed: until then the list, and the molecule's rows, may lack some. */
  trail(molecule_id: string): Promise<EventView[]> {
    return until(
      async () => {
        const sealed = await this.events('--molecule', molecule_id);
        return sealed.some(({ type }) => type === 'molecule_finished') && sealed;
      },
      `the end of ${molecule_id} in the trail`,
      PATIENCE_MS,
      500,
    );
  }
  molecule(id: string): Promise<MoleculeView> {
    return this.json('molecule', 'show', id);
  }
  agents(): Promise<AgentView[]> {
    return this.json('agent', 'list');
  }
  sessions(): Promise<SessionView[]> {
    return this.json('session', 'list', '--limit', '1000');
  }

  effects(): Effect[] {
    if (!existsSync(this.effectsFile)) return [];
    const lines = readFileSync(this.effectsFile, 'utf8').split('\n');
    lines.pop(); // empty, or not wholly written yet
    return lines.map((line) => JSON.parse(line) as Effect); // written by the worker program
  }

  /** The first effect that fits, as soon as it is there. @throws Error after `timeoutMs` */
  effect(fits: (effect: Effect) => boolean, what: string, timeoutMs = PATIENCE_MS): Promise<Effect> {
    return until(() => this.effects().find(fits), what, timeoutMs);
  }

  /** All processes of the town that live now: what its state file names, what works in its folder or carries it in its environment, and
   *  all their descendants. */
  processes(): number[] {
    const table = processTable();
    const named = new Set(pidsOfState(this.root));
    const members = new Set(
      table.filter(({ pid }) => named.has(pid) || belongsTo(pid, this.root)).map(({ pid }) => pid),
    );
    for (let grew = true; grew;) {
      const before = members.size;
      for (const { pid, parent } of table) if (members.has(parent)) members.add(pid);
      grew = members.size > before;
    }
    members.delete(process.pid);
    for (const { pid, startTime } of table) if (members.has(pid)) this.seen.set(pid, startTime);
    return [...members];
  }

  /** SIGKILL for every process of the town, until none is left. Answers how many there were. */
  async killEverything(): Promise<number> {
    let killed = 0;
    for (let living = this.processes(); living.length > 0; living = this.processes()) {
      for (const pid of living) if (killProcess(pid)) killed += 1;
      await sleep(10);
    }
    return killed;
  }

  /** The service's process, which holds the agent host. */
  servicePid(): number | null {
    return this.partPid('service');
  }

  /** Null while it is not up. */
  partPid(part: 'supervisor' | 'service'): number | null {
    const found = stateOf(this.root)?.[part] as { pid: number } | null | undefined;
    return found?.pid ?? null;
  }

  /** SIGKILL for the service as soon as there is one: what the state file names may be dead already. Answers its pid. */
  killService(): Promise<number> {
    return until(
      () => {
        const pid = this.servicePid();
        return pid !== null && killProcess(pid) && pid;
      },
      'a service to kill',
      PATIENCE_MS,
    );
  }

  /** `town down`; what it leaves is named and killed. */
  async down(): Promise<string[]> {
    this.processes();
    const { code, stderr } = await this.run('down');
    const left = [...this.seen].filter(([pid, startTime]) => startTimeOf(pid) === startTime).map(([pid]) => pid);
    const named = left.map((pid) => `${pid} ${commandOf(pid)}`);
    for (const pid of left) killProcess(pid);
    return code === 0 ? named : [`town down ended with ${code}: ${stderr.trim()}`, ...named];
  }

  private async pages(filter: readonly string[]): Promise<EventView[]> {
    const all: EventView[] = [];
    for (let after = 0; ;) {
      const page = await this.json<EventView[]>(
        'event',
        'list',
        '--limit',
        '1000',
        '--after',
        String(after),
        ...filter,
      );
      all.push(...page);
      const last = page.at(-1)?.seq ?? null;
      if (page.length < 1000 || last === null) return all;
      after = last;
    }
  }
}

/** Whether there was such a process. */
export function killProcess(pid: number): boolean {
  try {
    process.kill(pid, 'SIGKILL');
    return true;
  } catch {
    return false; // it has ended
  }
}

/** Our environment without a session or a town of whoever starts this. */
function plainEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('TOWN_')));
}

function stateOf(root: string): Record<string, unknown> | null {
  try {
    return JSON.parse(readFileSync(join(root, '.town', 'state.json'), 'utf8')) as Record<string, unknown>;
  } catch {
    return null; // not up
  }
}

/** Those that are still the processes they were when the file was written. */
function pidsOfState(root: string): number[] {
  const parts = ['supervisor', 'postgres', 'temporal', 'service'].map((name) => stateOf(root)?.[name]);
  return parts
    .map((part) => part as { pid: number | null; startTime: number | null } | null | undefined)
    .filter((part) => part != null && part.pid !== null && startTimeOf(part.pid) === String(part.startTime))
    .map((part) => part!.pid!);
}

function belongsTo(pid: number, root: string): boolean {
  try {
    const words = `${readFileSync(`/proc/${pid}/cmdline`, 'utf8')}\0${readFileSync(`/proc/${pid}/environ`, 'utf8')}`;
    return words
      .split('\0')
      .some((word) => word === root || word === `TOWN_ROOT=${root}` || word.startsWith(`${root}/`));
  } catch {
    return false; // it has ended, or it is somebody else's
  }
}

/** Name of the step an event is about; empty when it is about none. */
export function stepOf({ payload }: EventView): string {
  const step = typeof payload === 'object' && payload !== null && 'step' in payload ? payload.step : null;
  return typeof step === 'string' ? step : '';
}

function processTable(): { pid: number; parent: number; startTime: string }[] {
  return readdirSync('/proc')
    .map(Number)
    .filter(Number.isInteger)
    .flatMap((pid) => {
      const fields = statOf(pid);
      return fields === null || fields[0] === 'Z'
        ? []
        : [{ pid, parent: Number(fields[1]), startTime: fields[19] ?? '' }];
    });
}

function startTimeOf(pid: number): string | null {
  const fields = statOf(pid);
  return fields === null || fields[0] === 'Z' ? null : (fields[19] ?? null);
}

/** The fields behind the name: state, parent, … */
function statOf(pid: number): string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  } catch {
    return null;
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').slice(0, 80);
  } catch {
    return '(ended)';
  }
}
