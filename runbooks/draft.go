package runbooks

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"text/template"

	"github.com/sreagent/sreagent/sre"
)

// Draft is what a new runbook begins with.
type Draft struct {
	Name      string         // 1 to 63 of a-z, 0-9 and -
	Owner     string         // for people
	Mechanism sre.Mechanism  // not unknown: that needs a plan for the whole fleet
	Kind      sre.ActionKind // of its one action
	Service   string         // the only cause that it is for; empty for any
	Feature   string         // of a kill switch
	Risk      string         // low, medium or high; empty for what suits the kind
}

// DraftKinds are the kinds of action that a draft can be made for.
func DraftKinds() []sre.ActionKind {
	var out []sre.ActionKind
	for _, k := range sre.ActionKinds() {
		if _, known := draftActions[k]; known {
			out = append(out, k)
		}
	}
	return out
}

// draftAction is what a draft says of one kind, and what its test expects of it
// at 200 requests a second of which 120 are served, and a timeout of a second.
type draftAction struct {
	Lever, Target string
	Params        string // of the runbook, in one line
	Law           string
	wants         string // of the test
	Slow          bool   // moves in minutes
	risk          sre.RiskClass
	Step          string
}

var draftActions = map[sre.ActionKind]draftAction{
	sre.Shed: {
		Lever: "guard", Target: "root", Params: `{rps: "${math.greatest(1.0, 0.9 * served(root))}"}`, Law: "overload",
		wants: "shed guard/%s rps=108", risk: sre.MediumRisk, Step: "cap the load",
	},
	sre.QueueBound: {
		Lever: "guard", Target: "root", Params: `{length: "${math.floor(math.greatest(10.0, 0.5 * served(root) * caller_timeout(root, 1.0)))}"}`,
		wants: "queue_bound guard/%s length=60", risk: sre.LowRisk, Step: "bound the queue",
	},
	sre.RetryBudget: {
		Lever: "guard", Target: "callers", Params: `{ratio: 0.1}`,
		wants: "retry_budget guard/CALLER->%s ratio=0.1", risk: sre.LowRisk, Step: "clamp the callers' retries",
	},
	sre.Breaker: {
		Lever: "guard", Target: "callers", Params: `{failure_ratio: 0.5, min_requests: 20, open_seconds: 10}`,
		wants: "breaker guard/CALLER->%s failure_ratio=0.5 min_requests=20 open_seconds=10", risk: sre.LowRisk, Step: "arm the callers' breakers",
	},
	sre.Timeout: {
		Lever: "guard", Target: "callers", Params: `{seconds: "${math.greatest(0.05, 0.5 * caller_timeout(root, 1.0))}"}`,
		wants: "timeout guard/CALLER->%s seconds=0.5", risk: sre.LowRisk, Step: "halve the callers' timeouts",
	},
	sre.KillSwitch: {
		Lever: "guard", Target: "root", Params: `{percent: 100}`,
		wants: "kill_switch guard/%s#FEATURE percent=100", risk: sre.MediumRisk, Step: "switch the feature off",
	},
	sre.Scale: {
		Lever: "platform", Target: "root", Params: `{replicas: "${value(root, \"replicas\", \"count\") + 1.0}"}`,
		wants: "scale platform/%s replicas=3", Slow: true, risk: sre.MediumRisk, Step: "add a replica",
	},
	sre.Rollback: {
		Lever: "platform", Target: "suspect_change",
		wants: "rollback platform/%s", Slow: true, risk: sre.MediumRisk, Step: "put the former version back",
	},
}

