import { execFileSync } from 'node:child_process';
import { mkdirSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { createPolicy } from '../../activities/policy/policy';
import { createDesk, type Desk } from '../../activities/session/desk';
import { createSessions } from '../../activities/session/sessions';
import { createAttemptTokens } from '../../activities/session/tokens';
import { createWorktrees } from '../../activities/worktree/git-worktree';
import { ask, requestOf } from '../../cli/ask';
import { createTownClient } from '../../cli/client/client';
import { answerRequest } from '../../cli/server/answer';
import { startSocketServer, type SocketServer } from '../../cli/server/socket';
import { parseConfig } from '../../schema/config';
import type { SocketAnswer } from '../../schema/desk';
import { DEFAULT_TIMINGS } from '../../schema/timings';
import { testDatabase, type TestDatabase } from '../support/database';
import { makeGitRig } from '../support/git-rig';
import { stepStatesOf } from '../support/projected';

/* The first `town hook` in the place of an agent whose sessions somebody else starts: from the socket's client to the ledger. */

const PERSON = { actor: 'person:ada' };
const BEA = 'acme/crew/bea';
const CLEO = 'acme/crew/cleo';
const { root, rig } = makeGitRig();
const socket = join(root, 'run', 'town.sock');
const home = join(root, 'bea');
let database: TestDatabase;
let projection: Awaited<ReturnType<typeof stepStatesOf>>;
let desk: Desk;
let server: SocketServer;

/** A command as the thin client asks it. */
const town = (cwd: string, env: NodeJS.ProcessEnv, ...argv: string[]): Promise<SocketAnswer> =>
  ask(socket, requestOf(socket, argv, false, cwd, { USER: 'ada', ...env }));
const author = async (cwd: string, env: NodeJS.ProcessEnv = {}): Promise<string> => {
  const { stdout, stderr } = await town(cwd, env, 'task', 'create', 'who am I', '--rig', 'acme', '--json');
  return stdout === '' ? stderr : (JSON.parse(stdout) as { created_by: string }).created_by;
};
const incarnation = async (agent: string) => (await database.ledger.getAgent(agent)).incarnation;

beforeAll(async () => {
  database = await testDatabase({ max: 5 });
  projection = await stepStatesOf(database);
  const { ledger } = database;
  const runtime = { preset: 'external' as const };
  await ledger.addRig(PERSON, { id: 'acme', path: rig, default_branch: 'main', workers_max: 2, runtime });
  const worktrees = createWorktrees({ root: join(root, 'trees') });
  const log = () => undefined;
  const { states } = projection;
  const sessions = createSessions({
    ledger,
    worktrees,
    states,
    hostId: 'host-1',
    root,
    logs: join(root, 'logs'),
    socket,
    bin: join(root, 'bin'),
    log,
  });
  desk = createDesk({
    ledger,
    sessions,
    worktrees,
    states,
    tokens: createAttemptTokens(join(root, 'tokens'), log),
    held: () => [BEA, CLEO],
    refreshHeld: async () => undefined,
    timings: DEFAULT_TIMINGS,
    checkLogs: join(root, 'checks'),
    log,
  });
  const client = createTownClient({
    ledger,
    policy: await createPolicy({ dir: join(__dirname, '..', '..', 'policies') }),
    desk,
    features: parseConfig('[town]\nname = "test"\n', 'town.toml').features,
    root,
    builtInFormulas: join(root, 'none'),
    rebuild: null,
  });
  mkdirSync(join(root, 'run'));
  server = await startSocketServer({ path: socket, handle: (request) => answerRequest(client, request) });
  execFileSync('git', ['worktree', 'add', '--quiet', '--detach', home], { cwd: rig });
  mkdirSync(join(home, 'src'));
});
afterAll(async () => {
  await server.close(0);
  await projection.close();
  await database.drop();
  rmSync(root, { recursive: true, force: true });
});

test('in the folder of an agent the first town hook attaches, and what is asked there afterwards is asked by the agent', async () => {
  expect(await town(rig, {}, 'agent', 'add', 'acme/crew/far', '--external', '--worktree', '/')).toMatchObject({
    code: 2,
  });
  const added = await town(rig, {}, 'agent', 'add', BEA, '--external', '--worktree', join(home, 'src'));
  expect(added).toMatchObject({ code: 0 });
  expect(await author(home)).toBe('person:ada');
  expect((await town(root, {}, 'hook')).stderr).toContain('USAGE');

  // Two at once, from different folders of the same working tree, are one session.
  const both = await Promise.all([town(home, {}, 'hook'), town(join(home, 'src'), {}, 'prime')]);
  expect(both.map(({ code }) => code)).toEqual([0, 0]);
  expect(both[0].stderr).toBe(`attached as ${BEA}, incarnation 1\n`);
  expect(statSync(join(root, 'run', 'attached', 'acme.crew.bea.json')).mode & 0o777).toBe(0o600);
  expect(await town(home, {}, 'hook')).toMatchObject({ code: 0, stderr: '' });
  expect(await incarnation(BEA)).toBe(1);
  const [session] = (await database.ledger.sessionPage({ agent_id: BEA })).items;
  expect(session).toMatchObject({ preset: 'external', worktree: home });

  expect(await author(join(home, 'src'))).toBe(BEA);
  expect(await author(root)).toBe('person:ada');
  expect(await author(home, { TOWN_AGENT: '' })).toBe('person:ada');
});

test('a session that somebody attached later is not put out, and one that has ended is followed by the next town hook', async () => {
  await desk.attach(BEA, home, 'person:eve');
  expect(await author(home)).toContain('STALE_SESSION');
  expect(await town(home, {}, 'hook')).toMatchObject({ code: 4, stderr: expect.stringContaining('STALE_SESSION') });
  expect(await incarnation(BEA)).toBe(2);

  const [later] = (await database.ledger.sessionPage({ agent_id: BEA })).items;
  await database.ledger.endSession({ actor: 'system:test' }, later?.id ?? '', { reason: 'over', exit_code: null });
  expect((await town(home, {}, 'task', 'list')).stderr).toContain('an agent looks at its hook again: town hook');
  expect((await town(home, {}, 'hook')).stderr).toBe(`attached as ${BEA}, incarnation 3\n`);
  expect(await author(home)).toBe(BEA);
});

test('TOWN_AGENT says whose hook is meant, wherever one is', async () => {
  await database.ledger.addAgent(PERSON, { id: CLEO, role: 'crew', rig_id: 'acme', runtime: { preset: 'external' } });
  const env = { TOWN_AGENT: CLEO };
  expect((await town('/', env, 'hook')).stderr).toBe(`attached as ${CLEO}, incarnation 1\n`);
  expect(await author('/tmp', env)).toBe(CLEO);
  expect(await author(home, env)).toBe(CLEO);
  expect((await database.ledger.sessionPage({ agent_id: CLEO })).items[0]).toMatchObject({ worktree: null });

  const amber = 'acme/polecats/amber';
  const runtime = { preset: 'command' as const, command: ['true'] };
  await database.ledger.addAgent(PERSON, { id: amber, role: 'polecat', rig_id: 'acme', runtime });
  expect((await town(rig, { TOWN_AGENT: amber }, 'hook')).stderr).toContain('WRONG_STATE');
  expect(await town(rig, { TOWN_AGENT: amber }, 'hook', amber)).toMatchObject({ code: 0 });
  expect((await town(rig, { TOWN_AGENT: 'acme/crew/none' }, 'hook')).stderr).toContain('NOT_FOUND');
});
