/* A town, with one agent unless more are asked for, and a chain of dependent steps: the moves of the towers of Hanoi, each of which notes itself once. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { MoleculeView } from '../../schema/views';
import { DrivenTown, NODE, stepOf, WORKER_PROGRAM } from '../demo/driven-town';
import { until } from '../support/until';
import { say } from './figures';

export const RIG = 'hanoi';

/** A fresh town that runs, with an empty repository as its rig; it is taken down and removed afterwards. `prepare` gets its folder before
 *  anything is in it, and answers how to undo that. */
export async function withTown<T>(
  worker: Readonly<Record<string, string>>,
  work: (town: DrivenTown) => Promise<T>,
  prepare: (root: string) => () => void = () => () => undefined,
  workers = 1,
): Promise<T> {
  const folder = realpathSync(mkdtempSync(join(tmpdir(), 'town-bench-')));
  const town = new DrivenTown(join(folder, 'town'));
  mkdirSync(town.root);
  const undo = prepare(town.root);
  try {
    await town.json('install', town.root, '--demo', '--name', 'bench');
    await town.up();
    const repository = join(folder, 'rig');
    mkdirSync(repository);
    const git = (...words: string[]) => execFileSync('git', words, { cwd: repository });
    git('init', '--quiet', '--initial-branch=main');
    writeFileSync(join(repository, 'README'), 'Moves of discs.\n');
    git('add', '--all');
    git('-c', 'user.name=bench', '-c', 'user.email=bench@town.invalid', 'commit', '--quiet', '-m', 'Start');
    const env = Object.entries({ WORKER_EFFECTS: town.effectsFile, ...worker });
    const flags = env.flatMap(([name, value]) => ['--env', `${name}=${value}`]);
    await town.json('rig', 'add', RIG, repository, '--workers', String(workers), ...flags, '--', NODE, WORKER_PROGRAM);
    const answer = await work(town);
    const left = await town.down();
    if (left.length > 0) throw new Error(`left behind: ${left.join('; ')}`);
    return answer;
  } finally {
    await town.killEverything();
    undo();
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Pours the chain of `discs` discs onto the rig's one worker. Answers the molecule's id. */
export async function pourChain(town: DrivenTown, discs: number): Promise<string> {
  writeFileSync(join(town.root, 'formulas', `hanoi-${discs}.formula.toml`), hanoiFormula(discs));
  const poured = await town.json<{ molecule_id: string }>('molecule', 'pour', `hanoi-${discs}`, '--on', RIG);
  return poured.molecule_id;
}

/** Looking costs the town time that the chain is measured by. */
const LOOK_MS = 1_000;

/** Waits until the molecule has ended. */
export async function chainEnd(town: DrivenTown, id: string, timeoutMs: number): Promise<MoleculeView> {
  const ended = async () => {
    const { code, stdout } = await town.run('molecule', 'show', id, '--json');
    const molecule = code === 0 ? (JSON.parse(stdout) as MoleculeView) : null;
    if (molecule?.attention != null) throw new Error(`${id} asks for attention: ${molecule.attention}`);
    return molecule !== null && molecule.status !== 'running' ? molecule : null;
  };
  const molecule = await until(ended, `the end of ${id}`, timeoutMs, LOOK_MS);
  say(`${id} is ${molecule.status}: ${molecule.steps_closed} of ${molecule.steps_total}`);
  return molecule;
}

/** What is not exactly once: closings, receipts, and the notes that the session's program itself made. */
export async function chainFaults(town: DrivenTown, molecule: MoleculeView): Promise<string[]> {
  const events = await town.trail(molecule.id);
  const faults: string[] = [];
  const tally = (what: string, names: readonly string[]) => {
    const counts = new Map<string, number>();
    for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
    for (const { step } of molecule.steps) {
      const count = counts.get(step) ?? 0;
      if (count !== 1) faults.push(`${what} of ${step}: ${count}`);
    }
  };
  const stepsOf = (type: string) => events.filter((event) => event.type === type).map(stepOf);
  tally('receipts', stepsOf('step_receipt_written'));
  tally('closings', stepsOf('step_closed'));
  const own = town.effects().filter((effect) => effect.molecule === molecule.id);
  const recorded = own.filter(({ kind }) => kind === 'record');
  tally(
    'notes',
    recorded.map(({ step }) => step),
  );
  if (molecule.status !== 'completed') faults.push(`the molecule is ${molecule.status}`);
  if (recorded.some(({ step }, index) => step !== molecule.steps[index]?.step)) faults.push('notes are out of order');
  return faults;
}

export function hanoiFormula(discs: number): string {
  const titles = moves(discs, 'A', 'C', 'B').map(([disc, from, to]) => `Disc ${disc} from ${from} to ${to}`);
  return chainFormula(`hanoi-${discs}`, titles);
}

/** Steps that each need the one before and note themselves. */
export function chainFormula(name: string, titles: readonly string[]): string {
  const steps = titles.map(
    (title, index) => `[[steps]]
id = "m${index + 1}"
title = "${title}"
needs = [${index === 0 ? '' : `"m${index}"`}]
${RECORD}`,
  );
  return `formula = "${name}"\n\n${steps.join('\n')}`;
}

/** What a step's program is told: to note the step. */
export const RECORD = `instructions = """
\`\`\`work
record
\`\`\`
"""
`;

type Move = readonly [disc: number, from: string, to: string];

function moves(disc: number, from: string, to: string, over: string): Move[] {
  if (disc === 0) return [];
  return [...moves(disc - 1, from, over, to), [disc, from, to], ...moves(disc - 1, over, to, from)];
}
