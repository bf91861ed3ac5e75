package plugins

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/reflect/protoreflect"

	pb "github.com/sreagent/sreagent/plugins/proto"
)

// The page shows every key, and the defaults where it says so.
func TestThePageShowsTheDefaults(t *testing.T) {
	page, err := os.ReadFile("../docs/plugins.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```yaml\n(plugins:.*?)```").FindSubmatch(page)
	text := strings.Replace(string(block[1]), "64 hexadecimal digits", strings.Repeat("0", 64), 1)
	var shown struct{ Plugins Configs }
	dec := yaml.NewDecoder(strings.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&shown); err != nil {
		t.Fatal(err)
	}
	if faults := shown.Plugins.Validate(); len(faults) > 0 {
		t.Fatal(faults)
	}
	got, want := shown.Plugins[0], DefaultConfig()
	want.Name, want.Path, want.SHA256, want.Args, want.Env = got.Name, got.Path, got.SHA256, got.Args, got.Env
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// A plugin cannot get a permit: the type is out of reach of everything on either
// side of the protocol, and no message has such a field.
func TestNoPermitIsInReach(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "./...").Output()
	if err != nil {
		t.Skip("go list does not run here: ", err)
	}
	for line := range strings.Lines(string(out)) {
		if path, ours := strings.CutPrefix(strings.TrimSpace(line), "github.com/sreagent/sreagent/"); ours &&
			path != "sre" && path != "plugins" && !strings.HasPrefix(path, "plugins/") {
			t.Errorf("plugins reach %s", path)
		}
	}
	var walk func(messages protoreflect.MessageDescriptors)
	walk = func(messages protoreflect.MessageDescriptors) {
		for i := range messages.Len() {
			m := messages.Get(i)
			names := []string{string(m.Name())}
			for j := range m.Fields().Len() {
				names = append(names, string(m.Fields().Get(j).Name()))
			}
			for _, name := range names {
				if lower := strings.ToLower(name); strings.Contains(lower, "permit") || strings.Contains(lower, "approv") {
					t.Errorf("%s has %s", m.FullName(), name)
				}
			}
			walk(m.Messages())
		}
	}
	walk(pb.File_plugins_proto_remediator_proto.Messages())
}
