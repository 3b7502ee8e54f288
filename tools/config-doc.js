'use strict';
/* Writes docs/configuration.md from the schema of town.toml; with --check it only compares, and exits 1 when they differ. */
const { readFileSync, writeFileSync, existsSync } = require('node:fs');
const { join } = require('node:path');

const root = join(__dirname, '..');
const file = join(root, 'docs', 'configuration.md');

function render() {
  const { describeConfig } = require(join(root, 'dist', 'schema', 'config.js'));
  const parts = [
    '# Configuration',
    'The file `town.toml` at the root of a town. `town install` writes it. Unknown keys are errors, and `town doctor` checks it. This page is made from `schema/config.ts` by `node tools/config-doc.js`.',
  ];
  for (const { section, description, keys } of describeConfig()) {
    parts.push(`## \`[${section}]\``, description);
    const rows = keys.map((key) => [
      `\`${key.key}\``,
      key.type,
      key.default === null ? (key.required ? 'required' : '-') : `\`${key.default}\``,
      key.description.replaceAll('|', '\\|'),
    ]);
    parts.push(table([['Key', 'Type', 'Default', 'Meaning'], ...rows]));
  }
  return `${parts.join('\n\n')}\n`;
}

/** Aligned as prettier would do it. */
function table(rows) {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const line = (row) => `| ${row.map((cell, column) => cell.padEnd(widths[column])).join(' | ')} |`;
  return [
    line(rows[0]),
    `| ${widths.map((width) => '-'.repeat(width)).join(' | ')} |`,
    ...rows.slice(1).map(line),
  ].join('\n');
}

const text = render();
if (process.argv.includes('--check')) {
  const same = existsSync(file) && readFileSync(file, 'utf8') === text;
  if (!same) console.error('docs/configuration.md does not match schema/config.ts; run: node tools/config-doc.js');
  process.exitCode = same ? 0 : 1;
} else {
  writeFileSync(file, text);
}
