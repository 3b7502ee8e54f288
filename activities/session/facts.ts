import { existsSync, realpathSync } from 'node:fs';
import { isAbsolute, join, relative } from 'node:path';
import type { Receipt } from '../../schema/ledger';
import { pick } from '../../schema/molecule/output';
import type { Facts, StepResult, Wanted } from '../../schema/runs';

/** Only variables with this beginning are shown to molecules: the others are the host's own affair. */
const ENV_PREFIX = 'TOWN_VAR_';

/** What the molecule learns from a receipt: of the output only what it asked for, and the facts as they are now. */
export function resultOf(receipt: Receipt, wants: Wanted | undefined, worktree: string | null): StepResult {
  const { outcome, note, commit_id, incarnation, agent_id, output } = receipt;
  return {
    outcome,
    note,
    commit_id,
    incarnation,
    agent: agent_id,
    ...(wants === undefined || wants.outputs.length === 0 || output === null
      ? {}
      : { output: pick(output, wants.outputs) }),
    ...(wants === undefined || wants.files.length + wants.env.length === 0 ? {} : { facts: factsOf(wants, worktree) }),
  };
}

function factsOf({ files, env }: Wanted, worktree: string | null): Facts {
  return {
    files: Object.fromEntries(files.map((path) => [path, worktree !== null && isInside(worktree, path)])),
    env: envFacts(env),
  };
}

/** Those of the variables that are set in this process and may be shown. */
export function envFacts(names: readonly string[]): Facts['env'] {
  return Object.fromEntries(
    names.flatMap((name) => {
      const value = name.startsWith(ENV_PREFIX) ? process.env[name] : undefined;
      return value === undefined ? [] : [[name, value.slice(0, 1_000)]];
    }),
  );
}

/** Whether the path exists, and lies in the worktree also after its links were followed. */
function isInside(worktree: string, path: string): boolean {
  const whole = join(worktree, path);
  if (isAbsolute(path) || !existsSync(whole)) return false;
  const inside = relative(realpathSync(worktree), realpathSync(whole));
  return inside !== '..' && !inside.startsWith('../') && !isAbsolute(inside);
}
