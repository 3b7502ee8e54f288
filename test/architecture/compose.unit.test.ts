import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(__dirname, '..', '..');
const text = readFileSync(join(root, 'docker-compose.yml'), 'utf8');
const lines = text.split('\n').filter((line) => line.trim() !== '' && !line.trimStart().startsWith('#'));

/** The indented lines below `head`, without the first `depth` spaces; empty when there is no such key at that depth. */
function below(source: readonly string[], head: string, depth = 0): string[] {
  const start = source.findIndex((line) => line.startsWith(`${' '.repeat(depth)}${head}:`));
  if (start < 0) return [];
  const rest = source.slice(start + 1);
  const end = rest.findIndex((line) => line.length - line.trimStart().length <= depth);
  return end < 0 ? rest : rest.slice(0, end);
}

/** Keys that stand exactly at this depth. */
function keysAt(source: readonly string[], depth: number): string[] {
  return source.flatMap((line) => new RegExp(`^ {${depth}}([a-z<][\\w<-]*):`).exec(line)?.[1] ?? []);
}

const all = below(lines, 'services');
const names = keysAt(all, 2);
const shared = below(lines, 'x-town').map((line) => `  ${line}`);
const serviceOf = (name: string): string[] => {
  const own = below(all, name, 2);
  return own.some((line) => line.trim() === '<<: *town') ? [...shared, ...own] : own;
};
/** They do their work once and end; others wait for that. */
const ONCE = ['temporal-schema', 'temporal-namespace'];

describe('docker-compose.yml', () => {
  it('has Postgres, Temporal with its Web UI, the town service and an agent host', () => {
    expect(names.toSorted()).toEqual(
      [...ONCE, 'agent-host', 'postgres', 'service', 'temporal', 'temporal-ui'].toSorted(),
    );
    expect(serviceOf('temporal').join('\n')).toMatch(/image: temporalio\/server[\s\S]*POSTGRES_SEEDS: postgres/);
    for (const name of ['service', 'agent-host'])
      expect(serviceOf(name).join('\n')).toContain('/app/dist/workers/service.js');
  });

  it('gives every service that stays a health check, and waits for those that end', () => {
    for (const name of names.filter((each) => !ONCE.includes(each))) {
      expect([name, keysAt(serviceOf(name), 4)]).toEqual([name, expect.arrayContaining(['healthcheck', 'restart'])]);
    }
    for (const name of ONCE) {
      expect(text).toMatch(new RegExp(` {4,6}${name}:\\n {6,8}condition: service_completed_successfully`));
    }
  });

  it('has no default password: every secret must be given', () => {
    const secrets = lines.filter((line) => /(?:PASSWORD|PWD|SECRET|TOKEN)\b/.test(line));
    expect(secrets.length).toBeGreaterThan(0);
    for (const line of secrets) expect(line).toMatch(/\$\{[A-Z_]*PASSWORD:\?[^}]+\}/);
    expect(text).not.toMatch(/PASSWORD:-|PASSWORD-/);
  });

  it('publishes ports on loopback only', () => {
    const ports = names.flatMap((name) => below(serviceOf(name), 'ports', 4)).map((line) => line.trim());
    expect(ports.length).toBeGreaterThan(0);
    for (const port of ports) expect(port).toMatch(/^- '127\.0\.0\.1:/);
  });

  it('keeps data in named volumes, and uses each that it names', () => {
    const declared = keysAt(below(lines, 'volumes'), 2);
    const used = names
      .flatMap((name) => below(serviceOf(name), 'volumes', 4))
      .flatMap((line) => /^- ([a-z-]+):\//.exec(line.trim())?.[1] ?? []);
    expect([...new Set(used)].toSorted()).toEqual(declared.toSorted());
    expect(below(serviceOf('postgres'), 'volumes', 4).join()).toContain('postgres:/var/lib/postgresql');
  });

  it('gives the server the settings of the embedded one', () => {
    const code = readFileSync(join(root, 'activities', 'provision', 'temporal.ts'), 'utf8');
    const embedded = [...code.matchAll(/'((?:history|matching|system)\.\w+)=("?)([^'"]+)\2'/g)];
    expect(embedded.length).toBeGreaterThan(0);
    for (const [, key = '', , value = ''] of embedded) {
      expect(text).toMatch(new RegExp(`${key.replaceAll('.', '\\.')}:\\n\\s+- value: ${value}\\n`));
    }
  });

  it('is understood by docker compose, where that client is installed', () => {
    const client = spawnSync('docker', ['compose', 'version'], { encoding: 'utf8' });
    if (client.status !== 0) {
      process.stderr.write('docker compose is not installed here: its own check of the file is left out\n');
      return;
    }
    const checked = spawnSync('docker', ['compose', '-f', join(root, 'docker-compose.yml'), 'config', '--quiet'], {
      encoding: 'utf8',
      env: { ...process.env, POSTGRES_PASSWORD: 'given', TOWN_RIGS: root },
    });
    expect(checked.stderr).toBe('');
    expect(checked.status).toBe(0);
  });
});
