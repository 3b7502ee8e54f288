import { defineUpdate } from '@temporalio/workflow';
import type { EnqueueAnswer, EnqueueLane, FreeLane } from '../../schema/runs';

export const enqueue = defineUpdate<EnqueueAnswer, [EnqueueLane]>('enqueue');
export const free = defineUpdate<{ readonly freed: boolean }, [FreeLane]>('free');
