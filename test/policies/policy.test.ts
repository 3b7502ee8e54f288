import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createPolicy, QUESTION_BYTES_MAX } from '../../activities/policy/policy';
import type { PolicyAnswer, PolicyQuestion } from '../../schema/policy';

const committed = join(__dirname, '..', '..', 'policies');
const { dispatch_cases: cases } = JSON.parse(readFileSync(join(committed, 'dispatch_cases.json'), 'utf8')) as {
  dispatch_cases: { name: string; question: { action: string }; answer: PolicyAnswer }[];
};

const sling: PolicyQuestion = {
  action: 'dispatch',
  actor: { kind: 'person', name: 'mira' },
  task: { id: 'acme-k3x9q', rig_id: 'acme', priority: 2, type: 'task', labels: [] },
  target: 'acme',
  automatic: false,
  features: { automatic_dispatch: false },
  rig: { id: 'acme', workers_max: 4, workers_busy: 1 },
};
const feeding: PolicyQuestion = { ...sling, actor: { kind: 'run', name: 'convoy.c1' }, automatic: true };

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

describe('the committed dispatch policy', () => {
  // `node tools/policies.js build` plays the same table to the rego itself.
  it.each(cases.map((one) => [one.name, one] as const))('answers: %s', async (_name, { question, answer }) => {
    const policy = await createPolicy({ dir: committed });
    const asked =
      question.action === 'dispatch' ? answer : denied(`there is no policy for the action ${question.action}`);
    expect(await policy.decide(question as PolicyQuestion)).toMatchObject(asked);
  });

  it('names the module that answered and the question it answered', async () => {
    const policy = await createPolicy({ dir: committed });
    const ruling = await policy.decide(sling);
    expect(ruling.policyHash).toBe(sha256(readFileSync(join(committed, 'dispatch.wasm'))));
    expect(ruling.inputDigest).toMatch(/^[0-9a-f]{64}$/);

    const reordered = Object.fromEntries(Object.entries(sling).reverse()) as unknown as PolicyQuestion;
    expect((await policy.decide(reordered)).inputDigest).toBe(ruling.inputDigest);
    expect((await policy.decide({ ...sling, target: 'web' })).inputDigest).not.toBe(ruling.inputDigest);
  });

  it('gives the same answers over 10,000 decisions, short and long, asked at once', async () => {
    const policy = await createPolicy({ dir: committed });
    const labels = Array.from({ length: 900 }, (_, index) => `label-${index}`);
    const questions = [sling, feeding, { ...sling, task: { ...sling.task, labels } }];
    const rulings = await Promise.all(
      Array.from({ length: 10_000 }, (_, index) => policy.decide(questions[index % 3]!)),
    );
    const allowed = rulings.map((ruling) => ruling.allow);
    expect(allowed).toEqual(Array.from({ length: 10_000 }, (_, index) => index % 3 !== 1));
  });

  it('is what its sources compile to', () => {
    const tool = join(__dirname, '..', '..', 'tools', 'policies.js');
    const verified = spawnSync(process.execPath, [tool, 'verify', '--if-possible'], { encoding: 'utf8' });
    expect(verified).toMatchObject({ status: 0, stderr: expect.stringContaining(`dispatch: ${cases.length} cases`) });
  }, 300_000);
});

