import { POLICY_ACTIONS, POLICY_ENTRYPOINTS, readAnswer } from '../../schema/policy';

describe('the answer of a policy', () => {
  it.each([
    [{ allow: true, reasons: ['a person asked for it'] }],
    [{ allow: true, reasons: [] }],
    [{ allow: false, reasons: ['off', 'held'] }],
  ])('is taken as it is when it has exactly the two fields: %j', (answer) => {
    expect(readAnswer(answer)).toEqual(answer);
  });

  it.each([
    [undefined],
    [null],
    [true],
    ['allow'],
    [[]],
    [{}],
    [{ allow: true }],
    [{ reasons: [] }],
    [{ allow: 'true', reasons: [] }],
    [{ allow: 1, reasons: [] }],
    [{ allow: true, reasons: 'fine' }],
    [{ allow: true, reasons: [1] }],
    [{ allow: true, reasons: [null] }],
    [{ allow: true, reasons: [], note: 'more' }],
    [{ allow: true, reason: [] }],
    [[{ allow: true, reasons: [] }]],
  ])('is a denial when it is anything else: %j', (raw) => {
    expect(readAnswer(raw)).toEqual({
      allow: false,
      reasons: ['POLICY_UNAVAILABLE: the policy gave no readable answer'],
    });
  });
});

it('has rules only for actions on the list', () => {
  expect(POLICY_ACTIONS).toEqual(expect.arrayContaining(Object.keys(POLICY_ENTRYPOINTS)));
});
