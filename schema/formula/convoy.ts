import type { Budget, Work } from './budget';
import { choices, within, type ProblemList } from './problems';
import { replacedById } from './step-list';
import { plainStep, type ConvoyParts, type Formula, type FormulaStep, type Leg } from './formula';

/** The variable that chooses one of a convoy's presets. */
export const PRESET = 'preset';

/** Legs by id, presets and output by name; synthesis and prompt of the child, or else of its parent. */
export function inheritConvoy(child: ConvoyParts | null, parent: ConvoyParts | null): ConvoyParts | null {
  if (child === null || parent === null) return child ?? parent;
  return {
    legs: replacedById(parent.legs, child.legs),
    synthesis: child.synthesis ?? parent.synthesis,
    prompt: child.prompt ?? parent.prompt,
    output: { ...parent.output, ...child.output },
    presets: { ...parent.presets, ...child.presets },
  };
}

/** Notes what a synthesis or a preset names and no leg is called. */
function checkLegs(convoy: ConvoyParts, problems: ProblemList): void {
  const own = new Set(convoy.legs.map(({ id }) => id));
  for (const { leg, at } of convoy.synthesis?.needs ?? []) {
    if (own.has(leg)) continue;
    const fix = 'Name a leg by its id, or leave depends_on out: then it needs all.';
    problems.add({ code: 'FORMULA_UNKNOWN_NEED', at, message: `the synthesis needs ${leg}, which is no leg`, fix });
  }
  for (const { legs, at } of Object.values(convoy.presets)) {
    const missing = legs.filter((leg) => !own.has(leg));
    if (missing.length === 0) continue;
    const message = `${choices(missing)} is no leg`;
    problems.add({ code: 'FORMULA_VALUE', at: within(at, 'legs'), message, fix: `Name some of: ${choices(own)}.` });
  }
}

/**
 * The steps of a convoy formula: one for each leg, side by side, and the synthesis that needs them; of a preset, only its legs. Its
 * texts know the placeholders `{{.problem}}` (an input), `{{.leg.id}}`, `{{.leg.title}}`, `{{.leg.focus}}`, `{{.leg.description}}`,
 * `{{.output.directory}}`, `{{.output_path}}` and `{{.formula_name}}`; an input becomes `{{problem}}`, filled in later with the
 * other variables. `{{if .problem}}…{{else}}…{{end}}` is decided where the value is known. Other template code is left as it stands.
 */
export function convoySteps(
  formula: Formula,
  convoy: ConvoyParts,
  {
    values,
    limits,
    problems,
  }: {
    readonly values: ReadonlyMap<string, string> | null;
    readonly limits: Budget;
    readonly problems: ProblemList;
  },
): FormulaStep[] {
  if (convoy.legs.length === 0) return [];
  checkLegs(convoy, problems);
  if (!limits.allows(convoy.legs.length)) return [];
  const scope = new Map([['formula_name', formula.name]]);
  for (const name of Object.keys(formula.vars)) scope.set(name, `{{${name}}}`);
  for (const [key, value] of Object.entries(convoy.output)) scope.set(`output.${key}`, value);
  const chosen = convoy.presets[values?.get(PRESET) ?? '']?.legs;
  const legs = convoy.legs.filter((leg) => chosen === undefined || chosen.includes(leg.id));
  const has = (name: string): boolean | null =>
    values !== null && Object.hasOwn(formula.vars, name) ? (values.get(name) ?? '') !== '' : null;
  const prompt = convoy.prompt === null ? null : decideBranches(convoy.prompt, has);
  const steps = legs.map((leg) => legStep(leg, { ...convoy, prompt }, { shared: scope, work: limits.work }));
  if (convoy.synthesis === null) return steps;
  const { title, description, needs, at } = convoy.synthesis;
  const ids = legs.map((leg) => leg.id);
  const synthesis: FormulaStep = {
    ...plainStep('synthesis', at),
    title: title === null ? 'Synthesis' : fill(title, scope, limits.work),
    instructions: description === null ? null : fill(decideBranches(description, has), scope, limits.work),
    needs: needs.length === 0 ? ids : ids.filter((id) => needs.some(({ leg }) => leg === id)),
  };
  return [...steps, synthesis];
}

function legStep(
  leg: Leg,
  convoy: ConvoyParts,
  { shared, work }: { readonly shared: ReadonlyMap<string, string>; readonly work: Work },
): FormulaStep {
  const scope = new Map(shared);
  for (const key of ['id', 'title', 'focus'] as const) scope.set(`leg.${key}`, leg[key] ?? '');
  const ownText = fill(leg.description ?? '', scope, work);
  scope.set('leg.description', ownText);
  const { directory, leg_pattern: pattern } = convoy.output;
  if (pattern !== undefined)
    scope.set('output_path', fill(`${directory === undefined ? '' : `${directory}/`}${pattern}`, scope, work));
  const focus = leg.focus === null ? '' : `Focus: ${leg.focus}\n\n`;
  return {
    ...plainStep(leg.id, leg.at),
    title: leg.title ?? leg.id,
    instructions: convoy.prompt === null ? `${focus}${ownText}` : fill(convoy.prompt, scope, work),
    metadata: leg.metadata,
  };
}

/** Twice, since values may hold placeholders themselves; the second time ends it. */
function fill(text: string, scope: ReadonlyMap<string, string>, work: Work): string {
  const once = (part: string): string => work.fill(part, /\{\{\s*\.([A-Za-z_][\w.]*)\s*\}\}/g, scope);
  return once(once(text));
}

interface Block {
  /** Null: the text itself. */
  readonly around: Block | null;
  /** What opened it, as written. */
  readonly opening: string;
  readonly decides: boolean | null;
  text: string;
  otherwise: string | null;
}

/** Decides `{{if .name}}` where `has` knows the name; blocks about anything else stay as they are written. */
function decideBranches(text: string, has: (name: string) => boolean | null): string {
  let block: Block = { around: null, opening: '', decides: null, text: '', otherwise: null };
  const add = (part: string): void => {
    if (block.otherwise === null) block.text += part;
    else block.otherwise += part;
  };
  let at = 0;
  for (const tag of text.matchAll(/\{\{-?\s{0,9}(if|with|range|else|end)\b([^{}]{0,200})\}\}/g)) {
    const [written, word, inside] = tag as unknown as [string, string, string]; // both groups take part
    const about = inside.replace(/-$/, '').trim();
    const decides = word === 'if' ? has(about.replace(/^\./, '')) : null;
    const acts =
      word === 'else'
        ? about === '' && block.decides !== null
        : word === 'end'
          ? block.decides !== null
          : decides !== null;
    const before = text.slice(at, tag.index);
    add(acts && written.startsWith('{{-') ? before.trimEnd() : before);
    at = tag.index + written.length;
    while (acts && written.endsWith('-}}') && /\s/.test(text.charAt(at))) at += 1;
    if (word === 'else' && acts) block.otherwise = '';
    else if (word === 'else') add(written);
    else if (word !== 'end') block = { around: block, opening: written, decides, text: '', otherwise: null };
    else if (block.around === null) add(written);
    else {
      const whole = closed(block, written);
      block = block.around;
      add(whole);
    }
  }
  add(text.slice(at));
  // What was never closed is no template.
  return block.around === null ? block.text : text;
}

function closed(block: Block, end: string): string {
  if (block.decides === null) return `${block.opening}${block.text}${end}`;
  return block.decides ? block.text : (block.otherwise ?? '');
}
