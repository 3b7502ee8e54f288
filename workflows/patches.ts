/**
 * Every patch id: what changed in a running workflow's behaviour, since which version, and when the old way may go.
 * None: molecules carry the way they are performed in their input (`performance`), which costs no events.
 */
export const PATCHES = {} as const satisfies Record<
  string,
  { readonly what: string; readonly since: string; readonly removable: string }
>;
