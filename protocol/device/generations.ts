// Which device speaks and understands what: the one table of version rules. A device is known by its socket's version, its
// program and the version that its user agent states; what cannot be read counts as the oldest.
//
//   A  July 2025    client 1.5.2   gateway 1.4.13  version 1 sockets
//   C  June 2026    client 1.5.9   gateway 1.5.3   version 1 sockets
//   B  August 2026  client 1.5.12  gateway 1.6.1   version 2 sockets
//
// Builds between them get what their version is known to understand. Everything else asks here and compares no version.
import type { SocketRole } from '../roles.ts';

export type Generation = 'A' | 'C' | 'B';

export type SocketVersion = 1 | 2;

/** Which generations dial which version of the sockets. */
export const generationsOfSocket = { 1: ['A', 'C'], 2: ['B'] } as const satisfies Record<
  SocketVersion,
  readonly Generation[]
>;

/** The programs that a user agent may name; `connlib` is what clients and gateways of generation A call themselves. */
export const programs = [
  'connlib',
  'headless-client',
  'gui-client',
  'apple-client',
  'android-client',
  'gateway',
  'relay',
] as const;
type Program = (typeof programs)[number];

/** What tells one device from another; null where the user agent does not say. */
export type Speaker = {
  readonly socketVersion: SocketVersion;
  readonly program: string | null;
  /** Like `1.5.2`. */
  readonly deviceVersion: string | null;
};

export type ClientSpeech = {
  readonly flowCreated: 'flow_created' | 'authorization_created';
  readonly flowFailed: 'flow_creation_failed' | 'authorization_creation_failed';
  readonly candidates: 'ice_candidates' | 'gateway_ice_candidates';
  readonly invalidated: 'invalidate_ice_candidates' | 'invalidate_gateway_ice_candidates';
  /** How sites are named, never both ways at once: `gateway_groups` and `gateway_group_id`, or `sites` and `site_id`. */
  readonly siteNames: 'gateway_groups' | 'sites';
  /** Whether a resource that only changed its sites is taken over by an update; else it is removed and added again. */
  readonly followsMoves: boolean;
  /** Whether changed filters alone travel as `resource_filters_updated`. */
  readonly takesFilters: boolean;
  /** Whether a flow that fails by the versions of gateways alone is told as that; else as no gateway being there. */
  readonly knowsMismatch: boolean;
  /** Whether `flow_logs` and a token for them are required. */
  readonly needsFlowLogs: boolean;
};

export type GatewaySpeech = {
  readonly authorize: 'authorize_flow' | 'create_authorization';
  /** Whether an access that `init` does not list goes on: such a gateway is told each one that ended by a reject. */
  readonly ignoresAbsence: boolean;
  /**
   * How a later expiry is told: by `access_authorization_expiry_updated`, by the authorization again with the same secrets, or
   * not at all, so that the access ends and is asked for again.
   */
  readonly renewal: 'message' | 'repeat' | 'none';
  readonly needsFlowLogs: boolean;
};

/** First version of each program that understands something; programs that are not named never do. */
type Since = Readonly<Partial<Record<Program, string>>>;

const siteNames: Since = {
  'apple-client': '1.5.11',
  'gui-client': '1.5.10',
  'headless-client': '1.5.6',
  'android-client': '1.5.8',
};
const followsMoves: Since = {
  'apple-client': '1.5.9',
  'gui-client': '1.5.9',
  'headless-client': '1.5.5',
  'android-client': '1.5.5',
};
const takesFilters: Since = {
  'apple-client': '1.5.16',
  'gui-client': '1.5.13',
  'headless-client': '1.5.9',
  'android-client': '1.5.11',
};

/** Gateways, whichever program they call themselves. */
const gatewaySince = { takesNewExpiry: '1.5.0', repeatsForExpiry: '1.6.0', heedsAbsence: '1.6.1' } as const;

export function clientSpeech(speaker: Speaker): ClientSpeech {
  const isSecond = speaker.socketVersion === 2;
  return {
    flowCreated: isSecond ? 'authorization_created' : 'flow_created',
    flowFailed: isSecond ? 'authorization_creation_failed' : 'flow_creation_failed',
    candidates: isSecond ? 'gateway_ice_candidates' : 'ice_candidates',
    invalidated: isSecond ? 'invalidate_gateway_ice_candidates' : 'invalidate_ice_candidates',
    siteNames: knows(speaker, siteNames) ? 'sites' : 'gateway_groups',
    followsMoves: knows(speaker, followsMoves),
    takesFilters: knows(speaker, takesFilters),
    knowsMismatch: isSecond,
    needsFlowLogs: isSecond,
  };
}

export function gatewaySpeech({ socketVersion, deviceVersion }: Speaker): GatewaySpeech {
  const isSecond = socketVersion === 2;
  const { takesNewExpiry, repeatsForExpiry, heedsAbsence } = gatewaySince;
  const byMessage = isAtLeast(deviceVersion, takesNewExpiry) ? 'message' : 'none';
  return {
    authorize: isSecond ? 'create_authorization' : 'authorize_flow',
    ignoresAbsence: !isAtLeast(deviceVersion, heedsAbsence),
    renewal: isSecond || isAtLeast(deviceVersion, repeatsForExpiry) ? 'repeat' : byMessage,
    needsFlowLogs: isSecond,
  };
}

/**
 * Whether the program exits for good on every answer from 400 to 499 at connect, as all did; later ones exit on 401 alone.
 * Relays of all generations call themselves the same.
 */
export function exitsOnRefusal({ program }: Pick<Speaker, 'program'>): boolean {
  return program === 'connlib' || program === 'relay' || program === null;
}

/** A socket on which nothing arrived for this long is closed, milliseconds: a little over the sender's heartbeat. */
export function idleMs(role: SocketRole, { program }: Pick<Speaker, 'program'>): number {
  if (role === 'relay') return 41_000;
  if (role === 'gateway') return 37_000;
  return program === 'connlib' || program === null ? 307_000 : 37_000;
}

/** Every client on version 2 sockets is later than every version named here. */
function knows({ socketVersion, program, deviceVersion }: Speaker, since: Since): boolean {
  if (socketVersion === 2) return true;
  const named = programs.find((name) => name === program);
  const first = named === undefined ? undefined : since[named];
  return first !== undefined && isAtLeast(deviceVersion, first);
}

/** By semantic version, a pre-release below its release; false for a version that cannot be read. */
export function isAtLeast(version: string | null, first: string): boolean {
  const [read, wanted] = [numbersOf(version), numbersOf(first)];
  if (read === null || wanted === null) return false;
  const differing = read.numbers.findIndex((number, i) => number !== wanted.numbers[i]);
  if (differing === -1) return !read.isPreRelease;
  return (read.numbers[differing] ?? 0) > (wanted.numbers[differing] ?? 0);
}

function numbersOf(version: string | null): { readonly numbers: number[]; readonly isPreRelease: boolean } | null {
  const match = /^(\d{1,9})\.(\d{1,9})\.(\d{1,9})(-[0-9A-Za-z.-]+)?(?:\+[0-9A-Za-z.-]+)?$/.exec(version ?? '');
  return match === null ? null : { numbers: match.slice(1, 4).map(Number), isPreRelease: match[4] !== undefined };
}
