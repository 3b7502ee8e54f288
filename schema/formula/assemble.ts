import { Budget, Work } from './budget';
import { convoySteps, inheritConvoy, PRESET } from './convoy';
import {
  mapWhole,
  type Advice,
  type ConvoyParts,
  type Expansion,
  type Formula,
  type FormulaStep,
  type Hook,
} from './formula';
import { applyOverlay, type Overlay } from './overlay';
import { choices, within, type Place, type ProblemList } from './problems';
import {
  allWithin,
  behind,
  everywhere,
  fillMacros,
  handOn,
  mapSteps,
  matchesGlob,
  named,
  renameStep,
  replacedById,
  replaceSteps,
} from './step-list';
import { STEPS_MAX } from './recipe';
import { unroll } from './unroll';
import { noteMissingVariable, noteUnknownVariable, refuseValue, substitute } from './variables';
import {
  addBranch,
  addGate,
  advise,
  attach,
  isTriggered,
  noteUnknown,
  standIns,
  stepMacros,
  stepTraits,
  type Traits,
} from './weave';

export const EXPANSION_DEPTH_MAX = 5;
const EXTENDS_MAX = 20;
/** Of one step that is held against one part, in units of `Work`. */
const STEP_COST = 10;

export interface Assembling {
  /** A formula by name, already read; null when there is none. */
  readonly resolve: (name: string) => Formula | null;
  readonly problems: ProblemList;
  /** Default: 5,000. */
  readonly stepsMax?: number;
  /** Values of the formula's variables; null: not known yet. */
  readonly values: ReadonlyMap<string, string> | null;
  /** Of the task that the formula is poured for; hooks look at it. */
  readonly traits?: Traits;
  readonly overlay?: (name: string) => Overlay | null;
  readonly readText?: ReadText;
  /** How many formulas have been attached to reach this one. */
  readonly depth?: number;
  /** Of the whole compile. */
  readonly work: Work;
  readonly joined?: Joined;
}

/** What each formula became with its parents. Many steps may use one formula, and formulas may share parents. */
export type Joined = Map<Formula, Formula>;

/** The text of a file that a formula names, by the formula's own file and the path in it; null when it cannot be had. */
export type ReadText = (formulaFile: string, path: string) => string | null;

/** Joins a formula with its parents and with its overlay: their variables and steps come first, and what the child names again replaces theirs in place. */
export function joinParents(
  formula: Formula,
  assembling: Pick<Assembling, 'resolve' | 'problems' | 'overlay' | 'readText' | 'joined'>,
  heirs: readonly string[] = [],
): Formula {
  const { joined = new Map<Formula, Formula>() } = assembling;
  const known = joined.get(formula);
  if (known !== undefined) return known;
  const line = [...heirs, formula.name];
  const at = within({ source: formula.source, path: '' }, 'extends');
  const whole = formula.extends
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
      return parent === null ? [] : [joinParents(parent, { ...assembling, joined }, line)];
    })
    .reduce((child, parent) => inherit(child, parent), withFiles(formula, assembling));
  const overlay = assembling.overlay?.(formula.name) ?? null;
  const changed = overlay === null ? whole : applyOverlay(whole, overlay, assembling.problems);
  joined.set(formula, changed);
  return changed;
}

/** Puts the text of each `description_file` into its step. */
function withFiles(formula: Formula, { problems, readText }: Pick<Assembling, 'problems' | 'readText'>): Formula {
  const read = (step: FormulaStep): FormulaStep => {
    if (step.descriptionFile === null) return step;
    const { file } = step.at.source;
    const description = readText?.(file, step.descriptionFile) ?? null;
    if (description !== null) return { ...step, description };
    problems.add({
      code: 'FORMULA_UNKNOWN_FILE',
      at: within(step.at, 'description_file'),
      severity: formula.mode === 'strict' ? 'error' : 'warning',
      message: `the file ${step.descriptionFile} cannot be read`,
      fix: 'Put it beside the formula, or write the text into description.',
    });
    return { ...step, description: step.description ?? `See the file ${step.descriptionFile}.` };
  };
  return { ...formula, steps: mapSteps(formula.steps, read), template: mapSteps(formula.template, read) };
}

/**
 * The flat list of steps a formula stands for, needs between them complete: loops unrolled, advice and expansions applied,
 * children lifted out. Takes a formula that `joinParents` made. @returns null when there would be too many.
 */
