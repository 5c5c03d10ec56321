// Sends a datagram to the address and port given whenever a line comes in, and prints `answered` or `silent`: a ping without a
// program for it and without ICMP.
import { createSocket } from 'node:dgram';
import { createInterface } from 'node:readline';

const answerMsMax = 1000;
const [address = '', port = ''] = process.argv.slice(2);

for await (const line of createInterface({ input: process.stdin })) {
  const isAnswered = await ping(line);
  process.stdout.write(isAnswered ? 'answered\n' : 'silent\n');
}

/** Whether `text` comes back in time. */
async function ping(text: string): Promise<boolean> {
  const socket = createSocket('udp4');
  const answer = Promise.withResolvers<boolean>();
  const limit = setTimeout(() => answer.resolve(false), answerMsMax);
  socket.on('message', (data) => {
    if (data.toString() === text) answer.resolve(true);
  });
  // Without a route there is nothing to send by.
  socket.on('error', () => undefined);
  socket.send(text, Number(port), address);
  const isAnswered = await answer.promise;
  clearTimeout(limit);
  socket.close();
  return isAnswered;
}
