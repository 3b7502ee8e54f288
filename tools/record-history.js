'use strict';
/* Records the history of a run for test/replay: node tools/record-history.js <temporal address> <workflow id> <name> [<run id>].
 * Without a run id: the last run, if it has continued as new.
 * Identities of workers (process and machine names) and stack traces are taken out; replay does not read them. */
const { writeFileSync } = require('node:fs');
const { join } = require('node:path');
const { Client, Connection } = require('@temporalio/client');
const { historyToJSON } = require('@temporalio/common/lib/proto-utils');

async function main([address, workflowId, name, runId]) {
  const connection = await Connection.connect({ address });
  const history = await new Client({ connection }).workflow.getHandle(workflowId, runId).fetchHistory();
  const plain = JSON.parse(historyToJSON(history), (key, value) => {
    if (/identity/i.test(key)) return 'worker';
    return /stackTrace/i.test(key) ? '' : value;
  });
  const file = join(__dirname, '..', 'test', 'replay', 'histories', `${name}.json`);
  writeFileSync(file, `${JSON.stringify(plain)}\n`);
  console.error(`${plain.events.length} events of ${workflowId} in ${file}`);
  await connection.close();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exit(1);
});
