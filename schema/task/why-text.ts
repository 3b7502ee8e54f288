import { unreachable } from '../errors';
import type { GateSpec } from '../formula/flow';
import type { Cause, EdgeCause, Failure, OtherTask, SessionFacts } from './why';

const TITLE_MAX = 60;
const NOTE_MAX = 300;

/** One cause as a sentence about the task. */
export function sentenceOf(cause: Cause): string {
  switch (cause.kind) {
    case 'closed':
      return `It ended as ${cause.outcome ?? 'done'}${by(cause.by)}${on(cause.at)}${colon(cause.reason)}.`;
    case 'pinned':
      return 'It is pinned: a mark to be read, never ready.';
    case 'record':
      return `It is a record of type ${cause.type} and no work, so it is not handed out by itself.`;
    case 'impossible':
    case 'blocked':
    case 'waits_for_parts':
    case 'only_if_failed':
      return `It ${edgePhrase(cause)}.`;
    case 'inherited':
      return `It is a part of ${named(cause.from)}, which ${cause.causes.map(edgePhrase).join(', and ')}.`;
    case 'deferred':
      return `It is put off until ${cause.until === null ? 'somebody ends that' : moment(cause.until)}.`;
    case 'parent_deferred':
      return `It is a part of ${cause.parent_id}, which is put off until ${
        cause.until === null ? 'somebody ends that' : moment(cause.until)
      }.`;
    case 'start_failed':
      return `The message that starts molecule ${cause.molecule_id} failed for good${on(cause.at)}${colon(
        cause.error,
      )}. Nobody works on it.`;
    case 'starting':
      return `Molecule ${cause.molecule_id} was asked for${on(cause.since)} and has not begun yet${
        cause.tries === 0 ? '' : ` (${count(cause.tries, 'try', 'tries')}, last${colon(cause.error ?? 'unknown')})`
      }.`;
    case 'attention':
      return `A person must look at molecule ${cause.molecule_id}: ${clip(cause.why, NOTE_MAX)}.`;
    case 'paused':
      return `Molecule ${cause.molecule_id} is paused, so nothing further of it begins.`;
    case 'gate':
      return `Step ${cause.step} of molecule ${cause.molecule_id} waits at a gate since ${moment(cause.since)}: ${gatePhrase(
        cause.gate,
        cause.since,
      )}.`;
    case 'working':
      return `${cause.agent ?? 'Somebody'} works on step ${cause.step} of molecule ${cause.molecule_id} (${
        cause.steps_closed
      } of ${cause.steps_total} steps closed), attempt ${cause.attempt}, since ${moment(cause.since)}; ${sessionPhrase(
        cause.session,
      )}.`;
    case 'hook_queue':
      return `Molecule ${cause.molecule_id} is number ${cause.place} in the queue of ${cause.agent}${
        cause.agent_status === 'active' ? '' : `, which is ${cause.agent_status},`
      } since ${moment(cause.since)}${cause.holder === null ? '' : `; ${cause.holder} has the hook`}.`;
    case 'dispatch_queue':
      return `Molecule ${cause.molecule_id} is number ${cause.place} in the queue of rig ${cause.rig_id} since ${moment(
        cause.since,
      )}; ${cause.busy} of ${cause.workers_max} workers are busy.`;
    case 'step_ready':
      return `Step ${cause.step} of molecule ${cause.molecule_id} is ready since ${moment(
        cause.since,
      )} and waits for its agent.`;
    case 'molecule':
      return `Its molecule ${cause.id} is ${cause.status} with ${cause.steps_closed} of ${cause.steps_total} steps closed, and nothing of it is under way.`;
    case 'claimed':
      return `${cause.agent ?? 'Somebody'} has it since ${moment(cause.since)}, without a molecule; ${sessionPhrase(
        cause.session,
      )}.`;
    case 'merging':
      return MERGING[cause.status] ?? `It is ${cause.status}.`;
    case 'open_parts':
      return `${count(cause.total, 'part of it is', 'parts of it are')} open: ${andMore(cause.ids, cause.total)}.`;
    case 'convoy_stopped':
      return `Its convoy ${cause.convoy_id} is stopped, so nothing hands it out.`;
    case 'no_rig':
      return `Neither it nor its convoy ${cause.convoy_id} belongs to a rig, so the convoy cannot hand it out.`;
    case 'on_hold':
      return 'It carries the label hold: only a person may hand it out.';
    case 'denied':
      return `Policy denied ${cause.actor} to give it to ${cause.target}${on(cause.at)}${colon(cause.reasons.join('; '))}.`;
    case 'assigned':
      return `It is given to ${cause.agent}, who has not begun it.`;
    case 'untaken':
      return `Nothing holds it back, and nobody has taken it since ${moment(cause.since)}.`;
    case 'failure':
      return `Last failure: ${failurePhrase(cause)}.`;
    case 'overdue':
      return `It was due ${moment(cause.due_at)}.`;
    default:
      return unreachable(cause, 'sentenceOf');
  }
}

const MERGING: Readonly<Record<string, string>> = {
  impl_complete: 'Its work is complete and is yet to be handed in for merging.',
  merge_ready: 'Its work waits to be merged.',
  merge_conflict: 'Its work could not be merged: there is a conflict.',
  merged: 'Its work is merged; only closing it is left.',
};

