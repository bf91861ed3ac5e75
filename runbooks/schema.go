package runbooks

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"strings"

	"github.com/sreagent/sreagent/sre"
)

// SchemaID is where the schema is published, for the header that editors read.
const SchemaID = "https://github.com/sreagent/sreagent/blob/main/docs/schema/runbook.schema.json"

// node is a part of a JSON Schema.
type node map[string]any

// Schema returns the JSON Schema (draft 2020-12) of a runbook file, made from
// the types that files are decoded into. It knows shapes and closed sets; what
// needs an understanding of expressions, levers or other fields is left to
// loading and to Prove.
func Schema() ([]byte, error) {
	top := schemaOf(reflect.TypeFor[document](), "")
	top["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	top["$id"] = SchemaID
	top["title"] = "sreagent runbook"
	top["$defs"] = node{"step": stepSchema(), "branch": structSchema(reflect.TypeFor[branchPart](), "branch")}
	text, err := json.MarshalIndent(top, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schema: %w", err)
	}
	return append(text, '\n'), nil
}

// schemaOf describes a type at a path such as spec.match. Steps and branches
// hold each other, so they are referred to.
func schemaOf(t reflect.Type, path string) node {
	switch {
	case t == reflect.TypeFor[stepPart]():
		return node{"$ref": "#/$defs/step"}
	case t == reflect.TypeFor[branchPart]():
		return node{"$ref": "#/$defs/branch"}
	case t == targetType:
		return node{"oneOf": []node{
			{"enum": selectors},
			{
				"type": "object", "required": []string{"service"}, "additionalProperties": false,
				"properties": node{"service": node{"type": "string", "description": "the service by name"}},
			},
		}}
	case t == durationType:
		return node{"type": "string", "pattern": `^(0|([0-9]+(ms|[smhdwy]))+)$`, "examples": []string{"45s", "2m30s"}}
	}
	if t.Kind() == reflect.Struct {
		return structSchema(t, path)
	}
	if t.Kind() == reflect.Slice {
		return node{"type": "array", "minItems": 1, "items": schemaOf(t.Elem(), path)}
	}
	if t.Kind() == reflect.Map {
		return node{"type": "object", "additionalProperties": node{"type": []string{"number", "string", "boolean"}}}
	}
	return node{"type": scalarTypes[t.Kind()]}
}

var scalarTypes = map[reflect.Kind]string{reflect.Int: "integer", reflect.Bool: "boolean", reflect.String: "string"}

func structSchema(t reflect.Type, path string) node {
	properties := node{}
	for field := range t.Fields() {
		name := field.Tag.Get("yaml")
		at := strings.TrimPrefix(path+"."+name, ".")
		property := schemaOf(field.Type, entryOf(field.Type, at))
		property["description"] = fieldHelp[at]
		maps.Copy(property, fieldLimits[at])
		properties[name] = property
	}
	out := node{"type": "object", "additionalProperties": false, "properties": properties}
	if needed := requiredFields[path]; len(needed) > 0 {
		out["required"] = needed
	}
	return out
}

// entryOf is the path under which the fields of a list's entries are named.
func entryOf(t reflect.Type, path string) string {
	if t.Kind() == reflect.Slice && t.Elem() == reflect.TypeFor[actionPart]() {
		return "action"
	}
	return path
}

// stepSchema is a step with all that it needs, or a choice and nothing else.
func stepSchema() node {
	s := structSchema(reflect.TypeFor[stepPart](), "step")
	s["oneOf"] = []node{
		{"required": []string{"name", "actions", "verify", "lease"}, "properties": node{"choose": false}},
		{"required": []string{"choose"}, "maxProperties": 1},
	}
	return s
}

// requiredFields lists, by path, what must be given.
var requiredFields = map[string][]string{
	"": {"apiVersion", "kind", "metadata", "spec"}, "metadata": {"name"},
	"spec": {"match", "steps", "relapse"}, "spec.match": {"mechanisms"}, "spec.escalate": {"after"},
	"branch": {"steps"}, "step.verify": {"expr", "within"}, "action": {"kind", "lever", "target", "ttl"},
}

// fieldLimits are the closed sets and forms, by path.
var fieldLimits = map[string]node{
	"apiVersion":            {"const": apiVersion},
	"kind":                  {"const": kindWord},
	"metadata.name":         {"pattern": nameForm.String()},
	"spec.risk":             {"enum": []string{"low", "medium", "high"}},
	"spec.match.mechanisms": {"items": node{"enum": sre.Mechanisms()}, "uniqueItems": true},
	"step.on_fail":          {"enum": []string{"undo", "next", "escalate"}},
	"action.kind":           {"enum": sre.ActionKinds()},
	"action.undo":           {"enum": []string{undoRestore, undoNone}},
	"step.name":             {"minLength": 1},
	"action.lever":          {"minLength": 1},
}

// fieldHelp is what an editor shows of each field, by path.
var fieldHelp = map[string]string{
	"apiVersion":            "version of the language",
	"kind":                  "what the file is",
	"metadata":              "name and what people should know",
	"metadata.name":         "1 to 63 of a-z, 0-9 and -; one of your own with a shipped runbook's name takes its place",
	"metadata.owner":        "who answers for this runbook",
	"metadata.author":       "who wrote it, by the name of their token; a policy may ask for somebody else's approval",
	"metadata.description":  "what it does, in words",
	"metadata.not_for":      "when it is wrong to use, in words",
	"spec":                  "what it is for and what it does",
	"spec.priority":         "of the runbooks that fit the highest comes first, then the name decides; 0 if left out",
	"spec.match":            "what it is for",
	"spec.match.mechanisms": "how the failure feeds or spreads",
	"spec.match.when":       "CEL condition that must hold as well",
	"spec.risk":             "low: local, reversible, harmless when wrong; medium: takes service from some users; high, also if left out: policy always asks",
	"spec.steps":            "steps and choices, in order",
	"spec.hold":             "calm time before mitigations are taken back; 20s if left out",
	"spec.lift_gap":         "calm time between taking back one and the next; 10s if left out",
	"spec.relapse":          "CEL condition that says, while mitigations are taken back, that the trouble has returned",
	"spec.escalate":         "call people where it takes long",
	"spec.escalate.after":   "how long after the first step people are called where the trouble is not over",
	"spec.escalate.message": "what they are told",
	"step.name":             "unique in the runbook",
	"step.when":             "CEL precondition of the step",
	"step.actions":          "what is done together",
	"step.verify":           "how to tell that it helped",
	"step.verify.expr":      "CEL condition that says that the step helped; it must look at a reading",
	"step.verify.within":    "by when it must hold",
	"step.verify.held_for":  "how long it must then go on holding",
	"step.lease":            "longest total time in force; longer than within and held_for together",
	"step.on_fail":          "undo: take every step back and call a human; next: keep this and go on; escalate: keep all until the leases end and call a human",
	"step.ahead":            "why it goes before cheaper cures of later steps; without a word the agent asks first",
	"step.choose":           "branches, of which the first that fits is taken when the plan is made",
	"branch.when":           "CEL condition of the branch",
	"branch.otherwise":      "true: takes what no branch before does; last",
	"branch.steps":          "steps and choices of the branch",
	"action.kind":           "what is moved",
	"action.lever":          "name of the remediator, as in the configuration",
	"action.target":         "whose setting: a selector, or service: NAME",
	"action.callee":         "for settings of the calls to one service: its name, or root",
	"action.name":           "flag, backend or server where the kind needs one",
	"action.params":         "absolute settings: numbers, text, true or false, or \"${CEL expression}\"",
	"action.law":            "control law that moves the parameters while the action is in force",
	"action.ttl":            "how long the enforcer may hold it without renewal; at most the lease",
	"action.optional":       "left out of a plan where the lever can move none of its targets",
	"action.where":          "condition on target, judged when the step starts: other targets are left out of it",
	"action.undo":           "restore: what was found is put back; none: declared irreversible, with risk high",
}
