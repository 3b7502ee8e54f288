# Who may put a task on an agent's hook or into a rig's queue.
#
# The question is `PolicyQuestion` in schema/policy.ts; `decision` is the entrypoint. A question is allowed when at least
# one ground speaks for it and no denial against it. What is malformed or unknown is denied.
package town.dispatch

decision := {"allow": allow, "reasons": reasons}

default allow := false

allow if {
	count(denials) == 0
	count(grounds) > 0
}

reasons := sort(grounds) if allow

reasons := sort(denials) if {
	not allow
	count(denials) > 0
}

reasons := ["nothing in the policy permits this"] if {
	not allow
	count(denials) == 0
}

grounds contains "a person asked for it" if {
	explicit
	input.actor.kind == "person"
}

grounds contains "an agent claims work for its own hook" if {
	explicit
	input.actor.kind == "agent"
	input.target == input.actor.name
}

grounds contains "automatic dispatch is on" if input.features.automatic_dispatch == true

denials contains "the action is not dispatch" if not input.action == "dispatch"

denials contains "the question is incomplete" if not complete

denials contains "automatic dispatch is off" if {
	automatic
	not input.features.automatic_dispatch == true
}

denials contains "an agent may dispatch to its own hook only while automatic dispatch is off" if {
	explicit
	input.actor.kind == "agent"
	input.target != input.actor.name
	not input.features.automatic_dispatch == true
}

denials contains "the task carries the label hold: only a person may dispatch it" if {
	"hold" in input.task.labels
	not person_asked
}

person_asked if {
	explicit
	input.actor.kind == "person"
}

explicit if {
	input.automatic == false
	input.actor.kind in {"person", "agent"}
}

# Runs and the system act by themselves, whatever the question says.
automatic if input.automatic == true

automatic if input.actor.kind in {"run", "system"}

complete if {
	input.actor.kind in {"person", "agent", "run", "system"}
	filled(input.actor.name)
	filled(input.task.id)
	filled(input.target)
	is_array(input.task.labels)
	is_boolean(input.automatic)
	is_boolean(input.features.automatic_dispatch)
}

filled(value) if {
	is_string(value)
	value != ""
}
