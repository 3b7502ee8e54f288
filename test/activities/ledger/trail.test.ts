import { sql } from 'kysely';
import { Client } from 'pg';
import { createDatabase, listen } from '../../../activities/ledger/connect';
import { createLedger } from '../../../activities/ledger/ledger';
import { migrateToLatest } from '../../../activities/ledger/migrate';
import { RETENTION } from '../../../activities/ledger/retention';
import { migrations } from '../../../schema/db/migrate';
import { DEFAULT_TIMINGS } from '../../../schema/timings';
import { keyed, person, rigTown } from './scene';
import { emptyDatabase, sealAll, testDatabase } from '../../support/database';

const town = rigTown();

describe('outbox', () => {
  test('gives each target its messages in order, one at a time', async () => {
    const say = (target: string, name: string) =>
      town.ledger.tellRun(person, target, { kind: 'update', name, args: {} });
    const numbers = await Promise.all(Array.from({ length: 12 }, (_, at) => say('t.one', `m${at}`)));
    expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 12 }, (_, at) => at + 1));
    expect(await say('t.two', 'x')).toBe(1);
    const first = (await town.ledger.dueOutbox(10)).filter((row) => row.target.startsWith('t.'));
    expect(first).toMatchObject([
      { target: 't.one', n: 1, message: { args: { n: 1 } } },
      { target: 't.two', n: 1 },
    ]);

    await town.ledger.deliveryFailed(first[0]!.id, 'no answer', 60_000);
    const due = async () =>
      (await town.ledger.dueOutbox(10)).filter((row) => row.target === 't.one').map((row) => row.n);
    expect(await due()).toEqual([]);
    await town.ledger.deliveryFailed(first[0]!.id, 'refused for good', null);
    expect(await due()).toEqual([2]);
    const second = (await town.ledger.dueOutbox(10)).find((row) => row.target === 't.one')!;
    await town.ledger.delivered(second.id);
    await town.ledger.delivered(second.id);
    expect(await due()).toEqual([3]);
    await sealAll(town.ledger);
    expect((await town.ledger.listEvents({ type: 'delivery_failed' })).items).toMatchObject([
      { payload: { target: 't.one', n: 1 } },
    ]);
  });
});

describe('audit', () => {
  test('seals every event of concurrent writers once and in an order that never changes', async () => {
    let writing = true;
    const writers = Promise.all(
      Array.from({ length: 8 }, async () => {
        for (let n = 0; n < 25; n++) await town.ledger.createTask(person, { title: 'w' });
      }),
    ).finally(() => {
      writing = false;
    });
    const read: number[] = [];
    const follow = async () => {
      for (;;) {
        await Promise.all([town.ledger.seal(), town.ledger.seal()]);
        const { items } = await town.ledger.listEvents({ after: read.at(-1) ?? 0, limit: 1000 });
        read.push(...items.map((event) => event.seq ?? 0));
        if (!writing && items.length === 0) return;
      }
    };
    await Promise.all([writers, follow()]);
    await sealAll(town.ledger);
    const audit = await town.ledger.verifyAudit();
    expect(audit).toMatchObject({ ok: true, unsealed: 0, broken_at: null });
    const { items } = await town.ledger.listEvents({ after: read.at(-1) ?? 0, limit: 1000 });
    read.push(...items.map((event) => event.seq ?? 0));
    expect(read).toEqual(Array.from({ length: audit.sealed }, (_, at) => at + 1));
  });

  test('does not pass an event whose transaction is still open', async () => {
    const client = new Client({ connectionString: town.url });
    await client.connect();
    await client.query('begin');
    await client.query(`insert into events (type, actor, payload) values ('slow', 'person:ada', '{}')`);
    await town.ledger.createTask(person, { title: 'fast' });
    await town.ledger.seal();
    expect((await town.ledger.verifyAudit()).unsealed).toBe(1);
    await client.query('commit');
    await client.end();
    await sealAll(town.ledger);
    const tail = (await town.ledger.listEvents({ limit: 1000 })).items.slice(-2);
    expect(tail.map((event) => event.type)).toEqual(['slow', 'task_created']);
  });

  test('events cannot be changed, and a change by force is found', async () => {
    await expect(sql`update events set actor = 'x'`.execute(town.db)).rejects.toThrow('append-only');
    await expect(sql`delete from events`.execute(town.db)).rejects.toThrow('append-only');
    await expect(sql`truncate events`.execute(town.db)).rejects.toThrow('append-only');
    const copy = await testDatabase({ max: 3 });
    try {
      for (let n = 0; n < 5; n++) await copy.ledger.createTask(person, { title: `t${n}` });
      await sealAll(copy.ledger);
      const force = (statement: string) =>
        copy.db.transaction().execute(async (trx) => {
          await sql`set local town.retention = 'on'`.execute(trx);
          await sql.raw(statement).execute(trx);
        });
      await force(
        `update events set payload = '{"title": "forged"}' where id = (select event_id from audit where seq = 3)`,
      );
      expect(await copy.ledger.verifyAudit()).toMatchObject({ ok: false, sealed: 2, broken_at: 3 });
      await force(`delete from events where id = (select event_id from audit where seq = 2)`);
      expect(await copy.ledger.verifyAudit()).toMatchObject({
        ok: false,
        broken_at: 2,
        problem: expect.stringContaining('missing'),
      });
      await force(`delete from audit where seq = 1`);
      expect(await copy.ledger.verifyAudit()).toMatchObject({
        ok: false,
        broken_at: 2,
        problem: 'number 1 is missing',
      });
    } finally {
      await copy.drop();
    }
  });
});

