import {
  type Client,
  WithStartWorkflowOperation,
  WorkflowExecutionAlreadyStartedError,
  WorkflowNotFoundError,
} from '@temporalio/client';
import { runId } from '../../schema/ids';
import type { Ledger, OutboxRow } from '../../schema/ledger';
import type { Timings } from '../../schema/timings';
import { refusalOf } from '../failure';

/**
 * Carries the ledger's messages to the runs: per target in the order of their numbers, one at a time, outside any transaction.
 * At least once: a run ignores a number that it has applied. A refusal is final: the row goes to the attention list.
 */
export interface Courier {
  /** Something may be due now: called on NOTIFY, and by a slow timer for what a lost NOTIFY left. */
  wake(): void;
  stop(): Promise<void>;
}

export interface CourierDeps {
  readonly ledger: Ledger;
  readonly client: Client;
  readonly taskQueue: string;
  readonly timings: Timings;
  readonly log: (message: string, facts: object) => void;
  /** Between looks without a NOTIFY, in milliseconds. */
  readonly pollMs: number;
}

const BATCH = 32;
const RETRY_MS = 200;
const RETRY_MAX_MS = 10_000;

export function startCourier(deps: CourierDeps): Courier {
  let stopped = false;
  let woken = false;
  let running: Promise<void> | null = null;

  const drain = async () => {
    while (woken && !stopped) {
      woken = false;
      try {
        for (
          let rows = await deps.ledger.dueOutbox(BATCH);
          rows.length > 0 && !stopped;
          rows = await deps.ledger.dueOutbox(BATCH)
        ) {
          await Promise.all(rows.map((row) => carry(deps, row)));
        }
      } catch (error) {
        deps.log('courier: the ledger does not answer', { error: String(error) });
      }
    }
  };
  const wake = () => {
    woken = true;
    if (stopped || running !== null) return;
    running = drain().finally(() => {
      running = null;
      if (woken) wake();
    });
  };
  const timer = setInterval(wake, deps.pollMs);
  wake();
  return {
    wake,
    async stop() {
      stopped = true;
      clearInterval(timer);
      await running;
    },
  };
}

async function carry(deps: CourierDeps, row: OutboxRow): Promise<void> {
  try {
    await deliver(deps, row);
    await deps.ledger.delivered(row.id);
  } catch (error) {
    const refusal = refusalOf(error);
    const isFinal = refusal !== null || error instanceof WorkflowNotFoundError;
    const retryMs = isFinal ? null : Math.min(RETRY_MS * 2 ** Math.min(row.attempts, 10), RETRY_MAX_MS);
    deps.log('courier: not delivered', { target: row.target, n: row.n, error: String(error), final: isFinal });
    await deps.ledger.deliveryFailed(row.id, refusal?.message ?? String(error), retryMs);
  }
}

async function deliver(
  deps: CourierDeps,
  { target, n, message }: Pick<OutboxRow, 'target' | 'n' | 'message'>,
): Promise<void> {
  const { client, taskQueue } = deps;
  const updateId = `outbox:${n}`;
  if (message.kind === 'start') {
    try {
      await client.workflow.start(message.workflow, {
        workflowId: target,
        taskQueue,
        args: [message.input],
        workflowIdReusePolicy: 'REJECT_DUPLICATE',
        workflowTaskTimeout: '3s',
        staticSummary: summaryOf(message.input),
      });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
    return;
  }
  const address = target.startsWith('agent.') ? target.slice('agent.'.length).replaceAll('.', '/') : null;
  if (address !== null) {
    await client.workflow.executeUpdateWithStart(message.name, {
      args: [message.args],
      updateId,
      startWorkflowOperation: agentStart(deps, address),
    });
    return;
  }
  try {
    await client.workflow.getHandle(target).executeUpdate(message.name, { args: [message.args], updateId });
  } catch (error) {
    // A run that has ended needs no message: what it was told about is settled.
    if (!(error instanceof WorkflowNotFoundError)) throw error;
  }
}

/** Starts the agent's run where there is none: hooks exist from the first message on. */
export function agentStart(deps: { readonly taskQueue: string; readonly timings: Timings }, address: string) {
  return new WithStartWorkflowOperation('agent', {
    workflowId: runId.agent(address),
    taskQueue: deps.taskQueue,
    args: [{ version: 1, address, epoch: 1, timings: deps.timings, state: null }],
    workflowIdConflictPolicy: 'USE_EXISTING',
    workflowTaskTimeout: '3s',
    staticSummary: `hook of ${address}`,
  });
}

function summaryOf(input: object): string {
  const formula = 'formula' in input && typeof input.formula === 'string' ? input.formula : 'convoy';
  const task = 'root_task_id' in input && typeof input.root_task_id === 'string' ? ` for ${input.root_task_id}` : '';
  return `${formula}${task}`.slice(0, 200);
}