describe('a policy that cannot be trusted denies everything', () => {
  const mismatch = 'policy module does not match its sources';

  it('when the module is missing', async () => {
    const dir = copy();
    rmSync(join(dir, 'dispatch.wasm'));
    await expectClosed(dir, /^POLICY_UNAVAILABLE: ENOENT/);
  });

  it('when the manifest is missing or unreadable', async () => {
    const dir = copy();
    writeFileSync(join(dir, 'manifest.json'), '{"policies":');
    await expectClosed(dir, /^POLICY_UNAVAILABLE: /);
    rmSync(join(dir, 'manifest.json'));
    await expectClosed(dir, /^POLICY_UNAVAILABLE: ENOENT/);
  });

  it('when the module was altered', async () => {
    const dir = copy();
    writeFileSync(join(dir, 'dispatch.wasm'), fakeModule({ answer: [{ result: { allow: true, reasons: [] } }] }));
    await expectClosed(dir, mismatch);
  });

  it('when the rego was altered, or is missing', async () => {
    const dir = copy();
    const rego = join(dir, 'dispatch.rego');
    writeFileSync(rego, `${readFileSync(rego, 'utf8')}\nallow if true\n`);
    await expectClosed(dir, mismatch);
    rmSync(rego);
    await expectClosed(dir, /^POLICY_UNAVAILABLE: ENOENT/);
  });

  it('when the manifest leaves the sources out, points elsewhere or has no entry for the policy', async () => {
    const dir = copy();
    changeManifest(dir, (entry) => ({ ...entry, sources: {} }));
    await expectClosed(dir, mismatch);
    changeManifest(dir, (entry) => ({ ...entry, sources: { 'dispatch.rego': sha256(regoOf(dir)), '../x.rego': '' } }));
    await expectClosed(dir, mismatch);
    changeManifest(dir, (entry) => ({
      ...entry,
      sources: { 'dispatch.rego': sha256(regoOf(dir)) },
      entrypoint: 'town/other',
    }));
    await expectClosed(dir, mismatch);
    writeFileSync(join(dir, 'manifest.json'), '{"policies":{}}');
    await expectClosed(dir, mismatch);
  });

  it('when the module is no WebAssembly, though the manifest vouches for it', async () => {
    await expectClosed(vouchedFor(Buffer.from('not a module')), /^POLICY_UNAVAILABLE: /);
  });

  it('when the module wants functions of its host', async () => {
    const dir = vouchedFor(
      fakeModule({ builtins: { 'http.send': 0 }, answer: [{ result: { allow: true, reasons: [] } }] }),
    );
    await expectClosed(dir, 'the policy needs functions that are not provided: http.send');
  });

  it.each([
    ['an undefined decision', []],
    ['a bare boolean', [{ result: true }]],
    ['no reasons', [{ result: { allow: true } }]],
    ['a truthy word', [{ result: { allow: 'yes', reasons: [] } }]],
    ['no list', { result: { allow: true, reasons: [] } }],
  ])('when it answers with %s', async (_what, answer) => {
    await expectClosed(vouchedFor(fakeModule({ answer })), 'POLICY_UNAVAILABLE: the policy gave no readable answer');
  });

  it('when it breaks off while answering', async () => {
    await expectClosed(vouchedFor(fakeModule({ answer: 'trap' })), /^POLICY_UNAVAILABLE: unreachable/);
  });

  it('but the same made-up module is used when it is sound', async () => {
    const policy = await createPolicy({
      dir: vouchedFor(fakeModule({ answer: [{ result: { allow: true, reasons: ['made up'] } }] })),
    });
    expect(await policy.decide(feeding)).toMatchObject({ allow: true, reasons: ['made up'] });
  });
});

describe('a question that is no question', () => {
  it('is denied unasked when it is too long', async () => {
    const policy = await createPolicy({ dir: committed });
    const long = { ...sling, task: { ...sling.task, labels: ['é'.repeat(QUESTION_BYTES_MAX / 2)] } };
    expect(await policy.decide(long)).toMatchObject({
      ...denied('the question is longer than 32768 bytes'),
      policyHash: 'none',
    });
  });

  it.each(['merge', 'toString', '__proto__', undefined])('is denied for the action %s', async (action) => {
    const policy = await createPolicy({ dir: committed });
    const question = { ...sling, action } as unknown as PolicyQuestion;
    expect(await policy.decide(question)).toMatchObject(denied(`there is no policy for the action ${action}`));
  });

  it('is denied when it is no JSON object', async () => {
    const policy = await createPolicy({ dir: committed });
    const circular: Record<string, unknown> = { ...sling };
    circular['task'] = circular;
    for (const question of [circular, undefined, null, [], 'dispatch', { ...sling, target: 1n }]) {
      expect((await policy.decide(question as unknown as PolicyQuestion)).allow).toBe(false);
    }
  });
});

describe('a policy server', () => {
  it('is asked instead of the module, with the question as input', async () => {
    const seen: unknown[] = [];
    const url = await serve((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        seen.push([request.method, request.url, JSON.parse(body)]);
        response.end(JSON.stringify({ result: { allow: true, reasons: ['the server says so'] } }));
      });
    });
    const policy = await createPolicy({ dir: join(committed, 'nowhere'), url: `${url}/` });
    expect(await policy.decide(feeding)).toMatchObject({
      allow: true,
      reasons: ['the server says so'],
      policyHash: `server:${new URL(url).host}`,
    });
    expect(seen).toEqual([['POST', '/v1/data/town/dispatch/decision', { input: feeding }]]);
  });

  it.each<[string, RequestListener]>([
    [
      'answers with an error',
      (_request, response) => response.writeHead(500).end('{"result":{"allow":true,"reasons":[]}}'),
    ],
    ['knows no such rule', (_request, response) => response.end('{}')],
    ['answers with null', (_request, response) => response.end('null')],
    ['answers with something else', (_request, response) => response.end('<html>')],
    ['leaves the shape', (_request, response) => response.end('{"result":true}')],
    ['sends elsewhere', (_request, response) => response.writeHead(307, { location: '/yes' }).end()],
    ['hangs up', (request) => request.socket.destroy()],
    ['never answers', () => undefined],
    ['never ends its answer', (_request, response) => response.write('{"result":')],
  ])('that %s denies', async (_what, listener) => {
    const policy = await createPolicy({ dir: committed, url: await serve(listener), timeoutMs: 100 });
    const ruling = await policy.decide(sling);
    expect(ruling).toMatchObject({ allow: false, reasons: [expect.stringMatching(/^POLICY_UNAVAILABLE: /)] });
  });

  it('that is not there, or has no proper address, denies', async () => {
    const url = await serve(() => undefined);
    await cleanups.pop()?.();
    for (const address of [url, 'not an address']) {
      const policy = await createPolicy({ dir: committed, url: address });
      expect(await policy.decide(sling)).toMatchObject({ allow: false });
    }
  });
});

