import type { CloseStep } from '../../schema/desk';

/** A session's wish to close the step on its hook as done, without a wait for the next. */
export function close(over: Partial<CloseStep> = {}): CloseStep {
  return {
    step: null,
    molecule_id: null,
    outcome: 'done',
    note: '',
    commit_id: null,
    output: null,
    next_wait_ms: 0,
    ...over,
  };
}
