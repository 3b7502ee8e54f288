import { changeOf, describeEvent } from '../../../schema/task/history';

it.each([
  ['task_updated', { before: { owner: 'ann', due_at: null }, after: { owner: null, due_at: '2026' } }, 'changed: owner ann → none, due at 2026'],
  ['task_updated', { before: { metadata: {} }, after: { metadata: { a: 1 } } }, 'changed: metadata {} → {"a":1}'],
  ['task_created', { after: { parent_id: null, priority: 2, title: 'a\n b' } }, 'made: title a b, priority 2'],
  ['task_noted', { size: 3 }, 'noted'],
  ['dependency_added', { depends_on_id: 'a-1', type: 'blocks', metadata: { gate: 'any-children' } }, 'dependency added (blocks): depends on a-1, metadata {"gate":"any-children"}'],
  ['dependency_removed', {}, 'dependency removed (null)'],
  ['step_lost', { type: 'step_lost', step: 0, step_id: 'work', counted: true, reason: 'SESSION_LOST' }, 'step lost: step work, counted true, reason SESSION_LOST'],
  ['step_lost', { type: 'step_lost', step: 'work', position: 0, reason: 'SESSION_LOST' }, 'step lost: step work, reason SESSION_LOST'],
  ['task_updated', { labels_added: ['x', 'y'], labels_removed: [] }, 'changed: labels added x y'],
  ['task_updated', { odd: [1, 'x'] }, 'changed: odd [1,"x"]'],
  ['task_updated', { before: [], after: 'x' }, 'changed'],
])('%s %j', (type, payload, text) => {
  expect(describeEvent(type, payload)).toBe(text);
}); // prettier-ignore

it('cuts long values and says how long they were', () => {
  const text = describeEvent('task_updated', { after: { description: 'x'.repeat(500) } });
  expect(text).toBe(`changed: description ${'x'.repeat(79)}… (500 characters)`);
});

it('is not led astray by fields named like those of every object', () => {
  expect(changeOf(JSON.parse('{"before":{"__proto__":1}}') as never).after).toEqual({});
  expect(describeEvent('constructor', {})).toBe('constructor');
});
