// The simulated relay, gateway and client of `npm run dev`: they print every frame they are sent, connect again whenever their
// socket is closed, and the client asks for its resource whenever it is told of it, so that a flow comes and goes in sight.
import { backoffMs, pause } from './dev-keep.ts';
import { startClient } from '../devices/client.ts';
import { startGateway } from '../devices/gateway.ts';
import { startRelay } from '../devices/relay.ts';
import { Refused } from '../devices/device.ts';
import type { Client } from '../devices/client.ts';
import type { Device } from '../devices/device.ts';
import type { DeviceFrame } from '../devices/strict.ts';
import type { DevAccount } from './dev-account.ts';

type Watch = {
  readonly say: (line: string) => void;
  /** Of [0, 1), as Math.random. */
  readonly random: () => number;
  /** Ends all: they hang up, and connect no more. */
  readonly signal: AbortSignal;
};

const frameCharactersMax = 200;
/** Of a network for examples: nothing is carried. */
const relayAddress = '192.0.2.7';

/** Returns once each has tried to connect, and the client has its first answer if it was told of its resource. */
export async function startDevices(
  options: { readonly url: string; readonly account: DevAccount } & Watch,
): Promise<void> {
  const { account, url, random, signal } = options;
  const say = (line: string) => {
    if (!signal.aborted) options.say(line);
  };
  const watch = { say, random, signal };
  await stayConnected('relay', watch, async () => {
    const printed = print('relay', say);
    const { device } = await startRelay({ url, ...account.relay, ipv4: relayAddress, onFrame: printed });
    return device;
  });
  await stayConnected('gateway', watch, async () => {
    const printed = print('gateway', say);
    const { device } = await startGateway({ url, ...account.gateway, name: 'Rack 1', onFrame: printed });
    return device;
  });
  await stayConnected('client', watch, async () => await connectClient({ url, account }, watch));
}

async function connectClient(
  { url, account }: { readonly url: string; readonly account: DevAccount },
  watch: Watch,
): Promise<Device> {
  const { resourceId } = account;
  let client: Client | null = null;
  let asking = Promise.resolve();
  const ask = () => {
    asking = asking.then(async () => {
      if (client !== null) await askFor(client, resourceId, watch);
    });
  };
  const printed = print('client', watch.say);
  const onFrame = (frame: DeviceFrame) => {
    printed(frame);
    if (frame.event === 'init' || frame.event === 'resource_created_or_updated') ask();
  };
  client = await startClient({ url, ...account.client, name: 'laptop', onFrame });
  // The first init came before there was a client to ask with.
  ask();
  await asking;
  return client.device;
}

/** Asks until there is a flow, or the resource is gone, or the connection is. */
async function askFor({ device, resources, createFlow }: Client, resourceId: string, watch: Watch): Promise<void> {
  let isClosed = false;
  void device.closed.then(() => (isClosed = true));
  for (let failures = 0; resources.has(resourceId) && !watch.signal.aborted; failures += 1) {
    await pause(failures === 0 ? 0 : backoffMs(failures, watch.random), watch.signal);
    const answer = await createFlow(resourceId).catch((cause: unknown) => {
      if (!isClosed) watch.say(`client: ${messageOf(cause)}`);
      return null;
    });
    if (answer === null || answer.event === 'flow_created') return;
  }
}

/** Connects, and again after each close and each failure, until the signal. Resolves after the first attempt. */
async function stayConnected(
  name: string,
  { say, random, signal }: Watch,
  connect: () => Promise<Device>,
): Promise<void> {
  const tried = Promise.withResolvers<void>();
  const aborted = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve()));
  const live = async () => {
    let failures = 0;
    let lastSaid = '';
    while (!signal.aborted) {
      try {
        const device = await connect();
        tried.resolve();
        failures = 0;
        lastSaid = '';
        const close = await Promise.race([device.closed, aborted]);
        for (const failure of device.failures) say(`${name}: a real device would have dropped a frame: ${failure}`);
        if (close === undefined) device.close();
        else say(`${name}: its socket was closed (${close.code} ${close.reason}); connecting again`);
      } catch (cause) {
        tried.resolve();
        const message = `${name}: cannot connect, trying on: ${messageOf(cause)}`;
        if (message !== lastSaid) say(message);
        lastSaid = message;
      }
      failures += 1;
      await pause(backoffMs(failures, random), signal);
    }
  };
  void live();
  await tried.promise;
}

function print(name: string, say: (line: string) => void): (frame: DeviceFrame) => void {
  return ({ event, payload }) => {
    if (event === 'phx_reply') return;
    const text = JSON.stringify(payload);
    const brief = text.length > frameCharactersMax ? `${text.slice(0, frameCharactersMax - 1)}…` : text;
    say(`${name} <- ${event} ${brief}`);
  };
}

function messageOf(cause: unknown): string {
  if (cause instanceof Refused && cause.status === 401) {
    return `${cause.message}; for fresh tokens remove dev-account.json beside the secrets, and start again`;
  }
  return cause instanceof Error ? cause.message : String(cause);
}
