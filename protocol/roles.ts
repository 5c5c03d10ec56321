// The roles that connect, what each is called on the wire, and which token admits it.

export type Role = 'client' | 'gateway';

/** The type of token that admits a device of this role; one type never stands in for another. */
export const tokenTypeOfRole = { client: 'client', gateway: 'gateway_group' } as const satisfies Record<Role, string>;

/** A socket on which nothing arrived for this long is closed, in milliseconds: a little over the sender's heartbeat. */
export const idleMsByRole = { client: 307_000, gateway: 37_000 } as const satisfies Record<Role, number>;
