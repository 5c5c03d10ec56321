// The roles that connect, what each is called on the wire, and which token admits it.

export type Role = 'client' | 'gateway';

/** The type of token that admits a device of this role; one type never stands in for another. */
export const tokenTypeOfRole = { client: 'client', gateway: 'gateway_group' } as const satisfies Record<Role, string>;
