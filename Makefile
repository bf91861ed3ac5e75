# sreagent. `make help` lists the targets; `make demo` and `make test` are the two to begin with.
GO        ?= go
GOLANGCI  := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.6.1
PKG       := ./...
BIN       := bin
VERSION   ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS   := -s -w -X github.com/prometheus/common/version.Version=$(VERSION)
FUZZTIME  ?= 10s
# recorded incidents, for evaluate
CORPUS    ?= $(SREAGENT_CORPUS)
TESTFLAGS ?=
# Where random tests begin: the same everywhere, so that a change is judged by what
# it changes. SEED=0 draws another one and finds what this one does not.
SEED      ?= 1
RANDOM    = $(shell $(GO) list -f '{{range .TestImports}}{{if eq . "pgregory.net/rapid"}}{{$$.ImportPath}} {{end}}{{end}}{{range .XTestImports}}{{if eq . "pgregory.net/rapid"}}{{$$.ImportPath}} {{end}}{{end}}' $(PKG))
OTHERS    = $(filter-out $(RANDOM),$(shell $(GO) list $(PKG)))

.DEFAULT_GOAL := help
.PHONY: help setup build plugins test plants race lint fuzz bench bench-budgets bench-guard overload evaluate e2e demo ci clean tidy-check deps-check check-proto

help: ## list the targets
	@awk -F':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## fetch modules and the linter
	$(GO) mod download
	@test -x $(BIN)/golangci-lint || GOBIN=$(abspath $(BIN)) $(GO) install $(GOLANGCI)

build: ## build bin/sreagent and bin/sreguard, the guard's sidecar
	@$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/sreagent ./cmd/sreagent
	@$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/sreguard ./guard/sidecar

plugins: ## build bin/flagfile, the example of a plugin, and bin/sreagent-kubernetes
	@$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/flagfile ./plugins/example
	@$(GO) build -ldflags '$(LDFLAGS)' -o $(BIN)/sreagent-kubernetes ./plugins/kubernetes

test: ## run all tests
	@status=0; \
	$(if $(OTHERS),$(GO) test $(TESTFLAGS) -timeout 10m $(OTHERS) || status=1;) \
	$(if $(RANDOM),$(GO) test $(TESTFLAGS) -timeout 10m $(RANDOM) -rapid.seed=$(SEED) || status=1;) \
	exit $$status

plants: ## plant a fault against each lesson of docs/lessons.md, several each, and see its test fail
	@PLANTS=1 $(GO) test $(TESTFLAGS) -count=1 -timeout 20m ./agent/lessons

race: ## run all tests under the race detector
	@status=0; \
	$(if $(OTHERS),$(GO) test -race $(TESTFLAGS) -timeout 20m $(OTHERS) || status=1;) \
	$(if $(RANDOM),$(GO) test -race $(TESTFLAGS) -timeout 20m $(RANDOM) -rapid.seed=$(SEED) || status=1;) \
	exit $$status

lint: setup ## check the walls, the style and the formatting
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo 'not gofmt-ed:'; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(BIN)/golangci-lint run $(PKG)
	@$(MAKE) --no-print-directory deps-check tidy-check

deps-check: ## check the dependency rule with go list alone
	@sh deploy/check-deps.sh

tidy-check: ## check that go.mod is tidy
	$(GO) mod tidy -diff

check-proto: ## check that the code of the plugin protocol is that of its .proto; skipped without protoc
	@sh plugins/proto/generate.sh --check

fuzz: ## fuzz every file format for FUZZTIME each
	@for pkg in $$($(GO) list $(PKG)); do \
		for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$pkg || exit 1; \
		done; done

bench: ## run the benchmarks with allocations
	$(GO) test -run '^$$' -bench . -benchmem $(PKG)

bench-budgets: ## only those with a budget, on one core: detectors, diagnosis, and rules of the common kind beside them
	GOMAXPROCS=1 $(GO) test -run '^$$' -bench 'SeriesTick|Tick10000|Doubling|Memory|Diagnose1000|RulesVsBank' -benchmem ./detectors ./diagnosis ./replay/rival

overload: ## print the tables of docs/overload.md: the overload law and its rivals in the simulated world
	@OVERLOAD_TABLE=1 $(GO) test -count=1 -run TestPage -v ./replay/overload

bench-guard: ## what the guard adds to a request over loopback, at p50 and p99
	$(GO) test -count=1 -tags e2e -run E2EOverhead -v ./guard

evaluate: build ## all of docs/evaluation.md into out/: recordings of CORPUS, single series, simulated fleets; over an hour on 2 cores
	@mkdir -p out
	bin/sreagent backtest $(CORPUS)/bundles -o json --html out/backtest.html > out/backtest.json
	SREAGENT_CORPUS=$(abspath $(CORPUS)) $(GO) test -count=1 ./replay/series -run 'NAB|Cloud' -v | tee out/series.txt
	bin/sreagent backtest --world 500 --seed 7 -o json --html out/world.html > out/world.json
	bin/sreagent backtest --world 100 --seed 7 --clock-error 60s -o json > out/clock.json
	bin/sreagent backtest --world 100 --seed 7 --missing 0.2 -o json > out/missing.json
	bin/sreagent backtest --world 100 --seed 7 --rename -o json > out/rename.json
	bin/sreagent backtest --world 10 --benign --services 1000 --seed 7 --resume out/benign.part -o json > out/benign.json
	@$(MAKE) --no-print-directory bench-budgets

e2e: build ## the whole loop on real Prometheus, Alertmanager, HAProxy, Redis and Chromium from Debian, and on a Kubernetes control plane
	@sh deploy/e2e-install.sh >&2
	@sh deploy/controlplane.sh >&2 || echo 'no control plane was built: the tests on it are skipped' >&2
	@$(GO) test $(TESTFLAGS) -count=1 -p 1 -tags e2e -timeout 25m -v ./cmd/sreagent ./remediators ./replay/report ./guard/redislimit ./plugins/kubernetes

demo: build ## run the demo shop without the agent, then with it
	$(BIN)/sreagent demo

ci: ## what CI runs
	bash .ci/run

clean: ## remove what was built
	rm -rf $(BIN)
