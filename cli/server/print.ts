/** Text for people. On a terminal tables have a heading and aligned columns; in a pipe they are rows with tabs between the cells. */

export type Cell = string | number | null | undefined;

export function table(
  tty: boolean,
  heading: readonly string[],
  rows: readonly (readonly Cell[])[],
  none: string,
): string {
  if (rows.length === 0) return tty ? `${none}\n` : '';
  const lines = rows.map((row) => row.map((cell) => oneLine(String(cell ?? (tty ? '-' : '')))));
  if (!tty) return lines.map((line) => `${line.join('\t')}\n`).join('');
  const all = [heading.map((word) => word.toUpperCase()), ...lines];
  const widths = heading.map((_, column) => Math.min(60, Math.max(...all.map((line) => width(line[column] ?? '')))));
  return all
    .map((line) =>
      line.map((cell, column) => (column === line.length - 1 ? cell : fit(cell, widths[column] ?? 0))).join('  '),
    )
    .map((line) => `${line.trimEnd()}\n`)
    .join('');
}

/** `name: value` lines; what is null or empty is left out. */
export function facts(pairs: Readonly<Record<string, Cell>>): string {
  return Object.entries(pairs)
    .filter(([, value]) => value !== null && value !== undefined && value !== '')
    .map(([name, value]) => `${name}: ${printable(String(value))}\n`)
    .join('');
}

/** Without characters that would command the reader's terminal; line breaks and tabs stay. */
export function printable(text: string): string {
  // eslint-disable-next-line no-control-regex -- they are what this is about
  return text.replaceAll(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, ' ');
}

function oneLine(text: string): string {
  return printable(text).replaceAll(/[\n\t]/g, ' ');
}

/** Columns on a terminal, near enough: letters of the East take two. */
function width(text: string): number {
  let columns = 0;
  for (const letter of text)
    columns += /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60]/.test(letter) ? 2 : 1;
  return columns;
}

function fit(text: string, columns: number): string {
  let short = text;
  if (width(text) > columns) {
    while (width(short) > columns - 1) short = short.slice(0, -1);
    short += '…';
  }
  return short + ' '.repeat(Math.max(0, columns - width(short)));
}
