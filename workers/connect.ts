import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { Client, Connection } from '@temporalio/client';
import { NativeConnection, Runtime } from '@temporalio/worker';
import { TownError } from '../schema/errors';

export interface TemporalConnections {
  readonly client: Client;
  readonly native: NativeConnection;
  close(): Promise<void>;
}

/** Opens one client and one worker connection to the Temporal server. @throws TEMPORAL_UNAVAILABLE after `waitMs`. */
export async function connectTemporal(address: string, waitMs: number): Promise<TemporalConnections> {
  const deadline = Date.now() + waitMs;
  for (;;) {
    try {
      const [connection, native] = await bothOrNone(
        Connection.connect({ address, connectTimeout: 2_000 }),
        NativeConnection.connect({ address }),
      );
      return {
        client: new Client({ connection }),
        native,
        async close() {
          // Closing in the middle of a retry back-off throws; there is nothing to save any more.
          await connection.close().catch(() => undefined);
          await native.close().catch(() => undefined);
        },
      };
    } catch (error) {
      if (Date.now() < deadline) continue;
      throw new TownError('TEMPORAL_UNAVAILABLE', `no Temporal server answers at ${address}`, {
        hint: 'town status tells which part is down; town up starts it',
        cause: error,
      });
    }
  }
}

async function bothOrNone(
  first: Promise<Connection>,
  second: Promise<NativeConnection>,
): Promise<[Connection, NativeConnection]> {
  const opened = await Promise.allSettled([first, second]);
  const [connection, native] = opened;
  if (connection.status === 'fulfilled' && native.status === 'fulfilled') return [connection.value, native.value];
  for (const one of opened) if (one.status === 'fulfilled') await one.value.close().catch(() => undefined);
  throw connection.status === 'rejected' ? connection.reason : native.status === 'rejected' ? native.reason : null;
}

/** Keeps the SDK quiet: warnings of the core, and none of its signal handlers, since the service ends its parts in order itself. */
export function quietRuntime(log: (level: string, message: string) => void): void {
  const pass = (level: string, message: string) => {
    // Each activity-only worker says that it has no workflows; that is its purpose.
    if ((level === 'WARN' || level === 'ERROR') && !message.includes('No workflows registered'))
      log(level.toLowerCase(), message);
  };
  Runtime.install({
    shutdownSignals: [],
    logger: {
      log: (level, message) => pass(level, message),
      trace: () => undefined,
      debug: () => undefined,
      info: () => undefined,
      warn: (message) => pass('WARN', message),
      error: (message) => pass('ERROR', message),
    },
    telemetryOptions: { logging: { forward: {}, filter: 'ERROR' } },
  });
}

/** The top folder of this package, from the sources as from the compiled output. */
export function packageRoot(): string {
  const up = join(__dirname, '..');
  return existsSync(join(up, 'package.json')) ? up : join(up, '..');
}
