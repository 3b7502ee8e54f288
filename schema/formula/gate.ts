import { isObject } from '../json';
import { readCondition } from './condition';
import { notADuration, parseDurationMs } from './duration';
import type { FormulaGate, GateKind } from './formula';
import { within, type Place } from './problems';
import type { TableReader } from './reader';

/** The words that files use for the kinds of gate. */
const GATE_WORDS: Readonly<Record<string, GateKind>> = {
  human: 'human',
  approval: 'human',
  manual: 'human',
  timer: 'timer',
  delay: 'timer',
  cooldown: 'timer',
  task: 'task',
  bead: 'task',
  issue: 'task',
  molecule: 'molecule',
  mol: 'molecule',
  'gh:run': 'ci_run',
  ci: 'ci_run',
  ci_run: 'ci_run',
  'gh:pr': 'pull_request',
  pr: 'pull_request',
  pull_request: 'pull_request',
  mail: 'mail',
  email: 'mail',
  condition: 'condition',
  conditional: 'condition',
};
const GATE_KEYS = (
  'type kind id await_id timeout duration prompt reason description approvers approver roles role repo condition ' +
  'workflow run pr number task bead molecule address'
).split(' ');
/** Where the target of a kind may stand beside `id` and `await_id`. */
const TARGET_KEYS = {
  task: ['task', 'bead'],
  molecule: ['molecule'],
  ci_run: ['run', 'workflow'],
  pull_request: ['number', 'pr'],
  mail: ['address'],
} as const satisfies Partial<Record<GateKind, readonly string[]>>;

/** Reads the gate of a step; a text alone is its type. In compatible mode what cannot be run as it stands waits for a person. */
export function readGate(step: TableReader): FormulaGate | null {
  const value = step.value('gate');
  if (value === undefined) return null;
  if (typeof value === 'string') return readGateTable(step.inner({ type: value }, step.at('gate')));
  return isObject(value) ? readGateTable(step.inner(value, step.at('gate'))) : (step.object('gate'), null);
}

/** A duration as text, checked unless a variable completes it. */
export function readDuration(table: TableReader, key: string): string | null {
  const text = table.text(key);
  if (text === null || text.includes('{') || parseDurationMs(text) !== null) return text;
  table.oddValue(key, notADuration(text));
  return table.mode === 'strict' ? text : null;
}

/** Notes a condition that cannot be read. @returns why it cannot, or null. */
export function whyUnreadable(text: string): string | null {
  // What macros such as {target} leave open is read again when they are filled in.
  const macrosFilled = text.replaceAll(/(?<!\{)\{[A-Za-z_][\w.]*\}(?!\})/g, '1');
  const found = readCondition(macrosFilled, { values: new Map(), self: 'x' });
  return found.ok ? null : found.why;
}

/** A gate that only a person opens, with what stood there in its prompt. */
export function personGate(what: string, at: Place): FormulaGate {
  return {
    kind: 'human',
    target: '',
    prompt: `Open this when it holds: ${what}`,
    approvers: [],
    timeout: null,
    condition: '',
    at,
  };
}

function readGateTable(table: TableReader): FormulaGate {
  table.expectKeys(GATE_KEYS);
  const word = table.firstText('type', 'kind') ?? inferred(table);
  const gate: FormulaGate = {
    kind: 'human',
    target: '',
    prompt: table.firstText('prompt', 'reason', 'description'),
    approvers: ['approvers', 'approver', 'roles', 'role'].flatMap((key) => table.texts(key)),
    timeout: readDuration(table, 'timeout'),
    condition: '',
    at: table.place,
  };
  const kind = word !== null && Object.hasOwn(GATE_WORDS, word) ? GATE_WORDS[word] : undefined;
  if (kind === undefined) return unknownGate(table, gate, word);
  if (kind === 'human') return gate;
  if (kind === 'timer') return timerGate(table, gate);
  if (kind === 'condition') return conditionGate(table, gate);
  const target = table.firstText('id', 'await_id', ...TARGET_KEYS[kind]);
  if (target !== null && target !== '') {
    // `rig:id` names the rig of a task, which our ids do not need.
    return { ...gate, kind, target: kind === 'task' ? target.replace(/^[\w-]+:/, '') : target };
  }
  table.oddValue('type', {
    code: 'FORMULA_GATE',
    message: `a gate of type ${word} must say what it waits for, so only a person can open it`,
    fix: `Add id = "…"${kind === 'ci_run' ? ', the name of a workflow or the number of a run' : ''}.`,
  });
  return { ...gate, prompt: gate.prompt ?? `Open this when the ${word} is done` };
}

/** In compatible mode a gate without type is what its other keys suggest. */
function inferred(table: TableReader): string | null {
  if (table.mode === 'strict') return null;
  if (table.has('condition')) return 'condition';
  return table.has('duration') ? 'timer' : null;
}

function unknownGate(table: TableReader, gate: FormulaGate, word: string | null): FormulaGate {
  table.oddValue(table.has('kind') ? 'kind' : 'type', {
    code: 'FORMULA_GATE',
    message: word === null ? 'the gate has no type' : `"${word}" is not a type of gate, so only a person can open it`,
    fix: 'Use human, timer, task, molecule, gh:run, gh:pr, mail or condition.',
  });
  return { ...gate, prompt: gate.prompt ?? (word === null ? null : `Open this when the ${word} gate holds`) };
}

function timerGate(table: TableReader, gate: FormulaGate): FormulaGate {
  const id = table.firstText('id', 'await_id');
  const duration = readDuration(table, 'duration') ?? gate.timeout ?? (id !== null && parseDurationMs(id) ? id : null);
  if (duration !== null) return { ...gate, kind: 'timer', target: duration, timeout: null };
  table.oddValue('type', { message: 'a timer gate needs a duration', fix: 'Add duration = "30m".' });
  return { ...gate, prompt: gate.prompt ?? 'Open this when the time has come' };
}

function conditionGate(table: TableReader, gate: FormulaGate): FormulaGate {
  const condition = table.firstText('condition', 'id');
  if (condition === null) {
    table.oddValue('type', {
      message: 'the gate has no condition',
      fix: 'Add condition = "step.status == \'complete\'".',
    });
    return gate;
  }
  const why = whyUnreadable(condition);
  if (why === null) return { ...gate, kind: 'condition', condition };
  table.oddValue('condition', {
    code: 'FORMULA_CONDITION',
    message: `the condition cannot be read, so only a person can open the gate: ${why}`,
    fix: "Write, for example, review.output.approved == true or build.status == 'complete'.",
  });
  const person = personGate(condition, within(table.place, 'condition'));
  return { ...gate, prompt: gate.prompt === null ? person.prompt : `${gate.prompt} (${condition})` };
}
