//go:build linux

package testbed

import (
	"fmt"
	"strings"

	"golang.org/x/mod/modfile"
)

// componentsModule writes the go.mod of a module that can build the commands
// of k8s.io/kubernetes@version, from upstream's own go.mod.
//
// Upstream replaces every k8s.io/X by ./staging/src/k8s.io/X, and go ignores
// replacements of a dependency, so `go install k8s.io/kubernetes/cmd/...@v`
// finds X at v0.0.0, which does not exist. The same code is published as
// k8s.io/X v0.36.3 for Kubernetes v1.36.3: our replacements say that. A module
// of its own keeps all this out of the product's go.mod.
func componentsModule(version string, upstream []byte) ([]byte, error) {
	up, err := modfile.Parse("k8s.io/kubernetes/go.mod", upstream, nil)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(version, "v1.") {
		return nil, fmt.Errorf("kubernetes version %q: want v1.X.Y", version)
	}
	staged := "v0." + strings.TrimPrefix(version, "v1.")

	mod := new(modfile.File)
	mod.AddModuleStmt("lastcall.test/components")
	if up.Go != nil {
		mod.AddGoStmt(up.Go.Version)
	}
	for _, g := range up.Godebug {
		mod.AddGodebug(g.Key, g.Value)
	}
	mod.AddNewRequire("k8s.io/kubernetes", version, false)
	for _, r := range up.Require {
		// Everything upstream pins, so that we build what upstream built;
		// v0.0.0 stands for a replaced module.
		mod.AddNewRequire(r.Mod.Path, r.Mod.Version, true)
	}
	replaced := 0
	for _, r := range up.Replace {
		if !strings.HasPrefix(r.New.Path, "./staging/") {
			continue
		}
		if err := mod.AddReplace(r.Old.Path, "", r.Old.Path, staged); err != nil {
			return nil, err
		}
		replaced++
	}
	if replaced == 0 {
		return nil, fmt.Errorf("go.mod of k8s.io/kubernetes %s replaces nothing by ./staging: its layout changed", version)
	}
	for _, c := range componentNames {
		if err := mod.AddTool(componentPackage(c)); err != nil {
			return nil, err
		}
	}
	mod.Cleanup()
	return mod.Format()
}

// versionFlags are the linker flags without which kubectl cannot parse the
// server's version and the kubelet reports v0.0.0-master.
func versionFlags(version string) string {
	minor := strings.SplitN(version, ".", 3)[1]
	flags := []string{"-s", "-w"}
	for _, pkg := range []string{"k8s.io/component-base/version", "k8s.io/client-go/pkg/version"} {
		for _, set := range [][2]string{{"gitVersion", version}, {"gitMajor", "1"}, {"gitMinor", minor}, {"gitTreeState", "clean"}} {
			flags = append(flags, fmt.Sprintf("-X %s.%s=%s", pkg, set[0], set[1]))
		}
	}
	return strings.Join(flags, " ")
}
