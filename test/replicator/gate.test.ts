// How many deliveries are under way at once.
import { once } from 'node:events';
import net from 'node:net';
import { expect, test } from 'vitest';
import { Gate, inFlightMax, inFlightMin } from '../../replicator/gate.ts';
import { createPost, PostError } from '../../replicator/post.ts';

type Request = { readonly answer: () => void; readonly lose: () => void };

/** `count` requests at once through `gate`; those that were sent, in order. */
function start(gate: Gate, count: number): { readonly sent: Request[]; readonly ends: Promise<unknown> } {
  const sent: Request[] = [];
  const ends = Array.from({ length: count }, async () => {
    await gate
      .pass(
        () =>
          new Promise<void>((resolve, reject) => {
            sent.push({ answer: resolve, lose: () => reject(new Error('lost')) });
          }),
        () => true,
      )
      .catch(() => 'lost');
  });
  return { sent, ends: Promise.all(ends) };
}

const turn = async () => await new Promise((resolve) => setImmediate(resolve));

test('[P15.91] deliveries that are answered let more go at once, up to a bound, and the rest wait in order', async () => {
  const gate = new Gate();
  const { sent, ends } = start(gate, 40_000);
  const first = sent.length;
  let answered = 0;
  let most = 0;
  while (answered < 40_000) {
    most = Math.max(most, sent.length - answered);
    sent[answered]?.answer();
    answered += 1;
    await Promise.resolve();
    if (answered >= sent.length) await turn();
  }
  await ends;
  expect(first).toBe(2 * inFlightMin);
  expect(gate.limit()).toBe(inFlightMax);
  expect(most).toBeLessThanOrEqual(inFlightMax);
});

test('[P15.92] deliveries that nobody answers halve what goes at once, once for all that were under way, down to a bound', async () => {
  const gate = new Gate();
  const { sent, ends } = start(gate, 1_000);
  const limits = [gate.limit()];
  for (let lost = 0; lost < 1_000;) {
    const underWay = sent.length;
    for (; lost < underWay; lost += 1) sent[lost]?.lose();
    await turn();
    limits.push(gate.limit());
  }
  await ends;
  expect(limits.slice(0, 3)).toEqual([2 * inFlightMin, inFlightMin, inFlightMin]);
  expect(gate.waiting()).toBe(0);
});

test('[P15.93] a worker that takes connections and answers nothing is never sent more than so many, however many wait', async () => {
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.resume();
    socket.on('error', () => sockets.delete(socket)).on('close', () => sockets.delete(socket));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  const port = typeof address === 'object' ? (address?.port ?? 0) : 0;
  const post = createPost(`http://127.0.0.1:${port}`, 'k'.repeat(32), 200);
  let most = 0;
  const watching = setInterval(() => (most = Math.max(most, sockets.size)), 1);
  const answers = await Promise.allSettled(Array.from({ length: 200 }, async () => await post.deliver('{}')));
  clearInterval(watching);

  expect(answers.every((one) => one.status === 'rejected' && one.reason instanceof PostError)).toBe(true);
  expect(most).toBeLessThanOrEqual(2 * inFlightMin);
  post.close();
  server.close();
  // It closes once every connection has ended.
  await once(server, 'close');
});
