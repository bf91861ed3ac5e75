package audit

import (
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/sreagent/sreagent/sre"
)

const redacted = "<redacted>"

// Redact returns the record without what looks like a secret: bearer tokens,
// credentials in URLs, Authorization values, cloud and chat keys, private keys,
// and everything under a name that speaks of a token, a password or a secret.
// Each becomes "<redacted>". The record that is passed in is not changed; what
// needs no redaction is shared with it. Redacting twice changes nothing more.
func Redact(r sre.Record) sre.Record {
	v, changed := redactValue(reflect.ValueOf(r))
	if !changed {
		return r
	}
	out, _ := v.Interface().(sre.Record)
	return out
}

// redactValue returns a redacted copy of v, or v itself where nothing had to
// change.
func redactValue(v reflect.Value) (reflect.Value, bool) {
	kind := v.Kind()
	if kind == reflect.String {
		clean := redactText(v.String())
		if clean == v.String() {
			return v, false
		}
		return reflect.ValueOf(clean).Convert(v.Type()), true
	}
	if kind == reflect.Pointer || kind == reflect.Interface {
		return redactElem(v)
	}
	if kind == reflect.Struct {
		return redactStruct(v)
	}
	if kind == reflect.Slice {
		return redactSlice(v)
	}
	if kind == reflect.Map {
		return redactMap(v)
	}
	return v, false // numbers and booleans hold no secret by themselves
}

func redactElem(v reflect.Value) (reflect.Value, bool) {
	if v.IsNil() {
		return v, false
	}
	elem, changed := redactValue(v.Elem())
	if !changed {
		return v, false
	}
	if v.Kind() == reflect.Interface {
		out := reflect.New(v.Type()).Elem()
		out.Set(elem)
		return out, true
	}
	out := reflect.New(v.Type().Elem())
	out.Elem().Set(elem)
	return out, true
}

func redactStruct(v reflect.Value) (reflect.Value, bool) {
	if v.Type() == reflect.TypeFor[time.Time]() {
		return v, false
	}
	out, changed := v, false
	for i := range v.NumField() {
		if !v.Type().Field(i).IsExported() {
			continue
		}
		field, fieldChanged := redactValue(v.Field(i))
		if !fieldChanged {
			continue
		}
		if !changed {
			out = reflect.New(v.Type()).Elem()
			out.Set(v)
			changed = true
		}
		out.Field(i).Set(field)
	}
	return out, changed
}

func redactSlice(v reflect.Value) (reflect.Value, bool) {
	out, changed := v, false
	for i := range v.Len() {
		item, itemChanged := redactValue(v.Index(i))
		if !itemChanged {
			continue
		}
		if !changed {
			out = reflect.MakeSlice(v.Type(), v.Len(), v.Len())
			reflect.Copy(out, v)
			changed = true
		}
		out.Index(i).Set(item)
	}
	return out, changed
}

// redactMap redacts by key as well as by content. Order does not matter, as
// each entry is judged by itself. Keys are never changed.
func redactMap(v reflect.Value) (reflect.Value, bool) {
	out, changed := v, false
	for entries := v.MapRange(); entries.Next(); {
		key := entries.Key()
		item, itemChanged := redactValue(entries.Value())
		if key.Kind() == reflect.String && secretName(key.String()) {
			item, itemChanged = hide(entries.Value())
		}
		if !itemChanged {
			continue
		}
		if !changed {
			out = reflect.MakeMapWithSize(v.Type(), v.Len())
			for all := v.MapRange(); all.Next(); {
				out.SetMapIndex(all.Key(), all.Value())
			}
			changed = true
		}
		out.SetMapIndex(key, item)
	}
	return out, changed
}

// hide replaces a whole value, where its type can hold the replacement.
func hide(v reflect.Value) (reflect.Value, bool) {
	if v.Kind() == reflect.String {
		return reflect.ValueOf(redacted).Convert(v.Type()), v.String() != "" && v.String() != redacted
	}
	if v.Kind() != reflect.Interface || v.IsNil() {
		return v, false
	}
	if s, ok := v.Interface().(string); ok && (s == "" || s == redacted) {
		return v, false
	}
	out := reflect.New(v.Type()).Elem()
	out.Set(reflect.ValueOf(redacted))
	return out, true
}

