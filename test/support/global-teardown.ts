/** Ends what the global setup started. */
export default async function endTestServers(): Promise<void> {
  await globalThis.stopTestServers?.();
  globalThis.stopTestServers = undefined;
}
