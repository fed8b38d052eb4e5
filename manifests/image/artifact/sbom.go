package artifact

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// SBOM lists the modules that are inside the binary, from the binary itself: no tool guessed them. It has no time and a
// serial number made of the binary, so that equal binaries have equal bills. The Go linker does not record which module
// needs which, and no licences; so the program depends on all, and licences are not there.
func (b Binary) SBOM() ([]byte, error) {
	program := component(&b.info.Main)
	program.Type, program.Name = cdx.ComponentTypeApplication, "lastcall"
	sum := sha256.Sum256(b.bytes)
	program.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}}
	std := component(&debug.Module{Path: "std", Version: strings.TrimPrefix(b.Go(), "go")})
	std.PackageURL = "pkg:golang/std@" + std.Version

	parts, needs := []cdx.Component{std}, []string{std.BOMRef}
	for _, m := range b.info.Deps {
		c := component(cmp.Or(m.Replace, m))
		parts, needs = append(parts, c), append(needs, c.BOMRef)
	}
	bom := cdx.NewBOM()
	bom.SerialNumber = uuid(sum)
	bom.Metadata = &cdx.Metadata{Component: &program, Properties: &[]cdx.Property{{Name: "platform", Value: "linux/" + b.Arch}}}
	bom.Components = &parts
	bom.Dependencies = &[]cdx.Dependency{{Ref: program.BOMRef, Dependencies: &needs}}
	var out bytes.Buffer
	// Not the newest version of the format: scanners lag behind.
	if err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).EncodeVersion(bom, cdx.SpecVersion1_5); err != nil {
		return nil, fmt.Errorf("bill of materials for %s: %w", b.Arch, err)
	}
	return out.Bytes(), nil
}

func component(m *debug.Module) cdx.Component {
	c := cdx.Component{Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, Scope: cdx.ScopeRequired}
	// https://github.com/package-url/purl-spec: lower case, and a plus sign would be a space.
	c.PackageURL = strings.ReplaceAll("pkg:golang/"+strings.ToLower(m.Path)+"@"+m.Version, "+", "%2B")
	c.BOMRef = c.PackageURL
	// go.sum's h1 is a SHA-256 of the module's files.
	if h1, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(h1) > 0 {
		c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(h1)}}
	}
	return c
}

// uuid is of version 8: of our own making (RFC 9562).
func uuid(sum [sha256.Size]byte) string {
	sum[6], sum[8] = sum[6]&0x0f|0x80, sum[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", sum[0:4], sum[4:6], sum[6:8], sum[8:10], sum[10:16])
}
