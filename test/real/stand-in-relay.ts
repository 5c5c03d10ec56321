#!/usr/bin/env node
// Stands in for a relay (stand-in.ts): another stamp secret at each start, nothing carried.
import { randomBytes } from 'node:crypto';
import { generation, settings, stayConnected } from './stand-in.ts';
import { startRelay } from '../../devices/relay.ts';

const stampSecret = randomBytes(32).toString('hex');
const { PUBLIC_IP4_ADDR: ipv4 = '', LISTEN_PORT: port = '3478' } = process.env;
await stayConnected(async () => {
  const { url, token } = settings();
  const { device } = await startRelay({ url, token, generation, stampSecret, ipv4, port: Number(port) });
  return device;
});
