import {
  allHandlersFinished,
  condition,
  continueAsNew,
  getExternalWorkflowHandle,
  proxyActivities,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { TownActivities } from '../../schema/activities';
import {
  applyEvent,
  type DispatchEvent,
  type Dispatcher,
  dispatchRow,
  findItem,
  nextWorker,
  waitingBefore,
} from '../../schema/dispatch/dispatch';
import { runId } from '../../schema/ids';
import type { DispatcherInput, EnqueueAnswer, EnqueueLane, RunEvent } from '../../schema/runs';
import { PROJECTION, TOWN } from '../activity-options';
import { now } from '../clock';
import { granted } from '../molecule/messages';
import { enqueue, free } from './messages';

const { project } = proxyActivities<TownActivities>(PROJECTION);
const town = proxyActivities<TownActivities>(TOWN);

/** Owns one rig's dispatch queue: who waits for a short-lived worker and who has one, within the rig's limit. */
export async function dispatcher(input: DispatcherInput): Promise<void> {
  const startedAt = now();
  let state = input.state as unknown as Dispatcher | null;
  let unpublished: RunEvent[] = [];
  let publishing = false;
  let telling = 0;
  let changes = 0;

  setHandler(enqueue, async (message): Promise<EnqueueAnswer> => {
    await readLimit();
    if (findItem(current(), message) === null) {
      const { molecule_id, lane, priority, decision_id } = message;
      record({ type: 'lane_enqueued', molecule_id, lane, priority, decision_id });
      await assignWorkers(message);
    }
    const item = findItem(current(), message);
    if (item?.agent_id != null) return { kind: 'granted', agent: item.agent_id };
    if (message.wait) return { kind: 'queued', position: waitingBefore(current(), message) + 1 };
    if (item !== null) record({ type: 'worker_freed', molecule_id: message.molecule_id, lane: message.lane });
    return { kind: 'refused' };
  });
  setHandler(free, async (message) => {
    await readLimit();
    if (findItem(current(), message) === null) return { freed: false };
    record({ type: 'worker_freed', molecule_id: message.molecule_id, lane: message.lane });
    await assignWorkers(null);
    return { freed: true };
  });

  for (;;) {
    const seen = changes;
    publish();
    const rollOver = workflowInfo().continueAsNewSuggested || now() - startedAt > input.timings.rolloverMs;
    if (rollOver && !publishing && telling === 0 && unpublished.length === 0) {
      await condition(allHandlersFinished);
      if (changes === seen) await continueAsNew<typeof dispatcher>({ ...input, state: state as never });
      continue;
    }
    await condition(() => changes !== seen, Math.max(1, startedAt + input.timings.rolloverMs - now() + 1));
  }

  function current(): Dispatcher {
    if (state === null) throw new Error('the dispatcher is not open yet');
    return state;
  }

  async function readLimit(): Promise<void> {
    const { workers_max } = await town.rigLimit({ rig_id: input.rig_id });
    if (state === null) record({ type: 'dispatcher_opened', rig_id: input.rig_id, workers_max });
    else if (state.workers_max !== workers_max) record({ type: 'limit_changed', workers_max });
  }

  /** Hands out free slots. `asker` learns of its worker from its own answer; the others are told by signal. */
  async function assignWorkers(asker: EnqueueLane | null): Promise<void> {
    for (let next = nextWorker(current()); next !== null; next = nextWorker(current())) {
      const { molecule_id, lane, decision_id } = next.item;
      const { agent } = next;
      record({ type: 'worker_assigned', molecule_id, lane, agent });
      await town.prepareWorker({ rig_id: input.rig_id, agent, decision_id });
      if (asker?.molecule_id === molecule_id && asker.lane === lane) continue;
      tell(molecule_id, lane, agent);
    }
  }

  /** A molecule that is gone cannot be told; the reconciler takes its slot back. */
  function tell(molecule: string, lane: number, agent: string): void {
    telling += 1;
    void getExternalWorkflowHandle(runId.molecule(molecule))
      .signal(granted, { from: 'dispatcher', lane, agent })
      .catch(() => undefined)
      .finally(() => {
        telling -= 1;
        changes += 1;
      });
  }

  function record(event: DispatchEvent): void {
    const seq = (state?.seq ?? 0) + 1;
    const at = now();
    state = applyEvent(state, { seq, at, event });
    const molecule_id = 'molecule_id' in event ? event.molecule_id : null;
    const agent_id = 'agent' in event ? event.agent : null;
    unpublished.push({ seq, at, type: event.type, task_id: null, molecule_id, agent_id, payload: { ...event } });
    changes += 1;
  }

  function publish(): void {
    if (publishing || unpublished.length === 0) return;
    publishing = true;
    const events = unpublished;
    unpublished = [];
    const rows = { kind: 'dispatcher', seq: current().seq, queue: dispatchRow(current()) } as const;
    void project({ run: runId.dispatcher(input.rig_id), epoch: input.epoch, events, rows }).finally(() => {
      publishing = false;
      changes += 1;
    });
  }
}
