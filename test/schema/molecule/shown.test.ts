import type { Molecule } from '../../../schema/molecule/molecule';
import { moleculeRow, stepRow } from '../../../schema/molecule/rows';
import { isOver, mayBegin } from '../../../schema/molecule/shown';
import { closed, granted, hooked, inputOf, lost, play, step } from '../../support/play';

const one = inputOf([step('a')]);
const gate = { kind: 'human', prompt: '', timeoutMs: null } as const;
const cancelled = { type: 'molecule_cancelled', reason: '', by: 'ada' } as const;

it.each<[string, Molecule, boolean]>([
  ['running', play(one), false],
  ['paused', play(one, { type: 'molecule_paused', reason: '', by: 'ada' }), false],
  ['completed', play(one, closed(0), { type: 'molecule_finished', outcome: 'done' }), true],
  ['failed', play(one, { type: 'molecule_finished', outcome: 'failed' }), true],
  ['cancelled', play(one, cancelled), true],
  ['cancelled', play(one, { type: 'molecule_paused', reason: '', by: 'ada' }, cancelled), true],
  ['refused', play(one, { type: 'molecule_refused', reason: 'retired' }), true],
])('a molecule that is shown as %s is over or not', (status, molecule, over) => {
  expect(moleculeRow(molecule).status).toBe(status);
  expect(isOver(status)).toBe(over);
});

it.each<[string, string | null, Molecule, boolean]>([
  ['waiting', null, play(inputOf([step('a', { needs: ['b'] }), step('b')])), false],
  ['gated', null, play(inputOf([step('a', { gate })])), false],
  ['ready', null, play(one), true],
  ['ready', null, play(one, granted(), hooked(0), lost(0)), true],
  ['hooked', null, play(one, granted(), hooked(0)), false],
  ['closed', 'done', play(one, closed(0)), false],
  ['closed', 'skipped', play(one, closed(0, { outcome: 'skipped' })), false],
  ['closed', 'failed', play(one, closed(0, { outcome: 'failed' })), true],
])('a step that is shown as %s, %s may be begun again or not', (status, outcome, molecule, may) => {
  const row = stepRow(molecule, 0);
  expect(row).toMatchObject({ status, outcome });
  expect(mayBegin(row)).toBe(may);
});
