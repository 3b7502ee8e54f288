import { defineSignal, defineUpdate } from '@temporalio/workflow';
import type { CancelMolecule, Granted, OpenGate, ResolveStep, Revoked } from '../../schema/runs';

export const granted = defineSignal<[Granted]>('granted');
export const revoked = defineSignal<[Revoked]>('revoked');
export const resolveStep = defineUpdate<{ readonly status: string }, [ResolveStep]>('resolveStep');
export const openGate = defineUpdate<{ readonly status: string }, [OpenGate]>('openGate');
export const cancel = defineUpdate<{ readonly status: string }, [CancelMolecule]>('cancel');
