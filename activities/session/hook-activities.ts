import { Context } from '@temporalio/activity';
import type { HookActivities } from '../../schema/activities';
import type { Desk } from './desk';

/** The activity on an agent's hook queue: hands the attempt to the desk. Idempotent by (molecule, step): a receipt is answered. */
export function createHookActivities(desk: Desk): HookActivities {
  return {
    performStep(request) {
      const context = Context.current();
      return desk.performStep(request, {
        taskToken: context.info.taskToken,
        signal: context.cancellationSignal,
        heartbeat: () => context.heartbeat(),
        cancelRequested: () => {
          const why = context.cancellationDetails;
          return why?.cancelRequested === true && !why.notFound && !why.workerShutdown;
        },
      });
    },
  };
}
