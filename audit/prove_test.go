package audit

import (
	"encoding/base64"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

func TestProofStandsByItself(t *testing.T) {
	o := options(t.TempDir())
	o.SegmentBytes = 3300
	for _, n := range []uint64{1, 2, 3, 20} {
		key := build(t, o, n, 5)
		for seq := range n {
			proof, err := Prove(o.Dir, seq)
			if err != nil {
				t.Fatalf("prove %d of %d: %v", seq, n, err)
			}
			p, err := CheckProof(key, proof)
			if err != nil {
				t.Fatalf("check %d of %d: %v\n%s", seq, n, err, proof)
			}
			line, err := json.Marshal(record(seq))
			if err != nil {
				t.Fatal(err)
			}
			want := Proven{Record: record(seq), Line: line, Origin: o.Origin, Size: n, Time: epoch}
			if diff := cmp.Diff(want, p); diff != "" {
				t.Fatal(diff)
			}
		}
		if _, err := Prove(o.Dir, n); err == nil {
			t.Fatal("a record that is not there was proven")
		}
	}
}

func TestProofsThatMustFail(t *testing.T) {
	o := options(t.TempDir())
	key := build(t, o, 9, 9)
	otherKey := build(t, options(t.TempDir()), 1, 1)
	proof, err := Prove(o.Dir, 4)
	if err != nil {
		t.Fatal(err)
	}
	five, err := json.Marshal(record(5))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(proof, "\n")
	with := func(i int, s string) string {
		out := append([]string(nil), lines...)
		out[i] = s
		return strings.Join(out, "")
	}
	for name, bad := range map[string]string{
		"empty":          "",
		"other header":   with(0, "proof\n"),
		"other record":   with(1, "extra "+base64.StdEncoding.EncodeToString(five)+"\n"),
		"no record":      with(1, ""),
		"not base64":     with(1, "extra !\n"),
		"other index":    with(2, "index 5\n"),
		"index too high": with(2, "index 9\n"),
		"no index":       with(2, "index -1\n"),
		"hash gone":      with(3, ""),
		"hash doubled":   with(3, lines[3]+lines[3]),
		"not a hash":     with(3, "x\n"),
		"too many":       with(3, strings.Repeat(lines[3], maxPath+1)),
		"other size":     strings.Replace(proof, "\n9\n", "\n8\n", 1),
		"no signature":   proof[:strings.LastIndex(proof, "\n\n")+2],
		"no checkpoint":  proof[:strings.Index(proof, "\n\n")],
	} {
		if p, err := CheckProof(key, bad); err == nil {
			t.Errorf("%s: passed as %+v", name, p)
		}
	}
	if _, err := CheckProof(otherKey, proof); err == nil {
		t.Error("another key: passed")
	}
	if _, err := CheckProof("no key", proof); err == nil {
		t.Error("no key: passed")
	}
	edit(t, o.Dir, 0, func(l []string) []string { l[4] = l[5]; return l })
	if _, err := Prove(o.Dir, 4); err == nil {
		t.Error("a changed record was proven")
	}
	if _, err := Prove(t.TempDir(), 0); err == nil {
		t.Error("a record of no trail was proven")
	}
}

func TestGrowth(t *testing.T) {
	o := options(t.TempDir())
	trail := open(t, o)
	key := trail.PublicKey()
	cp := filepath.Join(o.Dir, checkpointName)
	at := [][]byte{read(t, cp)}
	for range 12 {
		mustAppend(t, trail, records(trail.Next(), trail.Next()+1))
		at = append(at, read(t, cp))
	}
	mustClose(t, trail)
	latest := at[len(at)-1]
	for size, old := range at {
		proof, err := ProveGrowth(o.Dir, old)
		if err != nil {
			t.Fatalf("prove growth from %d: %v", size, err)
		}
		newer, err := CheckGrowth(key, old, proof)
		if err != nil || string(newer) != string(latest) {
			t.Fatalf("check growth from %d: %v", size, err)
		}
		for other := range at {
			if other == size {
				continue
			}
			if _, err := CheckGrowth(key, at[other], proof); err == nil {
				t.Fatalf("a proof for %d passed for %d", size, other)
			}
		}
	}

	// A second history with the same key must not be provable against the first.
	forged := options(t.TempDir())
	forged.KeyFile = filepath.Join(o.Dir, keyName)
	trail = open(t, forged)
	other := records(0, 12)
	other[2].IncidentID = "forged"
	mustAppend(t, trail, other)
	mustClose(t, trail)
	for size := 3; size < len(at); size++ {
		if _, err := ProveGrowth(forged.Dir, at[size]); err == nil {
			t.Fatalf("another history was proven to grow from %d", size)
		}
		honest, err := ProveGrowth(o.Dir, at[size])
		if err != nil {
			t.Fatal(err)
		}
		head, _, _ := strings.Cut(honest, "\n\n")
		lie := head + "\n\n" + string(read(t, filepath.Join(forged.Dir, checkpointName)))
		if _, err := CheckGrowth(key, at[size], lie); err == nil {
			t.Fatalf("another history passed from %d", size)
		}
	}
	for name, bad := range map[string][]byte{"nothing": nil, "no checkpoint": []byte("a\nb\n\nc")} {
		if _, err := ProveGrowth(o.Dir, bad); err == nil {
			t.Errorf("%s: proven", name)
		}
		if _, err := CheckGrowth(key, bad, ""); err == nil {
			t.Errorf("%s: passed", name)
		}
	}
	if _, err := ProveGrowth(forged.Dir, []byte("o\n99\n"+strings.Repeat("A", 43)+"=\n\nx")); err == nil {
		t.Error("growth from a larger trail was proven")
	}
}

func TestCheckpointText(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		c := checkpoint{origin: "o", size: rapid.Uint64Range(0, 1<<seqBits-1).Draw(rt, "size"), at: epoch}
		copy(c.root[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(rt, "root"))
		got, err := parseCheckpoint(c.text())
		if err != nil || got != c {
			rt.Fatalf("%+v became %+v: %v", c, got, err)
		}
	})
	root := strings.Repeat("A", 43) + "="
	for _, bad := range []string{
		"", "o\n1\n", "o\n1\n" + root, "\n1\n" + root + "\n", "o\n-1\n" + root + "\n", "o\n01\n" + root + "\n",
		"o\n+1\n" + root + "\n", "o\n9223372036854775807\n" + root + "\n", "o\n1\nshort\n", "o\n1\n" + root + "\ntime noon\n",
	} {
		if c, err := parseCheckpoint(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, c)
		}
	}
	if c, err := parseCheckpoint("o\n1\n" + root + "\nanother extension\n"); err != nil || !c.at.IsZero() {
		t.Errorf("an extension that is not ours: %+v %v", c, err)
	}
}

