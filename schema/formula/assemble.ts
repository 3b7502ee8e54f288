import { convoySteps } from './convoy';
import { mapTexts, type Advice, type Expansion, type Formula, type FormulaStep } from './formula';
import { within, type Place, type ProblemList } from './problems';

export const STEPS_MAX = 5_000;
const EXPANSION_DEPTH_MAX = 5;
const EXTENDS_MAX = 20;

interface Assembling {
  /** A formula by name, already read; null when there is none. */
  readonly resolve: (name: string) => Formula | null;
  readonly problems: ProblemList;
  /** Default: 5,000. */
  readonly stepsMax?: number;
}

/** Joins a formula with its parents: their variables and steps come first, and what the child names again replaces theirs in place. */
export function joinParents(formula: Formula, assembling: Assembling, heirs: readonly string[] = []): Formula {
  const line = [...heirs, formula.name];
  const at = within({ source: formula.source, path: '' }, 'extends');
  return formula.extends
    .toReversed()
    .flatMap((name) => {
      const parent = line.length > EXTENDS_MAX || line.includes(name) ? 'cycle' : assembling.resolve(name);
      if (parent === 'cycle') {
        const message = `formulas extend each other: ${[...line, name].join(' → ')}`;
        assembling.problems.add({
          code: 'FORMULA_EXTENDS_CYCLE',
          at,
          message,
          fix: 'Remove one of these names from extends.',
        });
        return [];
      }
      if (parent === null) noteMissing({ name, at }, assembling.problems);
      return parent === null ? [] : [joinParents(parent, assembling, line)];
    })
    .reduce((child, parent) => inherit(child, parent), formula);
}

/**
 * The flat list of steps a formula stands for, needs between them complete: loops unrolled, advice and expansions applied,
 * children lifted out. Takes a formula that `joinParents` made. @returns null when there would be too many.
 */
export function assembleSteps(formula: Formula, assembling: Assembling): FormulaStep[] | null {
  const limits = new Budget(assembling.stepsMax ?? STEPS_MAX);
  let steps = [...formula.steps, ...(formula.convoy === null ? [] : convoySteps(formula, formula.convoy))];
  steps = unroll(named(steps), limits);
  for (const advice of formula.advice) steps = advise(steps, advice, limits);
  steps = expandInline(steps, { ...assembling, limits }, 0);
  for (const expansion of formula.expansions) steps = expandMatching(steps, expansion, { ...assembling, limits });
  for (const name of formula.aspects) {
    const aspect = assembling.resolve(name);
    if (aspect === null) {
      noteMissing({ name, at: { source: formula.source, path: 'compose.aspects' } }, assembling.problems);
    }
    for (const advice of aspect?.advice ?? []) steps = advise(steps, advice, limits);
  }
  if (!limits.spent && limits.allows(steps.length)) return steps;
  assembling.problems.add({
    code: 'FORMULA_TOO_BIG',
    at: { source: formula.source, path: 'steps' },
    message: `the formula has more than ${limits.max} steps`,
    fix: 'Split it into several formulas.',
  });
  return null;
}

/** Stops every multiplication of steps before it happens: nested loops and expansions could make billions. */
class Budget {
  readonly max: number;
  spent = false;

  constructor(max: number) {
    this.max = max;
  }

  allows(steps: number): boolean {
    if (steps > this.max) this.spent = true;
    return !this.spent;
  }
}

function noteMissing(missing: { readonly name: string; readonly at: Place }, problems: ProblemList): void {
  problems.add({
    code: 'FORMULA_UNKNOWN_FORMULA',
    at: missing.at,
    message: `the formula ${missing.name} is not there, or is not valid`,
    fix: `Add a formula named ${missing.name}, or correct the name.`,
  });
}

function inherit(child: Formula, parent: Formula): Formula {
  return {
    ...child,
    title: child.title ?? parent.title,
    description: child.description ?? parent.description,
    vars: { ...parent.vars, ...child.vars },
    steps: replaceById(parent.steps, child.steps),
    template: replaceById(parent.template, child.template),
    advice: [...parent.advice, ...child.advice],
    expansions: [...parent.expansions, ...child.expansions],
    aspects: [...new Set([...parent.aspects, ...child.aspects])],
    convoy: child.convoy ?? parent.convoy,
    metadata: { ...parent.metadata, ...child.metadata },
    unsupported: [...parent.unsupported, ...child.unsupported],
  };
}

function replaceById(parents: readonly FormulaStep[], own: readonly FormulaStep[]): FormulaStep[] {
  const known = new Set(parents.map((step) => step.id));
  const replacing = new Map(own.map((step) => [step.id, step]));
  return [...parents.map((step) => replacing.get(step.id) ?? step), ...own.filter((step) => !known.has(step.id))];
}

/** Steps without an id were reported when they were read; they take no part. */
function named(steps: readonly FormulaStep[]): FormulaStep[] {
  return steps.filter((step) => step.id !== '');
}

