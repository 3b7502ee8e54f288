import { existsSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { ERROR_CODES } from '../../schema/errors';
import { filesBelow, read, ROOT } from './sources';

const pages = [...(existsSync(join(ROOT, 'README.md')) ? ['README.md'] : []), ...filesBelow('docs', '.md')];

describe('documents', () => {
  it('are there', () => {
    expect(pages).toContain('docs/formula.md');
  });

  it.each(pages)('%s links only to what exists', (page) => {
    const broken = linksOf(read(page)).filter((link) => !isThere(page, link));
    expect(broken).toEqual([]);
  });

  it.each(pages)('%s closes its code fences', (page) => {
    expect((read(page).match(/^\s*```/gm)?.length ?? 0) % 2).toBe(0);
  });

  // The roadmap names files that are yet to come.
  it.each(pages.filter((page) => page !== 'docs/roadmap.md'))('%s names only files that are there', (page) => {
    const named = [
      ...read(page).matchAll(
        /`((?:schema|workflows|activities|workers|cli|policies|tools|test|docs|formulas|bin)\/[^`\s]*)`/g,
      ),
    ];
    // `a/<b>.ts` and `a/*` stand for many.
    const files = named.map(([, path = '']) => path).filter((path) => !/[<*{…]/.test(path));
    expect(files.filter((path) => !existsSync(join(ROOT, path)) && !existsSync(join(ROOT, `${path}.ts`)))).toEqual([]);
  });

  it('follow a task through functions that are where they say', () => {
    const rows = [...read('docs/walk.md').matchAll(/\| `(\w+)`\s*\| `([\w./-]+)`/g)];
    expect(rows.length).toBeGreaterThan(30);
    const lost = rows.filter(
      ([, name = '', path = '']) => !new RegExp(`\\b(?:function|const) ${name}\\b`).test(read(path)),
    );
    expect(lost.map(([, name, path]) => `${name} in ${path}`)).toEqual([]);
  });

  it('list every decision', () => {
    const decisions = filesBelow('docs/decisions', '.md').filter((path) => !path.endsWith('/README.md'));
    const listed = linksOf(read('docs/decisions/README.md'));
    expect(decisions.map((path) => basename(path)).filter((name) => !listed.includes(name))).toEqual([]);
  });

  it('explain every error code, and no other', () => {
    const explained = [...read('docs/errors.md').matchAll(/^## `?([A-Z_]+)`?\s*$/gm)].map((match) => match[1]);
    expect(new Set(explained)).toEqual(new Set(Object.keys(ERROR_CODES)));
    expect(explained).toHaveLength(new Set(explained).size);
    const told = [...read('docs/errors.md').matchAll(/^## (\w+)\s+Exit code (\d), HTTP status (\d+)\.$/gm)];
    expect(
      Object.fromEntries(told.map(([, code = '', exit, http]) => [code, { exit: Number(exit), http: Number(http) }])),
    ).toEqual(ERROR_CODES);
  });
});

describe('the check itself', () => {
  it('sees links, but not those in code or to the web', () => {
    const text =
      'see [a](b.md#c "t") and `[x](y)`, [web](https://example.org)\n```\n[code](z.md)\n```\n![i](p.png)\n[r]: q.md';
    expect(linksOf(text)).toEqual(['b.md#c', 'p.png', 'q.md']);
  });

  it('makes anchors as code hosts do', () => {
    expect(anchorsOf('# The `hook`, how?\n## A\n## A\n```\n# no\n```')).toEqual(['the-hook-how', 'a', 'a-1']);
  });
});

function linksOf(text: string): string[] {
  const prose = withoutFences(text).replace(/`[^`\n]*`/g, '');
  const inline = [...prose.matchAll(/\]\(\s*<?([^)\s>]+)>?[^)]*\)/g)];
  const references = [...prose.matchAll(/^\[[^\]]+\]:\s*(\S+)/gm)];
  return [...inline, ...references].map((match) => match[1]!).filter((link) => !/^[a-z][a-z+.-]*:/.test(link));
}

function isThere(page: string, link: string): boolean {
  const [path = '', anchor] = decodeURI(link).split('#');
  const target = path === '' ? page : join(path.startsWith('/') ? '' : dirname(page), path);
  if (!existsSync(join(ROOT, target))) return false;
  return anchor === undefined || !target.endsWith('.md') || anchorsOf(read(target)).includes(anchor);
}

function anchorsOf(text: string): string[] {
  const seen = new Map<string, number>();
  return [...withoutFences(text).matchAll(/^#{1,6}\s+(.+?)\s*$/gm)].map((match) => {
    const anchor = match[1]!
      .toLowerCase()
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .replace(/[^\p{L}\p{N}\s_-]/gu, '')
      .replace(/\s/g, '-');
    const before = seen.get(anchor) ?? 0;
    seen.set(anchor, before + 1);
    return before === 0 ? anchor : `${anchor}-${before}`;
  });
}

function withoutFences(text: string): string {
  return text.replace(/^(\s*)(```|~~~)[\s\S]*?^\s*\2.*$/gm, '');
}
