import type { ForgeIssue } from './issue-source';
import { EXCHANGE_LIMITS, type TaskRecord } from './interchange';
import { plainLabel } from './interchange-record';
import type { TaskOutcome } from './status';

/** An issue as a task that mirrors it. Its external reference is `<owner>/<repository>#<number>`. */
export function issueRecord(issue: ForgeIssue, repository: string): TaskRecord {
  const isClosed = issue.state === 'closed';
  const labels = [...new Set(issue.labels.map((label) => plainLabel(label).slice(0, 100)))];
  return {
    line: issue.number,
    id: null,
    title: titleOf(issue),
    description: clean(issue.body),
    type: typeOf(issue.labels),
    status: isClosed ? 'closed' : 'open',
    priority: priorityOf(issue.labels),
    assignee: null,
    owner: null,
    acceptance: null,
    design: null,
    spec_id: null,
    external_ref: `${repository}#${issue.number}`,
    source_system: 'github',
    estimated_minutes: null,
    due_at: null,
    defer_until: null,
    pinned: false,
    outcome: isClosed ? outcomeOf(issue.state_reason) : null,
    close_reason: isClosed ? `closed on GitHub${issue.state_reason === null ? '' : ` as ${issue.state_reason}`}` : null,
    labels: labels.filter((label) => label !== '').toSorted(),
    metadata: {
      mirror: {
        source: 'github',
        url: issue.url,
        number: issue.number,
        author: issue.author,
        assignees: issue.assignees,
        milestone: issue.milestone === null ? null : clean(issue.milestone),
        labels: issue.labels.map(clean),
        updated_at: instant(issue.updated_at),
      },
    },
    created_by: `github:${issue.author}`,
    created_at: instant(issue.created_at),
    updated_at: instant(issue.updated_at),
    started_at: null,
    completed_at: isClosed ? instant(issue.closed_at ?? issue.updated_at) : null,
    edges: [],
    aside: [],
    comments: issue.comments.map(({ id, author, body, created_at }) => ({
      id,
      author: `github:${author}`,
      body: clean(body),
      created_at: instant(created_at),
    })),
    notes: [],
  };
}

function titleOf({ title, number }: ForgeIssue): string {
  const text = clean(title).trim().slice(0, 500);
  return text === '' ? `Issue ${number}` : text;
}

/** What Postgres would refuse is left out, and what is far too long is cut: nobody can correct it where it is. */
function clean(text: string): string {
  const kept = text.replaceAll('\0', '').toWellFormed();
  return kept.length * 3 > EXCHANGE_LIMITS.textBytes ? kept.slice(0, Math.floor(EXCHANGE_LIMITS.textBytes / 3)) : kept;
}

function typeOf(labels: readonly string[]): string {
  const words = new Set(labels.map((label) => label.toLowerCase()));
  if (words.has('bug')) return 'bug';
  if (words.has('epic')) return 'epic';
  return words.has('enhancement') || words.has('feature') ? 'feature' : 'task';
}

/** `P0` to `P4`, also as `priority: P1`; otherwise 2. */
function priorityOf(labels: readonly string[]): number {
  const found = labels.map((label) => /^(?:priority\s*[:/]\s*)?p([0-4])$/i.exec(label.trim())?.[1]);
  return Number(found.find((digit) => digit !== undefined) ?? 2);
}

function outcomeOf(reason: string | null): TaskOutcome {
  return reason === 'not_planned' || reason === 'duplicate' ? 'cancelled' : 'done';
}

function instant(at: string): string {
  return new Date(at).toISOString();
}
