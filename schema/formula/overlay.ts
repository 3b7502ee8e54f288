import { openDocument } from './document';
import type { ConvoyParts, Formula, FormulaCheck, FormulaGate, FormulaStep, Leg } from './formula';
import { within, type Place, type ProblemList } from './problems';
import { readStep } from './read-step';
import { TableReader } from './reader';
import type { FormulaProblem } from './recipe';
import { mapSteps } from './step-list';
import { noteUnknownVariable } from './variables';

/**
 * A file that changes the steps of a formula of the same name for one rig or town, as Gas Town's overlays do: `[[step-overrides]]`
 * with `step_id`, `mode` (`replace`, `append` or `skip`) and what takes the place of the step's own, or follows it. Beside that,
 * `[vars]` gives variables other defaults. It is applied after the parents are joined and before anything is expanded.
 */
export interface Overlay {
  readonly file: string;
  readonly overrides: readonly StepOverride[];
  readonly defaults: Readonly<Record<string, { readonly value: string; readonly at: Place }>>;
}

export interface StepOverride {
  readonly id: string;
  readonly mode: 'replace' | 'append' | 'skip';
  readonly changes: Changes;
  readonly at: Place;
}

/** Null and absent: as it was. */
interface Changes {
  readonly texts: Readonly<Partial<Record<TextKey, string>>>;
  readonly lists: Readonly<Partial<Record<ListKey, readonly string[]>>>;
  readonly checks: readonly FormulaCheck[] | null;
  readonly gate: FormulaGate | null;
  readonly priority: number | null;
}

const TEXT_KEYS = ['title', 'description', 'instructions', 'design', 'notes', 'acceptance', 'assignee'] as const;
type TextKey = (typeof TEXT_KEYS)[number];
const LIST_KEYS = ['needs', 'labels'] as const;
type ListKey = (typeof LIST_KEYS)[number];
const MODES = ['replace', 'append', 'skip'] as const;
const CHANGE_KEYS = [...TEXT_KEYS, ...LIST_KEYS, 'checks', 'check', 'gate', 'priority'];
const OVERRIDE_KEYS = ['step_id', 'id', 'mode', ...CHANGE_KEYS];

/** Reads an overlay; all that is wrong with it is reported at once. */
export function parseOverlay(
  text: string,
  file: string,
): { readonly overlay: Overlay | null; readonly problems: readonly FormulaProblem[] } {
  const { table: document, source, problems } = openDocument(text, file);
  if (document === null) return { overlay: null, problems: problems.all };
  const table = new TableReader(document, { source, path: '' }, { problems, mode: 'strict' });
  table.expectKeys(['step-overrides', 'vars']);
  const overrides = table.tables('step-overrides').map(readOverride);
  const vars = table.table('vars');
  const defaults =
    vars === null
      ? {}
      : Object.fromEntries(vars.keys().map((name) => [name, { value: vars.scalar(name) ?? '', at: vars.at(name) }]));
  return {
    overlay: problems.hasErrors() ? null : { file, overrides, defaults },
    problems: problems.all,
  };
}

/** The formula as the overlay changes it. Notes steps and variables that the formula does not have. */
export function applyOverlay(formula: Formula, overlay: Overlay, problems: ProblemList): Formula {
  let whole = formula;
  for (const [name, { value, at }] of Object.entries(overlay.defaults)) {
    const spec = Object.hasOwn(whole.vars, name) ? whole.vars[name] : undefined;
    if (spec === undefined) {
      noteUnknownVariable(whole, { name, at, mode: 'strict' }, problems);
    } else {
      whole = { ...whole, vars: { ...whole.vars, [name]: { ...spec, default: value } } };
    }
  }
  return overlay.overrides.reduce((changed, override) => applyOverride(changed, override, problems), whole);
}

