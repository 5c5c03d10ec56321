// The schemas of messages against their notes, their examples and their page.
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import * as v from 'valibot';
import { expect, test } from 'vitest';
import { exampleOf } from '../../protocol/device/describe.ts';
import { messages, notes, wording } from '../../protocol/device/messages.ts';
import { protocolPage } from '../../dev/protocol-page.ts';
import { readFrame } from '../../devices/strict.ts';

test('[P15.86] messages do not change without a note', () => {
  const fingerprint = createHash('sha256').update(wording()).digest('hex').slice(0, 16);
  // Where this fails a message has changed: add a note to protocol/device/messages.ts that says what, and for which devices.
  expect(notes.at(-1)?.fingerprint).toBe(fingerprint);
  expect(new Set(notes.map((note) => note.fingerprint)).size).toBe(notes.length);
});

const forms = messages.flatMap(({ role, direction, event, schemas }) =>
  Object.entries(schemas).map(([generation, schema]) => ({ role, direction, event, generation, schema })),
);

test.each(forms)('the example of $event, $direction, generation $generation is one', ({ schema }) => {
  expect(v.safeParse(schema, exampleOf(schema)).issues).toBeUndefined();
});

test('[P15.88] every example of what the portal says is taken by devices of the generation', () => {
  const sent = forms.filter(({ direction }) => direction === 'to the device');
  const unknown = sent.filter(({ role, event, generation, schema }) => {
    if (generation !== 'A' && generation !== 'C' && generation !== 'B') return true;
    const text = JSON.stringify({ topic: role, event, payload: exampleOf(schema), ref: null });
    const read = readFrame(role, text, generation);
    return read.type === 'dropped';
  });
  expect(unknown.map(({ event }) => event)).toEqual([]);
});

test('docs/protocol.md is what the schemas say: else run npm run protocol', () => {
  const page = readFileSync(new URL('../../docs/protocol.md', import.meta.url), 'utf8');
  expect(unformatted(page)).toBe(unformatted(protocolPage()));
});

/** The text without what a formatter decides: line ends, the width of columns. */
function unformatted(text: string): string {
  return text.replaceAll(/\s+/g, ' ').replaceAll(/-{3,}/g, '---');
}
