/* Keeps a town up: `node supervisor.js <root> [options as JSON]`.
 *
 * Postgres and Temporal start together, then the service. Each part that ends is brought back, at once when it had been ready,
 * else with a growing delay, and parts that an earlier supervisor left running are taken over. Killing this process kills none of the parts; SIGTERM
 * stops them in order. One supervisor a town: a second one ends at once with exit code 0. */
import { spawn } from 'node:child_process';
import { appendFileSync, closeSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { tryLock } from '../activities/provision/lock';
import { prepareFolders, townPaths, type TownPaths } from '../activities/provision/paths';
import { startPostgres } from '../activities/provision/postgres';
import { bootId, processStartTime, thisProcess, type ProcessRef } from '../activities/provision/process';
import { lastLines, openLog, type Progress, type Step } from '../activities/provision/progress';
import { isRecord, readJson, readState, writeState, type TownState } from '../activities/provision/state';
import { findTemporal, startTemporal } from '../activities/provision/temporal';
import { findServices, stopService, type UpOptions } from '../activities/provision/town';
import { TownError, isErrorCode, type ErrorBody } from '../schema/errors';

/** Between tries to start a part that did not get ready, or did not last. */
const BACKOFF = { firstMs: 200, maxMs: 10_000 };
/** A part that was ready for this long is brought back at once when it ends. */
const LASTED_MS = 250;
const SERVICE_READY_MS = 60_000;
/** Failed starts of the service after which a town that was never ready gives up. */
const SERVICE_ATTEMPTS = 3;

interface Running {
  readonly exited: Promise<void>;
  stop(): Promise<void>;
}

interface Part {
  readonly name: Step;
  /** Starts or takes over, and records it in the state. */
  start(): Promise<Running>;
  /** Called when it has ended by itself. */
  lost(): void;
}

class Supervisor {
  private readonly paths: TownPaths;
  private readonly options: UpOptions;
  private readonly started = Date.now();
  private readonly stopping = new AbortController();
  private readonly running = new Map<Step, Running>();
  private state: TownState;
  private serviceFailures = 0;

  constructor(paths: TownPaths, options: UpOptions) {
    this.paths = paths;
    this.options = options;
    this.state = {
      bootId: bootId(),
      startedAt: new Date().toISOString(),
      supervisor: thisProcess(),
      postgres: null,
      temporal: null,
      service: null,
      phase: 'starting',
      error: null,
    };
  }

  /** Settles with the exit code after everything was stopped. */
  async run(): Promise<number> {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.on(signal, () => this.stopping.abort());
    process.on('SIGHUP', () => undefined); // the terminal that started us may close
    const left = readState(this.paths.stateFile);
    writeFileSync(this.paths.upLog, '', { mode: 0o600 });
    this.write({});
    this.progress(
      'town',
      left === null ? 'starting' : 'starting; an earlier supervisor ended without stopping the town',
    );
    const keepAlive = setInterval(() => undefined, 60_000);
    const code = await this.keepEverything();
    await this.stopEverything();
    clearInterval(keepAlive);
    return code;
  }

  private async keepEverything(): Promise<number> {
    const stopped = new Promise<'stopped'>((resolve) => {
      this.stopping.signal.addEventListener('abort', () => resolve('stopped'), { once: true });
    });
    try {
      // A survivor would work with addresses of before; it is replaced by one that knows the present ones.
      for (const service of findServices(this.paths)) await stopService(service);
      await this.startTogether();
      await Promise.race([
        stopped,
        Promise.all([this.keep(this.postgres), this.keep(this.temporal), this.keep(this.service)]),
      ]);
      return 0;
    } catch (error) {
      if (this.stopping.signal.aborted) return 0;
      const body = bodyOf(error);
      this.progress('town', `${body.message}${body.hint === undefined ? '' : ` (${body.hint})`}`, 'error');
      this.write({ error: body });
      return 1;
    }
  }

  /** Both settle before an error of one counts, so that nothing starts behind our back while we stop. */
  private async startTogether(): Promise<void> {
    const both = await Promise.allSettled([this.begin(this.postgres), this.begin(this.temporal)]);
    for (const outcome of both) if (outcome.status === 'rejected') throw outcome.reason;
    this.stopping.signal.throwIfAborted();
  }

  private async begin(part: Part): Promise<Running> {
    const running = await part.start();
    this.running.set(part.name, running);
    this.write({});
    return running;
  }

  /** Brings a part back for as long as the town is to be up. */
  private async keep(part: Part): Promise<void> {
    let delayMs = BACKOFF.firstMs;
    while (!this.stopping.signal.aborted) {
      try {
        const running = this.running.get(part.name) ?? (await this.begin(part));
        const readyAt = Date.now();
        await running.exited;
        if (this.stopping.signal.aborted) return;
        this.running.delete(part.name);
        part.lost();
        this.progress(part.name, 'ended; bringing it back', 'warn');
        if (Date.now() - readyAt > LASTED_MS) {
          delayMs = BACKOFF.firstMs;
          continue;
        }
      } catch (error) {
        if (this.stopping.signal.aborted) return;
        if (part.name === 'service' && this.serviceFailures >= SERVICE_ATTEMPTS) throw error;
        const body = bodyOf(error);
        this.progress(part.name, `${body.message} (${body.code})`, 'error');
        this.write({ error: body });
      }
      await sleep(delayMs, undefined, { signal: this.stopping.signal }).catch(() => undefined); // stopping ends the wait
      delayMs = Math.min(delayMs * 2, BACKOFF.maxMs);
    }
  }

  private readonly postgres: Part = {
    name: 'postgres',
    start: async () => {
      const handle = await startPostgres({ paths: this.paths, progress: this.progress, url: this.options.postgresUrl });
      const owned = handle.process !== null;
      this.write({ postgres: { ...refOf(handle.process), url: handle.url, owned } });
      return handle;
    },
    lost: () => this.write({ postgres: null }),
  };

  private readonly temporal: Part = {
    name: 'temporal',
    start: async () => {
      const { progress, paths, options } = this;
      const { signal } = this.stopping;
      const handle = await startTemporal({
        paths,
        progress,
        address: options.temporalAddress,
        ui: true,
        signal,
        executable: async () => await findTemporal({ progress, configured: options.temporalCli, signal }),
      });
      const { address, uiUrl } = handle;
      this.write({ temporal: { ...refOf(handle.process), address, uiUrl, owned: handle.process !== null } });
      return handle;
    },
    lost: () => this.write({ temporal: null }),
  };

  private readonly service: Part = {
    name: 'service',
    start: async () => {
      try {
        const running = await this.startService();
        this.serviceFailures = Number.NEGATIVE_INFINITY; // it can run: from now on never give up
        return running;
      } catch (error) {
        this.serviceFailures += 1;
        throw error;
      }
    },
    lost: () => this.write({ service: null }),
  };

  private async startService(): Promise<Running> {
    const { postgres, temporal } = await this.addresses();
    const { paths } = this;
    rmSync(paths.serviceFile, { force: true });
    this.progress('service', 'starting');
    const log = openLog(paths.logs, 'service.log');
    const child = spawn(process.execPath, [join(__dirname, 'service.js'), paths.root], {
      cwd: paths.root,
      detached: true,
      stdio: ['ignore', log, log],
      env: {
        ...process.env,
        TOWN_ROOT: paths.root,
        TOWN_POSTGRES_URL: postgres.url,
        TOWN_TEMPORAL_ADDRESS: temporal.address,
        TOWN_TEMPORAL_UI: temporal.uiUrl ?? '',
      },
    });
    closeSync(log);
    child.unref();
    const ended = new Promise<void>((done) => {
      child.once('exit', () => done());
      child.once('error', () => done());
    });
    if (child.pid === undefined) throw new TownError('UNAVAILABLE', 'the town service cannot be started');
    const service: ProcessRef = { pid: child.pid, startTime: processStartTime(child.pid) ?? 0 };
    const stop = async () => await stopService(service);
    try {
      const httpUrl = await this.serviceReady(service);
      this.progress('service', `ready, pid ${service.pid}`);
      this.write({ service: { ...service, httpUrl } });
    } catch (error) {
      await stop();
      throw error;
    }
    // Another address of Temporal (its port was taken meanwhile) reaches the service by a new start.
    const exited = Promise.race([ended, this.addressChanges(temporal.address).then(stop)]);
    return { exited, stop };
  }

  private async addresses(): Promise<{
    postgres: NonNullable<TownState['postgres']>;
    temporal: NonNullable<TownState['temporal']>;
  }> {
    for (;;) {
      const { postgres, temporal } = this.state;
      if (postgres !== null && temporal !== null) return { postgres, temporal };
      await sleep(50, undefined, { signal: this.stopping.signal });
    }
  }

  private async addressChanges(address: string): Promise<void> {
    while (this.state.temporal === null || this.state.temporal.address === address) {
      await sleep(500, undefined, { ref: false });
    }
  }

  /** The service says that it is ready by writing a file with its pid. */
  private async serviceReady(service: ProcessRef): Promise<string | null> {
    const { paths } = this;
    for (const until = Date.now() + SERVICE_READY_MS; Date.now() < until;) {
      const said = readJson(paths.serviceFile);
      if (isRecord(said) && said['pid'] === service.pid)
        return typeof said['httpUrl'] === 'string' ? said['httpUrl'] : null;
      if (processStartTime(service.pid) !== service.startTime) {
        throw new TownError(
          'UNAVAILABLE',
          `the town service ended while starting: ${lastLines(paths.logs, 'service.log', 5) ?? 'it wrote nothing'}`,
          {
            hint: `its own messages are in ${join(paths.logs, 'service.log')}`,
          },
        );
      }
      await sleep(20, undefined, { signal: this.stopping.signal });
    }
    throw new TownError('TIMED_OUT', `the town service was not ready within ${SERVICE_READY_MS / 1000} s`, {
      hint: `its own messages are in ${join(paths.logs, 'service.log')}`,
    });
  }

  private async stopEverything(): Promise<void> {
    const { error } = this.state;
    this.stopping.abort();
    this.write({ phase: 'stopping' });
    for (const name of ['service', 'temporal', 'postgres'] as const) {
      const running = this.running.get(name);
      if (running === undefined) continue;
      await running.stop();
      this.progress(name, 'stopped');
    }
    rmSync(this.paths.serviceFile, { force: true });
    this.progress('town', 'stopped');
    // After a failure the state stays, so that whoever started us learns why.
    if (error === null) rmSync(this.paths.stateFile, { force: true });
  }

  private write(change: Partial<TownState>): void {
    const next = { ...this.state, ...change };
    const up = next.postgres !== null && next.temporal !== null && next.service !== null;
    const phase = next.phase === 'stopping' ? 'stopping' : up ? 'ready' : 'starting';
    this.state = { ...next, phase, error: phase === 'ready' ? null : next.error };
    try {
      writeState(this.paths.stateFile, this.state);
    } catch (error) {
      // A full disk must not end the town; the next change writes again.
      if (!(error instanceof TownError)) throw error;
    }
    if (phase === 'ready' && this.state.service !== null && change.service !== undefined)
      this.progress('town', 'ready');
  }

  private readonly progress: Progress = (step, message, level = 'info') => {
    const line = { at: new Date().toISOString(), step, message, elapsedMs: Date.now() - this.started, level };
    try {
      appendFileSync(this.paths.upLog, `${JSON.stringify(line)}\n`, { mode: 0o600 });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error; // talk is not worth a town
    }
  };
}

function refOf(process: ProcessRef | null): { readonly pid: number | null; readonly startTime: number | null } {
  return { pid: process?.pid ?? null, startTime: process?.startTime ?? null };
}

function bodyOf(error: unknown): ErrorBody {
  if (error instanceof TownError) return error.toBody();
  const { code, path } = error as NodeJS.ErrnoException;
  if (code === 'ENOSPC' || code === 'EDQUOT') {
    return {
      code: 'DISK_FULL',
      message: `no space is left on the disk of the town${path === undefined ? '' : ` to write ${path}`}`,
      hint: 'make room on that disk; the town goes on by itself',
    };
  }
  return { code: code !== undefined && isErrorCode(code) ? code : 'INTERNAL', message: String(error) };
}

async function main(): Promise<number> {
  const [root, json] = process.argv.slice(2);
  if (root === undefined) throw new TownError('USAGE', 'usage: supervisor <root> [options as JSON]');
  const given = (json === undefined ? {} : JSON.parse(json)) as UpOptions; // written by upTown
  const options: UpOptions = {
    postgresUrl: process.env['TOWN_POSTGRES_URL'] || given.postgresUrl,
    temporalAddress: process.env['TOWN_TEMPORAL_ADDRESS'] || given.temporalAddress,
    temporalCli: given.temporalCli,
  };
  const paths = townPaths(root);
  prepareFolders(paths);
  const lock = tryLock(paths.state, 'supervisor');
  if (lock === null) return 0;
  try {
    return await new Supervisor(paths, options).run();
  } finally {
    lock.release();
  }
}

main().then(
  (code) => process.exit(code),
  (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    process.exit(1);
  },
);
