import {
  allHandlersFinished,
  condition,
  continueAsNew,
  proxyActivities,
  setHandler,
  workflowInfo,
} from '@temporalio/workflow';
import type { TownActivities } from '../../schema/activities';
import type { ConvoyRunInput } from '../../schema/runs';
import { TOWN } from '../activity-options';
import { now } from '../clock';
import { resume, stop, tasksChanged } from './messages';

const { feedConvoy } = proxyActivities<TownActivities>(TOWN);

/** Feeds a convoy's ready tasks to their rig whenever something about it changed, until the ledger says that it is complete. */
export async function convoy(input: ConvoyRunInput): Promise<{ readonly status: string }> {
  const startedAt = now();
  let lastN = Math.max(input.last_n, input.n);
  let wanted = true;
  const wake = (message: { readonly n: number }) => {
    lastN = Math.max(lastN, message.n);
    wanted = true;
  };
  setHandler(tasksChanged, wake);
  setHandler(stop, wake);
  setHandler(resume, wake);

  for (;;) {
    wanted = false;
    const answer = await feedConvoy({ convoy_id: input.convoy_id });
    if (answer.status === 'completed') {
      await condition(allHandlersFinished);
      return { status: answer.status };
    }
    // Held members are asked for again: policy, flags and limits change without a message to this run.
    const again = answer.held > 0 ? input.timings.askAgainMs : input.timings.rolloverMs;
    await condition(() => wanted, again);
    if (workflowInfo().continueAsNewSuggested || now() - startedAt > input.timings.rolloverMs) {
      await condition(allHandlersFinished);
      await continueAsNew<typeof convoy>({ ...input, last_n: lastN });
    }
  }
}
