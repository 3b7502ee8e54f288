import type { Source } from './problems';

/** Finds lines in the text of a formula. The text is scanned on the first question only: a formula without problems costs nothing. */
export function sourceOf(file: string, text: string): Source {
  let lines: ReadonlyMap<string, number> | null = null;
  return {
    file,
    lineOf(path) {
      lines ??= new Scanner(text).scan(file.endsWith('.json'));
      return nearestLine(lines, path);
    },
  };
}

function nearestLine(lines: ReadonlyMap<string, number>, path: string): number {
  for (let at = path; at !== ''; at = at.replace(/(?:^|\.)[^.[]*$|\[\d+\]$/, '')) {
    const line = lines.get(at);
    if (line !== undefined) return line;
  }
  return 1;
}

const DEPTH_MAX = 64;

/**
 * Walks TOML or JSON and notes the line of each key and list entry. It trusts the text to be well formed (the parser has
 * read it before); on anything odd it stops, and lines found so far stay good.
 */
class Scanner {
  readonly #text: string;
  readonly #lines = new Map<string, number>();
  /** How many tables each `[[list]]` has so far. */
  readonly #tables = new Map<string, number>();
  #at = 0;
  #line = 1;
  /** Up to which character `#line` has been counted. */
  #counted = 0;

  constructor(text: string) {
    this.#text = text;
  }

  scan(json: boolean): ReadonlyMap<string, number> {
    if (json) {
      this.#skip();
      this.#value('', 0);
    } else {
      this.#document();
    }
    return this.#lines;
  }

  #document(): void {
    let table = '';
    for (;;) {
      this.#skip();
      const before = this.#at;
      if (before >= this.#text.length) return;
      if (this.#text[before] === '[') table = this.#header();
      else this.#pair(table, 0);
      if (this.#at === before) return;
    }
  }

  /** `[a.b]` or `[[a.b]]`; the answer is the path of the table that begins here. */
  #header(): string {
    const start = this.#at;
    const list = this.#text[start + 1] === '[';
    this.#at += list ? 2 : 1;
    const keys = this.#keys();
    while (this.#text[this.#at] === ']') this.#at += 1;
    let path = '';
    keys.forEach((key, index) => {
      path = path === '' ? key : `${path}.${key}`;
      const count = this.#tables.get(path);
      if (list && index === keys.length - 1) {
        this.#note(path, start);
        this.#tables.set(path, (count ?? 0) + 1);
        path = `${path}[${count ?? 0}]`;
      } else if (count !== undefined) {
        path = `${path}[${count - 1}]`;
      }
      this.#note(path, start);
    });
    return path;
  }

  #pair(table: string, depth: number): void {
    const start = this.#at;
    let path = table;
    for (const key of this.#keys()) {
      path = path === '' ? key : `${path}.${key}`;
      this.#note(path, start);
    }
    if (!/[=:]/.test(this.#text.charAt(this.#at))) return;
    this.#at += 1;
    this.#skip();
    this.#value(path, depth);
  }

  #keys(): string[] {
    const keys: string[] = [];
    for (;;) {
      this.#skip();
      const start = this.#at;
      const quote = this.#text[start];
      if (quote === '"' || quote === "'") {
        this.#string();
        keys.push(this.#text.slice(start + 1, this.#at - 1));
      } else {
        keys.push(this.#take(/[\w-]*/y));
      }
      this.#skip();
      if (this.#text[this.#at] !== '.') return keys;
      this.#at += 1;
    }
  }

  #value(path: string, depth: number): void {
    const first = this.#text[this.#at];
    if (first === '"' || first === "'") this.#string();
    else if (first === '[' && depth < DEPTH_MAX) this.#list(path, depth + 1);
    else if (first === '{' && depth < DEPTH_MAX) this.#inlineTable(path, depth + 1);
    else this.#take(/[^\s,\]}#]*/y);
  }

  #list(path: string, depth: number): void {
    this.#entries(']', (index) => {
      this.#note(`${path}[${index}]`, this.#at);
      this.#value(`${path}[${index}]`, depth);
    });
  }

  #inlineTable(path: string, depth: number): void {
    this.#entries('}', () => this.#pair(path, depth));
  }

  #entries(close: string, entry: (index: number) => void): void {
    this.#at += 1;
    for (let index = 0; ; index += 1) {
      this.#skip();
      if (this.#text[this.#at] === close) {
        this.#at += 1;
        return;
      }
      const before = this.#at;
      entry(index);
      this.#skip();
      if (this.#text[this.#at] === ',') this.#at += 1;
      if (this.#at === before) return;
    }
  }

  #string(): void {
    const quote = this.#text[this.#at] === '"' ? '"' : "'";
    const long = this.#text.startsWith(quote.repeat(3), this.#at);
    const end = long ? quote.repeat(3) : quote;
    this.#at += end.length;
    while (this.#at < this.#text.length && !this.#text.startsWith(end, this.#at)) {
      this.#at += quote === '"' && this.#text[this.#at] === '\\' ? 2 : 1;
    }
    this.#at += end.length;
    // A long string may end with up to two quotes of its own before the closing three.
    while (long && this.#text[this.#at] === quote) this.#at += 1;
  }

  /** Spaces, line ends and comments. */
  #skip(): void {
    this.#take(/(?:\s+|#[^\n]*)*/y);
  }

  /** What the pattern, which also matches nothing, finds here. */
  #take(pattern: RegExp): string {
    const start = this.#at;
    pattern.lastIndex = start;
    pattern.test(this.#text);
    this.#at = pattern.lastIndex;
    return this.#text.slice(start, this.#at);
  }

  /** The first mention of a path counts. */
  #note(path: string, offset: number): void {
    for (; this.#counted < offset; this.#counted += 1) {
      if (this.#text[this.#counted] === '\n') this.#line += 1;
    }
    if (!this.#lines.has(path)) this.#lines.set(path, this.#line);
  }
}
