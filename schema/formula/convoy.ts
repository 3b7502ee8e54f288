import type { ConvoyParts, Formula, FormulaStep, Leg } from './formula';

/**
 * The steps of a convoy formula: one for each leg, side by side, and the synthesis that needs them. Its texts know the
 * placeholders `{{.problem}}` (an input), `{{.leg.id}}`, `{{.leg.title}}`, `{{.leg.focus}}`, `{{.leg.description}}`,
 * `{{.output.directory}}`, `{{.output_path}}` and `{{.formula_name}}`; an input becomes `{{problem}}`, filled in later with the
 * other variables. Other template code is left as it stands.
 */
export function convoySteps(formula: Formula, convoy: ConvoyParts): FormulaStep[] {
  const scope = new Map([['formula_name', formula.name]]);
  for (const name of Object.keys(formula.vars)) scope.set(name, `{{${name}}}`);
  for (const [key, value] of Object.entries(convoy.output)) scope.set(`output.${key}`, value);
  const legs = convoy.legs.map((leg) => legStep(leg, convoy, scope));
  if (convoy.synthesis === null) return legs;
  const { title, description, needs, at } = convoy.synthesis;
  const synthesis: FormulaStep = {
    ...plainStep('synthesis', at),
    title: title === null ? 'Synthesis' : fill(title, scope),
    instructions: description === null ? null : fill(description, scope),
    needs: needs.length === 0 ? convoy.legs.map((leg) => leg.id) : needs,
  };
  return [...legs, synthesis];
}

function legStep(leg: Leg, convoy: ConvoyParts, shared: ReadonlyMap<string, string>): FormulaStep {
  const scope = new Map(shared);
  for (const key of ['id', 'title', 'focus'] as const) scope.set(`leg.${key}`, leg[key] ?? '');
  const ownText = fill(leg.description ?? '', scope);
  scope.set('leg.description', ownText);
  const { directory, leg_pattern: pattern } = convoy.output;
  if (pattern !== undefined)
    scope.set('output_path', fill(`${directory === undefined ? '' : `${directory}/`}${pattern}`, scope));
  const focus = leg.focus === null ? '' : `Focus: ${leg.focus}\n\n`;
  return {
    ...plainStep(leg.id, leg.at),
    title: leg.title ?? leg.id,
    instructions: convoy.prompt === null ? `${focus}${ownText}` : fill(convoy.prompt, scope),
    metadata: leg.metadata,
  };
}

/** Twice, since values may hold placeholders themselves; the second time ends it. */
function fill(text: string, scope: ReadonlyMap<string, string>): string {
  const once = (part: string): string =>
    part.replaceAll(/\{\{\s*\.([A-Za-z_][\w.]*)\s*\}\}/g, (whole, name: string) => scope.get(name) ?? whole);
  return once(once(text));
}

function plainStep(id: string, at: FormulaStep['at']): FormulaStep {
  return {
    id,
    at,
    title: null,
    description: null,
    instructions: null,
    design: null,
    notes: null,
    acceptance: null,
    needs: [],
    parallel: true,
    checks: [],
    gate: null,
    priority: null,
    labels: [],
    assignee: null,
    metadata: {},
    children: [],
    expand: null,
    loop: null,
    unsupported: [],
  };
}
