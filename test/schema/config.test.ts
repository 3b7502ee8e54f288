import { describeConfig, parseConfig } from '../../schema/config';
import { DEFAULT_TIMINGS } from '../../schema/timings';

const refusal = (text: string): string => {
  try {
    parseConfig(text, 'town.toml');
  } catch (error) {
    expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
    return (error as Error).message;
  }
  throw new Error('it was accepted');
};

describe('town.toml', () => {
  it('needs a name; everything else has a default, and every feature is off', () => {
    const config = parseConfig('[town]\nname = "harbour"', 'town.toml');
    expect(config.town).toEqual({ name: 'harbour', prefix: 'hq' });
    expect(Object.values(config.features)).toEqual([false, false, false, false, false, false]);
    expect(config.timings).toEqual(DEFAULT_TIMINGS);
    expect(config.http.port).toBe(0);
  });

  it('names every wrong key at once', () => {
    const message = refusal(
      '[town]\nnam = "x"\n[http]\nport = "80"\n[features]\nautomatic_merge = 1\nmagic = true\n[hoist]\n',
    );
    for (const key of [
      'town.nam: there is no such key',
      'town.name: is missing',
      'http.port: must be of type',
      'features.automatic_merge',
      'features.magic: there is no such key',
      'hoist: there is no such key',
    ]) {
      expect(message).toContain(key);
    }
  });

  it('says the line of a syntax error', () => {
    expect(refusal('[town]\nname = ')).toMatch(/town\.toml: line 2: /);
  });

  it('does not take a bug for a mistake in the file', () => {
    expect(() => parseConfig(undefined as never, 'town.toml')).toThrow(TypeError);
  });

  it.each([
    ['[town]\nname = "A B"', 'town.name'],
    ['[town]\nname = "a"\n[postgres]\nurl = "mysql://x"', 'postgres.url'],
    ['[town]\nname = "a"\n[temporal]\naddress = "http://x"', 'temporal.address'],
    ['[town]\nname = "a"\n[timings]\nleaseMs = 0', 'timings.leaseMs'],
    ['', 'town: is missing'],
  ])('refuses %j', (text, key) => {
    expect(refusal(text)).toContain(key);
  });

  it('describes every key', () => {
    const keys = describeConfig().flatMap(({ keys: all }) => all);
    expect(keys.length).toBeGreaterThan(20);
    expect(keys.filter(({ type, description }) => !type || !description)).toEqual([]);
    expect(keys.find(({ key }) => key === 'agents_max')).toMatchObject({ type: 'integer', default: '50' });
  });
});
