import type { StepFlow } from './flow';
import { conditionText, describeGate } from './flow-text';
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

function groupsOf(recipe: Recipe): (readonly [string, readonly RecipeStep[]])[] {
  return Object.entries(recipe.groups ?? {}).map(([name, steps]) => [`${name}/`, steps] as const);
}

function stepLine({ id, needs, gate, checks, flow, parallel }: RecipeStep): string {
  const notes = [
    ...(parallel ? [] : ['in sequence']),
    ...(gate === null ? [] : [`gate: ${describeGate(gate)}`]),
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
