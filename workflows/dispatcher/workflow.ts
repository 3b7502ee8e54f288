import { continueAsNew, getExternalWorkflowHandle, proxyActivities, setHandler } from '@temporalio/workflow';
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
import type { DispatcherInput, EnqueueAnswer, EnqueueLane } from '../../schema/runs';
import { TOWN } from '../activity-options';
import { granted } from '../molecule/messages';
import { live, RunLog, storedEvent } from '../run-log';
import { enqueue, free } from './messages';

const town = proxyActivities<TownActivities>(TOWN);

/** Owns one rig's dispatch queue: who waits for a short-lived worker and who has one, within the rig's limit. */
export async function dispatcher(input: DispatcherInput): Promise<void> {
  const log = new RunLog<Dispatcher, DispatchEvent>({
    run: runId.dispatcher(input.rig_id),
    epoch: input.epoch,
    carried: input.state as unknown as Dispatcher | null,
    apply: applyEvent,
    eventOf: (recorded) => storedEvent(recorded, 'agent' in recorded.event ? recorded.event.agent : null),
    rowsOf: (state) => ({ kind: 'dispatcher', seq: state.seq, queue: dispatchRow(state) }),
  });
  let telling = 0;

  setHandler(enqueue, async (message): Promise<EnqueueAnswer> => {
    await readLimit();
    if (findItem(log.state, message) === null) {
      const { molecule_id, lane, priority, decision_id } = message;
      log.record({ type: 'lane_enqueued', molecule_id, lane, priority, decision_id });
      await assignWorkers(message);
    }
    const item = findItem(log.state, message);
    if (item?.agent_id != null) return { kind: 'granted', agent: item.agent_id };
    if (message.wait) return { kind: 'queued', position: waitingBefore(log.state, message) + 1 };
    if (item !== null) log.record({ type: 'worker_freed', molecule_id: message.molecule_id, lane: message.lane });
    return { kind: 'refused' };
  });
  setHandler(free, async (message) => {
    await readLimit();
    if (findItem(log.state, message) === null) return { freed: false };
    log.record({ type: 'worker_freed', molecule_id: message.molecule_id, lane: message.lane });
    await assignWorkers(null);
    return { freed: true };
  });

  return live(log, {
    rolloverMs: input.timings.rolloverMs,
    turn: () => undefined,
    isBusy: () => telling > 0,
    continueAsNew: () => continueAsNew<typeof dispatcher>({ ...input, state: log.latest as never }),
  });

  async function readLimit(): Promise<void> {
    const { workers_max } = await town.rigLimit({ rig_id: input.rig_id });
    if (log.latest === null) log.record({ type: 'dispatcher_opened', rig_id: input.rig_id, workers_max });
    else if (log.state.workers_max !== workers_max) log.record({ type: 'limit_changed', workers_max });
  }

  /** Hands out free slots. `asker` learns of its worker from its own answer; the others are told by signal. */
  async function assignWorkers(asker: EnqueueLane | null): Promise<void> {
    for (let next = nextWorker(log.state); next !== null; next = nextWorker(log.state)) {
      const { molecule_id, lane, decision_id } = next.item;
      const { agent } = next;
      log.record({ type: 'worker_assigned', molecule_id, lane, agent });
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
        log.changes += 1;
      });
  }
}
