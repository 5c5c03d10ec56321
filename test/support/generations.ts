// The three generations of devices as hellos: what their user agents and sockets say of them.
import { clientSpeech, gatewaySpeech } from '../../protocol/device/generations.ts';
import type { Role } from '../../protocol/roles.ts';
import type { Generation, SocketVersion, Speaker } from '../../protocol/device/generations.ts';

export const generations: readonly Generation[] = ['A', 'C', 'B'];

type Said = { readonly program: string; readonly deviceVersion: string; readonly socketVersion: SocketVersion };

/** Changes to a hello, by generation and role. */
export const speaking: Readonly<Record<Generation, { readonly client: Said; readonly gateway: Said }>> = {
  A: {
    client: { program: 'connlib', deviceVersion: '1.5.2', socketVersion: 1 },
    gateway: { program: 'connlib', deviceVersion: '1.4.13', socketVersion: 1 },
  },
  C: {
    client: { program: 'headless-client', deviceVersion: '1.5.9', socketVersion: 1 },
    gateway: { program: 'gateway', deviceVersion: '1.5.3', socketVersion: 1 },
  },
  B: {
    client: { program: 'headless-client', deviceVersion: '1.5.12', socketVersion: 2 },
    gateway: { program: 'gateway', deviceVersion: '1.6.1', socketVersion: 2 },
  },
};

/** Whose schemas fit what a device is told: builds between the generations are told as the older of the two. */
export function generationOf(role: Role, speaker: Speaker): Generation {
  if (speaker.socketVersion === 2) return 'B';
  const isLater =
    role === 'client' ? clientSpeech(speaker).siteNames === 'sites' : gatewaySpeech(speaker).renewal !== 'none';
  return isLater ? 'C' : 'A';
}
