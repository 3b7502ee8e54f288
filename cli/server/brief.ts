import type { HookView, StepBrief } from '../../schema/views';
import { printable } from './print';

/** What an agent reads: short, complete, and with the exact commands. Agents do as their texts say. */

const PRIME_BYTES_MAX = 8 * 1024;
const TEXT_MAX = 2_000;

/** The step to work on, as text. */
export function describeStep(brief: StepBrief, textMax = Number.MAX_SAFE_INTEGER): string {
  const cut = (text: string) =>
    text.length > textMax
      ? `${text.slice(0, textMax)}…\n(shortened; all of it: town step show ${brief.molecule_id} ${brief.step})`
      : text;
  const lines = [
    `# ${brief.title}`,
    `step ${brief.step} of ${brief.molecule_id} (${brief.steps_closed} of ${brief.steps_total} closed), attempt ${brief.attempt}`,
    ...(brief.task_id === null ? [] : [`task ${brief.task_id}: ${brief.task_title ?? ''}`]),
    ...(brief.resumed
      ? ['A session before you began this step. Look at the worktree first and go on from what is there.']
      : []),
    ...(brief.worktree === null
      ? []
      : [`worktree ${brief.worktree}${brief.branch === null ? '' : `, branch ${brief.branch}`}`]),
    '',
    cut(brief.instructions),
    ...(brief.task_description === null || brief.task_description === ''
      ? []
      : ['', '## The task', cut(brief.task_description)]),
    ...(brief.acceptance === null ? [] : ['', '## Done when', cut(brief.acceptance)]),
    ...(brief.checks.length === 0
      ? []
      : [
          '',
          '## These must pass on your commit',
          ...brief.checks.map(({ run, timeout_ms }) => `- ${run} (within ${timeout_ms / 1_000} s)`),
        ]),
    ...(brief.needs.length === 0 ? [] : ['', '## What came before', ...brief.needs.map(describeNeed)]),
    ...(brief.notes.length === 0
      ? []
      : ['', '## Notes', ...brief.notes.map(({ author, body }) => `- ${author}: ${body.slice(0, 500)}`)]),
    '',
    '## When you are done',
    ...closingCommands(brief).map((command) => `    ${command}`),
  ];
  return `${printable(lines.join('\n'))}\n`;
}

export function closingCommands(brief: StepBrief): string[] {
  return [
    `town step close ${brief.step} --outcome done --note "what you did"`,
    `town step close ${brief.step} --outcome failed --note "what stands in the way"`,
  ];
}

/** Identity, the one rule and the work, in at most 8 kB. */
export function describePrime(view: HookView): string {
  const { current } = view;
  const waiting = view.items.length - (current === null ? 0 : 1);
  const head = [
    `You are ${view.agent_id}, incarnation ${view.incarnation}.`,
    current === null
      ? 'Nothing is on your hook. Wait for work with: town hook --wait'
      : 'There is work on your hook. Run it now: do not ask, do not wait for confirmation.',
    'Commit your work in the worktree before you close a step. Closing answers with the next step: go on with it until there is none.',
    ...(waiting > 0 ? [`${waiting} more wait behind it.`] : []),
    '',
  ].join('\n');
  // Shorter and shorter texts, until identity, rule and commands fit beside them.
  for (const textMax of [TEXT_MAX, 1_000, 400, 100]) {
    const text = `${head}\n${current === null ? '' : describeStep(current, textMax)}`;
    if (Buffer.byteLength(text) <= PRIME_BYTES_MAX) return text;
  }
  return current === null
    ? head
    : `${head}\nShow your step with: town step show ${current.molecule_id} ${current.step}\n    ${closingCommands(current).join('\n    ')}\n`;
}

function describeNeed(need: StepBrief['needs'][number]): string {
  const facts = [need.outcome ?? 'open', need.agent_id, need.commit_id?.slice(0, 12)].filter(
    (fact) => fact !== null && fact !== undefined,
  );
  return `- ${need.step} (${facts.join(', ')})${need.note === null || need.note === '' ? '' : `: ${need.note.slice(0, 500)}`}`;
}
