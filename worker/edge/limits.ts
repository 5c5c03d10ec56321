// How often devices may connect: by address and token, and by address alone. One isolate counts what it sees; there are many,
// so this keeps a device or an address from flooding, it is no exact quota.
//
// What is remembered is bounded: the entry that was used longest ago is forgotten first, and with it a limit that has most
// likely passed.
import { parseAddress } from '../../core/cidr.ts';
import { fullBucket, takeOne } from './bucket.ts';
import type { Bucket, Rate } from './bucket.ts';

export type ConnectLimits = { readonly perToken: Rate; readonly perAddress: Rate };

/** Addresses, and pairs of address and token, that are remembered at the same time. */
export const rememberedMax = 10_000;

const defaults = '5,1,20';

/**
 * Reads `BURST,TOKEN,ADDRESS`: connects at once and then per second for one address and token, and connects per second for one
 * address. Throws an Error that says what was expected.
 */
export function parseConnectLimits(text: string | undefined): ConnectLimits {
  const numbers = (text === undefined || text === '' ? defaults : text).split(',').map(Number);
  const [burst, perToken, perAddress, ...rest] = numbers;
  if (!isRate(burst) || !isRate(perToken) || !isRate(perAddress) || rest.length > 0) {
    throw new Error(
      `DRAWBRIDGE_CONNECT_LIMITS must be three numbers of 1 or more, connects at once and per second for one address and token, and per second for one address, like ${defaults}`,
    );
  }
  return {
    perToken: { burst, perSecond: perToken },
    perAddress: { burst: perAddress, perSecond: perAddress },
  };
}

export class ConnectLimiter {
  readonly #limits: ConnectLimits;
  readonly #buckets = new Map<string, Bucket>();

  constructor(limits: ConnectLimits) {
    this.#limits = limits;
  }

  /** 0, or how many seconds the address has to wait. `address` is null when the platform did not say. */
  takeAddress(address: string | null, now: number): number {
    return this.#take(networkOf(address), this.#limits.perAddress, now);
  }

  /** 0, or how many seconds this token has to wait at this address. */
  takeToken(address: string | null, tokenId: string, now: number): number {
    return this.#take(`${networkOf(address)} ${tokenId}`, this.#limits.perToken, now);
  }

  #take(key: string, rate: Rate, now: number): number {
    const bucket = this.#buckets.get(key) ?? fullBucket(rate, now);
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    for (const oldest of this.#buckets.keys()) {
      if (this.#buckets.size <= rememberedMax) break;
      this.#buckets.delete(oldest);
    }
    return takeOne(bucket, rate, now);
  }
}

/** The address, and of an IPv6 one its /64, which one holder has whole. Those that are unknown share one. */
function networkOf(address: string | null): string {
  const parsed = parseAddress(address ?? '');
  if (parsed === null) return 'unknown';
  return parsed.family === 4 ? String(parsed.value) : `${parsed.value >> 64n}/64`;
}

function isRate(value: number | undefined): value is number {
  return value !== undefined && Number.isFinite(value) && value >= 1;
}