/** Loops become `<loop>.iter<n>.<step>`, each round after the one before; children come before their parent, which needs them. */
function unroll(steps: readonly FormulaStep[], limits: Budget): FormulaStep[] {
  let flat: FormulaStep[] = [];
  const ends: [string, string[]][] = [];
  for (const step of steps) {
    const { loop } = step;
    if (loop !== null) {
      const body = unroll(named(loop.body), limits);
      if (!limits.allows(flat.length + loop.count * body.length)) return [];
      const rounds = repeat(step, passOn(step, body), loop.count);
      flat.push(...rounds.steps);
      ends.push([step.id, rounds.ends]);
    } else if (step.children.length > 0) {
      const children = unroll(named(step.children), limits);
      if (!limits.allows(flat.length + children.length + 1)) return [];
      flat.push(...behind(children, step.needs));
      flat.push({ ...step, children: [], needs: [...new Set([...step.needs, ...children.map((child) => child.id)])] });
    } else {
      flat.push(step);
    }
  }
  for (const [id, replacements] of ends) flat = rewire(flat, id, replacements);
  return flat;
}

/** What cannot be run about a step that is replaced stays known on those in its place, so that it is refused and not lost. */
function passOn(replaced: FormulaStep, steps: readonly FormulaStep[]): FormulaStep[] {
  const lost = [
    ...replaced.unsupported,
    ...(replaced.gate === null ? [] : [within(replaced.at, 'gate')]),
    ...(replaced.checks.length === 0 ? [] : [within(replaced.at, 'checks')]),
    ...(replaced.children.length === 0 ? [] : [within(replaced.at, 'children')]),
    ...(replaced.loop === null || replaced.expand === null ? [] : [within(replaced.at, 'expand')]),
  ];
  return lost.length === 0
    ? [...steps]
    : steps.map((step) => ({ ...step, unsupported: [...step.unsupported, ...lost] }));
}

function repeat(
  loop: FormulaStep,
  body: readonly FormulaStep[],
  count: number,
): { steps: FormulaStep[]; ends: string[] } {
  const steps: FormulaStep[] = [];
  const own = new Set(body.map((step) => step.id));
  let ends: readonly string[] = loop.needs;
  for (let round = 1; round <= count; round += 1) {
    const rename = (id: string): string => (own.has(id) ? `${loop.id}.iter${round}.${id}` : id);
    const renamed = body.map((step) => ({ ...step, id: rename(step.id), needs: step.needs.map(rename) }));
    steps.push(...behind(renamed, ends));
    ends = lastOf(renamed);
  }
  return { steps, ends: [...ends] };
}

/** Makes the steps that need none of the others wait for `needs` too. */
function behind(steps: readonly FormulaStep[], needs: readonly string[]): FormulaStep[] {
  const own = new Set(steps.map((step) => step.id));
  return steps.map((step) =>
    step.needs.some((need) => own.has(need)) ? step : { ...step, needs: [...new Set([...needs, ...step.needs])] },
  );
}

/** Ids that none of the others needs. */
function lastOf(steps: readonly FormulaStep[]): string[] {
  const needed = new Set(steps.flatMap((step) => step.needs));
  return steps.map((step) => step.id).filter((id) => !needed.has(id));
}

/** Makes those that need `id` need the replacements instead. */
function rewire(steps: readonly FormulaStep[], id: string, replacements: readonly string[]): FormulaStep[] {
  return steps.map((step) =>
    step.needs.includes(id)
      ? { ...step, needs: [...new Set(step.needs.flatMap((need) => (need === id ? replacements : [need])))] }
      : step,
  );
}

/** Steps before wait for what the target waited for, one after the other; those behind the target wait for the last step after. */
function advise(steps: readonly FormulaStep[], advice: Advice, limits: Budget): FormulaStep[] {
  const targets = steps.filter((step) => matchesGlob(advice.target, step.id));
  if (!limits.allows(steps.length + targets.length * (advice.before.length + advice.after.length))) return [];
  let result = [...steps];
  for (const { id } of targets) {
    const target = result.find((step) => step.id === id);
    if (target === undefined) continue;
    const macros = stepMacros('step', target);
    const before = chain(
      named(advice.before).map((step) => fillMacros(step, macros)),
      target.needs,
    );
    const after = chain(
      named(advice.after).map((step) => fillMacros(step, macros)),
      [id],
    );
    const inner = before.at(-1);
    const needs = inner === undefined ? target.needs : [...new Set([...target.needs, inner.id])];
    const last = after.at(-1);
    if (last !== undefined) result = rewire(result, id, [last.id]);
    result = result.flatMap((step) => (step.id === id ? [...before, { ...step, needs }, ...after] : [step]));
  }
  return result;
}

function chain(steps: readonly FormulaStep[], needs: readonly string[]): FormulaStep[] {
  return steps.map((step, index) => {
    const before = steps[index - 1];
    return { ...step, needs: [...new Set([...(before === undefined ? needs : [before.id]), ...step.needs])] };
  });
}

