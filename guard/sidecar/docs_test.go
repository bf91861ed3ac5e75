package main

import (
	"os"
	"reflect"
	"regexp"
	"testing"

	"github.com/sreagent/sreagent/guard"
)

// TestDocsShowTheCompleteFile: the files in docs/guard.md are valid, and name
// every key that there is.
func TestDocsShowTheCompleteFile(t *testing.T) {
	page, err := os.ReadFile("../../docs/guard.md")
	if err != nil {
		t.Fatal(err)
	}
	files := regexp.MustCompile("(?s)```yaml\n(service: .*?)```").FindAllSubmatch(page, -1)
	var shown []byte
	for _, file := range files {
		if _, err := parseConfig(file[1]); err != nil {
			t.Error(err)
		}
		shown = append(shown, file[1]...)
	}
	for _, key := range keys(reflect.TypeFor[guard.Config]()) {
		if !regexp.MustCompile(`[\s{]`+key+`:`).Match(shown) && key != "service" {
			t.Errorf("docs/guard.md does not show %s", key)
		}
	}
}

func keys(of reflect.Type) []string {
	for of.Kind() == reflect.Pointer || of.Kind() == reflect.Map || of.Kind() == reflect.Slice {
		of = of.Elem()
	}
	var all []string
	for i := 0; of.Kind() == reflect.Struct && i < of.NumField(); i++ {
		if name := of.Field(i).Tag.Get("yaml"); name != "" {
			all = append(append(all, name), keys(of.Field(i).Type)...)
		}
	}
	return all
}
