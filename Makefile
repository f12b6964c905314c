# What a person does with this repository; `make help` lists it. Needs Go, git
# and make, and for everything that builds images Linux and root.

VERSION ?= 0.1.0-dev
PREFIX ?= /usr/local
PLUGINS ?= $(PREFIX)/lib/docker/cli-plugins
PLATFORMS ?= linux/amd64 linux/arm64
FUZZTIME ?= 10s
FUZZJOBS ?= 2
HERMETIC_LAB ?= $(CURDIR)/.lab
export HERMETIC_LAB

LAB_BIN := $(HERMETIC_LAB)/bin
IMAGE ?= dist/hermetic-frontend.oci.tar
POLICY ?=
BUILDKIT := github.com/moby/buildkit
FETCH := github.com/hermetic-build/hermetic/cache/fetch

# Nothing of the machine, the path or git gets into a binary, but for the
# defaults that the CLI takes over from this machine's Go, cargo, npm and pip.
BUILD := CGO_ENABLED=0 go build -trimpath -buildvcs=false
LDFLAGS := -s -w -buildid= -X main.version=$(VERSION)
CLI_LDFLAGS = $(LDFLAGS) -X '$(FETCH).DefaultGOPROXY=$(shell go env GOPROXY)' \
	-X '$(FETCH).DefaultGOSUMDB=$(shell tools/sumdb.sh)' \
	-X '$(FETCH).DefaultCratesIndex=$(shell tools/cratesindex.sh)' \
	-X '$(FETCH).DefaultNpmRegistry=$(shell tools/npmregistry.sh)' \
	-X '$(FETCH).BuiltinNpmRegistry=$(shell tools/npmregistry.sh builtin)' \
	-X '$(FETCH).DefaultPipIndex=$(shell tools/pipindex.sh)'

.DEFAULT_GOAL := bin
.PHONY: help
help: ## list the targets
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: bin
bin: ## build bin/hermetic and bin/hermetic-frontend
	$(BUILD) -ldflags "$(CLI_LDFLAGS)" -o bin/hermetic ./cmd/docker-hermetic
	$(BUILD) -ldflags "$(LDFLAGS)" -o bin/hermetic-frontend ./cmd/hermetic-frontend

# bin/frontend/linux/amd64 is the frontend for linux/amd64.
FRONTENDS := $(PLATFORMS:%=bin/frontend/%)

.PHONY: image $(FRONTENDS)
image: $(FRONTENDS) ## build the frontend's image for all platforms, dist/hermetic-frontend.oci.tar; POLICY=file puts a policy in
	go run ./internal/mkimage -o $(IMAGE) $(if $(POLICY),-policy $(POLICY)) $(foreach p,$(PLATFORMS),$(p)=bin/frontend/$(p))

$(FRONTENDS): bin/frontend/%:
	GOOS=$(word 1,$(subst /, ,$*)) GOARCH=$(word 2,$(subst /, ,$*)) $(BUILD) -ldflags "$(LDFLAGS)" -o $@ ./cmd/hermetic-frontend

CLIS := $(PLATFORMS:%=bin/cli/%)

.PHONY: cli-image $(CLIS)
cli-image: $(CLIS) ## build an image of the CLI that stands where Hermeto's stands, dist/hermetic-cli.oci.tar
	go run ./internal/mkimage -kind cli -o dist/hermetic-cli.oci.tar $(foreach p,$(PLATFORMS),$(p)=bin/cli/$(p))

$(CLIS): bin/cli/%:
	GOOS=$(word 1,$(subst /, ,$*)) GOARCH=$(word 2,$(subst /, ,$*)) $(BUILD) -ldflags "$(CLI_LDFLAGS)" -o $@ ./cmd/docker-hermetic

.PHONY: tools
tools: $(LAB_BIN)/stamp ## build buildkitd, buildctl, buildx and a registry for the tests

$(LAB_BIN)/stamp: tools/go.mod tools/go.sum
	mkdir -p $(LAB_BIN)
	CGO_ENABLED=0 go -C tools build -trimpath -buildvcs=false -o $(LAB_BIN)/ \
		-ldflags "-s -w -X $(BUILDKIT)/version.Version=$$(go -C tools list -m -f '{{.Version}}' $(BUILDKIT))" tool
	touch $@

.PHONY: setup
setup: tools ## install the system packages the tests need (root, Debian)
	tools/setup.sh

.PHONY: lab
lab: setup image ## prepare everything that builds in tests need
	go run ./internal/lab/run -images busybox,golang,dockerfile,frontend

# Packages are tested one after the other: two that build images at a time take longer
# than both in turn. Vetting compiles them all before, as many at a time as there are cores.
.PHONY: test
test: setup bin image ## run all tests; installs what they need
	go vet ./...
	go test -p 1 -timeout 50m ./...

.PHONY: conformance
conformance: setup image ## run BuildKit's own Dockerfile tests against upstream's frontend and ours
	go run ./test/conformance $(if $(RUN),-run '$(RUN)')

.PHONY: fuzz
fuzz: ## run each fuzz test for FUZZTIME, FUZZJOBS at a time
	@find . -path './.*' -prune -o -name '*_test.go' -print | xargs grep -H '^func Fuzz' | \
	sed 's|^\(.*\)/[^/]*:func \(Fuzz[A-Za-z0-9_]*\).*|\1 \2|' | sort -u | \
	FUZZTIME=$(FUZZTIME) xargs -n 2 -P $(FUZZJOBS) tools/fuzz.sh

.PHONY: demo
demo: setup bin image ## build an example, sealed, and show what happens
	go run ./internal/lab/run -images busybox,golang,frontend sh examples/demo.sh

.PHONY: bench
bench: setup bin image ## measure against the stock frontend and the package managers
	go run ./test/bench

.PHONY: install
install: bin image ## install the CLI, the docker plugin and the frontend's image below PREFIX
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/hermetic $(DESTDIR)$(PLUGINS)
	install -m 755 bin/hermetic $(DESTDIR)$(PREFIX)/bin/hermetic
	install -m 644 $(IMAGE) $(DESTDIR)$(PREFIX)/lib/hermetic/
	ln -sf $(PREFIX)/bin/hermetic $(DESTDIR)$(PLUGINS)/docker-hermetic

GOFILES = find . -path './.*' -prune -o -name '*.go' -print

.PHONY: fmt
fmt: ## format the Go code
	$(GOFILES) | xargs gofmt -w

.PHONY: lint
lint: ## check format, vet, and that go.mod is tidy
	@out=$$($(GOFILES) | xargs gofmt -l); test -z "$$out" || { echo "not formatted:"; echo "$$out"; exit 1; }
	go vet ./...
	go mod tidy -diff

.PHONY: clean
clean: ## remove everything built, the lab's caches included
	rm -rf bin dist $(HERMETIC_LAB)