export function assembleSteps(formula: Formula, assembling: Assembling): FormulaStep[] | null {
  const { problems, values, work } = assembling;
  if (work.spent) return null;
  const limits = new Budget(assembling.stepsMax ?? STEPS_MAX, work);
  const expanding: Expanding = { ...assembling, limits, outer: formula.vars };
  let steps = ownSteps(formula, expanding);
  /** Each part is held against every step. */
  const inTurn = <P>(parts: readonly P[], put: (part: P) => FormulaStep[]): void => {
    for (const part of parts) if (work.takes(STEP_COST * steps.length)) steps = put(part);
  };
  let links = [
    ...formula.branches.map((branch) => ({
      ids: [branch.from, branch.join, ...branch.steps],
      put: () => addBranch(steps, branch, problems),
    })),
    ...formula.gates.map((gate) => ({ ids: [gate.before], put: () => addGate(steps, gate, problems) })),
  ];
  /** A branch or gate may name a loop or a parent, a round or a child, or a step of a template. */
  const link = (): void => {
    const ids = new Set(steps.map(({ id }) => id));
    const known = new Set(links.filter((each) => each.ids.every((id) => ids.has(id))));
    links = links.filter((each) => !known.has(each));
    inTurn([...known], ({ put }) => put());
  };
  link();
  steps = unroll(steps, { limits, problems, values });
  link();
  steps = attachHooked(steps, formula, expanding);
  steps = adviseAll(steps, formula.advice, limits);
  steps = everywhere(steps, (list) => expandInline(list, expanding, 0));
  inTurn(formula.expansions, (expansion) => expandMatching(steps, expansion, expanding));
  inTurn(formula.aspects, (name) => {
    const aspect = assembling.resolve(name);
    if (aspect !== null) return adviseAll(steps, joinParents(aspect, assembling).advice, limits);
    noteMissing({ name, at: { source: formula.source, path: 'compose.aspects' } }, problems);
    return steps;
  });
  inTurn(links, ({ put }) => put());
  if (!limits.spent && limits.allows(allWithin(steps).length)) return steps;
  const message = work.spent
    ? 'its loops, texts and parts of other formulas multiply: compiling it would take too long'
    : `the formula has more than ${limits.max} steps`;
  const at = { source: formula.source, path: 'steps' };
  problems.add({ code: 'FORMULA_TOO_BIG', at, message, fix: 'Split it into several formulas.' });
  return null;
}

export function noteMissing(missing: { readonly name: string; readonly at: Place }, problems: ProblemList): void {
  problems.add({
    code: 'FORMULA_UNKNOWN_FORMULA',
    at: missing.at,
    message: `the formula ${missing.name} is not there, or is not valid`,
    fix: `Add a formula named ${missing.name}, or correct the name.`,
  });
}

/** A part that comes from one ancestor by two ways is there once. */
function inherit(child: Formula, parent: Formula): Formula {
  const convoy = inheritConvoy(child.convoy, parent.convoy);
  const both = <P>(list: (formula: Formula) => readonly P[]): P[] => [...new Set([...list(parent), ...list(child)])];
  return {
    ...child,
    title: child.title ?? parent.title,
    description: child.description ?? parent.description,
    vars: inheritVars(child, parent, convoy),
    steps: replacedById(parent.steps, child.steps),
    template: replacedById(parent.template, child.template),
    advice: both(({ advice }) => advice),
    expansions: both(({ expansions }) => expansions),
    aspects: both(({ aspects }) => aspects),
    branches: both(({ branches }) => branches),
    gates: both(({ gates }) => gates),
    bondPoints: both(({ bondPoints }) => bondPoints),
    hooks: both(({ hooks }) => hooks),
    convoy,
    metadata: { ...parent.metadata, ...child.metadata },
    labels: both(({ labels }) => labels),
    phase: child.phase ?? parent.phase,
    pour: child.pour ?? parent.pour,
    squash: child.squash ?? parent.squash,
  };
}

/** Where both have presets, the variable that chooses one knows them all. */
function inheritVars(child: Formula, parent: Formula, convoy: ConvoyParts | null): Formula['vars'] {
  const vars = { ...parent.vars, ...child.vars };
  const { [PRESET]: preset } = vars;
  const names = Object.keys(convoy?.presets ?? {});
  return preset === undefined || names.length === 0 ? vars : { ...vars, [PRESET]: { ...preset, enum: names } };
}

