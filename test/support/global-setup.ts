import { existsSync, lstatSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareFolders, townPaths } from '../../activities/provision/paths';
import { findPostgres, startPostgres, stopPostgres } from '../../activities/provision/postgres';
import { processStartTime } from '../../activities/provision/process';
import type { Progress } from '../../activities/provision/progress';
import { findTemporal, findTemporalServers, startTemporal, stopTemporal } from '../../activities/provision/temporal';

declare global {
  /** Ends the servers of this test run and removes their folder; set by the global setup, used by the global teardown. */
  var stopTestServers: (() => Promise<void>) | undefined;
}

const FOLDER = 'steeltown-test-';

/** One Postgres and one Temporal for the whole run of the integration project, in a folder of their own. */
export default async function startTestServers(): Promise<void> {
  const began = Date.now();
  const progress: Progress = (step, message) => {
    process.stderr.write(`test servers: ${step}: ${message} (${((Date.now() - began) / 1000).toFixed(1)} s)\n`);
  };
  await sweep(progress);
  const root = mkdtempSync(join(tmpdir(), `${FOLDER}${process.pid}-`));
  const paths = townPaths(root);
  const stop = (): Promise<void> => stopServers(root);
  globalThis.stopTestServers = stop;
  const interrupted = (): void => {
    void stop().finally(() => process.exit(130));
  };
  process.once('SIGINT', interrupted);
  process.once('SIGTERM', interrupted);
  try {
    prepareFolders(paths);
    // One after the other would cost two seconds more; both are awaited to the end before a failure is cleaned up.
    const [postgres, temporal] = await Promise.allSettled([
      startPostgres({ paths, progress }),
      startTemporal({ paths, progress, ui: false, executable: () => findTemporal({ progress }) }),
    ]);
    if (postgres.status === 'rejected') throw postgres.reason;
    if (temporal.status === 'rejected') throw temporal.reason;
    process.env['TOWN_TEST_POSTGRES_URL'] = postgres.value.url;
    process.env['TOWN_TEST_TEMPORAL_ADDRESS'] = temporal.value.address;
    progress('town', `ready: Temporal ${temporal.value.address}`);
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Ends what a test run left that was itself killed: its folder is named after its process. */
async function sweep(progress: Progress): Promise<void> {
  for (const name of readdirSync(tmpdir())) {
    const pid = name.startsWith(FOLDER) ? Number(name.slice(FOLDER.length).split('-')[0]) : NaN;
    if (!Number.isInteger(pid) || processStartTime(pid) !== null) continue;
    // Gone meanwhile, or another user's: not ours to clean.
    if (lstatSync(join(tmpdir(), name), { throwIfNoEntry: false })?.uid !== process.getuid?.()) continue;
    progress('town', `ending what run ${pid} left`);
    await stopServers(join(tmpdir(), name));
  }
}

/** Ends whatever works in the folder, found by the folder itself, so that a start that failed half-way leaves nothing either. */
async function stopServers(root: string): Promise<void> {
  const paths = townPaths(root);
  const ended = await Promise.allSettled([
    ...findTemporalServers(paths).map((server) => stopTemporal(server)),
    ...[findPostgres(paths)].flatMap((postmaster) => (postmaster === null ? [] : [stopPostgres(postmaster)])),
  ]);
  if (existsSync(paths.runDir)) rmSync(paths.runDir, { recursive: true, force: true });
  rmSync(root, { recursive: true, force: true });
  for (const one of ended) if (one.status === 'rejected') throw one.reason;
}
