import { TownError } from './errors';
import { quote } from './text';

/** `<rig>/<group>/<name>` such as `acme/polecats/amber`, or one word for a town-level agent (`mayor`). Parts are `[a-z0-9-]`. */
export type AgentAddress = string;
/** `<prefix>-<base36>`, with `.n` for a child: `acme-k3f9a`, `acme-k3f9a.1`. */
export type TaskId = string;
export type MoleculeId = string;
export type ConvoyId = string;
export type RigId = string;
/** Milliseconds since 1970. The clock is never read in this folder. */
export type Instant = number;

const NAME = /^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/;
/** Ids name parts of parts down to `acme-k3f9a.1.1.1.1.1.1`. */
export const ID_LEVELS_MAX = 6;
/** Other trackers count: `acme-7` is an id too. */
const TASK_ID = new RegExp(
  String.raw`^[a-z0-9](?:[a-z0-9-]{0,38})-(?:[a-z0-9]{3,40}|[0-9]{1,2})(?:\.[0-9]{1,6}){0,${ID_LEVELS_MAX}}$`,
);

/** A rig, agent name or prefix: lower-case letters, digits and `-`, 1 to 40 characters. */
export function parseName(text: string, what: string): string {
  if (NAME.test(text)) return text;
  throw new TownError('INVALID_INPUT', `${what} ${quote(text, 80)} is not a name`, {
    hint: 'use 1 to 40 lower-case letters, digits and dashes',
  });
}

export function parseAgentAddress(text: string): AgentAddress {
  const parts = text.split('/');
  if ((parts.length === 1 || parts.length === 3) && parts.every((part) => NAME.test(part))) return text;
  throw new TownError('INVALID_INPUT', `${quote(text, 80)} is not an agent address`, {
    hint: 'write <rig>/<group>/<name>, for example acme/polecats/amber; see: town agent list',
  });
}

export function isTaskId(text: string): boolean {
  return TASK_ID.test(text);
}

export function parseTaskId(text: string): TaskId {
  if (isTaskId(text)) return text;
  throw new TownError('INVALID_INPUT', `${quote(text, 80)} is not a task id`, { hint: 'see: town task list' });
}

/** The id of a task: prefix, dash, then the first `length` base-36 characters of a 64-bit digest. Longer on collision. */
export function taskIdOf(prefix: string, digest: bigint, length: number): TaskId {
  return `${prefix}-${digest.toString(36).padStart(13, '0').slice(-13).slice(0, length)}`;
}

/** The id of the nth part of a task, from 1. @throws INVALID_INPUT when it would be none that can be read again */
export function childIdOf(parent: TaskId, nth: number): TaskId {
  const id = `${parent}.${nth}`;
  if (isTaskId(id)) return id;
  throw new TownError(
    'INVALID_INPUT',
    `${parent} takes no further parts: ids have at most ${ID_LEVELS_MAX} levels, and numbers of at most six digits`,
    {
      hint: `make it without a parent; a task becomes a part by: town dep add <the task> ${parent} --type parent-child`,
    },
  );
}

export function encodeAddress(address: AgentAddress): string {
  return address.replaceAll('/', '.');
}

/** Workflow ids: one run per thing, found by its name. */
export const runId = {
  molecule: (id: MoleculeId) => `molecule.${id}`,
  agent: (address: AgentAddress) => `agent.${encodeAddress(address)}`,
  dispatcher: (rig: RigId) => `dispatcher.${rig}`,
  convoy: (id: ConvoyId) => `convoy.${id}`,
} as const;

/** The activity task queue that the agent's host polls: the agent's hook. */
export function hookQueue(address: AgentAddress, namespace = ''): string {
  return `${namespace}hook.${encodeAddress(address)}`;
}

/** The task queue of workflows and of all activities that are not on a hook. */
export const TOWN_QUEUE = 'town';
