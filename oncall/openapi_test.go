package oncall

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/sre"
)

type openAPIDoc struct {
	Paths map[string]map[string]struct {
		Role        sre.Role       `yaml:"x-role"`
		OperationID string         `yaml:"operationId"`
		Responses   map[string]any `yaml:"responses"`
	} `yaml:"paths"`
	Components struct {
		Schemas map[string]struct {
			Properties map[string]struct {
				Enum []string `yaml:"enum"`
			} `yaml:"properties"`
		} `yaml:"schemas"`
	} `yaml:"components"`
}

func readOpenAPI(t *testing.T) openAPIDoc {
	t.Helper()
	var doc openAPIDoc
	if err := yaml.Unmarshal(openAPI, &doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestOpenAPIHasTheRoutesOfTheMux(t *testing.T) {
	documented := make(map[string]sre.Role)
	ids := make(map[string]bool)
	for path, item := range readOpenAPI(t).Paths {
		for method, op := range item {
			documented[strings.ToUpper(method)+" "+path] = op.Role
			if op.OperationID == "" || ids[op.OperationID] || len(op.Responses) == 0 {
				t.Errorf("%s %s: operationId %q or its responses are missing or stand twice", method, path, op.OperationID)
			}
			ids[op.OperationID] = true
		}
	}
	served := make(map[string]sre.Role)
	for _, rt := range newOffice(t).api.routes() {
		served[rt.method+" "+rt.path] = rt.role
	}
	if diff := cmp.Diff(served, documented); diff != "" {
		t.Errorf("openapi.yaml and the routes differ (-served +documented):\n%s", diff)
	}
}

func TestOpenAPIHasTheFieldsOfTheTypes(t *testing.T) {
	schemas := readOpenAPI(t).Components.Schemas
	// The package's own types are documented completely.
	for name, v := range map[string]any{
		"Status": &Status{}, "Graph": &Graph{}, "GraphNode": &GraphNode{}, "Explanation": &sre.Explanation{}, "ExplainedSign": &sre.ExplainedSign{},
		"ExplainedSummary": &sre.ExplainedSummary{}, "ExplainedDecision": &sre.ExplainedDecision{}, "Moment": &sre.Moment{},
		"DataQuality": &sre.DataQuality{}, "ExplainedGraph": &sre.ExplainedGraph{}, "ExplainedNode": &sre.ExplainedNode{},
		"ExplainedEdge": &sre.ExplainedEdge{}, "Risk": &sre.Risk{}, "Burn": &sre.Burn{}, "Impact": &sre.Impact{}, "WhatIf": &sre.WhatIf{}, "Prompt": &Prompt{},
		"PromptStep": &PromptStep{}, "PromptAction": &PromptAction{}, "Setting": &Setting{}, "Receipt": &Receipt{},
		"VersionInfo": &VersionInfo{}, "Readiness": &Readiness{}, "AnswerBody": &answerBody{}, "PauseBody": &pauseBody{},
		"ResumeBody": &resumeBody{}, "Switch": &SwitchState{}, "SwitchBody": &SwitchBody{}, "MandateBody": &MandateBody{}, "StopBody": &StopBody{}, "StartBody": &StartBody{},
		"MandateChange": &sre.MandateChange{}, "MandateLine": &sre.MandateLine{}, "Order": &sre.Order{}, "Change": &sre.Change{},
	} {
		want := slices.Sorted(slices.Values(jsonFields(v)))
		got := slices.Sorted(maps.Keys(schemas[name].Properties))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("schema %s (-code +document):\n%s", name, diff)
		}
	}
	// Of the vocabulary, nothing is documented that is not there.
	for name, v := range map[string]any{
		"Incident": &sre.Incident{}, "Diagnosis": &sre.Diagnosis{}, "Hypothesis": &sre.Hypothesis{}, "Evidence": &sre.Evidence{},
		"Decision": &sre.Decision{}, "Approval": &sre.Approval{}, "Mitigation": &sre.Mitigation{}, "Plan": &sre.Plan{}, "Step": &sre.Step{},
		"Action": &sre.Action{}, "Target": &sre.Target{}, "Record": &sre.Record{}, "OperatorRecord": &sre.OperatorRecord{}, "Notice": &sre.Notice{}, "Pause": &sre.Pause{},
		"Explained": &sre.Explained{}, "Reason": &sre.Reason{}, "BlastRadius": &sre.BlastRadius{}, "SourceHealth": &sre.SourceHealth{},
	} {
		fields := jsonFields(v)
		if len(schemas[name].Properties) == 0 {
			t.Errorf("schema %s is missing", name)
		}
		for property := range schemas[name].Properties {
			if !slices.Contains(fields, property) {
				t.Errorf("schema %s documents %q, which %s does not have", name, property, reflect.TypeOf(v).Elem())
			}
		}
	}
}

func TestOpenAPIHasTheClosedSets(t *testing.T) {
	schemas := readOpenAPI(t).Components.Schemas
	for _, c := range []struct {
		schema, property string
		want             []string
	}{
		{"Incident", "state", texts(sre.States())},
		{"Hypothesis", "mechanism", texts(sre.Mechanisms())},
		{"Action", "kind", texts(sre.ActionKinds())},
		{"PromptAction", "kind", texts(sre.ActionKinds())},
		{"Record", "kind", texts(sre.RecordKinds())},
		{"Precursor", "kind", texts(sre.SignalKinds())},
		{"Approval", "role", texts(roles)},
		{"Moment", "kind", texts(sre.MomentKinds())},
		{"ExplainedNode", "role", texts(sre.NodeRoles())},
		{"GraphNode", "role", texts(sre.NodeRoles())},
		{"ErrorEnvelope", "errorType", texts([]ErrorType{Unauthorized, Forbidden, BadData, NotFound, Conflict, Unavailable})},
	} {
		if diff := cmp.Diff(c.want, schemas[c.schema].Properties[c.property].Enum); diff != "" {
			t.Errorf("%s.%s (-code +document):\n%s", c.schema, c.property, diff)
		}
	}
}

func texts[T ~string](values []T) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}