/** What goes after "It", or after "a part of …, which". */
function edgePhrase(cause: EdgeCause): string {
  switch (cause.kind) {
    case 'impossible':
      return `can never start: it is only needed if ${named(cause.other)} fails, and that ended as ${cause.outcome ?? 'done'}`;
    case 'blocked':
      return `waits for ${andMore(cause.by.map(described), cause.total)}`;
    case 'waits_for_parts':
      return `waits for ${partsPhrase(cause)}`;
    case 'only_if_failed':
      return `is only needed if ${described(cause.other)} fails, and waits for that`;
    default:
      return unreachable(cause, 'edgePhrase');
  }
}

function partsPhrase({ other, gate, open, closed }: Extract<EdgeCause, { kind: 'waits_for_parts' }>): string {
  if (open + closed === 0) return `${described(other)}, which has no parts, to be closed`;
  if (gate === 'any-children') return `one of the ${count(open, 'part', 'parts')} of ${named(other)} to be closed`;
  return `all parts of ${named(other)} (${open} of ${open + closed} open)`;
}

function gatePhrase(gate: GateSpec | null, since: string): string {
  if (gate === null) return 'its condition is not met';
  const end =
    gate.kind === 'timer' || gate.timeoutMs === null ? '' : `; a person is asked ${later(since, gate.timeoutMs)}`;
  switch (gate.kind) {
    case 'human':
      return `${gate.approvers === undefined ? 'a person' : `one of ${gate.approvers.join(', ')}`} must open it ("${clip(gate.prompt, NOTE_MAX)}")${end}`;
    case 'timer':
      return `it opens ${later(since, gate.durationMs)}`;
    case 'task':
      return `task ${gate.task_id} must be closed${end}`;
    case 'molecule':
      return `molecule ${gate.molecule_id} must end${end}`;
    case 'ci_run':
      return `CI run ${gate.run} must succeed${end}`;
    case 'pull_request':
      return `pull request ${gate.number} must be merged${end}`;
    case 'mail':
      return `mail for ${gate.address} must arrive${end}`;
    case 'condition':
      return `a condition on other steps must hold${end}`;
    default:
      return unreachable(gate, 'gatePhrase');
  }
}

function sessionPhrase(session: SessionFacts | null): string {
  if (session === null) return 'no session was opened yet';
  if (session.live) return `its session lives since ${moment(session.started_at)}`;
  const code = session.exit_code === null ? '' : `, exit code ${session.exit_code}`;
  return `it has no live session: the last one ended${on(session.ended_at)} (${session.end_reason ?? 'unknown'}${code})`;
}

function failurePhrase({ what, at, molecule_id, step, cause, note }: Failure): string {
  switch (what) {
    case 'step_failed':
      return `step ${step} of molecule ${molecule_id} was ended as failed${by(cause)}${on(at)}${colon(note)}`;
    case 'step_lost':
      return `step ${step} of molecule ${molecule_id} was lost${on(at)} by ${cause ?? 'an unknown cause'}${colon(note)}`;
    case 'molecule_refused':
      return `molecule ${molecule_id} was refused${on(at)}${colon(note)}`;
    case 'task_failed':
      return `it was closed as failed${by(cause)}${on(at)}${colon(note)}`;
    default:
      return unreachable(what, 'failurePhrase');
  }
}

function described(other: OtherTask): string {
  return `${named(other)} (${other.status}${other.agent === null ? '' : `, ${other.agent}`})`;
}

function named({ id, title }: { readonly id: string; readonly title: string }): string {
  return `${id} "${clip(title, TITLE_MAX)}"`;
}

/** `total` counts what is not named too. */
function andMore(names: readonly string[], total: number): string {
  const more = total - names.length;
  const all = more > 0 ? [...names, `${more} more`] : names;
  return all.length < 2 ? all.join('') : `${all.slice(0, -1).join(', ')} and ${all.at(-1)}`;
}

function count(n: number, one: string, many: string): string {
  return `${n} ${n === 1 ? one : many}`;
}

function by(actor: string | null): string {
  return actor === null ? '' : ` by ${actor}`;
}

function on(at: string | null): string {
  return at === null ? '' : ` on ${moment(at)}`;
}

/** Words of others, without the full stop that the sentence has itself. */
function colon(text: string | null): string {
  const said = clip(text ?? '', NOTE_MAX).replace(/\.$/, '');
  return said === '' ? '' : `: ${said}`;
}

/** The end of the year 9999: the last time with a year of four digits. */
const TIME_MAX = 253_402_300_799_999;

function later(since: string, ms: number): string {
  return `on ${moment(new Date(Math.min(Date.parse(since) + ms, TIME_MAX)).toISOString())}`;
}

/** `2026-05-01 15:00 UTC` */
function moment(at: string): string {
  return `${at.slice(0, 10)} ${at.slice(11, 16)} UTC`;
}

function clip(text: string, max: number): string {
  const line = text.replaceAll(/\s+/g, ' ').trim();
  return line.length <= max ? line : `${line.slice(0, max - 1).trimEnd()}…`;
}
