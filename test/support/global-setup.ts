import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { prepareFolders, townPaths } from '../../activities/provision/paths';
import { findPostgres, startPostgres, stopPostgres } from '../../activities/provision/postgres';
import type { Progress } from '../../activities/provision/progress';
import { findTemporal, findTemporalServers, startTemporal, stopTemporal } from '../../activities/provision/temporal';

declare global {
  /** Ends the servers of this test run and removes their folder; set by the global setup, used by the global teardown. */
  var stopTestServers: (() => Promise<void>) | undefined;
}

/** One Postgres and one Temporal for the whole run of the integration project, in a folder of their own. */
export default async function startTestServers(): Promise<void> {
  const began = Date.now();
  const progress: Progress = (step, message) => {
    process.stderr.write(`test servers: ${step}: ${message} (${((Date.now() - began) / 1000).toFixed(1)} s)\n`);
  };
  const root = mkdtempSync(join(tmpdir(), 'steeltown-test-'));
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