function denied(...reasons: string[]): PolicyAnswer {
  return { allow: false, reasons };
}

/** A person's sling, which every sound policy allows, and an automatic one are both denied for this reason. */
async function expectClosed(dir: string, reason: string | RegExp): Promise<void> {
  const policy = await createPolicy({ dir });
  for (const question of [sling, feeding]) {
    expect(await policy.decide(question)).toMatchObject({ allow: false, reasons: [expect.stringMatching(reason)] });
  }
}

function copy(): string {
  const dir = mkdtempSync(join(tmpdir(), 'steeltown-policies-'));
  cleanups.push(() => rmSync(dir, { recursive: true }));
  cpSync(committed, dir, { recursive: true });
  return dir;
}

/** A policy folder with another module whose hash the manifest confirms. */
function vouchedFor(wasm: Buffer): string {
  const dir = copy();
  writeFileSync(join(dir, 'dispatch.wasm'), wasm);
  changeManifest(dir, (entry) => ({ ...entry, wasm_sha256: sha256(wasm) }));
  return dir;
}

function changeManifest(dir: string, change: (entry: Record<string, unknown>) => Record<string, unknown>): void {
  const path = join(dir, 'manifest.json');
  const manifest = JSON.parse(readFileSync(path, 'utf8')) as { policies: { dispatch: Record<string, unknown> } };
  writeFileSync(path, JSON.stringify({ ...manifest, policies: { dispatch: change(manifest.policies.dispatch) } }));
}

function regoOf(dir: string): string {
  return readFileSync(join(dir, 'dispatch.rego'), 'utf8');
}

async function serve(listener: RequestListener): Promise<string> {
  const server: Server = createServer(listener).listen(0, '127.0.0.1');
  await once(server, 'listening');
  cleanups.push(async () => {
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function sha256(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}

/**
 * A WebAssembly module with the interface of a compiled policy that gives one constant answer, put together by hand
 * because the real compiler cannot be made to produce a broken one. JSON texts lie in memory; functions return addresses.
 */
function fakeModule({ builtins = {}, answer }: { builtins?: object; answer: object | 'trap' }): Buffer {
  const text = { builtins: 64, entrypoints: 512, answer: 1024, heap: 4096 };
  const length = (count: number) => (count < 128 ? [count] : [(count & 127) | 128, count >> 7]);
  const list = (items: number[][]) => [...length(items.length), ...items.flat()];
  const section = (id: number, content: number[]) => [id, ...length(content.length), ...content];
  const name = (value: string) => [...length(value.length), ...Buffer.from(value)];
  const signedLength = (value: number) => [(value & 127) | 128, value >> 7]; // fits while value < 8192
  const constant = (value: number) => [0x41, ...signedLength(value)];
  const body = (code: number[]) => [...length(code.length + 2), 0, ...code, 0x0b];
  const i32 = 0x7f;
  const type = (parameters: number) => [0x60, ...list(Array.from({ length: parameters }, () => [i32])), 1, i32];
  const functions: [string, number, number[]][] = [
    ['builtins', 0, constant(text.builtins)],
    ['entrypoints', 0, constant(text.entrypoints)],
    ['opa_heap_ptr_get', 0, constant(text.heap)],
    ['opa_malloc', 1, constant(text.heap)],
    ['opa_json_dump', 1, [0x20, 0]],
    ['opa_json_parse', 2, [0x20, 0]],
    ['opa_eval', 7, answer === 'trap' ? [0x00] : constant(text.answer)],
  ];
  const parameterCounts = [0, 1, 2, 7];
  const json = (address: number, value: object | string) => [
    0,
    ...constant(address),
    0x0b,
    ...name(JSON.stringify(value)),
  ];
  return Buffer.from([
    ...Buffer.from('\0asm\x01\0\0\0'),
    ...section(1, list(parameterCounts.map(type))),
    ...section(2, list([[...name('env'), ...name('memory'), 2, 0, 1]])),
    ...section(3, list(functions.map(([, parameters]) => [parameterCounts.indexOf(parameters)]))),
    ...section(6, list([1, 3].map((version) => [i32, 0, ...constant(version), 0x0b]))),
    ...section(
      7,
      list([
        ...functions.map(([exported], index) => [...name(exported), 0, index]),
        [...name('opa_wasm_abi_version'), 3, 0],
        [...name('opa_wasm_abi_minor_version'), 3, 1],
      ]),
    ),
    ...section(10, list(functions.map(([, , code]) => body(code)))),
    ...section(
      11,
      list([
        json(text.builtins, builtins),
        json(text.entrypoints, { 'town/dispatch/decision': 0 }),
        json(text.answer, answer),
      ]),
    ),
  ]);
}
