import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  checkStartable,
  launch,
  LOCK_NOT_WON,
  NO_GO,
  type LaunchExit,
  type Launched,
} from '../../../activities/session/launcher';

const folder = realpathSync(mkdtempSync(join(tmpdir(), 'town launch ')));
const env = { PATH: process.env['PATH']! };
let count = 0;
const start = (script: string, lock = `l${(count += 1)}`) =>
  launch({
    command: ['sh', '-c', script],
    cwd: folder,
    env,
    logFile: join(folder, 'logs', `${lock}.log`),
    lockFile: join(folder, lock),
  });
const exitOf = (launched: Launched) => new Promise<LaunchExit>((done) => launched.onExit(done));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test('runs the program after "go" as the same process, leader of its group, with output in the log', async () => {
  const launched = await start('echo $$; echo err >&2; ls /proc/$$/fd | tr "\\n" " "; exit 7', 'go');
  launched.go();
  expect(await exitOf(launched)).toEqual({ code: 7, signal: null });
  const [pid, err] = readFileSync(join(folder, 'logs', 'go.log'), 'utf8').split('\n');
  expect(pid).toBe(String(launched.process.pid));
  expect(err).toBe('err');
});

test('runs nothing when the host goes away before "go"', async () => {
  const launched = await start(`touch '${folder}/ran'`);
  launched.abandon();
  expect(await exitOf(launched)).toEqual({ code: NO_GO, signal: null });
  expect(existsSync(join(folder, 'ran'))).toBe(false);
});

test('does not run while another process holds the worktree', async () => {
  const holder = spawn('flock', [join(folder, 'held'), 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'ignore'],
  });
  await new Promise((done) => holder.stdout.once('data', done));
  const launched = await start('exit 0', 'held');
  launched.go();
  expect(await exitOf(launched)).toEqual({ code: LOCK_NOT_WON, signal: null });
  holder.stdin.end();
  await new Promise((done) => holder.once('exit', done));
});

test('names what cannot be started', () => {
  const unstartable =
    (command: string[], path = env.PATH) =>
    () =>
      checkStartable({ command, cwd: folder, env: { PATH: path } });
  expect(unstartable([])).toThrow(/names no command/);
  expect(unstartable(['no-such-program-here'])).toThrow(/no program "no-such-program-here"/);
  expect(unstartable([process.execPath], folder)).toThrow(/flock/);
});
