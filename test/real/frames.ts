// Reads the messages out of one direction of a WebSocket connection (RFC 6455) that somebody else speaks: skips the HTTP head,
// takes the mask off, joins fragments. Extensions are not understood; none of the programs asks for one.
import * as v from 'valibot';

const message = v.pipe(v.string(), v.parseJson(), v.object({ event: v.string(), payload: v.unknown() }));
export type Message = v.InferOutput<typeof message>;

/** A reader that is given the bytes as they come, and returns the messages that they complete. */
export function framesIn(): (chunk: Buffer) => Message[] {
  let rest: Buffer = Buffer.alloc(0);
  let isOpen = false;
  let fragments: Buffer[] = [];
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    if (!isOpen) {
      const end = rest.indexOf('\r\n\r\n');
      if (end === -1) return [];
      isOpen = true;
      rest = rest.subarray(end + 4);
    }
    const messages: Message[] = [];
    for (let frame = frameAt(rest); frame !== null; frame = frameAt(rest)) {
      rest = rest.subarray(frame.length);
      if (frame.opcode > 2) continue;
      fragments.push(frame.payload);
      if (!frame.isLast) continue;
      const parsed = v.safeParse(message, Buffer.concat(fragments).toString());
      fragments = [];
      if (parsed.success) messages.push(parsed.output);
    }
    return messages;
  };
}

type Frame = { readonly opcode: number; readonly isLast: boolean; readonly payload: Buffer; readonly length: number };

/** The frame that the bytes begin with (section 5.2), or null while it is not complete. */
function frameAt(bytes: Buffer): Frame | null {
  if (bytes.length < 2) return null;
  const [first, second] = [bytes.readUInt8(0), bytes.readUInt8(1)];
  const short = second & 0x7f;
  const sizeBytes = { 126: 2, 127: 8 }[short] ?? 0;
  const maskBytes = (second & 0x80) === 0 ? 0 : 4;
  const start = 2 + sizeBytes + maskBytes;
  if (bytes.length < start) return null;
  const size = sizeBytes === 0 ? short : Number(BigInt(`0x${bytes.subarray(2, 2 + sizeBytes).toString('hex')}`));
  if (bytes.length < start + size) return null;
  const payload = Buffer.from(bytes.subarray(start, start + size));
  const mask = bytes.subarray(start - maskBytes, start);
  if (maskBytes > 0) for (let i = 0; i < size; i += 1) payload[i] = (payload[i] ?? 0) ^ (mask[i % 4] ?? 0);
  return { opcode: first & 0x0f, isLast: (first & 0x80) !== 0, payload, length: start + size };
}
