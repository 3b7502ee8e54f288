import { createTaskReader } from '../../../schema/task/interchange-reader';
import { sha256 } from '../../support/database';

/** Apart from the tests of the reader, since its limits are far away. */
const digestOf = sha256;

describe('a file', () => {
  it('of more edges than an import may have is refused', () => {
    const edges = `[${Array.from({ length: 100_000 }, () => '{"depends_on_id":"a-1"}').join(',')}]`;
    const reader = createTaskReader('x', { digestOf });
    const push = () => {
      for (let nth = 100; nth <= 110; nth += 1) {
        reader.push(new TextEncoder().encode(`{"id":"a-${nth}","title":"x","dependencies":${edges}}\n`));
      }
    };
    expect(push).toThrow(
      expect.objectContaining({
        code: 'INPUT_TOO_LARGE',
        message: 'x has more than 1000000 edges; nothing was imported',
      }),
    );
  });

  it('of a million lines is bounded in time', () => {
    const garbage = new TextEncoder().encode('x\n'.repeat(1_000_000));
    expect(() => createTaskReader('x', { digestOf }).push(garbage)).toThrow(/at least 100 problems/);
    const empty = new TextEncoder().encode('\n'.repeat(1_000_001));
    expect(() => createTaskReader('x', { digestOf }).push(empty)).toThrow(/more than 1000000 lines/);
    const many = createTaskReader('x', { digestOf });
    const lines = () =>
      many.push(new TextEncoder().encode(Array.from({ length: 250_000 }, (_, nth) => `{"id":"a-${nth.toString(36).padStart(4, '0')}","title":"x"}\n`).join(''))); // prettier-ignore
    expect(lines).toThrow(
      expect.objectContaining({ code: 'INPUT_TOO_LARGE', message: expect.stringContaining('200000 tasks') }),
    );
  });
});
