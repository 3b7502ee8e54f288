import type { DeskCaller, HookDesk } from '../../../schema/desk';
import { TownError } from '../../../schema/errors';
import type { Ask, TaskInput } from '../../../schema/ledger';
import type { AgentView, ConvoyView, EventView, StepBrief, TaskView } from '../../../schema/views';
import type { TownClient } from '../../../cli/client/client';

const AT = '2026-01-01T00:00:00.000Z';

/** A town in memory with one rig `acme`, the agent `acme/polecats/amber` and her step; enough for the command line and the API. */
export interface FakeTown {
  readonly client: TownClient;
  /** Who asked for each write, in order. */
  readonly asks: Ask[];
  readonly tasks: TaskView[];
  readonly events: EventView[];
  readonly closed: Parameters<HookDesk['closeStep']>[1][];
}

export const TOKEN = 'token-of-amber';

export function fakeTown(): FakeTown {
  const tasks: TaskView[] = [];
  const asks: Ask[] = [];
  const events: EventView[] = [];
  const closed: Parameters<HookDesk['closeStep']>[1][] = [];
  const keys = new Map<string, TaskView>();

  const find = (id: string) => {
    const task = tasks.find((each) => each.id === id);
    if (task === undefined) throw new TownError('NOT_FOUND', `there is no task ${id}`, { hint: 'see: town task list' });
    return task;
  };
  const caller: DeskCaller = { agent: 'acme/polecats/amber', session_id: 's1', incarnation: 2, worktree: null };
  const desk: HookDesk = {
    authenticate: (token) =>
      token === TOKEN
        ? Promise.resolve(caller)
        : Promise.reject(new TownError('STALE_SESSION', 'this session was replaced by incarnation 3')),
    current: () => Promise.resolve(step),
    closeStep(_caller, close) {
      closed.push(close);
      return Promise.resolve({
        molecule_id: 'acme-m1',
        step: 'work',
        outcome: close.outcome,
        projected: true,
        already: false,
        next: null,
      });
    },
    held: () => [caller.agent],
    attach: () => Promise.resolve({ token: TOKEN, incarnation: 2, session_id: 's1' }),
  };
  const answers: Partial<TownClient> = {
    desk,
    readTarget: (text) => (text.includes('/') ? { kind: 'agent', id: text } : { kind: 'rig', id: text }),
    createTask(ask, input) {
      asks.push(ask);
      const known = ask.key === undefined ? undefined : keys.get(ask.key);
      if (known !== undefined) return Promise.resolve(known);
      const task = taskOf(`hq-${(tasks.length + 1).toString().padStart(5, '0')}`, input);
      tasks.push(task);
      if (ask.key !== undefined) keys.set(ask.key, task);
      return Promise.resolve(task);
    },
    getTask: async (id) => ({ ...find(id), dependencies: [], dependents: [], notes: [], comments: [] }),
    listTasks: () => Promise.resolve({ items: tasks, next_cursor: null }),
    readyTasks: ({ limit = 50 }) => Promise.resolve(tasks.filter(({ status }) => status === 'open').slice(0, limit)),
    closeTask: async (ask, id, { outcome }) => {
      asks.push(ask);
      return Object.assign(find(id), { status: 'closed', outcome });
    },
    sling: async (ask, { task_id, target }) => {
      asks.push(ask);
      if (target.id === 'locked')
        throw new TownError('POLICY_DENIED', `${task_id} may not go to locked: the rig is closed`);
      return {
        task: find(task_id),
        molecule_id: 'acme-m1',
        target: target.id,
        formula: 'single-step',
        decision_id: 'd1',
      };
    },
    getConvoy: (id) => Promise.resolve(convoyOf(id)),
    listConvoys: () => Promise.resolve({ items: [convoyOf('hq-cv-1')], next_cursor: 'next' }),
    openConvoy: (ask) => {
      asks.push(ask);
      return Promise.resolve(convoyOf('hq-cv-2'));
    },
    hook: (agent_id) => Promise.resolve({ agent_id, status: 'active', incarnation: 2, items: [], current: null }),
    listAgents: () => Promise.resolve([agentOf('acme/polecats/amber'), agentOf('acme/polecats/basil')]),
    listEvents: ({ after = 0, limit = 50 }) => {
      const items = events.filter(({ seq }) => (seq ?? 0) > after).slice(0, limit);
      return Promise.resolve({ items, next_cursor: null });
    },
    verifyAudit: () =>
      Promise.resolve({ ok: false, sealed: 3, unsealed: 0, broken_at: 2, problem: 'the hash differs' }),
  };
  return { client: answers as TownClient, asks, tasks, events, closed };
}

export const step: StepBrief = {
  molecule_id: 'acme-m1',
  step: 'work',
  step_id: 'acme-k3f9a.work',
  attempt: 1,
  dispatch: 1,
  title: 'Reject empty names',
  instructions: 'Make the test pass.',
  acceptance: 'The test passes.',
  checks: ['node --test'],
  task_id: 'acme-k3f9a',
  task_title: 'Reject empty names',
  task_description: '',
  formula: 'single-step',
  rig_id: 'acme',
  worktree: '/srv/amber',
  branch: 'amber/acme-k3f9a',
  steps_total: 1,
  steps_closed: 0,
  needs: [
    {
      step: 'plan',
      outcome: 'done',
      note: 'see plan.md',
      commit_id: '0123456789abcdef',
      agent_id: 'acme/polecats/basil',
    },
  ],
  notes: [],
  resumed: true,
};

export function eventOf(seq: number): EventView {
  return {
    id: seq,
    seq,
    type: 'task_created',
    actor: 'person:ann',
    task_id: 'hq-00001',
    molecule_id: null,
    convoy_id: null,
    agent_id: null,
    payload: {},
    at: AT,
  };
}

function taskOf(id: string, input: TaskInput): TaskView {
  return {
    id,
    title: input.title,
    description: input.description ?? '',
    type: input.type ?? 'task',
    status: 'open',
    priority: input.priority ?? 2,
    rig_id: input.rig_id ?? null,
    assigned_agent_id: null,
    hook_id: null,
    convoy_id: null,
    parent_id: null,
    molecule_id: null,
    open_blockers: 0,
    parent_blocked: false,
    design: null,
    owner: null,
    spec_id: null,
    external_ref: null,
    source_system: null,
    estimated_minutes: null,
    due_at: null,
    defer_until: null,
    pinned: false,
    started_at: null,
    labels: [...(input.labels ?? [])],
    acceptance: null,
    metadata: {},
    created_by: 'person:ann',
    created_at: AT,
    updated_at: AT,
    completed_at: null,
    outcome: null,
    close_reason: null,
  };
}

function convoyOf(id: string): ConvoyView {
  return {
    id,
    name: 'release',
    status: 'running',
    total: 0,
    closed: 0,
    percent: 0,
    rig_id: null,
    created_at: AT,
    completed_at: null,
    tasks: [],
  };
}

function agentOf(id: string): AgentView {
  return {
    id,
    role: 'polecat',
    rig_id: 'acme',
    name: id,
    status: 'active',
    incarnation: 1,
    preset: 'command',
    last_seen: null,
    current: null,
    host_id: null,
  };
}
