// Who connects in a random history: a client or a gateway of a random generation, under the token of its owner or of its site.
import { clients, gateways, ownerOf } from './random-rows.ts';
import { generations } from './generations.ts';
import { clientSecret, gatewaySecret, id } from './world.ts';
import type { Generation } from '../../protocol/device/generations.ts';

export type RandomDevice = {
  readonly role: 'client' | 'gateway';
  readonly generation: Generation;
  readonly externalId: string;
  /** Of its process. */
  readonly publicKey: string;
  readonly tokenId: string;
  readonly secret: string;
  readonly remoteIp: string;
};

type Numbers = { readonly a: number; readonly b: number; readonly c: number };

/** `siteOf`: the number of the site that a gateway belongs to, or belonged to last. */
export function randomDevice({ a, b, c }: Numbers, siteOf: (gateway: number) => number): RandomDevice {
  if (a % 2 === 0) {
    const n = (b % clients) + 1;
    return {
      role: 'client',
      ...program(`laptop-${n}`, b + c),
      tokenId: id('tokc', ownerOf(n)),
      secret: clientSecret,
      remoteIp: c % 2 === 0 ? '203.0.113.7' : '198.51.100.7',
    };
  }
  const n = ((b + 1) % gateways) + 1;
  return {
    role: 'gateway',
    ...program(`rack-${n}`, c),
    tokenId: id('tokg', siteOf(n)),
    secret: gatewaySecret,
    remoteIp: '203.0.113.7',
  };
}

function program(externalId: string, n: number): Pick<RandomDevice, 'generation' | 'externalId' | 'publicKey'> {
  const publicKey = `${externalId.replace('-', '').padEnd(43, 'A')}=`;
  return { generation: generations[n % 3] ?? 'A', externalId, publicKey };
}
