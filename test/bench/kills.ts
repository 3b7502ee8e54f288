import { setTimeout as sleep } from 'node:timers/promises';
import { killProcess, until, type DrivenTown } from '../demo/driven-town';
import type { Effect } from '../support/worker-program';
import { say } from './figures';

export const KILL_KINDS = ['session', 'host', 'everything'] as const;
export type KillKind = (typeof KILL_KINDS)[number];

/** Longest time until the same step advances again, in ms; for `everything` it counts from the start of `town up`. */
export const LIMIT_MS: Readonly<Record<KillKind, number>> = { session: 3_000, host: 13_000, everything: 30_000 };

/** Longer than the pause before a step's action, so that a kill may come at any point of a step. */
const AIM_MS = 400;

/**
 * Kills at a random point of whatever step is being done, and answers after how many milliseconds work advances again: a new
 * incarnation begins the step, or, after the death of the host, the surviving session closes one.
 */
export async function killOnce(town: DrivenTown, kind: KillKind): Promise<number> {
  // Two closings between kills: the same step is not killed until it counts as stuck.
  const start = Date.now();
  const closings = () => town.effects().filter((effect) => effect.kind === 'close' && effect.at >= start);
  await until(() => (closings().length >= 2 ? true : null), 'two closings', 60_000);
  await sleep(Math.random() * AIM_MS);
  const current = town.effects().findLast((effect) => effect.kind === 'begin');
  if (current === undefined) throw new Error('no step is being done');
  let from = Date.now();
  if (kind === 'session') killProcess(current.pid);
  if (kind === 'host') killProcess(await serviceOf(town));
  if (kind === 'everything') {
    await town.killEverything();
    from = Date.now();
    await town.up();
  }
  const killedAt = from;
  const advances = (effect: Effect) =>
    effect.at >= killedAt &&
    (kind === 'host' ? effect.kind === 'close' : effect.kind === 'begin' && effect.incarnation > current.incarnation);
  const again = await town.effect(advances, `work after the death of the ${kind}`, 120_000);
  say(
    `${kind} killed in ${current.step}, on with ${again.step} after ${again.at - killedAt} ms, incarnation ${again.incarnation}`,
  );
  return again.at - killedAt;
}

async function serviceOf(town: DrivenTown): Promise<number> {
  return await until(() => town.servicePid(), 'the service', 30_000);
}
