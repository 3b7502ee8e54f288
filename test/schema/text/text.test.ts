import { linesOf, listed, quote } from '../../../schema/text';

it('quotes a text, and cuts a long one', () => {
  expect(quote('a "b"\n')).toBe(String.raw`"a \"b\"\n"`);
  expect(quote('x'.repeat(60))).toBe(`"${'x'.repeat(60)}"`);
  expect(quote('x'.repeat(61))).toBe(`"${'x'.repeat(60)}…"`);
  expect(quote('abc', 2)).toBe('"ab…"');
});

it('names the first problems, and says how many more there are', () => {
  expect(listed(['a', 'b'])).toBe('a; b');
  expect(listed(['a', 'b', 'c'], 2)).toBe('a; b; and 1 more');
});

it('takes a text apart at every kind of line end', () => {
  expect(linesOf('\uFEFFa\r\nb\rc\n\nd')).toEqual(['a', 'b', 'c', '', 'd']);
});
