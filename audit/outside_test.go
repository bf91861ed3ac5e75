package audit

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOutsideCheckpoint(t *testing.T) {
	o := options(t.TempDir())
	cp := filepath.Join(o.Dir, checkpointName)
	trail := open(t, o)
	key := trail.PublicKey()
	at := map[uint64][]byte{0: read(t, cp)}
	folder := map[uint64]snapshot{}
	for range 6 {
		mustAppend(t, trail, records(trail.Next(), trail.Next()+5))
		at[trail.Next()] = read(t, cp)
		folder[trail.Next()] = take(t, o.Dir)
	}
	mustClose(t, trail)
	against := func(outside []byte) Report {
		t.Helper()
		r, err := VerifyAgainst(o.Dir, key, outside)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for size, outside := range at {
		if r := against(outside); !r.OK() || r.Outside != size {
			t.Fatalf("honest growth from %d: %s", size, r)
		}
	}
	folder[20].restore(t, o.Dir)
	r := against(at[30])
	if diff := cmp.Diff([]string{"rolled_back :0 #20"}, places(r.Findings)); diff != "" || !strings.Contains(r.Findings[0].Text, "what followed is not there") {
		t.Fatalf("rolled back: %s%s", diff, r)
	}
	folder[30].restore(t, o.Dir)
	write(t, cp, at[20])
	r = against(at[30])
	if diff := cmp.Diff([]string{"rolled_back :0 #20"}, places(r.Findings)); diff != "" || !strings.Contains(r.Findings[0].Text, "the records are all there") {
		t.Fatalf("only the checkpoint rolled back: %s%s", diff, r)
	}
	remove(t, cp)
	if r = against(at[30]); r.OK() || r.Findings[0].Kind != BadCheckpoint || r.Records != 30 || len(r.Findings) != 1 {
		t.Fatalf("checkpoint gone, records proven from outside: %s", r)
	}

	// Somebody with the key writes another history.
	folder[30].restore(t, o.Dir)
	for _, name := range []string{newSegment(o.Dir, 0).path, newSegment(o.Dir, 0).hashes(), cp} {
		remove(t, name)
	}
	trail = open(t, o)
	other := records(0, 30)
	other[3].IncidentID = "forged"
	mustAppend(t, trail, other)
	mustClose(t, trail)
	if r := verify(t, o.Dir, key); !r.OK() {
		t.Fatalf("the forgery does not agree with itself: %s", r)
	}
	for _, size := range []uint64{10, 30} {
		if diff := cmp.Diff([]string{"rewritten :0 #0"}, places(against(at[size]).Findings)); diff != "" {
			t.Fatalf("rewritten, seen from %d: %s", size, diff)
		}
	}
	edited := []byte(strings.Replace(string(at[30]), "\n30\n", "\n29\n", 1))
	if diff := cmp.Diff([]string{"bad_signature :0 #0"}, places(against(edited).Findings)); diff != "" {
		t.Fatalf("outside checkpoint edited: %s", diff)
	}
	if _, err := VerifyAgainst(o.Dir, key, []byte("hm")); err == nil {
		t.Fatal("an outside checkpoint that is none was taken")
	}
}

func TestOpenRefusesRollBack(t *testing.T) {
	o := options(t.TempDir())
	o.CheckpointOut = filepath.Join(t.TempDir(), "checkpoint")
	build(t, o, 10, 10)
	old := take(t, o.Dir)
	trail := open(t, o)
	mustAppend(t, trail, records(10, 12))
	mustClose(t, trail)
	old.restore(t, o.Dir)
	var damaged *DamagedError
	if _, err := Open(o); !asError(err, &damaged) || damaged.Report.Findings[0].Kind != RolledBack {
		t.Fatalf("restored from a backup: %v", err)
	}
	snapshot{keyName: old[keyName]}.restore(t, o.Dir)
	if _, err := Open(o); !asError(err, &damaged) || damaged.Report.Findings[0].Kind != BadCheckpoint {
		t.Fatalf("emptied: %v", err)
	}
}
