/* A molecule in which much is in flight at once: branches side by side, a loop, a fan-out and a timer. Each step notes itself once. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { MoleculeView } from '../../schema/views';
import { type DrivenTown, stepOf } from '../demo/driven-town';
import { RECORD, RIG } from './chain';

const work = (output: string) => RECORD.replace('record\n', `record\noutput ${output}\n`);

const BRANCHES = `formula = "branches"
title = "Much at once"

${['a', 'b', 'c']
  .flatMap((branch) =>
    [1, 2, 3].map(
      (number) => `[[steps]]
id = "${branch}${number}"
needs = [${number === 1 ? '' : `"${branch}${number - 1}"`}]
${RECORD}`,
    ),
  )
  .join('\n')}
[[steps]]
id = "rounds"
[steps.loop]
until = "look.output.round >= 3"
max = 5
[[steps.loop.body]]
id = "try"
${RECORD}
[[steps.loop.body]]
id = "look"
needs = ["try"]
${work('{"round": {index}}')}
[[steps]]
id = "list"
${work('{"items": ["x", "y", "z"]}')}
[steps.on_complete]
for_each = "output.items"
bond = "branches-item"
vars = { name = "{item}" }

[[steps]]
id = "gather"
needs = ["list"]
waits_for = "all-children"
${RECORD}
[[steps]]
id = "later"
gate = { type = "timer", duration = "5s" }
${RECORD}
[[steps]]
id = "end"
needs = ["a3", "b3", "c3", "rounds", "gather", "later"]
${RECORD}`;

const ITEM = `formula = "branches-item"

[vars.name]
required = true

[[steps]]
id = "begin"
title = "Begin {{name}}"
${RECORD}
[[steps]]
id = "finish"
title = "Finish {{name}}"
needs = ["begin"]
${RECORD}`;

/** Branches, rounds of two, a list with items of two, and four single ones. */
export const WORKED_ON = 3 * 3 + 3 * 2 + 1 + 3 * 2 + 3;

/** Pours it onto the rig. Answers the molecule's id. */
export async function pourBranches(town: DrivenTown): Promise<string> {
  writeFileSync(join(town.root, 'formulas', 'branches.formula.toml'), BRANCHES);
  writeFileSync(join(town.root, 'formulas', 'branches-item.formula.toml'), ITEM);
  const poured = await town.json<{ molecule_id: string }>('molecule', 'pour', 'branches', '--on', RIG);
  return poured.molecule_id;
}

/** What is not exactly once: closings of every step; receipts and notes of each step that somebody works on. */
export async function branchFaults(town: DrivenTown, molecule: MoleculeView): Promise<string[]> {
  const events = await town.trail(molecule.id);
  const own = town.effects().filter((effect) => effect.molecule === molecule.id && effect.kind === 'record');
  const count = (names: readonly string[], step: string) => names.filter((name) => name === step).length;
  const stepsOf = (type: string) => events.filter((event) => event.type === type).map(stepOf);
  const [closings, receipts] = [stepsOf('step_closed'), stepsOf('step_receipt_written')];
  const notes = own.map(({ step }) => step);
  const faults: string[] = [];
  for (const { step } of molecule.steps) {
    // Nobody works on a loop itself.
    const times = step === 'rounds' ? 0 : 1;
    if (count(closings, step) !== 1) faults.push(`closings of ${step}: ${count(closings, step)}`);
    if (count(receipts, step) !== times) faults.push(`receipts of ${step}: ${count(receipts, step)}`);
    if (count(notes, step) !== times) faults.push(`notes of ${step}: ${count(notes, step)}`);
  }
  if (notes.length !== WORKED_ON) faults.push(`${notes.length} notes, and there should be ${WORKED_ON}`);
  if (molecule.status !== 'completed') faults.push(`the molecule is ${molecule.status}`);
  return faults;
}
