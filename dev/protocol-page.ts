// `npm run protocol`: writes docs/protocol.md from the schemas of protocol/device/ and from protocol/reasons.ts. A test compares
// the two.
import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { writeFileSync } from 'node:fs';
import { describe, exampleOf } from '../protocol/device/describe.ts';
import { messages, notes } from '../protocol/device/messages.ts';
import { outcomes } from './protocol-outcomes.ts';
import { pushFrame, replyFrame } from '../protocol/framing.ts';
import type { Message } from '../protocol/device/messages.ts';

const page = fileURLToPath(new URL('../docs/protocol.md', import.meta.url));
const generations = ['A', 'C', 'B'] as const;

/** The page, before it is formatted. */
export function protocolPage(): string {
  const roles = ['client', 'gateway', 'relay'] as const;
  return `${[
    '# What devices and the portal say to each other',
    'Made by `npm run protocol` from `protocol/device/` and `protocol/reasons.ts`. Which programs are of which generation, and what else differs between them, is in [compatibility.md](compatibility.md).',
    framing(),
    ...outcomes(),
    ...roles.flatMap((role) =>
      (['to the device', 'from the device'] as const).map((direction) => section(role, direction)),
    ),
    '## Versions of these messages',
    notes.map(({ note }, i) => `${i + 1}. ${note}`).join('\n'),
  ].join('\n\n')}\n`;
}

function framing(): string {
  return [
    '## Framing',
    'Phoenix channels, version 1: one JSON object a text frame, with `topic`, `event`, `payload` and `ref`. The topic is the role. A device joins first; its heartbeats go to the topic `phoenix`. A reply carries the ref as it came. What is pushed has no ref.',
    block(
      '{"topic":"client","event":"phx_join","payload":null,"ref":0}',
      replyFrame('client', 0, 'ok'),
      '{"topic":"phoenix","event":"heartbeat","payload":{},"ref":1}',
      replyFrame('phoenix', 1, 'ok'),
      '{"topic":"client","event":"no_such_event","payload":{},"ref":2}',
      replyFrame('client', 2, { reason: 'unknown_message' }),
      pushFrame('client', 'disconnect', { reason: 'token_expired' }),
    ),
    'Reasons of an error: `unmatched topic`, before the join and for any other topic; `unknown_message`, whatever is wrong with it; `invalid_ref`, a gateway accepts what it is not asked; `join crashed`, a relay joins without a secret, after which it exits.',
    '`disconnect` signs a device out: it is sent only where its token or the device itself is gone.',
  ].join('\n\n');
}

function section(role: Message['role'], direction: Message['direction']): string {
  const chosen = messages.filter((message) => message.role === role && message.direction === direction);
  const rows = chosen.map(
    ({ event, schemas }) => `| \`${event}\` | ${generations.map((of) => (of in schemas ? 'yes' : '')).join(' | ')} |`,
  );
  const title = direction === 'to the device' ? `What a ${role} is told` : `What a ${role} says`;
  return [
    `## ${title}`,
    ['| event | A | C | B |', '| --- | --- | --- | --- |', ...rows].join('\n'),
    ...chosen.flatMap(examples),
  ].join('\n\n');
}

/** One example for each form that the message has. */
function examples({ role, event, schemas }: Message): string[] {
  const forms = new Map<string, { readonly of: string[]; readonly text: string }>();
  for (const generation of generations) {
    const schema = schemas[generation];
    if (schema === undefined) continue;
    const form = JSON.stringify(describe(schema));
    const text = pushFrame(role, event, exampleOf(schema));
    const known = forms.get(form);
    if (known === undefined) forms.set(form, { of: [generation], text });
    else known.of.push(generation);
  }
  return [...forms.values()].flatMap(({ of, text }) => [`\`${event}\` of ${of.join(', ')}:`, block(text)]);
}

function block(...lines: readonly string[]): string {
  return ['```', ...lines, '```'].join('\n');
}

if (import.meta.main) {
  writeFileSync(page, protocolPage());
  execFileSync('node_modules/.bin/oxfmt', [page], { cwd: fileURLToPath(new URL('..', import.meta.url)) });
}
