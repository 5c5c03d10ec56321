// Pieces of device messages that clients and gateways share.
import * as v from 'valibot';

/** ICE candidates as SDP lines, relayed verbatim: at most 64 of 512 characters a message. */
export const candidates = v.pipe(v.array(v.pipe(v.string(), v.maxLength(512))), v.maxLength(64));

/** Ports of a filter are inclusive; both are left out where the protocol stands for all its ports. */
export type Filter = {
  readonly protocol: 'tcp' | 'udp' | 'icmp';
  readonly port_range_start?: number;
  readonly port_range_end?: number;
};

/** `upstream_dns` is read by generation A, `upstream_do53` by C and B. */
export type Interface = {
  readonly ipv4: string;
  readonly ipv6: string;
  readonly upstream_dns: readonly { readonly protocol: 'ip_port'; readonly address: string }[];
  readonly upstream_do53: readonly { readonly ip: string }[];
  readonly search_domain: string | null;
};

export type IceCredentials = { readonly username: string; readonly password: string };

/** A dual-stack relay is two of these with the same id next to each other, IPv4 first. `expires_at`: Unix seconds. */
export type Relay = {
  readonly type: 'turn';
  readonly id: string;
  readonly addr: string;
  readonly username: string;
  readonly password: string;
  readonly expires_at: number;
};
