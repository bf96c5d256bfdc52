// Validates an AsyncAPI document with the parser the AsyncAPI project publishes.
// Exit status 1 and one line per fault when it is not valid.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const require = createRequire(process.env.BAROGRAPH_NODE_ROOT + '/');
const { Parser } = require('@asyncapi/parser');
const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], 'utf8'));
const errors = diagnostics.filter((d) => d.severity === 0);
for (const d of errors) console.log(`${d.path.join('.')}: ${d.message}`);
process.exit(document && errors.length === 0 ? 0 : 1);
