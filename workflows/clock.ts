/** The run's own time: Temporal makes `Date.now` deterministic in the sandbox. */
export function now(): number {
  return Date.now();
}