// draftName is what a runbook may be called.
var draftName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// draftWord is what may stand in a file without a quote.
var draftWord = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._ @/-]{0,98}[A-Za-z0-9._@/-])?$`)

// Validate says what of a draft is not allowed; empty where all is.
func (d Draft) Validate() sre.Faults {
	var f sre.Faults
	if !draftName.MatchString(d.Name) {
		f.Add("name", fmt.Sprintf("%q is no name", d.Name), "1 to 63 of a-z, 0-9 and -, not at the ends")
	}
	if !draftWord.MatchString(d.Owner) {
		f.Add("owner", fmt.Sprintf("%q is no owner", d.Owner), "a team or a person, of letters, digits, . _ @ / - and spaces between them")
	}
	if d.Mechanism == sre.Unknown || !slices.Contains(sre.Mechanisms(), d.Mechanism) {
		f.Add("mechanism", fmt.Sprintf("%q is none", d.Mechanism), joined(known(sre.Mechanisms())))
	}
	act, has := draftActions[d.Kind]
	if !has {
		f.Add("kind", fmt.Sprintf("there is no draft of %q", d.Kind), joined(DraftKinds()))
	}
	if d.Service != "" && !draftWord.MatchString(d.Service) {
		f.Add("service", fmt.Sprintf("%q is no service", d.Service), "the name of a service, or nothing")
	}
	if d.Kind == sre.KillSwitch && !draftWord.MatchString(d.Feature) {
		f.Add("feature", fmt.Sprintf("%q is no feature", d.Feature), "the name of the feature that the kill switch is for")
	}
	if d.Risk != "" && !slices.Contains([]string{"low", "medium", "high"}, d.Risk) {
		f.Add("risk", fmt.Sprintf("%q is none", d.Risk), fmt.Sprintf("low, medium, high; nothing stands for %s", act.risk))
	}
	return f
}

func known(all []sre.Mechanism) (out []sre.Mechanism) {
	for _, m := range all {
		if m != sre.Unknown {
			out = append(out, m)
		}
	}
	return out
}

// Files writes the draft: a runbook that loads and about which nothing is doubtful,
// and a test of it that holds. The draft must be valid.
func (d Draft) Files() (runbook, test []byte, err error) {
	act := draftActions[d.Kind]
	root := d.Service
	if root == "" {
		root = "checkout"
	}
	caller := "web"
	if root == caller {
		caller = "gateway"
	}
	risk := string(act.risk)
	if d.Risk != "" {
		risk = d.Risk
	}
	words := map[string]any{
		"D": d, "A": act, "Root": root, "Risk": risk, "Mechanism": strings.ReplaceAll(string(d.Mechanism), "_", " "),
		"Callers": act.Target == "callers", "Caller": caller,
		"Wants": strings.NewReplacer("FEATURE", d.Feature, "CALLER", caller, "%s", root).Replace(act.wants),
	}
	var files [2]bytes.Buffer
	for i, text := range []*template.Template{draftRunbook, draftTest} {
		if err := text.Execute(&files[i], words); err != nil {
			return nil, nil, fmt.Errorf("write draft: %w", err)
		}
	}
	return files[0].Bytes(), files[1].Bytes(), nil
}

// notText are the words that some version of YAML takes for something else.
var notText = []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}

// plain writes a word so that YAML reads it as text: what begins with a digit may
// be a number or a date.
func plain(word string) string {
	if word != "" && (word[0] <= '9' || slices.Contains(notText, strings.ToLower(word))) {
		return `"` + word + `"` // a word has nothing that needs an escape
	}
	return word
}

var draftFuncs = template.FuncMap{"plain": plain}

var draftRunbook = template.Must(template.New("runbook").Funcs(draftFuncs).Parse(`apiVersion: sreagent/v1
kind: Runbook
metadata:
  name: {{plain .D.Name}}
  owner: {{plain .D.Owner}}
  description: TODO what it is for, and what it does.
  not_for: TODO when it is wrong to use.
spec:
  priority: 200
  match:
    mechanisms: [{{.D.Mechanism}}]
    when: {{if .D.Service}}root == "{{.D.Service}}" && {{end}}traffic(root) > 0.0
  risk: {{.Risk}}
  steps:
    - name: {{.A.Step}}
      when: errors(root) > 0.05
      actions:
        - kind: {{.D.Kind}}
          lever: {{.A.Lever}}
          target: {{.A.Target}}
{{- if .Callers}}
          callee: root
{{- end}}
{{- if .D.Feature}}
          name: {{plain .D.Feature}}
{{- end}}
{{- if .A.Params}}
          params: {{.A.Params}}
{{- end}}
{{- if .A.Law}}
          law: {{.A.Law}}
{{- end}}
          ttl: 60s
      verify:
        expr: errors(root) < 0.05 && latency(root) < 0.8 * caller_timeout(root, 1.0)
        within: {{if .A.Slow}}3m{{else}}45s{{end}}
        held_for: 10s
      lease: {{if .A.Slow}}2h{{else}}30m{{end}}
      on_fail: undo
  hold: 1m
  lift_gap: 30s
  relapse: errors(root) > 0.2 || latency(root) > caller_timeout(root, 1.0)
`))

var draftTest = template.Must(template.New("test").Funcs(draftFuncs).Parse(`runbooks: [{{.D.Name}}.yaml]
interval: 10s
tests:
  - name: {{.Mechanism}} at {{.Root}}
    topology:
      entries: [{{.Caller}}]
      edges:
        - {from: {{.Caller}}, to: {{plain .Root}}, timeout: 1s}
    input_series:
      - {series: 'traffic{service="{{.Root}}"}', values: '200+0x12'}
      - {series: 'errors{service="{{.Root}}"}', values: '0.4+0x6 0+0x6'}
      - {series: 'latency{service="{{.Root}}"}', values: '2+0x6 0.1+0x6'}
{{- if eq .D.Kind "scale"}}
      - {series: 'replicas{service="{{.Root}}"}', values: '2+0x12'}
{{- end}}
    given:
      root: {{plain .Root}}
      mechanism: {{.D.Mechanism}}
{{- if eq .D.Kind "rollback"}}
      change: {id: v2, kind: deploy, service: {{plain .Root}}, ago: 2m}
{{- end}}
    expect:
      - at: 30s
        runbook: {{plain .D.Name}}
        steps: [{{.A.Step}}]
        actions: ["{{.Wants}}"]
        when: pass
        verify: fail
        relapse: pass
      - {at: 90s, when: fail, verify: pass, relapse: fail}
`))
