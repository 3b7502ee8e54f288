package town.dispatch_test

import data.town.dispatch

# The same table is played to the compiled module by test/policies/policy.test.ts.
test_every_case if {
	count(data.dispatch_cases) > 0
	every case in data.dispatch_cases {
		dispatch.decision == case.answer with input as case.question
	}
}

test_empty_question_is_denied if not dispatch.allow with input as {}

test_no_question_is_denied if not dispatch.allow with input as null

test_features_do_not_help_an_unknown_actor if {
	not dispatch.allow with input as {
		"action": "dispatch",
		"actor": {"kind": "guest", "name": "eve"},
		"task": {"id": "hq-1", "labels": []},
		"target": "acme",
		"automatic": false,
		"features": {"automatic_dispatch": true},
	}
}
