import fc from 'fast-check';
import type { RunCondition, StepFlow } from '../../../schema/formula/flow';
import type { Json } from '../../../schema/json';
import type { LeanStep } from '../../../schema/ledger';
import { reopenProblem } from '../../../schema/molecule/ends';
import { AMBER, granted, inputOf, Play, step } from '../../support/play';

/** Events given to the machine from outside, in all, over every run; a soak raises it. */
const COMMANDS = Number(process.env['TOWN_MODEL_COMMANDS'] ?? 200_000);
const SCRIPT = 40;

type Word = 'open' | 'ok' | 'bad';
type Outcome = 'done' | 'failed' | 'skipped';

/** A step as the model sees it: by names, without positions, lanes, attempts or time. */
interface Node {
  readonly id: string;
  readonly lean: LeanStep;
  readonly needs: readonly string[];
  /** What names may begin with, from the inside out. */
  readonly scopes: readonly string[];
  /** The loop or container that answers for it, or who brought it. */
  readonly parent: { readonly id: string; readonly answers: boolean } | null;
  /** All of these must be over first. */
  readonly after: { readonly ids: readonly string[]; readonly anyway: boolean } | null;
  shown: 'waiting' | 'gated' | 'ready' | 'running' | Outcome;
  held: boolean;
  open: boolean;
  tries: number;
  /** An agent has had it. */
  worked: boolean;
  /** A person has had it begun again. */
  begun: boolean;
  output: Record<string, Json>;
}

interface Brought {
  readonly kind: 'round' | 'item' | 'undo';
  readonly by: string;
  readonly ids: readonly string[];
  /** An item whose failure is nobody else's. */
  readonly mayFail: boolean;
}

/** The same rules as the machine's, told as plainly as possible: everything is worked out anew from names after every word. */
class Naive {
  readonly nodes = new Map<string, Node>();
  readonly brought: Brought[] = [];
  readonly groups: Readonly<Record<string, readonly LeanStep[]>>;
  /** Begun by an older build: an item that fails fails the molecule, whatever the fan-out says. */
  readonly isOld: boolean;

  constructor(steps: readonly LeanStep[], groups: Readonly<Record<string, readonly LeanStep[]>>, isOld: boolean) {
    this.groups = groups;
    this.isOld = isOld;
    this.add(steps, '', [], null, null);
    this.settle();
  }

  ends(id: string, outcome: Outcome, byAgent: boolean, output: Record<string, Json>): void {
    const node = this.nodes.get(id)!;
    const { fanOut, retry, onFailure } = node.lean.flow ?? {};
    let result = outcome;
    node.worked ||= byAgent;
    const list = output['list'];
    if (outcome === 'done' && fanOut !== undefined && (!Array.isArray(list) || list.length > fanOut.itemsMax))
      result = 'failed';
    if (result === 'failed' && byAgent && retry !== undefined && node.tries < retry.attemptsMax) {
      node.tries += 1;
      node.shown = 'ready';
      return;
    }
    if (result === 'failed' && (retry?.exhausted === 'skip' || onFailure?.kind === 'skip')) result = 'skipped';
    this.close(node, result, output);
    if (result === 'done' && fanOut !== undefined && Array.isArray(list)) {
      let before: readonly string[] | null = null;
      for (const index of list.keys()) {
        const anyway = fanOut.onItemFailure === 'continue';
        const after: Node['after'] = fanOut.mode === 'sequential' && before !== null ? { ids: before, anyway } : null;
        before = this.bring('item', node, `${id}.${index}.`, fanOut.group, after);
      }
    }
    if (result === 'failed' && onFailure?.kind === 'compensate')
      this.bring('undo', node, `${id}.undo.`, onFailure.group, null);
    this.settle();
  }

  opens(id: string): void {
    this.nodes.get(id)!.open = true;
    this.settle();
  }

  begins(id: string): void {
    const node = this.nodes.get(id)!;
    if (node.worked && isOver(node)) node.tries += 1;
    node.shown = 'ready';
    node.output = {};
    node.begun = true;
  }

