// The test worker's bindings and its main module, as `cloudflare:workers` hands them to tests.
declare namespace Cloudflare {
  interface Env {
    readonly ACCOUNT: DurableObjectNamespace<import('../../worker/account/account.ts').Account>;
    readonly RELAY_HUB: DurableObjectNamespace<import('../../worker/relay-hub/relay-hub.ts').RelayHub>;
    readonly STREAM: DurableObjectNamespace<import('../../worker/stream/stream.ts').Stream>;
    readonly DRAWBRIDGE_TOKEN_KEYS: string;
    readonly DRAWBRIDGE_INGEST_KEY: string;
  }
  interface GlobalProps {
    mainModule: typeof import('../../worker/index.ts');
  }
}
