import type { ActivityOptions } from '@temporalio/workflow';

/** Publishing a run's events: short, retried for ever, never far apart. Unpublished events stay in the run's state. */
export const PROJECTION: ActivityOptions = {
  startToCloseTimeout: '2s',
  retry: { initialInterval: '50ms', backoffCoefficient: 2, maximumInterval: '2s' },
};

/** Ledger commands and messages to other runs: idempotent, retried until they are answered; refusals are not retryable. One that died
 *  with its worker is asked again after 8 s. */
export const TOWN: ActivityOptions = {
  startToCloseTimeout: '8s',
  retry: { initialInterval: '100ms', backoffCoefficient: 2, maximumInterval: '5s' },
};
