import { applyEvent, type AgentEvent, findItem, hookRow, nextGrant, positionOf } from '../../../schema/agent/agent';
import { AMBER, playHook, START } from '../../support/play';

const assigned = (molecule_id: string, priority = 2, lane = 0): AgentEvent => ({
  type: 'hook_assigned',
  molecule_id,
  lane,
  priority,
});
const granted = (molecule_id: string, lane = 0): AgentEvent => ({ type: 'hook_granted', molecule_id, lane });
const released = (molecule_id: string, lane = 0): AgentEvent => ({
  type: 'hook_released',
  molecule_id,
  lane,
  reason: 'done',
});
const requeued = (molecule_id: string, lane = 0): AgentEvent => ({
  type: 'hook_requeued',
  molecule_id,
  lane,
  reason: 'later',
});
const at = (molecule_id: string, lane = 0) => ({ molecule_id, lane });

describe('the hook of an agent', () => {
  it('opens empty and active', () => {
    expect(playHook()).toEqual({ version: 1, address: AMBER, status: 'active', items: [], seq: 1 });
    expect(nextGrant(playHook())).toBeNull();
  });

  it('grants the more urgent first, then the one that came first', () => {
    const hook = playHook(assigned('m-1'), 1, assigned('m-2', 0), 1, assigned('m-3', 0));
    expect(nextGrant(hook)?.molecule_id).toBe('m-2');
    expect(['m-2', 'm-3', 'm-1'].map((id) => positionOf(hook, at(id)))).toEqual([1, 2, 3]);
  });

  it('grants to one at a time, whatever comes later', () => {
    const hook = playHook(assigned('m-1'), granted('m-1'), assigned('m-2', 0));
    expect(nextGrant(hook)).toBeNull();
    expect(findItem(hook, at('m-1'))).toMatchObject({ state: 'granted', since: START });
    expect(positionOf(hook, at('m-1'))).toBe(0);
    expect(positionOf(hook, at('m-2'))).toBe(1);
  });

  it('tells lanes of one molecule apart', () => {
    const hook = playHook(assigned('m-1'), assigned('m-1', 2, 1), granted('m-1', 1));
    expect(findItem(hook, at('m-1', 0))?.state).toBe('waiting');
    expect(findItem(hook, at('m-1', 1))?.state).toBe('granted');
    expect(findItem(hook, at('m-1', 2))).toBeNull();
  });

  it('goes to the next after a release', () => {
    const hook = playHook(assigned('m-1'), granted('m-1'), assigned('m-2'), released('m-1'));
    expect(nextGrant(hook)?.molecule_id).toBe('m-2');
    expect(findItem(hook, at('m-1'))).toBeNull();
  });

  it('requeued work goes behind that of its priority, even at the same time, and before less urgent work', () => {
    const hook = playHook(assigned('m-1'), granted('m-1'), assigned('m-2'), assigned('m-3', 3), requeued('m-1'));
    expect(['m-2', 'm-1', 'm-3'].map((id) => positionOf(hook, at(id)))).toEqual([1, 2, 3]);
    expect(nextGrant(hook)?.molecule_id).toBe('m-2');
  });

  it.each<[string, AgentEvent]>([
    ['grant', granted('m-9')],
    ['release', released('m-9')],
    ['requeue', requeued('m-9')],
  ])('a %s of work that is not there changes nothing', (_name, event) => {
    const hook = playHook(assigned('m-1'));
    expect(applyEvent(hook, { seq: 3, at: START, event })).toEqual({ ...hook, seq: 3 });
  });

  it.each<[string, AgentEvent[], string, boolean]>([
    ['paused', [{ type: 'agent_paused', reason: '' }], 'paused', false],
    [
      'resumed',
      [
        { type: 'agent_paused', reason: '' },
        { type: 'agent_resumed', reason: '' },
      ],
      'active',
      true,
    ],
    ['retired', [{ type: 'agent_retired', reason: '' }], 'retired', false],
  ])('%s: grants %#', (_name, events, status, grants) => {
    const hook = playHook(assigned('m-1'), ...events);
    expect(hook.status).toBe(status);
    expect(nextGrant(hook) !== null).toBe(grants);
    expect(hook.items).toHaveLength(1);
  });

  it('is shown with the holder of the grant', () => {
    const hook = playHook(assigned('m-1'));
    expect(hookRow(hook)).toEqual({ agent_id: AMBER, status: 'active', granted_molecule_id: null, items: hook.items });
    expect(hookRow(playHook(assigned('m-1'), granted('m-1'))).granted_molecule_id).toBe('m-1');
  });

  it('throws on what can only be a bug', () => {
    expect(() => applyEvent(null, { seq: 1, at: START, event: granted('m-1') })).toThrow('first event of a hook');
    expect(() => playHook({ type: 'sung' } as never)).toThrow('unexpected');
  });

  it('is plain JSON', () => {
    const hook = playHook(assigned('m-1'), granted('m-1'));
    expect(JSON.parse(JSON.stringify(hook))).toEqual(hook);
  });
});