func FuzzCheckProof(f *testing.F) {
	o := options(f.TempDir())
	key := build(f, o, 9, 9)
	for seq := range uint64(9) {
		proof, err := Prove(o.Dir, seq)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(proof)
	}
	f.Fuzz(func(t *testing.T, proof string) {
		p, err := CheckProof(key, proof)
		if err != nil {
			return
		}
		want, err := json.Marshal(record(p.Record.Seq))
		if err != nil || p.Record.Seq >= 9 || string(p.Line) != string(want) {
			t.Fatalf("proven, but never recorded: %s", p.Line)
		}
	})
}

// forge signs a checkpoint over one line with the trail's own key.
func forge(t *testing.T, o Options, origin, content string) (checkpointText string, proof string) {
	t.Helper()
	key, err := loadKey(o.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	var tree frontier
	tree.push(tlog.RecordHash([]byte(content)), nil)
	msg, err := checkpoint{origin: origin, size: 1, root: tree.root(), at: epoch}.sign(key.signer)
	if err != nil {
		t.Fatal(err)
	}
	return string(msg), proofHeader + "\n" + extraPrefix + base64.StdEncoding.EncodeToString([]byte(content)) + "\n" + indexPrefix + "0\n\n" + string(msg)
}

func TestSignedButWrong(t *testing.T) {
	o := options(t.TempDir())
	key := build(t, o, 1, 1)
	if _, proof := forge(t, o, o.Origin, `{"seq":0,"kind":"stop"}`); !passes(key, proof) {
		t.Fatal("the forged proof is not sound, so that the others prove nothing")
	}
	if _, proof := forge(t, o, o.Origin, `{"seq":7,"kind":"stop"}`); passes(key, proof) {
		t.Error("a record in another's place passed")
	}
	if _, proof := forge(t, o, o.Origin, `no record`); passes(key, proof) {
		t.Error("a line that is no record passed")
	}
	cp, proof := forge(t, o, "another.example/trail", `{"seq":0,"kind":"stop"}`)
	if passes(key, proof) {
		t.Error("a checkpoint of another trail passed")
	}
	write(t, filepath.Join(o.Dir, checkpointName), []byte(cp))
	if r := verify(t, o.Dir, key); r.OK() || r.Findings[0].Kind != BadSignature || !strings.Contains(r.Findings[0].Text, "another.example") {
		t.Errorf("a checkpoint of another trail verified: %s", r)
	}
}

func passes(key, proof string) bool {
	_, err := CheckProof(key, proof)
	return err == nil
}
