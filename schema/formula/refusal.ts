/** What a reader of a small language throws where it cannot go on; the message says why. */
export class Refusal extends Error {}

export type Read<T> = { readonly ok: true; readonly is: T } | { readonly ok: false; readonly why: string };

/** Reads as far as it goes. */
export function attempt<T>(read: () => T): Read<T> {
  try {
    return { ok: true, is: read() };
  } catch (error) {
    if (error instanceof Refusal) return { ok: false, why: error.message };
    throw error;
  }
}
