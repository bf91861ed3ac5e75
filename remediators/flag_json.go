package remediators

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// span is where one member of a JSON object stands in its text.
type span struct {
	key                  string
	start, value, finish int // of the key, of the value, behind the value
}

// members finds the members of a JSON object, in order, without changing a byte.
func members(object []byte) ([]span, error) {
	dec := json.NewDecoder(bytes.NewReader(object))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(errors.New("is no JSON object"), err)
	}
	var out []span
	for dec.More() {
		from := int(dec.InputOffset())
		t, err := dec.Token()
		if err != nil {
			return nil, err
		}
		key, _ := t.(string) // anything else the decoder has refused
		start := from + bytes.IndexByte(object[from:], '"')
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, err
		}
		finish := int(dec.InputOffset())
		out = append(out, span{key: key, start: start, value: finish - len(value), finish: finish})
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	if rest := bytes.TrimSpace(object[dec.InputOffset():]); len(rest) > 0 {
		return nil, errors.New("something follows the JSON object")
	}
	return out, nil
}

// find returns the member that a reader would take: the last of its key.
func find(list []span, key string) (int, bool) {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].key == key {
			return i, true
		}
	}
	return 0, false
}

// getMember returns the text of a member's value; nil where there is none.
func getMember(object []byte, key string) (json.RawMessage, error) {
	list, err := members(object)
	if err != nil {
		return nil, err
	}
	i, ok := find(list, key)
	if !ok {
		return nil, nil
	}
	return object[list[i].value:list[i].finish], nil
}

// setMember replaces the value of a member, or adds one at the end, spaced like
// the first. Every other byte stays.
func setMember(object []byte, key string, value []byte) ([]byte, error) {
	list, err := members(object)
	if err != nil {
		return nil, err
	}
	if i, ok := find(list, key); ok {
		return splice(object, list[i].value, list[i].finish, value), nil
	}
	name, err := json.Marshal(key)
	if err != nil {
		return nil, err
	}
	added := append(append(name, ": "...), value...)
	open := bytes.IndexByte(object, '{') + 1
	if len(list) == 0 {
		return splice(object, open, bytes.LastIndexByte(object, '}'), added), nil
	}
	space := object[open:list[0].start]
	at := list[len(list)-1].finish
	return splice(object, at, at, append(append([]byte(","), space...), added...)), nil
}

// dropMember takes a member out with its comma. Every other byte stays.
func dropMember(object []byte, key string) ([]byte, error) {
	list, err := members(object)
	if err != nil {
		return nil, err
	}
	i, ok := find(list, key)
	switch {
	case !ok:
		return object, nil
	case i > 0:
		return splice(object, list[i-1].finish, list[i].finish, nil), nil
	case len(list) > 1:
		return splice(object, list[0].start, list[1].start, nil), nil
	}
	return splice(object, bytes.IndexByte(object, '{')+1, bytes.LastIndexByte(object, '}'), nil), nil
}

func splice(text []byte, from, to int, with []byte) []byte {
	out := make([]byte, 0, len(text)-(to-from)+len(with))
	return append(append(append(out, text[:from]...), with...), text[to:]...)
}

// canonical writes a JSON value so that two texts of the same value are equal.
func canonical(text []byte) ([]byte, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, err
	}
	return json.Marshal(v)
}

// jsonFlags are flags in a JSON object, which may be a member of another one.
type jsonFlags struct{ under string }

func (f jsonFlags) table(content []byte) ([]byte, error) {
	if f.under == "" {
		return content, nil
	}
	table, err := getMember(content, f.under)
	if err == nil && table == nil {
		err = fmt.Errorf("there is no %q", f.under)
	}
	return table, err
}

func (f jsonFlags) names(content []byte) ([]string, error) {
	table, err := f.table(content)
	if err != nil {
		return nil, err
	}
	list, err := members(table)
	var out []string
	for _, m := range list {
		out = append(out, m.key)
	}
	return out, err
}

func (f jsonFlags) get(content []byte, flag string) ([]byte, error) {
	table, err := f.table(content)
	if err != nil {
		return nil, err
	}
	return getMember(table, flag)
}

func (f jsonFlags) put(content []byte, flag string, definition []byte) ([]byte, error) {
	table, err := f.table(content)
	if err != nil {
		return nil, err
	}
	table, err = setMember(table, flag, definition)
	if err != nil || f.under == "" {
		return table, err
	}
	return setMember(content, f.under, table)
}
