import { COMMANDS } from '../../cli/commands';
import { filesBelow, LAYERS, read } from './sources';

/** The roadmap names commands that are yet to come. */
const pages = ['README.md', ...filesBelow('docs', '.md')].filter((page) => page !== 'docs/roadmap.md');
/** Hints, examples and texts for agents name commands too. */
const sources = LAYERS.flatMap((folder) => filesBelow(folder, '.ts'));

const topics = new Set(Object.keys(COMMANDS).map((id) => id.split(':')[0]));
const everyFlag = new Set(Object.values(COMMANDS).flatMap(flagsOf));

describe('commands that are named', () => {
  it.each(pages)('in %s exist, with their flags', (page) => {
    expect(wrongOnes([...codeOf(read(page))])).toEqual([]);
  });

  it('in the design are all there are', () => {
    const [, table = ''] =
      /### Command line\n([\s\S]*?)###/.exec(read('docs/architecture/durable-work-orchestration.md')) ?? [];
    const listed = [...table.matchAll(/^\| (.+?) +\| (.+?) +\|$/gm)].flatMap(([, topic = '', verbs = '']) =>
      verbs.split(', ').map((verb) => {
        const own = /^`(.+)`$/.exec(topic)?.[1];
        const word = verb.replaceAll('`', '');
        return (own === undefined ? word : word === '(itself)' ? own : `${own} ${word}`).replace(' ', ':');
      }),
    );
    expect(Object.keys(COMMANDS).filter((id) => !listed.includes(id))).toEqual([]);
  });

  it('in hints and texts exist, with their flags', () => {
    const named = sources.flatMap((path) => [
      ...read(path).matchAll(/(?:see|use|try|with|run): (town [a-z][^'`"\\\n]*)/g),
    ]);
    expect(named.length).toBeGreaterThan(30);
    expect(wrongOnes(named.map(([, command = '']) => command))).toEqual([]);
  });
});

describe('the check itself', () => {
  it('sees what is not there', () => {
    expect(wrongOnes(['town task show x', 'town hook', 'town task', 'town task list --rig acme', '--status'])).toEqual(
      [],
    );
    const wrong = ['town tusk show x', 'town task shout x', 'town ready --colour', '--colour'];
    expect(wrongOnes(wrong)).toEqual(wrong);
    expect(wrongOnes(['town rig add a /b -- agent --any-flag'])).toEqual([]);
  });

  it('reads code in lines and in fences', () => {
    const text = 'Say `town up`, or\n```sh\ntown task create "x" --rig acme   # makes it\ncd town && town down\n```\n';
    expect([...codeOf(text)]).toEqual(['town task create "x" --rig acme', 'town down', 'town up']);
  });
});

/** Commands in fences, and commands and flags in lines. */
function* codeOf(text: string): Generator<string> {
  const fence = /^(\s*)(```|~~~).*\n([\s\S]*?)^\s*\2.*$/gm;
  for (const [, , , code = ''] of text.matchAll(fence)) {
    for (const line of code.split('\n')) {
      const command = /(?:^|&& |\$\(|\$ )\s*(town [a-z].*)$/.exec(line.replace(/\s+#.*$/, ''))?.[1];
      if (command !== undefined) yield command;
    }
  }
  for (const [, code = ''] of text.replace(fence, '').matchAll(/`([^`\n]+)`/g)) {
    const named = /(?:^|\$\()(town [a-z].*|--[a-z][a-z-]+)/.exec(code)?.[1];
    if (named !== undefined) yield named;
  }
}

function wrongOnes(named: readonly string[]): string[] {
  return named.filter((code) => !isThere(code));
}

function isThere(code: string): boolean {
  const [own = ''] = code.split(' -- ');
  const flags = [...own.matchAll(/(?<=^|[\s[|])--([a-z][a-z-]*)/g)].map(([, flag = '']) => flag);
  if (code.startsWith('--')) return flags.every((flag) => everyFlag.has(flag));
  const [, first = '', second = ''] = code.split(/[\s)[<"…,.;]+/);
  const command = COMMANDS[`${first}:${second}`] ?? COMMANDS[first];
  // A topic alone stands for all of its commands.
  if (command === undefined)
    return topics.has(first) && (second === '' || second.startsWith('-')) && flags.length === 0;
  const known = [...flagsOf(command), 'help'];
  return flags.every((flag) => known.includes(flag));
}

function flagsOf(command: (typeof COMMANDS)[string]): string[] {
  return Object.keys(command.flags ?? {});
}