  /** done or failed when nothing will ever happen again. */
  end(): 'done' | 'failed' | null {
    const all = [...this.nodes.values()];
    if (all.some((node) => this.word(node.id) === 'open')) return null;
    return all.every((node) => this.isAnswered(node) || this.word(node.id) === 'ok') ? 'done' : 'failed';
  }

  private close(node: Node, outcome: Outcome, output: Record<string, Json>): void {
    node.shown = outcome;
    node.output = output;
    const { loop, contains } = node.lean.flow ?? {};
    if (loop === undefined && contains === undefined) return;
    for (const id of this.inside(node.id)) {
      const left = this.nodes.get(id)!;
      if (!isOver(left)) left.shown = 'skipped';
    }
  }

  private settle(): void {
    for (;;) {
      for (const node of this.nodes.values()) this.moveOn(node);
      const changed = [...this.nodes.values()].some((node) => this.decides(node));
      if (!changed) return;
    }
  }

  private moveOn(node: Node): void {
    if (node.shown !== 'waiting' && node.shown !== 'gated') return;
    if (!this.entered(node)) return;
    const { when, loop, contains } = node.lean.flow ?? {};
    if (when !== undefined && !node.held) return;
    if (!node.open) node.shown = 'gated';
    else node.shown = loop === undefined && contains === undefined ? 'ready' : 'running';
  }

  /** One decision, if there is one to be made at this step. */
  private decides(node: Node): boolean {
    const { when, loop, contains, fanOut } = node.lean.flow ?? {};
    if (node.shown === 'waiting' && when !== undefined && !node.held && this.entered(node)) {
      if (this.holds(when, node.scopes)) node.held = true;
      else this.close(node, 'skipped', {});
      return true;
    }
    if (node.shown === 'running' && contains !== undefined) {
      const all = this.words(this.contents(node));
      if (all !== 'open') this.endsItself(node, all === 'ok' ? 'done' : 'failed');
      return all !== 'open';
    }
    if (node.shown === 'running' && loop !== undefined) {
      const rounds = this.brought.filter(({ kind, by }) => kind === 'round' && by === node.id);
      const last = rounds.at(-1);
      const all = last === undefined ? 'ok' : this.words(last.ids);
      if (all === 'open') return false;
      const scope = `${node.id}.iter${rounds.length}.`;
      if (all === 'bad') this.endsItself(node, 'failed');
      else if (last !== undefined && this.holds(loop.until, [scope, ...node.scopes])) this.endsItself(node, 'done');
      else if (rounds.length >= loop.max) this.endsItself(node, 'failed');
      else this.bring('round', node, `${node.id}.iter${rounds.length + 1}.`, loop.group, null);
      return true;
    }
    if (fanOut?.onItemFailure === 'stop' && isOver(node)) {
      const items = this.brought.filter(({ kind, by }) => kind === 'item' && by === node.id);
      if (!items.some(({ ids }) => this.words(ids) === 'bad')) return false;
      for (const { ids } of items.toReversed()) {
        const nodes = ids.map((id) => this.nodes.get(id)!);
        const hasBegun = nodes.some(
          ({ shown, worked, begun }) => ['done', 'failed', 'running'].includes(shown) || worked || begun,
        );
        const left = nodes.findLast((one) => !isOver(one));
        if (hasBegun || left === undefined) continue;
        this.close(left, 'skipped', {});
        return true;
      }
    }
    return false;
  }

  private endsItself(node: Node, outcome: 'done' | 'failed'): void {
    const { onFailure } = node.lean.flow ?? {};
    const result = outcome === 'failed' && onFailure?.kind === 'skip' ? 'skipped' : outcome;
    this.close(node, result, {});
    if (result === 'failed' && onFailure?.kind === 'compensate')
      this.bring('undo', node, `${node.id}.undo.`, onFailure.group, null);
  }

  private entered(node: Node): boolean {
    return node.needs.every((need) => this.word(need) === 'ok') && this.entry(node) === 'ok';
  }

