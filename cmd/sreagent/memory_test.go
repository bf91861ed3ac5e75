package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// fleetStore answers every instant query for a fleet, as a Prometheus would:
// one sample per service, or per edge for the query "calls".
type fleetStore struct {
	services int
	queries  atomic.Int64
	enough   int64 // queries after which done is closed
	done     chan struct{}
}

func (f *fleetStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	at := r.Form.Get("time")
	n := f.queries.Add(1)
	if n == f.enough {
		close(f.done)
	}
	var b strings.Builder
	b.WriteString(`{"status":"success","data":{"resultType":"vector","result":[`)
	count := f.services
	if r.Form.Get("query") == "calls" {
		count *= 2
	}
	for i := range count {
		if i > 0 {
			b.WriteByte(',')
		}
		labels := fmt.Sprintf(`"service":"service-%05d"`, i)
		if count > f.services {
			labels = fmt.Sprintf(`"client":"service-%05d","server":"service-%05d"`, i/2, (i/2*7+i%2*13+f.services/10)%f.services)
		}
		fmt.Fprintf(&b, `{"metric":{%s},"value":[%s,"%g"]}`, labels, at, 0.5+float64((int64(i)+n)%7)/100)
	}
	b.WriteString(`]}}`)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write([]byte(b.String()))
}

const fleetConfig = `interval: 1s
prometheus: {url: %q, warm_up: 0s}
signals:
  custom:
    - {name: traffic, kind: traffic, query: traffic, unit: requests_per_second}
    - {name: errors, kind: errors, query: errors, unit: ratio}
    - {name: latency, kind: latency, query: latency, unit: seconds}
    - {name: latency_p99, kind: latency, query: p99, unit: seconds}
    - {name: queue, kind: queue, query: queue, unit: count}
    - {name: pool, kind: pool, query: pool, unit: ratio}
    - {name: cpu, kind: saturation, query: cpu, unit: ratio}
    - {name: memory, kind: saturation, query: memory, unit: bytes}
    - {name: retries, kind: retries, query: retries, unit: requests_per_second}
    - {name: calls, kind: traffic, query: calls, unit: requests_per_second, client_label: client, server_label: server}
policy: {timing: {lever_timeout: 1s}}
`

// BenchmarkDaemonMemory starts the built daemon on a fleet of 1,000 services
// and 10 signals, and reports its resident memory after a minute of ticks of
// one second, and the processor time that each tick took.
func BenchmarkDaemonMemory(b *testing.B) {
	dir := b.TempDir()
	binary := filepath.Join(dir, "sreagent")
	if out, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		b.Fatalf("build: %v\n%s", err, out)
	}
	const ticks, queriesPerTick = 60, 10
	for b.Loop() {
		store := &fleetStore{services: 1000, enough: ticks * queriesPerTick, done: make(chan struct{})}
		server := httptest.NewServer(store)
		config := filepath.Join(dir, "sreagent.yaml")
		if err := os.WriteFile(config, fmt.Appendf(nil, fleetConfig, server.URL), 0o600); err != nil {
			b.Fatal(err)
		}
		daemon := exec.Command(binary, "run", "--config.file", config, "--web.listen-address", "127.0.0.1:0", "--log.level", "error")
		daemon.Dir, daemon.Stderr = dir, os.Stderr
		if err := daemon.Start(); err != nil {
			b.Fatal(err)
		}
		select {
		case <-store.done:
		case <-time.After(3 * ticks * time.Second):
			b.Error("the daemon ticks too slowly")
		}
		rss, peak, cpu := usage(b, daemon.Process.Pid)
		_ = daemon.Process.Signal(os.Interrupt)
		_ = daemon.Wait()
		server.Close()
		b.ReportMetric(rss/1024, "MB-resident")
		b.ReportMetric(peak/1024, "MB-peak")
		b.ReportMetric(cpu*1000/ticks, "cpu-ms/tick")
	}
}

// usage reads a process's resident and peak memory in kB and its processor time
// in seconds.
func usage(b *testing.B, pid int) (rss, peak, cpu float64) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Skipf("no /proc here: %v", err)
	}
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		switch fields[0] {
		case "VmRSS:":
			rss, _ = strconv.ParseFloat(fields[1], 64)
		case "VmHWM:":
			peak, _ = strconv.ParseFloat(fields[1], 64)
		}
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	user, _ := strconv.ParseFloat(fields[11], 64)
	system, _ := strconv.ParseFloat(fields[12], 64)
	return rss, peak, (user + system) / 100
}
