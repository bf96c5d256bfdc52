// Publishes standard input to an exchange as any Node program would; exits 0 once confirmed.
// usage: node publish.mjs URL EXCHANGE ROUTING_KEY
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(process.env.BAROGRAPH_NODE_ROOT + '/');
const amqp = require('amqplib');
const [url, exchange, key] = process.argv.slice(2);
const connection = await amqp.connect(url);
const channel = await connection.createConfirmChannel();
channel.publish(exchange, key, readFileSync(0), {
  contentType: 'application/json',
  persistent: true,
});
await channel.waitForConfirms();
await connection.close();
