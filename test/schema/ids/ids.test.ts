import fc from 'fast-check';
import {
  childIdOf,
  encodeAddress,
  hookQueue,
  ID_LEVELS_MAX,
  parseAgentAddress,
  parseName,
  parseTaskId,
  runId,
  taskIdOf,
} from '../../../schema/ids';

const name = fc.stringMatching(/^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/);
const invalid = expect.objectContaining({ code: 'INVALID_INPUT' });

describe('names', () => {
  it.each(['a', 'web-2', '0', 'a'.repeat(40)])('takes %s', (text) => {
    expect(parseName(text, 'rig')).toBe(text);
  });

  it.each(['', 'A', '-a', 'a-', 'a_b', 'a/b', 'a.b', 'a b', 'ä', 'a\n', 'a'.repeat(41), '../etc'])(
    'refuses %j',
    (text) => {
      expect(() => parseName(text, 'rig')).toThrow(invalid);
    },
  );

  it('quotes no more than 80 characters of what it refuses', () => {
    expect(() => parseName('x'.repeat(100_000), 'rig')).toThrow(
      expect.objectContaining({ message: expect.stringMatching(/^.{1,120}$/) }),
    );
  });
});

describe('addresses', () => {
  it.each(['mayor', 'acme/polecats/amber', 'acme/polecats/amber-2'])('takes %s', (text) => {
    expect(parseAgentAddress(text)).toBe(text);
  });

  it.each(['', 'acme/amber', 'a/b/c/d', '/b/c', 'a//c', 'acme/polecats/Amber', 'acme/../amber'])(
    'refuses %j',
    (text) => {
      expect(() => parseAgentAddress(text)).toThrow(invalid);
    },
  );

  it('gives every address a workflow id and a queue of its own, without a slash', () => {
    const address = fc.oneof(
      name,
      fc.tuple(name, name, name).map((parts) => parts.join('/')),
    );
    fc.assert(
      fc.property(address, address, (one, other) => {
        expect(parseAgentAddress(one)).toBe(one);
        expect(encodeAddress(one)).not.toContain('/');
        expect(runId.agent(one) === runId.agent(other)).toBe(one === other);
        expect(hookQueue(one) === hookQueue(other)).toBe(one === other);
      }),
    );
  });

  it('names queues and runs', () => {
    expect(hookQueue('acme/polecats/amber')).toBe('hook.acme.polecats.amber');
    expect(hookQueue('mayor', 't1.')).toBe('t1.hook.mayor');
    expect([runId.molecule('m-1'), runId.dispatcher('acme'), runId.convoy('c-1')]).toEqual([
      'molecule.m-1',
      'dispatcher.acme',
      'convoy.c-1',
    ]);
  });
});

describe('task ids', () => {
  it('every id that is made can be read, and a longer one starts with the shorter', () => {
    fc.assert(
      fc.property(
        name.filter((text) => text.length <= 38),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
        (prefix, digest) => {
          const short = taskIdOf(prefix, digest, 5);
          expect(short).toHaveLength(prefix.length + 6);
          for (let length = 5; length <= 13; length += 1) {
            const id = taskIdOf(prefix, digest, length);
            expect(parseTaskId(id)).toBe(id);
            expect(id.startsWith(short)).toBe(true);
          }
          expect(parseTaskId(`${short}.1.23`)).toBe(`${short}.1.23`);
        },
      ),
    );
  });

  it('a part of a part has an id down to six levels, and none that could not be read', () => {
    let id = 'acme-k3f9a';
    for (let level = 1; level <= ID_LEVELS_MAX; level += 1) {
      id = childIdOf(id, level);
      expect(parseTaskId(id)).toBe(id);
    }
    expect(id).toBe('acme-k3f9a.1.2.3.4.5.6');
    expect(childIdOf('acme-k3f9a', 999_999)).toBe('acme-k3f9a.999999');
    for (const [parent, nth] of [
      [id, 1],
      ['acme-k3f9a', 1_000_000],
    ] as const) {
      expect(() => childIdOf(parent, nth)).toThrow(
        expect.objectContaining({
          code: 'INVALID_INPUT',
          message: expect.stringContaining(`${parent} takes no further parts: ids have at most 6 levels`),
          hint: expect.stringContaining(`town dep add <the task> ${parent} --type parent-child`),
        }),
      );
    }
  });

  it('different digests give different ids at full length', () => {
    const digest = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
    fc.assert(
      fc.property(digest, digest, (one, other) => {
        expect(taskIdOf('hq', one, 13) === taskIdOf('hq', other, 13)).toBe(one === other);
      }),
    );
  });

  it.each(['', 'acme', 'acme-', 'acme-ab', 'Acme-abcde', 'acme-abcde.', 'acme-abcde.x', 'acme-abcde/1', "acme-abcde'"])(
    'refuses %j',
    (text) => {
      expect(() => parseTaskId(text)).toThrow(invalid);
    },
  );
});