/** Also of a part that is run by itself: an expansion in place of a step `main`, an aspect around stand-ins. */
function ownSteps(formula: Formula, expanding: Expanding): FormulaStep[] {
  const convoy = formula.convoy === null ? [] : convoySteps(formula, formula.convoy, expanding);
  const steps = [...formula.steps, ...convoy];
  if (steps.length > 0) return steps;
  if (formula.type === 'aspect') return standIns(formula);
  if (formula.type === 'expansion') {
    const macros = new Map([
      ...Object.keys(formula.vars).map((name) => [name, `{{${name}}}`] as const),
      ['target', 'main'],
      ['target.id', 'main'],
      ['target.title', formula.title ?? formula.name],
      ['target.description', formula.description ?? ''],
    ]);
    return formula.template.map((step) => mapWhole(step, (text) => fillMacros(text, macros, expanding.limits.work)));
  }
  return [];
}

function adviseAll(steps: readonly FormulaStep[], advice: readonly Advice[], limits: Budget): FormulaStep[] {
  const own = new Set(allWithin(steps).map((step) => step.id));
  return advice.reduce<FormulaStep[]>(
    (list, each) => {
      const held = own.size * (1 + each.pointcuts.length);
      return limits.work.takes(STEP_COST * held)
        ? everywhere(list, (scope) => advise(scope, each, { own, limits }))
        : list;
    },
    [...steps],
  );
}

interface Expanding extends Assembling {
  readonly limits: Budget;
  /** Variables of the formula that the expansion is put into. */
  readonly outer: Formula['vars'];
}

function expandInline(steps: readonly FormulaStep[], expanding: Expanding, depth: number): FormulaStep[] {
  const uses = steps.flatMap((step): ExpansionUse[] =>
    step.expand === null ? [] : [{ step, use: { ...step.expand, at: within(step.at, 'expand') }, depth }],
  );
  return expandEach(steps, uses, expanding);
}

function expandMatching(steps: readonly FormulaStep[], expansion: Expansion, expanding: Expanding): FormulaStep[] {
  const { target, many, at } = expansion;
  const isTarget = (step: FormulaStep): boolean => (many ? matchesGlob(target, step.id) : step.id === target);
  if (!allWithin(steps).some(isTarget)) {
    // Other tools let a glob match nothing: a part is written for many formulas.
    const severity = many ? expansion.severity : 'error';
    noteUnknown({ id: target, at: within(at, many ? 'select' : 'target'), severity }, expanding.problems);
  }
  const use = { with: expansion.with, vars: expansion.vars, at: within(at, 'with') };
  return everywhere(steps, (list) =>
    expandEach(
      list,
      list.filter(isTarget).map((step) => ({ step, use, depth: 0 })),
      expanding,
    ),
  );
}

/** What a template is put in place of waits for what needed the step, and begins when its needs are met. */
function expandEach(steps: readonly FormulaStep[], uses: readonly ExpansionUse[], expanding: Expanding): FormulaStep[] {
  const parts = new Map<string, readonly FormulaStep[]>();
  let total = steps.length;
  for (const use of uses) {
    const made = expandOne(use, expanding);
    if (made !== null) parts.set(use.step.id, made);
    total += made?.length ?? 0;
    if (!expanding.limits.allows(total)) return [];
  }
  return replaceSteps(steps, parts, expanding.limits.work);
}

interface ExpansionUse {
  readonly step: FormulaStep;
  readonly use: { readonly with: string; readonly vars: Readonly<Record<string, string>>; readonly at: Place };
  readonly depth: number;
}

/** The steps of the template as they stand for the step. Null: it stays as it is. */
function expandOne({ step, use, depth }: ExpansionUse, expanding: Expanding): FormulaStep[] | null {
  const { problems, limits, values } = expanding;
  const name = substitute(use.with, values ?? new Map(), limits.work);
  if (values === null && name.includes('{{')) return null;
  const found = expanding.resolve(name);
  if (found === null) {
    noteMissing({ name, at: use.at }, problems);
    return null;
  }
  if (step.loop !== null) {
    const message = `${step.id} is a loop, which an expansion would put away`;
    problems.add({ code: 'FORMULA_CONFLICT', at: use.at, message, fix: 'Expand a step of its body.' });
    return null;
  }
  const formula = joinParents(found, expanding);
  if (formula.template.length === 0 || depth >= EXPANSION_DEPTH_MAX) {
    const message =
      depth >= EXPANSION_DEPTH_MAX
        ? `expansions are nested deeper than ${EXPANSION_DEPTH_MAX}`
        : `${name} has no template`;
    problems.add({ code: 'FORMULA_VALUE', at: use.at, message, fix: 'Name a formula of type expansion.' });
    return null;
  }
  const own = ownValues(formula, use, expanding);
  const macros = new Map([...own, ...stepMacros('target', step), ['target', step.id]]);
  // A variable of the expansion alone may be written with both braces, since nobody else could fill it.
  const inner = new Map([...own].filter(([variable]) => !Object.hasOwn(expanding.outer, variable)));
  const fill = (text: string): string => substitute(fillMacros(text, macros, limits.work), inner, limits.work);
  const filled = named(formula.template).map((part) => mapWhole(part, fill));
  const unrolled = behind(unroll(filled, { limits, problems, values }), step.needs, limits.work);
  return expandInline(handOn(step, unrolled, problems), expanding, depth + 1);
}

