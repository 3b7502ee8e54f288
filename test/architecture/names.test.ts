import { basename } from 'node:path';
import { filesBelow, LAYERS } from './sources';

/** Words that say nothing about what is inside. */
const EMPTY_WORDS = /(^|-)(utils?|helpers?|managers?|misc|common|data|info|stuff|base)(-|$)/;
const KEBAB = /^[a-z0-9]+(-[a-z0-9]+)*$/;

describe('names of files', () => {
  const sources = [...LAYERS, 'test'].flatMap((folder) => filesBelow(folder, '.ts'));

  it('are nouns in kebab-case', () => {
    expect(sources.length).toBeGreaterThan(100);
    expect(sources.filter((path) => !KEBAB.test(stem(path)))).toEqual([]);
  });

  it('say what is inside', () => {
    expect(sources.filter((path) => EMPTY_WORDS.test(stem(path)))).toEqual([]);
  });

  it('of folders too', () => {
    const folders = new Set(sources.flatMap((path) => path.split('/').slice(0, -1)));
    expect([...folders].filter((name) => !KEBAB.test(name) || EMPTY_WORDS.test(name))).toEqual([]);
  });

  it('tests lie where their source lies', () => {
    const outside = filesBelow('test', '.test.ts').filter(
      (path) =>
        !/^test\/(schema|workflows|activities|workers|cli|policies|architecture|replay|e2e|conformance)\//.test(path),
    );
    expect(outside).toEqual([]);
  });
});

function stem(path: string): string {
  return basename(path).replace(/(\.unit)?(\.test)?\.ts$/, '');
}