test('the sweep deletes what is over and old, and nothing else', async () => {
  await town.ledger.createTask(keyed('old-key'), { title: 'k' });
  await town.ledger.createTask(keyed('young-key'), { title: 'k' });
  await sql`update idempotency_keys set at = now() - interval '8 days' where key = 'old-key'`.execute(town.db);
  await sql`update outbox set delivered_at = now() - interval '8 days' where delivered_at is not null`.execute(town.db);
  const swept = await town.ledger.sweep();
  expect(swept).toEqual({ idempotency_keys: 1, outbox: 1, sessions: 0, policy_decisions: 0, mail: 0, wisps: 0 });
  expect(await town.ledger.sweep()).toMatchObject({ idempotency_keys: 0, outbox: 0 });
  // Wisps have a time of their own each.
  expect(Object.keys(swept).toSorted()).toEqual(
    [
      ...Object.keys(RETENTION).filter((table) => RETENTION[table as keyof typeof RETENTION].days !== null),
      'wisps',
    ].toSorted(),
  );
});

test('a decision is kept with its digest and leaves an event', async () => {
  const id = await town.ledger.recordDecision({
    action: 'dispatch', actor: 'person:ada', allow: true, reasons: ['explicit'], question: { a: 1 }, input_digest: 'd', policy_hash: 'p',
  }); // prettier-ignore
  expect(
    await town.db.selectFrom('policy_decisions').selectAll().where('id', '=', id).executeTakeFirst(),
  ).toMatchObject({ allow: true, reasons: ['explicit'] });
});

describe('connection', () => {
  test('two migrations at once: one does it, the other waits', async () => {
    const empty = await emptyDatabase();
    const [one, two] = [createDatabase(empty.url, { max: 2 }), createDatabase(empty.url, { max: 2 })];
    try {
      const ran = await Promise.all([migrateToLatest(one), migrateToLatest(two)]);
      expect(ran.flat()).toEqual(Object.keys(migrations));
      expect(await migrateToLatest(one)).toEqual([]);
    } finally {
      await Promise.all([one.destroy(), two.destroy()]);
      await empty.drop();
    }
  });

  test('a server that is not there is POSTGRES_UNAVAILABLE', async () => {
    const db = createDatabase('postgres://postgres@127.0.0.1:1/none', { max: 1 });
    const ledger = createLedger({ db, timings: DEFAULT_TIMINGS, namespace: '' });
    await expect(ledger.getTask('ac-aaaaa')).rejects.toMatchObject({
      code: 'POSTGRES_UNAVAILABLE',
      hint: 'see: town status',
    });
    await expect(ledger.createTask(person, { title: 'x' })).rejects.toMatchObject({ code: 'POSTGRES_UNAVAILABLE' });
    await db.destroy();
  });

  test('a listener is told, and told again after its connection was cut', async () => {
    const heard: string[] = [];
    let wake = () => {};
    const until = async (condition: () => boolean) => {
      while (!condition()) await new Promise<void>((resolve) => (wake = resolve));
    };
    const listener = await listen(town.url, ['town_events', 'town_outbox'], (channel, payload) => {
      heard.push(`${channel}:${payload}`);
      wake();
    });
    try {
      await town.ledger.tellRun(person, 't.heard', { kind: 'update', name: 'x', args: {} });
      await until(() => heard.includes('town_outbox:t.heard') && heard.includes('town_events:'));
      heard.length = 0;
      await sql`select pg_terminate_backend(pid) from pg_stat_activity
        where application_name = 'town-listen' and datname = current_database()`.execute(town.db);
      await until(() => heard.includes('town_outbox:'));
      heard.length = 0;
      await town.ledger.tellRun(person, 't.again', { kind: 'update', name: 'x', args: {} });
      await until(() => heard.includes('town_outbox:t.again'));
    } finally {
      await listener.close();
    }
  });
});
