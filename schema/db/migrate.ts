import type { Migration } from 'kysely/migration';
import { town } from './migrations/0001-town';
import { workGraph } from './migrations/0002-work-graph';
import { moleculeFlow } from './migrations/0003-molecule-flow';
import { exchange } from './migrations/0004-exchange';
import { readyOrder } from './migrations/0005-ready-order';
import { finding } from './migrations/0006-finding';
import { givenOutputs } from './migrations/0007-given-outputs';

/** Append-only: a released migration is never edited, the next one is added below it. */
export const migrations: Record<string, Migration> = {
  '0001-town': town,
  '0002-work-graph': workGraph,
  '0003-molecule-flow': moleculeFlow,
  '0004-exchange': exchange,
  '0005-ready-order': readyOrder,
  '0006-finding': finding,
  '0007-given-outputs': givenOutputs,
};
