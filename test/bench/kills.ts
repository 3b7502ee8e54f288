import { setTimeout as sleep } from 'node:timers/promises';
import { killProcess, type DrivenTown } from '../demo/driven-town';
import { until } from '../support/until';
import type { Effect } from '../support/worker-program';
import { say } from './figures';

export const KILL_KINDS = ['session', 'host', 'everything'] as const;
export type KillKind = (typeof KILL_KINDS)[number];

/** Longest time until the same step advances again, in ms; for `everything` it counts from the start of `town up`. */
export const LIMIT_MS: Readonly<Record<KillKind, number>> = { session: 3_000, host: 13_000, everything: 30_000 };

/** Longer than the pause before a step's action, so that a kill may come at any point of a step. */
const AIM_MS = 400;

export interface Recovery {
  readonly ms: number;
  /** The step had begun and begins again; otherwise the kill came between two steps. */
  readonly sameStep: boolean;
}

/**
 * Kills at a random point of whatever step is being done, and waits until work advances again: a new incarnation begins the step, or,
 * after the death of the host, the surviving session closes one.
 */
export async function killOnce(town: DrivenTown, kind: KillKind): Promise<Recovery> {
  // Two closings between kills: the same step is not killed until it counts as stuck.
  const start = Date.now();
  const closings = () => town.effects().filter((effect) => effect.kind === 'close' && effect.at >= start);
  await until(() => closings().length >= 2, 'two closings', 60_000);
  await sleep(Math.random() * AIM_MS);
  const current = town.effects().findLast((effect) => effect.kind === 'begin');
  if (current === undefined) throw new Error('no step is being done');
  const killedAt = await kill(town, kind, current.pid);
  // What the host answered before it died may be read after that.
  const since = kind === 'host' ? Date.now() : killedAt;
  const advances = (effect: Effect) =>
    effect.at >= since &&
    (kind === 'host' ? effect.kind === 'close' : effect.kind === 'begin' && effect.incarnation > current.incarnation);
  const again = await town.effect(advances, `work after the death of the ${kind}`, 120_000);
  const ms = again.at - killedAt;
  say(`${kind} killed in ${current.step}, on with ${again.step} after ${ms} ms, incarnation ${again.incarnation}`);
  return { ms, sameStep: again.step === current.step };
}

/** Answers the moment from which recovery counts. */
async function kill(town: DrivenTown, kind: KillKind, session: number): Promise<number> {
  if (kind === 'everything') {
    await town.killEverything();
    const at = Date.now();
    await town.up();
    return at;
  }
  if (kind === 'session') {
    killProcess(session);
    return Date.now();
  }
  const victim = await town.killService();
  const at = Date.now();
  await until(() => town.servicePid() !== victim, 'the notice that the service is gone', 30_000);
  return at;
}
