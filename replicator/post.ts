// Signed requests to the worker, over connections that stay open.
//
// An answer is either what the contract names or an error; nothing is retried here, except where a kept connection turns
// out to have been closed by the worker before it read the request.
import { createHash, createHmac } from 'node:crypto';
import http from 'node:http';
import https from 'node:https';
import * as v from 'valibot';
import { answer, type Answer } from '../protocol/commit.ts';
import { deliverPath, ingestHeaders, signedText } from '../protocol/ingest.ts';
import {
  accountsAnswer,
  accountsPath,
  heartbeatAnswer,
  heartbeatPath,
  leadAnswer,
  leadPath,
  type Heartbeat,
  type HeartbeatAnswer,
  type LeadAnswer,
  type LeadRequest,
  type Place,
} from '../protocol/stream.ts';
import type { AccountId } from '../protocol/ids.ts';
import { codeOf } from './connection.ts';
import { Gate, inFlightMax } from './gate.ts';
import { messageOf } from './log.ts';

export const requestTimeoutMs = 10_000;
/** Deliveries, and the few requests beside them. */
const connectionsMax = inFlightMax + 8;
const answerBytesMax = 64 * 1024;

/** The worker could not be asked, or what it said is not in the contract. The same request may be sent again. */
export class PostError extends Error {
  override readonly name = 'PostError';
}

export type Post = {
  /** `body` is a Delivery as JSON. Rejects with PostError. */
  readonly deliver: (body: string) => Promise<Answer>;
  /** Rejects with PostError. */
  readonly lead: (request: LeadRequest) => Promise<LeadAnswer>;
  /** Rejects with PostError. */
  readonly beat: (heartbeat: Heartbeat) => Promise<HeartbeatAnswer>;
  /** Every account that has an object, those with a device connected most lately first, and where that lives. Rejects with PostError. */
  readonly accounts: () => Promise<ReadonlyMap<AccountId, string | null>>;
  /** Ends every connection; requests in flight reject. */
  readonly close: () => void;
};

export function createPost(workerUrl: string, signingKey: string, timeoutMs = requestTimeoutMs): Post {
  const base = new URL(workerUrl);
  const transport = base.protocol === 'https:' ? https : http;
  const agent = new transport.Agent({ keepAlive: true, maxSockets: connectionsMax, scheduling: 'lifo' });
  const inFlight = new Set<http.ClientRequest>();
  const gate = new Gate();
  let isClosed = false;

  const send = (path: string, body: Buffer): Promise<string> =>
    new Promise((resolve, reject) => {
      if (isClosed) throw new PostError('the replicator gave the request up');
      const headers = signedHeaders(path, body, signingKey, Date.now());
      const request = transport.request(new URL(path, base), { method: 'POST', agent, headers });
      const timeout = setTimeout(() => {
        request.destroy(new UnansweredError(`no answer within ${timeoutMs} ms`));
      }, timeoutMs);
      inFlight.add(request);
      request.on('close', () => {
        clearTimeout(timeout);
        inFlight.delete(request);
      });
      request.on('response', (response) => void readAnswer(response).then(resolve, reject));
      request.on('error', (error) => {
        const code = codeOf(error);
        if (request.reusedSocket && (code === 'ECONNRESET' || code === 'EPIPE')) send(path, body).then(resolve, reject);
        else reject(unreachableError(base, error));
      });
      request.end(body);
    });

  const ask = async <Schema extends v.GenericSchema>(path: string, request: object, schema: Schema) =>
    parseAnswer(schema, await send(path, Buffer.from(JSON.stringify(request))));

  return {
    async deliver(body) {
      return parseAnswer(answer, await gate.pass(() => send(deliverPath, Buffer.from(body)), isUnanswered));
    },
    lead: (request) => ask(leadPath, request, leadAnswer),
    beat: (heartbeat) => ask(heartbeatPath, heartbeat, heartbeatAnswer),
    async accounts() {
      const accounts = new Map<AccountId, string | null>();
      for (let after: Place | null = null; ;) {
        const page: v.InferOutput<typeof accountsAnswer> = await ask(
          accountsPath,
          { version: 1, after },
          accountsAnswer,
        );
        for (const account of page.accounts) accounts.set(account, page.places[account] ?? null);
        if (page.next === null) return accounts;
        after = page.next;
      }
    },
    close() {
      isClosed = true;
      for (const request of inFlight) request.destroy(new Error('the replicator gave the request up'));
      agent.destroy();
    },
  };
}

class UnansweredError extends Error {}

function isUnanswered(error: unknown): boolean {
  return error instanceof PostError && error.cause instanceof UnansweredError;
}

/** The key is the variable's text as UTF-8. */
export function signedHeaders(
  path: string,
  body: Buffer,
  key: string,
  timeMs: number,
): Record<string, string | number> {
  const digest = createHash('sha256').update(body).digest('hex');
  const text = signedText({ method: 'POST', path, timeMs, length: body.length, digest });
  return {
    'content-type': 'application/json',
    'content-length': body.length,
    [ingestHeaders.time]: String(timeMs),
    [ingestHeaders.digest]: digest,
    [ingestHeaders.signature]: createHmac('sha256', key).update(text).digest('hex'),
  };
}

async function readAnswer(response: http.IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response) {
      if (!Buffer.isBuffer(chunk)) continue;
      bytes += chunk.length;
      if (bytes > answerBytesMax) throw new PostError(`the worker's answer is larger than ${answerBytesMax} bytes`);
      chunks.push(chunk);
    }
  } catch (error) {
    throw error instanceof PostError ? error : new PostError(`the worker's answer broke off: ${messageOf(error)}`);
  }
  const { statusCode = 0 } = response;
  if (statusCode === 401 || statusCode === 403) {
    throw new PostError(
      `the worker refused the signature (status ${statusCode}): DRAWBRIDGE_INGEST_KEY must hold a key that the worker accepts, and both clocks must agree`,
    );
  }
  if (statusCode !== 200) throw new PostError(`the worker answered with status ${statusCode}`);
  return Buffer.concat(chunks).toString('utf8');
}

function parseAnswer<Schema extends v.GenericSchema>(schema: Schema, text: string): v.InferOutput<Schema> {
  try {
    return v.parse(schema, JSON.parse(text));
  } catch (error) {
    throw new PostError("the worker's answer is not in the contract: replicator and worker must be of like versions", {
      cause: error,
    });
  }
}

function unreachableError(base: URL, error: unknown): PostError {
  const detail = codeOf(error) ?? messageOf(error);
  return new PostError(
    `the worker at ${base.host} did not answer (${detail}): check that it runs and that WORKER_URL names it`,
    {
      cause: error,
    },
  );
}
