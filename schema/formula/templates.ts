/** What a new formula begins with, behind its name; each compiles as it stands. */
export const TEMPLATES = {
  workflow: {
    summary: 'steps one after the other, with a check and a person who lets the last one begin',
    text: `title = "NAME: {{what}}"
description = "Say here what this is for."

[vars.what]
description = "What is to be done"
required = true

[[steps]]
id = "plan"
title = "Plan {{what}}"
instructions = "Find out what {{what}} needs, and note it."
acceptance = "The plan is in the notes of the task."

[[steps]]
id = "work"
needs = ["plan"]
instructions = "Do what the plan says."
checks = ["true"]

[[steps]]
id = "hand-in"
needs = ["work"]
instructions = "Hand the work in."
gate = { type = "human", prompt = "May {{what}} be handed in?", timeout = "2d" }
`,
  },
  loop: {
    summary: 'work that is reviewed and done again until the review approves',
    text: `
[vars.what]
required = true

[[steps]]
id = "rounds"
title = "Work on {{what}} until it is approved"

[steps.loop]
until = "review.output.approved == true"
max = 5

[[steps.loop.body]]
id = "work"
instructions = "Work on {{what}}; begin with what the last review found."

[[steps.loop.body]]
id = "review"
needs = ["work"]
instructions = 'Review the work. Close with the output {"approved": true} or {"approved": false, "findings": ["…"]}.'

[[steps]]
id = "finish"
needs = ["rounds"]
instructions = "Hand the work in."
`,
  },
  convoy: {
    summary: 'several agents look at one thing, each from its side, and one joins what they found',
    text: `type = "convoy"

[inputs.subject]
description = "What is looked at"
required = true

[prompts]
base = """
Look at {{.subject}} from one side: {{.leg.focus}}.

{{.leg.description}}

Write what you find to {{.output_path}}."""

[output]
directory = ".reviews"
leg_pattern = "{{.leg.id}}.md"

[[legs]]
id = "correctness"
title = "Correctness"
focus = "does it do what it claims"
description = "Look for errors and cases that were not thought of."

[[legs]]
id = "simplicity"
title = "Simplicity"
focus = "is there less that would do"
description = "Look for what can be left out."

[synthesis]
title = "Join the findings"
description = "Read {{.output.directory}}/ and write one list, the most important first."
`,
  },
  expansion: {
    summary: 'steps that take the place of one step of another formula',
    text: `type = "expansion"

[[template]]
id = "{target}.test"
title = "Write a failing test for: {target.title}"

[[template]]
id = "{target}.code"
title = "Make it pass: {target.title}"
needs = ["{target}.test"]
instructions = "{target.description}"
`,
  },
  aspect: {
    summary: 'steps that are put around steps of other formulas',
    text: `type = "aspect"

[[advice]]
target = "implement*"

[[advice.around.before]]
id = "{step.id}-threats"
title = "What could go wrong with: {step.title}"

[[advice.around.after]]
id = "{step.id}-scan"
title = "Look for secrets and holes in: {step.title}"
`,
  },
} as const satisfies Readonly<Record<string, { readonly summary: string; readonly text: string }>>;

export type TemplateName = keyof typeof TEMPLATES;

/** The text of a new formula. */
export function newFormula(name: string, template: TemplateName): string {
  return `formula = "${name}"\ndialect = "steeltown"\n${TEMPLATES[template].text.replaceAll('NAME', name)}`;
}
