import { filesBelow, read } from './sources';

/** Activities that act on the world outside of the town's own records; each needs the policy decision that allowed it. */
const ACTING = ['performStep', 'askGrant', 'askSlot', 'prepareWorker', 'finishMolecule'];
/** What the others do, so that a new activity has to be put on one side or the other. */
const HARMLESS: Readonly<Record<string, string>> = {
  project: 'writes rows that can be rebuilt',
  releaseGrant: 'gives back',
  freeSlot: 'gives back',
  rigLimit: 'reads',
  lookAtGate: 'reads',
  lookForFacts: 'reads',
  escalateGate: 'writes a mail to the people of the town',
  recordHolder: 'notes in the ledger what the grant has decided',
  feedConvoy: 'asks for a decision for each task that it slings',
};

const contract = read('schema/activities.ts');
const types = ['schema/runs.ts', 'schema/activities.ts'].map(read).join('\n');
const workflows = filesBelow('workflows', '.ts').map(read).join('\n');

describe('no side effect without a decision', () => {
  const activities = new Map(
    [...contract.matchAll(/^ {2}(\w+)\(([\s\S]*?)\): Promise</gm)].map((match) => [match[1]!, match[2]!]),
  );

  it('every activity is known as acting or harmless', () => {
    expect([...activities.keys()].toSorted()).toEqual([...ACTING, ...Object.keys(HARMLESS)].toSorted());
  });

  it.each(ACTING)('%s takes a decision id', (name) => {
    const input = activities.get(name) ?? '';
    const bodies = [input, ...[...input.matchAll(/\b[A-Z]\w+\b/g)].map(([type]) => bodyOf(type))];
    expect(bodies.join('\n')).toMatch(/\bdecision_id: string;/);
  });

  it.each(ACTING)('%s is given one by every workflow that calls it', (name) => {
    const calls = [...workflows.matchAll(new RegExp(`\\.${name}\\(`, 'g'))].map(({ index }) => argumentsAt(index));
    expect(calls.length).toBeGreaterThan(0);
    for (const call of calls) expect(call).toMatch(/\bdecision_id\b/);
  });

  it('the decision of a molecule is part of what it starts with', () => {
    expect(bodyOf('MoleculeInput')).toMatch(/\bdecision_id: string;/);
  });
});

function bodyOf(type: string): string {
  return new RegExp(`export interface ${type} \\{([\\s\\S]*?)\\n\\}`).exec(types)?.[1] ?? '';
}

/** The text between the parentheses of the call that begins at `start`. */
function argumentsAt(start: number): string {
  let depth = 0;
  for (let index = workflows.indexOf('(', start); index < workflows.length; index += 1) {
    if (workflows[index] === '(') depth += 1;
    if (workflows[index] === ')') depth -= 1;
    if (depth === 0) return workflows.slice(start, index);
  }
  throw new Error('a call without end');
}
