import { isList, isObject } from '../json';
import type {
  Advice,
  BondPoint,
  Branch,
  ComposedGate,
  ConvoyParts,
  Expansion,
  Formula,
  FormulaStep,
  Hook,
  Leg,
  Pointcut,
  Synthesis,
  Trigger,
} from './formula';
import { whyUnreadable } from './gate';
import { carriedKeys, readId, readStep } from './read-step';
import type { TableReader } from './reader';

type Composed = Pick<Formula, 'expansions' | 'aspects' | 'branches' | 'gates' | 'bondPoints' | 'hooks'>;

const COMPOSE_KEYS = ['expand', 'map', 'aspects', 'branch', 'gate', 'bond_points', 'hooks'];
/** What an advice may say beside the keys of a step; kept in the metadata of the step. */
const ADVICE_STEP_KEYS = ['args', 'output'];

/** What a formula does to its steps and takes from other formulas. */
export function readCompose(table: TableReader | null): Composed {
  table?.expectKeys(COMPOSE_KEYS);
  const tables = (key: string): TableReader[] => table?.tables(key) ?? [];
  return {
    expansions: [
      ...tables('expand').map((entry) => readExpansion(entry, 'target')),
      ...tables('map').map((entry) => readExpansion(entry, 'select')),
    ],
    aspects: table?.texts('aspects') ?? [],
    branches: tables('branch').map(readBranch),
    gates: tables('gate').flatMap(readComposedGate),
    bondPoints: tables('bond_points').flatMap(readBondPoint),
    hooks: tables('hooks').flatMap(readHook),
  };
}

export function readPointcuts(table: TableReader): Pointcut[] {
  return table.tables('pointcuts').map((entry) => {
    entry.expectKeys(['glob', 'type', 'label']);
    const pointcut = { glob: entry.text('glob'), type: entry.text('type'), label: entry.text('label') };
    if (pointcut.glob === null && pointcut.type === null && pointcut.label === null) {
      entry.badValue('glob', { message: 'the pointcut matches nothing', fix: 'Add glob, type or label.' });
    }
    return pointcut;
  });
}

export function readAdvice(formula: TableReader, pointcuts: readonly Pointcut[]): Advice[] {
  return formula.tables('advice').map((table) => {
    table.expectKeys(['target', 'before', 'after', 'around']);
    const around = table.table('around');
    around?.expectKeys(['before', 'after']);
    const target = table.text('target');
    if (target === null && pointcuts.length === 0) {
      table.badValue('target', { message: 'the advice has no target', fix: 'Add target = "step-id" or a glob.' });
    }
    return {
      target: target ?? (pointcuts.length === 0 ? '' : null),
      pointcuts,
      before: [...readAdviceSteps(table, 'before'), ...(around === null ? [] : readAdviceSteps(around, 'before'))],
      after: [...(around === null ? [] : readAdviceSteps(around, 'after')), ...readAdviceSteps(table, 'after')],
      at: table.place,
    };
  });
}

const CONVOY_KEYS = ['legs', 'aspects', 'synthesis', 'prompts', 'output', 'presets'];

/** The legs of a convoy, or what Gas Town calls the aspects of a formula: both look at one thing from several sides. */
export function readConvoy(table: TableReader): ConvoyParts | null {
  if (!CONVOY_KEYS.some((key) => table.has(key))) return null;
  const key = table.has('aspects') ? 'aspects' : 'legs';
  const prompts = table.table('prompts');
  const legs = table.tables(key).map(readLeg);
  return {
    legs,
    synthesis: readSynthesis(table.table('synthesis')),
    prompt: prompts?.text('base') ?? null,
    output: table.textTable('output'),
    presets: readPresets(table.table('presets')),
  };
}

function readSynthesis(table: TableReader | null): Synthesis | null {
  if (table === null) return null;
  table.expectKeys(['title', 'description', 'depends_on', 'needs']);
  const needs = ['needs', 'depends_on'].flatMap((key) => table.texts(key).map((leg) => ({ leg, at: table.at(key) })));
  return {
    title: table.text('title'),
    description: table.prose('description'),
    needs,
    at: table.place,
  };
}

function readLeg(leg: TableReader): Leg {
  leg.expectKeys(['id', 'title', 'focus', 'description', 'agent', 'review_only']);
  return {
    id: readId(leg),
    title: leg.text('title'),
    focus: leg.text('focus'),
    description: leg.prose('description'),
    metadata: carriedKeys(leg, ['focus', 'agent', 'review_only']),
    at: leg.place,
  };
}

