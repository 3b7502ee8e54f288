'use strict';
/* Two projects: `unit` needs no service and runs in `npm run check`; `integration` gets one Postgres and one Temporal for the whole run. */
const { join } = require('node:path');

const common = {
  rootDir: join(__dirname, '..'),
  testEnvironment: 'node',
  transform: {
    '^.+\\.ts$': [
      '@swc/jest',
      { jsc: { target: 'es2024', parser: { syntax: 'typescript' } }, module: { type: 'commonjs' } },
    ],
  },
  modulePathIgnorePatterns: ['<rootDir>/dist/'],
};

module.exports = {
  // What `--collectCoverageFrom` names is found from here.
  rootDir: common.rootDir,
  // As long as the patience of the tests' own waits, so that a wait in vain says what it waited for.
  testTimeout: 60_000,
  projects: [
    {
      ...common,
      displayName: 'unit',
      testMatch: ['<rootDir>/test/{schema,architecture}/**/*.test.ts', '<rootDir>/test/**/*.unit.test.ts'],
    },
    {
      ...common,
      displayName: 'integration',
      testMatch: ['<rootDir>/test/{workflows,activities,workers,cli,conformance,replay,e2e,policies}/**/*.test.ts'],
      testPathIgnorePatterns: ['\\.unit\\.test\\.ts$'],
      globalSetup: '<rootDir>/test/support/global-setup.ts',
      globalTeardown: '<rootDir>/test/support/global-teardown.ts',
    },
  ],
};
