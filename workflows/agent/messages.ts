import { defineSignal, defineUpdate } from '@temporalio/workflow';
import type { Assign, AssignAnswer, Release, Requeue } from '../../schema/runs';

export interface Reason {
  readonly reason: string;
  readonly n?: number;
}
export const assign = defineUpdate<AssignAnswer, [Assign]>('assign');
export const release = defineUpdate<{ readonly released: boolean }, [Release & { readonly n?: number }]>('release');
export const requeue = defineUpdate<{ readonly requeued: boolean }, [Requeue]>('requeue');
export const pause = defineUpdate<{ readonly status: string }, [Reason]>('pause');
export const resume = defineUpdate<{ readonly status: string }, [Reason]>('resume');
export const retire = defineUpdate<{ readonly status: string }, [Reason]>('retire');
/** Wakes the run; always sent as signal-with-start. */
export const nudge = defineSignal<[]>('nudge');
