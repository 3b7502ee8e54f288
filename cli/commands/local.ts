import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { findTownRoot, townPaths } from '../../activities/provision/paths';
import type { ProgressLine } from '../../activities/provision/progress';
import type { DoctorCheck, UpOptions } from '../../activities/provision/town';
import { parseConfig, type TownConfig } from '../../schema/config';
import { TownError } from '../../schema/errors';
import { facts, table } from '../server/print';
import { parseVerb, type ArgSpec, type FlagSpec, type Verb } from '../server/verb';

/** The verbs that make, start, stop and examine a town: they cannot be asked of a service, which may not run. */
export interface LocalVerb extends Omit<Verb, 'run'> {
  readonly perform: (argv: string[]) => Promise<void>;
}

export const installVerb = local({
  words: ['install'],
  summary: 'make a town: town.toml and the state folder; what is there already stays as it is',
  args: { dir: { summary: 'folder of the town; this one when absent' } },
  flags: {
    name: { kind: 'text', summary: "name of the town; the folder's when absent" },
    demo: { kind: 'switch', summary: 'switch on what the demo needs: automatic dispatch' },
  },
  examples: ['town install', 'town install ~/town --name harbour'],
  async perform(args, flags) {
    const paths = townPaths(resolve(text(args['dir']) ?? '.'));
    makeFolder(paths.root);
    const made = !existsSync(paths.config);
    if (made) {
      const wanted = configText(text(flags['name']) ?? nameOf(paths.root), flags['demo'] === true);
      parseConfig(wanted, paths.config);
      try {
        writeFileSync(paths.config, wanted, { flag: 'wx', mode: 0o600 });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error; // made by another install at this moment
      }
    }
    const config = readConfig(paths.config);
    mkdirSync(paths.state, { recursive: true, mode: 0o700 });
    chmodSync(paths.state, 0o700);
    mkdirSync(join(paths.root, 'formulas'), { recursive: true });
    return {
      data: { root: paths.root, name: config.town.name, made, features: config.features },
      text: () => `${config.town.name} ${made ? 'installed' : 'is there already'} in ${paths.root}\n`,
      talk:
        flags['demo'] === true && !config.features.automatic_dispatch
          ? `${paths.config} stays as it is; the demo needs automatic_dispatch = true under [features]\n`
          : 'start it with: town up\n',
    };
  },
});

export const upVerb = local({
  words: ['up'],
  summary: 'start the town and wait until it is ready',
  args: {},
  flags: { timeout: { kind: 'number', min: 1, max: 3600, summary: 'seconds to wait; 600 when absent' } },
  examples: ['town up'],
  async perform(_args, flags) {
    const { root, options } = here();
    const { upTown } = provision();
    const state = await upTown({
      root,
      progress: showProgress,
      timeoutMs: Number(flags['timeout'] ?? 600) * 1000,
      options,
      supervisor: join(distFolder(), 'workers', 'supervisor.js'),
    });
    const { service, temporal } = state;
    return {
      data: state,
      text: () => facts({ town: root, phase: state.phase, api: service?.httpUrl, 'temporal web ui': temporal?.uiUrl }),
    };
  },
});

export const downVerb = local({
  words: ['down'],
  summary: 'end the sessions and stop everything that was started for the town',
  args: {},
  flags: {},
  examples: ['town down'],
  async perform() {
    // Not the configuration: with a mistake in it the town must still be stopped.
    const root = findTownRoot(startFolder());
    const { downTown } = provision();
    await downTown(root, showProgress);
    return { data: { root, phase: 'down' }, text: () => `${root} is down\n` };
  },
});

export const statusVerb = local({
  words: ['status'],
  summary: 'show which parts of the town run, and where',
  args: {},
  flags: {},
  examples: ['town status', 'town status --json'],
  async perform() {
    const root = findTownRoot(startFolder());
    const { inspectTown } = provision();
    const { state, ...parts } = inspectTown(root);
    const rows = [
      ['supervisor', parts.supervisor, state?.phase],
      ['postgres', parts.postgres, state?.postgres?.pid === null ? null : state?.postgres?.pid],
      ['temporal', parts.temporal, state?.temporal?.address],
      ['web ui', state?.temporal?.uiUrl == null ? 'none' : parts.temporal, state?.temporal?.uiUrl],
      ['service', parts.service, state?.service?.httpUrl],
    ];
    const data = {
      root,
      phase: state?.phase ?? 'down',
      supervisor: parts.supervisor,
      postgres: { health: parts.postgres, pid: state?.postgres?.pid ?? null },
      temporal: {
        health: parts.temporal,
        address: state?.temporal?.address ?? null,
        ui_url: state?.temporal?.uiUrl ?? null,
      },
      service: { health: parts.service, pid: state?.service?.pid ?? null, http_url: state?.service?.httpUrl ?? null },
      started_at: state?.startedAt ?? null,
      error: state?.error ?? null,
    };
    return {
      data,
      text: (tty) => `${tty ? facts({ town: root }) : ''}${table(tty, ['part', 'health', 'where'], rows, 'nothing')}`,
      talk:
        state?.error == null
          ? ''
          : `${state.error.message} (${state.error.code})\n${state.error.hint === undefined ? '' : `hint: ${state.error.hint}\n`}`,
    };
  },
});

