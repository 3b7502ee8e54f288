import { checkPrefix, PREFIX_MAX, prefixOfName, problemOfPrefix } from '../../../schema/prefix';

it.each([['a'], ['acme'], ['app-docs'], ['2fa'], ['x'.repeat(PREFIX_MAX)]])('%s is a prefix', (text) => {
  expect(problemOfPrefix(text, ['other'])).toBeNull();
});

it.each([
  ['', 'lower-case letters'],
  ['Acme', 'lower-case letters'],
  ['a_b', 'lower-case letters'],
  ['a--b', 'lower-case letters'],
  ['-a', 'lower-case letters'],
  ['a-', 'lower-case letters'],
  ['x'.repeat(PREFIX_MAX + 1), '1 to 20'],
  ['hq', 'ids with hq'],
  ['mol', 'ids with mol'],
  ['hq-docs', 'ids with hq'],
  ['app-wisp', 'ids with wisp'],
  ['app', 'another rig has it'],
  ['app-docs', 'the prefix app'],
  ['ui', 'the prefix ui-kit'],
])('%j is none', (text, problem) => {
  expect(problemOfPrefix(text, ['app', 'ui-kit'])).toContain(problem);
});

it.each([
  ['acme', [], 'acme'],
  ['acme', ['acme'], 'a'],
  ['acme', ['acme', 'a'], 'acme2'],
  ['acme', ['acme', 'a', 'acme2'], 'acme3'],
  ['app-docs', [], 'app-docs'],
  ['app-docs', ['app'], 'ad'],
  ['app-docs', ['app', 'ad'], 'appdocs'],
  ['mol', [], 'm'],
  ['hq', ['h'], 'hq2'],
  ['a-very-long-name-of-a-repository', [], 'avlnoar'],
  ['averylongnameofarepositorywithoutdashes', ['a'], 'aver'],
])('for the rig %s beside %j it is %s', (name, taken, prefix) => {
  expect(prefixOfName(name, taken)).toBe(prefix);
  expect(problemOfPrefix(prefix, taken)).toBeNull();
});

it('finds none when none is free, and says which one is when it can', () => {
  const taken = ['b', ...Array.from({ length: 98 }, (_, n) => `b${n + 2}`)];
  expect(prefixOfName('b', taken)).toBeNull();
  expect(() => checkPrefix('b', 'b', taken)).toThrow(
    expect.objectContaining({ code: 'ALREADY_EXISTS', hint: expect.stringContaining('rig list') }),
  );
  expect(() => checkPrefix('app', 'app', ['app'])).toThrow(
    expect.objectContaining({ code: 'ALREADY_EXISTS', details: expect.objectContaining({ suggestion: 'a' }) }),
  );
  expect(() => checkPrefix('mol', 'tools', [])).toThrow(
    expect.objectContaining({ code: 'INVALID_INPUT', hint: 'this one is free: --prefix tools' }),
  );
  expect(checkPrefix('acme', 'x', [])).toBe('acme');
});