/** What the variables of a formula are where another one uses it: given there, or by default. */
function ownValues(formula: Formula, use: ExpansionUse['use'], expanding: Expanding): Map<string, string> {
  const { problems } = expanding;
  const values = new Map<string, string>();
  for (const name of Object.keys(use.vars)) {
    if (Object.hasOwn(formula.vars, name)) continue;
    noteUnknownVariable(formula, { name, at: use.at, mode: formula.mode }, problems);
  }
  for (const [name, spec] of Object.entries(formula.vars)) {
    const given = Object.hasOwn(use.vars, name) ? use.vars[name] : undefined;
    const value = given ?? spec.default;
    if (value !== null) values.set(name, value);
    if (given !== undefined && !given.includes('{')) refuseValue({ name, value: given, spec, at: use.at }, problems);
    if (value !== null || !spec.required || Object.hasOwn(expanding.outer, name)) continue;
    noteMissingVariable(formula, { name, at: use.at }, problems);
  }
  for (const [name, value] of Object.entries(use.vars)) values.set(name, value);
  return values;
}

/** A hook acts when the formula, one of its steps or the task it is poured for has the trait. */
function attachHooked(steps: readonly FormulaStep[], formula: Formula, expanding: Expanding): FormulaStep[] {
  const { problems } = expanding;
  for (const { step, side, at } of formula.bondPoints) {
    if (steps.some(({ id }) => id === step)) continue;
    noteUnknown({ id: step, at: within(at, `${side}_step`) }, problems);
  }
  const type = formula.metadata['type'];
  const traits: Traits[] = [
    { labels: formula.labels, type: typeof type === 'string' ? type : null, priority: null },
    ...(expanding.traits === undefined ? [] : [expanding.traits]),
    ...allWithin(steps).map(stepTraits),
  ];
  return formula.hooks
    .filter(({ trigger }) => isTriggered(trigger, traits))
    .reduce<FormulaStep[]>((list, hook) => attachOne(list, hook, { formula, expanding }), [...steps]);
}

function attachOne(
  steps: readonly FormulaStep[],
  hook: Hook,
  { formula, expanding }: { readonly formula: Formula; readonly expanding: Expanding },
): FormulaStep[] {
  const { problems, limits, depth = 0 } = expanding;
  const at = within(hook.at, 'attach');
  const found = expanding.resolve(hook.attach);
  const point = formula.bondPoints.find(({ id }) => id === hook.bondPoint) ?? null;
  if (found === null) noteMissing({ name: hook.attach, at }, problems);
  if (hook.bondPoint !== null && point === null) {
    const fix = `Use one of: ${choices(formula.bondPoints.map(({ id }) => id))}.`;
    problems.add({
      code: 'FORMULA_UNKNOWN_STEP',
      at: within(hook.at, 'at'),
      message: `there is no bond point ${hook.bondPoint}`,
      fix,
    });
  }
  if (depth >= EXPANSION_DEPTH_MAX) {
    const message = `formulas are attached to each other deeper than ${EXPANSION_DEPTH_MAX}`;
    problems.add({ code: 'FORMULA_VALUE', at, message, fix: 'Remove one of these hooks.' });
  }
  if (found === null || depth >= EXPANSION_DEPTH_MAX || limits.spent) return [...steps];
  const attached = joinParents(found, expanding);
  if (attached.type === 'aspect') return adviseAll(steps, attached.advice, limits);
  const own = ownValues(attached, { with: hook.attach, vars: hook.vars, at }, expanding);
  const values = new Map(
    [...own].filter(([name]) => !Object.hasOwn(expanding.outer, name) || Object.hasOwn(hook.vars, name)),
  );
  const inner = assembleSteps(attached, { ...expanding, values, stepsMax: limits.max, depth: depth + 1 }) ?? [];
  const ids = new Set(inner.map((step) => step.id));
  const rename = (id: string): string => (ids.has(id) ? `${hook.attach}.${id}` : id);
  const renamed = inner.map((step) =>
    renameStep(
      mapWhole(step, (text) => substitute(text, values, limits.work)),
      rename,
      limits.work,
    ),
  );
  return limits.allows(steps.length + renamed.length) ? attach(steps, renamed, { point, work: limits.work }) : [];
}
