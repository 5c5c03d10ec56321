// Which versions of client and gateway work together.
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
