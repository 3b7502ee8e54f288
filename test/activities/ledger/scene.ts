import { canonicalJson } from '../../../schema/canonical';
import { singleStepRecipe } from '../../../schema/formula/single-step';
import type { Ask, Ledger, TaskInput } from '../../../schema/ledger';
import type { TaskView } from '../../../schema/views';
import { sha256, testDatabase, type TestDatabase } from '../../support/database';

export const person: Ask = { actor: 'person:ada' };
export const AGENT = 'acme/polecats/amber';
export const recipe = singleStepRecipe('Work', 'Do the work', null, sha256);

export interface RigTown extends TestDatabase {
  /** A task of the rig. */
  readonly make: (title?: string, more?: Partial<TaskInput>) => Promise<TaskView>;
}

/** A ledger with the rig `acme` for all tests of a file, in a database that is dropped after the last of them. */
export function rigTown(options: { readonly max?: number } = {}): RigTown {
  let database: TestDatabase | null = null;
  const town = (): TestDatabase => {
    if (database === null) throw new Error('the town of the file is there when its first test begins');
    return database;
  };
  beforeAll(async () => {
    database = await testDatabase(options);
    await withRig(database.ledger);
  });
  afterAll(() => database?.drop());
  return {
    get url() {
      return town().url;
    },
    get db() {
      return town().db;
    },
    get ledger() {
      return town().ledger;
    },
    drop: () => town().drop(),
    make: (title = 'Task', more = {}) => town().ledger.createTask(person, { title, rig_id: 'acme', ...more }),
  };
}

/** A rig `acme` with one active agent. */
export async function withRig(ledger: Ledger): Promise<void> {
  const runtime = { preset: 'command' as const, command: ['true'] };
  await ledger.addRig(person, {
    id: 'acme',
    prefix: 'ac',
    path: '/repo',
    default_branch: 'main',
    workers_max: 2,
    runtime,
  });
  await ledger.addAgent(person, { id: AGENT, role: 'polecat', rig_id: 'acme', runtime });
}

export function keyed(key: string): Ask {
  return { ...person, key };
}

export function as(incarnation: number, key?: string): Ask {
  return { actor: AGENT, session: { agent: AGENT, incarnation }, ...(key === undefined ? {} : { key }) };
}

/** A new session of the agent; answers its incarnation. */
export async function openSession(ledger: Ledger): Promise<{ session_id: string; incarnation: number }> {
  const token_hash = sha256(canonicalJson([AGENT, process.hrtime.bigint().toString()]));
  return ledger.openSession(person, {
    agent: AGENT,
    preset: 'command',
    token_hash,
    host_id: 'h1',
    worktree: '/w',
    molecule_id: null,
  });
}
