import { ERROR_CODES, exitCodeOf, isErrorCode, TownError, unreachable } from '../../../schema/errors';

describe('errors', () => {
  it('carry code, message, hint, details and cause', () => {
    const cause = new Error('disk');
    const error = new TownError('DISK_FULL', 'no room for it', { hint: 'make room', details: { bytes: 3 }, cause });
    expect(error).toBeInstanceOf(Error);
    expect(error).toMatchObject({ name: 'TownError', message: 'no room for it', cause });
    expect(error.toBody()).toEqual({
      code: 'DISK_FULL',
      message: 'no room for it',
      hint: 'make room',
      details: { bytes: 3 },
    });
  });

  it('leave out what is not there', () => {
    const error = new TownError('INTERNAL', 'odd');
    expect(error.toBody()).toEqual({ code: 'INTERNAL', message: 'odd' });
    expect('cause' in error).toBe(false);
  });

  it('know their codes', () => {
    expect(isErrorCode('NOT_FOUND')).toBe(true);
    expect(isErrorCode('toString')).toBe(false);
    expect(isErrorCode('nonsense')).toBe(false);
  });

  it.each([
    ['USAGE', 2],
    ['NOT_FOUND', 3],
    ['CONFLICT', 4],
    ['STALE_SESSION', 4],
    ['POLICY_DENIED', 5],
    ['BUDGET_EXHAUSTED', 6],
    ['UNAVAILABLE', 7],
    ['INTERNAL', 1],
  ] as const)('%s ends a command with %i', (code, exit) => {
    expect(exitCodeOf(code)).toBe(exit);
  });

  it('every code has an exit code from 1 to 7 and an HTTP status of an error', () => {
    for (const { exit, http } of Object.values(ERROR_CODES)) {
      expect(exit).toBeGreaterThanOrEqual(1);
      expect(exit).toBeLessThanOrEqual(7);
      expect(http).toBeGreaterThanOrEqual(400);
      expect(http).toBeLessThan(600);
    }
  });

  it('an unhandled variant is a bug that names its place', () => {
    expect(() => unreachable({ odd: 1 } as never, 'here')).toThrow('here: unexpected {"odd":1}');
  });
});
