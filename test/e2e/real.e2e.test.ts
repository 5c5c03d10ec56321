// `npm run test:real` as a process, with the stand-ins of test/real/ in the place of real programs: it sees every step of
// programs that behave, and it is red for those that do not. This says nothing about the real programs.
import { execFile } from 'node:child_process';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { framesIn } from '../real/frames.ts';
import { missingOf, thisMachine } from '../real/needs.ts';
import { roles } from '../real/network.ts';
import type { Machine } from '../real/needs.ts';

const at = (path: string) => fileURLToPath(new URL(`../${path}`, import.meta.url));
const standIns = {
  client: at('real/stand-in-client.ts'),
  gateway: at('real/stand-in-gateway.ts'),
  relay: at('real/stand-in-relay.ts'),
};
const missing = missingOf(thisMachine(), standIns);

test('[P15.100] without a program to try, test:real says that it skips; with one, what is missing', async () => {
  expect(await run({}, {})).toEqual({
    code: 0,
    output: [expect.stringMatching(/^test:real: SKIPPED, no program was given: --client PATH/)],
  });
  const { code, output } = await run({ client: standIns.client, relay: '/nowhere' }, {});
  expect([code, output.slice(0, 2)]).toEqual([
    2,
    [
      'test:real: missing: the gateway: give its path with --gateway or DRAWBRIDGE_REAL_GATEWAY',
      'test:real: missing: the relay: /nowhere is no program that can be started',
    ],
  ]);
});

test('[P15.101] each thing that test:real needs of a machine is named when it is missing, and nothing else', () => {
  const whole: Machine = {
    platform: 'linux',
    isRoot: true,
    hasIp: true,
    hasNamespaces: true,
    hasTun: true,
    isExecutable: () => true,
  };
  const namedWithout = (lack: Partial<Machine>) =>
    missingOf({ ...whole, ...lack }, standIns).map((thing) => thing.split(':')[0]);
  expect(namedWithout({})).toEqual([]);
  expect(namedWithout({ isRoot: false, hasNamespaces: false })).toEqual(['root']);
  expect(namedWithout({ hasIp: false, hasNamespaces: false })).toEqual(['ip']);
  expect(namedWithout({ hasNamespaces: false })).toEqual(['network namespaces']);
  expect(namedWithout({ hasTun: false })).toEqual(['/dev/net/tun']);
  expect(namedWithout({ platform: 'darwin' })).toEqual(['Linux']);
});

test.concurrent.each([
  ['', 'revoke-while-away', 0, /^11 {2}ok {6}revoke-while-away.*\ntest:real: 11 of 11 steps seen$/m],
  ['ignores-reject', 'revoke', 1, /^4 {2}FAILED {2}revoke: the gateway was told to stop, and lets pass/m],
  ['reads-nothing', 'init', 1, /^2 {2}FAILED {2}init: the client could not read a message/m],
  ['dies', 'connect', 1, /^1 {2}FAILED {2}connect: the relay ended by itself \(status 1\)/m],
])(
  '[P15.102] with the fault "%s", test:real up to %s ends with %i',
  async (fault, until, code, line) => {
    const paths = fault === 'dies' ? { ...standIns, relay: '/bin/false' } : standIns;
    const ran = await run({ ...paths, until }, { STAND_IN_FAULT: fault });
    // A machine that cannot run them must say why, which is all that can be seen there.
    const [expectedCode, expected] = missing.length === 0 ? [code, line] : [2, /^test:real: missing: /m];
    expect(ran.output.join('\n')).toMatch(expected);
    expect(ran.code).toBe(expectedCode);
  },
  180_000,
);

test('[P15.103] the tap reads messages however they are cut, masked and in fragments, and skips what is no message', () => {
  const text = JSON.stringify({ topic: 'client', event: 'x', payload: { long: 'y'.repeat(200) } });
  const bytes = Buffer.concat([
    Buffer.from('GET /client/websocket HTTP/1.1\r\n\r\n'),
    frame(0x89, Buffer.from('ping'), false),
    frame(0x01, Buffer.from(text.slice(0, 10)), true),
    frame(0x80, Buffer.from(text.slice(10)), true),
    frame(0x81, Buffer.from(text), false),
  ]);
  for (const size of [1, 3, 64, bytes.length]) {
    const read = framesIn();
    const messages = [];
    for (let i = 0; i < bytes.length; i += size) messages.push(...read(bytes.subarray(i, i + size)));
    expect(messages).toEqual([
      { event: 'x', payload: { long: 'y'.repeat(200) } },
      { event: 'x', payload: { long: 'y'.repeat(200) } },
    ]);
  }
});

/** One frame, RFC 6455 section 5.2, of at most 65,535 bytes. */
function frame(first: number, payload: Buffer, isMasked: boolean): Buffer {
  const bit = isMasked ? 0x80 : 0;
  const size = payload.length < 126 ? [bit | payload.length] : [bit | 126, payload.length >> 8, payload.length & 0xff];
  const mask = [1, 2, 3, 4];
  const body = isMasked ? payload.map((byte, i) => byte ^ (mask[i % 4] ?? 0)) : payload;
  return Buffer.from([first, ...size, ...(isMasked ? mask : []), ...body]);
}

async function run(
  options: Readonly<Record<string, string>>,
  env: Readonly<Record<string, string>>,
): Promise<{ readonly code: number; readonly output: string[] }> {
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  // The stand-ins say `env node`, and need the one that this runs on.
  const path = `${dirname(process.execPath)}:${process.env['PATH'] ?? ''}`;
  const unset = Object.fromEntries(roles.map((role) => [`DRAWBRIDGE_REAL_${role.toUpperCase()}`, '']));
  return await new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      [at('real.ts'), ...args],
      { env: { ...process.env, ...unset, ...env, PATH: path }, maxBuffer: 16 * 1024 * 1024 },
      (_, output) => resolve({ code: child.exitCode ?? -1, output: output.trimEnd().split('\n') }),
    );
  });
}
