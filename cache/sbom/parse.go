package sbom

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/package-url/packageurl-go"

	"github.com/hermetic-build/hermetic/cache"
)

// Parse reads a document of either format; file is the name to print. One that
// neither we nor Hermeto made is an error, as are components without a package
// URL: merging would lose what only others know. All that is wrong is told at
// once.
func Parse(file string, data []byte) ([]cache.Component, error) {
	var head struct {
		BOMFormat   string `json:"bomFormat"`
		SpecVersion string `json:"specVersion"`
		SPDXVersion string `json:"spdxVersion"`
	}
	if err := json.Unmarshal(data, &head); err != nil {
		return nil, fmt.Errorf("%s: not JSON: %v", file, err)
	}
	var components []cache.Component
	var err error
	switch {
	case head.BOMFormat == "CycloneDX" && strings.HasPrefix(head.SpecVersion, "1."):
		components, err = parseCycloneDX(data)
	case head.SPDXVersion == "SPDX-2.3":
		components, err = parseSPDX(data)
	default:
		return nil, fmt.Errorf("%s: neither CycloneDX 1.x nor SPDX-2.3", file)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %v", file, err)
	}
	var errs []error
	for _, c := range components {
		name := strings.TrimSpace(c.Name + " " + c.Version)
		if _, err := packageurl.FromString(c.PURL); err != nil {
			errs = append(errs, fmt.Errorf("%s: %.200q: no package URL: %.200q", file, name, c.PURL))
		} else if !slices.ContainsFunc(c.Properties, isFoundBy) {
			errs = append(errs, fmt.Errorf("%s: %.200q: no property %s: not made by Hermeto, nor by hermetic", file, name, cache.FoundBy))
		}
		if len(errs) == maxErrors {
			errs = append(errs, fmt.Errorf("%s: and perhaps more", file))
			break
		}
	}
	return components, errors.Join(errs...)
}

// maxErrors bounds what is said of one document.
const maxErrors = 20
