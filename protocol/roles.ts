// The roles that connect, what each is called on the wire, and which token admits it.

/** Devices: they have views and flows. */
export type Role = 'client' | 'gateway';

/** Whoever connects. */
export type SocketRole = Role | 'relay';

/** The type of token that admits a device of this role; one type never stands in for another. */
export const tokenTypeOfRole = {
  client: 'client',
  gateway: 'gateway_group',
  relay: 'relay_group',
} as const satisfies Record<SocketRole, string>;
