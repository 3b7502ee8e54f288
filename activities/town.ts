import { cancellationSignal } from '@temporalio/activity';
import { type Client, WithStartWorkflowOperation } from '@temporalio/client';
import type { Kysely } from 'kysely';
import type { TownActivities } from '../schema/activities';
import type { Database } from '../schema/db/tables';
import { TownError } from '../schema/errors';
import { runId } from '../schema/ids';
import type { Ledger } from '../schema/ledger';
import type { AssignAnswer, DispatcherInput, EnqueueAnswer } from '../schema/runs';
import type { Timings } from '../schema/timings';
import { agentStart } from './courier/courier';
import { asActivity, refusalOf } from './failure';
import { githubEnvironment } from './forge/github';
import { createGithub, type Forge } from './gate/forge';
import { createGateLook } from './gate/look';
import type { HeldAnswers } from './projection/held-answers';
import { project } from './projection/project';
import { envFacts } from './session/facts';
import { pathsAt } from './worktree/git-worktree';

/** Slings one task for a convoy after its own policy decision; a denial or a refusal is an answer, not an error. */
export interface ConvoyFeeder {
  feed(convoy_id: string): Promise<{ readonly fed: number; readonly held: number }>;
}

export interface TownDeps {
  readonly db: Kysely<Database>;
  readonly ledger: Ledger;
  readonly client: Client;
  readonly feeder: ConvoyFeeder;
  readonly taskQueue: string;
  readonly timings: Timings;
  /** Absent: GitHub, with the token of the environment. */
  readonly forge?: Forge;
  /** Only where the agent host is in the same process. */
  readonly heldAnswers?: HeldAnswers;
}

