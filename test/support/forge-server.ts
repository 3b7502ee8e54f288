import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** The part of GitHub's API that gates read, on loopback: answers by the path below the repository acme/web to whom has the token `good`. */
export interface ForgeServer {
  readonly url: string;
  /** What is not here is 404. */
  readonly answers: Map<string, { readonly status?: number; readonly body: unknown }>;
  close(): Promise<void>;
}

export async function startForgeServer(): Promise<ForgeServer> {
  const answers: ForgeServer['answers'] = new Map();
  const server = createServer((request, response) => {
    const path = (request.url ?? '').replace('/repos/acme/web', '');
    const { status = 200, body } = answers.get(path) ?? { status: 404, body: { message: 'Not Found' } };
    const known = request.headers.authorization === 'token good';
    response.writeHead(known ? status : 401, { 'content-type': 'application/json' });
    response.end(JSON.stringify(body));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    answers,
    close: () => new Promise((done) => server.close(() => done())),
  };
}
