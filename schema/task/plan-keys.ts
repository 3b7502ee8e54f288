import { parseTaskId } from '../ids';

/** The key of a task that was not given one: its title in lower case, with dashes. */
export function keyOfTitle(title: string, nth: number): string {
  const key = title
    .toLowerCase()
    .normalize('NFKD')
    .replaceAll(/[^a-z0-9]+/g, '-')
    .replace(/^-+/, '')
    .slice(0, 60)
    .replace(/-+$/, '');
  return key === '' ? `task-${nth + 1}` : key;
}

export function isTaskIdText(text: string): boolean {
  try {
    parseTaskId(text);
    return true;
  } catch {
    return false;
  }
}
