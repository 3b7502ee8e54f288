import type { Comparison, GateSpec, Operand, RunCondition, StepFlow } from './flow';
import type { Recipe, RecipeStep } from './recipe';

/** The order of a recipe as lines of text: what is needed stands before `→`, what a step does while it runs behind it. */
export function recipeText(recipe: Recipe): string {
  const lines = [`${recipe.formula} (${recipe.steps.length} ${recipe.steps.length === 1 ? 'step' : 'steps'})`];
  for (const step of recipe.steps) lines.push(`  ${stepLine(step)}`);
  for (const [name, steps] of Object.entries(recipe.groups ?? {})) {
    lines.push(`group ${name}`);
    for (const step of steps) lines.push(`  ${stepLine(step)}`);
  }
  return `${lines.join('\n')}\n`;
}

/** The same as a graph for the tools of Graphviz. */
export function recipeDot(recipe: Recipe): string {
  const lines = [`digraph ${quoted(recipe.formula)} {`, '  rankdir=LR;', '  node [shape=box];'];
  lines.push(...dotSteps(recipe.steps, ''));
  Object.entries(recipe.groups ?? {}).forEach(([name, steps], index) => {
    lines.push(`  subgraph cluster_${index} {`, `    label=${quoted(name)};`);
    lines.push(...dotSteps(steps, `${name}/`).map((line) => `  ${line}`), '  }');
  });
  for (const [prefix, steps] of [['', recipe.steps] as const, ...groupsOf(recipe)]) {
    for (const { id, flow } of steps) {
      for (const [label, group] of groupsUsed(flow)) {
        const first = recipe.groups?.[group]?.[0];
        if (first === undefined) continue;
        lines.push(
          `  ${quoted(prefix + id)} -> ${quoted(`${group}/${first.id}`)} [style=dashed,label=${quoted(label)}];`,
        );
      }
    }
  }
  return `${lines.join('\n')}\n}\n`;
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

export function gateText(gate: GateSpec): string {
  switch (gate.kind) {
    case 'human':
      return `a person${gate.approvers === undefined ? '' : ` (${gate.approvers.join(', ')})`}`;
    case 'timer':
      return `${gate.durationMs / 1_000} s`;
    case 'task':
      return `task ${gate.task_id}`;
    case 'molecule':
      return `molecule ${gate.molecule_id}`;
    case 'ci_run':
      return `CI run ${gate.run}`;
    case 'pull_request':
      return `pull request ${gate.number}`;
    case 'mail':
      return `mail to ${gate.address}`;
    default:
      return conditionText(gate.when);
  }
}

function groupsOf(recipe: Recipe): (readonly [string, readonly RecipeStep[]])[] {
  return Object.entries(recipe.groups ?? {}).map(([name, steps]) => [`${name}/`, steps] as const);
}

function stepLine({ id, needs, gate, checks, flow, parallel }: RecipeStep): string {
  const notes = [
    ...(parallel ? [] : ['in sequence']),
    ...(gate === null ? [] : [`gate: ${gateText(gate)}`]),
    ...(checks.length === 0 ? [] : [`checks: ${checks.map((check) => check.run).join('; ')}`]),
    ...(flow === undefined ? [] : flowNotes(flow)),
  ];
  const before = needs.length === 0 ? '' : `${needs.join(', ')} → `;
  return `${before}${id}${notes.length === 0 ? '' : `  [${notes.join(' | ')}]`}`;
}

function flowNotes({ when, waitsFor, loop, fanOut, retry, onFailure, contains }: StepFlow): string[] {
  return [
    ...(when === undefined ? [] : [`when ${conditionText(when)}`]),
    ...(waitsFor === undefined ? [] : [`waits for ${waitsFor.mode} of ${waitsFor.of}`]),
    ...(loop === undefined
      ? []
      : [`repeats ${loop.group} until ${conditionText(loop.until)}, at most ${loop.max} times`]),
    ...(fanOut === undefined ? [] : [`for each of output.${fanOut.path.join('.')}: ${fanOut.group}, ${fanOut.mode}`]),
    ...(retry === undefined ? [] : [`at most ${retry.attemptsMax} attempts, then ${retry.exhausted}`]),
    ...(onFailure === undefined
      ? []
      : [onFailure.kind === 'skip' ? 'skipped on failure' : `on failure: ${onFailure.group}`]),
    ...(contains === undefined ? [] : [`contains ${contains.join(', ')}`]),
  ];
}

function groupsUsed(flow: StepFlow | undefined): [string, string][] {
  return [
    ...(flow?.loop === undefined ? [] : [['repeats', flow.loop.group] as [string, string]]),
    ...(flow?.fanOut === undefined ? [] : [['for each', flow.fanOut.group] as [string, string]]),
    ...(flow?.onFailure?.kind === 'compensate' ? [['on failure', flow.onFailure.group] as [string, string]] : []),
  ];
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

function dotSteps(steps: readonly RecipeStep[], prefix: string): string[] {
  return steps.flatMap((step) => [
    `  ${quoted(prefix + step.id)} [label=${quoted(step.title === step.id ? step.id : `${step.id}\n${step.title}`)}${step.gate === null ? '' : ',peripheries=2'}];`,
    ...step.needs.map((need) => {
      const within = step.flow?.contains?.includes(need) === true ? ' [style=dotted]' : '';
      return `  ${quoted(prefix + need)} -> ${quoted(prefix + step.id)}${within};`;
    }),
    ...(step.flow?.waitsFor === undefined || step.needs.includes(step.flow.waitsFor.of)
      ? []
      : [`  ${quoted(prefix + step.flow.waitsFor.of)} -> ${quoted(prefix + step.id)} [style=dashed];`]),
  ]);
}

function quoted(text: string): string {
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')}"`;
}
