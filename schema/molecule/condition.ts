import { canonicalJson } from '../canonical';
import type { Comparison, Operand, RunCondition } from '../formula/flow';
import type { Json } from '../json';
import { dig } from './output';

/** What a condition can see. All of it comes from recorded events, so that an evaluation gives the same whenever it is repeated. */
export interface ConditionView {
  /** The step that the name means here; null when there is none. */
  step(name: string): SeenStep | null;
  /** What the step brings or contains; `deep`: also what these do. */
  under(name: string, deep: boolean): readonly SeenStep[];
  /** How many steps of the molecule are closed. */
  readonly closed: number;
  /** null: not found out. */
  file(path: string): boolean | null;
  env(name: string): string | null;
}
export interface SeenStep {
  readonly status: 'open' | 'complete' | 'failed' | 'skipped';
  readonly output: Json;
}

/** Never fails: what is not there is null, and a comparison with null other than `!=` is false. */
export function holds(condition: RunCondition, view: ConditionView, looked: SeenStep | null = null): boolean {
  switch (condition.op) {
    case 'and':
      return condition.of.every((part) => holds(part, view, looked));
    case 'or':
      return condition.of.some((part) => holds(part, view, looked));
    case 'not':
      return !holds(condition.of, view, looked);
    case 'compare':
      return compares(valueOf(condition.left, view, looked), condition.is, condition.right);
    case 'all':
      return view.under(condition.step, condition.deep).every((step) => holds(condition.where, view, step));
    case 'any':
      return view.under(condition.step, condition.deep).some((step) => holds(condition.where, view, step));
    case 'count': {
      const found = view.under(condition.step, condition.deep).filter((step) => holds(condition.where, view, step));
      return compares(found.length, condition.is, condition.right);
    }
  }
}

function valueOf(operand: Operand, view: ConditionView, looked: SeenStep | null): Json {
  switch (operand.of) {
    case 'status':
      return stepOf(operand.step, view, looked)?.status ?? null;
    case 'output':
      return dig(stepOf(operand.step, view, looked)?.output, operand.path) ?? null;
    case 'complete':
      return view.closed;
    case 'file':
      return view.file(operand.path);
    case 'env':
      return view.env(operand.name);
  }
}

function stepOf(name: string, view: ConditionView, looked: SeenStep | null): SeenStep | null {
  return name === '' ? looked : view.step(name);
}

function compares(left: Json, is: Comparison, right: Json): boolean {
  if (is === '!=') return !same(left, right);
  if (left === null || right === null) return false;
  if (is === '==') return same(left, right);
  const order = orderOf(left, right);
  if (order === null) return false;
  if (is === '<') return order < 0;
  if (is === '<=') return order <= 0;
  return is === '>' ? order > 0 : order >= 0;
}

/** Numbers and truth values are the same as their texts, since variables and much of what programs print is text. */
function same(left: Json, right: Json): boolean {
  if (left === null || right === null) return left === right;
  return textOf(left) === textOf(right);
}

/** Numbers, and texts that are numbers, by value; other texts by their characters; anything else has no order. */
function orderOf(left: Json, right: Json): number | null {
  const [a, b] = [numberOf(left), numberOf(right)];
  if (a !== null && b !== null) return a - b;
  if (typeof left !== 'string' || typeof right !== 'string' || left === right) return left === right ? 0 : null;
  return left < right ? -1 : 1;
}

function numberOf(value: Json): number | null {
  if (typeof value === 'number') return value;
  return typeof value === 'string' && /^\s*-?\d+(\.\d+)?\s*$/.test(value) ? Number(value) : null;
}

function textOf(value: Json): string {
  return typeof value === 'string' ? value : canonicalJson(value);
}
