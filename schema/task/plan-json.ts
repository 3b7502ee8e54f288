import { z } from 'zod';
import { TownError } from '../errors';
import { isDeeper, JSON_LEVELS_MAX, type JsonObject } from '../json';
import { quote } from '../text';
import { DEPENDENCY_TYPES, isDependencyType, WAIT_GATES, type DependencyType } from './dependency';
import {
  isPlanKey,
  planRefusal,
  type PlanEdge,
  type PlanNode,
  type PlanProblem,
  type PlanRef,
  type TaskPlan,
} from './plan';
import { isTaskIdText, keyOfTitle } from './plan-keys';

/*
 * A plan as a JSON graph: `{nodes, edges}` as other trackers write it. `from` waits for `to`. Unknown fields are errors, so that a slip
 * of the pen is not a task that lacks something.
 */

const text = z.string();
const key = z.string().refine(isPlanKey, 'a key has letters, digits and _ . : - only, at most 100');
const type = z.string().refine(isDependencyType, `one of ${DEPENDENCY_TYPES.join(', ')}`);
const metadata = z.record(z.string(), z.unknown());

const NodeSchema = z.strictObject({
  key: key.optional(),
  title: z.string().trim().min(1),
  description: text.optional(),
  type: text.optional(),
  priority: z.int().min(0).max(4).optional(),
  assignee: text.optional(),
  /** Ours always are. */
  assign_after_create: z.boolean().optional(),
  labels: z.array(text).optional(),
  acceptance: text.optional(),
  acceptance_criteria: text.optional(),
  design: text.optional(),
  owner: text.optional(),
  spec_id: text.optional(),
  external_ref: text.optional(),
  estimate: z.int().min(0).optional(),
  due_at: text.optional(),
  defer_until: text.optional(),
  pinned: z.boolean().optional(),
  metadata: metadata.optional(),
  metadata_refs: z.record(z.string(), text).optional(),
  parent: key.optional(),
  parent_key: key.optional(),
  parent_id: text.optional(),
  needs: z.array(text).optional(),
  deps: z.array(z.strictObject({ target: text, type: type.optional() })).optional(),
});
const EdgeSchema = z.strictObject({
  from_key: key.optional(),
  from_id: text.optional(),
  to_key: key.optional(),
  to_id: text.optional(),
  type: type.optional(),
  gate: z.enum(WAIT_GATES).optional(),
  metadata: metadata.optional(),
});
const PlanSchema = z.strictObject({
  /** Kept by others in their own history; we have none to keep it in. */
  commit_message: text.optional(),
  nodes: z.array(NodeSchema),
  edges: z.array(EdgeSchema).optional(),
});

/** @throws INVALID_INPUT with all problems, each with its place */
export function readJsonPlan(source: string): TaskPlan {
  const parsed = PlanSchema.safeParse(decode(source));
  if (!parsed.success) {
    throw planRefusal(parsed.error.issues.map((issue) => ({ at: placeOf(issue.path), message: issue.message })));
  }
  const { nodes, edges = [] } = parsed.data;
  const problems: PlanProblem[] = [];
  const keyed = nodes.map((node, index) => ({ ...node, key: node.key ?? keyOfTitle(node.title, index) }));
  const known = new Set(keyed.map((node) => node.key));
  const refOf = (target: string): PlanRef =>
    known.has(target) || !isTaskIdText(target) ? { key: target } : { id: target };
  const inline: PlanEdge[] = [];
  const plan = keyed.map((node, index): PlanNode => {
    const at = `nodes[${index}]`;
    const from = { key: node.key };
    for (const target of node.needs ?? []) {
      inline.push({ at: `${at}.needs`, from, to: refOf(target), type: 'blocks', metadata: {} });
    }
    for (const dep of node.deps ?? []) {
      inline.push({ at: `${at}.deps`, from, to: refOf(dep.target), type: typeOf(dep.type), metadata: {} });
    }
    problems.push(...depthProblem(`${at}.metadata`, node.metadata));
    return {
      key: node.key,
      at,
      title: node.title,
      description: node.description ?? '',
      type: node.type ?? null,
      priority: node.priority ?? null,
      assignee: node.assignee ?? null,
      labels: node.labels ?? [],
      acceptance: node.acceptance ?? node.acceptance_criteria ?? null,
      design: node.design ?? null,
      owner: node.owner ?? null,
      spec_id: node.spec_id ?? null,
      external_ref: node.external_ref ?? null,
      estimated_minutes: node.estimate ?? null,
      due_at: node.due_at ?? null,
      defer_until: node.defer_until ?? null,
      pinned: node.pinned ?? false,
      metadata: (node.metadata ?? {}) as JsonObject, // from JSON
      metadata_refs: node.metadata_refs ?? {},
      parent: endOf(`${at}.parent`, node.parent_key ?? node.parent, node.parent_id, problems, true),
    };
  });
  const drawn = edges.flatMap((edge, index): PlanEdge[] => {
    const at = `edges[${index}]`;
    const from = endOf(`${at}.from`, edge.from_key, edge.from_id, problems, false);
    const to = endOf(`${at}.to`, edge.to_key, edge.to_id, problems, false);
    problems.push(...depthProblem(`${at}.metadata`, edge.metadata));
    if (from === null || to === null) return [];
    const more = { ...edge.metadata, ...(edge.gate === undefined ? {} : { gate: edge.gate }) } as JsonObject; // from JSON
    return [{ at, from, to, type: typeOf(edge.type), metadata: more }];
  });
  if (problems.length > 0) throw planRefusal(problems);
  return { nodes: plan, edges: [...inline, ...drawn] };
}

/** @throws INVALID_INPUT for what is no JSON, or has keys that no object should have */
function decode(source: string): unknown {
  const forbidden: string[] = [];
  try {
    const value: unknown = JSON.parse(source.replace(/^\uFEFF/, ''), (name, inner: unknown) => {
      if (name === '__proto__') forbidden.push(name);
      return inner;
    });
    if (forbidden.length === 0) return value;
  } catch (error) {
    // A reviver walks into depth; the text has at most half a megabyte, and may still be too deep for that.
    const why = error instanceof RangeError ? 'it is nested too deeply' : (error as Error).message;
    throw new TownError('INVALID_INPUT', `the file is not JSON: ${why}`, { cause: error });
  }
  throw new TownError('INVALID_INPUT', 'the file has a field called __proto__');
}

/** One of the two, or none where that is allowed. */
function endOf(
  at: string,
  name: string | undefined,
  id: string | undefined,
  problems: PlanProblem[],
  optional: boolean,
): PlanRef | null {
  if (name !== undefined && id !== undefined) problems.push({ at, message: 'a key and an id exclude each other' });
  else if (name !== undefined) return { key: name };
  else if (id !== undefined) {
    if (isTaskIdText(id)) return { id };
    problems.push({ at, message: `${quote(id)} is not the id of a task` });
  } else if (!optional) problems.push({ at, message: 'a key or an id is missing' });
  return null;
}

function typeOf(type_: string | undefined): DependencyType {
  return type_ !== undefined && isDependencyType(type_) ? type_ : 'blocks';
}

function depthProblem(at: string, value: unknown): PlanProblem[] {
  return isDeeper(value, JSON_LEVELS_MAX) ? [{ at, message: `more than ${JSON_LEVELS_MAX} levels deep` }] : [];
}

function placeOf(path: readonly PropertyKey[]): string {
  const place = path.map((step) => (typeof step === 'number' ? `[${step}]` : `.${String(step)}`)).join('');
  return place.replace(/^\./, '') || 'the file';
}
