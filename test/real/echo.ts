// Answers what comes, at the address and port given: `echo.ts 10.9.0.1 7`. What pings reach behind the gateway.
import { createSocket } from 'node:dgram';

const [address = '', port = ''] = process.argv.slice(2);
const socket = createSocket('udp4');
socket.on('message', (data, { address: from, port: fromPort }) => socket.send(data, fromPort, from));
socket.bind(Number(port), address, () => process.stdout.write('ready\n'));