  private entry({ lean, scopes, after }: Node): Word {
    if (after !== null) {
      const word = this.words(after.ids);
      if (word === 'open' || (word === 'bad' && !after.anyway)) return word;
    }
    const waits = lean.flow?.waitsFor;
    if (waits === undefined) return 'ok';
    const of = this.find(waits.of, scopes)!;
    if (waits.mode === 'all') return this.words([of.id]);
    const units = [
      ...this.contents(of).map((id) => [id]),
      ...this.brought.filter(({ kind, by }) => kind !== 'undo' && by === of.id).map(({ ids }) => ids),
    ].map((ids) => this.words(ids));
    if (units.length === 0) return this.word(of.id);
    if (units.includes('ok')) return 'ok';
    return units.includes('open') || this.word(of.id) === 'open' ? 'open' : 'bad';
  }

  private word(id: string): Word {
    const node = this.nodes.get(id)!;
    if (isOver(node)) return node.shown === 'failed' ? 'bad' : 'ok';
    if (node.shown !== 'waiting') return 'open';
    return node.needs.some((need) => this.word(need) === 'bad') || this.entry(node) === 'bad' ? 'bad' : 'open';
  }

  /** Of all of these, with the items and compensations they brought. */
  private words(ids: readonly string[]): Word {
    const words = ids.flatMap((id) => [
      this.word(id),
      ...this.brought
        .filter(({ kind, by }) => kind !== 'round' && by === id)
        .map((one) => {
          const word = this.words(one.ids);
          return word === 'bad' && one.mayFail ? 'ok' : word;
        }),
    ]);
    if (words.includes('open')) return 'open';
    return words.includes('bad') ? 'bad' : 'ok';
  }

  private contents({ id, lean }: Node): string[] {
    const prefix = id.slice(0, id.length - lean.id.length);
    return (lean.flow?.contains ?? []).map((content) => prefix + content);
  }

  private inside(id: string): string[] {
    const direct = [
      ...this.contents(this.nodes.get(id)!),
      ...this.brought.flatMap((one) => (one.by === id ? one.ids : [])),
    ];
    return direct.flatMap((one) => [one, ...this.inside(one)]);
  }

  private isAnswered(node: Node): boolean {
    if (node.parent === null) return false;
    return node.parent.answers || this.isAnswered(this.nodes.get(node.parent.id)!);
  }

  private find(name: string, scopes: readonly string[]): Node | undefined {
    return [...scopes, ''].map((scope) => this.nodes.get(scope + name)).find((node) => node !== undefined);
  }

  private holds(condition: RunCondition, scopes: readonly string[], looked?: Node): boolean {
    if (condition.op === 'compare') {
      const { left, right } = condition;
      if (left.of !== 'output') throw new Error(left.of);
      return (looked ?? this.find(left.step, scopes))?.output[left.path[0]!] === right;
    }
    if (condition.op !== 'any') throw new Error(condition.op);
    const node = this.find(condition.step, scopes)!;
    const under = [
      ...this.contents(node),
      ...this.brought.flatMap((one) => (one.by === node.id && one.kind !== 'undo' ? one.ids : [])),
    ];
    return under.some((id) => this.holds(condition.where, scopes, this.nodes.get(id)));
  }

  private bring(kind: Brought['kind'], by: Node, prefix: string, group: string, after: Node['after']): string[] {
    const lean = this.groups[group]!;
    const ids = lean.map(({ id }) => prefix + id);
    const mayFail = kind === 'item' && !this.isOld && by.lean.flow?.fanOut?.onItemFailure === 'continue';
    this.brought.push({ kind, by: by.id, ids, mayFail });
    this.add(lean, prefix, by.scopes, { id: by.id, answers: kind === 'round' || mayFail }, after);
    return ids;
  }

  private add(
    steps: readonly LeanStep[],
    prefix: string,
    outside: readonly string[],
    parent: Node['parent'],
    after: Node['after'],
  ): void {
    for (const lean of steps) {
      const container = steps.find(({ flow }) => flow?.contains?.includes(lean.id) === true);
      const needs = lean.needs.filter((need) => lean.flow?.contains?.includes(need) !== true);
      this.nodes.set(prefix + lean.id, {
        id: prefix + lean.id,
        lean,
        needs: needs.map((need) => prefix + need),
        scopes: prefix === '' ? outside : [prefix, ...outside],
        parent: container === undefined ? parent : { id: prefix + container.id, answers: true },
        after: needs.length === 0 ? after : null,
        shown: 'waiting',
        held: false,
        open: lean.gate === null,
        tries: 1,
        worked: false,
        begun: false,
        output: {},
      });
    }
  }
}

