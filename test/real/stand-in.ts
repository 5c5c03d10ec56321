// What stands in for the real programs where there are none: the devices of devices/ as executables that are started as the real ones
// are, with the same variables. They are not the real programs and prove nothing about them: they show that the steps of
// `npm run test:real` can pass, and that they fail when they should.
//
// Their data plane is a route: with an access, client and gateway tell the kernel that the other's tunnel address is on the
// bridge. No tunnel, no encryption, and relays carry nothing.
//
// STAND_IN_GENERATION is A, C or B (default); STAND_IN_FAULT makes one misbehave: `ignores-reject` a gateway that lets pass what it
// was told to stop, `stays-away` a client that does not connect again, `reads-nothing` one that drops its init.
import { execFileSync } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import * as v from 'valibot';
import type { Device } from '../../devices/device.ts';
import type { Generation } from '../../protocol/device/generations.ts';

const retryMs = 200;

export const fault = process.env['STAND_IN_FAULT'] ?? '';

export const generation: Generation = v.parse(v.picklist(['A', 'C', 'B']), process.env['STAND_IN_GENERATION'] ?? 'B');

/** What the portal says where it listens, and what this program is called. */
export function settings(): { readonly url: string; readonly token: string; readonly externalId: string } {
  const { FIREZONE_API_URL: url = '', FIREZONE_TOKEN: token = '', FIREZONE_ID: externalId = '' } = process.env;
  return { url: url.replace(/^ws/, 'http'), token, externalId };
}

/** Connects, again and again, for as long as the process lives. Says what it could not read as the real programs do. */
export async function stayConnected(connect: () => Promise<Device>): Promise<never> {
  for (;;) {
    try {
      const device = await connect();
      await device.closed;
      for (const failure of device.failures) say(`WARN Failed to deserialize message: ${failure}`);
      if (fault === 'stays-away') await new Promise(() => setInterval(() => undefined, 60_000));
    } catch (cause) {
      say(`WARN portal connection failed: ${cause instanceof Error ? cause.message : String(cause)}`);
    }
    await delay(retryMs);
  }
}

export function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

/** Makes the kernel believe it, or stop to; what it believes already is no failure. */
export function ip(...args: string[]): void {
  try {
    execFileSync('ip', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  } catch (cause) {
    if (!/File exists|No such (?:process|file)|Cannot assign/i.test(String(cause))) throw cause;
  }
}
