import { bulkVerbs } from './verbs/bulk';
import { dependencyVerbs } from './verbs/dependencies';
import { findingVerbs } from './verbs/finding';
import { exchangeVerbs } from './verbs/exchange';
import { formulaVerbs } from './verbs/formulas';
import { graphVerbs } from './verbs/graph';
import { overviewVerbs } from './verbs/overview';
import { moleculeVerbs } from './verbs/molecules';
import { readyVerbs } from './verbs/ready';
import { taskVerbs } from './verbs/tasks';
import { townVerbs } from './verbs/town';
import { whyVerbs } from './verbs/why';
import { wispVerbs } from './verbs/wisps';
import { workVerbs } from './verbs/work';
import type { Verb } from './verb';

/** Everything that can be asked of a town, once. What starts and stops a town is in cli/commands. */
export const VERBS: readonly Verb[] = [
  ...taskVerbs,
  ...dependencyVerbs,
  ...readyVerbs,
  ...whyVerbs,
  ...graphVerbs,
  ...overviewVerbs,
  ...findingVerbs,
  ...bulkVerbs,
  ...wispVerbs,
  ...formulaVerbs,
  ...moleculeVerbs,
  ...workVerbs,
  ...townVerbs,
  ...exchangeVerbs,
];

const byWords = new Map(VERBS.map((verb) => [verb.words.join(' '), verb]));

/** The verb that the words begin with, and what follows it; null when there is none. Two words go before one. */
export function findVerb(argv: readonly string[]): { readonly verb: Verb; readonly rest: readonly string[] } | null {
  for (const count of [2, 1]) {
    const verb = argv.length < count ? undefined : byWords.get(argv.slice(0, count).join(' '));
    if (verb !== undefined) return { verb, rest: argv.slice(count) };
  }
  return null;
}
