import type { JsonObject } from '../json';
import type { GateRow, MoleculeRow, RunEvent, StepBindings, StepRow, StepTemplate } from '../runs';
import { levelsOf } from './groups';
import {
  attentionOf,
  instancesAround,
  type Molecule,
  type MoleculeEvent,
  type RecordedMoleculeEvent,
  resumePointer,
  type Step,
  stepAt,
} from './molecule';

/** The projection's row of a molecule. */
export function moleculeRow(molecule: Molecule): MoleculeRow {
  const resume = resumePointer(molecule);
  return {
    id: molecule.id,
    root_task_id: molecule.root_task_id,
    rig_id: molecule.rig_id,
    formula: molecule.formula,
    recipe_digest: molecule.recipe_digest,
    status: molecule.status === 'running' && molecule.paused === true ? 'paused' : molecule.status,
    agent_id: molecule.lanes[0]?.agent ?? null,
    resume_step_id: resume === null ? null : resume.id,
    steps_total: molecule.steps.length,
    steps_closed: molecule.steps.filter((step) => step.state.status === 'closed').length,
    priority: molecule.priority,
    outcome: molecule.status === 'running' ? null : molecule.status,
    attention: molecule.status === 'refused' ? molecule.reason : attentionOf(molecule),
  };
}

export function stepRow(molecule: Molecule, position: number): StepRow {
  const step = stepAt(molecule, position);
  const closed = step.state.status === 'closed' ? step.state : null;
  return {
    step: step.id,
    position,
    id: `${molecule.root_task_id ?? molecule.id}.${step.id}`,
    title: step.title,
    // Readers know five words: a loop or a container that is open waits for what is inside.
    status: step.state.status === 'running' ? 'waiting' : step.state.status,
    attempt: step.attempt ?? 0,
    agent_id: step.state.status === 'hooked' ? step.state.agent : (closed?.agent ?? null),
    needs: step.needs.map((need) => stepAt(molecule, need).id),
    outcome: closed?.outcome ?? null,
    note: closed?.note ?? null,
    commit_id: closed?.commit_id ?? null,
    lost_reason: step.lostReason,
    round: step.round ?? 1,
    ...textsOf(molecule, step),
    gate: gateOf(step),
  };
}

/** Positions of the steps whose rows differ between two states of one molecule. */
export function changedSteps(before: Molecule | null, after: Molecule): number[] {
  return after.steps.flatMap((step, position) => (before?.steps[position] === step ? [] : [position]));
}

/**
 * The stored form of an event. As in every event of the town `step` is the step's name; its `position` in the recipe stands
 * beside it, for folding the event again.
 */
export function runEventOf(recorded: RecordedMoleculeEvent, after: Molecule): RunEvent {
  const { event, seq, at } = recorded;
  const agent = 'agent' in event ? event.agent : null;
  const stored = 'step' in event ? { ...event, step: stepAt(after, event.step).id, position: event.step } : event;
  const payload = JSON.parse(JSON.stringify(stored)) as JsonObject;
  return { seq, at, type: event.type, task_id: after.root_task_id, molecule_id: after.id, agent_id: agent, payload };
}

/**
 * The event that a stored row holds. The row was written by `runEventOf`, so its payload is trusted. Rows of the first towns have
 * the position as `step` (and the name as `step_id`), and no `position`.
 */
export function eventOfRow(row: {
  readonly seq: number;
  readonly at: number;
  readonly payload: JsonObject;
}): RecordedMoleculeEvent {
  const { position, ...payload } = row.payload;
  const event = position === undefined ? payload : { ...payload, step: position };
  return { seq: row.seq, at: row.at, event: event as unknown as MoleculeEvent };
}

/** Where the texts of a step that came later are, and what fills them. */
function textsOf(
  molecule: Molecule,
  step: Step,
): { readonly template: StepTemplate | null; readonly bindings: StepBindings | null } {
  const around = instancesAround(molecule, step);
  const [own] = around;
  if (own === undefined || step.body === undefined) return { template: null, bindings: null };
  const outermost = around.at(-1);
  const { recipe_digest } = outermost?.kind === 'bond' ? outermost : molecule;
  return {
    template: { recipe_digest, group: own.kind === 'bond' ? null : own.group, step: step.body },
    bindings: { scopes: [...around.map(({ prefix }) => prefix), ''], levels: levelsOf(molecule, around) },
  };
}

function gateOf({ gate, state }: Step): GateRow | null {
  if (gate === null || state.status !== 'gated') return null;
  return { spec: gate, since: state.since, escalated: state.escalated ?? null, trouble: state.trouble ?? null };
}
