// Frames of the random account in a form that can be compared, whatever the generation they are for.
import type { Effects } from '../../core/effect.ts';
import type { GatewayResource } from '../../protocol/device/to-gateway.ts';
import type { Session } from '../../core/state.ts';

type Send = Effects['sends'][number];
export type ToClientMessage = Extract<Send, { type: 'to-client' }>['message'];
export type ToGatewayMessage = Extract<Send, { type: 'to-gateway' }>['message'];

/** A resource in one form, however its sites are named and its keys ordered. */
export function canonical(resource: object): string {
  const entries = Object.entries(resource).map(([key, value]) => [key === 'sites' ? 'gateway_groups' : key, value]);
  return JSON.stringify(Object.fromEntries(entries.toSorted(([a], [b]) => (a < b ? -1 : 1))));
}

export function requestOf({ socketVersion }: Session): string {
  return socketVersion === 2 ? 'request_authorization' : 'create_flow';
}

/** What a gateway acts on: everything but the name. */
export function addressing(resource: GatewayResource): string {
  return resource.type === 'internet'
    ? 'internet'
    : `${resource.type} ${resource.address} ${JSON.stringify(resource.filters)}`;
}

/** The tunnel addresses of a device. */
export function addressesOf(device: { readonly ipv4: string; readonly ipv6: string } | undefined): string {
  return device === undefined ? 'none' : `${device.ipv4} ${device.ipv6}`;
}

/** The resource of an answer to a request. */
export function isAbout({ event, payload }: ToClientMessage): string[] {
  const isAnswer =
    event === 'flow_creation_failed' ||
    event === 'flow_created' ||
    event === 'authorization_creation_failed' ||
    event === 'authorization_created';
  return isAnswer ? [payload.resource_id] : [];
}

/** Clients that are told to drop a resource before a gateway was told to reject them, in words. */
export function outOfOrder({ sends }: Effects, deviceOf: (sessionId: string) => string): string[] {
  const lastReject = new Map<string, number>();
  for (const [i, send] of sends.entries()) {
    if (send.type !== 'to-gateway' || send.message.event !== 'reject_access') continue;
    lastReject.set(`${send.message.payload.client_id}/${send.message.payload.resource_id}`, i);
  }
  return sends.flatMap((send, i) => {
    if (send.type !== 'to-client' || send.message.event !== 'resource_deleted') return [];
    const pair = `${deviceOf(send.sessionId)}/${send.message.payload}`;
    return (lastReject.get(pair) ?? -1) > i ? [`${pair} is deleted at the client before its gateway rejects it`] : [];
  });
}
