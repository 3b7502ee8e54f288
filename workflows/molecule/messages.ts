import { defineSignal, defineUpdate } from '@temporalio/workflow';
import type {
  BondMolecule,
  CancelMolecule,
  Granted,
  OpenGate,
  PauseMolecule,
  ResolveStep,
  RetryStep,
  Revoked,
} from '../../schema/runs';

export const granted = defineSignal<[Granted]>('granted');
export const revoked = defineSignal<[Revoked]>('revoked');
export const resolveStep = defineUpdate<{ readonly status: string }, [ResolveStep]>('resolveStep');
export const openGate = defineUpdate<{ readonly status: string }, [OpenGate]>('openGate');
export const retryStep = defineUpdate<{ readonly status: string }, [RetryStep]>('retryStep');
export const pause = defineUpdate<{ readonly status: string }, [PauseMolecule]>('pause');
export const resume = defineUpdate<{ readonly status: string }, [PauseMolecule]>('resume');
export const bond = defineUpdate<{ readonly status: string }, [BondMolecule]>('bond');
export const cancel = defineUpdate<{ readonly status: string }, [CancelMolecule]>('cancel');
