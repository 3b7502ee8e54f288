import { filesBelow, read } from './sources';

describe('hand-written fakes', () => {
  const fakes = filesBelow('test/support/fakes', '.ts').map((path) => path.slice('test/'.length, -'.ts'.length));
  const inMemory = filesBelow('test/conformance', '.unit.test.ts');

  it.each(fakes)('%s passes a conformance suite', (fake) => {
    expect(inMemory.some((path) => read(path).includes(`'../${fake}'`))).toBe(true);
  });

  it.each(inMemory)('the real adapter passes the suite of %s', (path) => {
    const suite = /'\.\/([a-z-]+)'/.exec(read(path))?.[1];
    const real = path.replace('.unit.test.ts', '.test.ts');
    expect(filesBelow('test/conformance', '.test.ts')).toContain(real);
    expect(read(real)).toContain(`'./${suite}'`);
    expect(read(real)).not.toContain('support/fakes/');
  });
});
