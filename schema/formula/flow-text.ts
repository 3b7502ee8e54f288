import { durationText } from './duration';
import type { Comparison, GateSpec, Operand, RunCondition } from './flow';

/** What steps wait for, in words for people: on pictures of formulas, in lists of gates and in escalations. */

/** In words, what a gate waits for. */
export function describeGate(gate: GateSpec): string {
  switch (gate.kind) {
    case 'human':
      return gate.approvers === undefined ? 'a person' : gate.approvers.join(' or ');
    case 'timer':
      return durationText(gate.durationMs);
    case 'task':
      return `task ${gate.task_id}`;
    case 'molecule':
      return `molecule ${gate.molecule_id}`;
    case 'ci_run':
      return `CI run ${gate.run}`;
    case 'pull_request':
      return `pull request ${gate.number}`;
    case 'mail':
      return `mail for ${gate.address}`;
    default:
      return conditionText(gate.when);
  }
}

/** A condition as its author could have written it. */
export function conditionText(condition: RunCondition): string {
  switch (condition.op) {
    case 'and':
    case 'or':
      if (condition.of.length === 0) return condition.op === 'and' ? 'always' : 'never';
      return condition.of
        .map((part) => (part.op === 'and' || part.op === 'or' ? `(${conditionText(part)})` : conditionText(part)))
        .join(` ${condition.op} `);
    case 'not':
      return `not (${conditionText(condition.of)})`;
    case 'compare':
      return `${operandText(condition.left)} ${condition.is} ${JSON.stringify(condition.right)}`;
    default: {
      const over = `${condition.deep ? 'descendants' : 'children'}(${condition.step}).${condition.op}(${conditionText(condition.where)})`;
      return condition.op === 'count' ? `${over} ${condition.is satisfies Comparison} ${condition.right}` : over;
    }
  }
}

function operandText(operand: Operand): string {
  switch (operand.of) {
    case 'status':
      return operand.step === '' ? 'status' : `${operand.step}.status`;
    case 'output':
      return [operand.step, 'output', ...operand.path].filter((part) => part !== '').join('.');
    case 'complete':
      return 'steps.complete';
    case 'file':
      return `file.exists('${operand.path}')`;
    default:
      return `env.${operand.name}`;
  }
}
