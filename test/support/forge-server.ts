import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

/** The part of GitHub's API that gates read, on loopback: answers by the path below the repository acme/web to whom has the token `good`. */
export interface ForgeServer {
  readonly url: string;
  /** What is not here is 404. `next`: the path, below the repository, of the page after it. */
  readonly answers: Map<string, ForgeAnswer>;
  close(): Promise<void>;
}

export interface ForgeAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: unknown;
  readonly next?: string;
}

export async function startForgeServer(): Promise<ForgeServer> {
  const answers: ForgeServer['answers'] = new Map();
  const server = createServer((request, response) => {
    const path = (request.url ?? '').replace('/repos/acme/web', '');
    const found: ForgeAnswer = answers.get(path) ?? { status: 404, body: { message: 'Not Found' } };
    const { status = 200, body, headers, next } = found;
    const link = next === undefined ? {} : { link: `<${url}/repos/acme/web${next}>; rel="next"` };
    const known = request.headers.authorization === 'token good';
    response.writeHead(known ? status : 401, { 'content-type': 'application/json', ...link, ...headers });
    response.end(JSON.stringify(body));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url,
    answers,
    close: () => new Promise((done) => server.close(() => done())),
  };
}
