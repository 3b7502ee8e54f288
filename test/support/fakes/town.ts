import type { Ask, TaskInput } from '../../../schema/ledger';
import type { AgentView, ConvoyView, EventView, Page, StepBrief, TaskView } from '../../../schema/views';
import { TownError } from '../../../schema/errors';
import type { TownClient } from '../../../cli/client/client';
import { createFakeDesk, type FakeDesk } from './desk';

const AT = '2026-01-01T00:00:00.000Z';
const RIG = 'acme';
const AGENTS = ['acme/polecats/amber', 'acme/polecats/basil'] as const;

/** The part of a town's client that the fake has. */
export type TownPart = Pick<
  TownClient,
  | 'desk' | 'readTarget' | 'createTask' | 'getTask' | 'listTasks' | 'readyPage' | 'closeTask' | 'sling' | 'getConvoy'
  | 'listConvoys' | 'openConvoy' | 'hook' | 'listAgents' | 'listEvents' | 'verifyAudit'
>; // prettier-ignore
export interface FakeTown {
  readonly client: TownClient;
  /** Who asked for each write, in order. */
  readonly asks: Ask[];
  readonly tasks: TaskView[];
  /** What the desk was asked to close. */
  readonly closed: FakeDesk['closed'];
  /** Somebody changes the row of an event behind the town's back. */
  forge(): void;
}

/**
 * A town in memory with the rig `acme`, two agents and the step of one of them; enough for the command line and the API.
 * Automatic dispatch is off. Passes test/conformance/town-client.
 */
