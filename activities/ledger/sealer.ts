import type { Ledger } from '../../schema/ledger';

export interface Sealer {
  /** Events were written: seal them soon. */
  wake(): void;
  stop(): Promise<void>;
}

const SOON_MS = 200;
const SWEEP_MS = 3_600_000;

/** Gives events their number and hash within a second of being written, and applies the retention table once an hour. */
export function startSealer(
  ledger: Pick<Ledger, 'seal' | 'sweep'>,
  log: (message: string, facts: object) => void,
): Sealer {
  let timer: NodeJS.Timeout | null = null;
  let running: Promise<void> = Promise.resolve();
  let stopped = false;

  const later = (ms: number) => {
    if (stopped || timer !== null) return;
    timer = setTimeout(() => {
      timer = null;
      running = seal();
    }, ms);
  };
  const seal = async () => {
    try {
      // A full batch, or events that a transaction still running can precede: look again.
      if ((await ledger.seal()) > 0) later(SOON_MS);
    } catch (error) {
      log('sealer: the ledger does not answer', { error: String(error) });
      later(5_000);
    }
  };
  const sweep = setInterval(() => {
    ledger.sweep().catch((error: unknown) => log('sweep failed', { error: String(error) }));
  }, SWEEP_MS);
  later(SOON_MS);
  return {
    wake: () => later(SOON_MS),
    async stop() {
      stopped = true;
      clearInterval(sweep);
      if (timer !== null) clearTimeout(timer);
      await running;
    },
  };
}
