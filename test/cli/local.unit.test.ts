import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runCommands } from '../../cli/commands/index';
import { doctorVerb, downVerb, installVerb } from '../../cli/commands/local';

const folder = mkdtempSync(join(tmpdir(), 'town-'));
const said: string[] = [];
const spies = [process.stdout, process.stderr].map((stream) =>
  jest.spyOn(stream, 'write').mockImplementation((text) => said.push(String(text)) > 0),
);
beforeEach(() => said.splice(0));
afterAll(() => {
  for (const spy of spies) spy.mockRestore();
  rmSync(folder, { recursive: true });
  delete process.env['TOWN_ROOT'];
  process.exitCode = 0;
});

it.each([['/proc/town'], ['/dev/null/town'], [join(folder, 'file')]])(
  'refuses to install where no folder can be: %s',
  async (path) => {
    writeFileSync(join(folder, 'file'), '');
    await expect(installVerb.perform([path])).rejects.toMatchObject({ code: 'INVALID_INPUT' });
  },
);

it('a mistake in the configuration is a finding of doctor, and keeps nobody from stopping the town', async () => {
  writeFileSync(join(folder, 'town.toml'), '[town]\nname = "x"\ncolour = "red"\n');
  process.env['TOWN_ROOT'] = folder;
  await doctorVerb.perform(['--json']);
  const { checks } = JSON.parse(said.at(-1) ?? '') as { checks: { name: string; ok: boolean; detail: string }[] };
  expect(checks[0]).toMatchObject({ name: 'configuration', ok: false, detail: expect.stringContaining('town.colour') });
  await downVerb.perform([]);
  expect(said.at(-1)).toBe(`${folder} is down\n`);
});

it('flags without a command are refused', async () => {
  await runCommands(['--json']);
  expect(process.exitCode).toBe(2);
  expect(said.join('')).toContain('a command is missing before --json');
});