export function fakeTown(): FakeTown {
  const tasks: TaskView[] = [];
  const blockers = new Map<string, readonly string[]>();
  const convoys: ConvoyView[] = [];
  const events: EventView[] = [];
  const asks: Ask[] = [];
  const answers = new Map<string, { readonly request: string; readonly answer: unknown }>();
  const desk = createFakeDesk(step);
  let forged = false;

  const find = (id: string) => tasks.find((each) => each.id === id) ?? missing('task', id);
  const blockersOf = (id: string) => (blockers.get(id) ?? []).map(find);
  const isOpen = (task: TaskView) => task.status !== 'closed';
  /** As it is answered: what depends on others is counted, and later changes do not show. */
  const viewOf = (task: TaskView): TaskView =>
    structuredClone({ ...task, open_blockers: blockersOf(task.id).filter(isOpen).length });
  const linkOf = ({ id, status, title }: TaskView) => ({
    id,
    type: 'blocks',
    status,
    title,
    holds: status !== 'closed',
    metadata: {},
  });

  const ready = () =>
    tasks
      .map(viewOf)
      .filter((task) => task.status === 'open' && task.open_blockers === 0)
      .toSorted((a, b) => a.priority - b.priority);

  /** A write: fenced, done once for each key, and noted in the trail. */
  async function write<Answer>(ask: Ask, request: unknown, work: () => Answer): Promise<Answer> {
    asks.push(ask);
    if (ask.session !== undefined && ask.session.incarnation !== desk.incarnation())
      throw new TownError('STALE_SESSION', `${ask.session.agent} has a later session`);
    const text = JSON.stringify([ask.actor, request]);
    const known = ask.key === undefined ? undefined : answers.get(ask.key);
    if (known !== undefined && known.request !== text)
      throw new TownError('IDEMPOTENCY_MISMATCH', `key ${ask.key} was used for another request`);
    // What was kept under this key and this request is what this very work answers.
    if (known !== undefined) return known.answer as Answer;
    const answer = work();
    if (ask.key !== undefined) answers.set(ask.key, { request: text, answer });
    return answer;
  }

  function record(ask: Ask, type: string, about: Partial<EventView>): void {
    const n = events.length + 1;
    const nothing = { task_id: null, molecule_id: null, convoy_id: null, agent_id: null };
    events.push({ id: n, seq: n, type, actor: ask.actor, ...nothing, payload: {}, at: AT, ...about });
  }

  function convoyView(convoy: ConvoyView): ConvoyView {
    const members = convoy.tasks.map(({ id }) => {
      const { title, status, outcome, assigned_agent_id, molecule_id } = find(id);
      const progress = { steps_total: null, steps_closed: null, resume_step_id: null };
      return { id, title, status, outcome, assigned_agent_id, molecule_id, ...progress };
    });
    const closed = members.filter(({ status }) => status === 'closed').length;
    const percent = members.length === 0 ? 0 : Math.floor((closed / members.length) * 100);
    return { ...convoy, total: members.length, closed, percent, tasks: members };
  }

  const answering: TownPart = {
    desk,
    readTarget: (text) => (text.includes('/') ? { kind: 'agent', id: text } : { kind: 'rig', id: text }),
    createTask: async (ask, input) =>
      write(ask, input, () => {
        if (input.title.trim() === '') throw new TownError('INVALID_INPUT', 'title is empty');
        if (input.rig_id != null && input.rig_id !== RIG) missing('rig', input.rig_id);
        const waitsFor = (input.depends_on ?? []).map((id) => find(id).id);
        const id = `${input.rig_id ?? 'hq'}-${(tasks.length + 1).toString().padStart(5, '0')}`;
        blockers.set(id, waitsFor);
        const task = taskOf(id, ask.actor, input);
        tasks.push(task);
        record(ask, 'task_created', { task_id: id });
        return viewOf(task);
      }),
    async getTask(id) {
      const task = find(id);
      const waiting = tasks.filter((each) => blockers.get(each.id)?.includes(id));
      return {
        ...viewOf(task),
        dependencies: blockersOf(id).map(linkOf),
        dependents: waiting.map(linkOf),
        notes: [],
        comments: [],
      };
    },
    listTasks: async ({ status, rig_id, limit = 50, cursor }) =>
      pageOf(
        tasks
          .filter((task) => status?.includes(task.status) ?? true)
          .filter((task) => rig_id === undefined || task.rig_id === rig_id)
          .toReversed()
          .map(viewOf),
        limit,
        cursor,
      ),
    readyPage: async ({ limit = 50, cursor }) => pageOf(ready(), limit, cursor),
    closeTask: async (ask, id, close) =>
      write(ask, { id, close }, () => {
        const task = find(id);
        if (task.status === 'closed') {
          if (task.outcome === close.outcome) return viewOf(task);
          throw new TownError('WRONG_STATE', `${id} is closed as ${task.outcome} already`);
        }
        const { outcome, reason = null } = close;
        Object.assign(task, { status: 'closed', outcome, close_reason: reason, completed_at: AT });
        record(ask, 'task_closed', { task_id: id });
        return viewOf(task);
      }),
    sling: async (ask, { task_id, target, ...wish }) => {
      const task = find(task_id);
      if (target.kind === 'rig' && target.id !== RIG) missing('rig', target.id);
      if (target.kind === 'agent' && !(AGENTS as readonly string[]).includes(target.id)) missing('agent', target.id);
      if (!ask.actor.startsWith('person:') && ask.actor !== target.id) {
        const reasons = ['an agent may dispatch to its own hook only while automatic dispatch is off'];
        throw new TownError('POLICY_DENIED', `${task_id} may not go to ${target.id}: ${reasons[0]}`, {
          details: { reasons },
        });
      }
      return write(ask, { task_id, target, wish }, () => {
        const { status, open_blockers } = viewOf(task);
        if (status !== 'open') throw new TownError('WRONG_STATE', `${task_id} is ${status}`);
        if (open_blockers > 0) throw new TownError('OPEN_BLOCKERS', `${task_id} waits for others`);
        const molecule_id = `mol-${events.length + 1}`;
        const assigned_agent_id = target.kind === 'agent' ? target.id : null;
        Object.assign(task, { status: 'in_progress', assigned_agent_id, molecule_id });
        record(ask, 'task_slung', { task_id, molecule_id, agent_id: assigned_agent_id });
        return { task: viewOf(task), molecule_id, target: target.id, formula: 'single-step', decision_id: 'd1' };
      });
    },
    getConvoy: async (id) => convoyView(convoys.find((convoy) => convoy.id === id) ?? missing('convoy', id)),
    listConvoys: async ({ limit = 50, cursor }) => pageOf(convoys.toReversed().map(convoyView), limit, cursor),
    openConvoy: async (ask, wish) =>
      write(ask, wish, () => {
        if (wish.tasks.length === 0) throw new TownError('USAGE', 'a convoy needs tasks, or a formula and a rig');
        const members = wish.tasks.map((id) => ({
          ...find(id),
          steps_total: null,
          steps_closed: null,
          resume_step_id: null,
        }));
        const convoy: ConvoyView = {
          id: `cv-0000${convoys.length + 1}`, name: wish.name, status: 'running', total: 0, closed: 0, percent: 0,
          rig_id: wish.rig_id ?? null, created_at: AT, completed_at: null, tasks: members,
        }; // prettier-ignore
        convoys.push(convoy);
        record(ask, 'convoy_created', { convoy_id: convoy.id });
        return convoyView(convoy);
      }),
    hook: async (agent_id) => {
      const agent = agents().find(({ id }) => id === agent_id) ?? missing('agent', agent_id);
      return { agent_id, status: 'active', incarnation: agent.incarnation, items: [], current: null };
    },
    listAgents: async () => agents(),
    listEvents: async ({ after = 0, limit = 100, type, task_id }) => {
      const found = events
        .filter((event) => event.seq !== null && event.seq > after)
        .filter((event) => type === undefined || event.type === type)
        .filter((event) => task_id === undefined || event.task_id === task_id);
      const items = found.slice(0, limit);
      return { items, next_cursor: found.length > limit ? String(items.at(-1)?.seq) : null };
    },
    verifyAudit: async () => ({
      ok: !forged,
      sealed: events.length,
      unsealed: 0,
      broken_at: forged ? 1 : null,
      problem: forged ? 'the hash differs' : null,
    }),
  };
  const agents = () => AGENTS.map((id, index) => agentOf(id, index === 0 ? desk.incarnation() : 0));
  // The rest of a client is not asked for by what is tested with this one.
  const client = answering as TownClient;
  return { client, asks, tasks, closed: desk.closed, forge: () => void (forged = true) };
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
  checks: [{ run: 'node --test', timeout_ms: 600_000 }],
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

function missing(what: string, id: string): never {
  throw new TownError('NOT_FOUND', `there is no ${what} ${id}`, { hint: `see: town ${what} list` });
}

/** The cursor is the id of the last one shown. */
function pageOf<Item extends { readonly id: string }>(
  items: readonly Item[],
  limit: number,
  cursor: string | undefined,
): Page<Item> {
  const rest = items.slice(cursor === undefined ? 0 : items.findIndex(({ id }) => id === cursor) + 1);
  const shown = rest.slice(0, limit);
  return { items: shown, next_cursor: rest.length > limit ? (shown.at(-1)?.id ?? null) : null };
}

function taskOf(id: string, created_by: string, input: TaskInput): TaskView {
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
    labels: [...new Set(input.labels)].toSorted(),
    acceptance: null,
    metadata: {},
    created_by,
    created_at: AT,
    updated_at: AT,
    completed_at: null,
    outcome: null,
    close_reason: null,
  };
}

function agentOf(id: string, incarnation: number): AgentView {
  return {
    id, role: 'polecat', rig_id: RIG, name: id.split('/').at(-1) ?? id, status: 'active', incarnation, preset: 'external',
    last_seen: null, current: null, host_id: null,
  }; // prettier-ignore
}
