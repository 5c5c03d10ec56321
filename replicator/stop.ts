// The error of a stream that cannot be read on: its message is the one sentence an operator needs. Nothing later is
// confirmed, so nothing is lost while it stands.

/** Thrown where the stream cannot be decoded or attributed to an account. Reading stops there until a person acts. */
export class StreamStopError extends Error {
  override readonly name = 'StreamStopError';
}
