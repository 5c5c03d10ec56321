// What a schema says, as plain data, and an example of what it takes: the source of docs/protocol.md and of the fingerprint by
// which a changed message is noticed.
import type * as v from 'valibot';

/** A schema as plain data: its kind, its parts, and its bounds. Equal schemas have equal descriptions. */
export type Description = { readonly type: string; readonly [detail: string]: unknown };

type Parts = {
  readonly type: string;
  readonly entries?: Readonly<Record<string, v.GenericSchema>>;
  readonly options?: readonly unknown[];
  readonly literal?: unknown;
  readonly item?: v.GenericSchema;
  readonly wrapped?: v.GenericSchema;
  readonly pipe?: readonly { readonly kind: string; readonly type: string; readonly requirement?: unknown }[];
};

export function describe(schema: v.GenericSchema): Description {
  const { type, entries, options, literal, item, wrapped, pipe } = partsOf(schema);
  const bounds = (pipe ?? []).flatMap(({ kind, type: check, requirement }) =>
    kind === 'validation' ? [`${check} ${textOf(requirement)}`.trim()] : [],
  );
  return {
    type,
    ...(entries === undefined ? {} : { entries: Object.fromEntries(mapEntries(entries, describe)) }),
    ...(options === undefined
      ? {}
      : { options: options.map((option) => (isSchema(option) ? describe(option) : option)) }),
    ...(literal === undefined ? {} : { literal }),
    ...(item === undefined ? {} : { item: describe(item) }),
    ...(wrapped === undefined ? {} : { wrapped: describe(wrapped) }),
    ...(bounds.length === 0 ? {} : { bounds }),
  };
}

/** A bound as text: a number, a pattern, or nothing where it is a function. */
function textOf(requirement: unknown): string {
  if (requirement instanceof RegExp) return requirement.source;
  return typeof requirement === 'number' || typeof requirement === 'string' ? String(requirement) : '';
}

/** A value that the schema takes; texts are chosen by the name of the field that they stand in. */
export function exampleOf(schema: v.GenericSchema, field = '', parent = ''): unknown {
  const { type, entries, options, literal, item, wrapped } = partsOf(schema);
  if (entries !== undefined) {
    return Object.fromEntries(mapEntries(entries, (part, name) => exampleOf(part, name, field)));
  }
  if (literal !== undefined) return literal;
  if (options !== undefined) return isSchema(options[0]) ? exampleOf(options[0], field, parent) : options[0];
  if (item !== undefined) return partsOf(item).type === 'never' ? [] : [exampleOf(item, field, parent)];
  if (wrapped !== undefined) return exampleOf(wrapped, field, parent);
  if (type === 'number') return field.startsWith('port') ? 443 : 1_924_992_000;
  if (type === 'boolean') return true;
  return parent === 'upstream_dns' ? '9.9.9.9:53' : textFor(field);
}

function textFor(field: string): string {
  if (field === 'disconnected_ids') return '0d9d0f3e-0000-4000-8000-000000000002';
  if (/(?:^|_)ids?$/.test(field) || field === '') return '0d9d0f3e-0000-4000-8000-000000000001';
  if (field.endsWith('_key')) return `${'A'.repeat(43)}=`;
  const known: Readonly<Record<string, string>> = {
    addr: '203.0.113.7:3478',
    address: '10.9.0.0/24',
    address_description: 'The office network',
    api_url: 'https://flow-logs.invalid/',
    account_slug: 'acme',
    candidates: 'candidate:1 1 udp 2130706431 192.0.2.20 52625 typ host',
    domain: 'peer.example',
    flow_logs_ingest_token:
      'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJhY2NvdW50X2lkIjoiMGQ5ZDBmM2UtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAxIiwiaWF0IjoxOTI0OTA1NjAwLCJleHAiOjE5MjQ5OTIwMDAsInVwbG9hZHNfZW5hYmxlZCI6ZmFsc2UsInJvbGUiOiJpbml0aWF0b3IiLCJpbml0aWF0b3JfZGV2aWNlX2lkIjoiMGQ5ZDBmM2UtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAxIiwicmVzcG9uZGVyX2RldmljZV9pZCI6IjBkOWQwZjNlLTAwMDAtNDAwMC04MDAwLTAwMDAwMDAwMDAwMSIsInBvbGljeV9hdXRob3JpemF0aW9uX2lkIjoiMGQ5ZDBmM2UtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAxIiwicG9saWN5X2lkIjoiMGQ5ZDBmM2UtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAxIiwicmVzb3VyY2VfaWQiOiIwZDlkMGYzZS0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwMDEiLCJyZXNvdXJjZV9uYW1lIjoiT2ZmaWNlIiwiaW5pdGlhdG9yX2FjdG9yX2lkIjoiMGQ5ZDBmM2UtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAxIiwiaW5pdGlhdG9yX2FjdG9yX25hbWUiOiIwZDlkMGYzZS0wMDAwLTQwMDAtODAwMC0wMDAwMDAwMDAwMDEiLCJhdXRob3JpemVkX2F0IjoiMjAzMC0xMi0zMVQwMDowMDowMFoiLCJhdXRob3JpemF0aW9uX2V4cGlyZXNfYXQiOiIyMDMxLTAxLTAxVDAwOjAwOjAwWiJ9.c2lnbmF0dXJl',
    gateway_ipv4: '100.64.0.3',
    gateway_ipv6: 'fd00:2021:1111::3',
    ip: '9.9.9.9',
    ipv4: '100.64.0.2',
    ipv6: 'fd00:2021:1111::2',
    name: 'Office',
    password: 'cGFzc3dvcmQ',
    ref: '0d9d0f3e-0000-4000-8000-000000000001.5f1c',
    search_domain: 'corp.example',
    stamp_secret: '5'.repeat(64),
    username: '1924992000:c2FsdA',
    violated_properties: 'remote_ip',
  };
  return known[field] ?? 'text';
}

function mapEntries<T>(
  entries: Readonly<Record<string, v.GenericSchema>>,
  of: (schema: v.GenericSchema, field: string) => T,
): [string, T][] {
  return Object.entries(entries).map(([field, schema]) => [field, of(schema, field)]);
}

function isSchema(value: unknown): value is v.GenericSchema {
  return typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'schema';
}

/** The parts that the schemas of messages are made of; the library's type of any schema does not name them. */
function partsOf(schema: v.GenericSchema): Parts {
  return schema;
}
