import type { JsonObject } from '../../../schema/json';
import { applyEvent } from '../../../schema/molecule/apply';
import type { Molecule, MoleculeEvent } from '../../../schema/molecule/molecule';
import { eventOfRow, runEventOf, stepRow } from '../../../schema/molecule/rows';
import type { RunEvent } from '../../../schema/runs';
import { chain, closed, granted, hooked, inputOf, lost, START, step } from '../../support/play';

/** The stored rows of a molecule's run, and the molecule that they lead to. */
function stored(input: Parameters<typeof inputOf>, ...events: readonly MoleculeEvent[]): [RunEvent[], Molecule] {
  let molecule: Molecule | null = null;
  const rows: RunEvent[] = [];
  for (const event of [{ type: 'molecule_poured', input: inputOf(...input) } as const, ...events]) {
    const recorded = { seq: rows.length + 1, at: START + rows.length, event };
    molecule = applyEvent(molecule, recorded);
    rows.push(runEventOf(recorded, molecule));
  }
  return [rows, molecule!];
}

const fold = (rows: readonly RunEvent[]) =>
  rows.reduce<Molecule | null>((before, row) => applyEvent(before, eventOfRow(row)), null);

describe('stored events of a molecule', () => {
  const chained = [chain('a', 'b')] as const;
  const worked = [granted(), hooked(0), lost(0), hooked(0, { dispatch: 2 }), closed(0), hooked(1)];

  it('name the step, with its position beside it', () => {
    const [rows] = stored([...chained], ...worked);
    const steps = rows.map(({ payload }) => [payload['step'], payload['position'], payload['step_id']]);
    const a = ['a', 0, undefined];
    expect(steps).toEqual([[], [], a, a, a, a, ['b', 1, undefined]].map((row) => [row[0], row[1], row[2]]));
  });

  it('lead to the same molecule again', () => {
    const gated = [step('a', { gate: { kind: 'human', prompt: '', timeoutMs: null } })];
    for (const [rows, molecule] of [
      stored([...chained], ...worked),
      stored([gated], { type: 'gate_opened', step: 0, by: 'ada', reason: '' }, granted()),
    ])
      expect(fold(rows)).toEqual(molecule);
  });

  it('lead to it as well when they were written with positions as steps', () => {
    const [rows, molecule] = stored([...chained], ...worked);
    const old = rows.map((row) => {
      const { position, step: name, ...rest } = row.payload;
      const payload: JsonObject = position === undefined ? row.payload : { ...rest, step: position, step_id: name! };
      return { ...row, payload };
    });
    expect(old[2]!.payload).toMatchObject({ step: 0, step_id: 'a' });
    expect(fold(old)).toEqual(molecule);
    // A run that goes on under the new version leaves rows of both kinds.
    expect(fold([...old.slice(0, 4), ...rows.slice(4)])).toEqual(molecule);
  });
});

describe('the attempt of a step', () => {
  const attemptAfter = (...events: readonly MoleculeEvent[]) => {
    const [, molecule] = stored([[step('a')]], granted(), ...events);
    return stepRow(molecule, 0).attempt;
  };
  const again = (attempt: number, dispatch: number) => hooked(0, { attempt, dispatch });

  it('is none until it is dispatched', () => {
    expect(attemptAfter()).toBe(0);
    expect(attemptAfter(closed(0, { outcome: 'skipped', agent: null }))).toBe(0);
  });

  it('stays the one that was begun when a loss does not count', () => {
    const hostLost = (dispatch: number) => lost(0, { reason: 'HOST_LOST', counted: false, dispatch });
    expect(attemptAfter(again(1, 1), hostLost(1))).toBe(1);
    expect(attemptAfter(again(1, 1), hostLost(1), again(1, 2))).toBe(1);
    expect(attemptAfter(again(1, 1), lost(0), again(2, 2), hostLost(2))).toBe(2);
    expect(attemptAfter(again(1, 1), { type: 'lane_revoked', lane: 0, reason: 'requeued' })).toBe(1);
  });

  it('is one more only when the next attempt has begun', () => {
    expect(attemptAfter(again(1, 1), lost(0))).toBe(1);
    expect(attemptAfter(again(1, 1), lost(0), again(2, 2))).toBe(2);
    expect(attemptAfter(again(1, 1), lost(0), again(2, 2), closed(0))).toBe(2);
  });

  it('is the last one when a person resolves a stuck step', () => {
    const tries = [1, 2, 3, 4, 5].flatMap((n) => [again(n, n), lost(0, { dispatch: n })]);
    expect(attemptAfter(...tries)).toBe(5);
    expect(attemptAfter(...tries, closed(0, { outcome: 'skipped', agent: null }))).toBe(5);
  });
});
