/*
 * The ledger's tasks as somebody would explain them: plain objects in memory, every rule where its command is. Nothing is shared with
 * the ledger's own code, so that the two can disagree.
 */
import type { TaskPatch } from '../../schema/ledger';
import { statusOf, type TaskStatus } from '../../schema/task/status';
import type { TaskView } from '../../schema/views';
import { AGENTS, edgeOf, inputOf, type Asked, type Command } from './ledger-commands';
import { isDormant, WorkGraph, type PlainEdge, type PlainTask } from './work-graph';

export interface ModelTask extends PlainTask {
  molecule_id: string | null;
  child_count: number;
}

/** Thrown by the model; `codes` are those of which the ledger may give any. */
export class Refusal extends Error {
  readonly codes: readonly string[];
  constructor(...codes: readonly string[]) {
    super(codes.join(' or '));
    this.codes = codes;
  }
}

/** What only the ledger can choose: ids and the time of making. Of a refused command: null. */
type Chosen = TaskView | null;

const [AMBER, BASALT, RETIRED] = AGENTS;
const SUCCESS = ['done', 'merged'];
const OUTCOMES = ['done', 'failed', 'skipped', 'cancelled', 'merged', 'deferred', 'escalated'];
const GATES = [undefined, 'all-children', 'any-children'];
const MOVES: Readonly<Record<TaskStatus, string>> = {
  open: 'in_progress deferred closed',
  in_progress: 'open impl_complete merge_ready deferred closed',
  impl_complete: 'open in_progress merge_ready closed',
  merge_ready: 'open in_progress merged merge_conflict closed',
  merge_conflict: 'open in_progress merge_ready closed',
  merged: 'closed',
  closed: 'open',
  deferred: 'open in_progress closed',
};

export class LedgerModel {
  tasks = new Map<string, ModelTask>();
  /** By both ends. */
  edges = new Map<string, PlainEdge & { readonly words: string }>();

  graph(): WorkGraph {
    return new WorkGraph(this.tasks.values(), this.edges.values());
  }

  /** @throws Refusal, and then nothing has changed. */
  perform(asked: Asked, given: Command, chosen: Chosen): void {
    // What a task has inside is replaced, never changed.
    const tasks = new Map([...this.tasks].map(([id, task]) => [id, { ...task }]));
    const before = { tasks, edges: new Map(this.edges) };
    try {
      this.change(asked, given, chosen);
    } catch (error) {
      Object.assign(this, before);
      throw error;
    }
  }

  private change(asked: Asked, given: Command, chosen: Chosen): void {
    const { idOf, rig_id } = asked;
    switch (given.do) {
      case 'create':
        return this.create(asked, given, chosen);
      case 'update':
        return this.update(idOf(given.task), given.patch);
      case 'close': {
        if (!OUTCOMES.includes(given.outcome)) throw new Refusal('INVALID_INPUT');
        const task = this.task(idOf(given.task));
        const { actor } = asked.ask;
        if (actor.startsWith('molecule.') && actor !== `molecule.${task.molecule_id}`) throw new Refusal('WRONG_STATE');
        return this.close(task, given.outcome, given.force);
      }
      case 'reopen': {
        const task = this.task(idOf(given.task));
        if (task.status === 'closed') this.move(task, 'open', { assigned_agent_id: null });
        return;
      }
      case 'undefer': {
        const task = this.task(idOf(given.task));
        if (task.status === 'deferred') this.move(task, 'open');
        return;
      }
      case 'unassign': {
        const task = this.task(idOf(given.task));
        if (task.status === 'closed') throw new Refusal('WRONG_STATE');
        // What is put off stays so.
        if (task.status === 'deferred') task.assigned_agent_id = null;
        else if (task.status !== 'open' || task.assigned_agent_id !== null)
          this.move(task, 'open', { assigned_agent_id: null });
        return;
      }
      case 'defer':
        return this.move(this.task(idOf(given.task)), 'deferred', {
          assigned_agent_id: null,
          defer_until: given.until,
        });
      case 'claim':
        return this.claim(given, () => this.task(idOf(given.task)));
      case 'hold': {
        const task = this.task(idOf(given.task));
        if (task.status === 'in_progress') task.assigned_agent_id = given.agent;
        return;
      }
      case 'claim ready': {
        this.expectActive(given.agent);
        const ready = this.graph().ready({ rig_id }, now()).slice(0, given.count);
        for (const { id } of ready) this.move(this.task(id), 'in_progress', { assigned_agent_id: given.agent });
        return;
      }
      case 'link':
        return this.link(edgeOf(asked, given.task, given));
      case 'unlink': {
        const [task, on] = [this.task(idOf(given.task)), this.task(idOf(given.on))];
        if (task.parent_id === on.id) task.parent_id = null;
        this.edges.delete(`${task.id} ${on.id}`);
        return;
      }
      case 'label':
        this.task(idOf(given.task)).labels = given.labels.toSorted();
        return;
      case 'sling':
        return this.sling(asked, given, chosen);
    }
  }