export const doctorVerb = local({
  words: ['doctor'],
  summary: 'check everything a town needs; changes nothing',
  args: {},
  flags: {},
  examples: ['town doctor'],
  async perform() {
    const root = findTownRoot(startFolder());
    const { doctor } = provision();
    const { options, check } = checkConfig(root);
    const checks = [check, ...(await doctor(root, options))];
    const failed = checks.filter(({ ok }) => !ok);
    return {
      data: { ok: failed.length === 0, checks },
      text: (tty) =>
        table(
          tty,
          ['check', 'result', 'facts'],
          checks.map(({ name, ok, detail }) => [name, ok ? 'ok' : 'FAILED', detail]),
          'no checks',
        ),
      talk: failed.map(({ name, fix }) => (fix === null ? '' : `${name}: ${fix}\n`)).join(''),
      code: failed.length === 0 ? 0 : 1,
    };
  },
});

interface LocalSpec {
  readonly words: readonly string[];
  readonly summary: string;
  readonly args: Readonly<Record<string, ArgSpec>>;
  readonly flags: Readonly<Record<string, FlagSpec>>;
  readonly examples: readonly string[];
  readonly perform: (
    args: Readonly<Record<string, unknown>>,
    flags: Readonly<Record<string, unknown>>,
  ) => Promise<{ readonly data: unknown; text(tty: boolean): string; readonly talk?: string; readonly code?: number }>;
}

function local({ perform, ...spec }: LocalSpec): LocalVerb {
  return {
    ...spec,
    async perform(argv) {
      const parsed = parseVerb({ ...spec, run: () => Promise.reject(new Error('local')) }, argv);
      const tty = process.stdout.isTTY === true;
      const answer = await perform(parsed.args, parsed.flags);
      process.exitCode = answer.code ?? 0;
      process.stderr.write(answer.talk ?? '');
      process.stdout.write(parsed.json ? `${JSON.stringify(answer.data, null, tty ? 2 : 0)}\n` : answer.text(tty));
    },
  };
}

/** Loaded when it is needed: it brings the drivers of Postgres and Temporal along. */
function provision() {
  return require('../../activities/provision/town') as typeof import('../../activities/provision/town');
}

function here(): { readonly root: string; readonly options: UpOptions } {
  const root = findTownRoot(startFolder());
  const { postgres, temporal } = readConfig(townPaths(root).config);
  return { root, options: { postgresUrl: postgres.url, temporalAddress: temporal.address, temporalCli: temporal.cli } };
}

function checkConfig(root: string): { readonly options: UpOptions; readonly check: DoctorCheck } {
  const name = 'configuration';
  const detail = townPaths(root).config;
  try {
    return { options: here().options, check: { name, ok: true, detail, fix: null } };
  } catch (error) {
    if (!(error instanceof TownError)) throw error;
    return { options: {}, check: { name, ok: false, detail: error.message, fix: error.hint ?? null } };
  }
}

function startFolder(): string {
  return process.env['TOWN_ROOT'] || process.cwd();
}

function readConfig(file: string): TownConfig {
  return parseConfig(readFileSync(file, 'utf8'), file);
}

function showProgress({ step, message, elapsedMs, level }: ProgressLine): void {
  process.stderr.write(
    `${(elapsedMs / 1000).toFixed(1).padStart(6)} s  ${step.padEnd(8)}  ${level === 'info' ? '' : `${level}: `}${message}\n`,
  );
}

function configText(name: string, demo: boolean): string {
  return `# What may stand here: docs/configuration.md. Unknown keys are errors.

[town]
name = ${JSON.stringify(name)}

# What the town may do without being asked. Everything else is off.
[features]
automatic_dispatch = ${demo}
`;
}

/** With those above it, one by one: Node's own way never ends where the kernel keeps a folder (/proc). @throws INVALID_INPUT, FORBIDDEN */
function makeFolder(path: string): void {
  const there = statSync(path, { throwIfNoEntry: false });
  if (there?.isDirectory() === true) return;
  if (there !== undefined)
    throw new TownError('INVALID_INPUT', `${path} is there and is no folder`, { hint: NAME_A_FOLDER });
  makeFolder(dirname(path));
  try {
    mkdirSync(path);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === 'EEXIST') return makeFolder(path); // made by another install at this moment
    throw code === 'EACCES' || code === 'EPERM' || code === 'EROFS'
      ? new TownError('FORBIDDEN', `the folder ${path} may not be made: ${message}`, { hint: NAME_A_FOLDER, cause })
      : new TownError('INVALID_INPUT', `the folder ${path} cannot be made: ${message}`, { hint: NAME_A_FOLDER, cause });
  }
}

const NAME_A_FOLDER = 'name a folder of your own: town install ~/town';

/** A folder's name as the name of a town. */
function nameOf(root: string): string {
  const name = basename(root)
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 40)
    .replaceAll(/^-+|-+$/g, '');
  return name === '' ? 'town' : name;
}

function text(value: unknown): string | undefined {
  if (typeof value === 'string' && value !== '') return value;
  if (value === '')
    throw new TownError('USAGE', 'an empty name was given', { hint: 'name a folder, or leave it out for this one' });
  return undefined;
}

/** The folder of compiled files; this code runs from a bundle in it or from its own place. */
function distFolder(): string {
  for (let folder = __dirname; ; folder = dirname(folder)) {
    if (existsSync(join(folder, 'workers', 'supervisor.js')) || folder === dirname(folder)) return folder;
  }
}