function isOver({ shown }: Node): boolean {
  return shown === 'done' || shown === 'failed' || shown === 'skipped';
}

const says = (name: string, right: number): RunCondition => ({
  op: 'compare',
  left: { of: 'output', step: name, path: ['n'] },
  is: '==',
  right,
});

/** One choice after the other from a list of numbers that fast-check makes and shrinks. */
class Dice {
  private at = 0;
  private readonly numbers: readonly number[];

  constructor(numbers: readonly number[]) {
    this.numbers = numbers;
  }

  below(sides: number): number {
    this.at += 1;
    return (this.numbers[this.at % this.numbers.length]! + this.at * 7) % sides;
  }

  of<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)]!;
  }
}

/** Steps in an order in which they can run, with every kind of flow that the depth still allows. */
function steps(dice: Dice, name: string, size: number, inner: readonly string[]): LeanStep[] {
  const made: LeanStep[] = [];
  for (let index = 0; index < size; index += 1) {
    const before = made.map(({ id }) => id);
    const needs = before.filter(() => dice.below(3) === 0);
    const any = before.length === 0 ? null : dice.of(before);
    const gate = dice.below(9) === 0 ? ({ kind: 'human', prompt: '', timeoutMs: null } as const) : null;
    const flow = dice.below(2) === 0 ? null : flowOf(dice, any, inner);
    made.push(step(`${name}${index}`, { needs, gate, ...(flow === null ? {} : { flow }) }));
  }
  const free = made.filter(({ flow }) => flow?.waitsFor === undefined).map(({ id }) => id);
  if (free.length > 1 && dice.below(3) === 0) {
    const contains = free.slice(0, 1 + dice.below(2));
    const flow: StepFlow = { contains, ...(dice.below(2) === 0 ? { onFailure: { kind: 'skip' } } : {}) };
    made.push(step(`${name}p`, { needs: contains, flow }), step(`${name}z`, { needs: [`${name}p`] }));
  }
  return made;
}

function flowOf(dice: Dice, before: string | null, inner: readonly string[]): StepFlow {
  const group = inner.length === 0 ? null : dice.of(inner);
  const flow: { -readonly [Key in keyof StepFlow]: StepFlow[Key] } = {};
  const kind = dice.below(8);
  if (group !== null && kind <= 1)
    flow.loop = { group, until: says(`${group}0`, dice.below(3)), max: 1 + dice.below(3) };
  if (group !== null && (kind === 2 || kind === 3)) {
    const mode = dice.of(['parallel', 'sequential'] as const);
    const onItemFailure = dice.of([undefined, 'continue', 'stop'] as const);
    const fanOut = { group, path: ['list'], vars: {}, mode, itemsMax: 2 };
    flow.fanOut = onItemFailure === undefined ? fanOut : { ...fanOut, onItemFailure };
  }
  if (before !== null && kind === 4) flow.waitsFor = { of: before, mode: dice.of(['all', 'any']) };
  if (before !== null && kind === 5) flow.when = says(before, dice.below(3));
  if (before !== null && kind === 6) flow.when = { op: 'any', step: before, deep: false, where: says('', 1) };
  if (dice.below(4) === 0 && flow.loop === undefined)
    // eslint-disable-next-line unicorn/no-thenable -- the formula's word
    flow.retry = { attemptsMax: 1 + dice.below(3), backoffMs: 0, exhausted: dice.of(['fail', 'skip']) };
  const failing = dice.below(6);
  if (failing === 0) flow.onFailure = { kind: 'skip' };
  if (failing === 1 && group !== null) flow.onFailure = { kind: 'compensate', group };
  return flow;
}

