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

/** The resource of an answer to a request. */
export function isAbout({ event, payload }: ToClientMessage): string[] {
  const isAnswer =
    event === 'flow_creation_failed' ||
    event === 'flow_created' ||
    event === 'authorization_creation_failed' ||
    event === 'authorization_created';
  return isAnswer ? [payload.resource_id] : [];
}