  private create(asked: Asked, given: Extract<Command, { do: 'create' }>, chosen: Chosen): void {
    const { parent_id = null, depends_on = [], dependencies = [], priority = 2, ...input } = inputOf(asked, given);
    const edges = [
      ...[...new Set(depends_on)].map((depends_on_id) => ({ depends_on_id, type: 'blocks' as const })),
      ...dependencies,
    ];
    if (!isPriority(priority)) throw new Refusal('INVALID_INPUT');
    for (const edge of edges) checkEdge(edge);
    const parent = parent_id === null ? null : this.task(parent_id);
    if (parent?.status === 'closed') throw new Refusal('WRONG_STATE');
    if (parent !== null) parent.child_count += 1;
    const id = parent === null ? (chosen?.id ?? 'none') : `${parent.id}.${parent.child_count}`;
    const until = input.defer_until != null && input.defer_until > now() ? input.defer_until : null;
    this.tasks.set(id, {
      id,
      title: input.title,
      description: '',
      rig_id: asked.rig_id,
      type: input.type ?? 'task',
      priority,
      status: until === null ? 'open' : 'deferred',
      outcome: null,
      parent_id,
      assigned_agent_id: null,
      pinned: input.pinned ?? false,
      labels: (input.labels ?? []).toSorted(),
      owner: input.owner ?? null,
      external_ref: null,
      source_system: null,
      metadata: {},
      defer_until: until,
      due_at: null,
      created_at: chosen?.created_at ?? now(),
      updated_at: '',
      molecule_id: null,
      child_count: 0,
    });
    if (parent !== null) this.setEdge({ task_id: id, depends_on_id: parent.id, type: 'parent-child' }, {});
    for (const edge of edges) this.link({ ...edge, task_id: id });
  }

  private update(id: string, patch: TaskPatch): void {
    const word = patch.status === undefined ? null : statusOf(patch.status);
    if (patch.status !== undefined && word === null) throw new Refusal('INVALID_INPUT');
    if (patch.priority !== undefined && !isPriority(patch.priority)) throw new Refusal('INVALID_INPUT');
    if (patch.assigned_agent_id != null) this.expectActive(patch.assigned_agent_id);
    const task = this.task(id);
    const { priority, type, pinned, owner, assigned_agent_id } = patch;
    for (const [key, value] of Object.entries({ priority, type, pinned, owner, assigned_agent_id })) {
      if (value !== undefined) Object.assign(task, { [key]: value });
    }
    const kept = task.labels.filter((label) => patch.remove_labels?.includes(label) !== true);
    task.labels = [...new Set([...kept, ...(patch.add_labels ?? [])])].toSorted();
    task.metadata = Object.fromEntries(
      Object.entries({ ...task.metadata, ...patch.set_metadata }).filter(([, value]) => value !== null),
    );
    if (word === null || word === seen(task)) return;
    const owned = assigned_agent_id === undefined ? { assigned_agent_id: null } : {};
    if (word === 'in_progress' && patch.force !== true) this.expectFree(task);
    if (word === 'closed') this.close(task, 'done', patch.force === true);
    else this.move(task, word, word === 'open' || word === 'deferred' || task.status === 'closed' ? owned : {});
  }

  private close(task: ModelTask, outcome: string, force: boolean): void {
    if (task.status === 'closed') {
      if (task.outcome !== outcome) throw new Refusal('WRONG_STATE');
      return;
    }
    const graph = this.graph();
    if (!force && graph.children(task.id).open > 0) throw new Refusal('WRONG_STATE');
    if (!force && SUCCESS.includes(outcome) && graph.isBlocked(task.id)) throw new Refusal('OPEN_BLOCKERS');
    this.move(task, 'closed', { outcome });
  }

  private claim({ agent, force }: Extract<Command, { do: 'claim' }>, find: () => ModelTask): void {
    this.expectActive(agent);
    const task = find();
    const holder = task.assigned_agent_id;
    if (task.status === 'in_progress' && holder === agent) return;
    if (task.status !== 'closed' && holder !== null && holder !== agent) throw new Refusal('ALREADY_CLAIMED');
    if (seen(task) !== 'open' && !(force && seen(task) === 'deferred')) throw new Refusal('WRONG_STATE');
    if (!force && this.graph().isBlocked(task.id)) throw new Refusal('OPEN_BLOCKERS');
    this.move(task, 'in_progress', { assigned_agent_id: agent });
  }