/** One thing happens to both, chosen among what is possible. Answers how many events that was. */
function command(dice: Dice, play: Play, naive: Naive): number {
  const open = play.molecule.steps.filter(({ state }) => state.status !== 'closed');
  const ready = open.filter(({ state }) => state.status === 'ready');
  const gated = open.filter(({ state }) => state.status === 'gated');
  const roll = dice.below(20);
  const output = { n: dice.below(3), list: Array.from({ length: dice.below(4) }, (_, index) => index) };
  if (roll === 0 && open.length > 0) {
    const { id } = dice.of(open);
    const outcome = dice.of(['failed', 'skipped'] as const);
    play.ends(id, { outcome, agent: null, by: 'ada' });
    naive.ends(id, outcome, false, {});
  } else if (roll === 1) {
    const failed = play.molecule.steps.filter((_, position) => reopenProblem(play.molecule, position) === null);
    if (failed.length === 0) return 0;
    const { id } = dice.of(failed);
    play.record({ type: 'step_reopened', step: play.at(id), by: 'ada', reason: '' });
    naive.begins(id);
  } else if (roll === 2) {
    const paused = play.molecule.paused === true;
    play.record(paused ? { type: 'molecule_resumed', by: 'ada' } : { type: 'molecule_paused', reason: '', by: 'ada' });
  } else if (roll < 6 && gated.length > 0) {
    const { id } = dice.of(gated);
    play.record({ type: 'gate_opened', step: play.at(id), by: 'ada', reason: '' });
    naive.opens(id);
  } else if (ready.length > 0) {
    const { id } = dice.of(ready);
    const outcome = dice.below(5) === 0 ? 'failed' : 'done';
    const [position, dispatch] = [play.at(id), play.step(id).dispatches + 1];
    play
      .record({ type: 'step_hooked', step: position, lane: 0, agent: AMBER, attempt: 1, dispatch })
      .ends(id, { outcome, output });
    naive.ends(id, outcome, true, output);
    return 2;
  } else return 0;
  return 1;
}

/** Thrown, not expected: `expect` would take most of the time here. */
function mustBe(what: string, machine: unknown, model: unknown): void {
  if (machine !== model) throw new Error(`${what}: ${String(machine)}, and by the model ${String(model)}`);
}

function checkShown({ molecule }: Play, naive: Naive): void {
  mustBe('steps', molecule.steps.length, naive.nodes.size);
  for (const { id, state } of molecule.steps)
    mustBe(id, state.status === 'closed' ? state.outcome : state.status, naive.nodes.get(id)?.shown);
}

function checkDue(play: Play, naive: Naive): void {
  const due = play.due();
  const finish = due.find((one) => one.kind === 'finish');
  const paused = play.molecule.paused === true;
  mustBe('the end', finish?.outcome ?? null, paused ? null : naive.end());
  for (const one of due) {
    if (one.kind !== 'hook_step') continue;
    mustBe('paused', paused, false);
    mustBe('hooked', 'ready', naive.nodes.get(play.molecule.steps[one.step]!.id)!.shown);
  }
}

it('does what a naive reading of the formula says, whatever happens', () => {
  let done = 0;
  fc.assert(
    fc.property(fc.array(fc.nat(10_000), { minLength: 8, maxLength: 60 }), (numbers) => {
      const dice = new Dice(numbers);
      const groups = { h: steps(dice, 'h', 1 + dice.below(2), []), g: steps(dice, 'g', 1 + dice.below(3), ['h']) };
      const recipe = steps(dice, 's', 2 + dice.below(4), ['g', 'h']);
      const isOld = dice.below(4) === 0;
      const play = new Play(inputOf(recipe, isOld ? { groups } : { groups, performance: 3 }));
      play.record(granted(0, AMBER));
      const naive = new Naive(recipe, groups, isOld);
      for (let turn = 0; turn < SCRIPT; turn += 1) {
        done += command(dice, play, naive);
        checkShown(play, naive);
        if (turn % 8 === 7) checkDue(play, naive);
        if (naive.end() !== null && play.molecule.paused !== true) break;
      }
      checkDue(play, naive);
    }),
    // A molecule ends after about ten.
    { numRuns: Math.ceil(COMMANDS / 9) },
  );
  expect(done).toBeGreaterThanOrEqual(COMMANDS);
}, 600_000);
