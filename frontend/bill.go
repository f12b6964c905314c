package frontend

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	commonexptypes "github.com/moby/buildkit/exporter/exptypes"
	"github.com/moby/buildkit/frontend/attestations"
	"github.com/moby/buildkit/frontend/dockerui"
	"github.com/moby/buildkit/frontend/gateway/client"
	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/result"

	"github.com/hermetic-build/hermetic/cache"
	"github.com/hermetic-build/hermetic/cache/ecosystem"
	"github.com/hermetic-build/hermetic/cache/sbom"
	"github.com/hermetic-build/hermetic/llbgen"
)

// BillGenerator is the name of an SBOM generator that stands for this frontend:
// --sbom=generator=hermetic attaches the bill of materials of what the build was
// given, and runs no scanner.
const BillGenerator = "hermetic"

// BillFile is the name of that bill: the file of a local export, and of an
// attestation.
const BillFile = "hermetic.spdx.json"

// bomFile is the bill of materials that an output directory has.
const bomFile = "bom.json"

// spdxPredicate is what in-toto calls a document in SPDX. The daemon runs no
// scanner of its own where a result has one (BuildKit solver/llbsolver/proc,
// SBOMProcessor).
const spdxPredicate = "https://spdx.dev/Document"

// scanVariable is one that SBOM scanners are started with (BuildKit
// docs/attestations/sbom-protocol.md).
const scanVariable = "BUILDKIT_SCAN_DESTINATION="

// given is what a build was given of its deps context.
type given struct {
	all   bool                     // all of it
	kinds map[string]bool          // package types of which a RUN had the tree, or a COPY files
	files map[cache.ID]cache.Input // what an ADD was served
}

func newGiven() given { return given{kinds: map[string]bool{}, files: map[cache.ID]cache.Input{}} }

// gives takes note of what steps are given. A scanner looks at the build's
// result, and not at what it was made from.
func (b *build) gives(steps []llbgen.Step) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.chooser == nil {
		return
	}
	for _, s := range steps {
		_, kept := b.keep[s.Digest]
		scanner := len(s.Places) == 0 && slices.ContainsFunc(s.Exec.Meta.Env, func(v string) bool { return strings.HasPrefix(v, scanVariable) })
		if kept || scanner {
			continue
		}
		kinds, all := b.chooser.kinds(s.Exec)
		b.given.all = b.given.all || all
		for _, kind := range kinds {
			b.given.kinds[kind] = true
		}
	}
}

// attachBill adds the bill of materials of what the build was given to each
// platform of a result, as an attestation. All platforms have one layout, and so
// one bill.
func (b *build) attachBill(ctx context.Context, res *client.Result) error {
	data, err := b.bill(ctx, billTime(res))
	if err != nil {
		return fmt.Errorf("bill of materials: %w", err)
	}
	st := llb.Scratch().File(llb.Mkfile("/"+BillFile, 0o644, data, llb.WithCreatedTime(overlayTime)), dockerui.WithInternalName("bill of materials"))
	ref, err := b.reference(ctx, st)
	if err != nil {
		return fmt.Errorf("bill of materials: %w", err)
	}
	ps, err := exptypes.ParsePlatforms(res.Metadata)
	if err != nil {
		return err
	}
	for _, p := range ps.Platforms {
		res.AddAttestation(p.ID, client.Attestation{
			Kind: gatewaypb.AttestationKind_InToto, Ref: ref, Path: BillFile,
			Metadata: map[string][]byte{result.AttestationReasonKey: []byte(result.AttestationReasonSBOM)},
			InToto: result.InTotoAttestation{
				PredicateType: spdxPredicate,
				Subjects:      []result.InTotoSubject{{Kind: gatewaypb.InTotoSubjectKind_Self}},
			},
		})
	}
	return nil
}

// billTime is the time of the bill: that of the result, where the client has set
// one (SOURCE_DATE_EPOCH).
func billTime(res *client.Result) time.Time {
	for key, value := range res.Metadata {
		if key, _, _ := strings.Cut(key, "/"); key != commonexptypes.ExporterEpochKey {
			continue
		}
		if seconds, err := strconv.ParseInt(string(value), 10, 64); err == nil {
			return time.Unix(seconds, 0)
		}
	}
	return cache.Epoch
}

// bill is the document, in as few bytes as it can have: it travels in the graph.
func (b *build) bill(ctx context.Context, created time.Time) ([]byte, error) {
	components, err := b.components(ctx)
	if err != nil {
		return nil, err
	}
	text, err := sbom.SPDX(components, sbom.Options{Created: created, Name: "what the build was given"})
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	if err := json.Compact(&out, text); err != nil {
		return nil, err
	}
	if out.Len() > maxOverlaid {
		return nil, fmt.Errorf("%d MB, and a build carries no more than %d; \"hermetic prefetch --bom\" writes one of any size", out.Len()>>20, maxOverlaid>>20)
	}
	return out.Bytes(), nil
}

// components are those of the packages that the build was given. An output
// directory has a bill of materials of its own, which knows more than the
// lockfiles: which of several files of one package are there, and packages of
// types that only others read.
func (b *build) components(ctx context.Context) ([]cache.Component, error) {
	b.mu.Lock()
	d, g, plan := b.deps, b.given, b.report.Plan
	b.mu.Unlock()
	if d == nil {
		return nil, nil
	}
	if d.Tree() {
		ref, err := b.reference(ctx, d.state)
		if err != nil {
			return nil, err
		}
		name := path.Join(d.root, bomFile)
		text, err := fs.ReadFile(newRefFS(ctx, ref), name)
		if err == nil {
			all, err := sbom.Parse(name, text)
			return g.of(all), err
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		plan.Inputs = slices.DeleteFunc(slices.Clone(plan.Inputs), func(in cache.Input) bool { return in.Need != cache.Required })
	} else {
		plan.Inputs = d.Manifest.Resolve(plan.Inputs)
	}
	return g.of(ecosystem.Components(plan, plan.Inputs)), nil
}

// of are the components of all that was given.
func (g given) of(all []cache.Component) []cache.Component {
	served := map[string]bool{}
	for _, in := range g.files {
		if in.Component != nil {
			served[sbom.Merge([]cache.Component{*in.Component})[0].PURL] = true
		}
	}
	var out []cache.Component
	for _, c := range sbom.Merge(all) {
		kinds := ecosystem.Backends(c)
		if g.all || served[c.PURL] || slices.ContainsFunc(kinds, func(kind string) bool { return g.kinds[kind] }) ||
			len(kinds) == 0 && len(g.kinds) > 0 { // an older Hermeto does not say which package type needs it
			out = append(out, c)
		}
	}
	return out
}

// wantsBill tells whether the client wants a bill of materials in the result, and
// whether it wants no other.
func wantsBill(opts map[string]string) (wanted, alone bool, err error) {
	attests, err := attestations.Parse(opts)
	if err != nil {
		return false, false, err
	}
	attrs, wanted := attests[attestations.KeyTypeSbom]
	return wanted, attrs["generator"] == BillGenerator, nil
}
