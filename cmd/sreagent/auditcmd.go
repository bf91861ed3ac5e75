package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/alecthomas/kingpin/v2"

	"github.com/sreagent/sreagent/audit"
	"github.com/sreagent/sreagent/sre"
)

func registerAudit(app *kingpin.Application, commands map[string]command) {
	trail := app.Command("audit", "Read and verify the audit trail.")
	registerAuditShow(trail, commands)
	registerAuditVerify(trail, commands)
	registerAuditProve(trail, commands)
}

func registerAuditShow(trail *kingpin.CmdClause, commands map[string]command) {
	show := trail.Command("show", "Show records, one line each.")
	dir := show.Arg("dir", "Folder of the trail.").Default("data/audit").String()
	incident := show.Flag("incident", "Only of this incident.").String()
	var kinds []string
	for _, k := range sre.RecordKinds() {
		kinds = append(kinds, string(k))
	}
	kind := show.Flag("kind", "Only of this kind: "+strings.Join(kinds, ", ")+".").Enum(kinds...)
	since := show.Flag("since", "Only younger than this, such as 2h.").Duration()
	asJSON := show.Flag("output", "text or json.").Short('o').Default("text").Enum("text", "json")
	commands[show.FullCommand()] = func(_ context.Context, std streams) error {
		o := audit.ShowOptions{Incident: *incident, Kind: sre.RecordKind(*kind), JSON: *asJSON == "json"}
		if *since > 0 {
			o.Since = time.Now().Add(-*since)
		}
		if err := inFolder(*dir); err != nil {
			return err
		}
		if err := audit.Show(std.out, audit.ReadDir(*dir), o); err != nil {
			return failed(err)
		}
		return nil
	}
}

func registerAuditVerify(trail *kingpin.CmdClause, commands map[string]command) {
	verify := trail.Command("verify", "Prove that nothing in the trail was changed, cut or reordered.")
	dir := verify.Arg("dir", "Folder of the trail.").Default("data/audit").String()
	key := verify.Flag("key", "File with the public key, from outside the machine; without it the key beside the trail is taken, which proves less.").String()
	outside := verify.Flag("checkpoint", "File with a checkpoint that was kept outside: the trail must extend it.").String()
	output := verify.Flag("output", "text or json.").Short('o').Default("text").Enum("text", "json")
	commands[verify.FullCommand()] = func(_ context.Context, std streams) error {
		if err := inFolder(*dir); err != nil {
			return err
		}
		var publicKey string
		var checkpoint []byte
		if *key != "" {
			text, err := os.ReadFile(*key)
			if err != nil {
				return fmt.Errorf("read key: %w", err)
			}
			publicKey = strings.TrimSpace(string(text))
		}
		if *outside != "" {
			text, err := os.ReadFile(*outside)
			if err != nil {
				return fmt.Errorf("read checkpoint: %w", err)
			}
			checkpoint = text
		}
		report, err := audit.VerifyAgainst(*dir, publicKey, checkpoint)
		if err != nil {
			return err
		}
		if *output == "json" {
			enc := json.NewEncoder(std.out)
			enc.SetIndent("", "  ")
			if err := enc.Encode(report); err != nil {
				return err
			}
		} else if _, err := fmt.Fprint(std.out, report); err != nil {
			return err
		}
		if !report.OK() {
			return failed(fmt.Errorf("%s does not verify", *dir))
		}
		return nil
	}
}

func registerAuditProve(trail *kingpin.CmdClause, commands map[string]command) {
	prove := trail.Command("prove", "Print a proof that one record is in the trail, which others can check.")
	seq := prove.Arg("seq", "Sequence number of the record.").Required().Uint64()
	dir := prove.Arg("dir", "Folder of the trail.").Default("data/audit").String()
	commands[prove.FullCommand()] = func(_ context.Context, std streams) error {
		if err := inFolder(*dir); err != nil {
			return err
		}
		proof, err := audit.Prove(*dir, *seq)
		if err != nil {
			return failed(err)
		}
		_, err = fmt.Fprint(std.out, proof)
		return err
	}
}

// inFolder says which folder was looked at where there is none: the default is
// that of an agent whose configuration lies in the current one.
func inFolder(dir string) error {
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		return fmt.Errorf("no trail here, give the folder that audit.dir names: %w", err)
	case !info.IsDir():
		return fmt.Errorf("no trail here, give the folder that audit.dir names: %s is a file", dir)
	}
	return nil
}
