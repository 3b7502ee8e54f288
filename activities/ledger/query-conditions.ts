import { sql, type RawBuilder } from 'kysely';
import { unreachable } from '../../schema/errors';
import { parseQuery, type Operator, type Query, type QueryField, type QueryValue } from '../../schema/task/query';
import { BLOCKED, DORMANT, escapeLike, likeOf, OVERDUE, STATUS } from './task-expressions';

type Condition = RawBuilder<unknown>;

/** A query as a condition on a row of `tasks`; values are parameters, and it is never null. @throws what `parseQuery` throws */
export function queryCondition(text: string): Condition {
  return conditionOf(parseQuery(text));
}

function conditionOf(query: Query): Condition {
  switch (query.kind) {
    case 'and':
      return sql`(${sql.join(query.parts.map(conditionOf), sql` and `)})`;
    case 'or':
      return sql`(${sql.join(query.parts.map(conditionOf), sql` or `)})`;
    case 'not':
      return sql`not ${conditionOf(query.part)}`;
    case 'metadata':
      return turned(query.operator, sql`coalesce(${textIs(sql`metadata->>${query.key}`, query.value, false)}, false)`);
    case 'compare': {
      const { operator } = query;
      const found = compare(query.field, operator === '!=' ? '=' : operator, query.value);
      return turned(operator, sql`coalesce(${found}, false)`);
    }
    default:
      return unreachable(query, 'conditionOf');
  }
}

function turned(operator: Operator, condition: Condition): Condition {
  return operator === '!=' ? sql`not ${condition}` : condition;
}

/** Columns that are compared as they are. */
const WORDS = {
  id: sql`id`,
  type: sql`type`,
  assignee: sql`assigned_agent_id`,
  owner: sql`owner`,
  creator: sql`created_by`,
  rig: sql`rig_id`,
  parent: sql`parent_id`,
  molecule: sql`molecule_id`,
  spec: sql`spec_id`,
  ref: sql`external_ref`,
  source: sql`source_system`,
  outcome: sql`outcome`,
} as const satisfies Partial<Record<QueryField, Condition>>;
/** Empty text counts as none. */
const PROSE = {
  title: sql`title`,
  description: sql`nullif(description, '')`,
  design: sql`design`,
  acceptance: sql`acceptance`,
  reason: sql`close_reason`,
} as const satisfies Partial<Record<QueryField, Condition>>;
const TIMES = {
  created: sql`created_at`,
  updated: sql`updated_at`,
  started: sql`started_at`,
  closed: sql`completed_at`,
  due: sql`due_at`,
  wake: sql`defer_until`,
} as const satisfies Partial<Record<QueryField, Condition>>;

/** Never `!=`: that is `=` turned around. */
function compare(field: QueryField, operator: Operator, value: QueryValue): Condition {
  switch (field) {
    case 'status':
      return sql`${STATUS} = ${value.kind === 'status' ? value.status : null}`;
    case 'priority':
      return compareNumber(sql`priority`, operator, value);
    case 'estimate':
      return compareNumber(sql`estimated_minutes`, operator, value);
    case 'pinned':
      return isSo(sql`pinned`, value);
    case 'blocked':
      return isSo(BLOCKED, value);
    case 'deferred':
      return isSo(DORMANT, value);
    case 'overdue':
      return isSo(OVERDUE, value);
    case 'label':
      return among(sql`labels l where l.task_id = tasks.id`, sql`l.label`, value, false);
    case 'convoy':
      return among(sql`convoy_members c where c.task_id = tasks.id`, sql`c.convoy_id`, value, false);
    case 'notes':
      return among(sql`task_notes n where n.task_id = tasks.id`, sql`n.body`, value, true);
    case 'comments':
      return among(sql`task_comments n where n.task_id = tasks.id`, sql`n.body`, value, true);
    case 'title':
    case 'description':
    case 'design':
    case 'acceptance':
    case 'reason':
      return textIs(PROSE[field], value, true);
    case 'created':
    case 'updated':
    case 'started':
    case 'closed':
    case 'due':
    case 'wake':
      return compareTime(TIMES[field], operator, value);
    default:
      return textIs(WORDS[field], value, false);
  }
}

/** One row of several has the value; `none`: there is no row. */
function among(rows: Condition, column: Condition, value: QueryValue, isProse: boolean): Condition {
  if (value.kind === 'none') return sql`not exists (select 1 from ${rows})`;
  return sql`exists (select 1 from ${rows} and ${textIs(column, value, isProse)})`;
}

/** Prose contains a text, and matches a pattern as a whole, in upper and lower case alike; a word is equal to it. */
function textIs(column: Condition, value: QueryValue, isProse: boolean): Condition {
  if (value.kind === 'none') return sql`${column} is null`;
  if (value.kind === 'glob') {
    const like = likeOf(value.pattern);
    return isProse ? sql`${column} ilike ${like}` : sql`${column} like ${like}`;
  }
  if (value.kind !== 'text') throw new Error(`a text compared with ${value.kind}`);
  return isProse ? sql`${column} ilike ${`%${escapeLike(value.text)}%`}` : sql`${column} = ${value.text}`;
}

function compareNumber(column: Condition, operator: Operator, value: QueryValue): Condition {
  if (value.kind === 'none') return sql`${column} is null`;
  if (value.kind !== 'number') throw new Error(`a number compared with ${value.kind}`);
  return sql`${column} ${OPERATOR[operator]} ${value.number}::int`;
}

function isSo(condition: Condition, value: QueryValue): Condition {
  if (value.kind !== 'is') throw new Error(`yes or no compared with ${value.kind}`);
  return value.is ? condition : sql`not ${condition}`;
}

/** A day is the whole of it: `=` is within, `>` after its end, `<` before its start. */
function compareTime(column: Condition, operator: Operator, value: QueryValue): Condition {
  switch (value.kind) {
    case 'none':
      return sql`${column} is null`;
    case 'offset':
      return sql`${column} ${OPERATOR[operator]} statement_timestamp() + ${value.ms / 1000}::float8 * interval '1 second'`;
    case 'moment':
      return sql`${column} ${OPERATOR[operator]} ${value.at}::timestamptz`;
    case 'day': {
      const start = startOf(value.day);
      const end = sql`${start} + interval '24 hours'`;
      switch (operator) {
        case '=':
        case '!=':
          return sql`(${column} >= ${start} and ${column} < ${end})`;
        case '>':
          return sql`${column} >= ${end}`;
        case '>=':
          return sql`${column} >= ${start}`;
        case '<':
          return sql`${column} < ${start}`;
        case '<=':
          return sql`${column} < ${end}`;
        default:
          return unreachable(operator, 'compareTime');
      }
    }
    default:
      throw new Error(`a time compared with ${value.kind}`);
  }
}

function startOf(day: string | number): Condition {
  if (typeof day === 'string') return sql`${`${day}T00:00:00Z`}::timestamptz`;
  return sql`(date_trunc('day', statement_timestamp(), 'UTC') + ${day}::int * interval '24 hours')`;
}

const OPERATOR: Record<Operator, Condition> = {
  '=': sql`=`,
  '!=': sql`<>`,
  '>': sql`>`,
  '<': sql`<`,
  '>=': sql`>=`,
  '<=': sql`<=`,
};
