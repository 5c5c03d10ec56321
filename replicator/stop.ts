// The error of a stream that cannot be read on: its message is the one sentence an operator needs. Nothing later is
// confirmed, so nothing is lost while it stands.

/** Thrown where the stream cannot be decoded or attributed to an account. Reading stops there until a person acts. */
export class StreamStopError extends Error {
  override readonly name = 'StreamStopError';
  /** Whether, once the database is mended, an epoch begun behind the place makes up for what cannot be read. */
  readonly isPassable: boolean;
  constructor(message: string, { isPassable = false }: { readonly isPassable?: boolean } = {}) {
    super(message);
    this.isPassable = isPassable;
  }
}
