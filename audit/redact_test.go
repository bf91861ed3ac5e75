package audit

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/sreagent/sreagent/sre"
)

func TestRedactText(t *testing.T) {
	key := "AKIA" + "IOSFODNN7EXAMPLE"
	tests := []struct{ in, want string }{
		{"checkout is slow: p99 2.3 s over 0.4 s", "checkout is slow: p99 2.3 s over 0.4 s"},
		{"stale fencing token: 17 is below 18", "stale fencing token: 17 is below 18"},
		{"token bucket of 100 requests per second", "token bucket of 100 requests per second"},
		{"asked http://prometheus:9090/api/v1/query?query=up@1", "asked http://prometheus:9090/api/v1/query?query=up@1"},
		{"mail to a@b.example about ops://runbook", "mail to a@b.example about ops://runbook"},
		{"got 401 with Bearer abcdef0123456789.x-y_z==", "got 401 with Bearer <redacted>"},
		{"header Authorization: Basic dXNlcjpwYXNz refused", "header Authorization: <redacted>"},
		{"Authorization: Digest username=\"x\"\nnext line", "Authorization: <redacted>\"x\"\nnext line"},
		{`{"authorization":"Basic dXNlcjpwYXNz","n":1}`, `{"authorization":"<redacted>","n":1}`},
		{"get http://user:pa:ss@db.example:5432/x failed", "get http://<redacted>@db.example:5432/x failed"},
		{"postgres://u:p%40@h/db and redis://:pw@h", "postgres://<redacted>@h/db and redis://<redacted>@h"},
		{"https://onlytoken@git.example/x", "https://<redacted>@git.example/x"},
		{"key " + key + " is spent", "key <redacted> is spent"},
		{"AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "AWS_SECRET_ACCESS_KEY=<redacted>"},
		{"https://h/x?a=1&access_token=abc123&b=2", "https://h/x?a=1&access_token=<redacted>&b=2"},
		{"password: hunter2, user: joe", "password: <redacted>, user: joe"},
		{"client secret: 1234", "client secret: <redacted>"},
		{`{"api_key": "k-1","x":2}`, `{"api_key": "<redacted>","x":2}`},
		{`said {\"token\":\"t0psecret\"}`, `said {\"token\":\"<redacted>\"}`},
		{"jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.sig_nature here", "jwt <redacted> here"},
		{"slack xoxb-1234567890-abcdef", "slack <redacted>"},
		{"post https://hooks.slack.com/services/T000/B000/XXXX failed", "post https://hooks.slack.com/<redacted> failed"},
		{"-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\nrest", "<redacted>\nrest"},
		{"-----BEGIN PRIVATE KEY-----\nMHcC cut off", "<redacted>"},
	}
	for _, tt := range tests {
		if got := redactText(tt.in); got != tt.want {
			t.Errorf("redactText(%q)\n got %q\nwant %q", tt.in, got, tt.want)
		}
		if got := redactText(tt.want); got != tt.want {
			t.Errorf("a second time: %q became %q", tt.want, got)
		}
	}
}

func secretRecord() sre.Record {
	r := record(0)
	r.Intent.Action.Params = sre.Params{
		"rps": 100.0, "api_token": "t-1", "DB_PASSWORD": 1234.0, "secret": nil, "token": "",
		"nested": map[string]any{"client_secret": []any{"a"}, "list": []any{"Bearer abcdefgh12345", 5.0}},
	}
	r.Intent.Before = sre.Params{"url": "http://u:p@h/"}
	r.Notice = &sre.Notice{Labels: map[string]string{"token": "x", "team": "shop"}, Text: "password=x"}
	r.Incident = &sre.Incident{
		Tried:       []string{"a", "secret=b"},
		Mitigations: []sre.Mitigation{{Err: "Authorization: x"}, {Err: "fine"}},
		Plan:        &sre.Plan{Steps: []sre.Step{{Name: "token=z", Actions: []sre.Action{{ID: "a"}}}}},
	}
	return r
}

func TestRedactRecord(t *testing.T) {
	in := secretRecord()
	want := secretRecord()
	want.Intent.Action.Params = sre.Params{
		"rps": 100.0, "api_token": redacted, "DB_PASSWORD": redacted, "secret": nil, "token": "",
		"nested": map[string]any{"client_secret": redacted, "list": []any{"Bearer <redacted>", 5.0}},
	}
	want.Intent.Before = sre.Params{"url": "http://<redacted>@h/"}
	want.Notice.Labels["token"] = redacted
	want.Notice.Text = "password=<redacted>"
	want.Incident.Tried[1] = "secret=<redacted>"
	want.Incident.Mitigations[0].Err = "Authorization: <redacted>"
	want.Incident.Plan.Steps[0].Name = "token=<redacted>"

	got := Redact(in)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("(-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(secretRecord(), in); diff != "" {
		t.Fatalf("the record passed in was changed:\n%s", diff)
	}
	if diff := cmp.Diff(got, Redact(got)); diff != "" {
		t.Fatalf("a second time:\n%s", diff)
	}
	clean := record(0)
	if out := Redact(clean); out.Intent != clean.Intent {
		t.Fatal("a record without secrets was copied")
	}
}

func TestSecretsNeverReachTheFiles(t *testing.T) {
	o := options(t.TempDir())
	trail := open(t, o)
	r := record(0)
	r.Intent.Action.Params["upstream_password"] = "hunter2hunter2"
	r.IncidentID = "see https://joe:hunter2hunter2@h/"
	mustAppend(t, trail, []sre.Record{r})
	mustClose(t, trail)
	for name, content := range take(t, o.Dir) {
		if strings.Contains(string(content), "hunter2") {
			t.Fatalf("%s holds the secret", name)
		}
	}
	if r := verify(t, o.Dir, trail.PublicKey()); !r.OK() {
		t.Fatal(r)
	}
	if r.Intent.Action.Params["upstream_password"] != "hunter2hunter2" {
		t.Fatal("the caller's record was changed")
	}
}

func TestRedactIsIdempotentAndKeepsRecordsReadable(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		piece := rapid.SampledFrom([]string{
			"token", "password", "secret", "=", ":", " ", "\"", "'", "\\", "<redacted>", "Bearer ", "://", "@", "a:b", "Authorization", "12", "x1y2z3w4v5", ",", "&", "\n", "ü", "<", ">", "key", "api_",
		})
		text := strings.Join(rapid.SliceOfN(piece, 0, 14).Draw(rt, "text"), "")
		once := redactText(text)
		if twice := redactText(once); twice != once {
			rt.Fatalf("%q -> %q -> %q", text, once, twice)
		}
		r := record(0)
		r.Intent.Action.Params = sre.Params{text: text, "n": 1.0}
		data, err := json.Marshal(Redact(r))
		if err != nil {
			rt.Fatal(err)
		}
		if _, err := parseLine(line{data: data, ended: true}, 0); err != nil {
			rt.Fatal(err)
		}
	})
}
