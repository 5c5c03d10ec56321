// Which versions work together, and what each generation of gateway understands.
import { parse } from 'semver';

/**
 * Whether a client may be sent to a gateway: at least one minor version below the client's, and less than two above, by
 * semantic version (https://semver.org, pre-releases below their release). A version that cannot be read is compatible with
 * nothing on the gateway's side; a client that states none may use any gateway that states one.
 */
export function isCompatible(clientVersion: string | null, gatewayVersion: string | null): boolean {
  const gateway = parse(gatewayVersion);
  if (gateway === null) return false;
  const client = parse(clientVersion);
  if (client === null) return clientVersion === null;
  const lowest = `${client.major}.${Math.max(0, client.minor - 1)}.0`;
  return gateway.compare(lowest) >= 0 && gateway.compare(`${client.major}.${client.minor + 2}.0`) < 0;
}

/**
 * How the expiry of a live authorization is changed at a gateway: from 1.5 on by a message of its own, before that not at
 * all, so that the access has to end and be asked for again.
 */
export function takesNewExpiry(gatewayVersion: string | null): boolean {
  const gateway = parse(gatewayVersion);
  return gateway !== null && gateway.compare('1.5.0') >= 0;
}
