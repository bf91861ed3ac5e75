package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sreagent/sreagent/replay/bundle"
)

// Whatever request it is at which Prometheus goes away, or the user ends it,
// the same command continues and the bundle is the same, byte for byte.
func TestACutRecordingIsContinued(t *testing.T) {
	r := newRecorded(t)
	r.mustRecord(t, r.flags("whole"))
	requests := r.requests()
	if requests < 15 {
		t.Fatalf("only %d requests", requests)
	}
	want := contents(t, filepath.Join(r.dir, "whole"))
	for cut := 1; cut <= requests; cut += 3 {
		flags := r.flags(fmt.Sprintf("cut-%d", cut))
		interrupted := cut%2 == 0
		ctx, cancel := context.WithCancel(t.Context())
		r.answers(func(n int) int {
			switch {
			case n < cut:
				return 0
			case interrupted:
				cancel()
			}
			return http.StatusBadGateway
		})
		_, err := r.record(ctx, flags, recordNow)
		cancel()
		if err == nil || !strings.Contains(err.Error(), "chunks are kept in "+flags.out+partialSuffix+": give the same command again to continue") {
			t.Fatalf("cut at request %d: %v", cut, err)
		}
		if interrupted != strings.HasPrefix(err.Error(), "interrupted;") {
			t.Errorf("cut at request %d: %v", cut, err)
		}
		if _, err := os.Stat(flags.out); err == nil {
			t.Fatalf("cut at request %d: there is a bundle", cut)
		}
		r.answers(nil)
		said, err := r.record(t.Context(), flags, recordNow.Add(93*time.Second))
		if err != nil {
			t.Fatalf("continued after a cut at request %d: %v", cut, err)
		}
		if !strings.Contains(said, "continuing "+flags.out+partialSuffix) {
			t.Errorf("it does not say that it continues:\n%s", said)
		}
		if more := r.requests(); more > requests-cut+4 {
			t.Errorf("cut at request %d of %d, and %d more were made", cut, requests, more)
		}
		if diff := cmp.Diff(want, contents(t, flags.out)); diff != "" {
			t.Errorf("cut at request %d (-whole +continued):\n%s", cut, diff)
		}
	}
}

// What a killed process may leave behind beside whole files does no harm.
func TestTheRestsOfAKilledRecordingDoNoHarm(t *testing.T) {
	r := newRecorded(t)
	r.mustRecord(t, r.flags("whole"))
	for _, out := range []string{"cut", "cut.tar.zst"} {
		flags := r.flags(out)
		r.answers(refusedAfterEight)
		if _, err := r.record(t.Context(), flags, recordNow); err == nil {
			t.Fatal("no error")
		}
		for name, text := range map[string]string{
			chunkName(6) + ".tmp": "half a chunk", planFile + ".tmp": "{", archiveName + ".tmp": "half an archive", archiveName: "old",
			assembledFile: "", folderName + "/" + bundle.MetricsFile: "half of the metrics",
		} {
			path := filepath.Join(flags.out+partialSuffix, name)
			if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o750), os.WriteFile(path, []byte(text), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		r.answers(nil)
		r.mustRecord(t, flags)
	}
	if diff := cmp.Diff(contents(t, filepath.Join(r.dir, "whole")), contents(t, filepath.Join(r.dir, "cut"))); diff != "" {
		t.Errorf("(-whole +continued):\n%s", diff)
	}
}

// contents are the files of a folder.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, e := range entries {
		text, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[e.Name()] = string(text)
	}
	return out
}

func TestNoRecordingIsMixedOrOverwritten(t *testing.T) {
	r := newRecorded(t)
	r.answers(refusedAfterEight)
	flags := r.flags("out")
	if _, err := r.record(t.Context(), flags, recordNow); err == nil {
		t.Fatal("no error")
	}
	before := contents(t, flags.out+partialSuffix)
	other := flags
	other.chunk = 10 * time.Minute
	var f *failure
	if _, err := r.record(t.Context(), other, recordNow); err == nil || errors.As(err, &f) ||
		!strings.Contains(err.Error(), "was begun otherwise: --chunk was 5m and is 10m; give the same command as then to continue, or remove it") {
		t.Errorf("err = %v", err)
	}
	if diff := cmp.Diff(before, contents(t, flags.out+partialSuffix)); diff != "" {
		t.Errorf("the work under way was touched:\n%s", diff)
	}
	r.answers(nil)
	r.mustRecord(t, flags)
	done := contents(t, flags.out)
	if _, err := r.record(t.Context(), flags, recordNow); err == nil || !strings.Contains(err.Error(), "out exists already") {
		t.Errorf("err = %v", err)
	}
	if _, err := os.Stat(flags.out + partialSuffix); err == nil {
		t.Error("a refused recording was begun")
	}
	if diff := cmp.Diff(done, contents(t, flags.out)); diff != "" {
		t.Errorf("the bundle was touched:\n%s", diff)
	}
	file := r.flags("shop.yaml")
	if _, err := r.record(t.Context(), file, recordNow); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("err = %v", err)
	}
	empty := r.flags("empty")
	if err := os.Mkdir(empty.out, 0o750); err != nil {
		t.Fatal(err)
	}
	r.mustRecord(t, empty)
}

// A kill between the bundle's getting its name and the end of cleaning up
// leaves both.
func TestARecordingThatWasOnlyNotCleanedUpIsComplete(t *testing.T) {
	r := newRecorded(t)
	flags := r.flags("out")
	r.answers(refusedAfterEight)
	if _, err := r.record(t.Context(), flags, recordNow); err == nil {
		t.Fatal("no error")
	}
	r.answers(nil)
	kept := filepath.Join(r.dir, "kept")
	if err := os.CopyFS(kept, os.DirFS(flags.out+partialSuffix)); err != nil {
		t.Fatal(err)
	}
	r.mustRecord(t, flags)
	if err := os.Rename(kept, flags.out+partialSuffix); err != nil {
		t.Fatal(err)
	}
	if _, err := r.record(t.Context(), flags, recordNow); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("an unfinished one beside a bundle: %v", err)
	}
	if err := os.WriteFile(filepath.Join(flags.out+partialSuffix, assembledFile), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if said := r.mustRecord(t, flags); !strings.Contains(said, "out: is complete") {
		t.Errorf("said %q", said)
	}
}
