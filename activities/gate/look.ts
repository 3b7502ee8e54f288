import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { sql, type Kysely } from 'kysely';
import type { Database } from '../../schema/db/tables';
import { isOver } from '../../schema/molecule/shown';
import type { GateState, LookAtGate } from '../../schema/runs';
import { type Forge, repositoryOf } from './forge';

const run = promisify(execFile);

/** Looks at what a gate waits for. Reads only; what cannot be found out is `unknown` with the reason, never an error. */
export function createGateLook(deps: {
  readonly db: Kysely<Database>;
  readonly forge: Forge;
}): (request: LookAtGate) => Promise<GateState> {
  return async (request) => {
    const { gate } = request;
    switch (gate.kind) {
      case 'task':
        return await lookAtTask(deps.db, gate.task_id);
      case 'molecule':
        return await lookAtMolecule(deps.db, gate.molecule_id);
      case 'mail':
        return await lookForMail(deps.db, gate.address, request.since);
      case 'ci_run':
      case 'pull_request': {
        const remote = await remoteOf(deps.db, request.rig_id);
        const repository = remote === null ? null : repositoryOf(remote);
        if (repository === null)
          return unknown(
            `the rig ${request.rig_id} has no remote "origin" at a forge${remote === null ? '' : `, but ${remote}`}`,
          );
        return gate.kind === 'ci_run'
          ? await deps.forge.ciRun(repository, gate.run)
          : await deps.forge.pullRequest(repository, gate.number);
      }
      case 'human':
      case 'timer':
      case 'condition':
        return { kind: 'closed', reason: 'nothing outside of the molecule opens it' };
    }
  };
}

async function lookAtTask(db: Kysely<Database>, id: string): Promise<GateState> {
  const { rows } = await sql<{ status: string; outcome: string | null }>`
    select status, outcome from tasks where id = ${id}`.execute(db);
  const [task] = rows;
  if (task === undefined) return unknown(`there is no task ${id}`);
  if (task.status !== 'closed') return { kind: 'closed', reason: `task ${id} is ${task.status}` };
  return { kind: 'open', reason: `task ${id} is closed (${task.outcome ?? 'done'})` };
}

async function lookAtMolecule(db: Kysely<Database>, id: string): Promise<GateState> {
  const { rows } = await sql<{ status: string }>`select status from molecules where id = ${id}`.execute(db);
  const [molecule] = rows;
  if (molecule === undefined) return unknown(`there is no molecule ${id}`);
  return { kind: isOver(molecule.status) ? 'open' : 'closed', reason: `molecule ${id} is ${molecule.status}` };
}

async function lookForMail(db: Kysely<Database>, address: string, since: number): Promise<GateState> {
  const { rows } = await sql<{ sender: string; subject: string }>`
    select sender, subject from mail
    where recipient = ${address} and created_at >= to_timestamp(${since} / 1000.0) order by id limit 1`.execute(db);
  const [mail] = rows;
  if (mail === undefined) return { kind: 'closed', reason: `no mail for ${address} yet` };
  return { kind: 'open', reason: `mail of ${mail.sender} for ${address}: ${mail.subject.slice(0, 200)}` };
}

async function remoteOf(db: Kysely<Database>, rig_id: string): Promise<string | null> {
  const { rows } = await sql<{ path: string }>`select path from rigs where id = ${rig_id}`.execute(db);
  const [rig] = rows;
  if (rig === undefined) return null;
  try {
    const args = ['-C', rig.path, 'config', '--get', 'remote.origin.url'];
    return (await run('git', args, { timeout: 5_000 })).stdout.trim();
  } catch {
    return null; // no repository, or no such remote
  }
}

function unknown(reason: string): GateState {
  return { kind: 'unknown', reason };
}
