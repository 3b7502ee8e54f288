/**
 * The policy port: rego compiled to WebAssembly, evaluated in this process (tens of microseconds a question).
 *
 * It fails closed. A module is used only when it and the rego it was made from have the hashes of `manifest.json`, and
 * when it needs nothing from its host; otherwise, and on any surprise while answering, the answer is a denial that says why.
 * Nothing is recorded here: the ledger command that acts on a ruling stores it in its own transaction.
 */
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { loadPolicy } from '@open-policy-agent/opa-wasm';
import { canonicalJson } from '../../schema/canonical';
import type { JsonObject } from '../../schema/json';
import {
  denial,
  POLICY_ENTRYPOINTS,
  readAnswer,
  type PolicyAnswer,
  type PolicyQuestion,
  type PolicyRuling,
} from '../../schema/policy';

/** Bytes of JSON. A longer question is denied unasked. */
export const QUESTION_BYTES_MAX = 32 * 1024;

export interface PolicyPort {
  /** Never rejects: what cannot be decided is denied. Pure but for the optional server, so asking again is harmless. */
  decide(question: PolicyQuestion): Promise<PolicyRuling>;
}

export interface PolicyOptions {
  /** Folder with manifest.json, the rego files and the modules. Read once. */
  readonly dir: string;
  /** Base address of a policy server that answers instead of the modules. */
  readonly url?: string;
  /** How long to wait for the server; 500 when absent. */
  readonly timeoutMs?: number;
}

/** Never rejects on account of the files: with bad or missing ones every question is denied. */
export async function createPolicy({ dir, url, timeoutMs = 500 }: PolicyOptions): Promise<PolicyPort> {
  const engines: Record<PolicyQuestion['action'], Engine> = {
    dispatch: url === undefined ? await loadEngine(dir, 'dispatch') : serverEngine(url, 'dispatch', timeoutMs),
  };
  return {
    async decide(question) {
      let json: string;
      try {
        // An interface is not a JsonObject to the compiler, though all its fields are JSON.
        json = canonicalJson(question as unknown as JsonObject);
        // Types do not hold across every edge: null and lists have JSON, undefined has none and throws here.
        if (!json.startsWith('{')) throw new Error('not an object');
      } catch {
        return {
          ...denial('POLICY_UNAVAILABLE: the question is no JSON object'),
          policyHash: 'none',
          inputDigest: 'none',
        };
      }
      const inputDigest = sha256(json);
      const refuse = (reason: string) => ({ ...denial(reason), policyHash: 'none', inputDigest });
      if (Buffer.byteLength(json) > QUESTION_BYTES_MAX)
        return refuse(`the question is longer than ${QUESTION_BYTES_MAX} bytes`);
      if (!Object.hasOwn(engines, question.action))
        return refuse(`there is no policy for the action ${String(question.action)}`);
      const engine = engines[question.action];
      try {
        return { ...(await engine.ask(question)), policyHash: engine.hash, inputDigest };
      } catch (error) {
        return { ...denial(unavailable(error)), policyHash: engine.hash, inputDigest };
      }
    },
  };
}

interface Engine {
  readonly hash: string;
  ask(question: PolicyQuestion): PolicyAnswer | Promise<PolicyAnswer>;
}

/** As tools/policies.js writes it. Trusted in shape: a surprise throws, and then everything is denied. */
interface Manifest {
  readonly policies: Readonly<
    Record<string, { entrypoint: string; sources: Readonly<Record<string, string>>; wasm_sha256: string } | undefined>
  >;
}

async function loadEngine(dir: string, action: PolicyQuestion['action']): Promise<Engine> {
  const closed = (reason: string): Engine => ({ hash: 'none', ask: () => denial(reason) });
  try {
    const manifest = JSON.parse(await readFile(join(dir, 'manifest.json'), 'utf8')) as Manifest;
    const listed = manifest.policies[action];
    const wasm = await readFile(join(dir, `${action}.wasm`));
    const hash = sha256(wasm);
    const entrypoint = POLICY_ENTRYPOINTS[action];
    if (
      listed?.wasm_sha256 !== hash ||
      listed.entrypoint !== entrypoint ||
      !(await sourcesMatch(dir, action, listed.sources))
    ) {
      return closed('policy module does not match its sources');
    }
    const policy = await loadPolicy(wasm);
    const needed = builtinsNeeded(policy);
    if (needed.length > 0) return closed(`the policy needs functions that are not provided: ${needed.join(', ')}`);
    return {
      hash,
      // An undefined rule gives an empty list, hence no readable answer.
      ask: (question) => readAnswer((policy.evaluate(question, entrypoint) as { result?: unknown }[])[0]?.result),
    };
  } catch (error) {
    return closed(unavailable(error));
  }
}

async function sourcesMatch(dir: string, action: string, sources: Readonly<Record<string, string>>): Promise<boolean> {
  if (!Object.hasOwn(sources, `${action}.rego`)) return false;
  for (const [file, expected] of Object.entries(sources)) {
    if (file !== basename(file) || sha256(await readFile(join(dir, file))) !== expected) return false;
  }
  return true;
}

/** Names of the functions the module would call on its host. Ours must need none: what a module computes alone, a server computes alike. */
function builtinsNeeded({ mem, wasmInstance }: Awaited<ReturnType<typeof loadPolicy>>): string[] {
  // opa-wasm types the instance as one of two shapes, but always keeps the bare one.
  const { exports } = wasmInstance as { exports: Record<'builtins' | 'opa_json_dump', (address?: number) => number> };
  const start = exports.opa_json_dump(exports.builtins());
  const bytes = Buffer.from(mem.buffer);
  return Object.keys(JSON.parse(bytes.toString('utf8', start, bytes.indexOf(0, start))) as object).sort();
}

function serverEngine(url: string, action: PolicyQuestion['action'], timeoutMs: number): Engine {
  const address = `${url.replace(/\/+$/, '')}/v1/data/${POLICY_ENTRYPOINTS[action]}`;
  return {
    hash: URL.canParse(url) ? `server:${new URL(url).host}` : 'none',
    async ask(question) {
      const response = await fetch(address, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ input: question }),
        redirect: 'error',
        signal: AbortSignal.timeout(timeoutMs),
      });
      if (!response.ok) throw new Error(`the policy server answered ${response.status}`);
      return readAnswer(((await response.json()) as { result?: unknown } | null)?.result);
    },
  };
}

/** Opa-wasm throws strings and plain objects as well as errors. */
function unavailable(error: unknown): string {
  const message =
    typeof error === 'object' && error !== null && 'message' in error ? String(error.message) : String(error);
  return `POLICY_UNAVAILABLE: ${message}`;
}

function sha256(content: string | Buffer): string {
  return createHash('sha256').update(content).digest('hex');
}
