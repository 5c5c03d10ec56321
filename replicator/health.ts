// Health over HTTP. `/healthz`: the process runs. `/readyz`: it leads, streams, and has heard the database lately. `/metrics`:
// numbers for Prometheus.
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { codeOf } from './connection.ts';
import { renderMetrics, type Counters } from './metrics.ts';
import type { RunStatus } from './status.ts';

export type Health = { readonly port: number; readonly close: () => void };

/** Rejects with one sentence when the port cannot be had. `status` is asked at each request. */
export async function startHealth(
  options: { readonly host: string; readonly port: number },
  status: () => RunStatus,
  counters: Counters,
): Promise<Health> {
  const server = http.createServer((request, response) => {
    if (request.url === '/healthz') {
      answer(response, 200, { ok: true });
    } else if (request.url === '/readyz') {
      const readiness = readinessOf(status());
      answer(response, readiness.isReady ? 200 : 503, readiness.body);
    } else if (request.url === '/metrics') {
      response
        .writeHead(200, { 'content-type': 'text/plain; version=0.0.4; charset=utf-8' })
        .end(renderMetrics(status(), counters));
    } else {
      answer(response, 404, { error: 'there are /healthz, /readyz and /metrics' });
    }
  });
  const listening = Promise.withResolvers<void>();
  server.once('error', listening.reject);
  server.listen(options.port, options.host, listening.resolve);
  try {
    await listening.promise;
  } catch (error) {
    throw new Error(listenFault(error, options), { cause: error });
  }
  return {
    port: portOf(server.address()),
    close() {
      server.close();
      server.closeAllConnections();
    },
  };
}

function listenFault(error: unknown, { host, port }: { readonly host: string; readonly port: number }): string {
  if (codeOf(error) === 'EADDRINUSE') {
    return `Port ${port} on ${host} is in use: set DRAWBRIDGE_HTTP_PORT to a free port, or to 0 for any.`;
  }
  return `Health checks cannot be served on ${host}:${port} (${codeOf(error) ?? 'unknown'}): set DRAWBRIDGE_HTTP_HOST and DRAWBRIDGE_HTTP_PORT to an address of this machine and a port it may use.`;
}

function readinessOf(status: RunStatus): { readonly isReady: boolean; readonly body: object } {
  if (status.type !== 'streaming') return { isReady: false, body: { leader: false, streaming: false } };
  const { isFresh, ...report } = status.report();
  return { isReady: isFresh, body: { leader: true, streaming: isFresh, ...report } };
}

function answer(response: http.ServerResponse, statusCode: number, body: object): void {
  response.writeHead(statusCode, { 'content-type': 'application/json' }).end(JSON.stringify(body));
}

function portOf(address: AddressInfo | string | null): number {
  return typeof address === 'object' && address !== null ? address.port : 0;
}
