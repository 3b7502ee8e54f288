/**
 * Every patch id: what changed in a running workflow's behaviour, since which version, and when the old way may go.
 * None yet: no release has left runs behind.
 */
export const PATCHES = {} as const satisfies Record<
  string,
  { readonly what: string; readonly since: string; readonly removable: string }
>;
