package artifact

import (
	"bytes"
	"debug/buildinfo"
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"time"
)

// Binary is a compiled program, with what it says of itself.
type Binary struct {
	Arch     string
	Version  string    // of the module: a tag, a pseudo-version, or (devel)
	Revision string    // the commit, "" if it was built without history
	Time     time.Time // of the commit, or $SOURCE_DATE_EPOCH, or 1970: never of the build

	info  *debug.BuildInfo
	bytes []byte
}

// Read reads a binary and refuses one that would not run in an image with nothing else in it.
func Read(path string) (Binary, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return Binary{}, err
	}
	info, err := buildinfo.Read(bytes.NewReader(text))
	if err != nil {
		return Binary{}, fmt.Errorf("%s is not a Go program: %w", path, err)
	}
	set := map[string]string{}
	for _, s := range info.Settings {
		set[s.Key] = s.Value
	}
	switch {
	case info.Path != Program:
		return Binary{}, fmt.Errorf("%s is %s, not %s", path, info.Path, Program)
	case set["GOOS"] != "linux":
		return Binary{}, fmt.Errorf("%s is for %s: build it with GOOS=linux", path, set["GOOS"])
	case set["CGO_ENABLED"] != "0":
		return Binary{}, fmt.Errorf("%s needs a C library, and the image has none: build it with CGO_ENABLED=0", path)
	}
	b := Binary{Arch: set["GOARCH"], Version: info.Main.Version, Revision: set["vcs.revision"], info: info, bytes: text}
	b.Time, err = moment(set["vcs.time"])
	return b, err
}

// moment is the one time in an image: see https://reproducible-builds.org/docs/source-date-epoch/.
func moment(commit string) (time.Time, error) {
	if epoch := os.Getenv("SOURCE_DATE_EPOCH"); epoch != "" {
		seconds, err := strconv.ParseInt(epoch, 10, 64)
		if err != nil {
			return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH %q: want seconds since 1970", epoch)
		}
		return time.Unix(seconds, 0).UTC(), nil
	}
	if commit == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	return time.Parse(time.RFC3339, commit)
}

// Size is that of the program itself.
func (b Binary) Size() int { return len(b.bytes) }

// Go is the version of Go it was built with.
func (b Binary) Go() string { return b.info.GoVersion }

// Tag is the version as a tag of an image, which has no plus sign: 0.1.0, or devel.
func (b Binary) Tag() string {
	if b.Version == "" || b.Version == "(devel)" {
		return "devel"
	}
	return strings.ReplaceAll(strings.TrimPrefix(b.Version, "v"), "+", "-")
}