/** Binds the ports to the contract of `schema/activities.ts`. */
export function createTownActivities(deps: TownDeps): TownActivities {
  const { db, ledger, client, timings, taskQueue } = deps;

  const dispatcherStart = (rig: string) => {
    const input: DispatcherInput = { version: 1, rig_id: rig, epoch: 1, timings, state: null };
    return new WithStartWorkflowOperation('dispatcher', {
      workflowId: runId.dispatcher(rig),
      taskQueue,
      args: [input],
      workflowIdConflictPolicy: 'USE_EXISTING',
      workflowTaskTimeout: '3s',
      staticSummary: `dispatch queue of ${rig}`,
    });
  };

  const lookAtGate = createGateLook({ db, forge: deps.forge ?? createGithub(githubEnvironment()) });

  return {
    async project(batch) {
      await project(db, batch);
      await deps.heldAnswers?.hold(batch);
    },

    askGrant: ({ agent, ...assign }) =>
      asActivity(async () => {
        const registered = await ledger.getAgent(agent);
        if (registered.status === 'retired')
          throw new TownError('WRONG_STATE', `agent ${agent} is retired`, { hint: 'see: town agent list' });
        return answerOf<AssignAnswer>(client, () =>
          client.workflow.executeUpdateWithStart('assign', {
            args: [assign],
            startWorkflowOperation: agentStart(deps, agent),
          }),
        );
      }),

    releaseGrant: ({ agent, ...release }) =>
      asActivity(async () => {
        await answerOf(client, () =>
          client.workflow.executeUpdateWithStart('release', {
            args: [release],
            startWorkflowOperation: agentStart(deps, agent),
          }),
        );
      }),

    askSlot: ({ rig_id, ...lane }) =>
      asActivity(() =>
        answerOf<EnqueueAnswer>(client, () =>
          client.workflow.executeUpdateWithStart('enqueue', {
            args: [lane],
            startWorkflowOperation: dispatcherStart(rig_id),
          }),
        ),
      ),

    freeSlot: ({ rig_id, ...lane }) =>
      asActivity(async () => {
        await answerOf(client, () =>
          client.workflow.executeUpdateWithStart('free', {
            args: [lane],
            startWorkflowOperation: dispatcherStart(rig_id),
          }),
        );
      }),

    prepareWorker: ({ rig_id, agent, decision_id }) =>
      asActivity(async () => {
        if (decision_id === '') throw new Error(`worker ${agent} without a policy decision`);
        const rig = await ledger.getRig(rig_id);
        const runtime = rig.runtime as unknown as Parameters<Ledger['addAgent']>[1]['runtime'];
        try {
          await ledger.addAgent({ actor: runId.dispatcher(rig_id) }, { id: agent, role: 'polecat', rig_id, runtime });
        } catch (error) {
          if (!(error instanceof TownError) || error.code !== 'ALREADY_EXISTS') throw error;
        }
      }),

    rigLimit: ({ rig_id }) =>
      asActivity(async () => {
        const rig = await ledger.getRig(rig_id);
        return { workers_max: rig.workers_max };
      }),

    recordHolder: ({ task_id, agent, molecule_id }) =>
      asActivity(async () => {
        try {
          await ledger.recordHolder({ actor: runId.molecule(molecule_id) }, task_id, agent);
        } catch (error) {
          // Closed or taken away meanwhile: then nobody holds it.
          if (!(error instanceof TownError) || (error.code !== 'WRONG_STATE' && error.code !== 'NOT_FOUND'))
            throw error;
        }
      }),

    finishMolecule: ({ molecule_id, root_task_id, outcome, reason }) =>
      asActivity(async () => {
        const actor = runId.molecule(molecule_id);
        await ledger.openGatesOf(
          { actor, key: `${actor}:gates` },
          'molecule',
          molecule_id,
          `molecule ${molecule_id} has ended`,
        );
        if (root_task_id === null) {
          const ended = outcome === 'refused' ? 'cancelled' : outcome;
          await ledger.endWispMolecule({ actor }, molecule_id, { outcome: ended, reason });
          return;
        }
        const task = await ledger.getTask(root_task_id);
        if (task.molecule_id !== molecule_id || task.status === 'closed') return;
        if (outcome === 'refused') await ledger.unassignTask({ actor, key: `${actor}:refused` }, root_task_id, reason);
        else if (outcome !== 'cancelled') {
          const why = outcome === 'done' ? `molecule ${molecule_id} is complete` : `molecule ${molecule_id} failed`;
          await ledger.closeTask({ actor, key: `${actor}:finish` }, root_task_id, {
            outcome,
            reason: reason === '' ? why : reason,
            force: true,
          });
        }
      }),

    lookAtGate: (request) => asActivity(() => lookAtGate(request)),

    lookForFacts: ({ rig_id, base_commit, files, env }) =>
      asActivity(async () => {
        const found = files.length === 0 ? {} : await pathsAt(await ledger.getRig(rig_id), base_commit, files);
        return { files: found, env: envFacts(env) };
      }),

    escalateGate: ({ ...gate }) =>
      asActivity(() => ledger.escalateGate({ actor: runId.molecule(gate.molecule_id) }, gate)),

    feedConvoy: ({ convoy_id }) =>
      asActivity(async () => {
        const before = await ledger.getConvoy(convoy_id);
        const idle = before.status === 'stopped' || before.status === 'completed';
        const { fed, held } = idle ? { fed: 0, held: 0 } : await deps.feeder.feed(convoy_id);
        const { total, closed } = before;
        if (!idle && total > 0 && closed === total) {
          const completed = await ledger.completeConvoy({ actor: runId.convoy(convoy_id) }, convoy_id);
          return { total, closed, fed, held, status: completed.status as 'completed' };
        }
        return { total, closed, fed, held, status: before.status as 'open' | 'running' | 'stopped' | 'completed' };
      }),
  };
}

/** A refusal of the other run keeps its code; everything else is trouble that passes. */
async function answerOf<T>(client: Client, ask: () => Promise<unknown>): Promise<T> {
  try {
    // The asked run may need this very worker: when the worker ends, the question ends with it, and is asked again by the next one.
    return (await client.connection.withAbortSignal(cancellationSignal(), ask)) as T;
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal === null) throw error;
    throw new TownError(refusal.code as TownError['code'], refusal.message, { cause: error });
  }
}
