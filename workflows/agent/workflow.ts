import {
  allHandlersFinished,
  ApplicationFailure,
  condition,
  continueAsNew,
  getExternalWorkflowHandle,
  proxyActivities,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { TownActivities } from '../../schema/activities';
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
import type { AgentInput, RunEvent } from '../../schema/runs';
import { PROJECTION } from '../activity-options';
import { now } from '../clock';
import { granted, revoked } from '../molecule/messages';
import { assign, nudge, pause, release, requeue, resume, retire } from './messages';

const { project } = proxyActivities<TownActivities>(PROJECTION);

interface CarriedAgent {
  readonly agent: Agent;
  readonly last_n: number;
}

/** Owns one agent's hook: the order of molecules on it and which of them holds the grant. Lives as long as the identity. */
export async function agent(input: AgentInput): Promise<void> {
  const carried = input.state as unknown as CarriedAgent | null;
  const startedAt = now();
  let state: Agent | null = carried?.agent ?? null;
  let lastN = carried?.last_n ?? 0;
  let unpublished: RunEvent[] = [];
  let publishing = false;
  let changes = 0;
  /** Molecules to tell, in order, that they got or lost the grant. */
  const news: (() => Promise<void>)[] = [];
  let telling = false;

  if (state === null) record({ type: 'hook_opened', address: input.address });

  setHandler(
    assign,
    (message) => {
      if (findItem(current(), message) === null) {
        const { molecule_id, lane, priority } = message;
        record({ type: 'hook_assigned', molecule_id, lane, priority });
        grantNext(message);
      }
      return { granted: findItem(current(), message)?.state === 'granted', position: positionOf(current(), message) };
    },
    {
      validator: (_message) => {
        if (state?.status === 'retired') {
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
    if (isRepeat(message.n) || findItem(current(), message) === null) return { released: false };
    record({ type: 'hook_released', molecule_id: message.molecule_id, lane: message.lane, reason: message.reason });
    grantNext(null);
    return { released: true };
  });
  setHandler(requeue, (message) => {
    if (isRepeat(message.n)) return { requeued: false };
    const held = current().items.filter((item) => item.molecule_id === message.molecule_id && item.state === 'granted');
    for (const item of held) {
      record({ type: 'hook_requeued', molecule_id: item.molecule_id, lane: item.lane, reason: message.reason });
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

  for (;;) {
    const seen = changes;
    publish();
    void tell();
    const rollOver = workflowInfo().continueAsNewSuggested || now() - startedAt > input.timings.rolloverMs;
    if (rollOver && !publishing && !telling && unpublished.length === 0) {
      await condition(allHandlersFinished);
      if (changes === seen) {
        const next: CarriedAgent = { agent: current(), last_n: lastN };
        await continueAsNew<typeof agent>({ ...input, state: next as never });
      }
      continue;
    }
    await condition(() => changes !== seen, Math.max(1, startedAt + input.timings.rolloverMs - now() + 1));
  }

  function current(): Agent {
    if (state === null) throw new Error('the hook is not open yet');
    return state;
  }

  function record(event: AgentEvent): void {
    const seq = (state?.seq ?? 0) + 1;
    const at = now();
    state = applyEvent(state, { seq, at, event });
    const molecule_id = 'molecule_id' in event ? event.molecule_id : null;
    unpublished.push({
      seq,
      at,
      type: event.type,
      task_id: null,
      molecule_id,
      agent_id: input.address,
      payload: { ...event },
    });
    changes += 1;
  }

  /** `asker` learns of its grant from the answer of its own update; everybody else is told by signal. */
  function grantNext(asker: { readonly molecule_id: string; readonly lane: number } | null): void {
    const next = nextGrant(current());
    if (next === null) return;
    record({ type: 'hook_granted', molecule_id: next.molecule_id, lane: next.lane });
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
    if (!isRepeat(n) && (from === null || current().status === from)) {
      record(event);
      grantNext(null);
    }
    return { status: current().status };
  }

  function isRepeat(n: number | undefined): boolean {
    if (n === undefined) return false;
    if (n <= lastN) return true;
    lastN = n;
    return false;
  }

  /** A molecule that is gone cannot be told; the reconciler takes its grant back. */
  async function tell(): Promise<void> {
    if (telling) return;
    telling = true;
    for (let message = news.shift(); message !== undefined; message = news.shift()) {
      try {
        await message();
      } catch {
        continue;
      }
    }
    telling = false;
    if (workflowInfo().continueAsNewSuggested) changes += 1;
  }

  function publish(): void {
    if (publishing || unpublished.length === 0) return;
    publishing = true;
    const events = unpublished;
    unpublished = [];
    const rows = { kind: 'agent', seq: current().seq, hook: hookRow(current()) } as const;
    void project({ run: runId.agent(input.address), epoch: input.epoch, events, rows }).finally(() => {
      publishing = false;
      changes += 1;
    });
  }
}
