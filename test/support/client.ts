import { join } from 'node:path';
import { createPolicy } from '../../activities/policy/policy';
import type { KeyedRequest } from '../../cli/ask';
import { createTownClient, type TownClient } from '../../cli/client/client';
import { parseConfig } from '../../schema/config';
import type { Ledger } from '../../schema/ledger';

const PACKAGE = join(__dirname, '..', '..');

/** The client of a town with our policies and formulas and none of its own; with the features of a fresh town unless others are named. */
export async function clientOf(ledger: Ledger, features: Readonly<Record<string, boolean>> = {}): Promise<TownClient> {
  return createTownClient({
    ledger,
    policy: await createPolicy({ dir: join(PACKAGE, 'policies') }),
    desk: null,
    features: { ...parseConfig('[town]\nname = "test"\n', 'town.toml').features, ...features },
    root: join(PACKAGE, 'docs'),
    builtInFormulas: join(PACKAGE, 'formulas'),
    rebuild: null,
  });
}

/** What the command line asks for these words, as Ann in the top folder and with its answer not shown on a terminal. */
export function requestOf(argv: readonly string[], more: Partial<KeyedRequest> = {}): KeyedRequest {
  return { v: 1, id: 1, argv, cwd: '/', tty: false, user: 'ann', ...more };
}
