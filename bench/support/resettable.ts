// The worker in the local runtime, with one thing more: a request that resets an account's object, as a deploy or a move by the
// platform does. Its memory and its inner sockets are gone, its storage stays.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { convertV4MiniflareOptions, Miniflare } from 'miniflare';
import { bundleWorker } from '../../dev/worker-bundle.ts';
import { leashChildren } from '../../dev/leash.ts';
import { must } from '../../protocol/assert.ts';

export type Resettable = {
  readonly url: string;
  readonly reset: (account: string) => Promise<void>;
  /** Processor time that the runtime has used, milliseconds. */
  readonly processorMs: () => number;
  readonly stop: () => Promise<void>;
};

const script = `
import worker, { Account as Base } from './worker.js';
export { RelayHub, Stream, WriteBack } from './worker.js';
export class Account extends Base {
  abort() { this.ctx.abort('reset'); }
}
export default {
  async fetch(request, env, ctx) {
    const { pathname } = new URL(request.url);
    if (!pathname.startsWith('/reset/')) return worker.fetch(request, env, ctx);
    await env.ACCOUNT.getByName(pathname.slice('/reset/'.length)).abort().catch(() => {});
    return new Response('reset');
  },
};
`;

/** `change`: of the bundled worker's text. */
export async function startResettable(
  bindings: Readonly<Record<string, string>>,
  change: (bundle: string) => string = (bundle) => bundle,
): Promise<Resettable> {
  const bundle = await bundleWorker(fileURLToPath(new URL('../../worker/index.ts', import.meta.url)));
  const miniflare = new Miniflare(
    convertV4MiniflareOptions({
      name: 'resettable',
      modulesRoot: '/',
      modules: [
        { type: 'ESModule', path: '/main.js', contents: script },
        { type: 'ESModule', path: '/worker.js', contents: change(bundle) },
      ],
      compatibilityDate: '2026-10-01',
      host: '127.0.0.1',
      port: 0,
      durableObjects: {
        ACCOUNT: { className: 'Account', useSQLite: true },
        RELAY_HUB: { className: 'RelayHub', useSQLite: true },
        STREAM: { className: 'Stream', useSQLite: true },
      },
      bindings,
      cf: false,
      telemetry: { enabled: false },
    }),
  );
  const { origin } = await miniflare.ready;
  leashChildren('workerd');
  const runtime = childNamed('workerd');
  return {
    url: origin,
    reset: async (account) => {
      await (await fetch(`${origin}/reset/account:v1:${account}`)).text();
    },
    processorMs: () => {
      // proc(5): the 14th and 15th fields, of which the second may have spaces; hundredths of a second.
      const fields = readFileSync(`/proc/${runtime}/stat`, 'utf8')
        .replace(/^.*\) /, '')
        .split(' ');
      return (Number(fields[11]) + Number(fields[12])) * 10;
    },
    stop: async () => await miniflare.dispose(),
  };
}

function childNamed(name: string): string {
  const lines = execFileSync('ps', ['-A', '-o', 'pid=,ppid=,comm='], { encoding: 'utf8' }).split('\n');
  const child = lines
    .map((line) => line.trim().split(/\s+/))
    .find(([, parent, command]) => Number(parent) === process.pid && command === name);
  return must(child?.[0], `a child named ${name}`);
}
