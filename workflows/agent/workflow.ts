import {
  ApplicationFailure,
  continueAsNew,
  getExternalWorkflowHandle,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import {
  type Agent,
  type AgentEvent,
  applyEvent,
  findItem,
  hookRow,
  nextGrant,
  positionOf,
} from '../../schema/agent/agent';
import { runId } from '../../schema/ids';
import type { AgentInput } from '../../schema/runs';
import { granted, revoked } from '../molecule/messages';
import { Inbox, live, RunLog, storedEvent } from '../run-log';
import { assign, nudge, pause, release, requeue, resume, retire } from './messages';

interface CarriedAgent {
  readonly agent: Agent;
  readonly last_n: number;
}

/** Owns one agent's hook: the order of molecules on it and which of them holds the grant. Lives as long as the identity. */
export async function agent(input: AgentInput): Promise<void> {
  const carried = input.state as unknown as CarriedAgent | null;
  const log = new RunLog<Agent, AgentEvent>({
    run: runId.agent(input.address),
    epoch: input.epoch,
    carried: carried?.agent ?? null,
    apply: applyEvent,
    eventOf: (recorded) => storedEvent(recorded, input.address),
    rowsOf: (state) => ({ kind: 'agent', seq: state.seq, hook: hookRow(state) }),
  });
  const inbox = new Inbox(carried?.last_n ?? 0);
  /** Molecules to tell, in order, that they got or lost the grant. */
  const news: (() => Promise<void>)[] = [];
  let telling = false;

  if (log.latest === null) log.record({ type: 'hook_opened', address: input.address });

  setHandler(
    assign,
    (message) => {
      if (findItem(log.state, message) === null) {
        const { molecule_id, lane, priority } = message;
        log.record({ type: 'hook_assigned', molecule_id, lane, priority });
        grantNext(message);
      }
      return { granted: findItem(log.state, message)?.state === 'granted', position: positionOf(log.state, message) };
    },
    {
      validator: (_message) => {
        if (log.state.status === 'retired') {
          throw ApplicationFailure.create({
            type: 'WRONG_STATE',
            message: `agent ${input.address} is retired`,
            nonRetryable: true,
          });
        }
      },
    },
  );
  setHandler(release, (message) => {
    if (inbox.isRepeat(message.n) || findItem(log.state, message) === null) return { released: false };
    log.record({ type: 'hook_released', molecule_id: message.molecule_id, lane: message.lane, reason: message.reason });
    grantNext(null);
    return { released: true };
  });
  setHandler(requeue, (message) => {
    if (inbox.isRepeat(message.n)) return { requeued: false };
    const held = log.state.items.filter((item) => item.molecule_id === message.molecule_id && item.state === 'granted');
    for (const item of held) {
      log.record({ type: 'hook_requeued', molecule_id: item.molecule_id, lane: item.lane, reason: message.reason });
      tellRevoked(item.molecule_id, item.lane, message.reason);
    }
    grantNext(null);
    return { requeued: held.length > 0 };
  });
  setHandler(pause, (message) => change(message.n, 'active', { type: 'agent_paused', reason: message.reason }));
  setHandler(resume, (message) => change(message.n, 'paused', { type: 'agent_resumed', reason: message.reason }));
  setHandler(retire, (message) => change(message.n, null, { type: 'agent_retired', reason: message.reason }));
  setHandler(nudge, () => {
    grantNext(null);
  });

  return live(log, {
    rolloverMs: input.timings.rolloverMs,
    turn: () => void tell(),
    isBusy: () => telling,
    continueAsNew() {
      const next: CarriedAgent = { agent: log.state, last_n: inbox.lastN };
      return continueAsNew<typeof agent>({ ...input, state: next as never });
    },
  });

  /** `asker` learns of its grant from the answer of its own update; everybody else is told by signal. */
  function grantNext(asker: { readonly molecule_id: string; readonly lane: number } | null): void {
    const next = nextGrant(log.state);
    if (next === null) return;
    log.record({ type: 'hook_granted', molecule_id: next.molecule_id, lane: next.lane });
    if (asker?.molecule_id === next.molecule_id && asker.lane === next.lane) return;
    news.push(() =>
      getExternalWorkflowHandle(runId.molecule(next.molecule_id)).signal(granted, {
        from: 'agent',
        lane: next.lane,
        agent: input.address,
      }),
    );
  }

  function tellRevoked(molecule: string, lane: number, reason: string): void {
    news.push(() =>
      getExternalWorkflowHandle(runId.molecule(molecule)).signal(revoked, { agent: input.address, lane, reason }),
    );
  }

  function change(n: number | undefined, from: Agent['status'] | null, event: AgentEvent): { readonly status: string } {
    if (!inbox.isRepeat(n) && (from === null || log.state.status === from)) {
      log.record(event);
      grantNext(null);
    }
    return { status: log.state.status };
  }

  /** A molecule that is gone cannot be told; the reconciler takes its grant back. */
  async function tell(): Promise<void> {
    if (telling || news.length === 0) return;
    telling = true;
    for (let message = news.shift(); message !== undefined; message = news.shift()) {
      try {
        await message();
      } catch {
        continue;
      }
    }
    telling = false;
    // Only then is somebody waiting for this: the loop, to continue as new.
    if (workflowInfo().continueAsNewSuggested) log.changes += 1;
  }
}
