// The part of pg that the worker uses. Its own types would bring Node's globals.
export class Client {
  constructor(options: {
    readonly connectionString: string;
    readonly connectionTimeoutMillis: number;
    readonly query_timeout: number;
    readonly application_name: string;
  });
  connect(): Promise<void>;
  query(text: string, values: unknown[]): Promise<{ readonly rows: readonly Readonly<Record<string, unknown>>[] }>;
  on(event: 'error', listener: (error: Error) => void): void;
}
export class DatabaseError extends Error {
  readonly code: string | undefined;
}
