/** A text of somebody else's, as it stands in a message: quoted, and cut when it is long. */
export function quote(text: string, charactersMax = 60): string {
  return JSON.stringify(text.length > charactersMax ? `${text.slice(0, charactersMax)}…` : text);
}

/** Problems as one sentence: the first of them, and how many more there are. */
export function listed(problems: readonly string[], shownMax = 12): string {
  const shown = problems.slice(0, shownMax);
  const more = problems.length - shown.length;
  return [...shown, ...(more > 0 ? [`and ${more} more`] : [])].join('; ');
}

/** The lines of a file, without the mark of its encoding and whatever ends them. */
export function linesOf(text: string): string[] {
  return text.replace(/^\uFEFF/, '').split(/\r\n|\n|\r/);
}