interface Expanding extends Assembling {
  readonly limits: Budget;
}

function expandInline(steps: readonly FormulaStep[], expanding: Expanding, depth: number): FormulaStep[] {
  let result = [...steps];
  for (const step of steps) {
    if (step.expand === null || expanding.limits.spent) continue;
    const use = { ...step.expand, at: within(step.at, 'expand') };
    result = expandOne(result, { step, use, depth }, expanding);
  }
  return result;
}

function expandMatching(steps: readonly FormulaStep[], expansion: Expansion, expanding: Expanding): FormulaStep[] {
  const { target, many, at } = expansion;
  const targets = steps.filter((step) => (many ? matchesGlob(target, step.id) : step.id === target));
  if (targets.length === 0) {
    expanding.problems.add({
      code: 'FORMULA_UNKNOWN_STEP',
      at: within(at, many ? 'select' : 'target'),
      message: `no step is named ${target}`,
      fix: 'Name a step of this formula or of its parents.',
    });
  }
  let result = [...steps];
  for (const { id } of targets) {
    const step = result.find((candidate) => candidate.id === id);
    if (step === undefined || expanding.limits.spent) continue;
    const use = { with: expansion.with, vars: expansion.vars, at: within(at, 'with') };
    result = expandOne(result, { step, use, depth: 0 }, expanding);
  }
  return result;
}

interface ExpansionUse {
  readonly step: FormulaStep;
  readonly use: { readonly with: string; readonly vars: Readonly<Record<string, string>>; readonly at: Place };
  readonly depth: number;
}

/** Puts the template in place of the step: its first steps wait for what the step needed, and who needed it waits for its last. */
function expandOne(
  steps: readonly FormulaStep[],
  { step, use, depth }: ExpansionUse,
  expanding: Expanding,
): FormulaStep[] {
  const found = expanding.resolve(use.with);
  if (found === null) {
    noteMissing({ name: use.with, at: use.at }, expanding.problems);
    return [...steps];
  }
  const formula = joinParents(found, expanding);
  if (formula.template.length === 0 || depth >= EXPANSION_DEPTH_MAX) {
    const message =
      depth >= EXPANSION_DEPTH_MAX
        ? `expansions are nested deeper than ${EXPANSION_DEPTH_MAX}`
        : `${use.with} has no template`;
    expanding.problems.add({ code: 'FORMULA_VALUE', at: use.at, message, fix: 'Name a formula of type expansion.' });
    return [...steps];
  }
  const defaults = Object.entries(formula.vars).flatMap(([name, spec]) =>
    spec.default === null ? [] : [[name, spec.default] as const],
  );
  const macros = new Map([
    ...defaults,
    ...Object.entries(use.vars),
    ...stepMacros('target', step),
    ['target', step.id],
  ]);
  const filled = passOn(step, named(formula.template)).map((part) => fillMacros(part, macros));
  let parts = unroll(filled, expanding.limits);
  parts = expandInline(behind(parts, step.needs), expanding, depth + 1);
  if (!expanding.limits.allows(steps.length + parts.length)) return [];
  const ends = lastOf(parts);
  return rewire(steps, step.id, ends).flatMap((other) => (other.id === step.id ? parts : [other]));
}

function stepMacros(prefix: string, step: FormulaStep): Map<string, string> {
  return new Map([
    [`${prefix}.id`, step.id],
    [`${prefix}.title`, step.title ?? step.id],
    [`${prefix}.description`, step.description ?? step.instructions ?? ''],
  ]);
}

/** Puts values in place of `{name}`, also in ids and needs. `{{name}}` is not touched. */
function fillMacros(step: FormulaStep, macros: ReadonlyMap<string, string>): FormulaStep {
  const fill = (text: string): string =>
    text.replaceAll(/(?<!\{)\{([A-Za-z_][\w.]*)\}(?!\})/g, (whole, name: string) => macros.get(name) ?? whole);
  return {
    ...mapTexts(step, fill),
    id: fill(step.id),
    needs: step.needs.map(fill),
    children: step.children.map((child) => fillMacros(child, macros)),
    loop: step.loop === null ? null : { ...step.loop, body: step.loop.body.map((part) => fillMacros(part, macros)) },
  };
}

/** `*` stands for any characters. Written out by hand, since a glob from a file must not make an engine backtrack. */
function matchesGlob(glob: string, id: string): boolean {
  const parts = glob.split('*');
  const first = parts[0] ?? '';
  if (parts.length === 1) return glob === id;
  const last = parts.at(-1) ?? '';
  if (!id.startsWith(first) || !id.endsWith(last) || id.length < first.length + last.length) return false;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = id.indexOf(part, at);
    if (found === -1 || found + part.length > id.length - last.length) return false;
    at = found + part.length;
  }
  return true;
}
