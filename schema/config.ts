import { parse, TomlError } from 'smol-toml';
import { z } from 'zod';
import { TownError } from './errors';
import { DEFAULT_TIMINGS, type Timings } from './timings';

/** `town.toml`. Every key has a default but the town's name; unknown keys are errors. docs/configuration.md is made from here. */

const name = z
  .string()
  .regex(/^[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?$/, 'must be 1 to 40 lower-case letters, digits and dashes');
const off = (what: string) => z.boolean().default(false).describe(what);
const section = <T extends z.ZodRawShape>(shape: T, what: string) =>
  z
    .strictObject(shape)
    .prefault({} as never) // every key of these sections has a default
    .describe(what);

const TIMING_WORDS: Readonly<Record<keyof Timings, string>> = {
  heartbeatTimeoutMs: 'A host that is silent for this long has lost the step; another attempt starts.',
  heartbeatThrottleMs: 'Least time between two heartbeats that reach the server.',
  stepTimeoutMs: 'The longest a single attempt at a step may take.',
  graceMs: 'A molecule without a due step gives its grant back after this long.',
  backoffMs: 'Wait before the attempt after a lost session; doubled with each further loss.',
  backoffMaxMs: 'The longest such wait.',
  attemptsMax: 'Lost attempts after which a step is stuck and asks for attention (a count, not milliseconds).',
  askAgainMs:
    'How long a run waits before it asks again for an agent or a worker that it did not get; in a queue doubled with each further answer.',
  askAgainMaxMs: 'The longest such wait.',
  rolloverMs: 'A long-lived run starts a new history at the latest after this long.',
  leaseMs: 'How long a host keeps an agent without renewing its lease.',
  gatePollMs: 'How long after the first look a closed gate is looked at again; doubled with each further look.',
  gatePollMaxMs: 'The longest such wait.',
};
const timing = (key: keyof Timings) =>
  z
    .int()
    .min(1)
    .max(366 * 24 * 3_600_000)
    .default(DEFAULT_TIMINGS[key])
    .describe(TIMING_WORDS[key]);

export const ConfigSchema = z.strictObject({
  town: z
    .strictObject({
      name: name.describe('Name of the town, shown in lists.'),
      prefix: name.default('hq').describe('Prefix of ids of tasks that belong to no rig.'),
    })
    .describe('The town itself.'),
  postgres: section(
    {
      url: z
        .string()
        .regex(/^postgres(?:ql)?:\/\//, 'must start with postgres:// or postgresql://')
        .optional()
        .describe('A Postgres server to use instead of the embedded one. TOWN_POSTGRES_URL goes before it.'),
    },
    'Where the ledger is kept.',
  ),
  temporal: section(
    {
      address: z
        .string()
        .regex(/^[^\s/]+:\d{1,5}$/, 'must be host:port')
        .optional()
        .describe(
          'A Temporal server to use instead of the embedded one, as host:port. TOWN_TEMPORAL_ADDRESS goes before it.',
        ),
      cli: z.string().min(1).optional().describe('Path of a `temporal` executable for the embedded server.'),
    },
    'Where runs are kept.',
  ),
  features: section(
    {
      automatic_dispatch: off('Convoys and dispatchers hand out ready work without a person.'),
      automatic_merge: off('The Refinery lands changes without a person.'),
      witness_reassignment: off('Patrols give stuck work to another agent.'),
      session_restart: off('Patrols restart sessions that do not answer.'),
      forge_writes: off('Pull requests, comments and pushes to a forge.'),
      dashboard_actions: off('Buttons of the dashboard act; without it the dashboard only shows.'),
    },
    'What the town may do by itself. All of it is off in a fresh town.',
  ),
  http: section(
    { port: z.int().min(0).max(65_535).default(0).describe('Port of the HTTP API on 127.0.0.1; 0 takes a free one.') },
    'The HTTP API.',
  ),
  host: section(
    { agents_max: z.int().min(1).max(10_000).default(50).describe('Most agents that the host of this machine holds.') },
    'The agent host.',
  ),
  timings: section(
    {
      heartbeatTimeoutMs: timing('heartbeatTimeoutMs'),
      heartbeatThrottleMs: timing('heartbeatThrottleMs'),
      stepTimeoutMs: timing('stepTimeoutMs'),
      graceMs: timing('graceMs'),
      backoffMs: timing('backoffMs'),
      backoffMaxMs: timing('backoffMaxMs'),
      attemptsMax: timing('attemptsMax'),
      askAgainMs: timing('askAgainMs'),
      askAgainMaxMs: timing('askAgainMaxMs'),
      rolloverMs: timing('rolloverMs'),
      leaseMs: timing('leaseMs'),
      gatePollMs: timing('gatePollMs'),
      gatePollMaxMs: timing('gatePollMaxMs'),
    } satisfies Record<keyof Timings, z.ZodType<unknown>>,
    'Durations that decide behaviour, in milliseconds. Change them for tests, or on very slow machines.',
  ),
});

export type TownConfig = z.output<typeof ConfigSchema>;
export type Features = TownConfig['features'];

/** Reads the text of a `town.toml`. `file` is named in the errors.
 *  @throws CONFIG_INVALID with all problems and the keys they are about */
export function parseConfig(text: string, file: string): TownConfig {
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    throw invalid(file, [`line ${error.line}: ${error.message.split('\n')[0]}`]);
  }
  const result = ConfigSchema.safeParse(document);
  if (result.success) return result.data;
  throw invalid(file, result.error.issues.flatMap(describeIssue));
}

/** One key of the file, for documents and `town doctor`. */
export interface ConfigKey {
  readonly key: string;
  readonly type: string;
  /** As TOML; null when there is none. */
  readonly default: string | null;
  readonly required: boolean;
  readonly description: string;
}
export interface ConfigSection {
  readonly section: string;
  readonly description: string;
  readonly keys: readonly ConfigKey[];
}

/** What the file may hold, in order: the source of docs/configuration.md. */
export function describeConfig(): ConfigSection[] {
  const root = z.toJSONSchema(ConfigSchema, { io: 'input' }) as unknown as SchemaNode;
  return Object.entries(root.properties).map(([name, part]) => ({
    section: name,
    description: part.description,
    keys: Object.entries(part.properties).map(([key, node]) => ({
      key,
      type: node.type,
      default: node.default === undefined ? null : JSON.stringify(node.default),
      required: part.required?.includes(key) ?? false,
      description: node.description,
    })),
  }));
}

/** What zod says of the schema above, in which every section and every key is described. */
interface SchemaNode {
  readonly properties: Readonly<Record<string, SectionNode>>;
}
interface SectionNode {
  readonly description: string;
  readonly required?: readonly string[];
  readonly properties: Readonly<Record<string, KeyNode>>;
}
interface KeyNode {
  readonly type: string;
  readonly description: string;
  readonly default?: unknown;
}

function describeIssue(issue: z.core.$ZodIssue): string[] {
  const path = issue.path.map(String);
  if (issue.code === 'unrecognized_keys') {
    return issue.keys.map((key) => `${[...path, key].join('.')}: there is no such key`);
  }
  const where = path.join('.');
  if (issue.code === 'invalid_type') {
    // zod says "received undefined" for a key that is not there.
    return [
      /received undefined/.test(issue.message) ? `${where}: is missing` : `${where}: must be of type ${issue.expected}`,
    ];
  }
  return [`${where}: ${issue.message}`];
}

function invalid(file: string, problems: readonly string[]): TownError {
  return new TownError('CONFIG_INVALID', `${file}: ${problems.join('; ')}`, {
    hint: 'correct the keys named above; docs/configuration.md lists all of them',
    details: { file, problems },
  });
}
