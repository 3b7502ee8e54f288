import fc from 'fast-check';
import {
  applyEvent,
  type DispatchEvent,
  dispatchRow,
  findItem,
  nextWorker,
  waitingBefore,
} from '../../../schema/dispatch/dispatch';
import { AMBER, BASALT, playQueue, START } from '../../support/play';

const enqueued = (molecule_id: string, priority = 2, lane = 0): DispatchEvent => ({
  type: 'lane_enqueued',
  decision_id: 'dec-1',
  molecule_id,
  lane,
  priority,
});
const assigned = (molecule_id: string, agent = AMBER, lane = 0): DispatchEvent => ({
  type: 'worker_assigned',
  molecule_id,
  lane,
  agent,
});
const freed = (molecule_id: string, lane = 0): DispatchEvent => ({ type: 'worker_freed', molecule_id, lane });
const at = (molecule_id: string, lane = 0) => ({ molecule_id, lane });

describe('the dispatch queue of a rig', () => {
  it('opens empty', () => {
    expect(playQueue(2)).toEqual({ version: 1, rig_id: 'acme', workers_max: 2, items: [], seq: 1 });
    expect(nextWorker(playQueue(2))).toBeNull();
  });

  it('gives the first free name to the most urgent, then to the one that came first', () => {
    const queue = playQueue(2, enqueued('m-1'), 1, enqueued('m-2', 0), 1, enqueued('m-3', 0));
    expect(nextWorker(queue)).toMatchObject({ item: { molecule_id: 'm-2' }, agent: AMBER });
    expect(['m-2', 'm-3', 'm-1'].map((id) => waitingBefore(queue, at(id)))).toEqual([0, 1, 2]);
    expect(waitingBefore(queue, at('m-9'))).toBe(-1);
  });

  it('never has more workers than the limit, and follows its change', () => {
    const full = playQueue(1, enqueued('m-1'), assigned('m-1'), enqueued('m-2'));
    expect(nextWorker(full)).toBeNull();
    const wider = applyEvent(full, { seq: 5, at: START, event: { type: 'limit_changed', workers_max: 2 } });
    expect(nextWorker(wider)).toMatchObject({ item: { molecule_id: 'm-2' }, agent: BASALT });
    expect(nextWorker(playQueue(0, enqueued('m-1')))).toBeNull();
  });

  it('uses a name again once it is free', () => {
    const queue = playQueue(
      3,
      enqueued('m-1'),
      assigned('m-1'),
      enqueued('m-2'),
      assigned('m-2', BASALT),
      freed('m-1'),
    );
    expect(findItem(queue, at('m-1'))).toBeNull();
    expect(nextWorker({ ...queue, items: [...queue.items, ...playQueue(1, enqueued('m-3')).items] })?.agent).toBe(
      AMBER,
    );
  });

  it('tells lanes of one molecule apart', () => {
    const queue = playQueue(3, enqueued('m-1'), enqueued('m-1', 2, 1), assigned('m-1', BASALT, 1));
    expect(findItem(queue, at('m-1', 0))).toMatchObject({ state: 'waiting', agent_id: null });
    expect(findItem(queue, at('m-1', 1))).toMatchObject({ state: 'busy', agent_id: BASALT });
  });

  it.each<[string, DispatchEvent]>([
    ['assignment', assigned('m-9')],
    ['release', freed('m-9')],
  ])('an %s of a lane that is not there changes nothing', (_name, event) => {
    const queue = playQueue(2, enqueued('m-1'));
    expect(applyEvent(queue, { seq: 3, at: START, event })).toEqual({ ...queue, seq: 3 });
  });

  it('numbers its names when they run out', () => {
    let queue = playQueue(60);
    for (let index = 0; index < 30; index += 1) {
      queue = applyEvent(queue, { seq: index, at: START, event: enqueued(`m-${index}`) });
      const next = nextWorker(queue)!;
      queue = applyEvent(queue, { seq: index, at: START, event: assigned(`m-${index}`, next.agent) });
    }
    const names = queue.items.map((item) => item.agent_id);
    expect(new Set(names).size).toBe(30);
    expect(names[26]).toBe('acme/polecats/amber-2');
  });

  it('holds its promises in any order of asks and releases', () => {
    const move = fc.record({ lane: fc.nat(6), free: fc.boolean(), limit: fc.option(fc.nat(4), { freq: 8 }) });
    fc.assert(
      fc.property(fc.array(move, { maxLength: 50 }), (moves) => {
        let queue = playQueue(2);
        const record = (event: DispatchEvent): void => {
          queue = applyEvent(queue, { seq: queue.seq + 1, at: START, event });
        };
        for (const { lane, free, limit } of moves) {
          if (limit !== null) record({ type: 'limit_changed', workers_max: limit });
          const present = findItem(queue, at('m', lane)) !== null;
          if (free && present) record(freed('m', lane));
          if (!free && !present) record(enqueued('m', 2, lane));
          for (let next = nextWorker(queue); next !== null; next = nextWorker(queue)) {
            const busyBefore = queue.items.filter((item) => item.state === 'busy');
            expect(busyBefore.length).toBeLessThan(queue.workers_max);
            expect(busyBefore.map((item) => item.agent_id)).not.toContain(next.agent);
            record(assigned('m', next.agent, next.item.lane));
          }
          const waits = queue.items.some((item) => item.state === 'waiting');
          const busy = queue.items.filter((item) => item.state === 'busy').length;
          expect(waits && busy < queue.workers_max).toBe(false);
        }
      }),
    );
  });

  it('is shown as it is', () => {
    const queue = playQueue(2, enqueued('m-1'));
    expect(dispatchRow(queue)).toEqual({ rig_id: 'acme', workers_max: 2, items: queue.items });
    expect(JSON.parse(JSON.stringify(queue))).toEqual(queue);
  });

  it('throws on what can only be a bug', () => {
    expect(() => applyEvent(null, { seq: 1, at: START, event: freed('m-1') })).toThrow('first event of a dispatcher');
    expect(() => playQueue(1, { type: 'sung' } as never)).toThrow('unexpected');
  });
});
