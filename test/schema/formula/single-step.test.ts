import { createHash } from 'node:crypto';
import { singleStepRecipe } from '../../../schema/formula/single-step';

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

describe('the recipe of work without a formula', () => {
  it('is one step, told by the description, or by the title where there is none', () => {
    const told = singleStepRecipe('Fix it', 'Names may be empty.', 'The test passes.', sha256);
    expect(told).toMatchObject({ formula: 'single-step', title: 'Fix it', steps: [{ id: 'work', needs: [] }] });
    expect(told.steps[0]).toMatchObject({ instructions: 'Names may be empty.', acceptance: 'The test passes.' });
    expect(singleStepRecipe('Fix it', '', null, sha256).steps[0]).toMatchObject({ instructions: 'Fix it' });
  });

  it('has a digest of its content', () => {
    const one = singleStepRecipe('Fix it', 'a', null, sha256);
    expect(singleStepRecipe('Fix it', 'a', null, sha256)).toEqual(one);
    expect(singleStepRecipe('Fix it', 'b', null, sha256).digest).not.toBe(one.digest);
  });
});
