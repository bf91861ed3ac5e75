package remediators

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/sreagent/sreagent/sre"
)

// FlagServer is a lever whose flags can be read over HTTP, as by the http sync
// of flagd or the HTTP retriever of GO Feature Flag.
type FlagServer interface {
	// Flags answers GET and HEAD with the whole flag file and its ETag, and
	// nothing with status 503 while the file cannot be read: a reader then keeps
	// what it has.
	Flags() http.Handler
}

var _ FlagServer = (*flagLever)(nil)

// Flags serves the flag file; 404 where the flags are in no file.
func (l *flagLever) Flags() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		file, ok := l.store.(flagFile)
		if !ok {
			http.NotFound(w, r)
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "GET or HEAD", http.StatusMethodNotAllowed)
			return
		}
		content, err := file.load(r.Context(), file.path)
		if err == nil {
			_, err = file.layout.names(content) // a broken file would be taken for one without flags
		}
		if err != nil {
			l.log.Error("the flag file cannot be served", "err", err)
			http.Error(w, "the flag file cannot be read", http.StatusServiceUnavailable)
			return
		}
		kind := "application/json"
		if _, yaml := file.layout.(yamlFlags); yaml {
			kind = "application/yaml"
		}
		w.Header().Set("Content-Type", kind)
		w.Header().Set("ETag", `"`+sumOf(content)+`"`)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
}

// Manual returns the commands that give every flag of the switch back what it
// was, from the lever's state at the flag. They drop wider holds too.
func (l *flagLever) Manual(a sre.Action, _ sre.Params) string {
	f, err := l.target(a)
	if err != nil {
		return ""
	}
	var out bytes.Buffer
	for _, k := range f.flags {
		out.WriteString(l.manual(k.Flag) + "\n")
	}
	return string(bytes.TrimRight(out.Bytes(), "\n"))
}

// manual is the way back of one flag, by programs that on-call people have.
func (l *flagLever) manual(flag string) string {
	path := shellQuote(l.cfg.File)
	quoted, _ := json.Marshal(flag) // a text always has a form in JSON
	const was = `(.metadata.sreagent | fromjson | .before | fromjson)`
	switch file, _ := l.store.(flagFile); file.layout.(type) {
	case jsonFlags:
		at := ".[" + string(quoted) + "]"
		if l.cfg.Format == flagdFormat {
			at = ".flags[" + string(quoted) + "]" // jq before 1.7 takes no dot here
		}
		return "jq " + shellQuote(at+" |= "+was) + " " + path + " > " + shellQuote(l.cfg.File+".new") + " && mv " + shellQuote(l.cfg.File+".new") + " " + path
	case yamlFlags:
		return "yq -i " + shellQuote(".["+string(quoted)+"] |= (.metadata.sreagent | from_json | .before | from_json)") + " " + path
	}
	store, ok := l.store.(unleashStore)
	if !ok {
		return ""
	}
	curl := "curl -sS"
	if l.cfg.TokenFile != "" {
		curl += ` -H "Authorization: $(cat ` + shellQuote(l.cfg.TokenFile) + `)"`
	}
	at := shellQuote(store.address(flag) + "/strategies")
	return "strategy=$(" + curl + " " + at + " | jq -c '.[0]')\n" +
		`printf '%s' "$strategy" | jq '(.title | ltrimstr("sreagent ") | split("\n")[0] | fromjson | .before | fromjson | .strategies[0]) | del(.id)' | ` +
		curl + ` -X PUT -H 'Content-Type: application/json' -d @- ` + at + `/"$(printf '%s' "$strategy" | jq -r .id)"`
}