function readPresets(table: TableReader | null): ConvoyParts['presets'] {
  if (table === null) return {};
  return Object.fromEntries(
    table.keys().map((name) => {
      const entry = table.inner(table.object(name), table.at(name));
      entry.expectKeys(['description', 'legs']);
      const legs = entry.texts('legs');
      if (legs.length === 0)
        entry.badValue('legs', { message: `the preset ${name} has no legs`, fix: 'Add legs = ["…"].' });
      return [name, { legs, at: entry.place }] as const;
    }),
  );
}

/** One step or a list of them. */
function readAdviceSteps(table: TableReader, key: string): FormulaStep[] {
  const value = table.value(key);
  if (value === undefined) return [];
  if (isObject(value)) return [readStep(table.inner(value, table.at(key)), ADVICE_STEP_KEYS)];
  if (isList(value)) return table.tables(key).map((step) => readStep(step, ADVICE_STEP_KEYS));
  table.object(key); // notes the wrong type
  return [];
}

function readExpansion(table: TableReader, targetKey: 'target' | 'select'): Expansion {
  table.expectKeys([targetKey, 'with', 'vars']);
  return {
    target: required(table, targetKey),
    many: targetKey === 'select',
    severity: table.severity(),
    with: required(table, 'with'),
    vars: table.textTable('vars'),
    at: table.place,
  };
}

function readBranch(table: TableReader): Branch {
  table.expectKeys(['from', 'steps', 'join']);
  const steps = table.texts('steps');
  if (steps.length === 0)
    table.badValue('steps', { message: 'the branch has no steps', fix: 'Add steps = ["a", "b"].' });
  return { from: required(table, 'from'), steps, join: required(table, 'join'), at: table.place };
}

function readComposedGate(table: TableReader): ComposedGate[] {
  table.expectKeys(['before', 'condition']);
  const before = required(table, 'before');
  const condition = required(table, 'condition');
  const why = condition === '' ? null : whyUnreadable(condition);
  if (why !== null) {
    table.oddValue('condition', {
      code: 'FORMULA_CONDITION',
      message: `the condition cannot be read, so only a person can open the gate: ${why}`,
      fix: "Write, for example, review.output.approved == true or build.status == 'complete'.",
    });
  }
  return [{ before, condition, at: table.place }];
}

/** Beside `before_step` and `after_step` the older `step` and `position` are read. */
function readBondPoint(table: TableReader): BondPoint[] {
  table.expectKeys(['id', 'description', 'after_step', 'before_step', 'step', 'position', 'parallel']);
  const position = table.choice('position', ['before', 'after']) ?? 'after';
  const older = table.text('step');
  const after = table.text('after_step') ?? (position === 'after' ? older : null);
  const before = table.text('before_step') ?? (position === 'before' ? older : null);
  const id = required(table, 'id');
  const step = after ?? before;
  if (step === null || (after !== null && before !== null)) {
    table.badValue(step === null ? 'after_step' : 'before_step', {
      message: `the bond point is ${step === null ? 'at no step' : 'both after and before a step'}`,
      fix: 'Write either after_step or before_step.',
    });
    return [];
  }
  return [
    { id, step, side: after === null ? 'before' : 'after', parallel: table.flag('parallel') ?? false, at: table.place },
  ];
}

function readHook(table: TableReader): Hook[] {
  table.expectKeys(['trigger', 'attach', 'at', 'vars']);
  const text = required(table, 'trigger');
  const attach = required(table, 'attach');
  const trigger = readTrigger(text);
  if (trigger === null && text !== '') {
    table.oddValue('trigger', {
      message: `"${text.slice(0, 60)}" is no trigger, so the hook never acts`,
      fix: 'Write label:<name>, type:<name>, priority:<n> or priority:<n>-<m>.',
    });
  }
  if (trigger === null) return [];
  return [{ trigger, attach, bondPoint: table.text('at'), vars: table.textTable('vars'), at: table.place }];
}

function readTrigger(text: string): Trigger | null {
  const [, kind, value = ''] = /^(label|type):(.+)$/.exec(text) ?? [];
  if (kind === 'label' || kind === 'type') return { kind, value };
  const [found, from = '', to = from] = /^priority:([0-4])(?:-([0-4]))?$/.exec(text) ?? [];
  return found === undefined ? null : { kind: 'priority', from: Number(from), to: Number(to) };
}

function required(table: TableReader, key: string): string {
  if (!table.has(key)) table.badValue(key, { message: `${key} is missing`, fix: `Add ${key} = "…".` });
  return table.text(key) ?? '';
}
