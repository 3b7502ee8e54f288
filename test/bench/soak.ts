/* `npm run soak [-- <minutes>]`: first a million random commands to the ledger and the pure machines beside naive models, and ready over
 * random graphs; then chain after chain with kills of every kind at random points, each chain checked, for that long (0: not at all).
 * Ends with 1 at the first fault. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { NODE, PACKAGE } from '../demo/driven-town';
import { chainEnd, chainFaults, pourChain, withTown } from './chain';
import { printTable, say, spread } from './figures';
import { KILL_KINDS, killOnce, type KillKind } from './kills';

const DISCS = 7;
const KILLS_EACH = 20;

/** How much the tests below do at random; otherwise they do what fits into `npm test`. */
const MODELS: Readonly<Record<string, string>> = {
  TOWN_LEDGER_COMMANDS: '100000',
  TOWN_MODEL_COMMANDS: '900000',
  TOWN_READY_GRAPHS: '1000',
};
const MODEL_TESTS = 'test/schema/molecule/.*model|test/activities/ledger/(model|ready-graphs)';

/** A failure prints the seed with which it comes again. */
function compareModels(): boolean {
  const env = { ...MODELS, ...process.env };
  say(
    `models: ${Object.keys(MODELS)
      .map((name) => `${name}=${env[name]}`)
      .join(' ')}`,
  );
  const jest = join(PACKAGE, 'tools', 'jest.js');
  return spawnSync(NODE, [jest, '--testPathPatterns', MODEL_TESTS], { stdio: 'inherit', env }).status === 0;
}

async function main(minutes: number): Promise<boolean> {
  if (!compareModels()) return false;
  if (minutes === 0) return true;
  const end = Date.now() + minutes * 60_000;
  const times: Record<KillKind, number[]> = { session: [], host: [], everything: [] };
  const faults: string[] = [];
  await withTown({ WORKER_THINK_MS: '150', WORKER_IDLE_MS: '600000' }, async (town) => {
    for (let round = 1; Date.now() < end && faults.length === 0; round += 1) {
      const molecule_id = await pourChain(town, DISCS);
      for (let kill = 0; kill < KILLS_EACH; kill += 1) {
        const kind = KILL_KINDS[Math.floor(Math.random() * KILL_KINDS.length)] ?? 'session';
        times[kind].push((await killOnce(town, kind)).ms);
      }
      faults.push(...(await chainFaults(town, await chainEnd(town, molecule_id, 600_000))));
      const audit = await town.json<{ ok: boolean; problem: string | null }>('audit', 'verify');
      if (!audit.ok) faults.push(`audit: ${audit.problem}`);
      say(`round ${round}: ${faults.length} faults`);
    }
  });
  printTable(
    'Milliseconds until work advances again',
    ['killed', 'times', 'p50', 'p95', 'max'],
    KILL_KINDS.filter((kind) => times[kind].length > 0).map((kind) => [
      kind,
      String(times[kind].length),
      ...spread(times[kind]),
    ]),
  );
  for (const fault of faults) say(`FAULT ${fault}`);
  return faults.length === 0;
}

main(Number(process.argv[2] ?? 60)).then(
  (good) => process.exit(good ? 0 : 1),
  (error: unknown) => {
    say(String(error instanceof Error ? error.stack : error));
    process.exit(1);
  },
);