// secretName reports whether what bears the name is a secret.
func secretName(name string) bool {
	name = strings.ToLower(name)
	for _, word := range secretWords {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

var secretWords = []string{"token", "password", "passwd", "secret", "authorization", "api_key", "apikey", "private_key"}

// textRule finds one kind of secret in text. A rule is tried only where the
// text holds one of its marks, in lower case, since most texts hold none.
type textRule struct {
	marks   []string
	pattern *regexp.Regexp
	with    string
}

// hardNames are the names after which everything is a secret.
const hardNames = `passw(?:or)?d|secret|private[_\-]?key`

var textRules = []textRule{
	{
		[]string{"private key-----"},
		regexp.MustCompile(`(?s)-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)`), redacted,
	},
	{
		[]string{"authorization"},
		regexp.MustCompile(`(?i)(authorization(?:\\?["'])?\s*[:=]\s*(?:\\?["'])?)[^\s"'\\<][^\r\n"'\\]*`), "${1}" + redacted,
	},
	{
		[]string{"bearer"},
		regexp.MustCompile(`(?i)\b(bearer\s+)[a-z0-9\-._~+/]{8,}=*`), "${1}" + redacted,
	},
	{
		[]string{"://"},
		regexp.MustCompile(`(://)[^\s/?#"'<>]+@`), "${1}" + redacted + "@",
	},
	{
		[]string{"token", "passw", "secret", "key"},
		regexp.MustCompile(`(?i)([\w.\-]*(?:token|api[_\-]?key|` + hardNames + `)[\w.\-]*(?:\\?["'])?\s*=\s*(?:\\?["'])?)[^\s"'\\&,;<>]+`), "${1}" + redacted,
	},
	{
		[]string{"passw", "secret", "key"},
		regexp.MustCompile(`(?i)([\w.\-]*(?:` + hardNames + `)[\w.\-]*(?:\\?["'])?\s*:\s*(?:\\?["'])?)[^\s"'\\&,;<>]+`), "${1}" + redacted,
	},
	{
		// After "token:" a plain number stays, so that "stale fencing token: 17"
		// can still be read.
		[]string{"token", "key"},
		regexp.MustCompile(`(?i)([\w.\-]*(?:token|api[_\-]?key)[\w.\-]*(?:\\?["'])?\s*:\s*(?:\\?["'])?)[0-9]*[^\s"'\\&,;<>0-9][^\s"'\\&,;<>]*`), "${1}" + redacted,
	},
	{
		[]string{"akia", "asia", "aida", "aroa", "agpa", "anpa", "anva", "abia", "acca"},
		regexp.MustCompile(`\b(?:AKIA|ASIA|AIDA|AROA|AGPA|ANPA|ANVA|ABIA|ACCA)[A-Z0-9]{16}\b`), redacted,
	},
	{
		[]string{"eyj"},
		regexp.MustCompile(`\beyJ[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]{8,}\.[A-Za-z0-9_\-]*`), redacted,
	},
	{
		[]string{"xox", "gh", "glpat-"},
		regexp.MustCompile(`\b(?:xox[abeprs]-[A-Za-z0-9\-]{10,}|gh[opsur]_[A-Za-z0-9]{20,}|glpat-[A-Za-z0-9_\-]{16,})`), redacted,
	},
	{
		[]string{"hooks.slack.com"},
		regexp.MustCompile(`(hooks\.slack\.com/)[a-z]+/[A-Za-z0-9/_\-]+`), "${1}" + redacted,
	},
}

func redactText(s string) string {
	if len(s) < len("key=x") {
		return s
	}
	lower := strings.ToLower(s)
	for _, rule := range textRules {
		for _, mark := range rule.marks {
			if strings.Contains(lower, mark) {
				s = rule.pattern.ReplaceAllString(s, rule.with)
				break
			}
		}
	}
	return s
}
