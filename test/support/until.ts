import { setTimeout as sleep } from 'node:timers/promises';

/** What `ask` answers as soon as it is neither null nor undefined, false or empty; asked every `everyMs`. @throws Error after `timeoutMs` */
export async function until<T>(
  ask: () => T | Promise<T>,
  what: string,
  timeoutMs: number,
  everyMs = 10,
): Promise<Exclude<T, null | undefined | false | ''>> {
  for (const end = Date.now() + timeoutMs; ; await sleep(everyMs)) {
    const answer = await ask();
    // Narrowed by hand: the compiler does not exclude from a type parameter.
    if (answer !== null && answer !== undefined && answer !== false && answer !== '')
      return answer as Exclude<T, null | undefined | false | ''>;
    if (Date.now() > end) throw new Error(`${what} did not happen within ${timeoutMs / 1000} s`);
  }
}
