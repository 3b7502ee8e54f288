/** What follows from the words with which a molecule and its steps are shown, for those who see nothing but these. */

/** Whether a molecule of this status schedules no more steps. A paused one may go on. */
export function isOver(status: string): boolean {
  return status !== 'running' && status !== 'paused';
}

/** Whether a person may have the step begun again: it waits for its next attempt, or for nobody's (stuck), or has failed. */
export function mayBegin(step: { readonly status: string; readonly outcome?: string | null }): boolean {
  return step.status === 'ready' || (step.status === 'closed' && step.outcome === 'failed');
}