  /** What has begun already may go on. */
  private expectFree(task: ModelTask): void {
    if (seen(task) === 'deferred') throw new Refusal('WRONG_STATE');
    if (seen(task) === 'open' && this.graph().isBlocked(task.id)) throw new Refusal('OPEN_BLOCKERS');
  }

  private sling(asked: Asked, { to, resume, task: nth }: Extract<Command, { do: 'sling' }>, chosen: Chosen): void {
    if (to === 'no-rig') throw new Refusal('NOT_FOUND');
    if (to !== 'rig') this.expectActive(to);
    const task = this.task(asked.idOf(nth));
    const isClaimed = task.molecule_id === null && task.assigned_agent_id === to;
    if (seen(task) !== 'open' && !(task.status === 'in_progress' && (resume || isClaimed)))
      throw new Refusal('WRONG_STATE');
    if (this.graph().isBlocked(task.id)) throw new Refusal('OPEN_BLOCKERS');
    this.move(task, 'in_progress', { assigned_agent_id: to === 'rig' ? null : to });
    task.molecule_id = chosen?.molecule_id ?? null;
  }

  private link(edge: Edge): void {
    checkEdge(edge);
    if (edge.task_id === edge.depends_on_id) throw new Refusal('DEPENDENCY_CYCLE');
    const [task, on] = [this.task(edge.task_id), this.task(edge.depends_on_id)];
    const known = this.edges.get(`${task.id} ${on.id}`);
    if (known !== undefined && known.type !== edge.type) throw new Refusal('CONFLICT');
    if (known === undefined && edge.type === 'parent-child' && on.status === 'closed' && task.status !== 'closed')
      throw new Refusal('WRONG_STATE');
    const isMoved = edge.type === 'parent-child' && task.parent_id !== null && task.parent_id !== on.id;
    if (isMoved) throw new Refusal('CONFLICT', 'DEPENDENCY_CYCLE');
    this.setEdge(edge, edge.metadata ?? {});
    if (edge.type === 'parent-child') task.parent_id = on.id;
    if (known === undefined && !this.endsWell(task)) throw new Refusal('DEPENDENCY_CYCLE');
  }

  /** A task that is its own ancestor would be searched for ever. */
  private endsWell(task: ModelTask): boolean {
    for (let above = task.parent_id; above !== null; above = this.task(above).parent_id) {
      if (above === task.id) return false;
    }
    return this.graph().canEnd();
  }

  private setEdge(edge: Pick<Edge, 'task_id' | 'depends_on_id' | 'type'>, metadata: object): void {
    const gate = 'gate' in metadata && metadata.gate === 'any-children' ? 'any-children' : 'all-children';
    const { task_id, depends_on_id, type } = edge;
    const words = JSON.stringify(metadata);
    this.edges.set(`${task_id} ${depends_on_id}`, { task_id, depends_on_id, type, gate, words });
  }

  private move(task: ModelTask, to: TaskStatus, more: Partial<ModelTask> = {}): void {
    if (task.status !== to && !MOVES[task.status].split(' ').includes(to)) throw new Refusal('WRONG_STATE');
    Object.assign(task, { status: to, outcome: null, defer_until: null, ...more });
  }

  private task(id: string): ModelTask {
    const task = this.tasks.get(id);
    if (task === undefined) throw new Refusal('NOT_FOUND');
    return task;
  }

  private expectActive(agent: string): void {
    if (agent === RETIRED) throw new Refusal('WRONG_STATE');
    if (agent !== AMBER && agent !== BASALT) throw new Refusal('NOT_FOUND');
  }
}

type Edge = ReturnType<typeof edgeOf>;

function checkEdge(edge: Pick<Edge, 'type' | 'metadata'>): void {
  if ((edge.type as string) === 'nonsense') throw new Refusal('INVALID_INPUT');
  if (edge.type === 'waits-for' && !GATES.includes(edge.metadata?.['gate'] as string | undefined)) {
    throw new Refusal('INVALID_INPUT');
  }
}

function isPriority(value: number): boolean {
  return [0, 1, 2, 3, 4].includes(value);
}

function seen(task: ModelTask): TaskStatus {
  return task.status === 'deferred' && !isDormant(task, now()) ? 'open' : task.status;
}

function now(): string {
  return new Date().toISOString();
}