function readOverride(table: TableReader): StepOverride {
  table.expectKeys(OVERRIDE_KEYS);
  const id = table.firstText('step_id', 'id');
  if (id === null)
    table.badValue('step_id', { message: 'it does not say which step it changes', fix: 'Add step_id = "…".' });
  const step = readStep(table.only(CHANGE_KEYS, { id: id ?? 'x' }));
  const texts = Object.fromEntries(TEXT_KEYS.flatMap((key) => (step[key] === null ? [] : [[key, step[key]] as const])));
  const lists = Object.fromEntries(LIST_KEYS.flatMap((key) => (table.has(key) ? [[key, step[key]] as const] : [])));
  const checks = table.has('check') || table.has('checks') ? step.checks : null;
  return {
    id: id ?? '',
    mode: table.choice('mode', MODES) ?? 'replace',
    changes: { texts, lists, checks, gate: step.gate, priority: step.priority },
    at: table.place,
  };
}

function applyOverride(formula: Formula, override: StepOverride, problems: ProblemList): Formula {
  const { id, mode, at } = override;
  const found: FormulaStep[] = [];
  const change = (step: FormulaStep): FormulaStep | null => {
    if (step.id !== id) return step;
    found.push(step);
    return mode === 'skip' ? null : changed(step, override);
  };
  const parts = { steps: mapSteps(formula.steps, change), template: mapSteps(formula.template, change) };
  const convoy = formula.convoy;
  const leg = convoy?.legs.find((each) => each.id === id);
  if (found.length === 0 && leg === undefined) {
    problems.add({
      code: 'FORMULA_UNKNOWN_STEP',
      at: within(at, 'step_id'),
      message: `${formula.name} has no step ${id}`,
      fix: 'Name a step of the formula or of its parents, or remove the override.',
    });
  }
  const needs = found.flatMap((step) => step.needs);
  const passed = (step: FormulaStep): FormulaStep =>
    step.needs.includes(id)
      ? { ...step, needs: [...new Set(step.needs.flatMap((need) => (need === id ? needs : [need])))] }
      : step;
  const pass = (steps: readonly FormulaStep[]): FormulaStep[] =>
    mode === 'skip' ? mapSteps(steps, passed) : [...steps];
  return {
    ...formula,
    steps: pass(parts.steps),
    template: pass(parts.template),
    convoy: convoy === null || leg === undefined ? convoy : withLeg(convoy, leg, override),
  };
}

function withLeg(convoy: ConvoyParts, leg: Leg, override: StepOverride): ConvoyParts {
  if (override.mode !== 'skip') {
    return { ...convoy, legs: convoy.legs.map((each) => (each === leg ? changedLeg(leg, override) : each)) };
  }
  const { synthesis, presets } = convoy;
  const needs = (synthesis?.needs ?? []).filter((need) => need.leg !== leg.id);
  return {
    ...convoy,
    legs: convoy.legs.filter((each) => each !== leg),
    synthesis: synthesis === null ? null : { ...synthesis, needs },
    presets: Object.fromEntries(
      Object.entries(presets).map(([name, { legs, at }]) => [name, { legs: legs.filter((id) => id !== leg.id), at }]),
    ),
  };
}

function changed(step: FormulaStep, { mode, changes }: StepOverride): FormulaStep {
  const append = mode === 'append';
  const texts = Object.entries(changes.texts).map(([key, text]) => {
    const before = step[key as TextKey]; // only text keys are put there
    return [key, append && before !== null ? `${before}\n${text}` : text] as const;
  });
  const lists = Object.entries(changes.lists).map(([key, list]) => {
    const before = step[key as ListKey];
    return [key, append ? [...new Set([...before, ...list])] : list] as const;
  });
  return {
    ...step,
    ...Object.fromEntries(texts),
    ...Object.fromEntries(lists),
    checks: changes.checks === null ? step.checks : [...(append ? step.checks : []), ...changes.checks],
    gate: changes.gate ?? step.gate,
    priority: changes.priority ?? step.priority,
  };
}

function changedLeg(leg: Leg, { mode, changes }: StepOverride): Leg {
  const { title = leg.title, description = leg.description } = changes.texts;
  const isMore = mode === 'append' && changes.texts.description !== undefined && leg.description !== null;
  return { ...leg, title, description: isMore ? `${leg.description}\n${description}` : description };
}
