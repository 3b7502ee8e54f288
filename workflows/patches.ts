/** Every patch id: what changed in a running workflow's behaviour, since which version, and when the old way may go. */
export const PATCHES = {
  'gate-timeouts': {
    what: 'A human gate with a timeout has a timer, and is escalated when it is over.',
    since: '0.2',
    removable: 'when no molecule poured before 0.2 waits at such a gate',
  },
  'molecule-rollover': {
    what: 'A molecule continues as new, between steps, also when it is older than `rolloverMs`.',
    since: '0.2',
    removable: 'when no molecule of before 0.2 runs',
  },
} as const satisfies Record<string, { readonly what: string; readonly since: string; readonly removable: string }>;
