# Everything here runs as root on Linux: the testbed makes network namespaces. `make help` lists the targets.
SHELL := bash
GO ?= go
.DEFAULT_GOAL := help

.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build bin/lastcall and bin/kubectl-lastcall
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/lastcall ./cmd/lastcall
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/kubectl-lastcall ./cmd/kubectl-lastcall

.PHONY: image
image: ## the container image as a multi-arch OCI archive in dist/, without Docker
	$(GO) run ./manifests/image -o dist/lastcall.oci.tar

PLUGINS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64 windows/amd64
.PHONY: dist
dist: image ## what a release has, in dist/: image, bills of materials, install.yaml, chart (needs helm 4), kubectl-lastcall for each system, checksums
	set -e; for p in $(PLUGINS); do os=$${p%/*} arch=$${p#*/}; ext=; [ $$os != windows ] || ext=.exe; \
	  CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -trimpath -ldflags "-s -w" -o dist/kubectl-lastcall-$$os-$$arch$$ext ./cmd/kubectl-lastcall; done
	helm package manifests/chart --destination dist
	cp manifests/install.yaml dist/
	cd dist && rm -f SHA256SUMS && sha256sum * > SHA256SUMS

.PHONY: demo
demo: ## on a real cluster on this machine: a restart that drops requests, who let go last, how long preStop must sleep, one that drops none (KUBECONFIG=... IMAGE=... for a cluster of yours)
	@bash bench/demo/packages.sh pip3
	@$(GO) run ./bench/demo

.PHONY: components
components: ## build what the testbed runs, once: Kubernetes, Contour, CoreDNS, Prometheus, Alertmanager (15 to 25 minutes); later runs find it
	@bash bench/demo/packages.sh haproxy pip3
	$(GO) run ./bench/testbed build --with contour,coredns,haproxy
	REQUIRE_CLUSTER=1 $(GO) test -count=1 -timeout 30m ./internal/prometheus

.PHONY: test
test: components ## all tests: unit, kernel, API server, end to end on the testbed (as root)
	$(GO) test -count=1 -timeout 20m ./... # never cached: tests build and run the agent itself

.PHONY: dashboards
dashboards: ## write the dashboards, and the chart's copies of them and of the rules
	$(GO) run ./dashboards

FUZZTIME ?= 10s
.PHONY: fuzz
fuzz: ## every fuzz target in turn for FUZZTIME (10s); what one finds is kept as a seed in testdata/fuzz
	@GO="$(GO)" bash .ci/fuzz $(FUZZTIME)

.PHONY: lint
lint: ## gofmt, vet, staticcheck
	@out=$$(gofmt -l .); if [ -n "$$out" ]; then echo "gofmt would change:"; echo "$$out"; exit 1; fi
	$(GO) vet ./...
	$(GO) tool staticcheck ./...

VERSIONS ?= v1.34.4,v1.35.4,v1.36.3
.PHONY: expected
expected: ## ask the real kube-proxy of VERSIONS what it programs, and record it (builds each once, 5 minutes)
	REQUIRE_CLUSTER=1 $(GO) test ./internal/expected -run TestLive -count=1 -v -timeout 60m -versions $(VERSIONS) -update
	REQUIRE_KERNEL=1 $(GO) test ./internal/expected -run TestReplay -count=1

.PHONY: accuracy
accuracy: ## landed against the truth of clients: bench/RESULTS.md (one and a half hours)
	@bash bench/demo/packages.sh
	$(GO) run ./bench/accuracy

.PHONY: consumers
consumers: ## landings at Envoy, CoreDNS and HAProxy against the truth of clients: bench/RESULTS.md (some 20 minutes)
	@bash bench/demo/packages.sh haproxy pip3
	$(GO) run ./bench/consumers

.PHONY: overhead
overhead: ## what the agent costs kube-proxy, the API server and in memory: bench/RESULTS.md (about an hour and a half)
	@bash bench/demo/packages.sh
	$(GO) run ./bench/overhead -measure pairs,memory,apiserver

SOAK ?= 6h
.PHONY: soak
soak: ## what grows in the agent over SOAK (6h): bench/RESULTS.md
	@bash bench/demo/packages.sh
	$(GO) run ./bench/overhead -measure soak -run $(SOAK) -services 1000

.PHONY: sizing
sizing: ## how often recommendations hold, simulated: bench/RESULTS.md (some minutes)
	$(GO) run ./bench/sizing

.PHONY: proof
proof: ## what is recommended against what happens, on a real cluster: bench/RESULTS.md (about 20 minutes)
	@bash bench/demo/packages.sh pip3
	$(GO) run ./bench/proof

.PHONY: testbed-up
testbed-up: ## a Kubernetes cluster on this machine, without Docker
	$(GO) run ./bench/testbed up

.PHONY: testbed-down
testbed-down: ## end it and leave nothing behind
	$(GO) run ./bench/testbed down
