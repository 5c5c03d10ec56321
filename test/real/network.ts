// A small network for three programs: a bridge, and a namespace each for client, gateway and relay. Names and addresses are
// taken anew each time, so that two runs on one machine do not meet. What is made here is removed by `remove`.
import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { randomBytes, randomInt } from 'node:crypto';
import { promisify } from 'node:util';

const run = promisify(execFile);

export const roles = ['client', 'gateway', 'relay'] as const;
export type Role = (typeof roles)[number];

/** What answers behind the gateway: an address of its own namespace, in the resource's network. */
export const resourceAddress = '10.9.0.1';

export type Network = {
  /** Of this process, on the bridge. */
  readonly portalAddress: string;
  readonly addressOf: (role: Role) => string;
  /** What `ip netns exec` is to be told. */
  readonly namespaceOf: (role: Role) => string;
  /** IPv4 addresses on any interface of the namespace. */
  readonly addressesIn: (role: Role) => Promise<string[]>;
  /** Whether the cable to the bridge is in. */
  readonly setLink: (role: Role, state: 'up' | 'down') => Promise<void>;
  readonly remove: () => Promise<void>;
};

export async function makeNetwork(): Promise<Network> {
  const tag = randomBytes(3).toString('hex');
  const subnet = freeSubnet();
  const bridge = `db${tag}`;
  const namespaceOf = (role: Role) => `db${tag}-${role}`;
  const cableOf = (role: Role) => `db${tag}${role.slice(0, 1)}`;
  const addressOf = (role: Role) => `${subnet}.${roles.indexOf(role) + 2}`;
  const ip = async (...args: string[]) => (await run('ip', args)).stdout;
  const resolvers = (role: Role) => `/etc/netns/${namespaceOf(role)}`;
  const remove = async () => {
    for (const role of roles) {
      await ip('netns', 'del', namespaceOf(role)).catch(() => '');
      await rm(resolvers(role), { recursive: true, force: true });
    }
    await ip('link', 'del', bridge).catch(() => '');
  };
  try {
    await ip('link', 'add', bridge, 'type', 'bridge');
    await ip('addr', 'add', `${subnet}.1/24`, 'dev', bridge);
    await ip('link', 'set', bridge, 'up');
    for (const role of roles) {
      const [name, cable] = [namespaceOf(role), cableOf(role)];
      // Programs read their resolver's address at the start, and gateways insist on one.
      await mkdir(resolvers(role), { recursive: true });
      await writeFile(`${resolvers(role)}/resolv.conf`, role === 'gateway' ? `nameserver ${subnet}.1\n` : '');
      await ip('netns', 'add', name);
      await ip('link', 'add', cable, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
      await ip('link', 'set', cable, 'master', bridge, 'up');
      await ip('-n', name, 'addr', 'add', `${addressOf(role)}/24`, 'dev', 'eth0');
      for (const link of ['lo', 'eth0']) await ip('-n', name, 'link', 'set', link, 'up');
    }
    await ip('-n', namespaceOf('gateway'), 'addr', 'add', `${resourceAddress}/32`, 'dev', 'lo');
  } catch (cause) {
    await remove();
    throw cause;
  }
  return {
    portalAddress: `${subnet}.1`,
    addressOf,
    namespaceOf,
    addressesIn: async (role) =>
      [...(await ip('-n', namespaceOf(role), '-4', '-o', 'addr')).matchAll(/inet ([\d.]+)/g)].map(([, a = '']) => a),
    setLink: async (role, state) => void (await ip('link', 'set', cableOf(role), state)),
    remove,
  };
}

/** The first three numbers of a network of 256 addresses in which this machine has none. */
function freeSubnet(): string {
  const taken = Object.values(networkInterfaces()).flatMap((list) => (list ?? []).map(({ address }) => address));
  for (;;) {
    const subnet = `10.${randomInt(200, 250)}.${randomInt(0, 256)}`;
    if (!taken.some((address) => address.startsWith(`${subnet}.`))) return subnet;
  }
}
