package runbooks

import (
	"bytes"
	"encoding/json"
	"flag"
	"io/fs"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

var rewrite = flag.Bool("rewrite", false, "rewrite golden files")

// golden holds a text against a file, which -rewrite writes.
func golden(t *testing.T, file string, got []byte) {
	t.Helper()
	if *rewrite {
		if err := os.WriteFile(file, got, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-file +now), go test ./runbooks -rewrite writes it:\n%s", file, diff)
	}
}

func compiledSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource(SchemaID, doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile(SchemaID)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// asJSON is a YAML text as the validator takes it.
func asJSON(t *testing.T, text []byte) any {
	t.Helper()
	raw, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	return doc
}

func TestThePublishedSchemaIsThatOfTheTypes(t *testing.T) {
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "../docs/schema/runbook.schema.json", text)
}

func TestTheSchemaTakesWhatLoads(t *testing.T) {
	schema := compiledSchema(t)
	for name, layer := range map[string]fs.FS{"shipped": Shipped(), "testdata": os.DirFS("testdata")} {
		files, err := fs.Glob(layer, "*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := fs.ReadFile(layer, file)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(file, ".bad.yaml") {
				continue
			}
			if err := schema.Validate(asJSON(t, text)); err != nil {
				t.Errorf("%s/%s: %v", name, file, err)
			}
		}
	}
	if err := schema.Validate(asJSON(t, []byte(threeWayed(0.1)))); err != nil {
		t.Errorf("a choice: %v", err)
	}
}

// Mistakes of shape show in an editor already.
func TestTheSchemaRefusesMistakesOfShape(t *testing.T) {
	schema := compiledSchema(t)
	for name := range strings.FieldsSeq(`action_kind api_version choose_beside_name choose_field choose_no_steps duration duration_number
		escalate_duration escalate_field escalate_without_after hold_duration kind lease_missing lever_missing mechanism mechanism_twice
		mechanisms_shape name_form name_missing no_actions no_mechanisms not_for_shape on_fail optional_shape
		param_shape priority relapse_missing risk step_name_missing target target_shape ttl_missing undo_word unknown_field
		unknown_nested_field verify_expr_missing verify_missing verify_within_missing`) {
		text, err := os.ReadFile("testdata/" + name + ".bad.yaml")
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(asJSON(t, text)) == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestEveryFieldHasItsHelp(t *testing.T) {
	used := map[string]bool{}
	var walk func(n any, path string)
	walk = func(n any, path string) {
		m, ok := n.(map[string]any)
		if !ok {
			return
		}
		if properties, ok := m["properties"].(map[string]any); ok {
			for name, p := range properties {
				field, isField := p.(map[string]any)
				if isField && field["description"] == "" {
					t.Errorf("%s.%s has no help", path, name)
				}
				if isField {
					used[field["description"].(string)] = true
				}
			}
		}
		for key, child := range m {
			if key != "oneOf" {
				walk(child, path+"."+key)
			}
		}
	}
	text, err := Schema()
	if err != nil {
		t.Fatal(err)
	}
	var doc any
	if err := json.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}
	walk(doc, "")
	for path, help := range fieldHelp {
		if !used[help] {
			t.Errorf("help of %s, which is no field", path)
		}
	}
	words := page(t)
	for path := range fieldHelp {
		name := path[strings.LastIndex(path, ".")+1:]
		if slices.Contains([]string{"metadata", "spec", "match"}, name) {
			continue
		}
		if !strings.Contains(words, name) {
			t.Errorf("field %s is not on the page", path)
		}
	}
}
