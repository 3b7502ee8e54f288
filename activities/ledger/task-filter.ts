import { sql, type RawBuilder } from 'kysely';
import { TownError } from '../../schema/errors';
import type { TaskConditions, TaskFilter } from '../../schema/ledger';
import { statusOf, TASK_STATUSES, type TaskStatus } from '../../schema/task/status';
import * as input from './input';
import { queryCondition } from './query-conditions';
import { BLOCKED, DORMANT, escapeLike, likeOf, OVERDUE, STATUS } from './task-expressions';

type Conditions = RawBuilder<unknown>[];

/** Of a query on `tasks`, to be joined by `and`; never empty. @throws INVALID_INPUT */
export function conditionsOf(filter: TaskFilter): Conditions {
  const all = sharedConditions(filter);
  if (filter.status !== undefined) all.push(...statusCondition(filter.status.map(parseStatus)));
  if (filter.assigned_agent_id !== undefined)
    all.push(sql`assigned_agent_id is not distinct from ${filter.assigned_agent_id}`);
  within(all, sql`completed_at`, 'closed', filter.closed_after, filter.closed_before);
  if (filter.overdue !== undefined) {
    all.push(is(filter.overdue, OVERDUE));
  }
  if (filter.deferred !== undefined) all.push(is(filter.deferred, DORMANT));
  if (filter.pinned !== undefined) all.push(is(filter.pinned, sql`pinned`));
  if (filter.blocked !== undefined) {
    all.push(is(filter.blocked, BLOCKED));
  }
  return all;
}

/** What `list`, `ready` and `blocked` have in common. */
export function sharedConditions(filter: TaskConditions): Conditions {
  const all: Conditions = [sql`true`];
  if (filter.ids !== undefined) all.push(sql`id = any(${texts(filter.ids, 'ids')}::text[])`);
  if (filter.rig_id !== undefined) all.push(sql`rig_id = ${filter.rig_id}`);
  if (filter.type !== undefined) all.push(sql`type = ${filter.type}`);
  if (filter.exclude_types !== undefined) all.push(sql`type <> all(${texts(filter.exclude_types, 'types')}::text[])`);
  for (const label of [...(filter.label === undefined ? [] : [filter.label]), ...(filter.labels ?? [])]) {
    all.push(hasLabel(sql`l.label = ${label}`));
  }
  if (filter.label_any !== undefined)
    all.push(hasLabel(sql`l.label = any(${texts(filter.label_any, 'labels')}::text[])`));
  if (filter.label_pattern !== undefined) all.push(hasLabel(sql`l.label like ${labelLike(filter.label_pattern)}`));
  if (filter.exclude_labels !== undefined) {
    all.push(sql`not ${hasLabel(sql`l.label = any(${texts(filter.exclude_labels, 'labels')}::text[])`)}`);
  }
  if (filter.owner !== undefined) all.push(sql`owner is not distinct from ${filter.owner}`);
  if (filter.priority_min !== undefined) all.push(sql`priority >= ${input.priority(filter.priority_min)}`);
  if (filter.priority_max !== undefined) all.push(sql`priority <= ${input.priority(filter.priority_max)}`);
  if (filter.parent_id === null) all.push(sql`parent_id is null`);
  else if (filter.parent_id !== undefined) all.push(isBelow(filter.parent_id, filter.deep === true));
  if (filter.convoy_id !== undefined) {
    all.push(sql`id in (select task_id from convoy_members where convoy_id = ${filter.convoy_id})`);
  }
  within(all, sql`created_at`, 'created', filter.created_after, filter.created_before);
  within(all, sql`updated_at`, 'updated', filter.updated_after, filter.updated_before);
  within(all, sql`due_at`, 'due', filter.due_after, filter.due_before);
  if (filter.has_external_ref !== undefined) all.push(is(filter.has_external_ref, sql`external_ref is not null`));
  if (filter.external_ref !== undefined) all.push(sql`external_ref = ${filter.external_ref}`);
  if (filter.source_system !== undefined) all.push(sql`source_system = ${filter.source_system}`);
  if (filter.metadata !== undefined) all.push(sql`metadata @> ${input.json(filter.metadata, 'metadata')}::jsonb`);
  if (filter.has_metadata_key !== undefined) all.push(sql`jsonb_exists(metadata, ${filter.has_metadata_key}::text)`);
  if (filter.text !== undefined) all.push(containsText(filter.text));
  if (filter.query !== undefined) all.push(queryCondition(filter.query));
  return all;
}

/** @throws INVALID_INPUT */
export function parseStatus(word: string): TaskStatus {
  const status = statusOf(word);
  if (status !== null) return status;
  throw new TownError('INVALID_INPUT', `${JSON.stringify(word.slice(0, 80))} is not a status of a task`, {
    hint: `one of ${TASK_STATUSES.join(', ')}`,
  });
}

/** The second is what is seen; the first lets an index be used. */
function statusCondition(status: readonly TaskStatus[]): Conditions {
  const seen = sql`${STATUS} = any(${[...status]}::text[])`;
  if (!status.includes('open') && !status.includes('deferred')) return [sql`status = any(${[...status]}::text[])`];
  return [sql`status = any(${[...new Set([...status, 'deferred'])]}::text[])`, seen];
}

function isBelow(parent: string, deep: boolean): RawBuilder<unknown> {
  if (!deep) return sql`parent_id = ${parent}`;
  return sql`id in (
    with recursive below (id) as (
      select c.id from tasks c where c.parent_id = ${parent}
      union select c.id from below b join tasks c on c.parent_id = b.id
    ) select id from below)`;
}

function within(
  all: Conditions,
  column: RawBuilder<unknown>,
  what: string,
  after: string | undefined,
  before: string | undefined,
): void {
  if (after !== undefined) all.push(sql`${column} > ${input.time(after, `${what} after`)}`);
  if (before !== undefined) all.push(sql`${column} < ${input.time(before, `${what} before`)}`);
}

function containsText(text: string): RawBuilder<unknown> {
  const like = `%${escapeLike(input.line(text, 'text', input.LIMITS.title))}%`;
  return sql`(title ilike ${like} or description ilike ${like} or design ilike ${like} or acceptance ilike ${like} or id ilike ${like})`;
}

function is(wanted: boolean, condition: RawBuilder<unknown>): RawBuilder<unknown> {
  return wanted ? sql`(${condition})` : sql`not (${condition})`;
}

function hasLabel(condition: RawBuilder<unknown>): RawBuilder<unknown> {
  return sql`exists (select 1 from labels l where l.task_id = tasks.id and ${condition})`;
}

function texts(values: readonly string[], what: string): string[] {
  if (values.length <= input.LIMITS.page) return [...values];
  throw new TownError('INPUT_TOO_LARGE', `${values.length} ${what} at once; at most ${input.LIMITS.page}`);
}

/** @throws INVALID_INPUT */
export function labelLike(pattern: string): string {
  return likeOf(input.line(pattern, 'label pattern', input.LIMITS.label));
}
