import { defineUpdate } from '@temporalio/workflow';
import type { ConvoyWake } from '../../schema/runs';

/** Each only wakes the run: members and status are the ledger's. */
export const tasksChanged = defineUpdate<void, [ConvoyWake]>('tasksChanged');
export const stop = defineUpdate<void, [ConvoyWake]>('stop');
export const resume = defineUpdate<void, [ConvoyWake]>('resume');
